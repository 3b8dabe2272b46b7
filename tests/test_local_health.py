"""What makes a node patient, and what makes it trust itself again."""

from __future__ import annotations

import pytest

from parley.protocols.local_health import (
    ACK_TIMEOUT_S,
    ACK_TIMEOUT_S_MAX,
    LAG_LEAST_S,
    LAG_TOLD_S,
    ROUND_TRIPS,
    SCORE_MAX,
    LocalHealth,
)
from parley.protocols.suspicion import PERIOD_S


def test_a_healthy_node_is_quick() -> None:
    health = LocalHealth(0.0)
    assert (health.period_s, health.ack_timeout_s) == (PERIOD_S, ACK_TIMEOUT_S)


def test_each_reproach_stretches_both_and_each_answer_takes_one_back() -> None:
    health = LocalHealth(0.0)
    health.worse(2)
    assert (health.period_s, health.ack_timeout_s) == pytest.approx((3 * PERIOD_S, 3 * ACK_TIMEOUT_S))
    for _ in range(3):
        health.answered(0.001)
    assert health.score == 0
    health.worse(100)
    assert health.score == SCORE_MAX


def test_three_times_the_round_trip_that_one_of_a_hundred_takes() -> None:
    health = LocalHealth(0.0)
    for _ in range(ROUND_TRIPS - 2):
        health.answered(0.001)
    assert health.ack_timeout_s == ACK_TIMEOUT_S
    health.answered(0.1)
    health.answered(0.2)
    assert health.ack_timeout_s == pytest.approx(0.3)
    for _ in range(ROUND_TRIPS):
        health.answered(60.0)
    assert health.ack_timeout_s == ACK_TIMEOUT_S_MAX


@pytest.mark.parametrize(("lag_s", "score"), [(LAG_LEAST_S / 2, 0), (0.04, 0), (0.1, 1), (0.4, 3), (60.0, SCORE_MAX)])
def test_lateness_that_may_explain_a_missing_answer_counts(lag_s: float, score: int) -> None:
    health = LocalHealth(0.0)
    health.lagged(lag_s, 0.0)
    assert health.score == score
    health.lagged(lag_s, 0.0)
    assert health.score == score


def test_a_lag_that_does_not_come_again_soon_explains_nothing_any_more() -> None:
    """Nor does it make a doubt worse that has another reason."""
    health = LocalHealth(0.0)
    health.lagged(60.0, 1.0)
    health.worse()
    assert health.score == SCORE_MAX
    scores = []
    for now in (1.0, 1.0 + 3 * PERIOD_S + 0.01, 1.0 + SCORE_MAX * PERIOD_S + 0.01, 60.0):
        health.pass_to(now)
        scores.append(health.score)
    assert scores == [SCORE_MAX, SCORE_MAX - 3, 1, 1]


def test_the_worst_lag_is_told_for_a_while() -> None:
    health = LocalHealth(0.0)
    health.lagged(0.3, 0.0)
    health.lagged(0.05, 0.0)
    told = []
    for step in range(1, 5):
        health.pass_to(step * LAG_TOLD_S)
        told.append(health.lag_s)
    assert told == [0.3, 0.0, 0.0, 0.0]
