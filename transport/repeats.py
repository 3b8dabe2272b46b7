"""When a packet that is not acknowledged is taken for lost: later on a wire that loses nothing, soon on one that does.

Where nothing is lost, nobody is in a hurry: acknowledgements ride on answers, or come ACK_DELAY_S late, and what is
missing after RESEND_S is repeated, less and less often. A link is *lossy* once a packet had to be repeated before it
was acknowledged, or the peer has told of a hole; then the peer answers within QUICK_S (`link.py`), and the wait follows
how long its answers take:

    wait_s = (answer_s + 4 * vary_s) * slack        at least twice the quickest answer ever seen, RESEND_S at most
    answered, and sent once     answer_s and vary_s follow it, slack = 1     what was repeated says nothing of time
    twice in a row repeated     slack grows: perhaps the peer is only slow, and is not to be given more to do
    no answer                   repeated LINEAR times at that pace, then less and less often
    CALM packets without        as where nothing is lost

Sources: Jacobson 1988 and RFC 6298 (the wait follows round trips and how they vary; it grows with repeats until one
answer is unambiguous, Karn and Partridge 1987); RFC 6582 (a hole behind the one that was just closed is one, too);
Petlund et al. 2008 (thin streams: the first repeats keep their pace, for those few packets congest nothing).
"""

from __future__ import annotations

import math

RESEND_S = 0.5
RESEND_S_MAX = 2.0
RESEND_S_MIN = 0.02
LINEAR = 4
SLACK_EACH = 1.5
SLACK_MAX = 16.0
CALM = 128
"""So many packets in a row that were acknowledged without a repeat: the link is not lossy any more."""
EARLY = 4
"""So few, where nothing is known of it yet: the peer answers its first packets soon, in any case."""
NEWEST = 0.125
NEWEST_VARY = 0.25
"""What the newest answer counts for `answer_s`, and how far it was off for `vary_s`."""
FIRST_S = 0.015
"""Both, as long as nothing is known of a lossy link."""


class Repeats:
    """Of one link, outwards. `answer_s` is how long acknowledgements take while it is lossy, `least_s` at best ever."""

    __slots__ = ("_again", "_slack", "_vary_s", "answer_s", "least_s", "lossy", "tries")

    def __init__(self) -> None:
        self.lossy = EARLY
        """After so many packets more it would be calm."""
        self.least_s = math.inf
        self.answer_s = self._vary_s = FIRST_S
        self.begin()

    def begin(self) -> None:
        """Nothing is under way, or all of it begins anew."""
        self.tries = 0
        self._slack = 1.0
        self._again = False  # the last that was acknowledged had been repeated

    @property
    def wait_s(self) -> float:
        """How long to wait for an acknowledgement of what is sent now."""
        if not self.lossy:
            return RESEND_S
        told = self.answer_s + 4.0 * self._vary_s
        floor = 2.0 * self.least_s if self.least_s < RESEND_S else 0.0
        return min(max(told, floor, RESEND_S_MIN) * self._slack, RESEND_S)

    def next_s(self) -> float:
        """All that is overdue is repeated now: how long to wait then."""
        self.tries += 1
        if not self.lossy:
            return min(RESEND_S * 2.0 ** min(self.tries, 8), RESEND_S_MAX)
        return min(self.wait_s * 2.0 ** min(max(self.tries - LINEAR, 0), 8), RESEND_S_MAX)

    def lost(self) -> None:
        """Something was."""
        if not self.lossy:
            self.answer_s = self._vary_s = FIRST_S
        self.lossy = CALM

    def repeated(self) -> None:
        """What is acknowledged now had to be repeated."""
        self.tries = 0
        self.lost()
        if self._again:
            self._slack = min(SLACK_EACH * self._slack, SLACK_MAX)
        self._again = True

    def answered(self, took_s: float, packets: int) -> None:
        """So many packets are acknowledged, the last of them so long after it was sent, once."""
        self.tries = 0
        self._slack = 1.0
        self._again = False
        if took_s < self.least_s:
            self.least_s = took_s
        if self.lossy:
            self.lossy = max(self.lossy - packets, 0)
            self._vary_s += NEWEST_VARY * (abs(took_s - self.answer_s) - self._vary_s)
            self.answer_s += NEWEST * (took_s - self.answer_s)
