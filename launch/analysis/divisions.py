"""The checks of `verify` for batches: from the columns that all members have logged, the same value, the same bound.

    batch.column of each member     what every task costs there, and when its slots are free, by its own checksum
    price.round of each member      the prices it had heard -> where every task would go -> its load -> its own price
    batch.divided                   shares -> the makespan; all prices and columns -> the best dual bound
    auction.award by prices         goes where the division, or a trade after it, has put the task, for its cost there
    trade.meet                      both sides, met anew, come to the same (`meeting.py`)

Source: `prices.py`, `dual_bound.py`. What a line stands on is checked before it, so of a wrong price only its own round
is named, not all that came of it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from ...protocols.batch_words import BatchColumn, BatchDivided, Mode, PriceRound, TradeMet, checksum
from ...protocols.contract_events import AuctionAwarded
from ...protocols.core import Event
from ...protocols.meeting import Side, met
from .evidence import Evidence, Place

if TYPE_CHECKING:
    from ...protocols.columns import Column, Table

CLOSE = 1e-6
"""Relative: sums may be made in another order."""


# --- the table of a session ------------------------------------------------------------------------------------------


def _table(evidence: Evidence, session: str, size: int) -> Table | None:
    """Of so many members: of those who have divided the batch, or of all who have opened a column; None: of neither."""
    from ...protocols.columns import table

    if (session, size) not in evidence.tables:
        columns = evidence.columns.get(session, {})
        divided = next(iter(evidence.divided.get(session, {}).values()), None)
        sharing = {share.node for share in divided.shares} if divided is not None else set()
        nodes = sharing if len(sharing) == size else columns.keys()
        fits = len(nodes) == size and nodes <= columns.keys()
        fits = fits and all(evidence.is_sound(columns[node][0]) for node in nodes)
        evidence.tables[session, size] = table({node: _column(columns[node][1]) for node in nodes}) if fits else None
    return evidence.tables[session, size]


def _column(said: BatchColumn) -> Column:
    import numpy as np

    from ...protocols.columns import REFUSED, Column

    costs = [REFUSED if cost is None else min(cost, REFUSED) for cost in said.costs]
    return Column(np.asarray(costs, np.float64), ready=said.ready_s)


@lru_cache(maxsize=256)
def _loads(known: Table, prices: tuple[float, ...]) -> list[float]:
    """(nodes,): what each would have to do at these prices, with what it has to do already."""
    from ...protocols.dual_bound import with_bases
    from ...protocols.prices import wanted

    return with_bases(known, known.shares(wanted(known, prices)))


def check_column(evidence: Evidence, place: Place, event: Event) -> bool:
    """Its numbers are those that its checksum was made of."""
    assert isinstance(event, BatchColumn)
    digest = checksum([*event.costs, *event.ready_s])
    if digest != event.digest:
        evidence.differs(place, "digest", event.digest, digest)
    return True


# --- prices, and what they prove -------------------------------------------------------------------------------------


def check_price(evidence: Evidence, place: Place, event: Event) -> bool:
    """Its load and its price follow from the prices it had heard, and from all columns."""
    from ...protocols.dual_bound import bound_of

    assert isinstance(event, PriceRound)
    if checksum(event.heard) != event.digest:
        evidence.differs(place, "heard", str(event.heard), f"numbers of the checksum {event.digest}")
        return True
    known = _table(evidence, event.session, len(event.heard))
    prices = _heard(evidence, place, event, known) if known is not None and place.node in known.nodes else None
    if known is None or prices is None:
        evidence.cannot("price rounds that were not recomputed: what they stand on is missing, wrong, or was told anew")
        return False
    loads, row = _loads(known, prices), known.nodes.index(place.node)
    seen = event.session, len(prices)
    evidence.bounds[seen] = max(evidence.bounds.get(seen, 0.0), bound_of(prices, loads, loads, None))
    if not math.isclose(event.load, loads[row], rel_tol=CLOSE, abs_tol=CLOSE):
        evidence.differs(place, "load", event.load, loads[row])
        return True
    divided = next(iter(evidence.divided.get(event.session, {}).values()), None)
    opened = evidence.batches.get(event.session)
    mode = divided.mode if divided is not None else opened[1].mode if opened is not None else Mode.ROUNDS
    price = (_price_by_gossip if mode is Mode.GOSSIP else _price_in_rounds)(evidence, event, known, row, prices)
    if price is None:
        evidence.differs(place, "round", event.round, f"the one after {event.heard[row]}")
    elif mode is Mode.GOSSIP and evidence.rounds[event.session][place.node, event.round][0][0] != place:
        evidence.differs(place, "round", event.round, "a round that it has not told of yet")
    elif not math.isclose(event.price, price, rel_tol=CLOSE):
        evidence.differs(place, "price", event.price, price)
    return True


def _heard(evidence: Evidence, place: Place, event: PriceRound, known: Table) -> tuple[float, ...] | None:
    """(nodes,): the prices that it was made at; None: one of them is not in the log, is wrong itself, or was told again
    as another one."""
    from ...protocols.prices import known_prices

    prices: dict[str, float] = {}
    for node, number in zip(known.nodes, event.heard, strict=True):
        if number:
            told = evidence.rounds[event.session].get((node, number), [])
            if not told and evidence.tells_all(node, place.hlc):
                evidence.differs(place, "heard", number, f"a round of {node}")
            if not all(evidence.is_sound(at) for at, _ in told) or len({one.price for _, one in told}) != 1:
                return None
            prices[node] = told[0][1].price
    return tuple(known_prices(known, prices))


def _price_in_rounds(
    evidence: Evidence, event: PriceRound, known: Table, row: int, prices: tuple[float, ...]
) -> float | None:
    """Its next price; None: all have heard the round before, so it is not of this one."""
    from ...protocols.prices import raised

    if any(number not in (0, event.round - 1) for number in event.heard) or any(event.heard) != (event.round > 1):
        return None
    return raised(known, row, prices[row], _loads(known, prices), event.round)


def _price_by_gossip(
    evidence: Evidence, event: PriceRound, known: Table, row: int, prices: tuple[float, ...]
) -> float | None:
    """The same; its last, which may come early, is a mean. None: it counts its own rounds, and it is not this one."""
    from ...protocols.batch import PRICE_ROUNDS
    from ...protocols.batch_gossip import last_price, late_from, scaled
    from ...protocols.prices import raised

    step = event.heard[row] + 1
    price = raised(known, row, prices[row], _loads(known, prices), step)
    if event.round == step < PRICE_ROUNDS:
        return price
    if event.round != PRICE_ROUNDS:
        return None
    late: list[float] = []
    for number in range(late_from(step), step):
        told = evidence.rounds[event.session].get((known.nodes[row], number))
        at = _heard(evidence, *told[0], known) if told is not None else None
        if told is None or at is None:
            return event.price  # of which it is the mean is not in the log, or is wrong itself
        late.append(scaled(known, told[0][1].price, at))
    late.append(scaled(known, price, prices))
    return last_price(late, prices[row])


def check_division(evidence: Evidence, place: Place, event: Event) -> bool:
    """Value, bound and certificate follow from columns and prices; every task is in one share; all say the same."""
    from ...protocols.dual_bound import certificate

    assert isinstance(event, BatchDivided)
    for field in ("value", "bound", "shares", "rounds"):
        mine = getattr(event, field)
        all_say = [getattr(other, field) for other in evidence.divided[event.session].values()]
        if any(other != mine and all_say.count(other) >= all_say.count(mine) for other in all_say):
            evidence.differs(place, field, str(mine)[:200], "what the other members say")
            return True
    known = _table(evidence, event.session, len(event.shares))
    if known is None or known.nodes != tuple(sorted([share.node for share in event.shares])):
        evidence.cannot("divisions that were not recomputed: the log of a member is missing")
        return False
    value, bound = _recomputed(event, known)
    if not math.isclose(value, event.value, rel_tol=CLOSE):
        evidence.differs(place, "value", event.value, value)
    if event.mode is Mode.GOSSIP:  # it may be one that somebody has seen on the way
        best = max(bound, evidence.bounds.get((event.session, len(known.nodes)), 0.0))
        seen = all(evidence.tells_all(node, place.hlc) for node in known.nodes)
    else:
        best, seen = bound, True
    if (seen and event.bound > best * (1.0 + CLOSE)) or event.bound < bound * (1.0 - CLOSE):
        evidence.differs(place, "bound", event.bound, best)
    told = certificate(event.value, event.bound)
    if told != event.certificate:
        evidence.differs(place, "certificate", event.certificate, told)
    return True


def _recomputed(event: BatchDivided, known: Table) -> tuple[float, float]:
    """The makespan of the shares, and the bound at their prices."""
    import numpy as np

    from ...protocols.dual_bound import bound_of, trivial_bound

    owners = np.full(known.tasks, -1, np.intp)
    for share in event.shares:
        owners[[task for task in share.tasks if 0 <= task < known.tasks]] = known.nodes.index(share.node)
    if (owners < 0).any() or sum(len(share.tasks) for share in event.shares) != known.tasks:
        return math.inf, trivial_bound(known)
    prices = {share.node: share.price for share in event.shares}
    at = tuple([prices[node] for node in known.nodes])
    loads = _loads(known, at)
    return known.value(owners)[1], max(trivial_bound(known), bound_of(at, loads, loads, None))


# --- what was awarded by it, and traded after it ---------------------------------------------------------------------


def check_share(evidence: Evidence, place: Place, award: AuctionAwarded) -> bool:
    """It goes to the node that the division, or a later trade, has named, at the price of that node's column."""
    opened = evidence.batches.get(award.auction)
    columns = evidence.columns.get(award.auction, {})
    divided = next(iter(evidence.divided.get(award.auction, {}).values()), None)
    if opened is None or divided is None:
        if evidence.tells_all(place.node, place.hlc):
            evidence.differs(place, "auction", award.auction, "a session that was opened and has ended")
        return True
    if award.task not in opened[1].tasks:
        evidence.differs(place, "auction", award.auction, f"one for {award.task}")
        return True
    number = opened[1].tasks.index(award.task)
    named = {share.node for share in divided.shares if number in share.tasks}
    named |= {to for session, task, to in evidence.traded if (session, task) == (award.auction, award.task)}
    line = (len(opened[1].tasks), divided.certificate)
    if award.batch is None or (award.batch.tasks, award.batch.certificate) != line:
        evidence.differs(place, "batch", str(award.batch), str(line))
    if award.winner not in named:
        evidence.differs(place, "winner", award.winner, sorted(named))
    for bid in award.bids:
        total = sum(bid.terms.values())
        if total != bid.cost:
            evidence.differs(place, f"bids[{bid.node}].cost", bid.cost, total)
        if bid.node == award.winner and bid.cost != award.cost:
            evidence.differs(place, "cost", award.cost, bid.cost)
        if bid.node in columns:
            cost = columns[bid.node][1].costs[number]
            if cost != bid.terms.get("run"):
                evidence.differs(place, f"bids[{bid.node}].terms.run", bid.terms.get("run"), cost)
    if award.winner not in [bid.node for bid in award.bids]:
        evidence.differs(place, "winner", award.winner, [bid.node for bid in award.bids])
    second = min(
        [(bid.cost, bid.node) for bid in award.bids if bid.node != award.winner], default=(award.cost, None)
    )
    told = {
        "runner_up": (award.runner_up, second[1]),
        "margin": (award.margin, second[0] - award.cost if second[1] is not None else None),
        "payment": (award.payment, None),
        "reserve": (award.reserve, 0.0),
    }
    for field, (logged, recomputed) in told.items():
        if logged != recomputed:
            evidence.differs(place, field, logged, recomputed)
    return True


def check_meeting(evidence: Evidence, place: Place, event: Event) -> bool:
    """Two sides, met anew, come to the same; what they had said is in their columns."""
    assert isinstance(event, TradeMet)
    size = len(event.pool)
    if any(len(column) != size for column in (*event.costs, event.firsts)) or not all(event.ready_s):
        evidence.differs(place, "pool", size, "as many tasks as their costs, and slots on both sides")
        return True
    _said(evidence, place, event)
    one, other = (Side(*side) for side in zip(event.ready_s, event.paces, event.costs, strict=True))
    come_to = met(one, other, event.firsts)
    if come_to is None:
        evidence.differs(place, "after_s", event.after_s, "nothing: they cannot do better")
        return True
    moved = [number for number in range(size) if come_to.firsts[number] != event.firsts[number]]
    told = {
        "tasks": tuple([event.pool[number] for number in moved]),
        "to": tuple([event.one if come_to.firsts[number] else event.other for number in moved]),
        "before_s": come_to.before_s,
        "after_s": come_to.after_s,
    }
    for field, recomputed in told.items():
        logged = getattr(event, field)
        if logged != recomputed:
            evidence.differs(place, field, str(logged)[:200], str(recomputed)[:200])
    return True


def _said(evidence: Evidence, place: Place, event: TradeMet) -> None:
    """What each had said of the tasks of its pool, where its column is known. A node may have given one back since."""
    opened = evidence.batches.get(event.session)
    columns = evidence.columns.get(event.session, {})
    numbers = {} if opened is None else {task: number for number, task in enumerate(opened[1].tasks)}
    for node, costs in zip((event.one, event.other), event.costs, strict=True):
        if node not in columns:
            continue
        column = columns[node][1].costs
        for task, cost in zip(event.pool, costs, strict=True):
            number = numbers.get(task)
            if number is not None and cost is not None and cost != column[number]:
                evidence.differs(place, f"costs[{node}][{task}]", cost, column[number])
