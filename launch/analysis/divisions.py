"""The checks of `verify` for batches: from the columns that all members have logged, the same value, the same bound.

    batch.column of each member     what every task costs there, and when its slots are free
    batch.divided                   shares and prices -> loads -> the makespan; prices and columns -> the dual bound
    auction.award by prices         goes where the division, or a trade after it, has put the task, for its cost there
    trade.meet                      both sides, met anew, come to the same (`meeting.py`)

Source: `dual_bound.py`. By gossip the best bound is one that somebody has seen on the way, at prices that nobody has
logged: there only that it is not below the one at the last prices can be told.
"""

from __future__ import annotations

import math

from ...protocols.batch_words import BatchColumn, BatchDivided, Mode, Priced, TradeMet
from ...protocols.contract_events import AuctionAwarded
from ...protocols.core import Event
from ...protocols.meeting import Side, met
from .evidence import Evidence, Place

CLOSE = 1e-6
"""Relative: sums may be made in another order."""


def check_division(evidence: Evidence, place: Place, event: Event) -> bool:
    """Value, bound and certificate follow from the columns; every task is in one share; all members say the same."""
    from ...protocols.dual_bound import certificate

    assert isinstance(event, BatchDivided)
    for field in ("value", "bound", "shares"):
        mine = getattr(event, field)
        said = [getattr(other, field) for other in evidence.divided[event.session].values()]
        if any(other != mine and said.count(other) >= said.count(mine) for other in said):
            evidence.differs(place, field, str(mine)[:200], "what the other members say")
            return True
    columns = {node: said for node, (_, said) in evidence.columns.get(event.session, {}).items()}
    if place.node in columns and Priced(columns[place.node].costs, columns[place.node].ready_s).digest != event.digest:
        at = evidence.columns[event.session][place.node][0]
        evidence.differs(at, "costs", "numbers of another digest", str(event.digest))
        return True
    if not {share.node for share in event.shares} <= columns.keys():
        evidence.cannot("divisions that were not recomputed: the log of a member is missing")
        return False
    value, bound = _recomputed(event, columns)
    if not math.isclose(value, event.value, rel_tol=CLOSE):
        evidence.differs(place, "value", event.value, value)
    too_high = event.bound > bound * (1.0 + CLOSE) and event.mode is Mode.ROUNDS
    if too_high or event.bound < bound * (1.0 - CLOSE):
        evidence.differs(place, "bound", event.bound, bound)
    told = certificate(event.value, event.bound)
    if told != event.certificate:
        evidence.differs(place, "certificate", event.certificate, told)
    return True


def _recomputed(event: BatchDivided, columns: dict[str, BatchColumn]) -> tuple[float, float]:
    """The makespan of the shares, and the bound at their prices."""
    import numpy as np

    from ...protocols.columns import REFUSED, Column, table
    from ...protocols.dual_bound import bound_of, trivial_bound, with_bases
    from ...protocols.prices import wanted

    known = table(
        {
            share.node: Column(
                np.asarray([REFUSED if cost is None else cost for cost in columns[share.node].costs]),
                ready=columns[share.node].ready_s,
            )
            for share in event.shares
        }
    )
    owners = np.full(known.tasks, -1, np.intp)
    for share in event.shares:
        owners[[task for task in share.tasks if 0 <= task < known.tasks]] = known.nodes.index(share.node)
    if (owners < 0).any() or sum(len(share.tasks) for share in event.shares) != known.tasks:
        return math.inf, trivial_bound(known)
    prices = {share.node: share.price for share in event.shares}
    at = [prices[node] for node in known.nodes]
    shares = known.shares(wanted(known, at))
    return known.value(owners)[1], max(trivial_bound(known), bound_of(at, with_bases(known, shares), shares, None))


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
        "tasks": [event.pool[number] for number in moved],
        "to": [event.one if come_to.firsts[number] else event.other for number in moved],
        "before_s": come_to.before_s,
        "after_s": come_to.after_s,
    }
    for field, recomputed in told.items():
        logged = getattr(event, field)
        if (list(logged) if isinstance(logged, tuple) else logged) != recomputed:
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
