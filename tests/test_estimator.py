"""It learns each kind on its own, quickly, and whatever it is told its predictions stay positive and finite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.agents.estimator import FADE_S, KINDS_MAX, OPTIMISM, PATIENCE_S, SECONDS_MAX, SECONDS_MIN, Estimator
from parley.protocols.core import Conditions, Task
from parley.protocols.performatives import Basis
from parley.protocols.swim_words import ESTIMATES_TOLD_MAX, Estimate


def task(kind: str = "train", work: float | None = 4.0) -> Task:
    return Task(id="t", kind=kind, work=work)


def seconds(estimator: Estimator, asked: Task, now: float) -> float:
    return estimator.estimate(asked, now)[0]


def basis(estimator: Estimator, kind: str = "train", now: float = 0.0) -> Basis:
    told = estimator.estimate(task(kind), now)[1]
    assert told is not None
    return told


def test_cold_it_believes_the_tasks_work() -> None:
    estimator = Estimator(2.0)
    assert seconds(estimator, task(work=4.0), 0.0) == 2.0
    assert seconds(estimator, task(work=None), 0.0) == 0.5
    assert estimator.estimate(task(), 0.0)[1] is None


def test_it_converges_whatever_the_size_of_the_tasks() -> None:
    estimator = Estimator(2.0)
    for work in (1.0, 5.0, 0.1, 20.0) * 5:
        estimator.observe(task(work=work), work / 2.0 * 1.7, 0.0)
    assert basis(estimator).observations == 20
    assert basis(estimator).factor == pytest.approx(1.7, rel=1e-3)
    assert seconds(estimator, task(work=100.0), 0.0) == pytest.approx(85.0, rel=1e-3)


def test_without_a_known_work_the_first_observation_is_all_there_is() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(work=None), 0.002, 0.0)
    assert seconds(estimator, task(work=None), 1e6) == pytest.approx(0.002)


def test_twice_as_long_and_half_as_long_cancel_out() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(), 8.0, 0.0)
    estimator.observe(task(), 2.0, 0.0)
    assert seconds(estimator, task(), 0.0) == pytest.approx(4.0)


def test_ten_tasks_teach_it_that_all_takes_three_times_as_long_now() -> None:
    estimator = Estimator(1.0)
    for _ in range(100):
        estimator.observe(task(), 4.0, 0.0)
    for _ in range(10):
        estimator.observe(task(), 12.0, 0.0)
    assert seconds(estimator, task(), 0.0) == pytest.approx(12.0, rel=0.05)


def test_a_slow_first_task_counts_half_and_is_soon_forgiven() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(work=1.0), 100.0, 0.0)
    assert seconds(estimator, task(work=1.0), 0.0) == pytest.approx(10.0)
    for _ in range(10):
        estimator.observe(task(work=1.0), 1.0, 0.0)
    assert seconds(estimator, task(work=1.0), 0.0) < 1.3


def test_what_is_not_renewed_fades_until_the_node_is_tried_again() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task(), 36.0, 100.0)
    told = [seconds(estimator, task(), 100.0 + idle) for idle in (0.0, PATIENCE_S, PATIENCE_S + FADE_S, 200.0)]
    assert told == pytest.approx([12.0, 12.0, 4.0 * 3 ** (1 / math.e), 4.0])
    estimator.observe(task(), 36.0, 300.0)
    assert seconds(estimator, task(), 300.0) > 12.0


def test_kinds_are_learnt_apart() -> None:
    estimator = Estimator(1.0)
    estimator.observe(task("slow", None), 40.0, 0.0)
    estimator.observe(task("fast", None), 0.4, 0.0)
    assert seconds(estimator, task("slow", None), 0.0) == pytest.approx(40.0)
    assert seconds(estimator, task("fast", None), 0.0) == pytest.approx(0.4)
    assert seconds(estimator, task("other"), 0.0) == 4.0


def test_the_longest_unobserved_kind_is_forgotten() -> None:
    estimator = Estimator(1.0)
    for number in range(KINDS_MAX):
        estimator.observe(task(f"kind{number}"), 8.0, 0.0)
    estimator.observe(task("kind0"), 8.0, 1.0)
    estimator.observe(task("one more"), 8.0, 1.0)
    assert basis(estimator, "kind0").observations == 2
    assert estimator.estimate(task("kind1"), 0.0)[1] is None
    assert basis(estimator, "kind2").observations == 1


def test_a_kind_never_seen_here_is_taken_to_be_as_the_others_tell() -> None:
    estimator = Estimator(2.0)
    for node, factor in (("a", 3.0), ("b", 5.0), ("c", 100.0)):
        estimator.told(node, (Estimate("train", 9, factor, 1.0),))
    expected, rests_on = estimator.estimate(task(work=4.0), 0.0)
    assert expected == pytest.approx(9.0)
    assert rests_on is not None
    assert (rests_on.observations, round(rests_on.factor, 9)) == (0, 4.5)
    assert seconds(estimator, task(work=None), 0.0) == pytest.approx(2.25)
    estimator.told("c", ())
    estimator.told("b", ())
    assert seconds(estimator, task(work=4.0), 0.0) == pytest.approx(5.4)
    estimator.observe(task(work=None), 0.1, 0.0)
    assert seconds(estimator, task(work=None), 0.0) == pytest.approx(0.1)


def test_what_is_not_renewed_fades_to_a_little_less_than_others_tell() -> None:
    """A little less, since a node that bids what the others bid, and the way there, is never tried."""
    estimator = Estimator(1.0)
    estimator.told("a", (Estimate("train", 9, 2.0, 1.0),))
    estimator.observe(task(work=None), 18.0, 0.0)
    assert seconds(estimator, task(work=None), PATIENCE_S) == pytest.approx(18.0)
    assert seconds(estimator, task(work=None), PATIENCE_S + 20 * FADE_S) == pytest.approx(2.0 * OPTIMISM, rel=1e-3)
    assert seconds(estimator, task(work=3.0), PATIENCE_S + 20 * FADE_S) == pytest.approx(6.0 * OPTIMISM, rel=1e-3)


def test_who_is_faster_than_others_does_not_fade() -> None:
    estimator = Estimator(1.0)
    estimator.told("a", (Estimate("train", 9, 2.0, 1.0),))
    estimator.observe(task(work=None), 0.5, 0.0)
    assert seconds(estimator, task(work=None), PATIENCE_S + 20 * FADE_S) == pytest.approx(0.5)


def test_what_is_told_is_what_was_observed_last() -> None:
    estimator = Estimator(1.0)
    for number in range(ESTIMATES_TOLD_MAX + 4):
        estimator.observe(task(f"kind{number}", None), 2.0, 0.0)
    told = estimator.estimates
    assert len(told) == ESTIMATES_TOLD_MAX
    newest = told[0]
    assert (newest.kind, newest.observations, newest.seconds) == (f"kind{ESTIMATES_TOLD_MAX + 3}", 1, 2.0)
    assert newest.factor == pytest.approx(2.0)


def test_tasks_of_one_kind_are_told_apart_by_what_they_are_like() -> None:
    estimator = Estimator(1.0)
    training, sleeping = (
        Task("t", "command", terms=Conditions(about=(("like", like),))) for like in ("python train.py", "sleep")
    )
    estimator.observe(training, 60.0, 0.0)
    assert seconds(estimator, training, 0.0) == pytest.approx(60.0)
    assert seconds(estimator, sleeping, 0.0) == 1.0
    assert estimator.estimates[0].kind == "command python train.py"


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
    for done, took_s, at in sorted(observations, key=lambda observation: observation[2]):
        estimator.observe(task(work=done), took_s, at)
    last = max((at for _, _, at in observations), default=0.0)
    assert SECONDS_MIN <= seconds(estimator, task(work=work), max(now, last)) <= SECONDS_MAX


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_node_without_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Estimator(speed)
