"""Columns: what a peer may open with, and what a table says of a division."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parley.protocols.columns import Column, Opening, column, table
from parley.protocols.core import PeerError, ProtocolError


def numbers(*values: float) -> np.ndarray:
    return np.asarray(values, np.float64)


def test_a_column_is_opened_and_read() -> None:
    own = Column(numbers(1.5, -2.0), numbers(1.0, 0.0), 3.0)
    read = column(own.opening())
    assert read.costs.tolist() == [1.5, -2.0]
    assert read.sizes.tolist() == [1.0, 0.0]
    assert read.capacity == 3.0
    assert column(Column(numbers(4.0)).opening()).sizes.tolist() == [4.0]


@pytest.mark.parametrize(
    "opening",
    [
        Opening(b""),
        Opening(b"1234567"),
        Opening(numbers(math.nan).tobytes()),
        Opening(numbers(math.inf).tobytes()),
        Opening(numbers(1e16).tobytes()),
        Opening(numbers(-1.0).tobytes()),
        Opening(numbers(1.0).tobytes(), b"", 3.0),
        Opening(numbers(1.0).tobytes(), numbers(1.0).tobytes()),
        Opening(numbers(1.0).tobytes(), numbers(1.0, 2.0).tobytes(), 1.0),
        Opening(numbers(1.0).tobytes(), numbers(-1.0).tobytes(), 1.0),
    ],
)
def test_nonsense_is_the_peers_error(opening: Opening) -> None:
    with pytest.raises(PeerError):
        column(opening)


def test_demands_without_a_capacity_are_ours() -> None:
    with pytest.raises(ProtocolError):
        Column(numbers(1.0), numbers(1.0))


def test_a_table_values_a_division() -> None:
    times = table({"b": Column(numbers(2.0, 5.0, 3.0)), "a": Column(numbers(1.0, 1.0, 9.0))})
    assert times.nodes == ("a", "b")
    assert times.loads(np.asarray([0, 0, 1], dtype=np.intp)) == [2.0, 3.0]
    assert times.value(np.asarray([0, 0, 1], dtype=np.intp)) == (0.0, 3.0)
    limited = table({"a": Column(numbers(7.0, 8.0), numbers(2.0, 3.0), 4.0)})
    assert limited.value(np.asarray([0, 0], dtype=np.intp)) == (0.25, 15.0)


def test_a_column_that_does_not_fit_is_left_out() -> None:
    assert table({"a": Column(numbers(1.0)), "b": Column(numbers(1.0, 2.0))}).nodes == ("a",)
