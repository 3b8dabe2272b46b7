"""It learns each kind on its own, quickly, and whatever it is told its predictions stay positive and finite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.agents.estimator import FADE_S, KINDS_MAX, PATIENCE_S, SECONDS_MAX, SECONDS_MIN, Estimator, Evidence
from parley.protocols.core import Task


def task(kind: str = "train", work: float | None = 4.0) -> Task:
    return Task(id="t", kind=kind, work=work)


def test_cold_it_believes_the_tasks_work() -> None:
    estimator = Estimator(2.0)
    assert estimator.predict(task(work=4.0), 0.0) == 2.0
    assert estimator.predict(task(work=None), 0.0) == 0.5
    assert estimator.evidence("train") == Evidence(0, 1.0)


def test_it_converges_whatever_the_size_of_the_tasks() -> None:
    estimator = Estimator(2.0)
    for work in (1.0, 5.0, 0.1, 20.0) * 5:
        estimator.observe(task(work=work), work / 2.0 * 1.7, 0.0)
    assert estimator.evidence("train").observations == 20
    assert estimator.evidence("train").factor == pytest.approx(1.7, rel=1e-3)
    assert estimator.predict(task(work=100.0), 0.0) == pytest.approx(85.0, rel=1e-3)


def test_without_a_known_work_the_first_observation_is_all_there_is() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(work=None), 0.002, 0.0)
    assert estimator.predict(task(work=None), 1e6) == pytest.approx(0.002)


def test_twice_as_long_and_half_as_long_cancel_out() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(), 8.0, 0.0)
    estimator.observe(task(), 2.0, 0.0)
    assert estimator.predict(task(), 0.0) == pytest.approx(4.0)


def test_ten_tasks_teach_it_that_all_takes_three_times_as_long_now() -> None:
    estimator = Estimator(1.0)
    for _ in range(100):
        estimator.observe(task(), 4.0, 0.0)
    for _ in range(10):
        estimator.observe(task(), 12.0, 0.0)
    assert estimator.predict(task(), 0.0) == pytest.approx(12.0, rel=0.05)


def test_a_slow_first_task_counts_half_and_is_soon_forgiven() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(work=1.0), 100.0, 0.0)
    assert estimator.predict(task(work=1.0), 0.0) == pytest.approx(10.0)
    for _ in range(10):
        estimator.observe(task(work=1.0), 1.0, 0.0)
    assert estimator.predict(task(work=1.0), 0.0) < 1.3


def test_what_is_not_renewed_fades_until_the_node_is_tried_again() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(), 36.0, 100.0)
    told = [estimator.predict(task(), 100.0 + idle) for idle in (0.0, PATIENCE_S, PATIENCE_S + FADE_S, 200.0)]
    assert told == pytest.approx([12.0, 12.0, 4.0 * 3 ** (1 / math.e), 4.0])
    estimator.observe(task(), 36.0, 300.0)
    assert estimator.predict(task(), 300.0) > 12.0


def test_kinds_are_learnt_apart() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task("slow", None), 40.0, 0.0)
    estimator.observe(task("fast", None), 0.4, 0.0)
    assert estimator.predict(task("slow", None), 0.0) == pytest.approx(40.0)
    assert estimator.predict(task("fast", None), 0.0) == pytest.approx(0.4)
    assert estimator.predict(task("other"), 0.0) == 4.0


def test_the_longest_unobserved_kind_is_forgotten() -> None:
    estimator = Estimator(1.0)
    for number in range(KINDS_MAX):
        estimator.observe(task(f"kind{number}"), 8.0, 0.0)
    estimator.observe(task("kind0"), 8.0, 1.0)
    estimator.observe(task("one more"), 8.0, 1.0)
    assert estimator.evidence("kind0").observations == 2
    assert estimator.evidence("kind1").observations == 0
    assert estimator.evidence("kind2").observations == 1


@given(
    st.floats(1e-6, 1e6),
    st.lists(st.tuples(st.none() | st.floats(0.0, 1e9), st.floats(0.0, 1e9), st.floats(0.0, 1e9)), max_size=20),
    st.floats(0.0, 1e9),
    st.floats(0.0, 1e9),
)
def test_predictions_are_positive_and_finite(
    speed: float, observations: list[tuple[float | None, float, float]], work: float, now: float
) -> None:
    estimator = Estimator(speed)
    for done, seconds, at in sorted(observations, key=lambda observation: observation[2]):
        estimator.observe(task(work=done), seconds, at)
    last = max((at for _, _, at in observations), default=0.0)
    assert SECONDS_MIN <= estimator.predict(task(work=work), max(now, last)) <= SECONDS_MAX


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_node_without_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Estimator(speed)
