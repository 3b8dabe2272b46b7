"""Record before promise: effects that stand on a record wait until the disk has it; everything else goes on.

    role                 gate                      shell
      | [Record, Pledge]   |                         |
      |------------------->| Record 17 ------------->|   the pledge waits
      | [Pong]             |                         |
      |------------------->| Pong ------------------>|   a slow disk does not delay it
      |                    |<------------ recorded 17|
      |                    | Pledge ---------------->|

A pledge speaks of many tasks and waits for all that was recorded before it; so does what others are told of tasks that
they seek. What is done with one attempt (it runs, it was given back) waits for what was answered to its own award, and
for no other: else a slot would stand idle while the disk is busy with its neighbour's result. That it stops promises
nothing, and waits for nothing: else it would run on beside what has its slot now.

Source: write-ahead logging; "save before send" of the raft library of etcd.

Invariant: nothing leaves before the records that it stands on are on disk; pledges keep their order, and so do the
effects on one attempt; what is given up before it could start never starts. Without a journal nothing is recorded and
nothing waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from .commitment_words import AwardEntry, Pledge
from .core import Count, Effect, Local, Message, Record, Resume, Run, Send, Stop, TaskId
from .gang_words import Lead
from .performatives import Failure
from .seeking import Sought

ORDERED: frozenset[type[Message]] = frozenset({Pledge, Sought})
"""Messages that stand on whatever was recorded: who tells how a task has ended must not forget it."""
GATED: frozenset[type[Effect]] = frozenset({Record, Send, Run, Lead, Resume, Stop})
"""Effects that may have to wait, or are counted; all others pass."""


class Recorded(Local, frozen=True, array_like=True):
    """So many records are on disk."""

    number: Count


class Gate:
    """Counts records, holds back what stands on them. `recording`: there is a journal; `ordered` are pledges."""

    def __init__(self, recording: bool, ordered: frozenset[type[Message]] = ORDERED) -> None:
        self._recording = recording
        self._ordered = ordered
        self._recorded = 0
        self._durable = 0
        self._answers: OrderedDict[TaskId, int] = OrderedDict()  # by task, the last record about an award of it
        self._held: deque[tuple[int, Effect]] = deque()

    @property
    def number(self) -> int:
        """Of the last record that was let through."""
        return self._recorded

    @property
    def waiting(self) -> int:
        """How many effects are held back."""
        return len(self._held)

    @property
    def unanswered(self) -> list[TaskId]:
        """Of whose awards the answers wait for the disk."""
        return list(self._answers)

    def passes(self, effect: Effect) -> bool:
        """May it be performed now? A record that passes is counted; what does not pass is kept."""
        kind = type(effect)
        if kind is Record:
            self._record(effect)  # type: ignore[arg-type]
            return self._recording
        if self._durable == self._recorded:
            return True
        if kind is Send:
            needed = self._needed_to_say(effect.message)  # type: ignore[attr-defined]
        elif kind is Run or kind is Lead:
            needed = self._answers.get(effect.task.id, 0)  # type: ignore[attr-defined]
        elif kind is Resume:
            needed = self._answers.get(effect.task, 0)  # type: ignore[attr-defined]
        else:
            return not (kind is Stop and self._withdraw(effect))  # type: ignore[arg-type]
        if needed > self._durable:
            self._held.append((needed, effect))
            return False
        return True

    def recorded(self, number: int) -> Iterable[Effect]:
        """So many records are on disk: what stood on them may go."""
        self._durable = max(self._durable, number)
        while self._answers and next(iter(self._answers.values())) <= self._durable:
            self._answers.popitem(last=False)
        held, self._held = self._held, deque()
        freed: list[Effect] = []
        for needed, effect in held:
            if needed <= self._durable:
                freed.append(effect)
            else:
                self._held.append((needed, effect))
        return freed

    def _withdraw(self, stop: Stop) -> bool:
        """An attempt that is given up while its start waits for the disk is never started."""
        for held in self._held:
            match held[1]:
                case Run(task, epoch) if (task.id, epoch) == (stop.task, stop.epoch):
                    self._held.remove(held)
                    return True
        return False

    def _record(self, record: Record) -> None:
        if not self._recording:
            return
        self._recorded += 1
        entry = record.entry
        if type(entry) is AwardEntry:
            self._answers[entry.task] = self._recorded
            self._answers.move_to_end(entry.task)

    def _needed_to_say(self, message: Message) -> int:
        """The number of the last record that it stands on."""
        if type(message) in self._ordered:
            return self._recorded
        return self._answers.get(message.task, 0) if type(message) is Failure else 0
