"""How news spreads without anybody sending it to all: rumours for speed, digests for certainty.

Source: Demers et al., "Epidemic Algorithms for Replicated Database Maintenance", PODC 1987: rumour mongering reaches
almost everybody in O(log n) steps, anti-entropy the rest. Each who hears a rumour tells it RETELLINGS * log10(n + 1)
times and then forgets it, the least told first (SWIM, section 4.1). Anti-entropy compares digests of versions and
sends what is newer, both ways (van Renesse et al., "Efficient Reconciliation and Flow Control for Anti-Entropy
Protocols", LADIS 2008).

    a | hears that n4 is suspect      Gossip(n4 suspect) -> b, c, d, which never heard it and say it to three others
      |                               Ping(..., (n4 suspect,)) -> e, until it has been told often enough
    a | every second, to anybody      Compare(crc) -> e, who answers with its digest only if its own crc is another one
      |                               <- Digest    Delta(what e lacks, what a lacks) ->    <- Delta

Invariants: a subject has at most BESIDE_MAX rumours in the mill; none is told more often than the limit that `take` is
given; what takes the place of an older rumour starts from nought.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from .core import NodeId
from .swim_words import Standing

RETELLINGS = 4
"""SWIM's lambda."""
FANOUT = 3
"""So many hear of something new at once."""
BESIDE_MAX = 4
"""A suspicion, and three who confirm it."""

Said = TypeVar("Said")


@functools.cache
def retellings(members: int) -> int:
    """How often each of so many members tells a rumour."""
    return RETELLINGS * math.ceil(math.log10(members + 1))


class RumourMill(Generic[Said]):
    """What there is to tell, and how often it has been told."""

    def __init__(self) -> None:
        self._rumours: dict[NodeId, list[tuple[Said, int]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rumours.values()))

    @property
    def fresh(self) -> bool:
        """Something has not been told to anybody yet."""
        return any(not told for rumours in self._rumours.values() for _, told in rumours)

    def put(self, subject: NodeId, rumour: Said) -> None:
        """It takes the place of all that was said of this subject."""
        self._rumours[subject] = [(rumour, 0)]

    def put_beside(self, subject: NodeId, rumour: Said) -> None:
        """It says the same as what is told already, and somebody else says it."""
        rumours = self._rumours.setdefault(subject, [])
        if len(rumours) < BESIDE_MAX:
            rumours.append((rumour, 0))

    def take(self, listener: NodeId, most: int, limit: int) -> list[Said]:
        """Up to `most` rumours for this listener, none of itself, the least told first."""
        if not self._rumours:
            return []
        told = [
            (count, subject, place)
            for subject, rumours in self._rumours.items()
            if subject != listener
            for place, (_, count) in enumerate(rumours)
        ]
        taken = sorted(told)[:most]
        said = []
        for count, subject, place in taken:
            rumour, _ = self._rumours[subject][place]
            said.append(rumour)
            self._rumours[subject][place] = (rumour, count + 1)
        for subject in {subject for count, subject, _ in taken if count + 1 >= limit}:
            left = [(rumour, count) for rumour, count in self._rumours[subject] if count < limit]
            if left:
                self._rumours[subject] = left
            else:
                del self._rumours[subject]
        return said


class Versioned(Protocol):
    """How recent something known of a node is: where it stands, and what it has told of itself."""

    @property
    def standing(self) -> Standing: ...
    @property
    def told(self) -> tuple[int, int]: ...


def newer(mine: Mapping[NodeId, Versioned], theirs: Mapping[NodeId, Versioned]) -> list[NodeId]:
    """Of whom I know something that they do not, in either respect."""

    def is_newer(node: NodeId, known: Versioned) -> bool:
        other = theirs.get(node)
        return other is None or known.standing > other.standing or known.told > other.told

    return sorted(node for node, known in mine.items() if is_newer(node, known))
