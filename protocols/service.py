"""What a client says to an agent: take this task; who is there? And what it is told: taken, and how it ended.

    client                    agent
      | Submit(task, payload) ->|  the task is the agent's to call and to award
      | <- Submitted | Refused  |
      | <-------- Result(outcome)
      | AskNodes(request) ----->|
      | <-- Nodes(request, ...) |

A client is known by the id it connects with; links deliver what is said to it once and in order while it lives.
Invariant: a task that was taken has exactly one `Result`; a task submitted again by the same id is the same task, and
is not run again when it has ended (as far back as ENDED_MAX).
"""

from __future__ import annotations

from collections import OrderedDict
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


MESSAGES: tuple[type[Message], ...] = (Submit, Submitted, Refused, Result, AskNodes, Nodes)


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
    """The desk at which clients hand tasks in. It wakes for nothing."""

    def __init__(self, initiator: Initiator, members: Callable[[], Sequence[tuple[Contact, Presence, bool]]]) -> None:
        self._initiator = initiator
        self._members = members
        self._clients: dict[TaskId, NodeId] = {}  # of each task that has not ended
        self._ended: OrderedDict[TaskId, None] = OrderedDict()

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Submit(task, payload):
                return self._submit(task, payload, sender, now)
            case Completed(outcome):
                return self._completed(outcome)
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
        return [Send(client, Result(outcome))]

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
