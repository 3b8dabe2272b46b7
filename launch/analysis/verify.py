"""Is what the logs say true? Every award of a run, and what it was made from, is recomputed and compared.

    bid.submit     its terms must add up to its cost
    auction.award  each bid must be what its bidder logged; the rule, applied to the bids, must give this winner, cost,
                   runner-up, margin and payment; plan, arrival and epoch must give this seed
    auction.plan   its tasks must stand in the rule's order, and with the awards before each the queues at all bidders
                   must be those that the bids of the next were made on, with room where it went
    auction.close  the prices called must give this winner at this price
    price.round, batch.divided, trade.meet    see `divisions.py`
    gang.reserve, member.start                see `gangs.py`
    metric.objective                          see `reckonings.py`

The code that recomputes is the protocols' own (`award_rules`, `load`, `auctions`), so a difference is one of the
record, not of two implementations; `CHECKS` says which check an event is given to. Where two lines contradict each
other and both are sound in themselves, both are named. What cannot be compared, since the log of a node is missing or
ends too soon, is noted and is no difference.

Invariant: numbers are compared exactly. They were written with all their digits, and are computed in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...agents.node_events import NodeStarted, NodeStopped
from ...protocols.auctions import AuctionClosed, PriceTried
from ...protocols.batch_words import BatchColumn, BatchDivided, BatchMoved, BatchOpened, PriceRound, TradeMet
from ...protocols.commitment_events import EpochFenced, EpochOpened
from ...protocols.commitment_words import Why
from ...protocols.contract_events import (
    AuctionAwarded,
    AuctionOpened,
    AuctionPlanned,
    BidDeclined,
    BidSubmitted,
    TaskAccepted,
    TaskCommitted,
    TaskEnded,
    TaskLost,
    TaskStarted,
)
from ...protocols.core import Event
from ...protocols.gang_words import GangReserving, MemberStarted, ReserveHeld
from ...protocols.reckoning import ObjectiveReached
from ...protocols.service import TaskSubmitted
from .checks import check_award, check_bid, check_close, check_plan
from .divisions import check_column, check_division, check_meeting, check_price
from .evidence import Difference, Evidence, Place
from .gangs import check_member, check_reserving
from .logfile import Gap
from .reckonings import Reckoned, check_capacity
from .run import KNOWN, open_run, understand

_NAMES = {event.name for event in KNOWN}


class Verdict(msgspec.Struct, frozen=True):
    """What `parley verify --json` prints. `checked` counts the events that were recomputed, `awards` those awarded."""

    events: int
    awards: int
    checked: int
    differences: tuple[Difference, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.differences and not self.gaps


CHECKS: Mapping[type[Event], Callable[[Evidence, Place, Event], bool]] = {
    BidSubmitted: check_bid,
    AuctionAwarded: check_award,
    AuctionPlanned: check_plan,
    AuctionClosed: check_close,
    PriceRound: check_price,
    BatchColumn: check_column,
    BatchDivided: check_division,
    TradeMet: check_meeting,
    ObjectiveReached: check_capacity,
    GangReserving: check_reserving,
    MemberStarted: check_member,
}
"""Each answers whether it could compare; what it finds it leaves in the evidence."""


def verify(path: Path) -> Verdict:
    """Recompute the run in this folder. Raises RunError."""
    run = open_run(path)
    evidence = Evidence()
    events = awards = 0
    for file in run.files:
        life = 0
        reckoned = Reckoned(evidence)
        for number, head, line in file.numbered():
            events += 1
            if head.event == NodeStarted.name:
                life += 1
            place = Place(file.path.name, number, head.node, life, head.hlc)
            evidence.seen(place, began=head.event == NodeStarted.name, ended=head.event == NodeStopped.name)
            event = understand(head, line)
            if event is None:
                if head.event in _NAMES:
                    evidence.differs(place, "the line", line.decode("utf-8", "replace")[:200], f"a {head.event}")
                continue
            _keep(evidence, place, event)
            reckoned.tell(place, event, head.mono, not file.missing and not file.unreadable)
            awards += isinstance(event, AuctionAwarded)
        evidence.gaps += file.gaps
    if not events:
        raise run.empty
    evidence.to_check.sort(key=lambda told: told[0].hlc)  # so what a line stands on is checked before it
    checked = sum(CHECKS[type(event)](evidence, place, event) for place, event in evidence.to_check)
    differences = sorted(evidence.differences, key=lambda one: (one.file, one.line))
    return Verdict(events, awards, checked, tuple(differences), tuple(evidence.gaps), (*run.damage, *evidence.notes()))


def _keep(evidence: Evidence, place: Place, event: Event) -> None:
    """Where the checks look for it."""
    match event:
        case NodeStarted():
            evidence.capacity.setdefault(place.node, set()).add((event.slots, event.speed))
        case BidSubmitted():
            evidence.bids.setdefault((place.node, event.task, event.peer), []).append((place, event))
        case BidDeclined():
            evidence.declines.setdefault((place.node, event.task, event.peer), []).append((place, event))
        case AuctionOpened():
            evidence.opened[place.node, event.auction] = event
            for task in event.tasks:
                evidence.invited.setdefault((place.node, task), set()).update(event.invitees)
                evidence.called.setdefault((place.node, task), place.hlc)
        case AuctionAwarded():
            evidence.award_made(place, event)
        case AuctionPlanned():
            evidence.plan_made(place, event)
        case TaskSubmitted():
            evidence.works[event.task] = event.work
        case TaskAccepted() | TaskStarted() | TaskEnded() | TaskLost() | EpochFenced():
            evidence.epochs.setdefault(event.task, set()).add(event.epoch)
        case EpochOpened(reason=reason) if reason != Why.MOVE.name.lower():
            evidence.asked_for.add((place.node, event.task, event.epoch))
        case TaskCommitted():
            evidence.epochs.setdefault(event.task, set()).add(event.epoch)
            evidence.committed.add(event.task)
        case GangReserving():
            evidence.reserving[place.file, event.auction, event.task] = (place, event)
        case ReserveHeld():
            evidence.reserved[place.node, event.auction, event.task] = event.members
        case PriceTried():
            evidence.prices.setdefault(event.auction, []).append((place, event))
        case AuctionClosed():
            evidence.closed[event.auction] = (place, event)
        case BatchOpened():
            evidence.batches[event.session] = (place, event)
        case BatchColumn():
            evidence.columns.setdefault(event.session, {})[place.node] = (place, event)
        case PriceRound():
            rounds = evidence.rounds.setdefault(event.session, {})
            rounds.setdefault((place.node, event.round), []).append((place, event))
        case BatchDivided():
            evidence.divided.setdefault(event.session, {})[place.node] = event
        case BatchMoved():
            evidence.traded.add((event.session, event.task, event.peer))
        case TradeMet():
            evidence.traded.update((event.session, task, to) for task, to in zip(event.tasks, event.to, strict=False))
    if type(event) in CHECKS:
        evidence.to_check.append((place, event))
