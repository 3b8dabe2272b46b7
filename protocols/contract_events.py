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


class OutlookLine(msgspec.Struct, frozen=True, gc=False):
    """A node's queue when a plan began: per slot the seconds until it is free, and what waits there of ours."""

    node: NodeId
    ready_s: tuple[float, ...]
    waiting: int
    waiting_s: float
    speed: float


class StepLine(msgspec.Struct, frozen=True, gc=False):
    """A task that a plan came to: its place in line (priority, reward, the rule's order, arrival; the smallest first),
    the node it chose for it and the seconds it takes there, queue not counted, and the number of the award; 0: it waits
    on, and without a node, no bid was within its reserve price."""

    task: TaskId
    key: tuple[float, float, float, int]
    node: NodeId | None
    own_s: float
    number: int


class BatchLine(msgspec.Struct, frozen=True, gc=False):
    """The session that has named a winner: how many tasks it has divided, and within which part of the optimum."""

    tasks: int
    certificate: float | None


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
    limit). `number` counts the awards of this initiator; an `auction.plan` tells which was made in which order.
    `members`: of a gang, the node of each, by rank; the winner leads it.
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
    number: int = 0
    batch: BatchLine | None = None
    members: tuple[NodeId, ...] = ()


class AuctionPlanned(Event, frozen=True, kw_only=True):
    """What the awards just made stand on: the queues of all that bid as the plan found them, and the tasks it then came
    to, in its order. `seed`, arrival and epoch of a task add up to the seed of its award."""

    name: ClassVar[str] = "auction.plan"
    rule: str
    seed: int
    outlooks: tuple[OutlookLine, ...]
    steps: tuple[StepLine, ...]


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
    observations: int | None = None
    factor: float | None = None


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
    """An attempt begins here; a gang's is led from here, and its `members`, by rank, are on these nodes."""

    name: ClassVar[str] = "task.start"
    task: TaskId
    kind: str
    epoch: int
    members: tuple[NodeId, ...] = ()


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
    """The task has its one outcome; `seconds`: so long the attempt that decided it held a slot."""

    name: ClassVar[str] = "task.commit"
    task: TaskId
    epoch: int
    state: State
    peer: NodeId | None
    attempts: int
    detail: str
    seconds: float = 0.0

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
            seconds=outcome.seconds,
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
    AuctionPlanned,
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
