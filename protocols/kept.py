"""How tasks have ended, kept at their holders for whoever asks; and names, for which nothing is ever promised again.

    decided, and all holders know it      KeptEntry: the outcome, without its payload
    a holder of it is dead for good       Keep(entry) to the node that takes its place; from the first that lives
    too many, too large, a day old        TombEntry: the name alone

Results are copied a few at a time (COPIES_AT_ONCE every COPY_EVERY_S), so that what is under way goes first. Nobody
answers: links repeat what is lost, and who dies before it has them is a dead holder, whose place is taken again.

Invariant: whoever dies, but for all holders within the time of a move, what was decided can be asked for; nobody
promises anything for a name that stands here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Set

import msgspec

from .commitment_words import Choice, Entry, Holders, Keep, KeptEntry, TombEntry, Word
from .core import NodeId, TaskId
from .holders import replaced
from .names import Names

KEPT_MAX = 200_000
KEPT_BYTES_MAX = 256 * 1024 * 1024
KEPT_S = 24 * 3600.0
"""Outcomes that are kept for whoever asks; the oldest goes first."""
TOMBS_MAX = 1_000_000
"""Names of tasks that have ended; the oldest is forgotten first."""
COPIES_AT_ONCE = 100
COPY_EVERY_S = 0.05


class Kept:
    """Of one holder. `living` are the holders that live, as the membership knows, and `dead` those that have not for
    long; `say`, `write` and `erase` take what it has to say and to record."""

    def __init__(
        self,
        node: NodeId,
        living: Set[NodeId],
        dead: Set[NodeId],
        say: Callable[[NodeId, Word], None],
        write: Callable[[Entry], None],
        erase: Callable[[type[Entry], str], None],
    ) -> None:
        self._node = node
        self._living = living
        self._dead = dead
        self._say = say
        self._write = write
        self._erase = erase
        self._ends: OrderedDict[TaskId, tuple[KeptEntry, float]] = OrderedDict()  # and since when
        self._names = Names()
        self._bytes = 0
        self._tombs: OrderedDict[TaskId, None] = OrderedDict()
        self._holders: dict[Holders, Holders] = {}  # each once, as there are few and many tasks
        self._to_copy: deque[TaskId] = deque()
        self._copy_at: float | None = None

    def restore(self, entry: KeptEntry | TombEntry, now: float) -> None:
        """It was recorded in a former life."""
        if isinstance(entry, TombEntry):
            self._tombs[entry.task] = None
        else:
            self._keep(entry, now)

    def get(self, task: TaskId) -> KeptEntry | None:
        kept = self._ends.get(task)
        return kept[0] if kept is not None else None

    def buried(self, task: TaskId) -> bool:
        """Nothing but its name is left."""
        return task in self._tombs

    def named(self, name: str) -> list[TaskId]:
        """Tasks whose ids begin so, or whose label it is."""
        return self._names.named(name)

    def keep(self, entry: KeptEntry, now: float) -> None:
        """From now on."""
        self._keep(entry, now)
        self._write(entry)
        if not self._dead.isdisjoint(entry.holders):
            self._to_copy.append(entry.task)
            self._copy_soon(now)

    def drop(self, task: TaskId) -> None:
        """It goes on: its register is here again."""
        entry, _ = self._ends.pop(task)
        self._names.discard(task, entry.label)
        self._bytes -= size_of(entry.choice)
        self._erase(KeptEntry, task)

    def forget(self, task: TaskId) -> None:
        """Its outcome is not wanted any more."""
        if task in self._ends:
            self.drop(task)
            self.bury(task)

    def bury(self, task: TaskId) -> None:
        """Keep its name."""
        self._tombs[task] = None
        self._write(TombEntry(task))
        if len(self._tombs) > TOMBS_MAX:
            self._erase(TombEntry, self._tombs.popitem(last=False)[0])

    # -- copies

    def replace(self, dead: NodeId, now: float) -> None:
        """It is dead for long, since now: others take its place, with whatever it kept, or was to keep."""
        self._to_copy += [task for task, (entry, _) in self._ends.items() if dead in entry.holders]
        self._copy_soon(now)

    def _copy_soon(self, now: float) -> None:
        if self._to_copy and self._copy_at is None:
            self._copy_at = now

    @property
    def deadline(self) -> float | None:
        return self._copy_at

    def wake(self, now: float) -> None:
        for _ in range(min(COPIES_AT_ONCE, len(self._to_copy))):
            self._copy(self._to_copy.popleft())
        self._copy_at = now + COPY_EVERY_S if self._to_copy else None

    def _copy(self, task: TaskId) -> None:
        """All who keep it work out alike who keeps it now; the first of them that lives passes it on."""
        kept = self._ends.get(task)
        if kept is None:
            return
        entry, since = kept
        if entry.choice.outcome is None:
            return  # it goes on elsewhere
        gone = [holder for holder in entry.holders if holder not in self._living]
        to = self._shared(tuple(replaced(task, entry.holders, gone, self._living)))
        if to == entry.holders:
            return
        copy = msgspec.structs.replace(entry, holders=to)
        self._ends[task] = copy, since
        self._write(copy)
        if self._node == next(holder for holder in entry.holders if holder in self._living):
            for holder in to:
                if holder not in entry.holders:
                    self._say(holder, Keep(task, copy.move, copy.choice, copy.kind, copy.label, to))

    # -- what there is room for

    def _keep(self, entry: KeptEntry, now: float) -> None:
        shared = self._shared(entry.holders)
        if shared is not entry.holders:
            entry = msgspec.structs.replace(entry, holders=shared)
        self._ends[entry.task] = entry, now
        self._names.add(entry.task, entry.label)
        self._bytes += size_of(entry.choice)
        while self._ends and (
            len(self._ends) > KEPT_MAX
            or self._bytes > KEPT_BYTES_MAX
            or next(iter(self._ends.values()))[1] < now - KEPT_S
        ):
            self.forget(next(iter(self._ends)))

    def _shared(self, holders: Holders) -> Holders:
        return self._holders.setdefault(holders, holders)


def size_of(choice: Choice) -> int:
    """Bytes of what it came to."""
    return len(choice.outcome.value) if choice.outcome is not None else 0
