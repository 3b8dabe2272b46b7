"""The dual bound: never above the optimum, whatever the prices; and the certificate it gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import optimum, small_table

from parley.protocols.dual_bound import bound_of, certificate, tightened, trivial_bound
from parley.protocols.prices import wanted


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    limited=st.booleans(),
    prices=st.lists(st.floats(0.0, 100.0), min_size=3, max_size=3),
)
def test_no_price_gives_a_bound_above_the_optimum(seed: int, limited: bool, prices: list[float]) -> None:
    known = small_table(seed, limited=limited, tasks=5)
    owners = wanted(known, prices)
    loads = known.loads(owners)
    costs = [math.fsum(known.costs[row, owners == row]) for row in range(3)]
    bound = bound_of(prices, loads, costs, None if known.capacities is None else list(known.capacities))
    best = optimum(known)
    assert bound <= best
    assert tightened(known, bound) <= best
    assert trivial_bound(known) <= best


def test_a_bound_from_published_numbers() -> None:
    assert bound_of([1.0, 3.0], [4.0, 8.0], [0.0, 0.0], None) == pytest.approx(7.0)
    assert bound_of([0.0, 0.0], [4.0, 8.0], [0.0, 0.0], None) == -math.inf
    assert bound_of([0.5, 0.0], [6.0, 1.0], [10.0, 20.0], [4.0, 9.0]) == pytest.approx(31.0)


def test_whole_costs_make_whole_totals() -> None:
    limited = small_table(1, limited=True)
    assert tightened(limited, 30.2) == 31.0
    assert tightened(limited, 30.0000000001) == 30.0
    assert tightened(small_table(1, limited=False), 30.2) == 30.2


def test_a_certificate() -> None:
    assert certificate(11.0, 10.0) == pytest.approx(0.1)
    assert certificate(-90.0, -100.0) == pytest.approx(0.1)
    assert certificate(10.0, 10.0 + 1e-12) == 0.0
    assert certificate(10.0, -math.inf) is None
    assert certificate(10.0, 0.0) is None
    assert np.isfinite(certificate(1.0, 0.5) or 0.0)
