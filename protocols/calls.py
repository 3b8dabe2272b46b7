"""Calls for proposals: from tasks that wait to tasks with bids. The first half of what an initiator does.

The other half, awards and what becomes of them, is `contract_net.py`, which opens with the whole sequence.

    add(contract)        uncalled, in the rule's order
    call_next            -> CallForProposals to all, for a batch of them
    answer, answer, ...  bids and declines are noted; the call closes when all live invitees have answered,
    wake                 or at reply_by
       |- bids           -> priced: `contract_net` plans over all of `priced`
       |- bids, iterated -> CallForProposals(best_s) to the better half, Rejection to the others; again, until nobody
       |                    comes down any more (FIPA SC00030H)
       '- no bids        -> `unbid` decides
    call_next, probing   -> CallForProposals to a few of all (`probing.py`); to all, if none of them bids
    invite(node)         -> one who has not bid for what is priced is asked directly (Smith's availability)

Invariants: a contract is uncalled, called or priced here, or it is somewhere else; who has answered a call is not asked
again in it, but for a revised one; whom a call waits for is fixed when it opens; whoever is rejected in an iterated
call, or was silent in it, is out of it for good; a stranger's bid is none.
"""

from __future__ import annotations

import heapq
from bisect import bisect, insort
from collections.abc import Callable, Iterable, Iterator, Sequence

from .award_rules import UNKNOWN_WORK_S, Rule
from .contract import KEY, Call, Contract, Stage
from .contract_events import AuctionOpened
from .core import AuctionId, Effect, NodeId, PeerError, Publish, Send, TaskId
from .load import Prospect
from .performatives import (
    CALL_BYTES_MAX,
    TASKS_PER_CALL_MAX,
    Bid,
    CallForProposals,
    Decline,
    NotUnderstood,
    Reason,
    Rejection,
)
from .probing import Probes

PRICED_LOW = 256
"""A task is called while fewer than this many before it are being priced or wait priced: bids stay fresh."""
BID_LIFE_S = 2.0
"""What waits priced for so long is priced anew."""
REVISED_S = 0.25
"""So long those who are asked again may take."""
GAIN_MIN = 0.01
"""By this part the best bid must have fallen, or it is not asked for a better one."""
KEPT_MIN = 2
"""So many bidders stay in an iterated call, if not half of them are more."""


class Calls:
    """Who is asked for what. `prospect` is what is expected of a node, of work in seconds at speed 1; `unbid` is told
    what nobody bid for; with `probes` few are asked, and all only if none of those bids."""

    def __init__(
        self,
        prefix: str,
        rule: Rule,
        prospect: Callable[[NodeId, float, float], Prospect],
        unbid: Callable[[Contract, float], list[Effect]],
        probes: Probes | None = None,
    ) -> None:
        self._prefix = prefix
        self._rule = rule
        self._prospect = prospect
        self._unbid = unbid
        self._probes = probes
        self._made = 0
        self._open: dict[AuctionId, Call] = {}
        self._uncalled: list[Contract] = []  # a heap by the rule's order
        self._price_at: float | None = None  # when to price anew what is priced; None: nothing is
        self.priced: list[Contract] = []
        """What has bids, sorted by the rule's order."""
        self.peers: list[NodeId] = []
        """Whom to ask, sorted."""

    def add(self, contract: Contract) -> None:
        """To be called, or called again."""
        contract.stage = Stage.UNCALLED
        heapq.heappush(self._uncalled, contract)

    def remove(self, contract: Contract) -> None:
        """It has ended; one that is not called yet is passed over when its turn comes."""
        if contract.stage is Stage.PRICED:
            self.priced.remove(contract)

    def withdraw(self, contracts: Sequence[Contract]) -> None:
        """They are no longer to be called, or awarded by what was bid in calls."""
        out = {id(contract) for contract in contracts}
        self.priced = [contract for contract in self.priced if id(contract) not in out]
        self._uncalled = [contract for contract in self._uncalled if id(contract) not in out]
        heapq.heapify(self._uncalled)

    @property
    def waiting(self) -> int:
        """About how many wait to be called, are called, or wait priced to be awarded."""
        called = sum([len(call.contracts) for call in self._open.values() if call.first])
        return len(self._uncalled) + called + len(self.priced)

    @property
    def deadline(self) -> float | None:
        earliest = self._price_at
        for call in self._open.values():
            if earliest is None or call.close_at < earliest:
                earliest = call.close_at
        return earliest

    def wake(self, now: float) -> list[Effect]:
        """Close what is due."""
        due = [call for call in self._open.values() if call.close_at <= now]
        return [effect for call in due for effect in self._close(call, now)]

    def postpone(self, now: float, by_s: float) -> None:
        """We slept: others may have spoken meanwhile, and what they said is still to be read."""
        for call in self._open.values():
            call.close_at = max(call.close_at, now + by_s)

    # -- asking

    def call_next(self, now: float) -> list[Effect]:
        """Open calls, in the rule's order, while not too many tasks before the next are being priced or priced."""
        effects: list[Effect] = []
        while self._next() and self.peers:
            key = self._uncalled[0].key
            pricing = sum([bisect(call.batch, key, key=KEY) for call in self._open.values() if call.first])
            if pricing + bisect(self.priced, key, key=KEY) >= PRICED_LOW:
                break
            batch = _fitting(self._popped())
            for contract in batch:
                contract.call()
            effects += self._call(batch, None, max(contract.recall_s for contract in batch) / 2, now)
        return effects

    def _next(self) -> bool:
        """Is one there that waits to be called?"""
        while self._uncalled and self._uncalled[0].stage is not Stage.UNCALLED:
            heapq.heappop(self._uncalled)
        return bool(self._uncalled)

    def _popped(self) -> Iterator[Contract]:
        """All that wait to be called, in order; each leaves the heap when the next is asked for."""
        while self._next():
            yield self._uncalled[0]
            heapq.heappop(self._uncalled)

    def price_anew(self, now: float, divided: Sequence[Contract] = ()) -> list[Effect]:
        """All are asked again for what is next in order: bids get old, and a load may have been missed. Of what was
        `divided`, for the loads alone."""
        next_in_order = self.priced or divided
        if next_in_order and self._price_at is not None and self._price_at > now:
            return []
        due = self._price_at is not None
        self._price_at = now + BID_LIFE_S if next_in_order else None
        return self._call(_fitting(next_in_order), None, BID_LIFE_S, now) if due and next_in_order else []

    def invite(self, node: NodeId, now: float) -> list[Effect]:
        """A node that has not bid for what waits is asked directly."""
        if any(node in call.awaiting for call in self._open.values()):
            return []
        batch = _fitting(c for c in self.priced if node not in c.bids and node not in c.declines)
        return self._call(batch, node, BID_LIFE_S, now) if batch else []

    def _call(
        self, batch: Sequence[Contract], to: NodeId | None, reply_by_s: float, now: float, *, widely: bool = False
    ) -> list[Effect]:
        """To one node, or to all (None); if those are not to be asked `widely`, to the few that are chosen of them. Of
        a gang all are asked: a few may have too few slots."""
        self._made += 1
        auction = f"{self._prefix}{self._made}"
        first = batch[0].stage is Stage.CALLED
        asked = self.peers if to is None else [to]
        if to is None and not widely and self._probes is not None and not any(one.task.gang for one in batch):
            work = sum([UNKNOWN_WORK_S if c.task.work is None else c.task.work for c in batch]) / len(batch)
            asked = self._probes.choose(asked, len(batch), lambda node: self._prospect(node, work, now))
        call = Call(auction, batch, asked, first, now + reply_by_s)
        self._open[auction] = call
        for contract in batch if first else ():
            contract.auction = auction
        message = CallForProposals(auction, tuple([contract.asked(now) for contract in batch]), reply_by_s)
        opened = AuctionOpened(
            auction=auction, tasks=tuple(call.contracts), invitees=call.invitees, reply_by_s=reply_by_s
        )
        if asked is self.peers:
            return [opened, Publish(message)]
        return [opened, *[Send(node, message) for node in asked]]

    # -- hearing

    def understood(
        self, auction: AuctionId, bids: Sequence[Bid], declines: Sequence[Decline], sender: NodeId
    ) -> NotUnderstood | None:
        """What is wrong with an answer, if it cannot be taken. Raises PeerError on nonsense."""
        number = auction.removeprefix(self._prefix)
        if number == auction or not number.isdecimal() or not 0 < int(number) <= self._made:
            return NotUnderstood(auction, "this conversation is not mine")
        call = self._open_to(sender, auction)
        if call is None:
            return None
        if sender in call.invitees and sender not in call.awaiting:
            return NotUnderstood(auction, "you have answered this call already")
        if sender not in call.invitees and sender not in self.peers:
            return NotUnderstood(auction, "you were not asked")
        _check(call, bids, declines, sender)
        return None

    def _open_to(self, sender: NodeId, auction: AuctionId) -> Call | None:
        """The call, if it can still be answered: a revised one only by those who were asked again."""
        call = self._open.get(auction)
        return None if call is not None and call.revised and sender not in call.invitees else call

    def answer(
        self, auction: AuctionId, bids: Sequence[Bid], declines: Sequence[Decline], sender: NodeId, now: float
    ) -> list[Effect]:
        """Take an answer that was understood; what comes too late is rejected as late."""
        call = self._open_to(sender, auction)
        late: list[TaskId] = []
        waiting = {} if call is not None else self._priced_in(auction, bids)
        for bid in bids:
            contract = call.contracts[bid.task] if call else waiting.get(bid.task)
            if contract is not None and call is not None and call.revised and contract.outbid(sender):
                contract = None  # rejected for good
            if contract is None or contract.stage not in (Stage.CALLED, Stage.PRICED, Stage.DIVIDED):
                late.append(bid.task)
            else:
                contract.bid(sender, bid)
        effects: list[Effect] = [Send(sender, Rejection(auction, tuple(late), Reason.LATE))] if late else []
        if call is None:
            return effects
        for decline in declines:
            call.contracts[decline.task].decline(sender, decline)
        return effects + self._answered(call, sender, now)

    def _priced_in(self, auction: AuctionId, bids: Sequence[Bid]) -> dict[TaskId, Contract]:
        """What was called there, in a call that has been closed, and waits priced still: no bid for it is late."""
        if not bids or self._rule.revisions:
            return {}
        return {contract.task.id: contract for contract in self.priced if contract.auction == auction}

    def silent(self, auction: AuctionId, node: NodeId, now: float) -> list[Effect]:
        """It has not understood this call, and will say nothing more of it."""
        call = self._open.get(auction)
        return self._answered(call, node, now) if call is not None and node in call.awaiting else []

    def gone(self, node: NodeId, now: float) -> list[Effect]:
        """What it bid dies with it, and no call waits for it."""
        for contract in (*self.priced, *(c for call in self._open.values() for c in call.contracts.values())):
            contract.bids.pop(node, None)
            contract.declines.pop(node, None)
        awaited = [call for call in self._open.values() if node in call.awaiting]
        return [effect for call in awaited for effect in self._answered(call, node, now)]

    def _answered(self, call: Call, node: NodeId, now: float) -> list[Effect]:
        """It has answered, or never will."""
        call.awaiting.discard(node)
        return [] if call.awaiting else self._close(call, now)

    def _close(self, call: Call, now: float) -> list[Effect]:
        """All live invitees have answered, or it is `reply_by`."""
        del self._open[call.auction]
        if not call.first:
            return []
        effects: list[Effect] = []
        silent = tuple(sorted(call.awaiting))
        again: dict[Contract, tuple[list[NodeId], list[NodeId]]] = {}
        others = self._probes is not None and len(call.invitees) < len(self.peers)
        widely: list[Contract] = []
        for contract in call.contracts.values():
            if contract.stage is not Stage.CALLED:
                continue  # it was cancelled meanwhile
            if not contract.revised:
                contract.silent = silent
            if (better := self._better(contract, now)) is not None:
                again[contract] = better
            elif contract.bids:
                contract.stage = Stage.PRICED
                insort(self.priced, contract, key=KEY)
            elif others:
                widely.append(contract)
            else:
                effects += self._unbid(contract, now)
        if again:
            effects += self._revise(call.auction, again, now)
        if widely:
            effects += self._call(widely, None, max(contract.recall_s for contract in widely) / 2, now, widely=True)
        for node in () if others else self.peers:
            if node not in call.invitees:
                effects += self.invite(node, now)
        return effects

    # -- iterating

    def _better(self, contract: Contract, now: float) -> tuple[list[NodeId], list[NodeId]] | None:
        """Who is asked for a better bid, and who is out of it; None: it is decided."""
        if contract.revised >= self._rule.revisions or len(contract.bids) < KEPT_MIN:
            return None
        ranked = sorted((self._prospect(node, 0.0, now).end_s + bid.own_s, node) for node, bid in contract.bids.items())
        best_s = ranked[0][0]
        if contract.best_s is not None and best_s > contract.best_s * (1.0 - GAIN_MIN):
            return None
        contract.best_s = best_s
        contract.revised += 1
        kept = max(KEPT_MIN, (len(ranked) + 1) // 2)
        for cost, node in ranked[kept:]:
            detail = f"bid {cost:.3g} s in the first call" if contract.revised == 1 else f"bid {cost:.3g} s at last"
            contract.decline(node, Decline(contract.task.id, Reason.OUTBID, detail))
        return [node for _, node in ranked[:kept]], [node for _, node in ranked[kept:]]

    def _revise(
        self, auction: AuctionId, again: dict[Contract, tuple[list[NodeId], list[NodeId]]], now: float
    ) -> list[Effect]:
        """The same conversation goes on with some, and ends for the others."""
        batch = sorted(again)
        asked = sorted({node for nodes, _ in again.values() for node in nodes})
        out = sorted({node for _, nodes in again.values() for node in nodes})
        self._open[auction] = Call(auction, batch, asked, True, now + REVISED_S)
        effects: list[Effect] = []
        for node in asked:
            mine = [contract for contract in batch if node in again[contract][0]]
            tasks = tuple(contract.asked(now) for contract in mine)
            best_s = tuple(contract.best_s or 0.0 for contract in mine)
            effects.append(Send(node, CallForProposals(auction, tasks, REVISED_S, best_s)))
        for node in out:
            lost = tuple(contract.task.id for contract in batch if node in again[contract][1])
            effects.append(Send(node, Rejection(auction, lost, Reason.OUTBID)))
        return effects


def _fitting(contracts: Iterable[Contract]) -> list[Contract]:
    """As many of the first ones as one call may hold."""
    batch: list[Contract] = []
    size = 0
    for contract in contracts:
        size += contract.told_bytes
        if batch and (size > CALL_BYTES_MAX or len(batch) == TASKS_PER_CALL_MAX):
            break
        batch.append(contract)
    return batch


def _check(call: Call, bids: Sequence[Bid], declines: Sequence[Decline], sender: NodeId) -> None:
    """Raises PeerError where an answer speaks of what was not asked, or does not name its queue first and once."""
    for bid in bids:
        names = [term[0] for term in bid.terms]
        if bid.task not in call.contracts or names[0] != "queue" or "queue" in names[1:]:
            raise PeerError(f"{sender} bid for {bid.task} without being asked, or without its queue as first term")
    for decline in declines:
        if decline.task not in call.contracts:
            raise PeerError(f"{sender} declined {decline.task} without being asked")
