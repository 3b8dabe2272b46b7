"""The numbers of an allocation: worked examples by hand, then what must hold for all inputs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.protocols import objective

SECONDS = st.floats(0, 1e6, allow_subnormal=False).map(lambda seconds: round(seconds, 6))
LOADS = st.lists(SECONDS, min_size=1, max_size=12)
BUSY = LOADS.filter(any)


def test_classic_example() -> None:
    assert objective.completion_time([2, 5, 3], 1.0) == 13
    assert objective.completion_time([2, 5, 3], [1, 1, 1]) == 13
    assert objective.average_load([2, 5, 3]) == pytest.approx(3.33, abs=0.005)
    assert objective.makespan([2, 5, 3]) == 5
    assert objective.imbalance([2, 5, 3]) == pytest.approx(1.5)
    assert objective.fairness([2, 5, 3]) == pytest.approx(100 / (3 * 38))


def test_loads_of_an_allocation() -> None:
    times = [[2.0, 5.0, 3.0], [4.0, math.inf, 1.0]]
    assert objective.node_loads(times, [0, 0, 1]) == [7.0, 1.0]
    assert objective.node_loads(times, [0, 0, 0]) == [10.0, 0.0]
    assert objective.node_loads(times, [1, 1, 0]) == [3.0, math.inf]


def test_weighted_objective_counts_no_step_below_the_threshold() -> None:
    # step 1: 1·2 + 2·3 = 8; step 2: 1·1 + 2·0 = 1, which costs the threshold of 4
    assert objective.weighted_objective([[2, 3], [1, 0]], [1, 2], 4) == 12
    assert objective.weighted_objective([[2, 3], [1, 0]], [1, 2], 0) == 9
    assert objective.weighted_objective([[2, 3], [1, 0]], [0, 0], 4) == 8


def test_utilisation_and_traffic() -> None:
    assert objective.utilisation([10, 5, 0], 10) == pytest.approx(0.5)
    assert objective.per_task(96, 24) == 4
    assert objective.per_task(0, 24) == 0


def test_bounds_by_hand() -> None:
    works, speeds = [8, 8, 1], [1, 1, 2]
    assert objective.work_bound(works, speeds) == 17 / 4
    assert objective.longest_bound(works, speeds) == 4
    assert objective.prefix_bound(works, speeds) == pytest.approx(16 / 3)  # two tasks of 8 on speeds 2 and 1
    assert objective.run_time_bound([[2, 4, 9], [3, 1, 6]]) == 6
    assert objective.run_time_bound([[2, 4, 2], [3, 3, 9]]) == 3.5


def test_one_task_is_bounded_by_the_fastest_node_alone() -> None:
    assert objective.prefix_bound([12], [1, 1, 2, 4]) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: objective.makespan([]),
        lambda: objective.makespan([1, -1]),
        lambda: objective.makespan([math.nan]),
        lambda: objective.average_load([math.inf]),
        lambda: objective.completion_time([]),
        lambda: objective.completion_time([1, 2], [1]),
        lambda: objective.completion_time([1], -1.0),
        lambda: objective.imbalance([0, 0]),
        lambda: objective.fairness([0, 0]),
        lambda: objective.weighted_objective([[1, 2]], [1], 0),
        lambda: objective.weighted_objective([[1]], [1], math.nan),
        lambda: objective.weighted_objective([[math.inf]], [1], 0),
        lambda: objective.weighted_objective([], [], 0),
        lambda: objective.utilisation([1], 0),
        lambda: objective.utilisation([11], 10),
        lambda: objective.per_task(1, 0),
        lambda: objective.per_task(-1, 1),
        lambda: objective.node_loads([[1, 2]], [0]),
        lambda: objective.node_loads([[1]], [1]),
        lambda: objective.node_loads([[1]], [-1]),
        lambda: objective.work_bound([], [1]),
        lambda: objective.work_bound([1], [0]),
        lambda: objective.longest_bound([1], [1, 0]),
        lambda: objective.prefix_bound([1], []),
        lambda: objective.run_time_bound([[math.nan]]),
        lambda: objective.run_time_bound([[1, math.inf], [1, math.inf]]),
        lambda: objective.run_time_bound([1, 2]),
    ],
)
def test_what_means_nothing_is_refused(call: Callable[[], float]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        call()


@given(BUSY)
def test_balance_lies_between_one_for_all_and_all_alike(loads: list[float]) -> None:
    nodes = len(loads)
    assert 1 - 1e-9 <= objective.imbalance(loads) <= nodes * (1 + 1e-9)
    assert (1 - 1e-9) / nodes <= objective.fairness(loads) <= 1 + 1e-9
    assert objective.average_load(loads) <= objective.makespan(loads) * (1 + 1e-9)


@given(st.floats(0.001, 1e6), st.integers(1, 20))
def test_equal_loads_are_balanced_and_a_lone_one_is_not(load: float, nodes: int) -> None:
    assert objective.imbalance([load] * nodes) == pytest.approx(1)
    assert objective.fairness([load] * nodes) == pytest.approx(1)
    lone = [load] + [0.0] * (nodes - 1)
    assert objective.imbalance(lone) == pytest.approx(nodes)
    assert objective.fairness(lone) == pytest.approx(1 / nodes)


@given(BUSY, st.floats(0.01, 100))
def test_order_and_unit_do_not_matter(loads: list[float], factor: float) -> None:
    shuffled = sorted(loads)
    for measure in (objective.imbalance, objective.fairness):
        assert measure(shuffled) == pytest.approx(measure(loads))
        assert measure([factor * load for load in loads]) == pytest.approx(measure(loads))
    assert objective.average_load(shuffled) == objective.average_load(loads)


@given(LOADS, SECONDS)
def test_a_common_delay_counts_once_per_task(durations: list[float], delay: float) -> None:
    together = objective.completion_time(durations, delay)
    assert together == objective.completion_time(durations, [delay] * len(durations))
    assert together == pytest.approx(sum(durations) + delay * len(durations))


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=6), st.tuples(SECONDS, SECONDS), SECONDS)
def test_weighted_objective_grows_with_the_threshold(
    times: list[tuple[float, float]], weights: tuple[float, float], threshold: float
) -> None:
    free = objective.weighted_objective(times, weights, 0)
    held = objective.weighted_objective(times, weights, threshold)
    assert max(free, threshold * len(times)) * (1 - 1e-9) <= held <= (free + threshold * len(times)) * (1 + 1e-9)


@given(st.lists(SECONDS, min_size=1, max_size=5), st.lists(st.floats(0.1, 100), min_size=1, max_size=3))
@settings(deadline=None)
def test_no_allocation_beats_a_bound(works: list[float], speeds: list[float]) -> None:
    times = [[work / speed for work in works] for speed in speeds]
    best = min(
        objective.makespan(objective.node_loads(times, owners))
        for owners in itertools.product(range(len(speeds)), repeat=len(works))
    )
    uniform = objective.prefix_bound(works, speeds)
    assert objective.run_time_bound(times) <= best * (1 + 1e-9)
    assert objective.work_bound(works, speeds) <= uniform
    assert objective.longest_bound(works, speeds) <= uniform
    assert uniform <= best * (1 + 1e-9)


@given(st.lists(st.lists(st.floats(0.001, 1e3), min_size=4, max_size=4), min_size=1, max_size=3), st.data())
def test_the_run_time_bound_holds_where_nodes_differ_by_task(times: list[list[float]], data: st.DataObject) -> None:
    owners = data.draw(st.lists(st.integers(0, len(times) - 1), min_size=4, max_size=4))
    assert objective.run_time_bound(times) <= objective.makespan(objective.node_loads(times, owners)) * (1 + 1e-9)


@given(LOADS, st.floats(0, 1e6))
def test_utilisation_is_a_share(busy: list[float], idle: float) -> None:
    span = max(busy) + idle
    if span > 0:
        assert 0 <= objective.utilisation(busy, span) <= 1
        assert objective.utilisation(busy, span) * span * len(busy) == pytest.approx(sum(busy))
