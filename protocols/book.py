"""What the desk of an agent keeps: of each task, of each client's results, of each question that waits for an end.

    Book    tasks by all their names, in the order in which they came -> the oldest that have ended are forgotten
    Entry   submitted -> its parents end, one by one -> the initiator's -> its outcome
    Tray    outcomes wait, in order, until their client has read those before them
    Watch   some tasks are open still -> ... -> none is

Invariant: a tray has no more on its way than its client can hold (UNREAD_MAX, UNREAD_BYTES_MAX); an entry has one
outcome, ever.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

from .core import NodeId, Outcome, State, TaskId
from .names import Names
from .performatives import Reason
from .requests import UNREAD_BYTES_MAX, UNREAD_MAX, AskResult, CancelTasks, Submit, Wait
from .seeking import Sighting

ENDED_MAX = 200_000
"""How many tasks that have ended are remembered; the oldest is forgotten first."""
ENDED_BYTES_MAX = 256 * 1024 * 1024
"""Results that are kept for whoever asks; beyond it, the oldest are forgotten."""

_NONE: dict[str, str] = {}
_NOTHING: dict[str, bytes] = {}
"""What a task that has ended came after, and took: the same for all of them, as there are many."""


class Entry:
    """A task in the book."""

    __slots__ = (
        "absent", "after", "blobs", "client", "due", "ends", "fast", "follow", "inputs", "label", "outcome",
        "parents", "payload", "seen", "silent", "task", "waits",
    )  # fmt: skip

    def __init__(self, submit: Submit, client: NodeId) -> None:
        self.task = submit.task
        self.payload = submit.payload  # empty once the initiator has it
        self.label = submit.label
        self.client = client
        self.follow = submit.follow
        self.waits = submit.waits
        self.due: float | None = None  # when it must be done
        self.parents: dict[TaskId, str] = {}  # that have not ended, and how this task calls them
        self.inputs: dict[str, bytes] = {}  # the results of those that have
        self.blobs = submit.blobs  # what the payload refers to, and what those results do
        self.outcome: Outcome | None = None
        self.silent = False  # its client no longer reads what it writes
        self.fast = False  # its client was told that it is taken
        self.after: tuple[tuple[TaskId, str], ...] = ()  # what it came after, and how it calls those
        self.ends: Reason | None = None  # why its end is wanted
        self.absent = False  # another agent sees to it
        self.seen: Sighting | None = None  # what was heard of it then

    def end(self, outcome: Outcome) -> None:
        """What it took is let go of."""
        self.outcome, self.payload, self.blobs = outcome, b"", ()
        self.parents, self.inputs = _NONE, _NOTHING

    def take(self, name: str, outcome: Outcome) -> None:
        """The result of a task that it comes after, and calls so."""
        self.inputs[name] = outcome.value
        if outcome.blobs:
            self.blobs = tuple(dict.fromkeys((*self.blobs, *outcome.blobs)))


class Book:
    """Of whatever results refer to, it keeps no more than `kept_bytes_max`."""

    def __init__(self, kept_bytes_max: int) -> None:
        self.open = 0
        """How many have not ended."""
        self._entries: OrderedDict[TaskId, Entry] = OrderedDict()
        self.get: Callable[[TaskId], Entry | None] = self._entries.get
        self._labels: dict[str, TaskId] = {}
        self._names = Names()
        self._ended: deque[TaskId] = deque()
        self._ended_bytes = 0
        self._kept_bytes = 0
        self._kept_bytes_max = kept_bytes_max

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task: TaskId) -> bool:
        return task in self._entries

    def __getitem__(self, task: TaskId) -> Entry:
        return self._entries[task]

    def is_ended(self, task: TaskId) -> bool:
        """Or forgotten, or never known."""
        entry = self._entries.get(task)
        return entry is None or entry.outcome is not None

    def enter(self, entry: Entry) -> None:
        """A task comes, or another agent's has become ours."""
        if entry.task.id not in self._entries:
            self.open += 1
        self._entries[entry.task.id] = entry
        self._names.add(entry.task.id)
        if entry.label:
            self._labels[entry.label] = entry.task.id

    def end(self, entry: Entry, outcome: Outcome) -> None:
        entry.end(outcome)
        self.open -= 1
        self._ended.append(outcome.task)
        self._ended_bytes += len(outcome.value)
        self._kept_bytes += sum([blob.size for blob in outcome.blobs])

    def forget(self) -> Iterator[Outcome]:
        """The oldest that have ended, where there are too many, or their results too large; never the last one."""
        while len(self._ended) > 1 and (
            len(self._ended) > ENDED_MAX
            or self._ended_bytes > ENDED_BYTES_MAX
            or self._kept_bytes > self._kept_bytes_max
        ):
            task = self._ended.popleft()
            entry = self._entries.pop(task)
            self._names.discard(task)
            assert entry.outcome is not None
            self._ended_bytes -= len(entry.outcome.value)
            self._kept_bytes -= sum([blob.size for blob in entry.outcome.blobs])
            if self._labels.get(entry.label) == task:
                del self._labels[entry.label]
            yield entry.outcome

    def labelled(self, name: str) -> TaskId:
        """The id of the task with this label; anything else is taken for an id."""
        return self._labels.get(name, name)

    def has(self, name: str) -> bool:
        """By its whole name: an id, a label, or the id of replicas."""
        return name in self._entries or name in self._labels or f"{name}/1" in self._entries

    def named(self, name: str) -> list[TaskId]:
        """An id, a label, the replicas of an id, or whatever begins so."""
        if name in self._entries:
            return [name]
        if name in self._labels:
            return [self._labels[name]]
        return self._names.named(name)

    def find(self, which: Sequence[str]) -> list[TaskId] | str:
        """The tasks of these names, or one sentence."""
        found: dict[TaskId, None] = {}
        for name in which:
            if name == "all":
                found.update(dict.fromkeys(self._entries))
                continue
            tasks = [next(reversed(self._entries))] if name == "last" and self._entries else self.named(name)
            if not tasks:
                return f"no task here is called {name}, and none begins with it"
            if len({task.partition("/")[0] for task in tasks}) > 1:
                return f"{name} is the beginning of {len(tasks)} tasks, {tasks[0]} and {tasks[1]} among them: say more"
            found.update(dict.fromkeys(tasks))
        return list(found)


class Watch:
    """A question that waits for tasks to end."""

    def __init__(self, client: NodeId, question: Wait | CancelTasks | AskResult, tasks: Sequence[TaskId]) -> None:
        self.client = client
        self.question = question
        self.open = set(tasks)
        self.ended: Counter[State] = Counter()
        self.given_up = 0  # so many had been cancelled when it was asked
        self.first_error = ""
        self.tell_at: float | None = None

    def end(self, outcome: Outcome) -> None:
        self.open.discard(outcome.task)
        self.ended[outcome.state] += 1
        if outcome.state is not State.DONE and not self.first_error:
            self.first_error = f"task {outcome.task}: {outcome.error.partition(chr(10))[0]}"[:4096]


class Tray:
    """The results of one client: on their way, in order, and waiting to be sent."""

    def __init__(self) -> None:
        self.read = 0
        self.unread: deque[int] = deque()  # bytes of each
        self.unread_bytes = 0
        self.waiting: deque[TaskId] = deque()

    def take(self, results: int) -> None:
        """So many results have been read in all."""
        while self.unread and self.read < results:
            self.read += 1
            self.unread_bytes -= self.unread.popleft()

    def room(self, size: int) -> bool:
        """May a result of so many bytes be sent?"""
        return not self.unread or (len(self.unread) < UNREAD_MAX and self.unread_bytes + size <= UNREAD_BYTES_MAX)

    def send(self, size: int) -> None:
        self.unread.append(size)
        self.unread_bytes += size
