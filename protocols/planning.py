"""A dry auction: who would get this task, and why? It is called and priced like any other, and awarded to nobody.

    client                 planner                          participants
      | AskPlan(task) ------> | CallForProposals ------------> all
      |                       | <---- Proposal | Refusal       each
      |                       |   when all have answered, or at reply_by
      |                       | Rejection("plan") -----------> all
      | <------ Planned(bids) |

It is a role of its own beside the initiator, with conversations of its own, so that asking changes nothing: what is
asked here has no contract, no award and no lease. The bids are put in the order in which the agent's own award rule
would take them.

Invariant: each question has one answer, after REPLY_BY_S at the latest; at most PLANS_MAX are open.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from .award_rules import CONTRACT_NET, Offer, Rule
from .contract_events import AuctionOpened
from .core import (
    AuctionId,
    Effect,
    Message,
    NodeId,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Publish,
    Send,
    Task,
)
from .load import Load, Outlook
from .performatives import Bid, CallForProposals, Decline, Proposal, Reason, Refusal, Rejection
from .requests import AskPlan, NotFound, Planned, PlannedBid

REPLY_BY_S = 0.5
PLANS_MAX = 64


class _Plan:
    """One question, and what has been answered so far."""

    def __init__(self, client: NodeId, request: int, task: Task, awaiting: Sequence[NodeId], close_at: float) -> None:
        self.client = client
        self.request = request
        self.task = task
        self.awaiting = set(awaiting)
        self.close_at = close_at
        self.bids: dict[NodeId, tuple[Bid, Load]] = {}
        self.declines: dict[NodeId, Decline] = {}


class Planner:
    """Asks all, awards nobody."""

    def __init__(self, node: NodeId, incarnation: int, seed: int = 0, rule: Rule = CONTRACT_NET) -> None:
        self._prefix = f"{node}.{incarnation:x}.plan."
        self._seed = seed
        self._rule = rule
        self._peers: list[NodeId] = []
        self._plans: dict[AuctionId, _Plan] = {}
        self._count = 0

    def called(self, auction: AuctionId) -> bool:
        """This conversation is, or was, one of ours."""
        return auction.startswith(self._prefix)

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case AskPlan(request, task):
                return self._ask(request, task, sender, now)
            case Proposal(auction, bids, declines, load):
                return self._answer(auction, bids, declines, load, sender)
            case Refusal(auction, declines, load):
                return self._answer(auction, (), declines, load, sender)
            case PeerUp(node):
                if node not in self._peers:
                    insort(self._peers, node)
                return ()
            case PeerDown(node):
                if node in self._peers:
                    self._peers.remove(node)
                return [effect for auction in list(self._plans) for effect in self._heard(auction, node)]
        raise ProtocolError(f"a planner is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return min([plan.close_at for plan in self._plans.values()]) if self._plans else None

    def wake(self, now: float) -> Sequence[Effect]:
        due = [auction for auction, plan in self._plans.items() if plan.close_at <= now]
        return [effect for auction in due for effect in self._close(auction)]

    def _ask(self, request: int, task: Task, client: NodeId, now: float) -> list[Effect]:
        if len(self._plans) >= PLANS_MAX:
            return [Send(client, NotFound(request, f"this agent makes {PLANS_MAX} plans already; ask again"))]
        self._count += 1
        auction = f"{self._prefix}{self._count}"
        self._plans[auction] = _Plan(client, request, task, self._peers, now + REPLY_BY_S)
        opened = AuctionOpened(auction=auction, tasks=(task.id,), invitees=tuple(self._peers), reply_by_s=REPLY_BY_S)
        return [opened, Publish(CallForProposals(auction, (task,), REPLY_BY_S))]

    def _answer(
        self, auction: AuctionId, bids: Sequence[Bid], declines: Sequence[Decline], load: Load, sender: NodeId
    ) -> list[Effect]:
        plan = self._plans.get(auction)
        if plan is None:
            late = tuple(bid.task for bid in bids)
            return [Send(sender, Rejection(auction, late, Reason.LATE))] if late else []
        if sender not in plan.awaiting:
            raise PeerError(f"{sender} answers the plan {auction}, and was not asked or has answered already")
        if {one.task for one in bids} | {one.task for one in declines} != {plan.task.id}:
            raise PeerError(f"{sender} answers the plan {auction} with another task")
        for bid in bids:
            plan.bids[sender] = (bid, load)
        for decline in declines:
            plan.declines[sender] = decline
        return self._heard(auction, sender)

    def _heard(self, auction: AuctionId, node: NodeId) -> list[Effect]:
        """It has answered, or never will."""
        plan = self._plans[auction]
        plan.awaiting.discard(node)
        return [] if plan.awaiting else self._close(auction)

    def _close(self, auction: AuctionId) -> list[Effect]:
        plan = self._plans.pop(auction)
        ranked = tuple(self._ranked(plan))
        declines = tuple(sorted(plan.declines.items()))
        silent = tuple(sorted(plan.awaiting))
        effects: list[Effect] = [Send(plan.client, Planned(plan.request, self._rule.name, ranked, declines, silent))]
        if plan.bids:
            effects.append(Publish(Rejection(auction, (plan.task.id,), Reason.PLAN)))
        return effects

    def _ranked(self, plan: _Plan) -> list[PlannedBid]:
        """The bids in the order in which the rule would take them."""
        offers = []
        for node, (bid, load) in sorted(plan.bids.items()):
            outlook = Outlook(load.ready_s, load.waiting, load.waiting_s)
            own_s = sum([seconds for _, seconds in bid.terms[1:]])
            offers.append(Offer(node, bid.terms[0][1], own_s, outlook.free, load.speed))
        ranked = []
        while offers:
            best = self._rule.choose(offers, self._seed)
            offers.remove(best)
            bid = plan.bids[best.node][0]
            ranked.append(PlannedBid(best.node, bid.terms, bid.basis))
        return ranked
