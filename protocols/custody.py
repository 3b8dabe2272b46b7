"""What a held task refers to lies at its holders as well: a word with large values is heard when they are here.

    owner, or winner              a holder                                  its carrier
      | Hold | Commit(blobs) -----> | they are not here: it waits              |
      |                             | Gather(from the sender, or a holder) --> |
      |                             | <------------------------------ Gathered |
      | <---------- Held | Vote     | now the register hears it

To whoever said it this holder is merely slow, and protocols stand that. What cannot be had was not said; it is asked
again. What is learnt, and not voted for, is fetched without anybody waiting.

What is kept follows the records: values of a task while its register stands, those of its end until it is forgotten,
but no more than `bytes_max` of ends: then the oldest go.

Invariant: behind every promise for a task, and every vote for an outcome, lie all bytes that it refers to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .blobs import Gather, Gathered, Key, Release
from .carrier import Carrier
from .commitment_words import AwardEntry, Choice, Commit, Entry, Hold, Keep, KeptEntry, Learn, RegisterEntry, SpecEntry
from .core import Effect, NodeId, Reference, References, Send
from .holders import name_of

HELD = "held"
"""The first word of the key of what is fetched for a holder."""

FOR_GOOD = (Learn, Keep)
"""What they tell is decided, wherever its values are."""

Told: TypeAlias = Hold | Commit | Learn | Keep
Hear: TypeAlias = Callable[[Told, NodeId, float], None]


class Custody:
    """Of one node. `do` takes its effects."""

    def __init__(self, node: NodeId, carrier: Carrier, bytes_max: int, do: Callable[[Effect], None]) -> None:
        self._node = node
        self._carrier = carrier
        self._bytes_max = bytes_max
        self._do = do
        self._waiting: dict[Key, tuple[Told, NodeId, Hear]] = {}
        self._kept: set[Key] = set()  # few have anything to keep
        self._ends: OrderedDict[Key, int] = OrderedDict()  # bytes
        self._ends_bytes = 0

    def hear(self, word: Told, sender: NodeId, now: float, hear: Hear) -> None:
        """`hear` it now, or when all that it refers to is here."""
        blobs = _blobs(word)
        if not blobs or all(map(self._carrier.holds, blobs)):
            hear(word, sender, now)
            return
        key = _key(word)
        known = key in self._waiting
        self._waiting[key] = word, sender, hear
        if isinstance(word, FOR_GOOD):
            hear(word, sender, now)
        if not known:
            self._do(Send(self._node, Gather(key, blobs, self._sources(word, sender))))

    def gathered(self, message: Gathered, now: float) -> None:
        """All of it is here, or cannot be had."""
        word, sender, hear = self._waiting.pop(message.key)
        if not message.error and not isinstance(word, FOR_GOOD):
            hear(word, sender, now)  # what it records, keeps it
        self._do(Send(self._node, Release(message.key)))

    def wrote(self, entry: Entry, name: str) -> None:
        """This is on record under its name, in this life or a former one: what it refers to is kept."""
        blobs = _recorded(entry)
        if not blobs:
            self.erased(type(entry), name)
            return
        key = _pin(type(entry), name)
        self._kept.add(key)
        self._carrier.keep(key, blobs)
        if isinstance(entry, KeptEntry):
            self._ends[key] = sum([blob.size for blob in blobs])
            self._ends_bytes += self._ends[key]
            while self._ends_bytes > self._bytes_max and len(self._ends) > 1:
                self._let_go(next(iter(self._ends)))

    def erased(self, kind: type[Entry], key: str) -> None:
        """It is on record no more."""
        if self._kept and (pin := _pin(kind, key)) in self._kept:
            self._let_go(pin)

    def _let_go(self, key: Key) -> None:
        self._kept.remove(key)
        self._ends_bytes -= self._ends.pop(key, 0)
        for effect in self._carrier.release(key):
            self._do(effect)

    def _sources(self, word: Told, sender: NodeId) -> tuple[NodeId, ...]:
        """Whoever says it has it; so has the node where it was done, and whoever holds it too."""
        names = [name_of(sender)]
        if isinstance(word, Hold):
            names += map(name_of, word.spec.holders)
        elif word.choice.outcome is not None and word.choice.outcome.node is not None:
            names.append(word.choice.outcome.node)
        return tuple([name for name in dict.fromkeys(names) if name != self._node])


def _key(word: Told) -> Key:
    match word:
        case Hold(spec):
            return HELD, spec.task.id
        case Commit(task, _, epoch):
            return HELD, task, f"{epoch}"
        case Learn(task) | Keep(task):
            return HELD, task, "end"


def _pin(kind: type[Entry], key: str) -> Key:
    return kind.__name__, key


def _blobs(word: Told) -> References:
    return word.spec.blobs if type(word) is Hold else _of(word.choice)  # type: ignore[union-attr]


def _recorded(entry: Entry) -> Sequence[Reference]:
    if type(entry) is AwardEntry:
        return entry.outcome.blobs if entry.outcome is not None else ()
    if type(entry) is RegisterEntry:
        return _of(entry.accepted[1]) if entry.accepted is not None else ()
    if type(entry) is SpecEntry:
        return entry.spec.blobs
    return _of(entry.choice) if type(entry) is KeptEntry else ()


def _of(choice: Choice) -> References:
    return choice.outcome.blobs if choice.outcome is not None else ()
