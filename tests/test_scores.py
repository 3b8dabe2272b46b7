"""Score schemes: their numbers, and that those which claim diminishing marginal gain have it."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.protocols.scores import Additive, ByPath, EarliestFinish, Scores, time_discounted


def test_earliest_finish_fast_where_free_and_large_where_loaded() -> None:
    scores = EarliestFinish([1.0, 4.0, math.inf], [1.0, 16.0, 1.0])
    assert scores.marginals([]).tolist() == [1.0, 1.0, 0.0]
    assert scores.marginals([0]).tolist() == [0.5, 0.8, 0.0]
    assert scores.place([0], 1) == 1


def test_by_path_the_best_place_counts() -> None:
    """On a line, from 0: the way to 1 and on to 3 is shorter than to 3 and back to 1."""
    at = [3.0, 1.0]
    scores = time_discounted([1.0, 1.0], lambda start, to: abs((at[start] if start is not None else 0.0) - at[to]), 0.5)
    assert scores.marginals([]).tolist() == [0.125, 0.5]
    assert scores.place([0], 1) == 0
    assert scores.marginals([0])[1] == pytest.approx(0.5)
    assert scores.marginals([0])[0] == 0.0


def schemes(tasks: int, rng: random.Random) -> list[Scores]:
    return [
        Additive([rng.random() for _ in range(tasks)]),
        EarliestFinish([rng.uniform(0.1, 9.0) for _ in range(tasks)], [rng.uniform(0.1, 9.0) for _ in range(tasks)]),
    ]


@given(st.integers(1, 6), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_diminishing_marginal_gain(tasks: int, seed: int) -> None:
    """With one task more in the path, put where it adds most, no other task gains."""
    rng = random.Random(seed)
    for scores in schemes(tasks, rng):
        assert not scores.warped
        path: list[int] = []
        for task in rng.sample(range(tasks), tasks):
            before = scores.marginals(path)
            path.insert(scores.place(path, task), task)
            after = scores.marginals(path)
            others = [other for other in range(tasks) if other not in path]
            assert (after[others] <= before[others]).all()


def test_time_discounted_rewards_do_not_quite_diminish() -> None:
    """Found by trying: a task gains by another that is in the path already."""
    rng = random.Random(1)
    places, worth = [(rng.random(), rng.random()) for _ in range(3)], [rng.random() for _ in range(3)]

    def way(start: int | None, to: int) -> float:
        return math.dist((0.5, 0.5) if start is None else places[start], places[to])

    scores = time_discounted(worth, way, 0.7)
    assert scores.warped
    grown = 0
    for first, second, task in itertools.permutations(range(3)):
        longer = [first]
        longer.insert(scores.place(longer, second), second)
        grown += bool(scores.marginals(longer)[task] > scores.marginals([first])[task] + 1e-6)
    assert grown


def test_a_scheme_that_grows_says_so() -> None:
    def pairs(path: Sequence[int]) -> float:
        return float(len(path) ** 2)

    assert ByPath(pairs, 3, warped=True).marginals([0]).tolist() == [0.0, 3.0, 3.0]
