"""What the contract net tells the log: every bid, every award with all it was made from, every start and end.

An `auction.award` holds what is needed to recompute it; `why` and the pictures are made of nothing else.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from .core import AuctionId, Event, NodeId, Outcome, State, TaskId
from .performatives import Reason


class BidLine(msgspec.Struct, frozen=True, gc=False):
    """A bid as it stood when the award was made; `terms` sum to `cost`, all in seconds.

    The run was estimated from so many `observations` there (0: from other nodes'; None: from the task's own words),
    which took `factor` times their nominal seconds.
    """

    node: NodeId
    cost: float
    terms: dict[str, float]
    free: int
    speed: float
    observations: int | None = None
    factor: float | None = None


class DeclineLine(msgspec.Struct, frozen=True, gc=False):
    node: NodeId
    reason: Reason
    detail: str


class AuctionOpened(Event, frozen=True, kw_only=True):
    """A call for proposals went out."""

    name: ClassVar[str] = "auction.open"
    auction: AuctionId
    tasks: tuple[TaskId, ...]
    invitees: tuple[NodeId, ...]
    reply_by_s: float


class AuctionAwarded(Event, frozen=True, kw_only=True):
    """A task was awarded: all that is needed to see, and to recompute, why.

    Under a rule that pays, `payment` is what the winner is paid, and `reserve` the most it could have been (0: no
    limit).
    """

    name: ClassVar[str] = "auction.award"
    auction: AuctionId
    task: TaskId
    epoch: int
    winner: NodeId
    cost: float
    runner_up: NodeId | None
    margin: float | None
    rule: str
    seed: int
    bids: tuple[BidLine, ...]
    declines: tuple[DeclineLine, ...]
    silent: tuple[NodeId, ...]
    payment: float | None = None
    reserve: float = 0.0


class AuctionFailed(Event, frozen=True, kw_only=True):
    """A call closed without a bid for this task."""

    name: ClassVar[str] = "auction.fail"
    level: ClassVar[str] = "warning"
    auction: AuctionId
    task: TaskId
    declines: tuple[DeclineLine, ...]
    silent: tuple[NodeId, ...]


class BidSubmitted(Event, frozen=True, kw_only=True):
    name: ClassVar[str] = "bid.submit"
    auction: AuctionId
    task: TaskId
    peer: NodeId
    cost: float
    terms: dict[str, float]


class BidDeclined(Event, frozen=True, kw_only=True):
    name: ClassVar[str] = "bid.decline"
    auction: AuctionId
    task: TaskId
    peer: NodeId
    reason: Reason
    detail: str


class TaskAccepted(Event, frozen=True, kw_only=True):
    """The winner has taken the award; `waiting`: it runs next, not now."""

    name: ClassVar[str] = "task.accept"
    task: TaskId
    epoch: int
    peer: NodeId
    waiting: bool


class TaskStarted(Event, frozen=True, kw_only=True):
    name: ClassVar[str] = "task.start"
    task: TaskId
    kind: str
    epoch: int


class TaskEnded(Event, frozen=True, kw_only=True):
    """An attempt has left its slot; `reason` is None if it was done."""

    name: ClassVar[str] = "task.end"
    task: TaskId
    epoch: int
    seconds: float
    reason: Reason | None
    detail: str


class TaskLost(Event, frozen=True, kw_only=True):
    """An award came to nothing; the task is open again."""

    name: ClassVar[str] = "task.lost"
    level: ClassVar[str] = "warning"
    task: TaskId
    epoch: int
    peer: NodeId
    reason: Reason


class TaskReassigned(Event, frozen=True, kw_only=True):
    """A lost task was awarded again."""

    name: ClassVar[str] = "task.reassign"
    task: TaskId
    epoch: int
    peer: NodeId
    reason: Reason


class TaskCommitted(Event, frozen=True, kw_only=True):
    """The task has its one outcome."""

    name: ClassVar[str] = "task.commit"
    task: TaskId
    epoch: int
    state: State
    peer: NodeId | None
    attempts: int
    detail: str

    @classmethod
    def of(cls, outcome: Outcome) -> TaskCommitted:
        """What is told of this end."""
        return cls(
            task=outcome.task,
            epoch=outcome.epoch,
            state=outcome.state,
            peer=outcome.node,
            attempts=outcome.attempts,
            detail=outcome.error,
        )


class MessageDropped(Event, frozen=True, kw_only=True):
    """What came was refused: it belongs to an old epoch, or it is nonsense."""

    name: ClassVar[str] = "msg.drop"
    level: ClassVar[str] = "warning"
    reason: str
    peer: NodeId | None = None
    task: TaskId | None = None
    epoch: int | None = None


EVENTS: tuple[type[Event], ...] = (
    AuctionOpened,
    AuctionAwarded,
    AuctionFailed,
    BidSubmitted,
    BidDeclined,
    TaskAccepted,
    TaskStarted,
    TaskEnded,
    TaskLost,
    TaskReassigned,
    TaskCommitted,
    MessageDropped,
)
