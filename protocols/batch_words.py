"""What a desk and the members of its session say to each other, and what is told of a batch.

    desk -> each member   OpenBatch(session, members, tasks)     in pieces, if there are many tasks
    member -> all         the words of rounds or gossip          (`rounds.py`, `gossip.py`)
    desk -> each member   CloseBatch(session)                    it takes too long: the desk goes on without it

The numbers that a certificate is made of are in the log of every member: what each task costs on it (`batch.column`),
how it came to its prices (`price.round`), and with what prices, bound and division the session ended (`batch.divided`).
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import msgspec
from msgspec import Meta

from .core import Count, Event, Local, Message, NodeId, TaskId
from .performatives import Tasks
from .session import Nodes, SessionId

PROTOCOL = "prices"
"""The rule of an award that a session has decided."""
BATCH_TASKS_MAX = 4_096
PIECES_MAX = BATCH_TASKS_MAX
SEED_MAX = 2**53


class Mode(enum.StrEnum):
    """How the words of a session reach the others."""

    ROUNDS = "rounds"
    GOSSIP = "gossip"


ROUNDS_S = 0.25
"""What a session in rounds may take, for each member: all of them may share one machine."""
PERIODS = 150
"""About as many periods as a session by gossip has."""


def period_s(members: int) -> float:
    """Of a session by gossip: every member meets some others in each, on the same machine if it must be."""
    return max(0.02, 0.004 * members)


def session_s(mode: Mode, members: int) -> float:
    """So long it may take."""
    return ROUNDS_S * members if mode is Mode.ROUNDS else PERIODS * period_s(members)


class OpenBatch(Message, frozen=True, array_like=True):
    """Price these tasks of the sender, and divide them with the other members. `piece` of `pieces`, from 0. `dry`: it
    is only to be known how they would be divided, and no log is told."""

    session: SessionId
    members: Nodes
    mode: Mode
    seed: Annotated[int, Meta(ge=0, le=SEED_MAX)]
    trade: bool
    tasks: Tasks
    piece: Annotated[int, Meta(ge=0, lt=PIECES_MAX)]
    pieces: Annotated[int, Meta(ge=1, le=PIECES_MAX)]
    dry: bool = False


class CloseBatch(Message, frozen=True, array_like=True):
    """The sender waits for this session no longer."""

    session: SessionId


class Priced(NamedTuple):
    """A node's column: seconds per task (None: refused), and per slot the seconds until it is free."""

    costs: tuple[float | None, ...]
    ready_s: tuple[float, ...]


class Share(msgspec.Struct, frozen=True, gc=False):
    """What one member got: numbers of tasks, from 0, in the order in which the desk has named them."""

    node: NodeId
    tasks: tuple[int, ...]
    price: float


class Divided(Local, frozen=True, array_like=True):
    """A session has ended here. `columns`: what every task costs on each member, None where it is refused.

    `value` is the makespan in seconds, `bound` what no division can beat.
    """

    session: SessionId
    shares: tuple[Share, ...]
    columns: tuple[tuple[NodeId, tuple[float | None, ...]], ...]
    value: float
    bound: float
    rounds: Count

    @property
    def certificate(self) -> float | None:
        """It is within this part of the optimum. Known where a session has ended, so where numpy is loaded."""
        from .dual_bound import certificate

        return certificate(self.value, self.bound)


# --- what the log is told --------------------------------------------------------------------------------------------


def checksum(numbers: Sequence[float | None]) -> int:
    """The same on every machine: numbers that something may or may not depend on are told with it."""
    return zlib.crc32(struct.pack(f"<{len(numbers)}d", *[-1.0 if number is None else number for number in numbers]))


class BatchOpened(Event, frozen=True, kw_only=True):
    """A desk has opened a session. `work_s`: the least seconds of work per slot that it expects; `spread`: how far the
    nodes' times for the tasks are from proportional (0: each node is so many times as fast as another)."""

    name: ClassVar[str] = "batch.open"
    session: str
    tasks: tuple[TaskId, ...]
    members: tuple[NodeId, ...]
    mode: Mode
    again: bool
    work_s: float
    spread: float


class BatchColumn(Event, frozen=True, kw_only=True):
    """What a member opens with: per slot the seconds until it is free, per task its seconds here (None: refused).
    `digest` is the checksum of both."""

    name: ClassVar[str] = "batch.column"
    session: str
    peer: NodeId
    ready_s: tuple[float, ...]
    costs: tuple[float | None, ...]
    digest: int


class PriceRound(Event, frozen=True, kw_only=True):
    """A member has set its price: so much work per slot would have gone to it at the prices it had heard, in seconds.
    `heard`: of which round those were, for each member in the order of names (0: none yet). Between the prices of a
    session by gossip there are no rounds in common: they are counted by each node for itself. `digest` is the checksum
    of `heard`: one price may be that of many rounds."""

    name: ClassVar[str] = "price.round"
    session: str
    round: int
    price: float
    load: float
    heard: tuple[int, ...]
    digest: int


class BatchDivided(Event, frozen=True, kw_only=True):
    """A session has ended at this member: who gets what, how long that takes, and what no division can beat. The bound
    is that of these prices over the columns; the division is within `certificate` of the optimum. `rounds`: all members
    count the same ones; null by gossip."""

    name: ClassVar[str] = "batch.divided"
    session: str
    peer: NodeId
    mode: Mode
    rounds: int | None
    shares: tuple[Share, ...]
    value: float
    bound: float
    certificate: float | None


class BatchDropped(Event, frozen=True, kw_only=True):
    """A desk's session has come to nothing: its tasks go on by the contract net."""

    name: ClassVar[str] = "batch.drop"
    session: str
    reason: str


class BatchMoved(Event, frozen=True, kw_only=True):
    """What was divided goes elsewhere, since its node gave it back, or is gone: where it would end soonest."""

    name: ClassVar[str] = "batch.move"
    session: str
    task: TaskId
    peer: NodeId


class TradeMet(Event, frozen=True, kw_only=True):
    """Two nodes have divided anew what they had not started of this desk's: tasks that changed hands, and the loads of
    both before and after, in seconds. And all it was made from, the first of the two first: the tasks of both, which of
    them were the first one's; when their slots were free; how many times as long as they had said their tasks took;
    what they had said (None: it does not take it)."""

    name: ClassVar[str] = "trade.meet"
    session: str
    one: NodeId
    other: NodeId
    tasks: tuple[TaskId, ...]
    to: tuple[NodeId, ...]
    before_s: tuple[float, float]
    after_s: tuple[float, float]
    pool: tuple[TaskId, ...]
    firsts: tuple[bool, ...]
    ready_s: tuple[tuple[float, ...], tuple[float, ...]]
    paces: tuple[float, float]
    costs: tuple[tuple[float | None, ...], tuple[float | None, ...]]


MESSAGES: tuple[type[Message], ...] = (OpenBatch, CloseBatch)
EVENTS: tuple[type[Event], ...] = (
    BatchOpened,
    BatchColumn,
    PriceRound,
    BatchDivided,
    BatchDropped,
    BatchMoved,
    TradeMet,
)
