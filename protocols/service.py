"""What a client says to an agent: take this task; who is there? And what it is told: taken, and how it ended.

    client                    agent
      | Submit(task, payload) ->|  the task is the agent's to call and to award
      | <- Submitted | Refused  |
      | <-------- Result(outcome)
      | Read(3) --------------->|  three results have been read so far: the next may come
      | AskNodes(request) ----->|
      | <-- Nodes(request, ...) |

A client is known by the id it connects with; links deliver what is said to it once and in order while it lives. Neither
floods the other: a client has few submissions under way that were not answered yet, an agent few results that were not
read yet (UNREAD_MAX, UNREAD_BYTES_MAX); the rest waits where it is.

Invariant: a task that was taken has exactly one `Result`; a task submitted again by the same id is the same task, and
is not run again when it has ended (as far back as ENDED_MAX).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from .contract_net import Initiator
from .core import (
    Address,
    Count,
    Effect,
    Event,
    Message,
    NodeId,
    Outcome,
    Payload,
    ProtocolError,
    Send,
    Speed,
    Task,
    TaskId,
    Text,
)
from .load import SLOTS_MAX
from .membership import MEMBERS_MAX, Contact, Presence
from .performatives import Completed

TASKS_MAX = 200_000
"""How many tasks an agent holds that have not ended; more are refused."""
ENDED_MAX = 200_000
"""How many ids of tasks that have ended are remembered; the oldest is forgotten first."""


UNREAD_MAX = 1_000
UNREAD_BYTES_MAX = 8 * 1024 * 1024
"""Results on their way to one client: no more than a link can hold."""
CLIENTS_MAX = 4_096
"""How many clients' trays are kept; the one that has read nothing for longest goes first."""
WAITING_BYTES_MAX = 256 * 1024 * 1024
"""Results that wait for clients to read; beyond it, the client that has read nothing for longest is given up."""


class Submit(Message, frozen=True, array_like=True):
    task: Task
    payload: Payload


class Submitted(Message, frozen=True, array_like=True):
    task: TaskId


class Refused(Message, frozen=True, array_like=True):
    """The task was not taken; `error` is one sentence for the person who sent it."""

    task: TaskId
    error: Text


class Result(Message, frozen=True, array_like=True):
    outcome: Outcome


class Read(Message, frozen=True, array_like=True):
    """How many results of this agent the client has read since it connected."""

    results: Count


class AskNodes(Message, frozen=True, array_like=True):
    request: Count


class NodeLine(msgspec.Struct, frozen=True, array_like=True):
    """A node as its peer sees it; `ready`: it is alive and hears that peer's announcements."""

    node: NodeId
    state: Presence
    ready: bool
    address: Address
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)]
    speed: Speed


class Nodes(Message, frozen=True, array_like=True):
    request: Count
    nodes: Annotated[tuple[NodeLine, ...], Meta(max_length=MEMBERS_MAX + 1)]


MESSAGES: tuple[type[Message], ...] = (Submit, Submitted, Refused, Result, Read, AskNodes, Nodes)


class TaskSubmitted(Event, frozen=True, kw_only=True):
    """A client handed a task to this node."""

    name: ClassVar[str] = "task.submit"
    task: TaskId
    kind: str
    work: float | None
    payload_bytes: int
    peer: NodeId


EVENTS: tuple[type[Event], ...] = (TaskSubmitted,)


class _Tray:
    """The results of one client: on their way, in order, and waiting to be sent."""

    def __init__(self) -> None:
        self.read = 0
        self.unread: deque[int] = deque()  # bytes of each
        self.unread_bytes = 0
        self.waiting: deque[Outcome] = deque()

    def take(self, results: int) -> None:
        """So many results have been read in all."""
        while self.unread and self.read < results:
            self.read += 1
            self.unread_bytes -= self.unread.popleft()

    def next(self) -> Outcome | None:
        """The next result, if it may be sent."""
        if not self.waiting or len(self.unread) >= UNREAD_MAX:
            return None
        size = len(self.waiting[0].value)
        if self.unread and self.unread_bytes + size > UNREAD_BYTES_MAX:
            return None
        self.unread.append(size)
        self.unread_bytes += size
        return self.waiting.popleft()


class Service:
    """The desk at which clients hand tasks in. It wakes for nothing."""

    def __init__(self, initiator: Initiator, members: Callable[[], Sequence[tuple[Contact, Presence, bool]]]) -> None:
        self._initiator = initiator
        self._members = members
        self._clients: dict[TaskId, NodeId] = {}  # of each task that has not ended
        self._ended: OrderedDict[TaskId, None] = OrderedDict()
        self._trays: OrderedDict[NodeId, _Tray] = OrderedDict()  # the client that read last comes last
        self._waiting_bytes = 0

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Submit(task, payload):
                return self._submit(task, payload, sender, now)
            case Completed(outcome):
                return self._completed(outcome)
            case Read(results):
                if sender in self._trays:
                    self._trays[sender].take(results)
                    self._trays.move_to_end(sender)
                return self._hand_out(sender)
            case AskNodes(request):
                lines = tuple(
                    NodeLine(contact.node, state, ready, contact.address, contact.slots, contact.speed)
                    for contact, state, ready in self._members()
                )
                return [Send(sender, Nodes(request, lines))]
        raise ProtocolError(f"a service is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return None

    def wake(self, now: float) -> Sequence[Effect]:
        return ()

    def _completed(self, outcome: Outcome) -> Sequence[Effect]:
        client = self._clients.pop(outcome.task, None)
        if client is None:
            return ()
        self._ended[outcome.task] = None
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        self._trays.setdefault(client, _Tray()).waiting.append(outcome)
        self._waiting_bytes += len(outcome.value)
        effects = self._hand_out(client)
        while self._waiting_bytes > WAITING_BYTES_MAX or len(self._trays) > CLIENTS_MAX:
            _, given_up = self._trays.popitem(last=False)
            self._waiting_bytes -= sum(len(left.value) for left in given_up.waiting)
        return effects

    def _hand_out(self, client: NodeId) -> Sequence[Effect]:
        """Send the client what it may have."""
        effects: list[Effect] = []
        tray = self._trays.get(client)
        while tray is not None and (outcome := tray.next()) is not None:
            self._waiting_bytes -= len(outcome.value)
            effects.append(Send(client, Result(outcome)))
        return effects

    def _submit(self, task: Task, payload: bytes, sender: NodeId, now: float) -> Sequence[Effect]:
        if len(payload) != task.payload_bytes:
            error = f"its argument has {len(payload)} bytes and not the {task.payload_bytes} it declares"
            return [Send(sender, Refused(task.id, error))]
        if task.id in self._clients:
            if self._clients[task.id] != sender:
                return [Send(sender, Refused(task.id, f"the id {task.id} is another client's"))]
            return [Send(sender, Submitted(task.id))]
        if task.id in self._ended:
            return [Send(sender, Refused(task.id, f"the task {task.id} has ended, and its result was sent"))]
        if len(self._clients) >= TASKS_MAX:
            return [Send(sender, Refused(task.id, f"this agent holds {TASKS_MAX} tasks already; try another"))]
        self._clients[task.id] = sender
        submitted = TaskSubmitted(
            task=task.id, kind=task.kind, work=task.work, payload_bytes=task.payload_bytes, peer=sender
        )
        return [submitted, *self._initiator.call(task, payload, now), Send(sender, Submitted(task.id))]
