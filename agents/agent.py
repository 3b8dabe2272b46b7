"""An agent: a protocol made of protocols. It routes a message to the roles that speak it and joins their effects.

    message -> heard? (membership) -> the roles that speak it -> effects
                                                                  |- to this very node: routed again, at once
                                                                  |- published: heard by this node's own roles too
                                                                  '- everything else: out, in order

It is pure: a unit test, the simulator and the real node drive the same object. What its roles tell each other are local
messages sent to the node itself; from the wire such messages are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from ..protocols import (
    auctions,
    batch_words,
    blobs,
    carrier,
    commitment,
    commitment_events,
    commitment_words,
    contract_net,
    custody,
    dry_batches,
    gang_words,
    gossip,
    leader,
    membership,
    participant,
    performatives,
    planning,
    reckoning,
    requests,
    retelling,
    rounds,
    seeking,
    service,
    sessions,
    swim_words,
)
from ..protocols.auctions import KnockedDown
from ..protocols.award_rules import CONTRACT_NET, Rule
from ..protocols.batch_words import CloseBatch, Divided, OpenBatch
from ..protocols.batches import NEVER, Policy
from ..protocols.commitment_words import Begin, Chosen, Entry, HeldFast, Overruled, Permitted, Pledge, Talk
from ..protocols.contract_events import EVENTS as CONTRACT_EVENTS
from ..protocols.core import (
    Effect,
    Event,
    Local,
    Message,
    NodeId,
    PeerDown,
    PeerError,
    PeerUp,
    Protocol,
    Publish,
    Resume,
    Send,
    Stop,
)
from ..protocols.distances import Distances
from ..protocols.gang_words import (
    Commence,
    Dismiss,
    Enlist,
    Enlisted,
    Lead,
    Prolong,
    Prolonged,
    Reserve,
    Reserved,
    Returned,
    Said,
    Unreserved,
    Withdraw,
)
from ..protocols.gate import GATED, Gate, Recorded
from ..protocols.performatives import (
    Availability,
    Award,
    CallForProposals,
    Cancel,
    Completed,
    Credit,
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
    Refusal,
    Rejection,
    Renew,
)
from ..protocols.probing import Probes
from ..protocols.requests import AskDivision, AskPlan, NodeLine
from ..protocols.reserves import SEAT
from ..protocols.seeking import Seek, Sought
from .estimator import Estimator
from .payload import hand_on, joined
from .resources import Listed, NoShelf, Resources, Shelf, Shop
from .valuation import earliest_finish

MESSAGES: tuple[type[Message], ...] = (
    *performatives.MESSAGES,
    *gang_words.MESSAGES,
    *swim_words.MESSAGES,
    *requests.MESSAGES,
    *blobs.MESSAGES,
    *commitment_words.MESSAGES,
    *seeking.MESSAGES,
    *auctions.MESSAGES,
    *batch_words.MESSAGES,
    *rounds.MESSAGES,
    *gossip.MESSAGES,
    *retelling.MESSAGES,
)
"""All that may come over the wire."""
EVENTS: tuple[type[Event], ...] = (
    *swim_words.EVENTS,
    *service.EVENTS,
    *CONTRACT_EVENTS,
    *gang_words.EVENTS,
    *auctions.EVENTS,
    *commitment_events.EVENTS,
    *batch_words.EVENTS,
    *rounds.EVENTS,
    *gossip.EVENTS,
    *reckoning.EVENTS,
)
"""All that its roles may tell the log."""
_OF_EXECUTORS = frozenset({Lead, Stop, Resume})
"""What a leader does in the place of an executor, where a gang is meant."""
CHANGES: dict[str, tuple[str, ...]] = {
    "membership": ("membership",),
    "commitment": ("commitment", "carrier"),
    "initiator": ("initiator", "commitment"),
    "planner": ("planner",),
    "dry_batches": ("dry_batches",),
    "participant": ("participant", "commitment"),
    "service": ("service", "initiator", "participant", "carrier", "commitment"),
    "leader": ("leader",),
    "carrier": ("carrier",),
    "auctioneer": ("auctioneer",),
    "bidder": ("bidder", "participant", "commitment"),
    "sessions": ("sessions",),
    "retelling": ("retelling",),
}
"""What each role changes when it is told something: itself, and those whose verbs it calls. Roles go by their place."""
_PLACES = {name: place for place, name in enumerate(CHANGES)}
_TOUCHED = {name: frozenset([_PLACES[changed] for changed in changes]) for name, changes in CHANGES.items()}
_TOUCHED_BY = tuple(_TOUCHED.values())
_SPEAKS: tuple[tuple[str, tuple[type[Message], ...]], ...] = (
    ("membership", (*swim_words.MESSAGES, *membership.LISTENS)),
    (
        "initiator",
        (Proposal, Refusal, Inform, Failure, Renew, Availability, NotUnderstood, KnockedDown, PeerUp, PeerDown),
    ),
    (
        "participant",
        (CallForProposals, Award, Rejection, Cancel, Fenced, Finished, Output, Grant, Kept, PeerUp, PeerDown),
    ),
    ("planner", (AskPlan, PeerUp, PeerDown)),
    ("commitment", (Pledge, Talk, PeerUp, PeerDown)),
    (
        "service",
        (*requests.QUESTIONS, Credit, Printed, Completed, HeldFast, Permitted, Overruled, Chosen, Seek, Sought),
    ),
    ("initiator", (Permitted, Overruled, Chosen, Divided)),
    ("dry_batches", (AskDivision, Divided, PeerUp, PeerDown)),
    ("sessions", (OpenBatch, CloseBatch, *rounds.MESSAGES, *gossip.MESSAGES, PeerUp, PeerDown)),
    ("participant", (Begin, Overruled, Chosen)),
    ("initiator", (Reserved, Unreserved)),
    ("participant", (Reserve, Withdraw, Enlist, Commence, Prolong, Dismiss)),
    ("leader", (Enlisted, Prolonged, Returned, Said, Unreserved, PeerDown)),
    ("carrier", carrier.LISTENS),
    ("auctioneer", auctions.TO_AUCTIONEER),
    ("bidder", auctions.TO_BIDDER),
    ("retelling", (retelling.AskLines, retelling.LinesFound)),
)
_GATHERERS = {
    "run": "participant",
    "result": "initiator",
    SEAT: "participant",
    leader.RETURNED: "leader",
    "book": "service",
    custody.HELD: "commitment",
}
"""Who wanted what the carrier has gathered."""


class _Route(NamedTuple):
    """Who is told a message, and of whom it has to be asked anew when they want to be woken; all by place."""

    to: tuple[int, ...]
    touched: frozenset[int]


def _to(*names: str) -> _Route:
    return _Route(tuple([_PLACES[name] for name in names]), frozenset().union(*[_TOUCHED[name] for name in names]))


def _routing() -> dict[type[Message], _Route]:
    names: dict[type[Message], tuple[str, ...]] = {}
    for name, messages in _SPEAKS:
        for message in messages:
            names[message] = (*names.get(message, ()), name)
    return {message: _to(*those) for message, those in names.items()}


_ROUTES = _routing()
_TO_PLANNER = _to("planner")
_TO_GATHERER = {kind: _to(name) for kind, name in _GATHERERS.items()}
_TO_NOBODY = _to()


class Agent:
    """The roles of one node, put together.

    `now` is the monotonic time at which it begins; `seed` decides every random choice it makes; `shop` is what its
    executors offer (default: what its resources list), `own` what its owner makes of its usual valuation; `shelf` is
    where its large values lie (default: it takes none). `entries` are what its former lives recorded, and `recording`
    whether this one does: `Record` must then be answered with `Recorded`. A task handed in here is to have `holders`;
    `policy` says how batches of them are divided, and `probes` who is asked about the others (None: all).
    """

    def __init__(
        self,
        contact: swim_words.Contact,
        resources: Resources,
        now: float,
        *,
        seed: int = 0,
        rule: Rule = CONTRACT_NET,
        shop: Shop | None = None,
        own: Callable[[participant.Valuation], participant.Valuation] = lambda usual: usual,
        shelf: Shelf | None = None,
        entries: Sequence[Entry] = (),
        recording: bool = False,
        holders: int = 1,
        policy: Policy = NEVER,
        probes: Probes | None = None,
    ) -> None:
        shelf = shelf if shelf is not None else NoShelf()
        self.node = contact.node
        self._resources = resources
        self._shop = shop if shop is not None else Listed(resources.allow)
        self.estimator = Estimator(resources.speed)
        self.distances = Distances()
        self.membership = membership.Membership(
            contact,
            now,
            self.status,
            lambda node, told: self.estimator.told(node, told.estimates),
            Random(f"{seed} {contact.node} {contact.incarnation}"),
            self.distances.answered,
        )
        self._gate = Gate(recording)
        self.carrier = carrier.Carrier(contact.node, shelf.holds, self.distances.carried)
        self.commitment = commitment.Commitment(
            contact.holder or contact.node,
            contact.incarnation,
            Random(f"commitment {seed} {contact.node} {contact.incarnation}"),
            now,
            entries,
            holder_of=self._holder_of,
            recording=recording,
            contracted=lambda task: task in self.initiator,
            carrier=self.carrier,
            kept_bytes_max=shelf.bytes_max // 4,
        )
        if rule is not CONTRACT_NET:
            policy = NEVER
        self.initiator = contract_net.Initiator(
            contact.node, contact.incarnation, seed, rule, self.commitment, probes, policy
        )
        self.planner = planning.Planner(contact.node, contact.incarnation, seed, rule)
        self.dry_batches = dry_batches.DryBatches(contact.node, contact.incarnation, seed, policy)
        usual = earliest_finish(contact.node, resources, self._shop, self.estimator, shelf.knows, self.distances)
        self.participant = participant.Participant(
            contact.node,
            resources.slots,
            resources.speed,
            own(usual),
            self.estimator.observe,
            resources.amounts,
            self.commitment,
        )
        self.leader = leader.Leader(contact.node, joined)
        self.auctioneer = auctions.Auctioneer(contact.node, contact.incarnation)
        self.bidder = auctions.Bidder(contact.node, self.participant.quote, self.participant.lose)
        self.sessions = sessions.Sessions(contact.node, self.participant.column)
        self.service = service.Service(
            self.initiator,
            self.participant,
            self._lines,
            hand_on,
            self.carrier,
            shelf.bytes_max // 2,
            self.commitment,
            holders,
        )
        self.retelling = retelling.Retelling()
        self._reckoning = reckoning.Reckoning(
            lambda: [(seen.node, seen.slots, seen.speed) for seen, _ in self.membership.members]
        )
        self._roles: tuple[Protocol, ...] = tuple([getattr(self, name) for name in CHANGES])
        self._due = [math.inf] * len(self._roles)  # when each wants to be woken; infinity: not at all
        self._stale = set(range(len(self._roles)))  # those of which that has to be asked anew
        self._earliest = math.inf  # of all, unless there are such
        for role in (self.initiator, self.planner, self.dry_batches):
            role.receive(PeerUp(self.node), self.node, now)

    def status(self) -> swim_words.Status:
        """What it tells of itself."""
        running, waiting, queued_s = self.participant.load()
        tags = (*self._resources.tags, *self._shop.tags)
        amounts = tuple(sorted(self._resources.amounts.items()))
        estimates = self.estimator.estimates
        draining = self.participant.draining
        told = tags[: swim_words.TAGS_TOLD_MAX]
        lag_s = round(self.membership.health.lag_s, 2)
        return swim_words.Status(told, amounts, running, waiting, queued_s, draining, estimates, lag_s)

    def _lines(self) -> list[NodeLine]:
        """The fleet, as clients are told it."""
        seen = self.membership
        return [
            NodeLine(
                contact.node,
                contact.incarnation,
                state,
                seen.ready(contact.node),
                contact.address,
                contact.slots,
                contact.speed,
                seen.status(contact.node),
                contact.holder,
            )
            for contact, state in seen.members
        ]

    def join(self, alias: NodeId, now: float) -> Sequence[Effect]:
        """Enter the fleet through the agent behind this address."""
        self._stale |= _TOUCHED["membership"]
        return self._settle(self.membership.join(alias), now)

    def drain(self, now: float) -> Sequence[Effect]:
        """Take no more work: what waits here goes back, what runs ends, what was handed in here is seen through."""
        self._stale |= _TOUCHED["service"]
        return self._settle(self.service.drain(now), now)

    @property
    def drained(self) -> bool:
        """It was told to drain, and nothing is left to do."""
        if not self.participant.draining:
            return False
        participant = self.participant
        at_work = participant.load()[0] or participant.leading or participant.left_behind or self.initiator.open_tasks
        return not (at_work or self.commitment.busy)

    def leave(self, now: float) -> Sequence[Effect]:
        """Tell all that this node goes."""
        self._stale |= _TOUCHED["membership"]
        return self._settle(self.membership.leave(), now)

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if sender == self.node:
            if isinstance(message, Recorded):
                return self._settle(list(self._gate.recorded(message.number)), now)
            return self._settle(self._route(message, sender, now), now)
        if isinstance(message, Local):
            raise PeerError(f"{sender} sent {type(message).__name__}, which only this node may tell itself")
        heard = self.membership.heard(sender, now)
        effects = self._route(message, sender, now)
        if heard:
            effects = [*heard, *effects]
        return self._settle(effects, now) if effects else effects

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        place, many = 0, len(self._roles)
        while self._soonest() <= now:  # each role once, in their order
            due = self._due
            while place < many and due[place] > now:
                place += 1
            if place == many:
                break
            effects += self._roles[place].wake(now)
            self._stale |= _TOUCHED_BY[place]
            place += 1
        return self._settle(effects, now)

    @property
    def recorded(self) -> int:
        """The number of the last `Record`."""
        return self._gate.number

    def refuse(self, why: str, now: float) -> Sequence[Effect]:
        """Take no new work, because of this, and keep no award whose answer is not on disk; empty: take it again."""
        self.service.refusing = self.participant.refusing = why
        if not why:
            return ()
        self._stale |= _TOUCHED["commitment"]
        return self._settle(self.commitment.unrecorded(self._gate.unanswered, now), now)

    def address_of(self, node: NodeId) -> str:
        """Where the agent of a node is reached; empty: it is not known."""
        known = node == self.node or self.membership.life_of(node)
        return self.membership.contact_of(node).address if known else ""

    def _holder_of(self, node: NodeId) -> NodeId:
        contact = self.membership.contact_of(node)
        return contact.holder or contact.node

    @property
    def deadline(self) -> float | None:
        earliest = self._soonest()
        return None if earliest == math.inf else earliest

    def _soonest(self) -> float:
        """When the first of them wants to be woken; those are asked that may have changed their minds."""
        stale = self._stale
        if stale:
            due, roles = self._due, self._roles
            for place in stale:
                deadline = roles[place].deadline
                due[place] = math.inf if deadline is None else deadline
            stale.clear()
            self._earliest = min(due)
        return self._earliest

    def _route(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        kind = type(message)
        route = _ROUTES.get(kind)
        if route is None:
            route = _to_gatherer(message, sender)
        elif (kind is Proposal or kind is Refusal) and self.planner.called(message.auction):  # type: ignore[attr-defined]
            route = _TO_PLANNER
        to, touched = route
        self._stale |= touched
        roles = self._roles
        if len(to) == 1:
            return roles[to[0]].receive(message, sender, now)
        return [effect for place in to for effect in roles[place].receive(message, sender, now)]

    def _leads(self, effect: Effect) -> bool:
        """What the participant wants done is the leader's to do, and no executor's."""
        match effect:
            case Stop(task, epoch) | Resume(task, epoch):
                return self.leader.leads(task, epoch)
        return type(effect) is Lead

    def _settle(self, effects: Sequence[Effect], now: float) -> list[Effect]:
        """Deliver what this node says to itself, until only effects for the outside are left."""
        out: list[Effect] = []
        if not effects:
            return out
        passes, node, judged, gated = self._gate.passes, self.node, reckoning.Reckoning.LISTENS, GATED
        turns = [effects]  # grows while it is gone through
        for turn in turns:
            for effect in turn:
                kind = type(effect)
                if kind in gated:
                    if not passes(effect):
                        continue
                    if kind is Send:
                        if effect.to == node:  # type: ignore[attr-defined]
                            turns.append(self._route(effect.message, node, now))  # type: ignore[attr-defined]
                            continue
                    elif kind in _OF_EXECUTORS and self._leads(effect):
                        self._stale |= _TOUCHED["leader"]
                        turns.append(self.leader.perform(effect, now))
                        continue
                out.append(effect)
                if kind is Publish:
                    turns.append(self._route(effect.message, node, now))  # type: ignore[attr-defined]
                elif kind in judged and (reached := self._reckoning.tell(effect, now)):  # type: ignore[arg-type]
                    out.append(reached)
        return out


def _to_gatherer(message: Message, sender: NodeId) -> _Route:
    """Who wanted what has been gathered."""
    if not isinstance(message, blobs.Gathered):
        raise PeerError(f"{sender} sent {type(message).__name__}, which an agent is not told")
    return _TO_GATHERER.get(message.key[0], _TO_NOBODY)
