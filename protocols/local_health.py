"""Before a node doubts others it doubts itself: how far its own lateness may explain that an answer has not come.

Source: Lifeguard (Dadgar, Phillips, Currey, DSN 2018), section IV-A, "LHA-Probe": a counter, raised by what suggests
that this node is slow, lowered by what suggests that it is not, stretches how often it pings and how long it waits.
Lifeguard must guess its own slowness from missing nacks; the loop's lateness is measured here, so it is told as well.

      an answer in time          score - 1      (never below 0)
      no answer, no nack         score + 1      each; nacks show that we hear well, and that the other is silent
      we had to refute           score + 1
      Lag(0.4)                   score at least 3: what is late by 0.4 s may miss a timeout of 0.15 s twice
      0.2 s without a lag        that is 1 less

      ack timeout = max(3 * p99 round trip, 0.15 s) * (score + 1)          ping period = 0.2 s * (score + 1)

Whoever has been answered does not wait that long to ping again (`membership.py`): so who heard nothing through a cut is
quick again two seconds after it, not nine.

Invariant: 0 <= score <= SCORE_MAX, so a sick node's detection is at most SCORE_MAX + 1 times as slow.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

from .suspicion import PERIOD_S

SCORE_MAX = 8
ACK_TIMEOUT_S = 0.15
ACK_TIMEOUT_S_MAX = 1.0
"""Before it is stretched."""
ROUND_TRIPS = 128
"""The last of them are looked at."""
LAG_LEAST_S = 0.02
"""Less than this is how loops are."""
LAG_TOLD_S = 5.0
"""For so long, at least, the worst lag is told."""


class LocalHealth:
    """Of this node."""

    def __init__(self, now: float) -> None:
        self._doubts = 0
        self._late = 0  # so many timeouts, the loop was,
        self._late_at = now  # and until when that has faded
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS)
        self._lags = [0.0, 0.0]  # the worst of the present and of the former LAG_TOLD_S
        self._lags_at = now

    @property
    def score(self) -> int:
        return max(self._doubts, self._late)

    @property
    def period_s(self) -> float:
        """Between two pings."""
        return PERIOD_S * (self.score + 1)

    @property
    def ack_timeout_s(self) -> float:
        least = ACK_TIMEOUT_S
        if self._round_trips:
            slower = len(self._round_trips) - math.ceil(0.99 * len(self._round_trips))
            least = max(least, 3.0 * heapq.nlargest(slower + 1, self._round_trips)[-1])
        return min(least, ACK_TIMEOUT_S_MAX) * (self.score + 1)

    def answered(self, round_trip_s: float) -> None:
        self._round_trips.append(round_trip_s)
        self._doubts = max(0, self._doubts - 1)
        self._late = max(0, self._late - 1)

    def worse(self, by: int = 1) -> None:
        self._doubts = min(SCORE_MAX, self._doubts + by)

    def lagged(self, seconds: float, now: float) -> None:
        """The loop was late by so much."""
        if seconds < LAG_LEAST_S:
            return
        self._lags[0] = max(self._lags[0], seconds)
        if seconds > ACK_TIMEOUT_S / 3:
            self._late = max(self._late, min(SCORE_MAX, math.ceil(seconds / ACK_TIMEOUT_S)))
            self._late_at = now

    @property
    def lag_s(self) -> float:
        """The worst of the last LAG_TOLD_S, or of up to twice as much."""
        return max(self._lags)

    def pass_to(self, now: float) -> None:
        """Time has passed: old lags are forgotten, and soon explain nothing any more."""
        if self._late and (passed := int((now - self._late_at) / PERIOD_S)) > 0:
            self._late = max(0, self._late - passed)
            self._late_at += passed * PERIOD_S
        if now - self._lags_at >= LAG_TOLD_S:
            self._lags = [0.0, self._lags[0]]
            self._lags_at = now
