"""A task at its initiator, and an open call: what `contract_net.py` keeps between two messages."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import msgspec

from .award_rules import Offer
from .batch_words import PROTOCOL
from .blobs import Key as BlobKey
from .commitment_words import Warrant
from .contract_events import AuctionAwarded, AuctionPlanned, BatchLine, BidLine, DeclineLine, OutlookLine, StepLine
from .core import AuctionId, Effect, NodeId, Publish, Reference, State, Task, TaskId
from .load import Outlook
from .performatives import TASKS_PER_CALL_MAX, Basis, Bid, Decline, Inform, Reason, Rejection, Term

RECALL_S = 0.5
"""A task without a bid is called again after this time, doubled each time up to a limit. Answers may take half as long,
so that slow nodes are heard in the end."""


Key: TypeAlias = tuple[float, float, float, int]
"""Where a task stands in line: priority, reward, the rule's order, and its arrival last; the smallest goes first."""


KEY = attrgetter("key")
"""Of a contract, by which it is sorted."""


class Stage(enum.Enum):
    """Where a task stands at its initiator."""

    UNCALLED = enum.auto()  # to be called as soon as there is room in the window
    CALLED = enum.auto()  # its first call is open
    PRICED = enum.auto()  # bids are in; waits until a node that should have it has room
    DIVIDED = enum.auto()  # a session has named its node, and it waits until that has room (batches.py)
    RESERVING = enum.auto()  # a gang whose slots are being reserved (gangs.py)
    PARKED = enum.auto()  # nobody bid; to be called again later
    AWARDED = enum.auto()
    ENDING = enum.auto()  # its holders are asked to decide on its end
    ENDED = enum.auto()


QUEUE: Term = ("queue", 0.0)
"""The first term of every bid; as a bid stands, it is planned anew each time."""


class Standing(NamedTuple):
    """A bid as it stands: the seconds of all its terms but the queue; its terms, as they were told; how many members of
    a gang the node could have."""

    own_s: float
    terms: tuple[Term, ...]
    basis: Basis | None
    seats: int = 0


class Contract:
    """One task at its initiator. `due`: when it must be done."""

    __slots__ = (
        "attempts", "auction", "baffled", "batch", "best_s", "bids", "blobs", "declines", "due", "ending", "epoch",
        "follow", "given_back", "informed", "key", "lease_until", "losses", "lost", "members", "number", "payload",
        "recall_s", "revised", "running", "silent", "stage", "task", "told_bytes", "waits", "warrant", "winner",
    )  # fmt: skip

    def __init__(
        self,
        task: Task,
        payload: bytes,
        key: Key,
        *,
        follow: bool,
        waits: bool,
        due: float | None,
        blobs: tuple[Reference, ...],
    ) -> None:
        self.task = task
        self.told_bytes = told_bytes(task)
        self.payload = payload
        self.blobs = blobs  # what the payload refers to
        self.key = key
        self.follow = follow  # what it writes is read by somebody
        self.waits = waits  # for a node that can run it, if there is none
        self.due = due
        self.ending: tuple[State, Reason, str] | None = None  # how it is to end as soon as its winner has stopped
        self.running = False  # as far as its winner has told
        self.informed: Inform | None = None  # it is done, and what its result refers to is on its way here
        self.warrant: Warrant | None = None  # on which its last award stands
        self.given_back = False  # by its last winner, for good
        self.stage = Stage.UNCALLED
        self.epoch = 0
        self.attempts = 0
        self.auction: AuctionId = ""  # its last first call: newcomers are asked, and all asked again, in others
        self.batch: BatchLine | None = None  # the session that has divided it
        self.bids: dict[NodeId, Standing] = {}
        self.declines: dict[NodeId, Decline] = {}
        self.silent: tuple[NodeId, ...] = ()
        self.baffled: frozenset[NodeId] = frozenset()  # who has not understood an award of it
        self.revised = 0  # how often bidders were asked for less in this call
        self.best_s: float | None = None  # and the best cost when they were asked last
        self.recall_s = RECALL_S
        self.winner: NodeId = ""
        self.members: tuple[NodeId, ...] = ()  # of a gang that is awarded, the node of each, by rank
        self.number = 0  # of the award
        self.lease_until = 0.0
        self.lost: Reason | None = None  # why the last award came to nothing
        self.losses = 0  # how often it went with its node or its lease

    def call(self) -> None:
        """It is called for the first time, or anew: what was bid before does not count."""
        self.stage = Stage.CALLED
        self.bids, self.declines = {}, {}
        self.revised, self.best_s = 0, None

    def bid(self, node: NodeId, bid: Bid) -> None:
        own_s = sum(dict(bid.terms[1:]).values())
        self.bids[node] = Standing(own_s, bid.terms, bid.basis, bid.seats)
        self.declines.pop(node, None)

    def decline(self, node: NodeId, decline: Decline) -> None:
        self.declines[node] = decline
        self.bids.pop(node, None)

    def sift(self, taken: Collection[NodeId], reserve: float) -> None:
        """A node that has not understood its award, has another replica of the task (`taken`), or asks more than
        the `reserve`, counts as declining."""
        if not (self.baffled or taken or reserve > 0.0):
            return
        reasons = dict.fromkeys(self.baffled, (Reason.BUSY, "have not understood its award"))
        reasons |= dict.fromkeys(taken, (Reason.REPLICA, "have another replica of it"))
        if reserve > 0.0:
            dear = (Reason.RESERVE, f"ask more than the {reserve:.3g} s it is worth")
            reasons |= {node: dear for node, bid in self.bids.items() if bid.own_s > reserve and node not in reasons}
        for node, (reason, detail) in reasons.items():
            if node in self.bids:
                self.decline(node, Decline(self.task.id, reason, detail))

    def outbid(self, node: NodeId) -> bool:
        """It was rejected in an iterated call."""
        decline = self.declines.get(node)
        return decline is not None and decline.reason is Reason.OUTBID

    def asked(self, now: float) -> Task:
        """The task as others are told it: with the time that is left."""
        if self.due is None or self.task.terms is None:
            return self.task
        terms = msgspec.structs.replace(self.task.terms, deadline_s=max(self.due - now, 0.0))
        return msgspec.structs.replace(self.task, terms=terms)

    def __lt__(self, other: Contract) -> bool:
        return self.key < other.key

    def standing(self) -> tuple[State, str]:
        """Its state, and why it stands there, in words that a person understands."""
        match self.stage:
            case Stage.AWARDED if self.ending is not None:
                return State.AWARDED, f"is being stopped on {self.winner}: {self.ending[2]}"
            case Stage.AWARDED if self.informed is not None and self.informed.blobs:
                return State.RUNNING, f"done on {self.winner}, from where its result is being fetched"
            case Stage.AWARDED if self.informed is not None:
                return State.RUNNING, f"done on {self.winner}; its holders are deciding so"
            case Stage.ENDING:
                return State.OPEN, "its holders are deciding on its end"
            case Stage.AWARDED if self.members:
                return (State.RUNNING if self.running else State.AWARDED), f"{together(self.members)} at once"
            case Stage.AWARDED if self.running:
                return State.RUNNING, f"runs on {self.winner}"
            case Stage.AWARDED:
                return State.AWARDED, f"awarded to {self.winner}, to run now or next"
            case Stage.RESERVING:
                return State.OPEN, f"the slots of its {self.task.gang} members are being reserved"
            case Stage.PARKED if self.task.gang and self.bids:
                return State.OPEN, f"not all slots of its {self.task.gang} members could be had; called again soon"
            case Stage.PARKED if self.declines and self.task.gang:
                return State.OPEN, f"{unplaced_sentence(self.declines)}; it waits until they can"
            case Stage.PARKED if self.declines:
                return State.OPEN, f"{unplaced_sentence(self.declines)}; it waits for one that can"
            case Stage.PARKED:
                return State.OPEN, "no node has answered its call; it will be called again"
            case Stage.PRICED:
                best = min(self.bids, key=lambda node: (self.bids[node].own_s, node), default=None)
                return State.OPEN, f"all that should have it are busy; {best or 'nobody'} would do it fastest"
            case Stage.CALLED:
                return State.OPEN, "its call is open"
            case Stage.DIVIDED:
                return State.OPEN, "is one of a batch that was divided, and waits for its turn"
        if self.lost is not None:
            return State.OPEN, f"lost on {self.winner} ({self.lost}), to be awarded again"
        return State.OPEN, "its call comes when those before it are placed"


def together(members: Sequence[NodeId]) -> str:
    """Where the members of a gang are.

    >>> together(("n1", "n1", "n4"))
    'has 3 members, on n1 (2), n4 (1),'
    """
    where = ", ".join(f"{node} ({members.count(node)})" for node in dict.fromkeys(members))
    return f"has {len(members)} members, on {where},"


PLAIN_BYTES_MAX = 1024
"""What a task without terms and blobs can take at most in a call."""


def told_bytes(task: Task) -> int:
    """How much of a call it takes, at most."""
    if task.terms is None and not task.blobs:
        return PLAIN_BYTES_MAX
    return len(msgspec.msgpack.encode(task)) + PLAIN_BYTES_MAX  # its deadline changes


SENTENCE_CHARS_MAX = 4096
"""An outcome tells no more (`Text` in core.py), however many nodes decline, each in its own words."""
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
    return f"0/{len(declines)} nodes can run this: {', '.join(reasons)}"[:SENTENCE_CHARS_MAX]


class _Siblings:
    """Replicas of one task: how many have not ended, and on which node each is, or was done."""

    __slots__ = ("open", "sites")

    def __init__(self) -> None:
        self.open = 0
        self.sites: dict[TaskId, NodeId] = {}


class Replicas:
    """Where replicas are, so that no two of a task come to one node. What is no replica is none of its business."""

    def __init__(self) -> None:
        self._siblings: dict[TaskId, _Siblings] = {}  # by what they have in common

    def opened(self, task: Task) -> None:
        if task.id != task.origin:
            self._siblings.setdefault(task.origin, _Siblings()).open += 1

    def sites(self, task: Task) -> Collection[NodeId]:
        """Nodes that have one of its siblings, or it."""
        return self._siblings[task.origin].sites.values() if self._siblings and task.id != task.origin else ()

    def placed(self, task: Task, node: NodeId) -> None:
        if self._siblings and task.id != task.origin:
            self._siblings[task.origin].sites[task.id] = node

    def vacated(self, task: Task) -> None:
        if self._siblings and task.id != task.origin:
            self._siblings[task.origin].sites.pop(task.id, None)

    def ended(self, task: Task, state: State) -> None:
        """Its node stays taken if it was done there; where all have ended, nothing needs to be known."""
        siblings = self._siblings.get(task.origin) if self._siblings else None
        if siblings is None or task.id == task.origin:
            return
        siblings.open -= 1
        if state is not State.DONE:
            siblings.sites.pop(task.id, None)
        if not siblings.open:
            del self._siblings[task.origin]


REJECT_AFTER_S = 0.25
"""Losers may wait this long, so that one message rejects many."""


class Rejects:
    """Who is to be told that a task went elsewhere: a little later, many at once, by call and reason."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[AuctionId, Reason], list[TaskId]] = {}
        self.deadline: float | None = None
        """When they are to be told."""

    def add(self, contract: Contract, reason: Reason, now: float) -> None:
        self._tasks.setdefault((contract.auction, reason), []).append(contract.task.id)
        if self.deadline is None:
            self.deadline = now + REJECT_AFTER_S

    def leave(self, now: float) -> list[Effect]:
        """All of them, if it is time, in as few messages as they fit in."""
        if self.deadline is None or self.deadline > now:
            return []
        rejections: list[Effect] = [
            Publish(Rejection(auction, tuple(tasks[start : start + TASKS_PER_CALL_MAX]), reason))
            for (auction, reason), tasks in self._tasks.items()
            for start in range(0, len(tasks), TASKS_PER_CALL_MAX)
        ]
        self._tasks, self.deadline = {}, None
        return rejections


class Call:
    """One open call for proposals."""

    __slots__ = ("auction", "awaiting", "batch", "close_at", "contracts", "first", "invitees", "revised")

    def __init__(
        self,
        auction: AuctionId,
        batch: Sequence[Contract],
        invitees: Iterable[NodeId],
        first: bool,
        close_at: float,
    ) -> None:
        self.auction = auction
        self.batch = batch
        self.contracts = {contract.task.id: contract for contract in batch}
        self.invitees = tuple(invitees)
        self.awaiting = set(self.invitees)
        self.first = first  # else its tasks are priced, and it only adds bids or renews them
        self.revised = first and batch[0].revised > 0  # some are asked again, for less
        self.close_at = close_at


def result_of(contract: Contract) -> BlobKey:
    """By which the carrier knows what we want of it."""
    return "result", contract.task.id, str(contract.epoch)


def plan_until(priced: Sequence[Contract], may_award: Callable[[Contract], bool]) -> int:
    """Behind the last that may be awarded, or that nobody bids for any more, a plan changes nothing."""
    for place in range(len(priced), 0, -1):
        contract = priced[place - 1]
        if not contract.bids or may_award(contract):
            return place
    return 0


def by_cost(offer: Offer) -> tuple[float, NodeId]:
    return (offer.cost, offer.node)


def bid_line(offer: Offer, bid: Standing) -> BidLine:
    terms = dict(bid.terms)
    terms["queue"] = offer.queue_s
    basis = (bid.basis.observations, bid.basis.factor) if bid.basis is not None else ()
    return BidLine(offer.node, offer.cost, terms, offer.free, offer.speed, *basis)


def decline_lines(contract: Contract) -> tuple[DeclineLine, ...]:
    return tuple(
        DeclineLine(node, decline.reason, decline.detail) for node, decline in sorted(contract.declines.items())
    )


def awarded(
    contract: Contract,
    offer: Offer,
    offers: Sequence[Offer],
    rule: str,
    seed: int,
    payment: float | None,
    reserve: float,
) -> AuctionAwarded:
    """What the log is told of an award: all that is needed to recompute it. A division looks at nobody's free slots."""
    divided = rule == PROTOCOL
    second = min([other for other in offers if other is not offer], key=by_cost, default=None)
    return AuctionAwarded(
        auction=contract.auction,
        task=contract.task.id,
        epoch=contract.epoch,
        winner=offer.node,
        cost=offer.cost,
        runner_up=second.node if second else None,
        margin=second.cost - offer.cost if second else None,
        rule=rule,
        seed=seed,
        bids=tuple(
            [bid_line(each._replace(free=0) if divided else each, contract.bids[each.node]) for each in offers]
        ),
        declines=decline_lines(contract) if contract.declines else (),
        silent=contract.silent,
        payment=payment,
        reserve=reserve,
        number=contract.number,
        batch=contract.batch if divided else None,
        members=contract.members,
    )


class PlanRecord:
    """A plan as it is made, for the log: with it its awards can be recomputed, the queues they met included."""

    __slots__ = ("_begun", "_steps")

    def __init__(self, outlooks: Mapping[NodeId, Outlook]) -> None:
        self._begun = {
            node: (outlook.slots_ready_s, outlook.waiting, outlook.waiting_s) for node, outlook in outlooks.items()
        }
        self._steps: list[tuple[Contract, Sequence[Offer], Offer | None]] = []

    def step(self, contract: Contract, offers: Sequence[Offer], offer: Offer | None) -> None:
        """The plan has come to this task; whether it was awarded is looked at in the end."""
        self._steps.append((contract, offers, offer))

    def told(self, rule: str, seed: int) -> AuctionPlanned:
        speeds = {offer.node: offer.speed for _, offers, _ in self._steps for offer in offers}
        return AuctionPlanned(
            rule=rule,
            seed=seed,
            outlooks=tuple([OutlookLine(node, *self._begun[node], speed) for node, speed in speeds.items()]),
            steps=tuple([_step_line(contract, offer) for contract, _, offer in self._steps]),
        )


def _step_line(contract: Contract, offer: Offer | None) -> StepLine:
    number = contract.number if contract.stage is Stage.AWARDED else 0
    if offer is None:
        return StepLine(contract.task.id, contract.key, None, 0.0, number)
    return StepLine(contract.task.id, contract.key, offer.node, offer.own_s, number)
