"""What the desk of an agent keeps: of each task, of each client's results, of each question that waits for an end.

    Entry   submitted -> its parents end, one by one -> the initiator's -> its outcome
    Tray    outcomes wait, in order, until their client has read those before them
    Watch   some tasks are open still -> ... -> none is

Invariant: a tray has no more on its way than its client can hold (UNREAD_MAX, UNREAD_BYTES_MAX); an entry has one
outcome, ever.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from .core import NodeId, Outcome, State, TaskId
from .requests import UNREAD_BYTES_MAX, UNREAD_MAX, AskResult, CancelTasks, Submit, Wait
from .seeking import Sighting

_NONE: dict[str, str] = {}
_NOTHING: dict[str, bytes] = {}
"""What a task that has ended came after, and took: the same for all of them, as there are many."""


class Entry:
    """A task in the book."""

    __slots__ = (
        "absent", "after", "blobs", "cancelled", "client", "due", "fast", "follow", "inputs", "label", "outcome",
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
        self.absent = False  # another agent sees to it
        self.seen: Sighting | None = None  # what was heard of it then
        self.cancelled = False  # and its end is wanted

    def end(self, outcome: Outcome) -> None:
        """What it took is let go of."""
        self.outcome, self.payload, self.blobs = outcome, b"", ()
        self.parents, self.inputs = _NONE, _NOTHING

    def take(self, name: str, outcome: Outcome) -> None:
        """The result of a task that it comes after, and calls so."""
        self.inputs[name] = outcome.value
        if outcome.blobs:
            self.blobs = tuple(dict.fromkeys((*self.blobs, *outcome.blobs)))


class Watch:
    """A question that waits for tasks to end."""

    def __init__(self, client: NodeId, question: Wait | CancelTasks | AskResult, tasks: Sequence[TaskId]) -> None:
        self.client = client
        self.question = question
        self.open = set(tasks)
        self.ended: Counter[State] = Counter()
        self.before = 0  # how many had ended when it was asked
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
