"""A doubt with a deadline: whoever is suspected has time to refute, and the less of it the more others doubt it too.

Source: Lifeguard (Dadgar, Phillips, Currey, DSN 2018), section IV-B, "LHA-Suspicion". One accuser alone may be the one
who is slow, so it waits MAX_FACTOR times as long; each independent confirmation brings that down, logarithmically, and
after CONFIRMATIONS of them only the minimum is left:

    timeout = max(min, max - (max - min) * log(confirmations + 1) / log(CONFIRMATIONS + 1))
    min = 4 * max(1, log10 n) * 0.2 s

      a | n4 does not answer            deadline 2.4 s after the first doubt
        | b doubts it too               1.6 s
        | c, d                          0.8 s: dead, if it has not refuted by then

Invariant: a confirmation never makes the deadline later; only time in which this node did not listen does.
"""

from __future__ import annotations

import math

from .core import NodeId

CONFIRMATIONS = 3
PERIODS = 4
PERIOD_S = 0.2
MAX_FACTOR = 3.0


def least_s(members: int) -> float:
    """How long one of so many members has to refute, once enough others doubt it."""
    return PERIODS * max(1.0, math.log10(max(1, members))) * PERIOD_S


class Suspicion:
    """Of one member, as one other counts it. `by` is the first accuser; None: hearsay."""

    def __init__(self, members: int, by: NodeId | None, now: float) -> None:
        self.since = now
        self.accusers = {by} if by is not None else set()
        self._least_s = least_s(members)
        self._needed = max(0, min(CONFIRMATIONS, members - 2))  # neither the suspect nor the first accuser confirms
        self._timeout_s = self._reckoned_s()

    def confirm(self, by: NodeId) -> bool:
        """True: it is news, and worth telling others."""
        if by in self.accusers or len(self.accusers) > self._needed:
            return False
        self.accusers.add(by)
        self._timeout_s = self._reckoned_s()
        return True

    def excuse(self, seconds: float) -> None:
        """For so long we did not listen: a refutation may be waiting to be read."""
        self.since += seconds

    @property
    def deadline(self) -> float:
        return self.since + self._timeout_s

    def _reckoned_s(self) -> float:
        if self._needed == 0:
            return self._least_s
        confirmations = max(0, min(len(self.accusers) - 1, self._needed))
        part = math.log(confirmations + 1) / math.log(self._needed + 1)
        return self._least_s * (MAX_FACTOR - (MAX_FACTOR - 1.0) * part)
