"""The contract net: a task is called, priced by those who could do it, and awarded to the best bid.

Sources: Smith 1980; FIPA SC00029H (message sequence); Graham 1969 (longest task first). An agent is initiator of the
tasks handed to it and participant in everybody's calls. Where many wait, a session may name the nodes (`batches.py`).

    initiator                                 participants
      | CallForProposals(tasks, reply_by) ------> all      published; tells needs and sizes, never the payload
      | <----- Proposal(bids, declines) | Refusal each     one answer for the whole batch, with the node's load
      |   closes when all live invitees have answered, or at reply_by
      | Award(task, epoch, lease, payload) -> winner       only if it is free now or next: *late binding*
      | Rejection(tasks) -----------------------> all      published, a little later and many at once
      | <---------------- Renew(tasks) winner              while it holds the lease
      | <------- Inform(value) | Failure(reason) winner    the end, with the load it leaves behind
      |   what a large result refers to is fetched first: the end counts when nothing can be lost with the winner

What holds at any moment:
- A task has at most one attempt that counts: the one whose epoch is the task's epoch. Whatever an older epoch brings
  in is answered with `Fenced` and changes nothing.
- A lease that nobody renews, a winner that vanishes or declines: the task is open again, and its next award has the
  next epoch.
- Nothing is transferred to a node that could not start it now or next; the rest waits here, longest first, and every
  message from a participant tells its load anew, so the plan is made on fresh numbers.
- A late proposal is rejected as "late"; nobody is met with silence.
- Whatever waits has a time: a call its `reply_by`, an award its lease, what is without bids its recall, a bid its life.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence

from .auctions import KnockedDown
from .award_rules import CONTRACT_NET, Offer, Rule
from .batch_words import PROTOCOL, Divided
from .batches import NEVER, Batches, Policy
from .blobs import Gather, Gathered, Key, Release
from .calls import Calls
from .commitment import Commitment
from .commitment_words import Chosen, Overruled, Permitted
from .contract import (
    RECALL_S,
    Contract,
    PlanRecord,
    Rejects,
    Replicas,
    Stage,
    awarded,
    decline_lines,
    plan_until,
    result_of,
    unplaced_sentence,
)
from .contract_events import AuctionFailed, MessageDropped, TaskCommitted, TaskLost, TaskReassigned
from .core import (
    AuctionId,
    Effect,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerUp,
    ProtocolError,
    Reference,
    Send,
    State,
    Task,
    TaskId,
)
from .gang_words import Reserved, TellsLoad, Unreserved
from .gangs import Gangs
from .load import UNHEARD, Account, Outlook, Prospect
from .open_cry import OpenCry
from .performatives import (
    TRANSIENT,
    Availability,
    Award,
    Bid,
    Cancel,
    Completed,
    Failure,
    Fenced,
    Inform,
    Kept,
    NotUnderstood,
    Proposal,
    Reason,
    Refusal,
    Renew,
)
from .probing import Probes
from .timers import Timers, earliest

LEASE_S = 1.0
PAYLOAD_BYTES_PER_S = 1e6
"""A payload is given this much time on its way before the lease begins."""
PAUSE_S = 1.0
"""Woken later than this, it was we who slept: nobody else is late yet."""
LOST_MAX = 8
"""A task so often lost with its node or its lease is taken for the cause of it."""
RECALL_MAX_S = 8.0
DECISION_S = 10 * LEASE_S
"""So long the holders of a task that is done may take to decide so, while its winner lives, before a later epoch is
opened: a fleet that is merely busy does nothing twice."""


class Initiator:
    """Calls for proposals, awards, watches leases; the tasks handed to this node are its own.

    `call` only takes the task in: calls and awards are made in `wake`, once for all that came in the same turn.
    With a `commitment`, a task is awarded only with its permission, and ends when its holders have decided so.
    """

    def __init__(
        self,
        node: NodeId,
        incarnation: int,
        seed: int,
        rule: Rule = CONTRACT_NET,
        commitment: Commitment | None = None,
        probes: Probes | None = None,
        policy: Policy = NEVER,
    ) -> None:
        self._node = node
        self._commitment = commitment
        self._prefix = f"{node}.{incarnation:x}."
        self._seed = seed
        self._rule = rule
        self._awards_made = self._arrivals = 0
        self._accounts: dict[NodeId, Account] = {}  # of all that may be invited, this node among them
        self._contracts: dict[TaskId, Contract] = {}
        self._calls = Calls(self._prefix, rule, self._prospect, self._unbid, probes)
        self._batches = Batches(node, self._prefix, seed, policy, self._accounts, self._calls.withdraw)
        self._cries = OpenCry(node, self._prefix, rule)
        self._gangs = Gangs(seed, self._may_award, self._award, self._reopen, self._park)
        self._awarded: dict[NodeId, dict[TaskId, Contract]] = {}
        self._replicas = Replicas()
        self._rejects = Rejects()
        self._timers: Timers[TaskId] = Timers()  # leases to end, recalls
        self._due: float | None = None  # when to award and call; None: nothing has changed

    # -- told by the agent

    def call(
        self,
        task: Task,
        payload: bytes,
        now: float,
        *,
        follow: bool = False,
        waits: bool = False,
        due: float | None = None,
        blobs: tuple[Reference, ...] = (),
    ) -> Sequence[Effect]:
        """Take a task in. Raises ProtocolError if it is here already.

        `follow`: what it writes is passed on; `waits`: if nobody can run it, it waits for somebody who can; `due`: when
        it must be done, so that bidders are told how much time is left; `blobs`: what the payload refers to, all here.
        """
        if task.id in self._contracts:
            raise ProtocolError(f"task {task.id} is called twice")
        self._arrivals += 1
        terms = task.conditions
        key = (-float(terms.priority), -terms.reward, *self._rule.order(task, self._arrivals))
        contract = Contract(task, payload, key, follow=follow, waits=waits, due=due, blobs=blobs)
        self._contracts[task.id] = contract
        self._replicas.opened(task)
        self._await_bids(contract)
        self._batches.arrived(contract, now)
        self._due = now
        return ()

    def cancel(self, task: TaskId, state: State, reason: Reason, detail: str, now: float) -> Sequence[Effect]:
        """End it so: at once if it is nowhere, else when its winner has stopped. One that has ended is no error."""
        contract = self._contracts.get(task)
        if contract is None or contract.ending is not None or contract.stage is Stage.ENDING:
            return ()
        if contract.informed is not None and self._commitment is None:
            return self._commit(contract, state, now, error=detail, reason=reason)
        if contract.stage is Stage.AWARDED:
            contract.ending = (state, reason, detail)
            return [Send(contract.winner, Cancel(contract.auction, task, contract.epoch))]
        if contract.stage in (Stage.CALLED, Stage.PRICED, Stage.DIVIDED):
            self._rejects.add(contract, Reason.CANCELLED, now)
        return [*self._withdraw(contract), *self._commit(contract, state, now, error=detail, reason=reason)]

    def __contains__(self, task: TaskId) -> bool:
        """It is here, and has not ended."""
        return task in self._contracts

    def standing(self, task: TaskId) -> tuple[State, str, NodeId | None, int, int] | None:
        """State, reason, winner, epoch and attempts of a task; None if it has ended or never was here."""
        contract = self._contracts.get(task)
        if contract is None:
            return None
        winner = contract.winner if contract.stage is Stage.AWARDED else None
        return (*contract.standing(), winner, contract.epoch, contract.attempts)

    def holder(self, task: TaskId, epoch: int) -> NodeId | None:
        """Who has this attempt, if it is the one that counts."""
        contract = self._contracts.get(task)
        if contract is None or contract.stage is not Stage.AWARDED or contract.epoch != epoch:
            return None
        return contract.winner

    @property
    def node(self) -> NodeId:
        return self._node

    @property
    def open_tasks(self) -> int:
        """How many tasks of this node have not ended."""
        return len(self._contracts)

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Inform():
                return self._inform(message, sender, now)
            case Permitted():
                self._due = now
                return ()
            case Chosen(task, outcome):
                return self._chosen(task, outcome)
            case Proposal():
                return self._answer(message.auction, message.bids, message, sender, now)
            case Refusal():
                return self._answer(message.auction, (), message, sender, now)
            case Failure():
                return self._failure(message, sender, now)
            case Gathered(key, error):
                return self._gathered(key, error, now)
            case Renew():
                return self._renew(message, sender, now)
            case Availability():
                return self._available(message, sender, now)
            case NotUnderstood():
                return self._not_understood(message, sender, now)
            case Reserved() | Unreserved():
                self._tell(sender, message, now)
                return self._gangs.hear(message, sender, now)
            case KnockedDown():
                return self._knocked_down(message, now)
            case PeerUp():
                return self._peer_up(message.node, now)
            case PeerDown():
                return self._peer_down(message.node, now)
            case Divided():
                self._due = now
                self._batches.divided(message, now)
                return ()
            case Overruled(task, _):
                return self._overruled(task)
        raise ProtocolError(f"an initiator is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        if not (self._calls.waiting or self._batches.divides or self._cries.waiting):
            self._due = None  # whatever has changed, nothing waits for it
        others = self._rejects.deadline, self._calls.deadline, self._batches.deadline, self._gangs.deadline
        return earliest(self._timers.deadline, self._due, *others)

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        deadline = self.deadline
        slept = deadline is not None and now - deadline > PAUSE_S
        if slept:
            self._calls.postpone(now, LEASE_S)
        elif (closes := self._calls.deadline) is not None and closes <= now:
            effects += self._calls.wake(now)
            self._due = now
        for task in self._timers.due(now):
            if slept:  # while we slept others may have spoken; what they said is still to be read
                self._timers.set(task, now + LEASE_S)
            else:
                effects += self._expire(self._contracts[task], now)
        if self._due is not None:
            self._due = None
            effects += self._award_all(now)
            effects += self._calls.call_next(now)
            effects += self._cries.sell_next(self._calls.peers, now, self._may_award)
        effects += self._batches.wake(self._contracts.values(), self._calls.waiting, now)
        effects += self._calls.price_anew(now, self._batches.heads)
        return [*effects, *self._gangs.wake(now), *self._rejects.leave(now)]

    # -- calling

    def _answer(
        self, auction: AuctionId, bids: Sequence[Bid], message: Proposal | Refusal, sender: NodeId, now: float
    ) -> list[Effect]:
        if (complaint := self._calls.understood(auction, bids, message.declines, sender)) is not None:
            return [Send(sender, complaint)]
        self._tell(sender, message, now)
        return self._calls.answer(auction, bids, message.declines, sender, now)

    def _prospect(self, node: NodeId, work: float, now: float) -> Prospect:
        return self._accounts[node].prospect(work, now) if node in self._accounts else UNHEARD

    def _unbid(self, contract: Contract, now: float) -> list[Effect]:
        """Nobody can run it: say so at once if that is for good, else call it again later."""
        contract.baffled = frozenset()  # next time they may have understood
        declines = decline_lines(contract)
        failed = AuctionFailed(
            auction=contract.auction, task=contract.task.id, declines=declines, silent=contract.silent
        )
        passing = contract.silent or any(decline.reason in TRANSIENT for decline in declines)
        if declines and not passing and not contract.waits:
            error, reason = unplaced_sentence(contract.declines), declines[0].reason
            return [failed, *self._commit(contract, State.UNPLACED, now, error=error, reason=reason)]
        return [failed, *self._park(contract, now)]

    def _park(self, contract: Contract, now: float) -> list[Effect]:
        """It is to be called again, each time a little later."""
        contract.stage = Stage.PARKED
        self._timers.set(contract.task.id, now + contract.recall_s)
        contract.recall_s = min(2 * contract.recall_s, RECALL_MAX_S)
        return []

    # -- awarding

    def _award_all(self, now: float) -> list[Effect]:
        """Late binding: plan all that is priced, in the rule's order; transfer what would start now or next."""
        if not (priced := self._calls.priced) and not self._batches.divides:
            return []
        effects: list[Effect] = []
        outlooks = {node: account.outlook(now) for node, account in sorted(self._accounts.items()) if account.known}
        for contract, offer, offers in self._batches.next(outlooks, self._may_award):
            effects += self._award(contract, offer, offers, PROTOCOL, self._seed, now)
        effects += self._batches.trade(outlooks, now)
        self._gangs.expect(outlooks)
        roomy = {node for node, outlook in outlooks.items() if not outlook.full}
        kept: list[Contract] = []
        seen, made, record = 0, self._awards_made, PlanRecord(outlooks)
        for contract in priced[: plan_until(priced, self._may_award)]:
            if not roomy:
                break
            seen += 1
            if self._commitment is not None and self._commitment.stalled(contract.task.id, now):
                kept.append(contract)  # nobody waits behind it
                continue
            offers = self._offers(contract, outlooks)
            if not offers or self._gangs.short(contract):
                effects += self._unbid(contract, now) if contract.declines else self._reopen(contract, now)
                continue
            if contract.task.gang:  # in its turn: what is before it in line goes first
                if self._may_award(contract) and not any(map(self._may_award, kept)):
                    effects += self._gangs.begin(contract, offers, outlooks, now)
                if contract.stage is not Stage.PRICED:
                    break  # what its nodes tell then counts it
                kept.append(contract)
                continue
            seed = (self._seed + contract.key[-1] + contract.epoch) & 0xFFFFFFFF
            offer = self._rule.choose(offers, seed)
            outlook = outlooks[offer.node]
            if 0.0 < self._rule.reserve(contract.task) < offer.cost:
                kept.append(contract)  # it has to wait there too long
                record.step(contract, offers, None)
                continue
            record.step(contract, offers, offer)
            if outlook.room(offer.own_s) and self._may_award(contract) and self._batches.lets(outlook):
                effects += self._award(contract, offer, offers, self._rule.name, seed, now)
            else:
                kept.append(contract)
            outlook.take(offer.own_s)
            if outlook.full:
                roomy.discard(offer.node)
        priced[:seen] = kept
        return [*effects, record.told(self._rule.name, self._seed)] if self._awards_made > made else effects

    def _may_award(self, contract: Contract) -> bool:
        return self._commitment is None or self._commitment.may_award(contract.task.id)

    def _offers(self, contract: Contract, outlooks: Mapping[NodeId, Outlook]) -> list[Offer]:
        """The bids as they stand in the plan."""
        contract.sift(self._replicas.sites(contract.task), self._rule.reserve(contract.task))
        return [
            Offer(node, outlook.ready_s, bid.own_s, outlook.free, outlook.speed)
            for node, outlook in outlooks.items()
            if (bid := contract.bids.get(node)) is not None
        ]

    def _knocked_down(self, end: KnockedDown, now: float) -> list[Effect]:
        """Sold in the open: its price binds, and is paid; or nobody does it for the reserve."""
        contract = self._cries.knocked_down(end)
        self._due = now
        if contract is None:
            return []
        if end.winner is None or end.price is None:
            return self._unbid(contract, now)
        if end.winner not in self._accounts or not self._may_award(contract):
            return self._reopen(contract, now)
        offer = Offer(end.winner, 0.0, end.price, 0, 0.0)
        return self._award(contract, offer, [offer], self._rule.name, self._seed, now)

    def _await_bids(self, contract: Contract) -> None:
        if not self._batches.take_back(contract):
            (self._cries if self._cries.sells(contract) else self._calls).add(contract)

    def _award(
        self, contract: Contract, offer: Offer, offers: Sequence[Offer], rule: str, seed: int, now: float
    ) -> list[Effect]:
        task, winner = contract.task, offer.node
        contract.stage = Stage.AWARDED
        contract.running = False
        contract.attempts += 1
        if self._commitment is not None:
            contract.warrant = self._commitment.award(task.id, contract.attempts)
            contract.epoch = contract.warrant.epoch.number
        else:
            contract.epoch += 1
        contract.recall_s = RECALL_S
        contract.winner = winner
        contract.lease_until = now + LEASE_S + task.payload_bytes / PAYLOAD_BYTES_PER_S
        self._timers.set(task.id, contract.lease_until)
        self._awarded.setdefault(winner, {})[task.id] = contract
        self._awards_made += 1
        contract.number = self._awards_made
        self._accounts[winner].award(contract.number, offer.own_s)
        self._replicas.placed(task, winner)
        if len(offers) > 1:
            self._rejects.add(contract, Reason.OUTBID, now)
        payment, reserve = self._rule.paid(task, offer, offers), self._rule.reserve(task)
        effects: list[Effect] = [awarded(contract, offer, offers, rule, seed, payment, reserve)]
        if contract.lost is not None:
            effects.append(TaskReassigned(task=task.id, epoch=contract.epoch, peer=winner, reason=contract.lost))
        asked, number, follow = contract.asked(now), contract.number, contract.follow
        what = contract.payload, follow, contract.blobs, payment, contract.warrant, contract.members
        effects.append(Send(winner, Award(contract.auction, asked, contract.epoch, LEASE_S, number, *what)))
        return effects

    # -- what becomes of an award

    def _held(self, task: TaskId, epoch: int, sender: NodeId) -> Contract | None:
        """The contract, if this attempt of it is the one that counts."""
        contract = self._contracts.get(task)
        if contract is None or contract.stage is not Stage.AWARDED:
            return None
        return contract if contract.winner == sender and contract.epoch == epoch else None

    def _fence(self, task: TaskId, epoch: int, sender: NodeId) -> list[Effect]:
        contract = self._contracts.get(task)
        counts = contract.epoch if contract and contract.stage is Stage.AWARDED else 0
        dropped = MessageDropped(task=task, epoch=epoch, peer=sender, reason="an old epoch counts no more")
        return [dropped, Send(sender, Fenced(task, counts))]

    def _inform(self, message: Inform, sender: NodeId, now: float) -> list[Effect]:
        self._tell(sender, message, now)
        contract = self._held(message.task, message.epoch, sender)
        if contract is None:
            return self._fence(message.task, message.epoch, sender)
        self._batches.ended(contract, message.seconds, now)
        if message.blobs and contract.informed is None:
            contract.informed = message
            self._timers.cancel(contract.task.id)  # the lease lasts as long as the fetch does, and that ends by itself
            return [Send(self._node, Gather(result_of(contract), message.blobs, (sender,)))]
        if contract.informed is not None:
            return []
        if self._commitment is not None:
            self._await_decision(contract, message, now)
            return []
        return self._commit(contract, State.DONE, now, value=message.value, seconds=message.seconds)

    def _await_decision(self, contract: Contract, message: Inform, now: float) -> None:
        """It is done: its winner has its holders decide that, and we hear of it in time, or open a later epoch."""
        contract.informed = message
        contract.lease_until = now + DECISION_S + sum([blob.size for blob in message.blobs]) / PAYLOAD_BYTES_PER_S
        if contract.task.id not in self._timers:  # else it is looked at when its lease would have ended
            self._timers.set(contract.task.id, contract.lease_until)

    def _gathered(self, key: Key, error: str, now: float) -> list[Effect]:
        """What a result refers to is here, so that its winner may die now; or it cannot be had."""
        contract = self._contracts.get(key[1])
        if contract is None or contract.informed is None or result_of(contract) != key:
            return [Send(self._node, Release(key))]
        done = contract.informed
        if self._commitment is not None:
            if error:
                return self._lose(contract, Reason.DIED, now)
            self._await_decision(contract, done, now)
            return [Send(contract.winner, Kept(contract.task.id, contract.epoch))]
        if error:
            return self._failed(contract, Reason.DIED, error, done.seconds, b"", now)
        return self._commit(contract, State.DONE, now, value=done.value, seconds=done.seconds, blobs=done.blobs)

    def _let_go(self, contract: Contract) -> list[Effect]:
        """Neither we nor the winner need keep what was being fetched; who keeps it says so itself."""
        informed, contract.informed = contract.informed, None
        if informed is None or not informed.blobs:
            return []
        kept = Send(contract.winner, Kept(contract.task.id, contract.epoch))
        return [kept, Send(self._node, Release(result_of(contract)))]

    def _failure(self, message: Failure, sender: NodeId, now: float) -> list[Effect]:
        self._tell(sender, message, now)
        contract = self._held(message.task, message.epoch, sender)
        if contract is None and message.reason is Reason.LATE:
            return []  # it could not be cancelled: how it has ended we know
        if contract is None:
            return self._fence(message.task, message.epoch, sender)
        if message.reason is Reason.LATE:
            return [] if contract.informed is not None else self._lose(contract, Reason.LATE, now)
        if self._commitment is not None and contract.warrant is not None:
            contract.given_back = self._commitment.given_back(message.task, contract.warrant.epoch)
        if message.reason in TRANSIENT:
            contract.attempts -= 1
            return self._lose(contract, message.reason, now)
        return self._failed(contract, message.reason, message.detail, message.seconds, message.value, now)

    def _failed(
        self, contract: Contract, reason: Reason, detail: str, seconds: float, value: bytes, now: float
    ) -> list[Effect]:
        """An attempt came to nothing: another may be tried, or that was the last."""
        if contract.ending is None:
            once = contract.task.conditions.at_most_once
            if reason is Reason.ERROR or once or contract.attempts - contract.losses >= contract.task.attempts_max:
                return self._commit(
                    contract, State.FAILED, now, value=value, error=detail, seconds=seconds, reason=reason
                )
        return self._lose(contract, reason, now)

    def _not_understood(self, message: NotUnderstood, sender: NodeId, now: float) -> list[Effect]:
        """It ends what it is about with this one participant, and nothing with the others."""
        contract = self._contracts.get(message.about)
        if contract is not None and contract.stage is Stage.AWARDED and contract.winner == sender:
            contract.attempts -= 1
            contract.baffled |= {sender}
            return self._lose(contract, Reason.BUSY, now)
        self._due = now
        return self._calls.silent(message.about, sender, now)

    def _renew(self, message: Renew, sender: NodeId, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for task, epoch, running in message.attempts:
            contract = self._held(task, epoch, sender)
            if contract is None:
                effects += self._fence(task, epoch, sender)
            else:
                contract.lease_until = now + LEASE_S
                contract.running = running
        return effects

    def _lose(self, contract: Contract, reason: Reason, now: float) -> list[Effect]:
        """The award came to nothing: the task is open again, and what its winner still brings in is of an old epoch."""
        winner, task = contract.winner, contract.task.id
        if reason in (Reason.LEASE, Reason.VANISHED):
            contract.losses += 1
        if contract.losses >= LOST_MAX:
            error = f"lost {LOST_MAX} times with its node or its lease, at last on {winner}"
            return self._commit(contract, State.FAILED, now, error=error, reason=reason)
        if contract.ending is not None:
            state, why, detail = contract.ending
            return self._commit(contract, state, now, error=detail, reason=why)
        if contract.task.conditions.at_most_once and reason not in TRANSIENT:
            error = f"it was on {winner} ({reason}), may have been done, and is not to be done twice"
            if self._commitment is None or contract.given_back:
                return self._commit(contract, State.UNKNOWN, now, error=error, reason=reason)
        self._take_back(contract)
        contract.lost = reason
        self._reopen(contract, now)
        effects: list[Effect] = [TaskLost(task=task, epoch=contract.epoch, peer=winner, reason=reason)]
        effects += [*self._let_go(contract), *self._gangs.lost(contract)]
        if self._commitment is not None and not contract.given_back:
            effects += self._commitment.lost(task, now)  # silence gives nothing back
        contract.given_back = False
        return effects

    def _reopen(self, contract: Contract, now: float) -> list[Effect]:
        """It is to be called again: its award came to nothing, or all that bid for it are gone."""
        self._timers.cancel(contract.task.id)
        self._replicas.vacated(contract.task)
        self._await_bids(contract)
        self._due = now
        return []

    def _commit(
        self,
        contract: Contract,
        state: State,
        now: float,
        *,
        value: bytes = b"",
        error: str = "",
        seconds: float = 0.0,
        reason: Reason | None = None,
        blobs: tuple[Reference, ...] = (),
    ) -> list[Effect]:
        """Its end is known: without holders that is all; with them it is theirs to decide."""
        winner = contract.winner if contract.stage is Stage.AWARDED else None
        told = contract.epoch, contract.attempts, seconds, reason or "", blobs
        outcome = Outcome(contract.task.id, state, value, error, winner, *told)
        if self._commitment is None:
            return [*self._close(contract, outcome), Send(self._node, Completed(outcome)), *self._let_go(contract)]
        self._take_back(contract)
        contract.stage = Stage.ENDING
        return [*self._let_go(contract), *self._commitment.end(outcome, now)]

    def _take_back(self, contract: Contract) -> None:
        """Nobody works at it, or nobody need."""
        self._timers.cancel(contract.task.id)
        if contract.stage is Stage.AWARDED:
            del self._awarded[contract.winner][contract.task.id]
            if contract.winner in self._accounts:  # which may never tell that it has heard of it
                self._accounts[contract.winner].forget(contract.number)

    def _close(self, contract: Contract, outcome: Outcome) -> list[Effect]:
        """It has ended."""
        self._forget(contract, outcome.state)
        return [TaskCommitted.of(outcome)]

    def _forget(self, contract: Contract, state: State) -> None:
        """It is ours no longer."""
        del self._contracts[contract.task.id]
        self._take_back(contract)
        self._batches.forget(contract.task.id)
        contract.stage = Stage.ENDED
        self._replicas.ended(contract.task, state)

    def _chosen(self, task: TaskId, outcome: Outcome | None) -> list[Effect]:
        """Its holders have decided. Whoever still works at it need not."""
        contract = self._contracts.get(task)
        if contract is None:
            return []
        effects: list[Effect] = []
        if contract.stage is Stage.AWARDED and contract.informed is None:
            effects.append(Send(contract.winner, Cancel(contract.auction, task, contract.epoch)))
        effects += [*self._withdraw(contract), *self._let_go(contract)]
        return [*self._close(contract, outcome or Outcome(task, State.UNKNOWN)), *effects]

    def _overruled(self, task: TaskId) -> list[Effect]:
        """Another agent stands by it now: it is no longer ours to award."""
        contract = self._contracts.get(task)
        if contract is None or self._commitment is None or self._commitment.stands_by(task):
            return []
        effects = [*self._withdraw(contract), *self._let_go(contract)]
        self._forget(contract, State.UNKNOWN)
        return effects

    def _withdraw(self, contract: Contract) -> list[Effect]:
        """It is no longer to be awarded."""
        self._calls.remove(contract)
        return self._gangs.remove(contract)

    # -- who is there

    def _tell(self, node: NodeId, message: TellsLoad, now: float) -> None:
        if node in self._accounts:
            self._accounts[node].tell(message.load, message.heard, now)
            self._due = now

    def _available(self, message: Availability, sender: NodeId, now: float) -> list[Effect]:
        account = self._accounts.get(sender)
        if account is None:
            return []
        heard = dict(message.heard).get(self._node)
        if heard is not None or not account.unheard:
            account.tell(message.load, heard or 0, now)
        self._due = now
        if self._rule.form is not None:  # in an auction it was busy: it may bid now
            self._reopen_parked(now)
        return self._calls.invite(sender, now)

    def _reopen_parked(self, now: float) -> None:
        for contract in list(self._contracts.values()):
            if contract.stage is Stage.PARKED:
                self._reopen(contract, now)

    def _peer_up(self, node: NodeId, now: float) -> list[Effect]:
        if node in self._accounts:
            return []
        insort(self._calls.peers, node)
        self._accounts[node] = Account()
        self._due = now
        self._batches.moved(now)
        self._reopen_parked(now)
        return self._calls.invite(node, now)

    def _peer_down(self, node: NodeId, now: float) -> list[Effect]:
        """What it bid and what it told dies with it; what it was awarded is open again."""
        if node not in self._accounts:
            return []
        self._calls.peers.remove(node)
        del self._accounts[node]
        self._due = now
        effects: list[Effect] = []
        for contract in list(self._awarded.get(node, {}).values()):
            effects += self._lose(contract, Reason.VANISHED, now)
        self._awarded.pop(node, None)
        effects += [effect for contract in self._batches.gone(node, now) for effect in self._reopen(contract, now)]
        return [*effects, *self._calls.gone(node, now), *self._gangs.gone(node, now)]

    # -- time

    def _expire(self, subject: Contract, now: float) -> list[Effect]:
        if subject.stage is Stage.PARKED:
            self._reopen(subject, now)
        elif subject.lease_until > now:
            self._timers.set(subject.task.id, subject.lease_until)
        else:
            cancel = Send(subject.winner, Cancel(subject.auction, subject.task.id, subject.epoch))
            return [*self._lose(subject, Reason.LEASE, now), cancel]
        return []
