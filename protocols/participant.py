"""The participant of a contract net: prices what it is asked, does what it is awarded, tells its load with every word.

The other half of `contract_net.py`, which opens with the whole sequence.

    called   -> each task priced on its own: a Proposal with bids and declines, or a Refusal
    awarded  -> started if a slot and all it needs is free, kept waiting if it is its initiator's next, else declined;
                what its payload refers to (carrier.py) is fetched meanwhile, while it waits or holds its slot
    held     -> renewed every quarter of a lease, all attempts of one initiator in one message; what has waited much
                longer than was to be expected goes back to its initiator
    finished -> the next waiting task starts first; then Inform or Failure, with the load left behind
    idle     -> if others than that initiator have calls open here: Availability, published
    gangs    -> reserved, enlisted, at work (reserves.py); one that is led from here takes nothing itself (leader.py)
    draining -> what waits goes back, what runs ends, nothing more is taken, but for this node's own if nobody else will

What holds at any moment: what runs takes no more than this node has, of slots and of all else; of one task at most one
epoch is held, for one initiator; nothing is held for an initiator that is gone. Each initiator has a "next" of
its own and what waits is served in the order of arrival, so that none can crowd out the others. Nothing waits for ever
behind what does not end, not even a task behind the one that waits for its result.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .batch_words import Priced
from .blobs import Gather, Gathered, Key, Release
from .commitment import Commitment
from .commitment_words import Begin, Chosen, Overruled
from .contract_events import BidDeclined, BidSubmitted, TaskAccepted, TaskEnded, TaskStarted
from .core import (
    AuctionId,
    Datagram,
    Effect,
    Event,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Publish,
    References,
    Resume,
    Run,
    Send,
    State,
    Stop,
    Task,
    TaskId,
)
from .epochs import Epoch
from .gang_words import Commence, Dismiss, Enlist, Lead, Prolong, Reserve, Withdraw
from .holder import PAUSE_S
from .load import RUN_S_MIN, WAITING_MAX, Load, Outlook
from .occupancy import Attempt, Occupancy
from .performatives import (
    AFFINITY,
    AVAILABILITY_HEARD_MAX,
    Availability,
    Award,
    Basis,
    Bid,
    CallForProposals,
    Cancel,
    Decline,
    Failure,
    Fenced,
    Finished,
    Grant,
    Inform,
    Kept,
    NotUnderstood,
    Output,
    Printed,
    Proposal,
    Reason,
    Refusal,
    Rejection,
    Renew,
    Term,
)
from .reserves import SEAT, Member, Reserves
from .timers import earliest

OFFERS_MAX = 65_536
"""How many bids are remembered; the oldest is forgotten first."""
LEFT_BEHIND_MAX = 10_000
"""So many results wait here for their initiators to fetch what they refer to; the oldest is forgotten first."""
LEAVING_S = 3600.0
"""What a node that is about to leave adds to the price of its own tasks: any other node is better, none is worse."""
PATIENCE = 3.0
PATIENCE_S = 3.0
"""What was accepted waits here for so many times as long as was to be expected then, and at least for so long; then it
goes back to its initiator. What has kept it waiting is from now on taken to need as long again as it has taken so far,
and where all slots are held by such, nothing more is accepted."""
UNREAD_S = 0.25
"""So long after this node has slept, what it is told may have been said while it did."""


class Pricing(NamedTuple):
    """What this node makes of a task: the terms of its cost without the queue, or why not."""

    terms: tuple[Term, ...] = ()
    decline: Reason | None = None
    detail: str = ""
    basis: Basis | None = None


class Asked(NamedTuple):
    """What a node is asked to price: a task, and by whom. `best_s`: in an iterated call, the best cost so far."""

    task: Task
    initiator: NodeId
    best_s: float | None = None


Valuation = Callable[[Asked, float], Pricing]
"""What is asked, and now -> what it would cost here."""


class Participant:
    """Bids, and runs what it wins.

    `amounts` is what this node has of anything that tasks take while they run; `value` prices a task; `observed` is
    told the seconds every attempt that was done has taken, and when. `commitment` records what is answered to awards,
    and has results decided.
    """

    def __init__(
        self,
        node: NodeId,
        slots: int,
        speed: float,
        value: Valuation,
        observed: Callable[[Task, float, float], None],
        amounts: Mapping[str, float] = MappingProxyType({}),
        commitment: Commitment | None = None,
    ) -> None:
        self._node = node
        self._commitment = commitment
        self._value = value
        self._observed = observed
        self._held: dict[TaskId, Attempt] = {}  # running or waiting
        self._away: set[NodeId] = set()  # initiators of these that are said to be dead: nothing is to wait for them
        self._occupancy = Occupancy(slots, speed, amounts)
        self._reserves = Reserves(
            node, self._occupancy, self._judge, self._start_next, self._tell, self._leave_behind, observed
        )
        self._heard: dict[NodeId, int] = {}  # the number of the last award, per initiator
        self._offers: OrderedDict[tuple[NodeId, TaskId], bool] = OrderedDict()  # our bids; are they open still?
        self._open: dict[NodeId, int] = {}  # how many of them are, per initiator
        self._renew_at: float | None = None
        self._unread_until = -math.inf
        self._left_behind: dict[Key, NodeId] = {}  # results with blobs that an initiator has not fetched yet
        self._undecided: dict[Key, tuple[Epoch, Outcome]] = {}  # and of those, what is to be decided then
        self.draining = False
        self.refusing = ""  # why nothing is taken at present; empty: all is well

    def drain(self, now: float) -> Sequence[Effect]:
        """Take nothing more: what waits goes back to its initiators, what runs ends here."""
        self.draining = True
        effects: list[Effect] = []
        for attempt in list(self._occupancy.waiting.values()):
            effects += self._send_back(attempt, Reason.DRAINING, now)
        return effects

    def _send_back(self, attempt: Attempt, reason: Reason, now: float, detail: str = "") -> list[Effect]:
        """It waits here, and is not to any longer: with it, all that is reserved for the same gang."""
        if self._occupancy.waiting.get(attempt.task.id) is not attempt:
            return []  # the place of another has let it start, or it went with another of its gang
        if isinstance(attempt, Member):
            return self._reserves.send_back(attempt, reason, now, detail)
        return [*self._drop([attempt], reason, now), self._failure(attempt, reason, now, detail)]

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if self._renew_at is not None and now - self._renew_at > PAUSE_S:
            return [*self._wake_up(now), *self._hear(message, sender, now)]
        return self._hear(message, sender, now)

    def _wake_up(self, now: float) -> list[Effect]:
        """This node has slept for longer than a lease."""
        self._renew_at, self._unread_until = now, now + UNREAD_S
        return [effect for attempt in self._occupancy.waiting.values() for effect in self._doubt(attempt, now)]

    def _doubt(self, attempt: Attempt, now: float) -> Sequence[Effect]:
        """It may be somebody else's by now, and begins when its holders have said that it counts."""
        warrant = attempt.warrant
        if self._commitment is None or warrant is None or not attempt.outlives or not attempt.begun:
            return ()
        attempt.begun = False
        return self._commitment.doubt(attempt.task.id, warrant.epoch, now)

    def _hear(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Award():
                return self._awarded(message, sender, now)
            case Finished():
                return self._finished(message, now)
            case Chosen(task):
                return self._give_up(task, now)
            case CallForProposals():
                return self._called(message, sender, now)
            case Rejection():
                for task in message.tasks:
                    self._close(sender, task)
                return ()
            case Cancel(auction, task, epoch):
                held = self._held_for(sender, task)
                if held is None or held.epoch != epoch:
                    return [self._too_late(auction, task, epoch, sender, now)]
                effects = self._drop([held], Reason.CANCELLED, now)
                return [*effects, self._failure(held, Reason.CANCELLED, now)]
            case Output(task, epoch, stream, data):
                if sender != self._node:
                    raise PeerError(f"{sender} sent output to an agent, not to a client")
                running = self._held.get(task)
                if running is None:
                    return self._reserves.printed(message)
                if running.epoch != epoch:
                    return ()
                return [Send(running.initiator, Printed(task, epoch, stream, data))]
            case Grant(task, epoch, size):
                held = self._held_for(sender, task)
                if held is None:
                    return self._reserves.granted(message, sender)
                return [Resume(task, epoch, size)] if held.epoch == epoch else ()
            case Gathered(key, error):
                return self._gathered(key, error, now)
            case Kept(task, epoch):
                key = ("left", task, str(epoch))
                decided = self._have_decided(key, now) if self._left_behind.get(key) == sender else []
                return decided or self._keep_no_longer([key], sender)
            case Begin(task, fence):
                return self._begin(task, fence)
            case Overruled(task, fence):
                return self._give_up(task, now, fence)
            case Fenced(task, epoch):
                held = self._held_for(sender, task)
                fenced = held is not None and held.epoch != epoch and held.warrant is None  # else its holders say so
                return self._drop([held], Reason.LEASE, now) if held is not None and fenced else ()
            case PeerUp(node):
                self._away.discard(node)
                return ()
            case PeerDown(node):
                self._away = {one.initiator for one in self._held.values()} & {*self._away, node}
                return [*self._orphaned(node, now), *self._reserves.gone(node, now)]
            case Reserve() | Withdraw() | Enlist() | Commence() | Prolong() | Dismiss():
                return self._reserves.receive(message, sender, now)
        raise ProtocolError(f"a participant is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        kept = self._reserves.deadline
        return self._renew_at if kept is None else earliest(self._renew_at, kept)

    def wake(self, now: float) -> Sequence[Effect]:
        expired = self._reserves.wake(now)
        if self._renew_at is None or now < self._renew_at:
            return expired
        slept = self._wake_up(now) if now - self._renew_at > PAUSE_S else []
        effects = [*expired, *slept, *self._give_back(now)]
        held: dict[NodeId, list[Attempt]] = {}
        for attempt in self._held.values():
            held.setdefault(attempt.initiator, []).append(attempt)
        self._renew_at = now + min(attempt.lease_s for attempt in self._held.values()) / 4 if held else None
        for initiator, attempts in sorted(held.items()):
            renewed = tuple([(one.task.id, one.epoch, one.started is not None) for one in attempts])
            tell = Datagram if initiator in self._away else Send
            effects.append(tell(initiator, Renew(renewed)))
        return effects

    def _give_back(self, now: float) -> list[Effect]:
        """What has waited here in vain may be done sooner elsewhere."""
        in_vain = [attempt for attempt in self._occupancy.waiting.values() if attempt.patient_until < now]
        if not in_vain:
            return []
        self._occupancy.overrun(now)
        return [
            effect
            for attempt in in_vain
            for effect in self._send_back(attempt, Reason.BUSY, now, "it has waited here in vain")
        ]

    # -- bidding

    def _called(self, call: CallForProposals, sender: NodeId, now: float) -> list[Effect]:
        load = self._occupancy.load(sender, now)
        bids: list[Bid] = []
        declines: list[Decline] = []
        effects: list[Effect] = []
        for place, task in enumerate(call.tasks):
            best_s = call.best_s[place] if place < len(call.best_s) else None
            pricing = self._price(Asked(task, sender, best_s), load.ready_s[0], now)
            event: Event
            if pricing.decline is None:
                terms = pricing.terms
                seats = min(self._occupancy.seats(task), task.gang) if task.gang else 0
                bids.append(Bid(task.id, terms, pricing.basis, seats))
                self._offer(sender, task.id)
                cost = sum([term[1] for term in terms])
                basis = pricing.basis
                event = BidSubmitted(
                    auction=call.auction,
                    task=task.id,
                    peer=sender,
                    cost=cost,
                    terms=dict(terms),
                    observations=None if basis is None else basis.observations,
                    factor=None if basis is None else basis.factor,
                )
            else:
                reason, detail = pricing.decline, pricing.detail
                declines.append(Decline(task.id, reason, detail))
                event = BidDeclined(auction=call.auction, task=task.id, peer=sender, reason=reason, detail=detail)
            effects.append(event)
        heard = self._heard.get(sender, 0)
        if bids:
            effects.append(Send(sender, Proposal(call.auction, tuple(bids), tuple(declines), load, heard)))
        else:
            effects.append(Send(sender, Refusal(call.auction, tuple(declines), load, heard)))
        return effects

    def _price(self, asked: Asked, queue_s: float, now: float) -> Pricing:
        """What it would cost here, with the wait for a slot in front and the wait for what else it needs behind."""
        task = asked.task
        if task.id in self._held:
            return Pricing(decline=Reason.BUSY, detail="hold it already")
        if self.refusing:
            return Pricing(decline=Reason.BUSY, detail=self.refusing)
        if self.draining and asked.initiator != self._node:
            return Pricing(decline=Reason.DRAINING, detail="are about to leave")
        pricing = self._value(asked, now)
        if pricing.decline is not None:
            return pricing
        terms: tuple[Term, ...] = (("queue", queue_s), *pricing.terms)
        if self.draining:
            terms = (*terms, ("leaving", LEAVING_S))
        conditions = task.conditions
        if conditions.amounts and (wait_s := self._occupancy.resources_s(task, now) - queue_s) > 0.0:
            terms = (*terms, ("resources", wait_s))
        if conditions.deadline_s is not None:
            cost = sum([seconds for name, seconds in terms if name != AFFINITY])
            if cost > conditions.deadline_s:
                detail = f"would need {cost:.3g} s, and {conditions.deadline_s:.3g} s are left"
                return Pricing(decline=Reason.DEADLINE, detail=detail)
        return Pricing(terms, basis=pricing.basis)

    def quote(self, task: Task, initiator: NodeId, now: float) -> float | Decline:
        """For how much it would be done now or next, as a bid that stands; or why it would not.

        In seconds, as costs are. What it would be done for later is not said: ask again when this node is idle.
        """
        load = self._occupancy.load(initiator, now)
        pricing = self._price(Asked(task, initiator), load.ready_s[0], now)
        if pricing.decline is not None:
            return Decline(task.id, pricing.decline, pricing.detail)
        self._offer(initiator, task.id)
        cost = sum([term[1] for term in pricing.terms])
        if not Outlook(load.ready_s, load.waiting, load.waiting_s).room(cost - load.ready_s[0]):
            return Decline(task.id, Reason.BUSY, "have work for now and next")
        return cost

    def _judge(self, task: Task, owner: NodeId, now: float) -> tuple[Reason, str] | float:
        """How long a member of this gang takes here, in seconds; or why it is not taken."""
        if (owner, task.id) not in self._offers:
            return Reason.BUSY, "a reservation without a standing bid of mine"
        pricing = self._price(Asked(task, owner), 0.0, now)
        if pricing.decline is not None:
            return pricing.decline, pricing.detail
        return max(sum([seconds for name, seconds in pricing.terms if name not in (AFFINITY, "resources")]), RUN_S_MIN)

    def column(self, tasks: Sequence[Task], initiator: NodeId, now: float) -> Priced:
        """What each of a batch would cost here, the queue not counted, each a bid that stands; and our load."""
        costs: list[float | None] = []
        for task in tasks:
            pricing = self._price(Asked(task, initiator), 0.0, now)
            costs.append(None if pricing.decline else max(sum([term[1] for term in pricing.terms]), RUN_S_MIN))
            if pricing.decline is None:
                self._offer(initiator, task.id)
        return Priced(tuple(costs), self._occupancy.load(initiator, now).ready_s)

    def lose(self, initiator: NodeId, task: TaskId) -> None:
        """What was quoted went to somebody else."""
        self._close(initiator, task)

    def _offer(self, initiator: NodeId, task: TaskId) -> None:
        if not self._offers.get((initiator, task)):
            self._open[initiator] = self._open.get(initiator, 0) + 1
        self._offers[initiator, task] = True
        self._offers.move_to_end((initiator, task))
        if len(self._offers) > OFFERS_MAX:
            self._withdraw(*next(iter(self._offers)))

    def _close(self, initiator: NodeId, task: TaskId) -> None:
        """It went elsewhere, as far as is known: an award that a rejection has overtaken still binds us."""
        if self._offers.get((initiator, task)):
            self._offers[initiator, task] = False
            self._open[initiator] -= 1
            if not self._open[initiator]:
                del self._open[initiator]

    def _withdraw(self, initiator: NodeId, task: TaskId) -> None:
        self._close(initiator, task)
        del self._offers[initiator, task]

    # -- doing

    def _awarded(self, award: Award, sender: NodeId, now: float) -> list[Effect]:
        task = award.task
        if (sender, task.id) not in self._offers:
            return [Send(sender, NotUnderstood(task.id, "an award without a standing bid of mine"))]
        self._heard[sender] = award.number
        former = self._held_for(sender, task.id)
        effects = self._drop([former], Reason.CANCELLED, now) if former else []
        pricing = self._value(Asked(task, sender), now)
        run_s = max(sum([seconds for name, seconds in pricing.terms if name != AFFINITY]), RUN_S_MIN)
        load = self._occupancy.load(sender, now)
        space = len(self._occupancy.waiting) < WAITING_MAX
        room = space and Outlook(load.ready_s, load.waiting, load.waiting_s).room(run_s)
        if award.members:
            room = self._reserves.stands(task.id, award.auction)
        wait_s = max(load.ready_s[0], self._occupancy.resources_s(task, now) if task.conditions.amounts else 0.0)
        attempt = Attempt(award, sender, run_s, now + max(PATIENCE * wait_s, PATIENCE_S))
        leaves = self.draining and sender != self._node
        if task.id in self._held or not room or pricing.decline is not None or leaves or self.refusing:
            reason = Reason.DRAINING if leaves else pricing.decline or Reason.BUSY
            detail = self.refusing or pricing.detail
            return [*effects, *self._declined(award, now), self._failure(attempt, reason, now, detail)]
        self._withdraw(sender, task.id)
        self._held[task.id] = attempt
        starts = bool(award.members) or (not self._occupancy.waiting and self._occupancy.fits(task))
        effects.append(TaskAccepted(task=task.id, epoch=award.epoch, peer=sender, waiting=not starts))
        renew_at = now + attempt.lease_s / 4
        self._renew_at = renew_at if self._renew_at is None else min(self._renew_at, renew_at)
        effects += self._accepted(attempt, now)
        if award.members:
            self._occupancy.lead(attempt, now)
            return effects + self._start(attempt) if attempt.begun else effects
        self._occupancy.wait(attempt)
        if attempt.blobs:  # they come while it waits; if it need not wait, its slot does
            effects.append(Send(self._node, Gather(_key("run", attempt), attempt.blobs, (sender,))))
        return effects + self._start_next(now)

    def _start_next(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while (attempt := self._occupancy.start_next(now)) is not None:
            if attempt.begun:
                effects += self._start(attempt)
            elif isinstance(attempt, Member):
                effects += self._reserves.kept(attempt, now)
        return effects

    def _start(self, attempt: Attempt) -> list[Effect]:
        """It has its slot, and may begin. What a gang's payload refers to is fetched by its members."""
        task, epoch, members = attempt.task, attempt.epoch, attempt.members
        started = TaskStarted(task=task.id, kind=task.kind, epoch=epoch, members=members)
        if members:
            payload, follow, of = attempt.payload, attempt.follow, attempt.initiator
            (attempt.payload, attempt.blobs), blobs = (b"", ()), attempt.blobs
            lead = Lead(
                task, epoch, payload, follow, auction=attempt.auction, members=members, blobs=blobs, source=of
            )
            return [started, lead]
        return [started, self._run(attempt)] if attempt.here else [started]

    @staticmethod
    def _run(attempt: Attempt) -> Run:
        payload, attempt.payload = attempt.payload, b""
        return Run(attempt.task, attempt.epoch, payload, attempt.follow)

    def _finished(self, finished: Finished, now: float) -> list[Effect]:
        attempt = self._held.get(finished.task)
        if attempt is None:
            return [*self._reserves.finished(finished, now), *self._tell_idle(None, now)]
        if attempt.epoch != finished.epoch or attempt.started is None:
            return []  # it was given up in the meantime
        del self._held[finished.task]
        self._occupancy.leave(attempt)
        task, epoch, seconds = finished.task, finished.epoch, finished.seconds
        reason, detail = finished.reason, finished.error
        effects: list[Effect] = [TaskEnded(task=task, epoch=epoch, seconds=seconds, reason=reason, detail=detail)]
        if finished.blobs:
            effects += self._leave_behind(_key("left", attempt), attempt.initiator, finished.blobs)
        effects += self._release(attempt)
        effects += self._start_next(now)
        if reason is None:
            if not attempt.members:
                self._observed(attempt.task, seconds, now)
            load, heard = self._tell(attempt.initiator, now)
            decided = self._done(attempt, finished, now)
            value = finished.value if attempt.warrant is None else b""  # which its holders tell
            inform = Inform(attempt.auction, task, epoch, value, seconds, load, heard, finished.blobs)
            effects += [Send(attempt.initiator, inform), *decided]
        else:
            effects += self._released(attempt, now)
            effects.append(self._failure(attempt, reason, now, detail, seconds, finished.value))
        return effects + self._tell_idle(attempt.initiator, now)

    # -- what is answered for good

    def _declined(self, award: Award, now: float) -> Sequence[Effect]:
        if self._commitment is None or award.warrant is None:
            return ()
        return self._commitment.decline(award.task.id, award.warrant, now)

    def _accepted(self, attempt: Attempt, now: float) -> Sequence[Effect]:
        if self._commitment is None or attempt.warrant is None:
            return ()
        attempt.begun = not attempt.task.conditions.at_most_once
        effects = self._commitment.accept(attempt.task.id, attempt.warrant, now, at_most_once=not attempt.begun)
        return effects if now >= self._unread_until else [*effects, *self._doubt(attempt, now)]

    def _released(self, attempt: Attempt, now: float) -> Sequence[Effect]:
        if self._commitment is None or attempt.warrant is None:
            return ()
        return self._commitment.release(attempt.task.id, attempt.warrant.epoch, now)

    def _done(self, attempt: Attempt, finished: Finished, now: float) -> Sequence[Effect]:
        """Have its result decided; one with large values when they are where the task came from."""
        if self._commitment is None or attempt.warrant is None:
            return ()
        warrant = attempt.warrant
        outcome = Outcome(
            finished.task,
            State.DONE,
            finished.value,
            node=self._node,
            epoch=attempt.epoch,
            attempts=warrant.attempts,
            seconds=finished.seconds,
            blobs=finished.blobs,
        )
        if not finished.blobs:
            return self._commitment.done(warrant.epoch, outcome, now)
        self._undecided[_key("left", attempt)] = (warrant.epoch, outcome)
        return ()

    def _have_decided(self, key: Key, now: float) -> list[Effect]:
        """Its large values are where they should be, or never will be."""
        undecided = self._undecided.pop(key, None)
        if undecided is None or self._commitment is None:
            return []
        return list(self._commitment.done(*undecided, now))

    def _begin(self, task: TaskId, fence: Epoch) -> list[Effect]:
        """Its holders know that it begins, or that it counts still."""
        attempt = self._held.get(task)
        if attempt is None or attempt.warrant is None or attempt.warrant.epoch != fence or attempt.begun:
            return []
        attempt.begun = True
        return self._start(attempt) if attempt.started is not None else []

    def _give_up(self, task: TaskId, now: float, fence: Epoch | None = None) -> list[Effect]:
        """It has ended elsewhere, or this epoch of it (None: every one) counts no more."""
        if self._undecided:
            of_it = [key for key, (epoch, _) in self._undecided.items() if key[1] == task and fence in (None, epoch)]
            for key in of_it:
                del self._undecided[key]
        attempt = self._held.get(task)
        if attempt is None or attempt.warrant is None or (fence is not None and attempt.warrant.epoch != fence):
            return []
        return self._drop([attempt], Reason.LEASE, now)

    def _failure(
        self, attempt: Attempt, reason: Reason, now: float, detail: str = "", seconds: float = 0.0, value: bytes = b""
    ) -> Send:
        to, task, epoch = attempt.initiator, attempt.task.id, attempt.epoch
        load, heard = self._tell(to, now)
        return Send(to, Failure(attempt.auction, task, epoch, reason, detail, seconds, load, heard, value))

    def _too_late(self, auction: AuctionId, task: TaskId, epoch: int, to: NodeId, now: float) -> Send:
        """What is not held cannot be cancelled: its end is on the way already."""
        load, heard = self._tell(to, now)
        return Send(to, Failure(auction, task, epoch, Reason.LATE, "it has ended here already", 0.0, load, heard))

    # -- what is large

    def _gathered(self, key: Key, error: str, now: float) -> list[Effect]:
        """All that an attempt's payload refers to is here: it may run. Or it cannot be had."""
        if key[0] == SEAT:
            return self._reserves.gathered(key, error, now)
        attempt = self._held.get(key[1])
        if attempt is None or _key("run", attempt) != key:
            return [Send(self._node, Release(key))]
        if error:
            return [*self._drop([attempt], Reason.DIED, now), self._failure(attempt, Reason.DIED, now, error)]
        was_here, attempt.here = attempt.here, True
        return [self._run(attempt)] if attempt.started is not None and attempt.begun and not was_here else []

    def _release(self, attempt: Attempt) -> list[Effect]:
        return [Send(self._node, Release(_key("run", attempt)))] if attempt.blobs else []

    def _leave_behind(self, key: Key, to: NodeId, blobs: References) -> list[Effect]:
        """What a result refers to is kept until whoever it goes to has it, or is gone."""
        self._left_behind[key] = to
        effects: list[Effect] = [Send(self._node, Gather(key, blobs))]
        if len(self._left_behind) > LEFT_BEHIND_MAX:
            oldest, initiator = next(iter(self._left_behind.items()))
            effects += self._keep_no_longer([oldest], initiator)
        return effects

    def _keep_no_longer(self, keys: Sequence[Key], initiator: NodeId) -> list[Effect]:
        mine = [key for key in keys if self._left_behind.get(key) == initiator]
        for key in mine:
            del self._left_behind[key]
        return [Send(self._node, Release(key)) for key in mine]

    @property
    def leading(self) -> int:
        """How many gangs are led from here."""
        return len(self._occupancy.leading)

    @property
    def left_behind(self) -> int:
        """How many results wait here to be fetched."""
        return len(self._left_behind)

    def _drop(self, dropped: Sequence[Attempt], reason: Reason, now: float) -> list[Effect]:
        """Give these attempts up; whoever awarded them knows, or is gone."""
        effects: list[Effect] = []
        for attempt in dropped:
            task, epoch = attempt.task.id, attempt.epoch
            del self._held[task]
            self._occupancy.leave(attempt)
            taken = 0.0
            if attempt.started is not None:
                effects.append(Stop(task, epoch))
                taken = now - attempt.started
            effects.append(TaskEnded(task=task, epoch=epoch, seconds=taken, reason=reason, detail=""))
            effects += self._release(attempt)
            effects += self._released(attempt, now)
        return effects + self._start_next(now) + self._tell_idle(None, now) if dropped else effects

    def _orphaned(self, initiator: NodeId, now: float) -> list[Effect]:
        """An initiator is gone; if it comes back, it counts its awards anew, or it has missed our renewals. What others
        hold for it is seen through."""
        for key in [key for key in self._offers if key[0] == initiator]:
            self._withdraw(*key)
        self._heard.pop(initiator, None)
        held = [one for one in self._held.values() if one.initiator == initiator and not one.outlives]
        left = [key for key, of in self._left_behind.items() if of == initiator]
        decided = [effect for key in left for effect in self._have_decided(key, now)]
        return [*self._drop(held, Reason.ORPHANED, now), *decided, *self._keep_no_longer(left, initiator)]

    # -- load

    def load(self) -> tuple[int, int, float]:
        """How many attempts run, how many wait, and the seconds of work that wait."""
        return self._occupancy.counts

    def _tell(self, to: NodeId, now: float) -> tuple[Load, int]:
        """The load as this initiator is told it, and the number of its last award that is counted in it."""
        return self._occupancy.load(to, now), self._heard.get(to, 0)

    def _held_for(self, initiator: NodeId, task: TaskId) -> Attempt | None:
        attempt = self._held.get(task)
        return attempt if attempt is not None and attempt.initiator == initiator else None

    def _tell_idle(self, told: NodeId | None, now: float) -> list[Effect]:
        """An idle node tells those who wait for it; `told` has just heard it anyway."""
        if not self._occupancy.free_slots or self._open.keys() <= {told}:
            return []
        heard = tuple([(one, self._heard.get(one, 0)) for one in sorted(self._open)[:AVAILABILITY_HEARD_MAX]])
        return [Publish(Availability(self._occupancy.load("", now), heard))]


def _key(what: str, attempt: Attempt) -> Key:
    """By which the carrier knows what we want of it."""
    return what, attempt.task.id, str(attempt.epoch)
