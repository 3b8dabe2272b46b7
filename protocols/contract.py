"""A task at its initiator, and an open call: what `contract_net.py` keeps between two messages."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from .core import AuctionId, NodeId, State, Task
from .performatives import Decline, Reason

RECALL_S = 0.5
"""A task without a bid is called again after this time, doubled each time up to a limit. Answers may take half as long,
so that slow nodes are heard in the end."""


Key: TypeAlias = tuple[float, float, float, int]
"""Where a task stands in line: priority, reward, the rule's order, and its arrival last; the smallest goes first."""


class Stage(enum.Enum):
    """Where a task stands at its initiator."""

    UNCALLED = enum.auto()  # to be called as soon as there is room in the window
    CALLED = enum.auto()  # its first call is open
    PRICED = enum.auto()  # bids are in; waits until a node that should have it has room
    PARKED = enum.auto()  # nobody bid; to be called again later
    AWARDED = enum.auto()
    ENDED = enum.auto()


class Contract:
    """One task at its initiator."""

    __slots__ = (
        "attempts", "auction", "bids", "declines", "ending", "epoch", "follow", "key", "lease_until", "losses",
        "lost", "number", "payload", "recall_s", "running", "silent", "stage", "task", "timer", "waits", "winner",
    )  # fmt: skip

    def __init__(self, task: Task, payload: bytes, key: Key, follow: bool, waits: bool) -> None:
        self.task = task
        self.payload = payload
        self.key = key
        self.follow = follow  # what it writes is read by somebody
        self.waits = waits  # for a node that can run it, if there is none
        self.ending: tuple[State, Reason, str] | None = None  # how it is to end as soon as its winner has stopped
        self.running = False  # as far as its winner has told
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

    def standing(self) -> tuple[State, str]:
        """Its state, and why it stands there, in words that a person understands."""
        match self.stage:
            case Stage.AWARDED if self.ending is not None:
                return State.AWARDED, f"is being stopped on {self.winner}: {self.ending[2]}"
            case Stage.AWARDED if self.running:
                return State.RUNNING, f"runs on {self.winner}"
            case Stage.AWARDED:
                return State.AWARDED, f"awarded to {self.winner}, to run now or next"
            case Stage.PARKED if self.declines:
                return State.OPEN, f"{unplaced_sentence(self.declines)}; it waits for one that can"
            case Stage.PARKED:
                return State.OPEN, "no node has answered its call; it will be called again"
            case Stage.PRICED:
                best = min(self.bids, key=lambda node: (self.bids[node][0], node), default=None)
                return State.OPEN, f"all that should have it are busy; {best or 'nobody'} would do it fastest"
            case Stage.CALLED:
                return State.OPEN, "its call is open"
        if self.lost is not None:
            return State.OPEN, f"lost on {self.winner} ({self.lost}), to be awarded again"
        return State.OPEN, "its call comes when those before it are placed"


_SINGULAR = {"do": "does", "have": "has", "lack": "lacks", "are": "is"}


def unplaced_sentence(declines: Mapping[NodeId, Decline]) -> str:
    """Why nobody can run it, in one sentence: counts of what was declined with the same words."""
    counts: dict[str, int] = {}
    for decline in declines.values():
        words = decline.detail or f"say {decline.reason}"
        counts[words] = counts.get(words, 0) + 1
    reasons = []
    for words, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])):
        verb, _, rest = words.partition(" ")
        reasons.append(f"{count} {_SINGULAR.get(verb, verb) if count == 1 else verb} {rest}".rstrip())
    return f"0/{len(declines)} nodes can run this: {', '.join(reasons)}"


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
