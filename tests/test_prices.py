"""Node prices: who is wanted too much gets dearer, and the rule is the published one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parley.protocols.columns import Column, table
from parley.protocols.prices import PRICE_MAX, first_price, priced, raised, wanted

TIMES = table({"a": Column(np.asarray([1.0, 4.0])), "b": Column(np.asarray([2.0, 2.0]))})
LIMITED = table(
    {
        "a": Column(np.asarray([10.0, 30.0]), np.asarray([2.0, 2.0]), 2.0),
        "b": Column(np.asarray([20.0, 20.0]), np.asarray([2.0, 2.0]), 4.0),
    }
)


def test_bids() -> None:
    assert priced(TIMES, [2.0, 1.0]).tolist() == [[2.0, 8.0], [2.0, 2.0]]
    assert wanted(TIMES, [2.0, 1.0]).tolist() == [0, 1], "the first of equal bids"
    assert priced(LIMITED, [3.0, 0.0]).tolist() == [[16.0, 36.0], [20.0, 20.0]]
    assert (first_price(TIMES), first_price(LIMITED)) == (1.0, 0.0)


def test_where_time_counts() -> None:
    assert raised(TIMES, 0, 1.0, [6.0, 2.0], 4) == pytest.approx(math.exp(0.25 * 0.5))
    assert raised(TIMES, 1, 1.0, [6.0, 2.0], 4) == pytest.approx(math.exp(0.25 * -0.5))
    assert raised(TIMES, 0, 1.0, [0.0, 0.0], 1) == 1.0
    many = table({f"n{row}": Column(np.asarray([1.0])) for row in range(9)})
    assert raised(many, 0, 1.0, [90.0, *[0.0] * 8], 1) == pytest.approx(math.exp(0.5 * 3.0)), "at most 3"
    assert raised(TIMES, 0, PRICE_MAX, [6.0, 2.0], 1) == PRICE_MAX


def test_where_capacities_count() -> None:
    scale = 20.0 / 2.0
    assert raised(LIMITED, 0, 1.0, [4.0, 0.0], 1) == pytest.approx(1.0 + 0.5 * scale * 1.0)
    assert raised(LIMITED, 1, 1.0, [4.0, 0.0], 1) == 0.0, "never below 0"
