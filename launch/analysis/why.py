"""Why did this task run there? Its story, put together from what every node has logged about it.

    logs of all nodes -> the lines that name the task, by hybrid clock -> awards (who bid what, who declined, who was
    silent, who won by how much) and history (submitted, called, awarded, started, lost, awarded again, committed)

Nothing is recomputed: an `auction.award` line holds all that its award was made from. The types are what
`parley why --json` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from ...protocols.auctions import AuctionClosed
from ...protocols.batch_words import BatchMoved, BatchOpened, TradeMet
from ...protocols.commitment_events import EpochFenced, EpochOpened, TaskHeld, TaskMoved
from ...protocols.contract_events import (
    AuctionAwarded,
    AuctionFailed,
    AuctionOpened,
    BatchLine,
    BidLine,
    DeclineLine,
    MessageDropped,
    TaskAccepted,
    TaskCommitted,
    TaskEnded,
    TaskLost,
    TaskStarted,
)
from ...protocols.core import Event, State
from ...protocols.gang_words import GangBroken, GangReserving, MemberEnded, MemberStarted, ReserveEnded, ReserveHeld
from ...protocols.performatives import Reason
from ...protocols.service import TaskSubmitted
from ...protocols.swim_words import PeerState, Presence
from .run import Line, Run
from .what_if import Change, what_if
from .words import REASONS, duration, listed

OPENED = {
    "orphan": "whoever had it is silent",
    "cancel": "its end is wanted, whoever works at it",
    "move": "one of them is dead",
}
RELEASED: dict[Reason, str] = {
    Reason.LEASE: "expired, for nobody asked for them again",
    Reason.CANCELLED: "they are not wanted any more",
    Reason.ORPHANED: "whoever wanted them is gone",
    Reason.BUSY: "they have been waited for in vain",
    Reason.DRAINING: "the node is about to leave",
}
SILENT = (Reason.VANISHED, Reason.LEASE)
"""Why an award is lost of whose winner nothing was heard."""
UNKNOWN = "unknown"
"""The state of a task if the one log that would tell it is missing."""


class Submitted(msgspec.Struct, frozen=True):
    """How it came into the fleet: the agent that took it, and the client that handed it in."""

    node: str
    client: str
    at: datetime
    kind: str
    work_s: float | None
    payload_bytes: int


class Loss(msgspec.Struct, frozen=True):
    """Why an award came to nothing, so long after it was made; `ran_s`: so long it had run (None: not started, or,
    where not even `heard`, unknown: its node fell silent, and no line of its own about the task is here)."""

    reason: str
    after_s: float
    ran_s: float | None
    heard: bool = True


class Award(msgspec.Struct, frozen=True):
    """One award, and all it was made from. Costs, terms and margin are seconds until done; under a rule that pays,
    `payment` is what the winner is paid, in the same unit, and `reserve` the most it could have been (0: no limit).
    `batch`: a session has named the winner. `members`: of a gang, which the winner leads, the node of each, by rank.
    `what_if` is what would have changed it; `lost`: it came to nothing, and the task was offered again."""

    epoch: int
    winner: str
    cost: float
    runner_up: str | None
    margin: float | None
    rule: str
    seed: int
    bids: tuple[BidLine, ...]
    declines: tuple[DeclineLine, ...]
    silent: tuple[str, ...]
    at_s: float
    payment: float | None = None
    reserve: float = 0.0
    what_if: tuple[Change, ...] = ()
    lost: Loss | None = None
    batch: BatchLine | None = None
    members: tuple[str, ...] = ()


class Unbid(msgspec.Struct, frozen=True):
    """One call that nobody bid in."""

    declines: tuple[DeclineLine, ...]
    silent: tuple[str, ...]
    at_s: float


class Step(msgspec.Struct, frozen=True):
    """One line of its history: `at_s` after submission, `node` is the one that logged it."""

    at_s: float
    node: str
    event: str
    text: str


class Why(msgspec.Struct, frozen=True):
    """All that can be said of one task, when the logs end.

    `state` is one of `State`, or unknown; `node` has it, or had it last; `error` is why it failed or was not placed.
    """

    task: str
    state: str
    node: str | None
    error: str
    submitted: Submitted | None
    awards: tuple[Award, ...]
    unbid: tuple[Unbid, ...]
    history: tuple[Step, ...]
    run: str
    notes: tuple[str, ...]


def why(run: Run, name: str) -> Why:
    """The story of the task that `name` means. Raises RunError."""
    task = run.find(name)
    return told(task, run.about(task), str(run.path), run.notes)


def told(task: str, lines: Iterable[Line], where: str, notes: Iterable[str] = ()) -> Why:
    """The story of this task, from all lines that may concern it, in any order; `where` they lie, and what is wrong
    with them."""
    story = _Story(task)
    for line in sorted(lines, key=lambda line: (line.head.hlc, line.head.node, line.head.seq)):
        story.tell(line)
    return Why(
        task=task,
        state=story.state,
        node=story.node,
        error=story.error,
        submitted=story.submitted,
        awards=tuple(story.awards),
        unbid=tuple(story.unbid),
        history=tuple(story.history),
        run=where,
        notes=(*notes, *story.gaps),
    )


class _Story:
    """What is known of the task, line by line."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.state = UNKNOWN
        self.node: str | None = None
        self.error = ""
        self.submitted: Submitted | None = None
        self.awards: list[Award] = []
        self.unbid: list[Unbid] = []
        self.history: list[Step] = []
        self._began: datetime | None = None
        self._at_s = 0.0
        self._caller: str | None = None  # who holds the contract, and so judges its winner
        self._epoch = 0
        self._committed = False
        self._started: dict[int, float] = {}  # when, of each epoch
        self._mentioned: set[int] = set()  # epochs that others than their award tell of
        self._heard: set[str] = set()  # the nodes that have a line about it

    @property
    def gaps(self) -> list[str]:
        """What the logs should have of it, and have not."""
        awarded = {award.epoch for award in self.awards}
        lost = sorted(self._mentioned - awarded)
        notes = [f"award {epoch} of it is not in these logs" for epoch in lost]
        if self.submitted is None:
            notes.append("how it was handed in is not in these logs")
        return notes

    def tell(self, line: Line) -> None:
        """The next line by the hybrid clock."""
        head, event = line
        if head.task is not None and head.task != self.task:
            return  # it only mentions the id
        if isinstance(event, PeerState) and not self._concerned(head.node, event):
            return
        text = self._text(event)
        if text is None:
            return
        if self._began is None:
            self._began = head.ts
        # Wall clocks of two machines may differ; the order is the hybrid clock's, and time does not run backwards.
        self._at_s = max(self._at_s, (head.ts - self._began).total_seconds())
        self._heard.add(head.node)
        self._note(event, head.node, head.ts)
        self.history.append(Step(self._at_s, head.node, head.event, text))

    def _concerned(self, node: str, event: PeerState) -> bool:
        """This is the caller's judgement on the node that has the task."""
        holding = self.state in (State.AWARDED, State.RUNNING)
        return holding and node == self._caller and event.peer == self.node and event.state is not Presence.ALIVE

    def _note(self, event: Event, node: str, at: datetime) -> None:
        """What it changes. A later commit changes nothing: the first one counts."""
        match event:
            case TaskSubmitted():
                self._caller = node
                self.submitted = Submitted(node, event.peer, at, event.kind, event.work, event.payload_bytes)
                if self.state == UNKNOWN:
                    self.state = State.OPEN
            case AuctionAwarded():
                self._caller = node
                self._award(event)
            case AuctionFailed():
                self.unbid.append(Unbid(event.declines, event.silent, self._at_s))
            case TaskStarted(epoch=epoch):
                self._mentioned.add(epoch)
                self._started[epoch] = self._at_s
                if epoch == self._epoch and not self._committed:
                    self.state = State.RUNNING
            case TaskAccepted(epoch=epoch):
                self._mentioned.add(epoch)
            case TaskLost(epoch=epoch, reason=reason):
                self._lose(epoch, str(reason))
                if epoch == self._epoch and not self._committed:
                    self.state = State.OPEN
            case TaskCommitted() if not self._committed:
                self._committed = True
                self.state, self.node, self.error = event.state, event.peer, event.detail

    def _lose(self, epoch: int, reason: str) -> None:
        self._mentioned.add(epoch)
        for place, award in enumerate(self.awards):
            if award.epoch == epoch:
                began = self._started.get(epoch)
                ran_s = None if began is None else self._at_s - began
                heard = reason not in SILENT or award.winner in self._heard
                loss = Loss(reason, self._at_s - award.at_s, ran_s, heard)
                self.awards[place] = msgspec.structs.replace(award, lost=loss)

    def _award(self, event: AuctionAwarded) -> None:
        if not self._committed:
            self.state, self.node, self._epoch = State.AWARDED, event.winner, event.epoch
        bids = tuple(sorted(event.bids, key=lambda bid: (bid.cost, bid.node)))
        self.awards.append(
            Award(
                epoch=event.epoch,
                winner=event.winner,
                cost=event.cost,
                runner_up=event.runner_up,
                margin=event.margin,
                rule=event.rule,
                seed=event.seed,
                bids=bids,
                declines=event.declines,
                silent=event.silent,
                at_s=self._at_s,
                payment=event.payment,
                reserve=event.reserve,
                batch=event.batch,
                members=event.members,
                what_if=what_if(event.rule, event.winner, bids, event.declines, event.silent),
            )
        )

    def _text(self, event: Event) -> str | None:
        """In words; None for what its history does not tell."""
        match event:
            case TaskSubmitted():
                return f"submitted by {event.peer}"
            case TaskHeld():
                return f"held by {listed(event.holders)}: acknowledged"
            case EpochOpened():
                return f"asked its holders for epoch {event.epoch}: {OPENED[event.reason]}"
            case EpochFenced():
                return f"epoch {event.epoch} counts no more"
            case TaskMoved():
                return f"held by {listed(event.holders)} from now on"
            case AuctionOpened() if self.task in event.tasks:
                others = len(event.tasks) - 1
                along = f", with {others} other {'task' if others == 1 else 'tasks'}" if others else ""
                return f"called: {listed(event.invitees)} asked to answer within {duration(event.reply_by_s)}{along}"
            case BatchOpened() if self.task in event.tasks:
                others = len(event.tasks) - 1
                again = " again" if event.again else ""
                return f"to be divided{again} with {others} others, by {len(event.members)} nodes in {event.mode}"
            case BatchMoved():
                return f"goes to {event.peer} instead, where it would end soonest"
            case TradeMet() if self.task in event.tasks:
                to = dict(zip(event.tasks, event.to, strict=False))[self.task]
                return f"traded between {event.one} and {event.other}, to {to}"
            case AuctionClosed(form=form, winner=winner, price=price):
                sold = f"sold to {winner} for {duration(price)}" if winner and price is not None else "not sold"
                return f"{sold} in an {form} auction" if form.falls else f"{sold} in a {form} auction"
            case AuctionAwarded():
                again = "awarded again, to" if event.epoch > 1 else "awarded to"
                along = f", with {len(event.members)} members on {where(event.members)}" if event.members else ""
                return f"{again} {event.winner} (award {event.epoch}){along}"
            case AuctionFailed():
                return f"nobody bid: {len(event.declines)} declined, {len(event.silent)} silent"
            case TaskAccepted():
                return "accepted, to run next" if event.waiting else "accepted, to run now"
            case TaskStarted():
                return f"started (award {event.epoch})" if not event.members else f"leads it (award {event.epoch})"
            case GangReserving():
                asked = ", ".join(f"{line.node} ({line.members})" for line in event.places if line.members)
                return f"reserves slots for its {event.size} members, one node after the other: {asked}"
            case GangBroken():
                why = _reason(event.reason, event.detail)
                return f"not all slots could be had, so none are kept: {event.peer}: {why}"
            case ReserveHeld():
                waited = f", after {duration(event.waited_s)}" if event.waited_s else ""
                return f"keeps the slots of {_members(event.members)}{waited}"
            case ReserveEnded():
                return f"lets the slots of {_members(event.members)} go: {RELEASED.get(event.reason, event.reason)}"
            case MemberStarted():
                return f"rank {event.rank} started (award {event.epoch})"
            case MemberEnded():
                how = _reason(event.reason, event.detail)
                return f"rank {event.rank} ended after {duration(event.seconds)}: {how}"
            case TaskEnded():
                return f"ended after {duration(event.seconds)}: {_reason(event.reason, event.detail)}"
            case TaskLost():
                return f"lost (award {event.epoch} to {event.peer}): {_reason(event.reason, '')}"
            case TaskCommitted():
                return f"committed: {event.state}{_detail(event.detail)}"
            case MessageDropped():
                return f"refused what {event.peer} said of award {event.epoch}: {event.reason}"
            case PeerState():
                return f"{event.peer} counts as {event.state}{_detail(event.reason)}"
        return None


def where(members: Sequence[str]) -> str:
    """The nodes of the members of a gang, and how many are on each.

    >>> where(("n1", "n1", "n4"))
    'n1 (2), n4 (1)'
    """
    return ", ".join(f"{node} ({members.count(node)})" for node in dict.fromkeys(members))


def _members(count: int) -> str:
    return "1 member" if count == 1 else f"{count} members"


def _reason(reason: Reason | None, detail: str) -> str:
    return "done" if reason is None else f"{reason}, {REASONS[reason]}{_detail(detail)}"


def _detail(detail: str) -> str:
    return f": {detail}" if detail else ""
