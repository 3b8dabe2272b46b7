"""Announcements that may be lost, and how a listener finds and mends the holes.

PUB/SUB drops silently: at the high-water mark, before the subscription has arrived, while a connection is re-made. So
bulletins are numbered; a listener that sees a hole asks the publisher for it over their link, where nothing is lost,
and the publisher sends those again that it still has. The last number is also told in pings, so a lost tail is found.

    publisher                          listener
      | Bulletin 4  ------------------->|  delivered
      | Bulletin 5  --------x           |
      | Bulletin 6  ------------------->|  delivered; 5 is missing
      |<---------- Pull(5, 5) over the link, PULL_DELAY_S later
      |---------- Missed(Bulletin 5) -->|  delivered

Invariants: each bulletin is delivered at most once, in the order in which they come; where a listener begins is not a
hole; a publisher keeps at most BULLETINS_KEPT bulletins and BULLETIN_BYTES_KEPT bytes.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

from msgspec import Meta

from ..protocols.core import Count, Message

BULLETINS_KEPT = 256
BULLETIN_BYTES_KEPT = 16 * 1024 * 1024
BULLETIN_BYTES_MAX = 5 * 1024 * 1024
PULL_DELAY_S = 0.02
"""A hole is given this long to close by itself: datagrams may overtake each other."""

_WINDOW = (1 << BULLETINS_KEPT) - 1


class Pull(Message, frozen=True, array_like=True):
    """Listener to publisher: send me the bulletins `first` to `last` again."""

    first: Count
    last: Count


class Missed(Message, frozen=True, array_like=True):
    """Publisher to listener: one bulletin, as it was published."""

    frame: Annotated[bytes, Meta(max_length=BULLETIN_BYTES_MAX)]


class Published:
    """The publisher's half: the last bulletins, as they went out."""

    def __init__(self) -> None:
        self.last = 0
        self._ring: deque[tuple[int, bytes]] = deque()
        self._bytes = 0

    def keep(self, frame: bytes) -> None:
        """Remember `frame`, which was published under the number `last` + 1."""
        self.last += 1
        self._ring.append((self.last, frame))
        self._bytes += len(frame)
        while len(self._ring) > BULLETINS_KEPT or self._bytes > BULLETIN_BYTES_KEPT:
            self._bytes -= len(self._ring.popleft()[1])

    def between(self, first: int, last: int) -> list[bytes]:
        return [frame for seq, frame in self._ring if first <= seq <= last]


class Heard:
    """The listener's half, for one publisher: which of the last BULLETINS_KEPT numbers have come.

    Bit i of `_came` stands for the number `last` - i. Numbers below `_since` were published before we listened: they
    are taken if they come, and never asked for.
    """

    __slots__ = ("_came", "_since", "incarnation", "last", "pull_at")

    def __init__(self, incarnation: int, since: int) -> None:
        self.incarnation = incarnation
        self.last = since - 1
        self.pull_at: float | None = None
        self._since = since
        self._came = 0

    def hear(self, seq: int, now: float) -> bool:
        """A bulletin has come: is it the first time?"""
        self.told(seq - 1, now)
        if seq > self.last:
            self._came = (self._came << 1 | 1) & _WINDOW
            self.last = seq
            return True
        behind = self.last - seq
        if behind >= BULLETINS_KEPT or self._came >> behind & 1:
            return False
        self._came |= 1 << behind
        return True

    def told(self, last: int, now: float) -> None:
        """The publisher has published up to `last`."""
        if last > self.last:
            self._came = self._came << min(last - self.last, BULLETINS_KEPT) & _WINDOW
            self.last = last
            if self.pull_at is None:
                self.pull_at = now + PULL_DELAY_S

    def missing(self) -> Pull | None:
        """The smallest request that covers every hole; asked once, for link and ring decide the rest."""
        self.pull_at = None
        first = max(self._since, self.last - BULLETINS_KEPT + 1)
        while first <= self.last and self._came >> (self.last - first) & 1:
            first += 1
        last = self.last
        while last >= first and self._came >> (self.last - last) & 1:
            last -= 1
        self._since = last + 1
        return Pull(first, last) if first <= last else None
