"""Record before promise: effects that stand on a record wait until the disk has it; everything else goes on.

    role                 gate                      shell
      | [Record, Pledge]   |                         |
      |------------------->| Record 17 ------------->|   the pledge waits
      | [Pong]             |                         |
      |------------------->| Pong ------------------>|   a slow disk does not delay it
      |                    |<------------ recorded 17|
      |                    | Pledge ---------------->|

Source: write-ahead logging; "save before send" of the raft library of etcd.

Invariant: what is held back leaves in the order in which it came, each after every record that came before it. Without
a journal nothing is recorded and nothing waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .commitment_words import Pledge
from .core import Count, Effect, Local, Message, Record, Resume, Run, Send, Stop
from .performatives import Failure

ORDERED: frozenset[type[Message]] = frozenset({Pledge, Failure})
"""Messages that stand on what was recorded."""
WORK: frozenset[type[Effect]] = frozenset({Run, Stop, Resume})
"""An attempt starts when its award is on disk; what is said of it later comes later."""


class Recorded(Local, frozen=True, array_like=True):
    """So many records are on disk."""

    number: Count


class Gate:
    """Counts records, holds back what stands on them. `recording`: there is a journal."""

    def __init__(self, recording: bool, ordered: frozenset[type[Message]] = ORDERED) -> None:
        self._recording = recording
        self._ordered = ordered
        self._recorded = 0
        self._durable = 0
        self._held: deque[tuple[int, Effect]] = deque()

    @property
    def number(self) -> int:
        """Of the last record that was let through."""
        return self._recorded

    @property
    def waiting(self) -> int:
        """How many effects are held back."""
        return len(self._held)

    def passes(self, effect: Effect) -> bool:
        """May it be performed now? A record that passes is counted; what does not pass is kept."""
        kind = type(effect)
        if kind is Record:
            if self._recording:
                self._recorded += 1
            return self._recording
        if self._durable == self._recorded:
            return True
        if kind in WORK or (kind is Send and type(effect.message) in self._ordered):  # type: ignore[attr-defined]
            self._held.append((self._recorded, effect))
            return False
        return True

    def recorded(self, number: int) -> Iterable[Effect]:
        """So many records are on disk: what stood on them may go."""
        self._durable = max(self._durable, number)
        freed: list[Effect] = []
        while self._held and self._held[0][0] <= self._durable:
            freed.append(self._held.popleft()[1])
        return freed
