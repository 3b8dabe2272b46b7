"""The contract net: a task is called, priced by those who could do it, and awarded to the best bid.

Sources: Smith 1980 (the contract net, availability announcements); FIPA SC00029H (the message sequence);
Graham 1969 (longest task first). An agent is initiator of the tasks handed to it and participant in everybody's calls.

    initiator                                 participants
      | CallForProposals(tasks, reply_by) ------> all      published; tells needs and sizes, never the payload
      | <----- Proposal(bids, declines) | Refusal each     one answer for the whole batch, with the node's load
      |   closes when all live invitees have answered, or at reply_by
      | Award(task, epoch, lease, payload) -> winner       only if it is free now or next: *late binding*
      | Rejection(tasks) -----------------------> all      published, a little later and many at once
      | <---------------- Renew(tasks) winner              while it holds the lease
      | <------- Inform(value) | Failure(reason) winner    the end, with the load it leaves behind

What holds at any moment:
- A task has at most one attempt that counts: the one whose epoch is the task's epoch. Whatever an older epoch brings
  in is answered with `Fenced` and changes nothing.
- A lease that nobody renews, a winner that vanishes or declines: the task is open again, and its next award has the
  next epoch.
- Nothing is transferred to a node that could not start it now or next; the rest waits here, longest first, and every
  message from a participant tells its load anew, so the plan is made on fresh numbers.
- A late proposal is rejected with the reason "late"; nobody is met with silence.
- Whatever waits has a time: an open call its `reply_by`, an award its lease, a task without bids its recall, and what
  is priced is priced anew every BID_LIFE_S, so that no load stays unheard and no bid gets old.
"""

from __future__ import annotations

import heapq
from bisect import bisect, insort
from collections.abc import Sequence

from .award_rules import CONTRACT_NET, Offer, Rule
from .contract import RECALL_S, Call, Contract, Stage, unplaced_sentence
from .contract_events import (
    AuctionAwarded,
    AuctionFailed,
    AuctionOpened,
    BidLine,
    DeclineLine,
    MessageDropped,
    TaskCommitted,
    TaskLost,
    TaskReassigned,
)
from .core import (
    AuctionId,
    Effect,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Publish,
    Send,
    State,
    Task,
    TaskId,
)
from .load import Account
from .performatives import (
    TASKS_PER_CALL_MAX,
    TRANSIENT,
    Availability,
    Award,
    Bid,
    CallForProposals,
    Cancel,
    Completed,
    Decline,
    Failure,
    Fenced,
    Inform,
    NotUnderstood,
    Proposal,
    Reason,
    Refusal,
    Rejection,
    Renew,
)

PRICED_LOW = 256
"""A task is called while fewer than this many before it are being priced or wait priced: bids stay fresh."""
BID_LIFE_S = 2.0
"""What waits priced for so long is priced anew."""
LEASE_S = 1.0
PAYLOAD_BYTES_PER_S = 1e6
"""A payload is given this much time on its way before the lease begins."""
PAUSE_S = 1.0
"""Woken later than this, it was we who slept: nobody else is late yet."""
LOST_MAX = 8
"""A task so often lost with its node or its lease is taken for the cause of it."""
REJECT_AFTER_S = 0.25
"""Losers may wait this long, so that one message rejects many."""
RECALL_MAX_S = 8.0


class Initiator:
    """Calls for proposals, awards, watches leases; the tasks handed to this node are its own.

    `call` only takes the task in: calls and awards are made in `wake`, once for all that came in the same turn.
    """

    def __init__(self, node: NodeId, incarnation: int, seed: int, rule: Rule = CONTRACT_NET) -> None:
        self._node = node
        self._prefix = f"{node}.{incarnation:x}."
        self._seed = seed
        self._rule = rule
        self._calls_made = 0
        self._awards_made = 0
        self._arrivals = 0
        self._peers: list[NodeId] = []  # whom to invite, sorted; this node among them
        self._accounts: dict[NodeId, Account] = {}  # one per peer
        self._contracts: dict[TaskId, Contract] = {}
        self._uncalled: list[Contract] = []  # a heap by the rule's order
        self._priced: list[Contract] = []  # sorted by the rule's order
        self._calls: dict[AuctionId, Call] = {}
        self._awarded: dict[NodeId, dict[TaskId, Contract]] = {}
        self._rejects: dict[AuctionId, list[TaskId]] = {}
        self._reject_at: float | None = None
        self._price_at: float | None = None  # when to price anew what is priced; None: nothing is
        self._timers: list[tuple[float, int, Call | Contract]] = []  # calls to close, leases to end, recalls
        self._timers_set = 0
        self._due: float | None = None  # when to award and call; None: nothing has changed

    # -- told by the agent

    def call(
        self, task: Task, payload: bytes, now: float, *, follow: bool = False, waits: bool = False
    ) -> Sequence[Effect]:
        """Take a task in. Raises ProtocolError if it is here already.

        `follow`: what it writes is passed on; `waits`: if nobody can run it, it waits for somebody who can.
        """
        if task.id in self._contracts:
            raise ProtocolError(f"task {task.id} is called twice")
        self._arrivals += 1
        terms = task.conditions
        key = (-float(terms.priority), -terms.reward, *self._rule.order(task, self._arrivals))
        contract = Contract(task, payload, key, follow, waits)
        self._contracts[task.id] = contract
        heapq.heappush(self._uncalled, contract)
        self._due = now
        return ()

    def cancel(self, task: TaskId, state: State, reason: Reason, detail: str, now: float) -> Sequence[Effect]:
        """End it so: at once if it is nowhere, else when its winner has stopped. One that has ended is no error."""
        contract = self._contracts.get(task)
        if contract is None or contract.ending is not None:
            return ()
        if contract.stage is Stage.AWARDED:
            contract.ending = (state, reason, detail)
            return [Send(contract.winner, Cancel(task, contract.epoch))]
        for line in (self._uncalled, self._priced):
            if contract in line:
                line.remove(contract)
        heapq.heapify(self._uncalled)
        return self._commit(contract, state, error=detail, reason=reason)

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
    def open_tasks(self) -> int:
        """How many tasks of this node have not ended."""
        return len(self._contracts)

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Proposal():
                return self._proposal(message.auction, message.bids, message, sender, now)
            case Refusal():
                return self._proposal(message.auction, (), message, sender, now)
            case Inform():
                return self._inform(message, sender, now)
            case Failure():
                return self._failure(message, sender, now)
            case Renew():
                return self._renew(message, sender, now)
            case Availability():
                return self._available(message, sender, now)
            case NotUnderstood():
                return self._not_understood(message, sender, now)
            case PeerUp():
                return self._peer_up(message.node, now)
            case PeerDown():
                return self._peer_down(message.node, now)
        raise ProtocolError(f"an initiator is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        while self._timers and self._timers[0][2].timer != self._timers[0][1]:
            heapq.heappop(self._timers)
        times = (self._due, self._reject_at, self._price_at, self._timers[0][0] if self._timers else None)
        return min([time for time in times if time is not None], default=None)

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        deadline = self.deadline
        slept = deadline is not None and now - deadline > PAUSE_S
        while self._timers and self._timers[0][0] <= now:
            _, number, subject = heapq.heappop(self._timers)
            if subject.timer == number:
                effects += self._postpone(subject, now) if slept else self._expire(subject, now)
        if self._due is not None:
            self._due = None
            effects += self._award_all(now)
            effects += self._call_next(now)
        effects += self._price_anew(now)
        if self._reject_at is not None and self._reject_at <= now:
            effects += self._reject_all()
        return effects

    # -- calling

    def _call_next(self, now: float) -> list[Effect]:
        """Open calls, in the rule's order, while not too many tasks before the next are being priced or priced."""
        effects: list[Effect] = []
        while self._uncalled and self._peers:
            pricing = sum([bisect(call.batch, self._uncalled[0]) for call in self._calls.values() if call.first])
            if pricing + bisect(self._priced, self._uncalled[0]) >= PRICED_LOW:
                break
            batch = [heapq.heappop(self._uncalled) for _ in range(min(len(self._uncalled), TASKS_PER_CALL_MAX))]
            for contract in batch:
                contract.stage = Stage.CALLED
                contract.bids, contract.declines = {}, {}
            effects += self._open(batch, None, max(contract.recall_s for contract in batch) / 2, now)
        return effects

    def _price_anew(self, now: float) -> list[Effect]:
        """All are asked again for what is next in order: bids get old, and a load may have been missed."""
        if self._priced and self._price_at is not None and self._price_at > now:
            return []
        due = self._price_at is not None
        self._price_at = now + BID_LIFE_S if self._priced else None
        return self._open(self._priced[:TASKS_PER_CALL_MAX], None, BID_LIFE_S, now) if due and self._priced else []

    def _invite(self, node: NodeId, now: float) -> list[Effect]:
        """A node that has not bid for what waits is asked directly (Smith's availability announcement)."""
        if any(node in call.awaiting for call in self._calls.values()):
            return []
        batch = [contract for contract in self._priced if node not in contract.bids and node not in contract.declines]
        return self._open(batch[:TASKS_PER_CALL_MAX], node, BID_LIFE_S, now) if batch else []

    def _open(self, batch: Sequence[Contract], to: NodeId | None, reply_by_s: float, now: float) -> list[Effect]:
        """To all (None), or to one node."""
        self._calls_made += 1
        auction = f"{self._prefix}{self._calls_made}"
        first = batch[0].stage is Stage.CALLED
        call = Call(auction, batch, self._peers if to is None else [to], first)
        self._calls[auction] = call
        self._set_timer(call, now + reply_by_s)
        for contract in batch if call.first else ():
            contract.auction = auction
        message = CallForProposals(auction, tuple([contract.task for contract in batch]), reply_by_s)
        opened = AuctionOpened(
            auction=auction, tasks=tuple(call.contracts), invitees=call.invitees, reply_by_s=reply_by_s
        )
        return [opened, Publish(message) if to is None else Send(to, message)]

    def _proposal(
        self, auction: AuctionId, bids: Sequence[Bid], message: Proposal | Refusal, sender: NodeId, now: float
    ) -> list[Effect]:
        if not auction.startswith(self._prefix):
            return [Send(sender, NotUnderstood(auction, "this conversation is not mine"))]
        call = self._calls.get(auction)
        if call is not None and sender in call.invitees and sender not in call.awaiting:
            return [Send(sender, NotUnderstood(auction, "you have answered this call already"))]
        if call is not None:
            _check(call, bids, message.declines, sender)
        self._tell(sender, message, now)
        late: list[TaskId] = []
        for bid in bids:
            contract = call.contracts[bid.task] if call else None
            if contract is None or contract.stage not in (Stage.CALLED, Stage.PRICED):
                late.append(bid.task)
                continue
            terms = dict(bid.terms[1:])
            contract.bids[sender] = sum(terms.values()), terms
            contract.declines.pop(sender, None)
        effects: list[Effect] = [Send(sender, Rejection(auction, tuple(late), Reason.LATE))] if late else []
        if call is None:
            return effects
        for decline in message.declines:
            contract = call.contracts[decline.task]
            contract.declines[sender] = decline
            contract.bids.pop(sender, None)
        return effects + self._answered(call, sender, now)

    def _answered(self, call: Call, node: NodeId, now: float) -> list[Effect]:
        """It has answered, or never will."""
        call.awaiting.discard(node)
        return [] if call.awaiting else self._close(call, now)

    def _close(self, call: Call, now: float) -> list[Effect]:
        """All live invitees have answered, or it is `reply_by`."""
        del self._calls[call.auction]
        call.timer = 0
        self._due = now
        if not call.first:
            return []
        effects: list[Effect] = []
        silent = tuple(sorted(call.awaiting))
        for contract in call.contracts.values():
            if contract.stage is not Stage.CALLED:
                continue  # it was cancelled meanwhile
            contract.silent = silent
            if contract.bids:
                contract.stage = Stage.PRICED
                insort(self._priced, contract)
            else:
                effects += self._no_bid(contract, now)
        for node in self._peers:
            if node not in call.invitees:
                effects += self._invite(node, now)
        return effects

    def _no_bid(self, contract: Contract, now: float) -> list[Effect]:
        """Nobody can run it: say so at once if that is for good, else call it again later."""
        declines = _decline_lines(contract)
        failed = AuctionFailed(
            auction=contract.auction, task=contract.task.id, declines=declines, silent=contract.silent
        )
        passing = contract.silent or any(decline.reason in TRANSIENT for decline in declines)
        if declines and not passing and not contract.waits:
            return [
                failed,
                *self._commit(
                    contract, State.UNPLACED, error=unplaced_sentence(contract.declines), reason=declines[0].reason
                ),
            ]
        contract.stage = Stage.PARKED
        self._set_timer(contract, now + contract.recall_s)
        contract.recall_s = min(2 * contract.recall_s, RECALL_MAX_S)
        return [failed]

    # -- awarding

    def _award_all(self, now: float) -> list[Effect]:
        """Late binding: plan all that is priced, in the rule's order; transfer what would start now or next."""
        if not self._priced:
            return []
        effects: list[Effect] = []
        outlooks = {node: account.outlook(now) for node in self._peers if (account := self._accounts[node]).known}
        roomy = {node for node, outlook in outlooks.items() if not outlook.full}
        kept: list[Contract] = []
        seen = 0
        for contract in self._priced:
            if not roomy:
                break
            seen += 1
            bids = contract.bids
            offers = [
                Offer(node, outlook.ready_s, bids[node][0], outlook.free, self._accounts[node].speed)
                for node, outlook in outlooks.items()
                if node in bids
            ]
            if not offers:
                self._reopen(contract, now)
                continue
            seed = (self._seed + contract.key[-1] + contract.epoch) & 0xFFFFFFFF
            offer = self._rule.choose(offers, seed)
            outlook = outlooks[offer.node]
            if outlook.room(offer.own_s):
                effects += self._award(contract, offer, offers, seed, now)
            else:
                kept.append(contract)
            outlook.take(offer.own_s)
            if outlook.full:
                roomy.discard(offer.node)
        self._priced[:seen] = kept
        return effects

    def _award(self, contract: Contract, offer: Offer, offers: Sequence[Offer], seed: int, now: float) -> list[Effect]:
        task, winner = contract.task, offer.node
        contract.stage = Stage.AWARDED
        contract.running = False
        contract.epoch += 1
        contract.attempts += 1
        contract.recall_s = RECALL_S
        contract.winner = winner
        contract.lease_until = now + LEASE_S + task.payload_bytes / PAYLOAD_BYTES_PER_S
        self._set_timer(contract, contract.lease_until)
        self._awarded.setdefault(winner, {})[task.id] = contract
        self._awards_made += 1
        contract.number = self._awards_made
        self._accounts[winner].award(contract.number, offer.own_s)
        if len(offers) > 1:
            self._rejects.setdefault(contract.auction, []).append(task.id)
            if self._reject_at is None:
                self._reject_at = now + REJECT_AFTER_S
        second = min([other for other in offers if other is not offer], key=_by_cost, default=None)
        effects: list[Effect] = [
            AuctionAwarded(
                auction=contract.auction,
                task=task.id,
                epoch=contract.epoch,
                winner=winner,
                cost=offer.cost,
                runner_up=second.node if second else None,
                margin=second.cost - offer.cost if second else None,
                rule=self._rule.name,
                seed=seed,
                bids=tuple([_bid_line(bidder, contract.bids[bidder.node][1]) for bidder in offers]),
                declines=_decline_lines(contract) if contract.declines else (),
                silent=contract.silent,
            )
        ]
        if contract.lost is not None:
            effects.append(TaskReassigned(task=task.id, epoch=contract.epoch, peer=winner, reason=contract.lost))
        award = Award(
            contract.auction, task, contract.epoch, LEASE_S, contract.number, contract.payload, contract.follow
        )
        effects.append(Send(winner, award))
        return effects

    def _reject_all(self) -> list[Effect]:
        rejections = [
            Publish(Rejection(auction, tuple(tasks[start : start + TASKS_PER_CALL_MAX]), Reason.OUTBID))
            for auction, tasks in self._rejects.items()
            for start in range(0, len(tasks), TASKS_PER_CALL_MAX)
        ]
        self._rejects, self._reject_at = {}, None
        return list(rejections)

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
        return self._commit(contract, State.DONE, value=message.value, seconds=message.seconds)

    def _failure(self, message: Failure, sender: NodeId, now: float) -> list[Effect]:
        self._tell(sender, message, now)
        contract = self._held(message.task, message.epoch, sender)
        if contract is None:
            return self._fence(message.task, message.epoch, sender)
        reason, detail, seconds = message.reason, message.detail, message.seconds
        if reason in TRANSIENT:
            contract.attempts -= 1
        elif contract.ending is None:
            once = contract.task.conditions.at_most_once
            if reason is Reason.ERROR or once or contract.attempts >= contract.task.attempts_max:
                value = message.value
                return self._commit(contract, State.FAILED, value=value, error=detail, seconds=seconds, reason=reason)
        return self._lose(contract, reason, now)

    def _not_understood(self, message: NotUnderstood, sender: NodeId, now: float) -> list[Effect]:
        """It ends what it is about with this one participant, and nothing with the others."""
        contract = self._contracts.get(message.about)
        if contract is not None and contract.stage is Stage.AWARDED and contract.winner == sender:
            contract.attempts -= 1
            return self._lose(contract, Reason.BUSY, now)
        call = self._calls.get(message.about)
        return self._answered(call, sender, now) if call is not None and sender in call.awaiting else []

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
            return self._commit(contract, State.FAILED, error=error, reason=reason)
        if contract.ending is not None:
            state, why, detail = contract.ending
            return self._commit(contract, state, error=detail, reason=why)
        if contract.task.conditions.at_most_once and reason not in TRANSIENT:
            error = f"it was on {winner} ({reason}), may have been done, and is not to be done twice"
            return self._commit(contract, State.UNKNOWN, error=error, reason=reason)
        del self._awarded[winner][task]
        if winner in self._accounts:
            self._accounts[winner].forget(contract.number)
        contract.lost = reason
        self._reopen(contract, now)
        return [TaskLost(task=task, epoch=contract.epoch, peer=winner, reason=reason)]

    def _reopen(self, contract: Contract, now: float) -> None:
        contract.stage = Stage.UNCALLED
        contract.timer = 0
        heapq.heappush(self._uncalled, contract)
        self._due = now

    def _commit(
        self,
        contract: Contract,
        state: State,
        *,
        value: bytes = b"",
        error: str = "",
        seconds: float = 0.0,
        reason: Reason | None = None,
    ) -> list[Effect]:
        task = contract.task.id
        del self._contracts[task]
        contract.timer = 0
        winner = None
        if contract.stage is Stage.AWARDED:
            winner = contract.winner
            del self._awarded[winner][task]
        contract.stage = Stage.ENDED
        outcome = Outcome(task, state, value, error, winner, contract.epoch, contract.attempts, seconds, reason or "")
        committed = TaskCommitted(
            task=task, epoch=contract.epoch, state=state, peer=winner, attempts=contract.attempts, detail=error
        )
        return [committed, Send(self._node, Completed(outcome))]

    # -- who is there

    def _tell(self, node: NodeId, message: Proposal | Refusal | Inform | Failure, now: float) -> None:
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
        return self._invite(sender, now)

    def _peer_up(self, node: NodeId, now: float) -> list[Effect]:
        if node in self._accounts:
            return []
        insort(self._peers, node)
        self._accounts[node] = Account()
        self._due = now
        for contract in list(self._contracts.values()):
            if contract.stage is Stage.PARKED:
                self._reopen(contract, now)
        return self._invite(node, now)

    def _peer_down(self, node: NodeId, now: float) -> list[Effect]:
        """What it bid and what it told dies with it; what it was awarded is open again."""
        if node not in self._accounts:
            return []
        self._peers.remove(node)
        del self._accounts[node]
        self._due = now
        for contract in (*self._priced, *(c for call in self._calls.values() for c in call.contracts.values())):
            contract.bids.pop(node, None)
            contract.declines.pop(node, None)
        effects: list[Effect] = []
        for contract in list(self._awarded.get(node, {}).values()):
            effects += self._lose(contract, Reason.VANISHED, now)
        self._awarded.pop(node, None)
        for call in [call for call in self._calls.values() if node in call.awaiting]:
            effects += self._answered(call, node, now)
        return effects

    # -- time

    def _set_timer(self, subject: Call | Contract, at: float) -> None:
        self._timers_set += 1
        subject.timer = self._timers_set
        heapq.heappush(self._timers, (at, self._timers_set, subject))

    def _postpone(self, subject: Call | Contract, now: float) -> list[Effect]:
        """While we slept others may have spoken; what they said is still to be read."""
        self._set_timer(subject, now + LEASE_S)
        return []

    def _expire(self, subject: Call | Contract, now: float) -> list[Effect]:
        if isinstance(subject, Call):
            return self._close(subject, now)
        if subject.stage is Stage.PARKED:
            self._reopen(subject, now)
        elif subject.lease_until > now:
            self._set_timer(subject, subject.lease_until)
        else:
            cancel = Send(subject.winner, Cancel(subject.task.id, subject.epoch))
            return [*self._lose(subject, Reason.LEASE, now), cancel]
        return []


def _check(call: Call, bids: Sequence[Bid], declines: Sequence[Decline], sender: NodeId) -> None:
    """Raises PeerError where an answer speaks of what was not asked, or does not name its queue first and once."""
    for bid in bids:
        names = [term[0] for term in bid.terms]
        if bid.task not in call.contracts or names[0] != "queue" or "queue" in names[1:]:
            raise PeerError(f"{sender} bid for {bid.task} without being asked, or without its queue as first term")
    for decline in declines:
        if decline.task not in call.contracts:
            raise PeerError(f"{sender} declined {decline.task} without being asked")


def _by_cost(offer: Offer) -> tuple[float, NodeId]:
    return (offer.cost, offer.node)


def _bid_line(offer: Offer, terms: dict[str, float]) -> BidLine:
    return BidLine(offer.node, offer.cost, {"queue": offer.queue_s, **terms}, offer.free, offer.speed)


def _decline_lines(contract: Contract) -> tuple[DeclineLine, ...]:
    return tuple(
        DeclineLine(node, decline.reason, decline.detail) for node, decline in sorted(contract.declines.items())
    )
