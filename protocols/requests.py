"""What a client says to an agent, and what it is told.

    client                    agent
      | Submit(task, payload) ->|  the task is the agent's to call and to award
      | <- Submitted | Refused  |
      | <-------- Output(data)  |  only if it follows the output: what the task writes, as it comes
      | Credit(size) ---------->|  so much of it was read: the next may come
      | <-------- Result(outcome)  only if it follows the result
      | Read(3) --------------->|  three results have been read so far: the next may come
      | Ask...(request) ------->|  a question; `request` is repeated in its answer
      | <----- answer | NotFound(request)

A task is named by its id, by the beginning of one, by the label its client gave it, by `last` or by `all`.

Invariant: every field is bounded; a question has one answer, but `Wait` is answered whenever something has changed,
until all have ended.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from .batch_words import BATCH_TASKS_MAX, Mode
from .commitment_words import HOLDERS_MAX
from .core import (
    Address,
    Count,
    Kind,
    Message,
    NodeId,
    Outcome,
    Payload,
    References,
    Seconds,
    Speed,
    State,
    Task,
    TaskId,
    Text,
)
from .load import SLOTS_MAX
from .performatives import TERMS_MAX, Basis, Decline, Term
from .performatives import Tasks as TasksCalled
from .swim_words import MEMBERS_MAX, NO_STATUS, Presence, Status

WHICH_MAX = 1_000
"""How many tasks one question may name."""
LINES_PER_ANSWER_MAX = 256
AFTER_MAX = 256
"""How many tasks a task may come after."""
UNREAD_MAX = 1_000
UNREAD_BYTES_MAX = 8 * 1024 * 1024
"""Results on their way to one client: no more than a link can hold."""

Label: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
"""A name that a client gives its task; empty: none."""
Handle: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
"""What names a task: an id, the beginning of one, a label, `last` or `all`."""
Which: TypeAlias = Annotated[tuple[Handle, ...], Meta(min_length=1, max_length=WHICH_MAX)]


class Follow(enum.IntEnum):
    """What a client wants to be told of a task unasked."""

    NOTHING = 0
    RESULT = 1
    OUTPUT = 2  # what it writes, and the result


class Submit(Message, frozen=True, array_like=True):
    """Take this task.

    It is called when the tasks it comes `after` (ids, or labels of this client) are done. `waits`: if nobody can run
    it, it waits until somebody can. `blobs` are what the payload refers to: they were offered before (`carrier.py`).
    `holders`: who is to hold it, chosen once (`holders.py`) and repeated whenever it is handed in again; empty: the
    agent alone.
    """

    task: Task
    payload: Payload
    follow: Follow = Follow.RESULT
    label: Label = ""
    after: Annotated[tuple[Handle, ...], Meta(max_length=AFTER_MAX)] = ()
    waits: bool = False
    blobs: References = ()
    holders: Annotated[tuple[NodeId, ...], Meta(max_length=HOLDERS_MAX)] = ()


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


# --- questions and answers -------------------------------------------------------------------------------------------


class NotFound(Message, frozen=True, array_like=True):
    """The answer to a question about what is not here, or not unique; `error` is one sentence."""

    request: Count
    error: Text


class AskNodes(Message, frozen=True, array_like=True):
    request: Count


class PlannedBid(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a node would cost, in seconds: its terms sum to it. `basis`: what its estimate was made of."""

    node: NodeId
    terms: Annotated[tuple[Term, ...], Meta(max_length=TERMS_MAX)]
    basis: Basis | None

    @property
    def cost(self) -> float:
        return sum(seconds for _, seconds in self.terms)


class NodeLine(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A node, in its newest life, as its peer sees it; `ready`: it is alive and hears that peer's announcements.

    `told` is what it said of itself last, at most a second or two ago while it lives; `holder` is its name as one.
    """

    node: NodeId
    incarnation: Count
    state: Presence
    ready: bool
    address: Address
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)]
    speed: Speed
    told: Status = NO_STATUS
    holder: Annotated[str, Meta(max_length=64)] = ""


class Nodes(Message, frozen=True, array_like=True):
    request: Count
    nodes: Annotated[tuple[NodeLine, ...], Meta(max_length=MEMBERS_MAX + 1)]
    holders: Annotated[int, Meta(ge=1, le=HOLDERS_MAX)] = 1
    """How many holders a task is to have."""
    me: NodeId | None = None
    """Who answers."""


class AskTasks(Message, frozen=True, array_like=True):
    """What stands where? `past` is the last id of the page before (empty: from the beginning)."""

    request: Count
    which: Which
    past: Annotated[str, Meta(max_length=64)] = ""


class TaskLine(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A task as its agent sees it; `reason` says in one sentence why it stands where it stands."""

    task: TaskId
    label: Label
    kind: Kind
    state: State
    reason: Text
    node: NodeId | None
    epoch: Count
    attempts: Count


class Tasks(Message, frozen=True, array_like=True):
    """In the order of submission; `more`: ask again, past the last of them."""

    request: Count
    lines: Annotated[tuple[TaskLine, ...], Meta(max_length=LINES_PER_ANSWER_MAX)]
    more: bool


class Wait(Message, frozen=True, array_like=True):
    """Tell me whenever one of these ends, until all have."""

    request: Count
    which: Which


class Progress(Message, frozen=True, array_like=True):
    """How many of the tasks asked for stand where; `ended`: all of them have ended, and this is the last word.

    `first_error` is the sentence of the first that ended otherwise than done.
    """

    request: Count
    states: Annotated[tuple[tuple[State, Count], ...], Meta(max_length=16)]
    ended: bool
    first_error: Text = ""


class AskResult(Message, frozen=True, array_like=True):
    """Of one task; answered when it has ended."""

    request: Count
    task: Handle


class ResultOf(Message, frozen=True, array_like=True):
    request: Count
    outcome: Outcome


class AskPlan(Message, frozen=True, array_like=True):
    """Who would get this task? It is called and priced, and awarded to nobody."""

    request: Count
    task: Task


class Planned(Message, frozen=True, array_like=True):
    """What a dry auction came to: all bids, the best first; `silent` have not answered in time.

    `rule` is the award rule of the agent that asked. No bids and only declines: nobody can run it.
    """

    request: Count
    rule: Annotated[str, Meta(max_length=64)]
    bids: Annotated[tuple[PlannedBid, ...], Meta(max_length=MEMBERS_MAX + 1)]
    declines: Annotated[tuple[tuple[NodeId, Decline], ...], Meta(max_length=MEMBERS_MAX + 1)]
    silent: Annotated[tuple[NodeId, ...], Meta(max_length=MEMBERS_MAX + 1)]


class AskDivision(Message, frozen=True, array_like=True):
    """How would these tasks be divided, if they were handed in now? By the nodes, as a batch; nobody gets any. `more`:
    others of the same request follow."""

    request: Count
    tasks: TasksCalled
    more: bool


class DivisionTold(Message, frozen=True, array_like=True):
    """A dry division. `owners`: for each task the place of its node in `nodes`, None where no node takes it; `seconds`:
    what it takes there. All would be done in `value` seconds, and no division can do it in less than `bound`."""

    request: Count
    mode: Mode
    rounds: Count
    nodes: Annotated[tuple[NodeId, ...], Meta(max_length=MEMBERS_MAX)]
    owners: Annotated[tuple[Count | None, ...], Meta(max_length=BATCH_TASKS_MAX)]
    seconds: Annotated[tuple[Seconds, ...], Meta(max_length=BATCH_TASKS_MAX)]
    value: Seconds
    bound: Seconds


class AskDrain(Message, frozen=True, array_like=True):
    """Take nothing more, end what runs here and what was handed in here, then leave."""

    request: Count


class Draining(Message, frozen=True, array_like=True):
    """It has begun: so many attempts run here still, so many tasks that were handed in here have not ended."""

    request: Count
    running: Count
    open: Count


class CancelTasks(Message, frozen=True, array_like=True):
    request: Count
    which: Which


class Cancelled(Message, frozen=True, array_like=True):
    """So many have been cancelled, so many had ended before: answered when the work has stopped."""

    request: Count
    cancelled: Count
    ended: Count


QUESTIONS: tuple[type[Message], ...] = (Submit, Read, AskNodes, AskTasks, Wait, AskResult, CancelTasks, AskDrain)
"""What a client says to the desk; `AskPlan` and `AskDivision` are for others, the rest is what clients are told."""
MESSAGES: tuple[type[Message], ...] = (
    Submit,
    Submitted,
    Refused,
    Result,
    Read,
    NotFound,
    AskNodes,
    Nodes,
    AskTasks,
    Tasks,
    Wait,
    Progress,
    AskResult,
    ResultOf,
    AskPlan,
    Planned,
    AskDivision,
    DivisionTold,
    CancelTasks,
    Cancelled,
    AskDrain,
    Draining,
)


def named_in(message: Message) -> Sequence[str]:
    """The tasks that a client's word is about."""
    match message:
        case AskTasks(which=names) | Wait(which=names) | CancelTasks(which=names) | Submit(after=names):
            return names
        case AskResult(task=name):
            return (name,)
    return ()
