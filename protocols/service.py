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
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import msgspec

from .blobs import Gather, Gathered, Release
from .book import Book, Entry, Tray, Watch
from .carrier import OFFER, Carrier
from .commitment import Commitment
from .commitment_words import Chosen, HeldFast, Overruled, Permitted, Spec
from .contract_net import Initiator
from .core import (
    BLOBS_MAX,
    GANG_ID_MAX,
    Effect,
    Event,
    Message,
    NodeId,
    Outcome,
    ProtocolError,
    Publish,
    Send,
    State,
    Task,
    TaskId,
)
from .following import CLIENTS_MAX, Following
from .holders import name_of
from .participant import Participant
from .performatives import Completed, Credit, Printed, Reason
from .requests import (
    LINES_PER_ANSWER_MAX,
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
    named_in,
)
from .seeking import NAMES_MAX, POLL_S, POLLED_MAX, SEEK_S, Parked, Seek, Sighting, Sought, batches
from .timers import earliest

TASKS_MAX = 200_000
"""How many tasks an agent holds that have not ended; more are refused."""
WATCHES_MAX = 4_096
"""How many questions wait for tasks to end; the oldest is forgotten first."""
KEPT_BYTES_MAX = 8 * 1024**3
"""What results that are kept may refer to; beyond it, the oldest are forgotten."""
TELL_EVERY_S = 0.2
"""How often a client that waits is told of progress."""
PARKED_MAX = 1_024
"""How many questions wait for what others know."""


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
        commitment: Commitment | None = None,
        holders: int = 1,
    ) -> None:
        self._commitment = commitment
        self._holders = holders
        self._absent: dict[TaskId, None] = {}  # open, and seen to by others, or perhaps
        self._poll_at: float | None = None
        self._parked: dict[int, Parked] = {}  # by the number of the question to all others
        self._questions = 0
        self._fetching: dict[TaskId, Outcome] = {}  # ended, and what they refer to is on its way
        self.refusing = ""
        """Why nothing is taken at present; empty: all is well."""
        self._initiator = initiator
        self._participant = participant
        self._nodes = nodes
        self._hand_on = hand_on
        self._carrier = carrier or Carrier("", lambda blob: False)
        self._book = Book(kept_bytes_max)
        self._children: dict[TaskId, list[TaskId]] = {}
        self._deadlines: list[tuple[float, TaskId]] = []
        self._trays: OrderedDict[NodeId, Tray] = OrderedDict()  # the client that read last comes last
        self._watches: dict[tuple[NodeId, int], Watch] = {}
        self._following = Following(initiator, self._book.get)
        self._ears = self._all_ears()
        self.draining = False

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        ear = self._ears.get(type(message))
        if ear is not None:
            return ear(message, sender, now)
        self._following.hear(sender, now)
        return self._asked(message, sender, now, final=False)

    def _all_ears(self) -> dict[type[Message], Callable[[Any, NodeId, float], Sequence[Effect]]]:
        """What is told by agents, and on this node; all else is said by clients."""
        return {
            Printed: lambda message, sender, now: self._following.printed(message, sender),
            Completed: lambda message, sender, now: self._completed(message.outcome, now),
            HeldFast: lambda message, sender, now: self._held_fast(message.task, now),
            Permitted: lambda message, sender, now: self._take_over(message.spec, now),
            Overruled: lambda message, sender, now: self._lose_sight(message.task, now),
            Chosen: lambda message, sender, now: self._chosen(message.task, message.outcome, self._node, now),
            Gathered: lambda message, sender, now: self._fetched(message.key[1], message.error, now),
            Seek: self._sought,
            Sought: self._told_where,
        }

    def _asked(self, message: Message, sender: NodeId, now: float, *, final: bool) -> Sequence[Effect]:
        """A client speaks. What names a task that is not in the book waits for what others know, once."""
        if not final and (unknown := self._unknown(message)):
            return self._park(message, sender, unknown, now)
        match message:
            case Submit():
                return self._submit(message, sender, now)
            case Read(results):
                if sender in self._trays:
                    self._trays[sender].take(results)
                    self._trays.move_to_end(sender)
                return self._hand_out(sender)
            case Credit():
                return self._following.credit(message, sender)
            case AskNodes(request):
                return [Send(sender, Nodes(request, tuple(self._nodes()), self._holders, self._node))]
            case AskDrain(request):
                effects = self.drain(now)
                running = self._participant.load()[0]
                return [*effects, Send(sender, Draining(request, running, self._book.open))]
            case AskTasks(request, which, past):
                found = self._book.find(which)
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
        while self._deadlines and self._book.is_ended(self._deadlines[0][1]):
            heapq.heappop(self._deadlines)
        return earliest(
            self._following.look_at,
            self._poll_at,
            self._next_parked.until if self._parked else None,
            self._deadlines[0][0] if self._deadlines else None,
            *[watch.tell_at for watch in self._watches.values()] if self._watches else (),
        )

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            task = heapq.heappop(self._deadlines)[1]
            if not self._book.is_ended(task):
                effects += self._end(task, Reason.DEADLINE, now)
        for watch in self._watches.values():
            if watch.tell_at is not None and watch.tell_at <= now:
                watch.tell_at = None
                effects += self._answer(watch)
        if (look_at := self._following.look_at) is not None and look_at <= now:
            effects += self._following.look(now)
        if self._poll_at is not None and self._poll_at <= now:
            effects += self._poll(now)
        while self._parked and self._next_parked.until <= now:
            effects += self._unpark(next(iter(self._parked)), now)
        return effects

    # -- tasks come

    def _submit(self, submit: Submit, sender: NodeId, now: float) -> Sequence[Effect]:
        task = submit.task
        entry = self._book.get(task.id)
        if entry is not None:
            return self._again(entry, submit, sender, now)
        if (refusal := self._refusal(submit)) is not None:
            return [Send(sender, Refused(task.id, refusal))]
        entry = Entry(submit, sender)
        after: list[tuple[TaskId, str]] = []
        for name in submit.after:
            parent = self._book.labelled(name)
            known = self._book.get(parent)
            after.append((parent, name))
            if known is None:
                return [Send(sender, Refused(task.id, f"it comes after {name}, which this agent does not know"))]
            if known.outcome is None:
                entry.parents[parent] = name
            elif known.outcome.state is State.DONE:
                entry.take(name, known.outcome)
            else:
                return [Send(sender, Refused(task.id, f"it comes after {name}, which is {known.outcome.state}"))]
        entry.after = tuple(after)
        self._enter(entry, now)
        submitted = TaskSubmitted(
            task=task.id, kind=task.kind, work=task.work, payload_bytes=task.payload_bytes, peer=sender
        )
        effects: list[Effect] = [submitted]
        if self._commitment is None:
            effects.append(Send(sender, Submitted(task.id)))
        else:
            holders = submit.holders or (self._commitment.node,)
            spec = Spec(task, submit.payload, holders, submit.blobs, submit.label, entry.after, submit.waits)
            effects += self._commitment.hold(spec, now)
            if name_of(holders[0]) != self._node:  # another took it in: it may have ended, or moved, since
                self._ask_for(task.id, now)
        if entry.blobs:
            self._carrier.keep(("task", task.id), entry.blobs)
            effects += self._carrier.release((OFFER, sender, task.id))
        if not entry.parents:
            effects += self._call(entry, now)
        return effects

    def _enter(self, entry: Entry, now: float) -> None:
        """Into the book."""
        task = entry.task
        self._book.enter(entry)
        for parent in entry.parents:
            self._children.setdefault(parent, []).append(task.id)
        if task.conditions.deadline_s is not None:
            if entry.due is None:
                entry.due = now + task.conditions.deadline_s
            heapq.heappush(self._deadlines, (entry.due, task.id))

    def _again(self, entry: Entry, submit: Submit, sender: NodeId, now: float) -> Sequence[Effect]:
        """It is here already: its client tries again, or has come over from an agent that is gone."""
        task = entry.task.id
        if self._commitment is not None and submit.holders and entry.client in ("", sender):
            entry.client, entry.follow, entry.label = sender, submit.follow, submit.label or entry.label
            if entry.outcome is not None:
                return [Send(sender, Submitted(task)), *self._put_out(entry)]
            return [Send(sender, Submitted(task))] if entry.fast else []
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
        if task.gang and len(task.id) > GANG_ID_MAX:
            return f"the id of a gang has {GANG_ID_MAX} characters at most, and this one {len(task.id)}"
        if self.draining:
            return "this agent is about to leave; try another"
        if self.refusing:
            return f"{self.refusing}; try another agent"
        if self._book.open >= TASKS_MAX:
            return f"this agent holds {TASKS_MAX} tasks already; try another"
        if submit.label and not self._book.is_ended(self._book.labelled(submit.label)):
            return f"the label {submit.label} belongs to a task that has not ended"
        if task.blobs != tuple([blob.hint for blob in submit.blobs]):
            return "what its argument refers to is not what it declares"
        if not all(map(self._carrier.holds, submit.blobs)):
            return "a large value in its argument is not here: hand it in again"
        return None

    def _call(self, entry: Entry, now: float) -> Sequence[Effect]:
        """All that it comes after is done: it is the initiator's."""
        task, payload = entry.task, entry.payload
        entry.payload = b""
        if entry.inputs:
            try:
                payload = self._hand_on(payload, entry.inputs)
            except ValueError as error:
                return self._decide(Outcome(task.id, State.FAILED, error=str(error), reason=Reason.PAYLOAD), now)
            finally:
                entry.inputs = {}
            if len(entry.blobs) > BLOBS_MAX:
                many = f"its argument would refer to {len(entry.blobs)} large values: {BLOBS_MAX} is the most"
                return self._decide(Outcome(task.id, State.FAILED, error=many, reason=Reason.PAYLOAD), now)
            hints = tuple([blob.hint for blob in entry.blobs])
            task = entry.task = msgspec.structs.replace(task, payload_bytes=len(payload), blobs=hints)
        follow = entry.follow is Follow.OUTPUT
        return self._initiator.call(
            task, payload, now, follow=follow, waits=entry.waits, due=entry.due, blobs=entry.blobs
        )

    # -- tasks end

    def _end(self, task: TaskId, reason: Reason, now: float) -> Sequence[Effect]:
        """A client no longer wants it, or its deadline has passed."""
        entry = self._book[task]
        entry.ends = reason
        if entry.absent:
            return [*self._end_orphan(task, reason, now), Publish(Seek((task,), ends=reason))]
        outcome = _unwanted(entry.task, reason)
        if entry.parents:
            return self._decide(outcome, now)
        return self._initiator.cancel(task, outcome.state, reason, outcome.error, now)

    def _end_orphan(self, task: TaskId, reason: Reason, now: float) -> Sequence[Effect]:
        """If this node holds it, and whoever stood by it is gone, though its winner may work on."""
        held = self._commitment.held(task) if self._commitment is not None else None
        if held is None or self._commitment is None:
            return ()
        return self._commitment.want_end(_unwanted(held, reason), now)

    def _decide(self, outcome: Outcome, now: float) -> Sequence[Effect]:
        """It has come to this; with holders, if they say so."""
        return self._completed(outcome, now) if self._commitment is None else self._commitment.end(outcome, now)

    def _completed(self, outcome: Outcome, now: float) -> Sequence[Effect]:
        entry = self._book.get(outcome.task)
        if entry is None or entry.outcome is not None:
            return ()
        self._book.end(entry, outcome)
        self._following.end(outcome.task)
        self._absent.pop(outcome.task, None)
        if outcome.blobs:
            self._carrier.keep(("kept", outcome.task), outcome.blobs)
        effects: list[Effect] = list(self._carrier.release(("task", outcome.task)))
        if entry.client and not entry.fast and self._commitment is not None:  # it ended before its holders answered
            effects.append(Send(entry.client, Submitted(outcome.task)))
        effects += self._put_out(entry)
        for watch in list(self._watches.values()):
            if outcome.task in watch.open:
                watch.end(outcome)
                if not watch.open:
                    effects += self._answer(watch)
                elif watch.tell_at is None and isinstance(watch.question, Wait):
                    watch.tell_at = now + TELL_EVERY_S
        for child in self._children.pop(outcome.task, ()):
            effects += self._parent_ended(self._book[child], outcome, now)
        for forgotten in self._book.forget():
            if forgotten.blobs:
                effects += self._carrier.release(("kept", forgotten.task))
        return effects

    def _parent_ended(self, child: Entry, outcome: Outcome, now: float) -> Sequence[Effect]:
        name = child.parents.pop(outcome.task, None)
        if name is None:
            return ()
        if outcome.state is not State.DONE:
            return self._decide(_after(child.task.id, name, outcome), now)
        child.take(name, outcome)
        if outcome.blobs:
            self._carrier.keep(("task", child.task.id), outcome.blobs)
        return () if child.parents or child.absent else self._call(child, now)

    def _put_out(self, entry: Entry) -> Sequence[Effect]:
        """Its client may read its result."""
        if entry.follow is Follow.NOTHING:
            return ()
        self._trays.setdefault(entry.client, Tray()).waiting.append(entry.task.id)
        effects = self._hand_out(entry.client)
        if len(self._trays) > CLIENTS_MAX:
            self._trays.popitem(last=False)
        return effects

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
        waits = self._commitment.waits_for_holders(task) if self._commitment is not None else ""
        if standing is None and not entry.parents:
            if entry.seen is not None and not waits:
                return entry.seen.line
            reason = waits or "its holders see to it"
            return TaskLine(task, entry.label, entry.task.kind, State.OPEN, reason, None, 0, 0)
        if standing is None:
            reason = f"comes after {', '.join(sorted(entry.parents.values()))}"[:4096]
            return TaskLine(task, entry.label, entry.task.kind, State.HELD, reason, None, 0, 0)
        state, reason, node, epoch, attempts = standing
        reason = waits if waits and state is State.OPEN else reason
        return TaskLine(task, entry.label, entry.task.kind, state, reason[:4096], node, epoch, attempts)

    def _watch(self, question: Wait | CancelTasks | AskResult, sender: NodeId, now: float) -> Sequence[Effect]:
        which = (question.task,) if isinstance(question, AskResult) else question.which
        found = self._book.find(which)
        if isinstance(found, str):
            return [Send(sender, NotFound(question.request, found))]
        if isinstance(question, AskResult) and len(found) > 1:
            return [Send(sender, NotFound(question.request, f"{question.task} has {len(found)} replicas: name one"))]
        watch = Watch(sender, question, found)
        for task in found:
            outcome = self._book[task].outcome
            if outcome is not None:
                watch.end(outcome)
                watch.given_up += outcome.state is State.CANCELLED
        effects: list[Effect] = []
        to_cancel = list(watch.open) if isinstance(question, CancelTasks) else ()
        self._watches[sender, question.request] = watch
        if len(self._watches) > WATCHES_MAX:
            del self._watches[next(iter(self._watches))]
        for task in to_cancel:
            effects += self._end(task, Reason.CANCELLED, now)
        if not to_cancel and (not watch.open or isinstance(question, Wait)):
            effects += self._answer(watch)
        return effects

    def _answer(self, watch: Watch) -> Sequence[Effect]:
        """What a client that waits is told: the last word when all has ended."""
        question, request = watch.question, watch.question.request
        if not watch.open:
            self._watches.pop((watch.client, request), None)
        match question:
            case AskResult(_, name):
                task = self._book.find((name,))[0]
                outcome = self._book[task].outcome if task in self._book else None
                if outcome is None:
                    return [Send(watch.client, NotFound(request, f"the result of {name} is forgotten"))]
                return [Send(watch.client, ResultOf(request, outcome))]
            case CancelTasks():
                cancelled = watch.ended[State.CANCELLED] - watch.given_up
                ended = sum(watch.ended.values()) - cancelled
                return [Send(watch.client, Cancelled(request, cancelled, ended))]
        states = watch.ended.copy()
        for task in watch.open:
            states[self._line(task).state if len(watch.open) <= LINES_PER_ANSWER_MAX else State.OPEN] += 1
        told = tuple(sorted(states.items()))
        return [Send(watch.client, Progress(request, told, not watch.open, watch.first_error))]

    # -- what others see to

    @property
    def _node(self) -> NodeId:
        return self._initiator.node

    def _held_fast(self, task: TaskId, now: float) -> Sequence[Effect]:
        """A majority of its holders has it: its client may know."""
        entry = self._book.get(task)
        if entry is None or entry.fast:
            return ()
        entry.fast = True
        self._absent.pop(task, None)
        effects: list[Effect] = [Send(entry.client, Submitted(task))] if entry.client else []
        return [*effects, *self._lose_sight(task, now)]

    def _lose_sight(self, task: TaskId, now: float) -> Sequence[Effect]:
        """If another agent sees to it, it is asked for from now on."""
        entry = self._book.get(task)
        if entry is None or entry.outcome is not None or self._commitment is None or self._commitment.stands_by(task):
            return ()
        entry.absent = True
        self._ask_for(task, now)
        return ()

    def _ask_for(self, task: TaskId, now: float) -> None:
        """Again and again, from now on."""
        self._absent[task] = None
        if self._poll_at is None:
            self._poll_at = now + POLL_S

    def _take_over(self, spec: Spec, now: float) -> Sequence[Effect]:
        """A task may be awarded here: one of ours, or one whose agent is gone."""
        task = spec.task.id
        entry = self._book.get(task)
        if entry is not None and (entry.outcome is not None or entry.parents or task in self._initiator):
            return ()
        former = entry
        submit = Submit(spec.task, spec.payload, Follow.NOTHING, spec.label, (), spec.waits, spec.blobs)
        entry = Entry(submit, former.client if former is not None else "")
        entry.after, entry.fast = spec.after, True
        if former is not None:
            entry.follow, entry.due, entry.ends = former.follow, former.due, former.ends
        self._absent.pop(task, None)
        effects: list[Effect] = []
        for parent, name in spec.after:
            known = self._book.get(parent)
            if known is not None and known.outcome is not None:
                if known.outcome.state is not State.DONE:
                    self._enter(entry, now)
                    return self._decide(_after(task, name, known.outcome), now)
                entry.take(name, known.outcome)
                continue
            entry.parents[parent] = name
            if known is None:
                line = TaskLine(parent, "", "?", State.OPEN, "", None, 0, 0)
                effects += self._sighted(Sighting(line, False, None), self._node, now)
        self._enter(entry, now)
        if entry.blobs:
            self._carrier.keep(("task", task), entry.blobs)
        if not entry.parents:
            effects += self._call(entry, now)
        if entry.ends is not None:
            effects += self._end(task, entry.ends, now)
        return effects

    def _unknown(self, message: Message) -> list[str]:
        """What it names and is not in the book; empty where nobody could know more. What is to be cancelled must stand
        there by its whole name: others may have tasks that begin like it, too."""
        names = named_in(message)
        if self._commitment is None or len(self._parked) >= PARKED_MAX:
            return []
        known = self._book.has if isinstance(message, CancelTasks) else self._book.named
        return [name for name in names if name not in ("all", "last") and not known(name)]

    def _park(self, message: Message, client: NodeId, lacks: Sequence[str], now: float) -> Sequence[Effect]:
        """It waits for what this node holds itself, since a former life perhaps, and for what others know."""
        assert self._commitment is not None
        self._questions += 1
        number, others = self._questions, self._commitment.others
        parked = self._parked[number] = Parked(message, client, lacks, now + SEEK_S)
        held = [sighting for name in lacks for sighting in self._commitment.sight(name)[:LINES_PER_ANSWER_MAX]]
        effects = [effect for sighting in held for effect in self._sighted(sighting, self._node, now)]
        if number in self._parked and not others:
            effects += self._unpark(number, now)
        elif number in self._parked:
            effects += [Publish(seek) for seek in parked.ask(number, others)]
        return effects

    @property
    def _next_parked(self) -> Parked:
        return next(iter(self._parked.values()))

    def _answered(self, number: int, other: NodeId, now: float) -> Sequence[Effect]:
        """Another has said all it knows."""
        parked = self._parked.get(number)
        return self._unpark(number, now) if parked is not None and parked.answered(other) else ()

    def _unpark(self, number: int, now: float) -> Sequence[Effect]:
        """What is not known now is not there."""
        parked = self._parked.pop(number)
        return self._asked(parked.word, parked.client, now, final=True)

    def _sought(self, seek: Seek, sender: NodeId, now: float) -> Sequence[Effect]:
        """Another agent asks for tasks: what we own, hold, or know the end of."""
        if sender == self._node or self._commitment is None:
            return ()
        effects: list[Effect] = []
        sightings: dict[TaskId, Sighting] = {}
        for name in seek.names:
            if seek.ends is not None and ((entry := self._book.get(name)) is None or entry.absent):
                effects += self._end_orphan(name, seek.ends, now)
            for task in self._book.named(name)[:LINES_PER_ANSWER_MAX]:
                entry = self._book[task]
                if not entry.absent:
                    sightings[task] = Sighting(self._line(task), entry.outcome is None, entry.outcome)
                if seek.ends is not None and task == name and entry.outcome is None and not entry.absent:
                    effects += self._end(task, seek.ends, now)
            for sighting in self._commitment.sight(name)[:LINES_PER_ANSWER_MAX]:
                task = sighting.line.task
                if task not in sightings or (sighting.outcome is not None and sightings[task].outcome is None):
                    sightings[task] = sighting
        return [*effects, *(Send(sender, sought) for sought in batches(list(sightings.values()), seek.number))]

    def _told_where(self, sought: Sought, sender: NodeId, now: float) -> Sequence[Effect]:
        """What another agent knows of what was asked."""
        effects = [effect for sighting in sought.sightings for effect in self._sighted(sighting, sender, now)]
        return [*effects, *self._answered(sought.number, sender, now)]

    def _sighted(self, sighting: Sighting, sender: NodeId, now: float) -> Sequence[Effect]:
        """Where a task stands elsewhere, as the sender knows."""
        line, outcome = sighting.line, sighting.outcome
        entry = self._book.get(line.task)
        if entry is None:
            entry = Entry(Submit(Task(line.task, line.kind), b"", Follow.NOTHING, line.label), "")
            entry.absent = entry.fast = True
            self._enter(entry, now)
            self._ask_for(line.task, now)
        if not entry.absent:
            if self._commitment is None or line.task not in self._absent:
                return ()
            return self._commitment.sighted(line.task, sender, outcome, now)
        if entry.seen is None or sighting.owned or not entry.seen.owned:
            entry.seen = sighting
        effects = list(self._chosen(line.task, outcome, sender, now)) if outcome is not None else []
        for number, parked in list(self._parked.items()):
            for name in (line.task, line.label):  # a beginning may be that of others, too: it waits for all answers
                parked.lacks.pop(name, None)
            if not parked.lacks:
                effects += self._unpark(number, now)
        return effects

    def _poll(self, now: float) -> Sequence[Effect]:
        """Those that are seen to elsewhere are asked for again, for the same reason, until they have ended."""
        self._poll_at = now + POLL_S if self._absent else None
        turn = list(islice(self._absent, POLLED_MAX))
        for task in turn:
            self._absent[task] = self._absent.pop(task)
        effects: list[Effect] = []
        for ends in (None, Reason.CANCELLED, Reason.DEADLINE):
            tasks = [task for task in turn if self._book[task].ends is ends]
            if ends is not None:
                effects += [effect for task in tasks for effect in self._end_orphan(task, ends, now)]
            for start in range(0, len(tasks), NAMES_MAX):
                effects.append(Publish(Seek(tuple(tasks[start : start + NAMES_MAX]), ends)))
        return effects

    def _chosen(self, task: TaskId, outcome: Outcome | None, teller: NodeId, now: float) -> Sequence[Effect]:
        """It has ended; what its result refers to is fetched first, from where it was done, or from who tells of it."""
        entry = self._book.get(task)
        if entry is None or entry.outcome is not None or task in self._fetching:
            return ()
        if outcome is None:
            error = "it ended so long ago that nobody remembers how"
            outcome = Outcome(task, State.UNKNOWN, error=error)
        if outcome.node is not None and not all(map(self._carrier.holds, outcome.blobs)):
            self._fetching[task] = outcome
            sources = tuple([node for node in (outcome.node, teller) if node != self._node])
            return [Send(self._node, Gather(("book", task, ""), outcome.blobs, sources))]
        return self._completed(outcome, now)

    def _fetched(self, task: TaskId, error: str, now: float) -> Sequence[Effect]:
        """If its large values cannot be had, whoever reads them will be told."""
        outcome = self._fetching.pop(task, None)
        effects = list(self._completed(outcome, now)) if outcome is not None else []
        return [*effects, Send(self._node, Release(("book", task, "")))]


def _unwanted(task: Task, reason: Reason) -> Outcome:
    """How a task ends that its client no longer wants, or whose deadline has passed."""
    limit_s = task.conditions.deadline_s
    if reason is Reason.DEADLINE and limit_s is not None:
        return Outcome(task.id, State.FAILED, error=f"not done within its {limit_s:g} s", reason=reason)
    return Outcome(task.id, State.CANCELLED, error="cancelled by a client", reason=reason)


def _after(task: TaskId, name: str, parent: Outcome) -> Outcome:
    """How a task ends that comes after one, which it calls so, that was not done."""
    error = f"it comes after {name}, which is {parent.state}: {parent.error}"[:4096]
    return Outcome(task, State.FAILED, error=error, reason=Reason.PARENT)
