"""The checks of `verify`, one per event: from what its line and other lines say, the same must follow again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...protocols.auctions import AuctionClosed, PriceTried, outcome
from ...protocols.award_rules import RULES, Offer
from ...protocols.batch_words import PROTOCOL
from ...protocols.contract_events import (
    AuctionAwarded,
    AuctionPlanned,
    BidLine,
    BidSubmitted,
    DeclineLine,
    StepLine,
)
from ...protocols.core import Event, Task
from ...protocols.gangs import GANG
from ...protocols.load import Outlook
from ...protocols.open_cry import lot_of
from ...protocols.performatives import Reason
from .divisions import check_share
from .evidence import Evidence, Place
from .gangs import check_gang

JUDGED = frozenset({Reason.BUSY, Reason.REPLICA, Reason.RESERVE, Reason.OUTBID})
"""Why an initiator itself counts a bidder as declining: its node has logged no such thing."""
SEED_MASK = 0xFFFFFFFF


def own_s(terms: dict[str, float]) -> float:
    """All but the first, which is the queue; summed as a bid's are."""
    return sum(list(terms.values())[1:])


def check_bid(evidence: Evidence, place: Place, event: Event) -> bool:
    assert isinstance(event, BidSubmitted)
    total = sum(list(event.terms.values()))
    if total != event.cost:
        evidence.differs(place, "cost", event.cost, total)
    opened = evidence.opened.get((event.peer, event.auction))
    if opened is not None and event.task not in opened.tasks:  # whoever hears it may bid, invited or not
        evidence.differs(place, "auction", event.auction, f"one of {event.peer} for {event.task}")
    elif opened is None and evidence.tells_all(event.peer, place.hlc):
        evidence.differs(place, "auction", event.auction, f"one that {event.peer} has opened")
    return True


# --- an award by itself, and beside the logs of its bidders ----------------------------------------------------------


def check_award(evidence: Evidence, place: Place, event: Event) -> bool:
    assert isinstance(event, AuctionAwarded)
    award = event
    _counted(evidence, place, award)
    _epoch(evidence, place, award)
    if award.rule == PROTOCOL:
        _seed_of_its_node(evidence, place, award)
        _nothing_free(evidence, place, award)
        return check_share(evidence, place, award)
    _award_itself(evidence, place, award)
    if award.auction in evidence.closed:
        _award_of_open_cry(evidence, place, award)
        return True
    opened = evidence.opened.get((place.node, award.auction))
    if opened is not None and award.task not in opened.tasks:
        evidence.differs(place, "auction", award.auction, f"one for {award.task}")
    elif opened is None and evidence.tells_all(place.node, 0):
        evidence.differs(place, "auction", award.auction, "one that was opened")
    invited = evidence.invited.get((place.node, award.task), set())
    for node in award.silent:
        if invited and node not in invited:
            evidence.differs(place, "silent", node, sorted(invited))
    for bid in award.bids:
        _bid_as_logged(evidence, place, award, bid)
    for decline in award.declines:
        _decline_as_logged(evidence, place, award, decline)
    step = evidence.steps.get((place.file, place.life, award.number))
    if award.rule == GANG:  # the plan goes on without it, until its nodes have told what they keep
        _seed_of_its_node(evidence, place, award)
        check_gang(evidence, place, award)
    elif step is None:
        if not award.number:
            evidence.cannot("awards of an older Parley, without their plan: their order was not recomputed")
        elif evidence.gaps or place.line > evidence.last_plan.get((place.file, place.life), 0):
            evidence.cannot("awards whose plan is not in the log: their order was not recomputed")
        else:
            evidence.differs(place, "number", award.number, "one that a plan has")
    else:
        _award_as_planned(evidence, place, award, *step[1:])
    return True


def _award_itself(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """Bids add up, and under the rule they lead to this winner."""
    for bid in award.bids:
        total = next(iter(bid.terms.values()), 0.0) + own_s(bid.terms)
        if total != bid.cost:
            evidence.differs(place, f"bids[{bid.node}].cost", bid.cost, total)
    rule = RULES.get(award.rule)
    if rule is None and award.rule != GANG:
        evidence.differs(place, "rule", award.rule, list(RULES))
        return
    offers = [
        Offer(bid.node, next(iter(bid.terms.values()), 0.0), own_s(bid.terms), bid.free, bid.speed)
        for bid in award.bids
    ]
    if not offers:
        evidence.differs(place, "bids", [], "at least the winner's")
        return
    if rule is None:  # a gang's: who leads it, `check_gang` looks at
        best = next((offer for offer in offers if offer.node == award.winner), offers[0])
    else:
        best = rule.choose(offers, award.seed)
    pay = rule.pay if rule is not None else None
    second = min(
        [offer for offer in offers if offer is not best], key=lambda offer: (offer.cost, offer.node), default=None
    )
    payment = pay(best, offers, award.reserve) if pay is not None else None
    told = {
        "winner": (award.winner, best.node),
        "cost": (award.cost, best.cost),
        "runner_up": (award.runner_up, second.node if second else None),
        "margin": (award.margin, second.cost - best.cost if second else None),
        "payment": (award.payment, payment),
    }
    for field, (logged, recomputed) in told.items():
        if logged != recomputed:
            evidence.differs(place, field, logged, recomputed)
    if pay is None and award.reserve != 0.0:
        evidence.differs(place, "reserve", award.reserve, 0.0)
    if 0.0 < award.reserve < best.cost:
        evidence.differs(place, "reserve", award.reserve, f"at least {best.cost}")


def _counted(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """The awards of a life are numbered from 1, in order; what its bidders have is what they said when they started."""
    number = evidence.numbers[place]
    counts = (place.file, place.life) in evidence.counting and not evidence.lacks_lines(place.file)
    if counts and award.number != number:
        evidence.differs(place, "number", award.number, number)
    if award.auction in evidence.closed:
        return
    for bid in award.bids:
        speeds = {speed for _, speed in evidence.capacity.get(bid.node, ())}
        if speeds and bid.speed not in speeds:
            evidence.differs(place, f"bids[{bid.node}].speed", bid.speed, sorted(speeds))


def _seed_of_its_node(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """Where no plan is behind it, it is the one that everything else in this life was made with."""
    told = evidence.seeds[place.file, place.life]
    others = {seed: count for seed, count in told.items() if seed != award.seed}
    if others and max(others.values()) >= told[award.seed]:
        evidence.differs(place, "seed", award.seed, max(others, key=others.__getitem__))


def _nothing_free(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """Where free slots do not count, none are told."""
    for bid in award.bids:
        if bid.free:
            evidence.differs(place, f"bids[{bid.node}].free", bid.free, 0)


def _epoch(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """Each is awarded once in a life of a node (two nodes may open one of the same number, of which one is fenced); and
    of each that has ended somebody has told more than the award, if only its owner, that it has asked for it."""
    awarded, told = evidence.awarded[award.task], evidence.epochs.get(award.task, set())
    if (place.node, award.task, award.epoch) in evidence.asked_for:
        told = {*told, award.epoch}
    own = [epoch for at, epoch in awarded if (at.file, at.life) == (place.file, place.life)]
    if own.count(award.epoch) > 1:
        evidence.differs(place, "epoch", award.epoch, f"one of {sorted(told)}, each once")
    elif award.epoch not in told and (award.task in evidence.committed or place != max(awarded)[0]):
        if evidence.tells_all(award.winner, place.hlc) and not evidence.was_killed(award.winner, place.hlc, math.inf):
            evidence.differs(place, "epoch", award.epoch, f"one of {sorted(told)}")
        else:
            evidence.cannot("epochs that were not compared: the log of the winner is missing or ends before")


def _award_of_open_cry(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """What was knocked down is what is awarded; its one bid has the price, and nothing else."""
    at, closed = evidence.closed[award.auction]
    told = {"winner": (award.winner, closed.winner), "cost": (award.cost, closed.price)}
    told |= {f"bids[{bid.node}].speed": (bid.speed, 0.0) for bid in award.bids}
    for field, (logged, recomputed) in told.items():
        if logged != recomputed:
            evidence.differs(place, field, logged, recomputed)
    _nothing_free(evidence, place, award)
    if award.reserve != closed.reserve:
        _both(evidence, (place, "reserve", award.reserve), at, "reserve", closed.reserve)
    _seed_of_its_node(evidence, place, award)


def _bid_as_logged(evidence: Evidence, place: Place, award: AuctionAwarded, bid: BidLine) -> None:
    """The award has it as its bidder said it, but for the queue, which the plan knows better."""
    if not evidence.is_sound(place):
        return
    own = dict(list(bid.terms.items())[1:])
    told = [
        (at, said)
        for at, said in evidence.bids.get((bid.node, award.task, place.node), ())
        if at.hlc < place.hlc
    ]  # fmt: skip
    for _, said in told:
        if (dict(list(said.terms.items())[1:]), said.observations, said.factor) == (own, bid.observations, bid.factor):
            return
    if not evidence.tells_all(bid.node, place.hlc, evidence.called.get((place.node, award.task), 0)):
        evidence.cannot("bids that were not compared: the log of their bidder is missing or ends before")
        return
    if not told:
        evidence.differs(place, f"bids[{bid.node}]", bid.cost, f"no bid in the log of {bid.node}")
        return
    at, said = told[-1]
    if not evidence.is_sound(at):
        return
    for term in {**own, **dict(list(said.terms.items())[1:])}:
        if own.get(term) != said.terms.get(term):
            _both(
                evidence,
                (place, f"bids[{bid.node}].terms.{term}", own.get(term)),
                at,
                f"terms.{term}",
                said.terms.get(term),
            )
            return
    for field in ("observations", "factor"):
        here, there = getattr(bid, field), getattr(said, field)
        if here != there:
            _both(evidence, (place, f"bids[{bid.node}].{field}", here), at, field, there)
            return


def _both(evidence: Evidence, here: tuple[Place, str, object], at: Place, field: str, there: object) -> None:
    """Two lines that contradict each other, and neither itself."""
    place, name, value = here
    evidence.differs(place, name, value, there)
    evidence.differs(at, field, there, value)


def _decline_as_logged(evidence: Evidence, place: Place, award: AuctionAwarded, decline: DeclineLine) -> None:
    told = [
        said
        for at, said in evidence.declines.get((decline.node, award.task, place.node), ())
        if at.hlc < place.hlc
    ]  # fmt: skip
    if any((said.reason, said.detail) == (decline.reason, decline.detail) for said in told):
        return
    if decline.reason in JUDGED and evidence.bids.get((decline.node, award.task, place.node)):
        return
    if not evidence.tells_all(decline.node, place.hlc, evidence.called.get((place.node, award.task), 0)):
        evidence.cannot("declines that were not compared: the log of their node is missing or ends before")
        return
    said_words = f"{told[-1].reason}: {told[-1].detail}" if told else f"none in the log of {decline.node}"
    evidence.differs(place, f"declines[{decline.node}]", f"{decline.reason}: {decline.detail}", said_words)


# --- an award beside its plan, and a plan by itself ------------------------------------------------------------------


def _award_as_planned(
    evidence: Evidence, place: Place, award: AuctionAwarded, plan: AuctionPlanned, step: StepLine
) -> None:
    told: dict[str, tuple[object, object]] = {
        "task": (award.task, step.task),
        "winner": (award.winner, step.node),
        "rule": (award.rule, plan.rule),
        "seed": (award.seed, (plan.seed + step.key[3] + _epoch_before(evidence, place, award)) & SEED_MASK),
    }
    if (rule := RULES.get(award.rule)) is not None and rule.pay is not None:
        told["reserve"] = (award.reserve, -step.key[1])
    for field, (logged, recomputed) in told.items():
        if logged != recomputed:
            evidence.differs(place, field, logged, recomputed)
    speeds = {outlook.node: outlook.speed for outlook in plan.outlooks}
    for bid in award.bids:
        if speeds.get(bid.node, bid.speed) != bid.speed:
            evidence.differs(place, f"bids[{bid.node}].speed", bid.speed, speeds[bid.node])


def _epoch_before(evidence: Evidence, place: Place, award: AuctionAwarded) -> int:
    """Of this task, under this arrival at this initiator; 0: it is the first."""
    before = 0
    for at, epoch in sorted(evidence.awarded[award.task]):
        if (at.file, at.life) == (place.file, place.life) and at.line < place.line:
            before = epoch
    return before


def check_plan(evidence: Evidence, place: Place, event: Event) -> bool:
    """Gone through once more, from the same queues; False if it cannot be, since an award of it is not in the log."""
    assert isinstance(event, AuctionPlanned)
    _order(evidence, place, event)
    outlooks = {line.node: Outlook(line.ready_s, line.waiting, line.waiting_s) for line in event.outlooks}
    for step in event.steps:
        if step.number:
            made = evidence.awards.get((place.file, place.life, step.number))
            if made is None:
                if evidence.gaps:
                    evidence.cannot("plans with an award that is not in the log: the rest of them was not recomputed")
                    return False
                evidence.differs(place, f"steps[{step.task}].number", step.number, "one that an award has")
                return True
            if not evidence.is_sound(made[0]) or not _met(evidence, place, step, outlooks, *made):
                return True
        if step.node is None:
            continue
        outlook = outlooks.get(step.node)
        if outlook is None:
            evidence.differs(place, f"steps[{step.task}].node", step.node, sorted(outlooks))
            return True
        if step.number and not outlook.room(step.own_s):
            evidence.differs(place, f"steps[{step.task}].own_s", step.own_s, f"no room on {step.node}")
            return True
        outlook.take(step.own_s)
    return True


def _order(evidence: Evidence, place: Place, plan: AuctionPlanned) -> None:
    """Tasks stand in the rule's order; each keeps its arrival."""
    rule = RULES.get(plan.rule)
    if rule is None:
        evidence.differs(place, "rule", plan.rule, list(RULES))
        return
    before: StepLine | None = None
    for step in plan.steps:
        field = f"steps[{step.task}].key"
        other = evidence.arrivals[place.file, place.life, step.key[3]]
        if step.task != other:
            evidence.differs(place, field, step.key[3], f"the arrival of {other} only")
        if step.task in evidence.works:
            order, _ = rule.order(Task(step.task, "", evidence.works[step.task]), step.key[3])
            if step.key[2] != order:
                evidence.differs(place, field, step.key[2], order)
        if before is not None and not before.key < step.key:
            evidence.differs(place, field, str(step.key), f"behind {before.key}")
        before = step


def _met(
    evidence: Evidence, place: Place, step: StepLine, outlooks: dict[str, Outlook], at: Place, award: AuctionAwarded
) -> bool:
    """The queues that the bids of this award were made on are those of the plan at that step."""
    for bid in award.bids:
        outlook = outlooks.get(bid.node)
        queue = next(iter(bid.terms.values()), 0.0)
        if outlook is None:
            evidence.differs(place, "outlooks", sorted(outlooks), f"{bid.node} among them")
            return False
        if queue != outlook.ready_s:
            name = f"bids[{bid.node}].terms.{next(iter(bid.terms))}"
            _both(evidence, (at, name, queue), place, f"outlooks[{bid.node}].ready_s", outlook.ready_s)
            return False
        if bid.free != outlook.free:
            _both(evidence, (at, f"bids[{bid.node}].free", bid.free), place, f"outlooks[{bid.node}]", outlook.free)
            return False
        if bid.node == step.node and own_s(bid.terms) != step.own_s:
            evidence.differs(place, f"steps[{step.task}].own_s", step.own_s, own_s(bid.terms))
            return False
    return True


# --- sold in the open ------------------------------------------------------------------------------------------------


def check_close(evidence: Evidence, place: Place, event: Event) -> bool:
    assert isinstance(event, AuctionClosed)
    tried = evidence.prices.get(event.auction, [])
    try:
        lot = lot_of(event.form, event.reserve)
    except ValueError as error:
        evidence.differs(place, "reserve", event.reserve, str(error))
        return True
    for field in ("start", "step"):
        if getattr(event, field) != getattr(lot, field):
            evidence.differs(place, field, getattr(event, field), getattr(lot, field))
            return True
    sold = outcome(lot, [line for _, line in tried], event.gone)
    logged = (event.winner, event.price) if event.winner is not None and event.price is not None else None
    if sold != logged:
        evidence.differs(place, "price", event.price if event.price is not None else event.winner, str(sold))
    if not evidence.lacks_lines(place.file):
        _in_turn(evidence, event, tried)
    for at, line in tried:
        if line.price != (price := lot.price(line.steps)):
            evidence.differs(at, "price", line.price, price)
    return True


def _in_turn(evidence: Evidence, event: AuctionClosed, tried: Sequence[tuple[Place, PriceTried]]) -> None:
    """Prices are called one after the other, a step apart; anew, if who had it is gone."""
    number, steps = 0, -1
    for at, line in tried:
        anew = bool(event.gone) and line.number > number and line.steps == 0
        for field, logged, recomputed in (("number", line.number, number + 1), ("steps", line.steps, steps + 1)):
            if logged != recomputed and not anew:
                evidence.differs(at, field, logged, recomputed)
        number, steps = (line.number, line.steps) if anew else (number + 1, steps + 1)
