"""A hybrid logical clock: one integer that orders causes before effects and stays close to the wall.

Source: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks", OPODIS 2014. The upper 48 bits are
milliseconds of wall time, the lower 16 a counter; packed so, comparing two stamps is comparing two integers, and the
paper's case distinction becomes one `max`. A counter that runs over carries into the milliseconds, which is harmless.

    n1 (wall 1000)                     n2 (wall 998)
      | tick() -> 1000.0                  |
      |---------- stamp 1000.0 ---------->| update(1000.0)
      |<--------- stamp 1000.1 -----------| tick() -> 1000.1, though its wall says 998
      | update(1000.1), tick() -> 1000.2  |

Invariants: stamps of one node rise strictly; what follows a message is stamped later than the message; no stranger can
drive this clock more than AHEAD_MS_MAX past its own wall.
"""

from __future__ import annotations

from collections.abc import Callable

COUNTER_BITS = 16
AHEAD_MS_MAX = 60_000
"""A remote stamp is believed as far as this ahead of the wall, and no further."""


class HybridClock:
    """`wall` gives seconds since the epoch (or virtual seconds, in the simulator)."""

    __slots__ = ("_last", "_wall")

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._last = 0

    def tick(self) -> int:
        """The stamp of something that happens here, or is sent."""
        physical = int(self._wall() * 1000.0) << COUNTER_BITS
        last = self._last + 1
        self._last = last = physical if physical > last else last
        return last

    def update(self, remote: int) -> None:
        """What was stamped `remote` has come: whatever follows is stamped later."""
        if remote > self._last:
            believable = (int(self._wall() * 1000.0) + AHEAD_MS_MAX) << COUNTER_BITS
            self._last = max(self._last, min(remote, believable))


def milliseconds(stamp: int) -> int:
    """The wall part of a stamp."""
    return stamp >> COUNTER_BITS
