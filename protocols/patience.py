"""How long to wait for an answer before asking again: several times as long as answers have taken lately.

    answers take 5 ms    asked again after LEAST_S: only whoever died and came back has not heard
    answers take 0.6 s   asked again after 2.4 s: a node that is merely busy is not given more to do
    still no answer      twice as long, and again, up to MOST_S

Messages are repeated below until they are acknowledged (`transport/link.py`), so asking again is for those that lost
them with their former life. Source: Jacobson 1988 (retransmission timers follow a smoothed round trip, and back off).
"""

from __future__ import annotations

LEAST_S = 0.5
MOST_S = 8.0
TIMES = 4.0
NEWEST = 0.125
"""What the newest answer counts against all earlier ones;"""
QUICKER = 0.5
"""if it was quicker: what held the earlier ones up, a pause or a cut, is over."""


class Patience:
    """Of one asker. `answered_s` is how long answers take, smoothed."""

    def __init__(self) -> None:
        self.answered_s = 0.0

    def answered(self, took_s: float) -> None:
        """An answer came so long after the question was first asked."""
        counts = QUICKER if took_s < self.answered_s else NEWEST
        self.answered_s += counts * (took_s - self.answered_s)

    def wait_s(self, asked: int) -> float:
        """How long to wait when this has been asked so many times, at least once."""
        first = max(LEAST_S, TIMES * self.answered_s)
        return min(first if asked <= 1 else float(first * 2 ** min(asked - 1, 10)), MOST_S)
