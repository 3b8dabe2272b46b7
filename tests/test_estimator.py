"""It learns each kind on its own, quickly, and whatever it is told its predictions stay positive and finite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.agents.estimator import KINDS_MAX, SECONDS_MAX, SECONDS_MIN, Estimator, Evidence
from parley.protocols.core import Task


def task(kind: str = "train", work: float | None = 4.0) -> Task:
    return Task(id="t", kind=kind, work=work)


def test_cold_it_believes_the_tasks_work() -> None:
    estimator = Estimator(2.0)
    assert estimator.predict(task(work=4.0)) == 2.0
    assert estimator.predict(task(work=None)) == 0.5
    assert estimator.evidence("train") == Evidence(0, 1.0)


def test_cold_it_may_rest_on_what_others_know() -> None:
    estimator = Estimator(2.0, prior={"train": 3.0}.__getitem__)
    assert estimator.predict(task(work=4.0)) == 6.0
    estimator.observe(task(work=4.0), 2.0)
    assert estimator.predict(task(work=4.0)) == pytest.approx(2.0)


def test_it_converges_whatever_the_size_of_the_tasks() -> None:
    estimator = Estimator(2.0)
    for work in (1.0, 5.0, 0.1, 20.0):
        estimator.observe(task(work=work), work / 2.0 * 1.7)
    assert estimator.evidence("train").observations == 4
    assert estimator.evidence("train").factor == pytest.approx(1.7)
    assert estimator.predict(task(work=100.0)) == pytest.approx(85.0)


def test_twice_as_long_and_half_as_long_cancel_out() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(), 8.0)
    estimator.observe(task(), 2.0)
    assert estimator.predict(task()) == pytest.approx(4.0)


def test_ten_tasks_teach_it_that_all_takes_three_times_as_long_now() -> None:
    estimator = Estimator(1.0)
    for _ in range(100):
        estimator.observe(task(), 4.0)
    for _ in range(10):
        estimator.observe(task(), 12.0)
    assert estimator.predict(task()) == pytest.approx(12.0, rel=0.05)


def test_a_slow_first_task_is_soon_forgiven() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(work=1.0), 100.0)
    for _ in range(10):
        estimator.observe(task(work=1.0), 1.0)
    assert estimator.predict(task(work=1.0)) < 1.3


def test_kinds_are_learnt_apart() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task("slow"), 40.0)
    estimator.observe(task("fast"), 0.4)
    assert estimator.predict(task("slow")) == pytest.approx(40.0)
    assert estimator.predict(task("fast")) == pytest.approx(0.4)
    assert estimator.predict(task("other")) == 4.0


def test_the_least_recently_used_kind_is_forgotten() -> None:
    estimator = Estimator(1.0)
    for i in range(KINDS_MAX):
        estimator.observe(task(f"kind{i}"), 8.0)
    estimator.predict(task("kind0"))
    estimator.observe(task("one more"), 8.0)
    assert estimator.evidence("kind0").observations == 1
    assert estimator.evidence("kind1").observations == 0
    assert estimator.evidence("kind2").observations == 1


def test_asking_for_unknown_kinds_remembers_nothing() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(), 8.0)
    for i in range(2 * KINDS_MAX):
        estimator.predict(task(f"kind{i}"))
    assert estimator.evidence("train").observations == 1


@given(
    st.floats(1e-6, 1e6),
    st.lists(st.tuples(st.none() | st.floats(0.0, 1e9), st.floats(0.0, 1e9)), max_size=20),
    st.floats(0.0, 1e9),
)
def test_predictions_are_positive_and_finite(
    speed: float, observations: list[tuple[float | None, float]], work: float
) -> None:
    estimator = Estimator(speed)
    for done, seconds in observations:
        estimator.observe(task(work=done), seconds)
    assert SECONDS_MIN <= estimator.predict(task(work=work)) <= SECONDS_MAX


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_node_without_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Estimator(speed)
