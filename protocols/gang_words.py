"""What owners, leaders and members of gangs say to each other, and what they tell the log.

Who says what when stands in `gangs.py` (the owner), `leader.py` and `reserves.py` (the nodes of the members).

Invariant: every field is bounded, and only `Enlist` and `Returned` carry payloads.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from .core import (
    GANG_MAX,
    AuctionId,
    Count,
    Event,
    Message,
    NodeId,
    Payload,
    References,
    Run,
    Seconds,
    Task,
    TaskId,
    Text,
)
from .load import Load
from .performatives import OUTPUT_BYTES_MAX, Failure, Inform, Members, Proposal, Reason, Refusal, Stream

TERM_S = 2.0
"""So long a reservation is kept without a word from its owner."""
LED_S = TERM_S / 2
"""So long a member works on without a word from its leader, and a leader lets others work without a word from one of
them: within a term of the first that is lost, all have stopped, whatever is cut off from whom."""

TellsLoad: TypeAlias = "Proposal | Refusal | Inform | Failure | Reserved | Unreserved"
"""What tells an initiator the load of a node."""
Many = Annotated[int, Meta(ge=1, le=GANG_MAX)]
Rank = Annotated[int, Meta(ge=0, lt=GANG_MAX)]


# --- between the owner and the nodes that are to have members --------------------------------------------------------


class Reserve(Message, frozen=True, array_like=True):
    """Keep what so many members of this gang take, as soon as it is free, for `term_s`; said again, for a new term."""

    auction: AuctionId
    task: Task
    members: Many
    term_s: Seconds


class Reserved(Message, frozen=True, array_like=True):
    """All of it is kept. `load` counts it."""

    auction: AuctionId
    task: TaskId
    load: Load
    heard: Count


class Unreserved(Message, frozen=True, array_like=True):
    """It is not kept, or no longer: told to the owner, or to the leader that would enlist what was kept."""

    auction: AuctionId
    task: TaskId
    reason: Reason
    detail: Text
    load: Load
    heard: Count


class Withdraw(Message, frozen=True, array_like=True):
    """What was reserved is not wanted. Members that were enlisted are their leader's, and stay."""

    auction: AuctionId
    task: TaskId


# --- between the leader and the nodes of the members -----------------------------------------------------------------


class Enlist(Message, frozen=True, array_like=True):
    """What is kept here is for the members of these `ranks`, of an award to the sender, in this epoch. `members`: the
    nodes of all, by rank. What the payload refers to is to be had from `source`."""

    auction: AuctionId
    task: Task
    epoch: Count
    ranks: Annotated[tuple[Rank, ...], Meta(min_length=1, max_length=GANG_MAX)]
    members: Annotated[Members, Meta(min_length=1)]
    payload: Payload
    follow: bool
    blobs: References
    source: NodeId


class Enlisted(Message, frozen=True, array_like=True):
    """The members here could start: their slots are kept, and all that their payload refers to is here."""

    task: TaskId
    epoch: Count


class Commence(Message, frozen=True, array_like=True):
    """All could start: start."""

    task: TaskId
    epoch: Count


class Prolong(Message, frozen=True, array_like=True):
    """Keep the members, for another LED_S."""

    task: TaskId
    epoch: Count


class Prolonged(Message, frozen=True, array_like=True):
    """The members here are still there."""

    task: TaskId
    epoch: Count


class Dismiss(Message, frozen=True, array_like=True):
    """This epoch is over: stop its members."""

    task: TaskId
    epoch: Count


class Returned(Message, frozen=True, array_like=True):
    """A member has ended: with its result (`reason` None), or not. `blobs`: what the result refers to; its node keeps
    them until it is told `Kept`."""

    task: TaskId
    epoch: Count
    rank: Rank
    reason: Reason | None
    value: Payload
    detail: Text
    seconds: Seconds
    blobs: References = ()


class Said(Message, frozen=True, array_like=True):
    """What a member has written."""

    task: TaskId
    epoch: Count
    rank: Rank
    stream: Stream
    data: Annotated[bytes, Meta(max_length=OUTPUT_BYTES_MAX)]


MESSAGES: tuple[type[Message], ...] = (
    Reserve,
    Reserved,
    Unreserved,
    Withdraw,
    Enlist,
    Enlisted,
    Commence,
    Prolong,
    Prolonged,
    Dismiss,
    Returned,
    Said,
)


class Lead(Run, frozen=True, kw_only=True):
    """A gang was awarded to this node: it leads. In the place of an executor, whose part the leader has."""

    auction: AuctionId
    members: tuple[NodeId, ...]
    blobs: References
    source: NodeId


# --- what the log is told --------------------------------------------------------------------------------------------


class PlaceLine(msgspec.Struct, frozen=True, gc=False):
    """A node that could have members: when each of as many as it can hold at once could start there, as far as was
    known, and the seconds that one takes; `members`: so many it was asked to keep slots for."""

    node: NodeId
    ready_s: tuple[float, ...]
    own_s: float
    members: int


class GangReserving(Event, frozen=True, kw_only=True):
    """Slots were found for a gang, and are being reserved: node after node, in the order of their names."""

    name: ClassVar[str] = "gang.reserve"
    auction: AuctionId
    task: TaskId
    size: int
    places: tuple[PlaceLine, ...]


class GangBroken(Event, frozen=True, kw_only=True):
    """Not all of its slots could be had: what was reserved is let go, and it is called again."""

    name: ClassVar[str] = "gang.break"
    level: ClassVar[str] = "warning"
    auction: AuctionId
    task: TaskId
    peer: NodeId
    reason: Reason
    detail: str


class ReserveHeld(Event, frozen=True, kw_only=True):
    """Slots are kept here for so many members; `waited_s`: so long it took until they were free."""

    name: ClassVar[str] = "reserve.hold"
    auction: AuctionId
    task: TaskId
    peer: NodeId
    members: int
    waited_s: float


class ReserveEnded(Event, frozen=True, kw_only=True):
    """What was reserved here, or waited to be, is let go: nobody was enlisted."""

    name: ClassVar[str] = "reserve.end"
    auction: AuctionId
    task: TaskId
    peer: NodeId
    members: int
    reason: Reason


class MemberStarted(Event, frozen=True, kw_only=True):
    name: ClassVar[str] = "member.start"
    task: TaskId
    kind: str
    epoch: int
    rank: int
    peer: NodeId


class MemberEnded(Event, frozen=True, kw_only=True):
    """A member has left its slot; `reason` is None if it was done."""

    name: ClassVar[str] = "member.end"
    task: TaskId
    epoch: int
    rank: int
    seconds: float
    reason: Reason | None
    detail: str


EVENTS: tuple[type[Event], ...] = (
    GangReserving,
    GangBroken,
    ReserveHeld,
    ReserveEnded,
    MemberStarted,
    MemberEnded,
)
