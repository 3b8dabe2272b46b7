"""The desk at which clients hand tasks in, and the book of what became of them.

    Submit -> held, until the tasks it comes after are done -> the initiator's -> Completed -> in the book, and told

What clients say and hear stands in `requests.py`. A client is known by the id it connects with; links deliver what is
said to it once and in order while it lives. Neither floods the other: a client has few submissions under way that were
not answered yet, an agent few results that were not read yet (UNREAD_MAX, UNREAD_BYTES_MAX): the rest waits there.

Invariants: a task that was taken ends exactly once; submitted again by the same id it is the same task, and is not run
again when it has ended (as far back as ENDED_MAX). Every task that has not ended has a reason for standing where it
stands. A client that follows an output and falls silent holds nobody up: the rest of it is let go.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import msgspec

from .carrier import OFFER, Carrier
from .contract_net import Initiator
from .core import BLOBS_MAX, Effect, Event, Message, NodeId, Outcome, ProtocolError, Send, State, TaskId
from .participant import Participant
from .performatives import Completed, Credit, Grant, Output, Printed, Reason
from .requests import (
    LINES_PER_ANSWER_MAX,
    UNREAD_BYTES_MAX,
    UNREAD_MAX,
    AskDrain,
    AskNodes,
    AskResult,
    AskTasks,
    Cancelled,
    CancelTasks,
    Draining,
    Follow,
    NodeLine,
    Nodes,
    NotFound,
    Progress,
    Read,
    Refused,
    Result,
    ResultOf,
    Submit,
    Submitted,
    TaskLine,
    Tasks,
    Wait,
)

TASKS_MAX = 200_000
"""How many tasks an agent holds that have not ended; more are refused."""
ENDED_MAX = 200_000
"""How many tasks that have ended are remembered; the oldest is forgotten first."""
ENDED_BYTES_MAX = 256 * 1024 * 1024
"""Results that are kept for whoever asks; beyond it, the oldest are forgotten."""
CLIENTS_MAX = 4_096
"""How many clients' trays are kept; the one that has read nothing for longest goes first."""
WATCHES_MAX = 4_096
"""How many questions wait for tasks to end; the oldest is forgotten first."""
KEPT_BYTES_MAX = 8 * 1024**3
"""What results that are kept may refer to; beyond it, the oldest are forgotten."""
TELL_EVERY_S = 0.2
"""How often a client that waits is told of progress."""
SILENT_S = 10.0
"""A client that follows an output and says nothing for so long does not read it any more."""

HandOn = Callable[[bytes, Mapping[str, bytes]], bytes]
"""A payload, and results by the names it uses for them -> the payload with the results in it. Raises ValueError."""


class TaskSubmitted(Event, frozen=True, kw_only=True):
    """A client handed a task to this node."""

    name: ClassVar[str] = "task.submit"
    task: TaskId
    kind: str
    work: float | None
    payload_bytes: int
    peer: NodeId


EVENTS: tuple[type[Event], ...] = (TaskSubmitted,)


class _Entry:
    """A task in the book."""

    __slots__ = (
        "blobs", "client", "due", "follow", "inputs", "label", "outcome", "parents", "payload", "silent", "task",
        "waits",
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

    def take(self, name: str, outcome: Outcome) -> None:
        """The result of a task that it comes after, and calls so."""
        self.inputs[name] = outcome.value
        if outcome.blobs:
            self.blobs = tuple(dict.fromkeys((*self.blobs, *outcome.blobs)))


class _Watch:
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


class _Tray:
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


class Service:
    """The desk of one agent. `nodes` is the fleet as it sees it; `hand_on` puts the results of other tasks into a
    payload; `carrier` (without it, no task may have any) keeps what payloads and results refer to, of results no more
    than `kept_bytes_max`."""

    def __init__(
        self,
        initiator: Initiator,
        participant: Participant,
        nodes: Callable[[], Sequence[NodeLine]],
        hand_on: HandOn,
        carrier: Carrier | None = None,
        kept_bytes_max: int = KEPT_BYTES_MAX,
    ) -> None:
        self._initiator = initiator
        self._participant = participant
        self._nodes = nodes
        self._hand_on = hand_on
        self._carrier = carrier or Carrier("", lambda blob: False)
        self._kept_bytes_max = kept_bytes_max
        self._kept_bytes = 0
        self._book: OrderedDict[TaskId, _Entry] = OrderedDict()  # in the order of submission
        self._labels: dict[str, TaskId] = {}
        self._children: dict[TaskId, list[TaskId]] = {}
        self._deadlines: list[tuple[float, TaskId]] = []
        self._open = 0
        self._ended: deque[TaskId] = deque()
        self._ended_bytes = 0
        self._trays: OrderedDict[NodeId, _Tray] = OrderedDict()  # the client that read last comes last
        self._watches: dict[tuple[NodeId, int], _Watch] = {}
        self._followed: dict[TaskId, int] = {}  # bytes of output on their way to the client
        self._heard: OrderedDict[NodeId, float] = OrderedDict()  # when each client last said something
        self._look_at: float | None = None  # for silent followers
        self.draining = False

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if isinstance(message, Printed):
            return self._printed(message, sender)
        if isinstance(message, Completed):
            return self._completed(message.outcome, now)
        self._heard[sender] = now
        self._heard.move_to_end(sender)
        if len(self._heard) > CLIENTS_MAX:
            self._heard.popitem(last=False)
        match message:
            case Submit():
                return self._submit(message, sender, now)
            case Read(results):
                if sender in self._trays:
                    self._trays[sender].take(results)
                    self._trays.move_to_end(sender)
                return self._hand_out(sender)
            case Credit(task, epoch, size):
                return self._credit(task, epoch, size, sender)
            case AskNodes(request):
                return [Send(sender, Nodes(request, tuple(self._nodes())))]
            case AskDrain(request):
                effects = self.drain(now)
                running = self._participant.load()[0]
                return [*effects, Send(sender, Draining(request, running, self._open))]
            case AskTasks(request, which, past):
                found = self._find(which)
                if isinstance(found, str):
                    return [Send(sender, NotFound(request, found))]
                return [Send(sender, self._page(request, found, past))]
            case Wait() | CancelTasks() | AskResult():
                return self._watch(message, sender, now)
        raise ProtocolError(f"a service is not told {type(message).__name__}")

    def drain(self, now: float) -> Sequence[Effect]:
        """Take nothing more in: neither tasks nor awards."""
        self.draining = True
        return self._participant.drain(now)

    @property
    def deadline(self) -> float | None:
        while self._deadlines and self._is_ended(self._deadlines[0][1]):
            heapq.heappop(self._deadlines)
        earliest = self._look_at
        if self._deadlines and (earliest is None or self._deadlines[0][0] < earliest):
            earliest = self._deadlines[0][0]
        for watch in self._watches.values():
            if watch.tell_at is not None and (earliest is None or watch.tell_at < earliest):
                earliest = watch.tell_at
        return earliest

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            task = heapq.heappop(self._deadlines)[1]
            if not self._is_ended(task):
                limit_s = self._book[task].task.conditions.deadline_s
                effects += self._end(task, State.FAILED, Reason.DEADLINE, f"not done within its {limit_s:g} s", now)
        for watch in self._watches.values():
            if watch.tell_at is not None and watch.tell_at <= now:
                watch.tell_at = None
                effects += self._answer(watch)
        if self._look_at is not None and self._look_at <= now:
            effects += self._look(now)
        return effects

    # -- tasks come

    def _submit(self, submit: Submit, sender: NodeId, now: float) -> Sequence[Effect]:
        task = submit.task
        entry = self._book.get(task.id)
        if entry is not None:
            return self._again(entry, sender)
        if (refusal := self._refusal(submit)) is not None:
            return [Send(sender, Refused(task.id, refusal))]
        entry = _Entry(submit, sender)
        for name in submit.after:
            parent = self._labels.get(name, name)
            known = self._book.get(parent)
            if known is None:
                return [Send(sender, Refused(task.id, f"it comes after {name}, which this agent does not know"))]
            if known.outcome is None:
                entry.parents[parent] = name
            elif known.outcome.state is State.DONE:
                entry.take(name, known.outcome)
            else:
                return [Send(sender, Refused(task.id, f"it comes after {name}, which is {known.outcome.state}"))]
        self._book[task.id] = entry
        self._open += 1
        if entry.label:
            self._labels[entry.label] = task.id
        for parent in entry.parents:
            self._children.setdefault(parent, []).append(task.id)
        if task.conditions.deadline_s is not None:
            entry.due = now + task.conditions.deadline_s
            heapq.heappush(self._deadlines, (entry.due, task.id))
        submitted = TaskSubmitted(
            task=task.id, kind=task.kind, work=task.work, payload_bytes=task.payload_bytes, peer=sender
        )
        effects: list[Effect] = [submitted, Send(sender, Submitted(task.id))]
        if entry.blobs:
            self._carrier.keep(("task", task.id), entry.blobs)
            effects += self._carrier.release((OFFER, sender, task.id))
        if not entry.parents:
            effects += self._call(entry, now)
        return effects

    def _again(self, entry: _Entry, sender: NodeId) -> Sequence[Effect]:
        task = entry.task.id
        if entry.client != sender:
            return [Send(sender, Refused(task, f"the id {task} is another client's"))]
        if entry.outcome is not None:
            return [Send(sender, Refused(task, f"the task {task} has ended; ask for its result"))]
        return [Send(sender, Submitted(task))]

    def _refusal(self, submit: Submit) -> str | None:
        """Why this agent does not take it."""
        task = submit.task
        if len(submit.payload) != task.payload_bytes:
            return f"its argument has {len(submit.payload)} bytes and not the {task.payload_bytes} it declares"
        if self.draining:
            return "this agent is about to leave; try another"
        if self._open >= TASKS_MAX:
            return f"this agent holds {TASKS_MAX} tasks already; try another"
        if submit.label and not self._is_ended(self._labels.get(submit.label, "")):
            return f"the label {submit.label} belongs to a task that has not ended"
        if task.blobs != tuple([blob.hint for blob in submit.blobs]):
            return "what its argument refers to is not what it declares"
        if not all(map(self._carrier.holds, submit.blobs)):
            return "a large value in its argument is not here: hand it in again"
        return None

    def _call(self, entry: _Entry, now: float) -> Sequence[Effect]:
        """All that it comes after is done: it is the initiator's."""
        task, payload = entry.task, entry.payload
        entry.payload = b""
        if entry.inputs:
            try:
                payload = self._hand_on(payload, entry.inputs)
            except ValueError as error:
                return self._completed(Outcome(task.id, State.FAILED, error=str(error), reason=Reason.PAYLOAD), now)
            finally:
                entry.inputs = {}
            if len(entry.blobs) > BLOBS_MAX:
                many = f"its argument would refer to {len(entry.blobs)} large values: {BLOBS_MAX} is the most"
                return self._completed(Outcome(task.id, State.FAILED, error=many, reason=Reason.PAYLOAD), now)
            hints = tuple([blob.hint for blob in entry.blobs])
            task = entry.task = msgspec.structs.replace(task, payload_bytes=len(payload), blobs=hints)
        follow = entry.follow is Follow.OUTPUT
        return self._initiator.call(
            task, payload, now, follow=follow, waits=entry.waits, due=entry.due, blobs=entry.blobs
        )

    # -- tasks end

    def _end(self, task: TaskId, state: State, reason: Reason, detail: str, now: float) -> Sequence[Effect]:
        """Before its time."""
        if self._book[task].parents:
            return self._completed(Outcome(task, state, error=detail, reason=reason), now)
        return self._initiator.cancel(task, state, reason, detail, now)

    def _completed(self, outcome: Outcome, now: float) -> Sequence[Effect]:
        entry = self._book.get(outcome.task)
        if entry is None or entry.outcome is not None:
            return ()
        entry.outcome, entry.payload, entry.parents, entry.inputs, entry.blobs = outcome, b"", {}, {}, ()
        self._followed.pop(outcome.task, None)
        self._open -= 1
        self._ended.append(outcome.task)
        self._ended_bytes += len(outcome.value)
        if outcome.blobs:
            self._carrier.keep(("kept", outcome.task), outcome.blobs)
            self._kept_bytes += sum([blob.size for blob in outcome.blobs])
        effects: list[Effect] = list(self._carrier.release(("task", outcome.task)))
        if entry.follow is not Follow.NOTHING:
            self._trays.setdefault(entry.client, _Tray()).waiting.append(outcome.task)
            effects += self._hand_out(entry.client)
            if len(self._trays) > CLIENTS_MAX:
                self._trays.popitem(last=False)
        for watch in list(self._watches.values()):
            if outcome.task in watch.open:
                watch.end(outcome)
                if not watch.open:
                    effects += self._answer(watch)
                elif watch.tell_at is None and isinstance(watch.question, Wait):
                    watch.tell_at = now + TELL_EVERY_S
        for child in self._children.pop(outcome.task, ()):
            effects += self._parent_ended(self._book[child], outcome, now)
        self._forget()
        return effects

    def _parent_ended(self, child: _Entry, outcome: Outcome, now: float) -> Sequence[Effect]:
        name = child.parents.pop(outcome.task, None)
        if name is None:
            return ()
        if outcome.state is not State.DONE:
            error = f"it comes after {name}, which is {outcome.state}: {outcome.error}"[:4096]
            return self._completed(Outcome(child.task.id, State.FAILED, error=error, reason=Reason.PARENT), now)
        child.take(name, outcome)
        if outcome.blobs:
            self._carrier.keep(("task", child.task.id), outcome.blobs)
        return () if child.parents else self._call(child, now)

    def _forget(self) -> None:
        """The oldest that have ended, where there are too many, or their results too large; never the last one."""
        while len(self._ended) > 1 and (
            len(self._ended) > ENDED_MAX
            or self._ended_bytes > ENDED_BYTES_MAX
            or self._kept_bytes > self._kept_bytes_max
        ):
            task = self._ended.popleft()
            entry = self._book.pop(task)
            assert entry.outcome is not None
            self._ended_bytes -= len(entry.outcome.value)
            if entry.outcome.blobs:
                self._kept_bytes -= sum([blob.size for blob in entry.outcome.blobs])
                self._carrier.release(("kept", task))
            if self._labels.get(entry.label) == task:
                del self._labels[entry.label]

    def _hand_out(self, client: NodeId) -> Sequence[Effect]:
        """Send the client what it may have."""
        effects: list[Effect] = []
        tray = self._trays.get(client)
        while tray is not None and tray.waiting:
            entry = self._book.get(tray.waiting[0])
            if entry is not None and entry.outcome is not None:
                size = len(entry.outcome.value)
                if not tray.room(size):
                    break
                tray.send(size)
                effects.append(Send(client, Result(entry.outcome)))
            tray.waiting.popleft()
        return effects

    # -- questions

    def _is_ended(self, task: TaskId) -> bool:
        entry = self._book.get(task)
        return entry is None or entry.outcome is not None

    def _find(self, which: Sequence[str]) -> list[TaskId] | str:
        """The tasks of these names, or one sentence."""
        found: dict[TaskId, None] = {}
        for name in which:
            if name == "all":
                found.update(dict.fromkeys(self._book))
                continue
            tasks = [next(reversed(self._book))] if name == "last" and self._book else self._named(name)
            if not tasks:
                return f"no task here is called {name}, and none begins with it"
            if len({task.partition("/")[0] for task in tasks}) > 1:
                return f"{name} is the beginning of {len(tasks)} tasks, {tasks[0]} and {tasks[1]} among them: say more"
            found.update(dict.fromkeys(tasks))
        return list(found)

    def _named(self, name: str) -> list[TaskId]:
        """An id, a label, the replicas of an id, or whatever begins so."""
        if name in self._book:
            return [name]
        if name in self._labels:
            return [self._labels[name]]
        return [task for task in self._book if task.startswith(name)]

    def _page(self, request: int, found: Sequence[TaskId], past: str) -> Tasks:
        start = found.index(past) + 1 if past in found else 0
        page = found[start : start + LINES_PER_ANSWER_MAX]
        return Tasks(request, tuple(self._line(task) for task in page), start + len(page) < len(found))

    def _line(self, task: TaskId) -> TaskLine:
        entry = self._book[task]
        if (end := entry.outcome) is not None:
            said = end.error.partition("\n")[0]
            return TaskLine(task, entry.label, entry.task.kind, end.state, said, end.node, end.epoch, end.attempts)
        standing = self._initiator.standing(task)
        if standing is None:
            reason = f"comes after {', '.join(sorted(entry.parents.values()))}"[:4096]
            return TaskLine(task, entry.label, entry.task.kind, State.HELD, reason, None, 0, 0)
        state, reason, node, epoch, attempts = standing
        return TaskLine(task, entry.label, entry.task.kind, state, reason[:4096], node, epoch, attempts)

    def _watch(self, question: Wait | CancelTasks | AskResult, sender: NodeId, now: float) -> Sequence[Effect]:
        which = (question.task,) if isinstance(question, AskResult) else question.which
        found = self._find(which)
        if isinstance(found, str):
            return [Send(sender, NotFound(question.request, found))]
        if isinstance(question, AskResult) and len(found) > 1:
            return [Send(sender, NotFound(question.request, f"{question.task} has {len(found)} replicas: name one"))]
        watch = _Watch(sender, question, found)
        for task in found:
            outcome = self._book[task].outcome
            if outcome is not None:
                watch.end(outcome)
                watch.before += 1
        effects: list[Effect] = []
        to_cancel = list(watch.open) if isinstance(question, CancelTasks) else ()
        self._watches[sender, question.request] = watch
        if len(self._watches) > WATCHES_MAX:
            del self._watches[next(iter(self._watches))]
        for task in to_cancel:
            effects += self._end(task, State.CANCELLED, Reason.CANCELLED, "cancelled by a client", now)
        if not to_cancel and (not watch.open or isinstance(question, Wait)):
            effects += self._answer(watch)
        return effects

    def _answer(self, watch: _Watch) -> Sequence[Effect]:
        """What a client that waits is told: the last word when all has ended."""
        question, request = watch.question, watch.question.request
        if not watch.open:
            self._watches.pop((watch.client, request), None)
        match question:
            case AskResult(_, name):
                task = self._find((name,))[0]
                outcome = self._book[task].outcome if task in self._book else None
                if outcome is None:
                    return [Send(watch.client, NotFound(request, f"the result of {name} is forgotten"))]
                return [Send(watch.client, ResultOf(request, outcome))]
            case CancelTasks():
                cancelled = watch.ended[State.CANCELLED]
                ended = sum(watch.ended.values()) - cancelled
                return [Send(watch.client, Cancelled(request, cancelled, ended))]
        states = watch.ended.copy()
        for task in watch.open:
            states[self._line(task).state if len(watch.open) <= LINES_PER_ANSWER_MAX else State.OPEN] += 1
        told = tuple(sorted(states.items()))
        return [Send(watch.client, Progress(request, told, not watch.open, watch.first_error))]

    # -- output

    def _printed(self, printed: Printed, sender: NodeId) -> Sequence[Effect]:
        """What a winner passes on goes to the client, or nowhere."""
        task, epoch, stream, data = printed.task, printed.epoch, printed.stream, printed.data
        if self._initiator.holder(task, epoch) != sender or task not in self._book:
            return ()
        entry = self._book[task]
        if entry.silent or entry.follow is not Follow.OUTPUT:
            return [Send(sender, Grant(task, epoch, len(data)))]
        self._followed[task] = self._followed.get(task, 0) + len(data)
        if self._look_at is None:
            self._look_at = self._heard.get(entry.client, 0.0) + SILENT_S
        return [Send(entry.client, Output(task, epoch, stream, data))]

    def _credit(self, task: TaskId, epoch: int, size: int, sender: NodeId) -> Sequence[Effect]:
        entry, winner = self._book.get(task), self._initiator.holder(task, epoch)
        if entry is None or entry.client != sender or winner is None or task not in self._followed:
            return ()
        self._followed[task] = max(self._followed[task] - size, 0)
        return [Send(winner, Grant(task, epoch, size))]

    def _look(self, now: float) -> Sequence[Effect]:
        """Followers that say nothing any more do not read either: what they were sent is taken for read."""
        effects: list[Effect] = []
        for task, unread in list(self._followed.items()):
            entry = self._book[task]
            if unread == 0 or now - self._heard.get(entry.client, 0.0) < SILENT_S:
                continue
            entry.silent = True
            del self._followed[task]
            standing = self._initiator.standing(task)
            if standing is not None and standing[2] is not None:
                effects.append(Send(standing[2], Grant(task, standing[3], unread)))
        self._look_at = now + SILENT_S if self._followed else None
        return effects
