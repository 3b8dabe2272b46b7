"""The checks of `verify` for batches: from the columns that all members have logged, the same value, the same bound.

    batch.column of each member     what every task costs there, and when its slots are free
    batch.divided                   shares and prices -> loads -> the makespan; prices and columns -> the dual bound
    auction.award by prices         goes where the division, or a trade after it, has put the task, for its cost there
    trade.meet                      the larger of two loads has fallen

Source: `dual_bound.py`. By gossip the best bound is one that somebody has seen on the way, at prices that nobody has
logged: there only that it is not below the one at the last prices can be told.
"""

from __future__ import annotations

import math

from ...protocols.batch_words import BatchColumn, BatchDivided, Mode, Priced, TradeMet
from ...protocols.contract_events import AuctionAwarded
from ...protocols.core import Event
from .evidence import Evidence, Place

CLOSE = 1e-6
"""Relative: sums may be made in another order."""


def check_division(evidence: Evidence, place: Place, event: Event) -> bool:
    """Value, bound and certificate follow from the columns; every task is in one share; all members say the same."""
    assert isinstance(event, BatchDivided)
    others = evidence.divided[event.session]
    first = others[min(others)]
    for field in ("value", "bound", "shares"):
        if getattr(event, field) != getattr(first, field):
            evidence.differs(place, field, str(getattr(event, field))[:200], f"as {min(others)} says")
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
    told = max(0.0, event.value - event.bound) / event.bound if event.bound > 0.0 else None
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
    return True


def check_meeting(evidence: Evidence, place: Place, event: Event) -> bool:
    """The larger load has fallen; every task went to one of the two."""
    assert isinstance(event, TradeMet)
    if not event.after_s < event.before_s:
        evidence.differs(place, "after_s", event.after_s, f"less than {event.before_s}")
    if len(event.to) != len(event.tasks) or not set(event.to) <= {event.one, event.other}:
        evidence.differs(place, "to", list(event.to), sorted({event.one, event.other}))
    return True
