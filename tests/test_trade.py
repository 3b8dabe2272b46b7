"""Trade between two: the pool stays whole, the score falls or nothing changes, small pools are divided best."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.protocols.trade import EXACT_TASKS_MAX, Pool, matching, redivide, unmet


def pool(seed: int, tasks: int, *, limited: bool) -> tuple[Pool, np.ndarray]:
    rng = Random(seed)

    def row() -> np.ndarray:
        return np.asarray([float(rng.randint(1, 30)) for _ in range(tasks)])

    first, second = row(), row()
    limits = (float(first.sum()) / 3, float(second.sum()) / 3) if limited else None
    prices = (row(), row()) if limited else (first, second)
    return Pool((first, second), prices, limits), np.asarray([rng.random() < 0.5 for _ in range(tasks)])


def score(of: Pool, mine: np.ndarray) -> tuple[float, float]:
    price = of.prices[0][mine].sum() + of.prices[1][~mine].sum()
    major, minor = of.score(of.sizes[0][mine].sum(), of.sizes[1][~mine].sum(), price)
    return float(major), float(minor)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), tasks=st.integers(1, 40), limited=st.booleans())
def test_the_score_falls_or_nothing_changes(seed: int, tasks: int, limited: bool) -> None:
    pooled, mine = pool(seed, tasks, limited=limited)
    divided = redivide(pooled, mine)
    if divided is not None:
        assert divided.shape == mine.shape
        assert score(pooled, divided) < score(pooled, mine)
        again = redivide(pooled, divided)
        assert again is None or score(pooled, again) < score(pooled, divided)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), tasks=st.integers(1, 8), limited=st.booleans())
def test_a_small_pool_is_divided_best(seed: int, tasks: int, limited: bool) -> None:
    pooled, mine = pool(seed, tasks, limited=limited)
    divided = redivide(pooled, mine)
    masks = [np.asarray(mask) for mask in itertools.product([False, True], repeat=tasks)]
    best = min(score(pooled, mask) for mask in masks)
    assert score(pooled, mine if divided is None else divided)[0] == pytest.approx(best[0])


@pytest.mark.parametrize("seed", range(5))
def test_both_sides_compute_the_same(seed: int) -> None:
    pooled, mine = pool(seed, EXACT_TASKS_MAX + 20, limited=seed % 2 == 0)
    one, other = redivide(pooled, mine), redivide(pooled, mine.copy())
    assert one is not None
    assert other is not None
    assert one.tolist() == other.tolist()


def test_two_alike_share_evenly() -> None:
    ones = np.ones(20)
    divided = redivide(Pool((ones, ones), (ones, ones), None), np.ones(20, np.bool_))
    assert divided is not None
    assert divided.sum() == 10


def test_an_empty_pool_stays() -> None:
    empty = np.zeros(0)
    assert redivide(Pool((empty, empty), (empty, empty), None), np.zeros(0, np.bool_)) is None


def test_who_has_met_unchanged_need_not_meet_again() -> None:
    versions = {"a": 1, "b": 2, "c": 0}
    assert unmet(versions, {}) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert unmet(versions, {("a", "b"): (1, 2), ("a", "c"): (0, 0)}) == [("a", "c"), ("b", "c")]


def test_a_matching_is_full_and_decided_by_lot() -> None:
    pairs = unmet(dict.fromkeys("abcdefgh", 0), {})
    matchings = [matching(pairs, Random(seed)) for seed in range(20)]
    for chosen in matchings:
        assert sorted(node for pair in chosen for node in pair) == list("abcdefgh")
    assert len({tuple(chosen) for chosen in matchings}) > 10
    path = [("a", "b"), ("b", "c"), ("c", "d")]
    assert all(
        ("b", "c") in chosen or len(chosen) == 2 for chosen in (matching(path, Random(seed)) for seed in range(9))
    )
