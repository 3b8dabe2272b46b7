"""A task at its initiator, and an open call: what `contract_net.py` keeps between two messages."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from .core import AuctionId, NodeId, Task
from .performatives import Decline, Reason

RECALL_S = 0.5
"""A task without a bid is called again after this time, doubled each time up to a limit. Answers may take half as long,
so that slow nodes are heard in the end."""


class Stage(enum.Enum):
    """Where a task stands at its initiator."""

    UNCALLED = enum.auto()  # to be called as soon as there is room in the window
    CALLED = enum.auto()  # its first call is open
    PRICED = enum.auto()  # bids are in; waits until a node that should have it has room
    PARKED = enum.auto()  # nobody bid; to be called again later
    AWARDED = enum.auto()


class Contract:
    """One task at its initiator."""

    __slots__ = (
        "attempts", "auction", "bids", "declines", "epoch", "key", "lease_until", "losses", "lost", "number",
        "payload", "recall_s", "silent", "stage", "task", "timer", "winner",
    )  # fmt: skip

    def __init__(self, task: Task, payload: bytes, key: tuple[float, int]) -> None:
        self.task = task
        self.payload = payload
        self.key = key
        self.stage = Stage.UNCALLED
        self.epoch = 0
        self.attempts = 0
        self.auction: AuctionId = ""  # its last first call: newcomers are asked, and all asked again, in others
        self.bids: dict[NodeId, tuple[float, dict[str, float]]] = {}  # own seconds; the terms they are the sum of
        self.declines: dict[NodeId, Decline] = {}
        self.silent: tuple[NodeId, ...] = ()
        self.recall_s = RECALL_S
        self.winner: NodeId = ""
        self.number = 0  # of the award
        self.lease_until = 0.0
        self.timer = 0  # the number of the one timer that counts
        self.lost: Reason | None = None  # why the last award came to nothing
        self.losses = 0  # how often it went with its node or its lease

    def __lt__(self, other: Contract) -> bool:
        return self.key < other.key


class Call:
    """One open call for proposals."""

    __slots__ = ("auction", "awaiting", "batch", "contracts", "first", "invitees", "timer")

    def __init__(self, auction: AuctionId, batch: Sequence[Contract], invitees: Iterable[NodeId], first: bool) -> None:
        self.auction = auction
        self.batch = batch
        self.contracts = {contract.task.id: contract for contract in batch}
        self.invitees = tuple(invitees)
        self.awaiting = set(self.invitees)
        self.first = first  # else its tasks are priced, and it only adds bids or renews them
        self.timer = 0
