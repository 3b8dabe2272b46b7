"""Does a process hold more and more? Judged by the slope over the second half of what was seen of it.

Memory may grow by what an agent remembers on purpose, up to limits of its own: tasks that have ended, for whoever asks,
where they were handed in and at their holders; what was answered to awards; and bids, until their fate is known. Of
what was seen a straight line is made (least squares), so that one large moment does not decide; and descriptors and
processes that come back, with a peer that was killed, are none that it has not held before.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from .holdings import Holding

BOOK_KB = 2.0
"""What a task that has ended takes where it was handed in."""
HELD_KB = 0.75
"""What the end of a task takes at each of its holders."""
AWARD_KB = 0.8
"""What the answer to an award takes where it was given."""
BID_KB = 0.3
"""What a bid takes until its fate is known."""
MEMORY_SLACK_MB = 4.0
DESCRIPTORS_SLACK = 4.0
CHILDREN_SLACK = 2.0

_Seen: TypeAlias = list[tuple[float, Holding]]


class Growth(msgspec.Struct, frozen=True):
    """Of one process, over the second half; `memory_mb` and the rest at its end."""

    memory_mb: float
    memory_grew_mb: float
    remembered_mb: float
    descriptors: int
    descriptors_grew: float
    children: int
    children_grew: float

    @property
    def is_growth(self) -> bool:
        """It grows more than chance and what it remembers on purpose can explain."""
        return (
            self.memory_grew_mb > self.remembered_mb + MEMORY_SLACK_MB
            or self.descriptors_grew > DESCRIPTORS_SLACK
            or self.children_grew > CHILDREN_SLACK
        )


class Series:
    """What was seen of one process, and when."""

    def __init__(self) -> None:
        self._seen: _Seen = []

    def add(self, now: float, held: Holding) -> None:
        self._seen.append((now, held))

    def growth(self, ended: int, held: int, awards: int, bids: int) -> Growth:
        """In the second half `ended` tasks were handed in here, `held` were held, `awards` begun, and `bids` made."""
        if not self._seen:
            raise ValueError("nothing was seen of it")
        before, half = self._seen[: len(self._seen) // 2], self._seen[len(self._seen) // 2 :]
        last = half[-1][1]
        return Growth(
            round(last.memory_mb, 1),
            round(_rise(half, lambda held: held.memory_mb), 2),
            round((ended * BOOK_KB + held * HELD_KB + awards * AWARD_KB + bids * BID_KB) / 1e3, 2),
            last.descriptors,
            round(_beyond(before, half, lambda held: held.descriptors), 2),
            last.children,
            round(_beyond(before, half, lambda held: held.children), 2),
        )


def _beyond(before: _Seen, half: _Seen, what: Callable[[Holding], float]) -> float:
    """Its rise, as far as it goes beyond what the process held before, but for its highest moments."""
    rise = _rise(half, what)
    return min(rise, _high(half, what) - _high(before, what)) if len(before) > 1 else rise


def _high(seen: _Seen, what: Callable[[Holding], float]) -> float:
    """Nine in ten times it was less."""
    return statistics.quantiles([float(what(held)) for _, held in seen], n=10, method="inclusive")[-1]


def _rise(seen: _Seen, what: Callable[[Holding], float]) -> float:
    """By how much the line through these rises from the first to the last."""
    times = [at for at, _ in seen]
    if len(set(times)) < 2:
        return 0.0
    slope, _ = statistics.linear_regression(times, [float(what(held)) for _, held in seen])
    return slope * (times[-1] - times[0])
