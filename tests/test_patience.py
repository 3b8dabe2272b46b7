"""Who asks again, and when."""

from __future__ import annotations

import pytest

from parley.protocols.patience import LEAST_S, MOST_S, TIMES, Patience


def test_it_waits_as_answers_take() -> None:
    patience = Patience()
    assert patience.wait_s(1) == LEAST_S
    for _ in range(100):
        patience.answered(1.0)
    assert patience.wait_s(1) == pytest.approx(TIMES, rel=1e-3)
    for _ in range(100):
        patience.answered(0.001)
    assert patience.wait_s(1) == LEAST_S


def test_it_asks_ever_less_often() -> None:
    waits = [Patience().wait_s(asked) for asked in range(1, 40)]
    assert waits[:5] == [LEAST_S, 2 * LEAST_S, 4 * LEAST_S, 8 * LEAST_S, 16 * LEAST_S]
    assert waits[-1] == MOST_S


def test_answers_that_were_held_up_are_soon_forgotten() -> None:
    """Thirty questions stood still with a node that paused, or behind a cut."""
    patience = Patience()
    for _ in range(30):
        patience.answered(3.0)
    assert patience.wait_s(1) == MOST_S
    for _ in range(5):
        patience.answered(0.005)
    assert patience.wait_s(1) == LEAST_S
