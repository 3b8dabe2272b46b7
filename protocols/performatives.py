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

from .core import AuctionId, Count, Local, Message, NodeId, Outcome, Payload, Seconds, Task, TaskId, Text
from .load import SLOTS_MAX, WAITING_MAX, Load

TASKS_PER_CALL_MAX = 256
TERMS_MAX = 16
AVAILABILITY_HEARD_MAX = 64


class Reason(enum.StrEnum):
    """Why a task was declined, rejected, failed or lost: the closed list that people see in `why`."""

    KIND = "kind"  # this node does not offer the kind
    PAYLOAD = "payload"  # the argument is larger than this node takes
    BUSY = "busy"  # neither free now nor next, or it holds the task already
    DRAINING = "draining"  # about to leave
    OUTBID = "outbid"
    LATE = "late"  # the proposal came after the call had closed, or after the award
    ERROR = "error"  # the function itself raised: another node would fail as well
    DIED = "died"  # the worker died or hung: another attempt may succeed
    LEASE = "lease"  # not renewed in time
    VANISHED = "vanished"  # the node is gone
    ORPHANED = "orphaned"  # the initiator is gone
    CANCELLED = "cancelled"


TRANSIENT = frozenset({Reason.BUSY, Reason.DRAINING})
"""Declines that pass: a task declined for these alone is called again."""


Term: TypeAlias = tuple[Annotated[str, Meta(min_length=1, max_length=32)], Seconds]
"""One reason for a cost: its name and its seconds."""


class Bid(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The price of a task here: `terms` in seconds until done, the first of them "queue"; they sum to the cost."""

    task: TaskId
    terms: Annotated[tuple[Term, ...], Meta(min_length=1, max_length=TERMS_MAX)]


class Decline(msgspec.Struct, frozen=True, array_like=True, gc=False):
    task: TaskId
    reason: Reason
    detail: Text = ""


Tasks: TypeAlias = Annotated[tuple[Task, ...], Meta(min_length=1, max_length=TASKS_PER_CALL_MAX)]
TaskIds: TypeAlias = Annotated[tuple[TaskId, ...], Meta(min_length=1, max_length=TASKS_PER_CALL_MAX)]
Bids: TypeAlias = Annotated[tuple[Bid, ...], Meta(max_length=TASKS_PER_CALL_MAX)]
Declines: TypeAlias = Annotated[tuple[Decline, ...], Meta(max_length=TASKS_PER_CALL_MAX)]


class CallForProposals(Message, frozen=True, array_like=True):
    """Published to all, or sent to a node that has just come or fallen idle."""

    auction: AuctionId
    tasks: Tasks
    reply_by_s: Seconds


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
    """The acceptance. `number` rises with each award of this initiator, so that loads can say what they count."""

    auction: AuctionId
    task: Task
    epoch: Count
    lease_s: Seconds
    number: Count
    payload: Payload


class Rejection(Message, frozen=True, array_like=True):
    """These tasks are not yours: published when they went elsewhere, sent to one whose proposal came late."""

    auction: AuctionId
    tasks: Annotated[tuple[TaskId, ...], Meta(max_length=TASKS_PER_CALL_MAX)]
    reason: Reason


class Renew(Message, frozen=True, array_like=True):
    """The sender still holds these attempts (task, epoch)."""

    attempts: Annotated[tuple[tuple[TaskId, Count], ...], Meta(min_length=1, max_length=WAITING_MAX + SLOTS_MAX)]


class Inform(Message, frozen=True, array_like=True):
    """Done: the encoded result, the seconds a slot was held, and the load left behind."""

    auction: AuctionId
    task: TaskId
    epoch: Count
    value: Payload
    seconds: Seconds
    load: Load
    heard: Count


class Failure(Message, frozen=True, array_like=True):
    """Not done: declined after all (busy, draining), raised (error), or the worker died."""

    auction: AuctionId
    task: TaskId
    epoch: Count
    reason: Reason
    detail: Text
    seconds: Seconds
    load: Load
    heard: Count


class Cancel(Message, frozen=True, array_like=True):
    """The initiator no longer wants this attempt."""

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
    """The executor's word on an attempt; `retry`: it died or hung, another attempt may succeed."""

    task: TaskId
    epoch: Count
    ok: bool
    value: Payload = b""
    error: Text = ""
    retry: bool = False
    seconds: Seconds = 0.0


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
    Failure,
    Cancel,
    Fenced,
    NotUnderstood,
    Availability,
)
