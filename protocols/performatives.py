"""The performatives of the contract net: what initiator and participants say to each other.

The words are FIPA's (SC00029H): call for proposals, proposal, refusal, award (accept-proposal), rejection, inform,
failure, cancel, not-understood; availability is Smith's (1980); renewing and fencing belong to leases (Gray and
Cheriton 1989). Who says what when stands in `contract_net.py`.

Invariant: every field is bounded, and only `Award` and `Inform` carry payloads.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from .commitment_words import Warrant
from .core import (
    GANG_MAX,
    AuctionId,
    Count,
    Local,
    Message,
    NodeId,
    Outcome,
    Payload,
    References,
    Seconds,
    Task,
    TaskId,
    Text,
)
from .load import SLOTS_MAX, WAITING_MAX, Load

TASKS_PER_CALL_MAX = 256
CALL_BYTES_MAX = 1024 * 1024
"""Of the tasks in a call, but for a single one that has more."""
TERMS_MAX = 16
AVAILABILITY_HEARD_MAX = 64
OUTPUT_BYTES_MAX = 64 * 1024
OUTPUT_UNREAD_MAX = 256 * 1024


class Reason(enum.StrEnum):
    """Why a task was declined, rejected, failed or lost: the closed list that people see in `why`."""

    KIND = "kind"  # this node does not offer the kind
    NEED = "need"  # this node lacks what it needs
    ONLY = "only"  # it may not go here
    DEADLINE = "deadline"  # it would be, or was, too late
    PAYLOAD = "payload"  # the argument is larger than this node takes
    UNWILLING = "unwilling"  # the owner's own valuation says no
    RESERVE = "reserve"  # it asks more than the reserve price
    BUSY = "busy"  # neither free now nor next, or it holds the task already
    DRAINING = "draining"  # about to leave
    OUTBID = "outbid"
    LATE = "late"  # the proposal came after the call had closed, or after the award
    ERROR = "error"  # the function itself raised: another node would fail as well
    DIED = "died"  # the worker died: another attempt may succeed
    TIMEOUT = "timeout"  # it took longer than it may: another attempt may succeed
    LEASE = "lease"  # not renewed in time
    VANISHED = "vanished"  # the node is gone
    ORPHANED = "orphaned"  # the initiator is gone
    CANCELLED = "cancelled"
    PARENT = "parent"  # a task that it comes after has failed
    REPLICA = "replica"  # this node has another replica of it
    PLAN = "plan"  # it was only asked what it would cost


TRANSIENT = frozenset({Reason.BUSY, Reason.DRAINING, Reason.DEADLINE, Reason.OUTBID})
"""Declines that pass: a task declined for these alone is called again."""


Term: TypeAlias = tuple[Annotated[str, Meta(min_length=1, max_length=32)], Seconds]
"""One reason for a cost: its name and its seconds."""
AFFINITY = "affinity"
"""The term for what a node lacks of that its task would like: it counts as time, and takes none."""


class Basis(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What an estimate was made of: `observations` here (0: other nodes' were taken), and the `factor` between the
    nominal seconds and what was observed."""

    observations: Count
    factor: Annotated[float, Meta(gt=0.0, le=1e15)]


class Bid(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The price of a task here: `terms` in seconds until done, the first of them "queue"; they sum to the cost.

    `basis` is what the seconds of the run were estimated from; None: from the task's own words alone. `seats`: so many
    members of a gang this node could hold at once; when, its load says.
    """

    task: TaskId
    terms: Annotated[tuple[Term, ...], Meta(min_length=1, max_length=TERMS_MAX)]
    basis: Basis | None = None
    seats: Annotated[int, Meta(ge=0, le=GANG_MAX)] = 0


class Decline(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    task: TaskId
    reason: Reason
    detail: Text = ""


Tasks: TypeAlias = Annotated[tuple[Task, ...], Meta(min_length=1, max_length=TASKS_PER_CALL_MAX)]
Bids: TypeAlias = Annotated[tuple[Bid, ...], Meta(max_length=TASKS_PER_CALL_MAX)]
Declines: TypeAlias = Annotated[tuple[Decline, ...], Meta(max_length=TASKS_PER_CALL_MAX)]


Members: TypeAlias = Annotated[tuple[NodeId, ...], Meta(max_length=GANG_MAX)]
"""The node of each member of a gang, by rank."""


class CallForProposals(Message, frozen=True, array_like=True):
    """Published to all, or sent to a node that has just come or fallen idle, or is asked again.

    `best_s`: in an iterated call, the best cost so far of each task; empty: nobody has bid yet.
    """

    auction: AuctionId
    tasks: Tasks
    reply_by_s: Seconds
    best_s: Annotated[tuple[Seconds, ...], Meta(max_length=TASKS_PER_CALL_MAX)] = ()


class Proposal(Message, frozen=True, array_like=True):
    """`heard` is the number of the initiator's last award that `load` already counts."""

    auction: AuctionId
    bids: Bids
    declines: Declines
    load: Load
    heard: Count


class Refusal(Message, frozen=True, array_like=True):
    """A participant that bids for none of the tasks."""

    auction: AuctionId
    declines: Declines
    load: Load
    heard: Count


class Award(Message, frozen=True, array_like=True):
    """The acceptance; with `follow`, what the attempt writes is passed on.

    `number` rises with each award of this initiator, so that loads can say what they count. `blobs` are what the
    payload refers to: the initiator's node has them. `payment`: what the winner is paid, under a rule that pays.
    `warrant`: who decides about its end (`commitment.py`). `members`: of a gang, the node of each, by rank; the first
    is the one that this goes to, and leads (`gangs.py`).
    """

    auction: AuctionId
    task: Task
    epoch: Count
    lease_s: Seconds
    number: Count
    payload: Payload
    follow: bool = False
    blobs: References = ()
    payment: Seconds | None = None
    warrant: Warrant | None = None
    members: Members = ()


class Rejection(Message, frozen=True, array_like=True):
    """These tasks are not yours: published when they went elsewhere, sent to one whose proposal came late."""

    auction: AuctionId
    tasks: Annotated[tuple[TaskId, ...], Meta(max_length=TASKS_PER_CALL_MAX)]
    reason: Reason


class Renew(Message, frozen=True, array_like=True):
    """The sender still holds these attempts (task, epoch, does it run?)."""

    attempts: Annotated[tuple[tuple[TaskId, Count, bool], ...], Meta(min_length=1, max_length=WAITING_MAX + SLOTS_MAX)]


class Inform(Message, frozen=True, array_like=True):
    """Done: the encoded result, the seconds a slot was held, and the load left behind.

    `blobs` are what the result refers to: the winner's node has them, and keeps them until it is told `Kept`.
    """

    auction: AuctionId
    task: TaskId
    epoch: Count
    value: Payload
    seconds: Seconds
    load: Load
    heard: Count
    blobs: References = ()


class Kept(Message, frozen=True, array_like=True):
    """What this attempt's result refers to is here now, or is not wanted: the winner need not keep it."""

    task: TaskId
    epoch: Count


class Failure(Message, frozen=True, array_like=True):
    """Not done: declined after all (busy, draining), cancelled, raised, or its worker died; `value`: what it left."""

    auction: AuctionId
    task: TaskId
    epoch: Count
    reason: Reason
    detail: Text
    seconds: Seconds
    load: Load
    heard: Count
    value: Payload = b""


class Cancel(Message, frozen=True, array_like=True):
    """The initiator no longer wants this attempt; answered by Failure: cancelled, or too late."""

    auction: AuctionId
    task: TaskId
    epoch: Count


class Fenced(Message, frozen=True, array_like=True):
    """What you sent belongs to an attempt that counts no more; `epoch` is the one that does (0: none, for now)."""

    task: TaskId
    epoch: Count


class NotUnderstood(Message, frozen=True, array_like=True):
    """The last message made no sense to its receiver; `about` names what it referred to."""

    about: Text
    detail: Text


class Availability(Message, frozen=True, array_like=True):
    """An idle node tells that it is idle; `heard` per initiator whose calls it still has open."""

    load: Load
    heard: Annotated[tuple[tuple[NodeId, Count], ...], Meta(max_length=AVAILABILITY_HEARD_MAX)]


class Finished(Local, frozen=True, array_like=True):
    """The executor's word on an attempt.

    `reason` is None if it was done: then `value` is the result, encoded, and `blobs` what it refers to. Else `error`
    says in one sentence (more may follow it) what went wrong, and `value` is what it left. DIED and TIMEOUT: another
    attempt may succeed; ERROR: another would fail as well.
    """

    task: TaskId
    epoch: Count
    reason: Reason | None = None
    value: Payload = b""
    error: Text = ""
    seconds: Seconds = 0.0
    blobs: References = ()


class Stream(enum.IntEnum):
    """Where an attempt wrote something to."""

    OUT = 1
    ERR = 2


class Output(Message, frozen=True, array_like=True):
    """What a running attempt has written, as it comes: the executor tells its participant, an agent its client.

    No more than OUTPUT_UNREAD_MAX bytes are on their way: then `Credit` must come back.
    """

    task: TaskId
    epoch: Count
    stream: Stream
    data: Annotated[bytes, Meta(max_length=OUTPUT_BYTES_MAX)]


class Credit(Message, frozen=True, array_like=True):
    """The client has read so many bytes of this attempt's output."""

    task: TaskId
    epoch: Count
    size: Count


class Printed(Message, frozen=True, array_like=True):
    """The winner passes on what its attempt has written."""

    task: TaskId
    epoch: Count
    stream: Stream
    data: Annotated[bytes, Meta(max_length=OUTPUT_BYTES_MAX)]


class Grant(Message, frozen=True, array_like=True):
    """The initiator lets the winner pass on so many bytes more: they were read, or nobody reads them."""

    task: TaskId
    epoch: Count
    size: Count


class Completed(Local, frozen=True, array_like=True):
    """The initiator's word on a task: its one committed end."""

    outcome: Outcome


MESSAGES: tuple[type[Message], ...] = (
    CallForProposals,
    Proposal,
    Refusal,
    Award,
    Rejection,
    Renew,
    Inform,
    Kept,
    Failure,
    Cancel,
    Fenced,
    NotUnderstood,
    Availability,
    Output,
    Credit,
    Printed,
    Grant,
)
