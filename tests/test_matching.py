"""Matching by some of the costs: against all ways to do it, and by the conditions of the optimum."""

from __future__ import annotations

import doctest
import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from parley.protocols import matching
from parley.protocols.matching import Rows, match


def test_the_example() -> None:
    assert doctest.testmod(matching).failed == 0
    assert doctest.testmod(matching).attempted > 0


def random_rows(persons: int, objects: int, most: int, rng: random.Random) -> Rows:
    """Of each person some objects, maybe none."""
    return tuple(
        tuple((place, rng.randint(0, most)) for place in rng.sample(range(objects), rng.randint(0, objects)))
        for _ in range(persons)
    )


def cost(rows: Rows, objects: tuple[int | None, ...], alone: int) -> int:
    return sum(alone if place is None else dict(row)[place] for row, place in zip(rows, objects, strict=True))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 9), st.integers(0, 4), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_no_matching_is_cheaper(persons: int, objects: int, most: int, more: int, seed: int) -> None:
    """Also of fewer objects than persons, and where to go without is no dearer than the dearest object."""
    rows, alone = random_rows(persons, objects, most, random.Random(seed)), most + more
    found = match(rows, objects, alone)
    held = [place for place in found.objects if place is not None]
    assert len(held) == len(set(held))
    ways = itertools.product(*([None, *(place for place, _ in row)] for row in rows))
    least = min(
        cost(rows, way, alone)
        for way in ways
        if len(had := [place for place in way if place is not None]) == len(set(had))
    )
    assert cost(rows, found.objects, alone) == least


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 200), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_its_prices_prove_it(persons: int, objects: int, most: int, seed: int) -> None:
    """No slack below 0, none where matched; who goes without owes `alone`; what nobody has is free."""
    rows, alone = random_rows(persons, objects, most, random.Random(seed)), most + 1
    found = match(rows, objects, alone)
    for row, place, due in zip(rows, found.objects, found.dues, strict=True):
        slacks = {other: price + found.prices[other] - due for other, price in row}
        assert min(slacks.values(), default=0) >= 0
        assert due == alone if place is None else (slacks[place] == 0 and due <= alone)
    assert min(found.prices) >= 0
    assert all(found.prices[place] == 0 for place in set(range(objects)) - set(found.objects))
