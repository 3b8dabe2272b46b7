"""A batch by gossip: the same columns, prices, clearing and trade as in `batch.py`, without rounds.

    n1   opening: its column                        travels once; n1 knows the table when it has all of them
    n1   Mark(step 12, price, bound)                each period one step, at the newest prices it has heard
    n1   Mark(step 100, mean price, bound)          its last price: the mean over the last third of its steps, of which
                                                    it takes no more when the bound rises no more
    n1   Mark(step 100, price, bound, stand)        all prices are their last: cleared, and bargaining

Prices need no agreement on the way: every vector of prices gives a bound, and a step at somewhat old prices still leads
there (asynchronous subgradient steps; Nedić, Bertsekas, Borkar 2001). Only the last prices are cleared at, and those
never change, so all clear alike; and where that leaves somebody overloaded, all work out alike what trade in rounds
would make of it, before they bargain over the rest.

Invariant: players that have heard the same last words know the same division, and the best bound that anybody has seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from .bargain import Bargain, Stand
from .batch import BETTER, CAPACITY_TURNS, PATIENCE, SLACK, Division, Terms
from .clearing import cleared
from .columns import Column, Opening, Owners, Table, column, table
from .core import NodeId, PeerError
from .dual_bound import bound_of, tightened, trivial_bound, with_bases
from .prices import PRICE_MAX, Amount, PriceStep, known_prices, priced, raised, wanted
from .session import ROUNDS_MAX
from .trading import Market, pack, relieved, tasks_of

AVERAGED = 1.0 / 3.0
"""The part of the steps, the last ones, of whose prices the mean is taken."""


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node says: its price at this step, the best bound it has seen, and what it holds once it is trading."""

    step: Annotated[int, Meta(ge=0, le=ROUNDS_MAX)]
    price: Annotated[float, Meta(ge=0.0, le=PRICE_MAX)]
    bound: Amount
    stand: Stand | None = None


_encoder = msgspec.msgpack.Encoder()
_openings = msgspec.msgpack.Decoder(Opening)
_marks = msgspec.msgpack.Decoder(Mark)


class BatchByGossip:
    """One node's part: a player of `gossip` with an opening. Hearing gives a new one; nothing is changed in place."""

    def __init__(self, node: NodeId, own: Column, terms: Terms) -> None:
        self.node = node
        self.opening = _encoder.encode(own.opening())
        self._terms = terms
        self._table: Table | None = None
        self._mark = Mark(0, 1.0 if own.capacity is None else 0.0, 0.0)
        self.steps: tuple[PriceStep, ...] = ()
        """How this node came to its prices, one after the other."""
        self._scaled: tuple[float, ...] = ()  # its prices, beside those of their steps
        self._bound = -math.inf
        self._best = -math.inf  # the best bound that it knows of
        self._best_step = 0
        self._market: Market | None = None
        self._market_of: tuple[tuple[NodeId, float], ...] = ()
        self._bargain: Bargain | None = None
        self._marks: Mapping[NodeId, Mark] = {}

    # -- the player

    @property
    def settled(self) -> bool:
        return self._bargain is not None and (self._bargain.idle or self._terms.trade_turns == 0)

    @property
    def seeks(self) -> NodeId | None:
        return self._bargain.seeks if self._bargain is not None else None

    def say(self) -> bytes:
        return _encoder.encode(self._mark)

    def introduce(self, openings: Mapping[NodeId, bytes]) -> BatchByGossip:
        """Those who live, with their columns: bounds of another table count no more."""
        columns: dict[NodeId, Column] = {}
        for node, opening in openings.items():
            try:
                columns[node] = column(_openings.decode(opening))
            except (msgspec.MsgspecError, PeerError):
                continue
        after = copy.copy(self)
        after._table = table(columns) if columns else None
        after._bound = trivial_bound(after._table) if after._table is not None else -math.inf
        return after

    def hear(self, words: Mapping[NodeId, bytes]) -> BatchByGossip:
        after = copy.copy(self)
        marks: dict[NodeId, Mark] = {}
        for node, word in words.items():
            try:
                marks[node] = _marks.decode(word)
            except msgspec.MsgspecError:
                continue
        after._marks = marks
        if after._table is None or self.node not in after._table.nodes:
            return after
        if after._bargain is None and after._mark.step < self._terms.price_rounds:
            after._take_step(marks)
        elif after._bargain is not None or all(self._is_last(marks, node) for node in after._table.nodes):
            after._trade(marks)
        bound = max(after._bound, -1e18)
        stand = after._bargain.stand if after._bargain is not None else None
        after._mark = msgspec.structs.replace(after._mark, bound=bound, stand=stand)
        return after

    @property
    def division(self) -> Division:
        """What the words say that each holds: a task that nobody holds, or two, makes the value infinite."""
        if self._table is None:
            return Division({}, math.inf, 0.0, -math.inf)
        owners: Owners = np.full(self._table.tasks, -1, np.intp)
        held: dict[NodeId, tuple[int, ...]] = {}
        for row, node in enumerate(self._table.nodes):
            stand = self._marks[node].stand if node in self._marks else None
            held[node] = tuple(tasks_of(stand.tasks, len(owners)).tolist()) if stand is not None else ()
            owners[list(held[node])] = row
        bound = max(mark.bound for mark in self._marks.values())
        if (owners < 0).any() or sum(len(tasks) for tasks in held.values()) != len(owners):
            return Division(held, math.inf, 0.0, bound)
        overload, value = self._table.value(owners)
        return Division(held, value, overload, tightened(self._table, bound))

    @property
    def table(self) -> Table | None:
        return self._table

    @property
    def prices(self) -> Mapping[NodeId, float]:
        """The last ones, at which all have cleared."""
        return dict(self._market_of)

    # -- prices

    def _is_last(self, marks: Mapping[NodeId, Mark], node: NodeId) -> bool:
        return node in marks and marks[node].step >= self._terms.price_rounds

    def _at(self, marks: Mapping[NodeId, Mark]) -> list[float]:
        """The prices as far as they are known; a newcomer's is what is usual."""
        assert self._table is not None
        return known_prices(self._table, {node: mark.price for node, mark in marks.items() if mark.step})

    def _take_step(self, marks: Mapping[NodeId, Mark]) -> None:
        """One step at the newest prices; the last gives the mean of what came before it."""
        assert self._table is not None
        at, step = self._at(marks), self._mark.step + 1
        loads = self._see_bound(self._table, at)
        row = self._table.nodes.index(self.node)
        price = raised(self._table, row, at[row], loads, step)
        self._scaled += (scaled(self._table, price, at),)
        others_trade = any(mark.stand is not None for mark in marks.values())
        if step == self._terms.price_rounds or others_trade or self._rises_no_more(marks, step):
            late = self._scaled[late_from(step) - 1 :]
            step, price = self._terms.price_rounds, last_price(late, at[row])
        self._mark = Mark(step, price, 0.0)
        heard = tuple([marks[node].step if node in marks else 0 for node in self._table.nodes])
        self.steps += (PriceStep(step, price, loads[row], heard),)

    def _rises_no_more(self, marks: Mapping[NodeId, Mark], step: int) -> bool:
        """Has nobody seen a better bound for many steps?"""
        best = max(self._bound, *[mark.bound for mark in marks.values()])
        if best > self._best + BETTER * abs(best):
            self._best, self._best_step = best, step
        return step - self._best_step > PATIENCE

    def _see_bound(self, known: Table, at: list[float]) -> list[float]:
        """The loads at these prices; the bound that they give is kept if it is the best."""
        owners = wanted(known, at)
        loads = with_bases(known, known.shares(owners))
        costs = known.costs[owners, np.arange(known.tasks)]
        shares = [math.fsum(costs[owners == row]) for row in range(len(at))]
        limits = None if known.capacities is None else list(known.capacities)
        self._bound = max(self._bound, bound_of(at, loads, shares, limits))
        return loads

    # -- trade

    def _trade(self, marks: Mapping[NodeId, Mark]) -> None:
        assert self._table is not None
        at = self._at(marks)
        if self._market_of != tuple(zip(self._table.nodes, at, strict=True)):
            self._market_of = tuple(zip(self._table.nodes, at, strict=True))
            self._market = self._new_market(self._table, at)
        assert self._market is not None
        stands = {node: mark.stand for node, mark in marks.items() if mark.stand is not None}
        if self._bargain is None:
            tasks = b""
            if not stands or all(stand.version == 0 for stand in stands.values()):
                nobody: Owners = np.full(self._table.tasks, -1, np.intp)
                owners = cleared(self._table, self._market.bids, self._market.limits, nobody, range(self._table.tasks))
                if self._terms.trade_turns != 0 and self._table.overload(self._table.loads(owners)) > 0.0:
                    owners = relieved(self._market, owners, turns=CAPACITY_TURNS, seed=self._terms.seed)
                tasks = pack(np.flatnonzero(owners == self._table.nodes.index(self.node)))  # type: ignore[arg-type]
            self._bargain = Bargain(self.node, self._terms.seed, Stand(0, tasks))
        elif self._terms.trade_turns != 0:
            in_table = {node: stand for node, stand in stands.items() if node in self._table.nodes}
            self._bargain = self._bargain.hear(self._market, in_table)

    def _new_market(self, known: Table, at: list[float]) -> Market:
        self._see_bound(known, at)
        owners = wanted(known, at)
        loads = with_bases(known, known.shares(owners))
        if known.capacities is not None:
            limits = [float(limit) for limit in known.capacities]
        else:
            common = bound_of(at, loads, loads, None)  # of the last prices, which all know
            limits = [SLACK * max(common, trivial_bound(known))] * len(at)
        return Market(known, priced(known, at), self._bound, tuple(limits))


# --- the last price --------------------------------------------------------------------------------------------------


def late_from(steps: int) -> int:
    """The first of so many steps that counts for the mean."""
    return math.floor((1.0 - AVERAGED) * steps) + 1


def scaled(table: Table, price: float, at: Sequence[float]) -> float:
    """Beside the prices (nodes,) of that step: where the time counts, it is their ratios that mean something."""
    return price / (math.fsum(at) / len(at)) if table.capacities is None else price


def last_price(late: Sequence[float], present: float) -> float:
    """The mean of the late ones; the present one, where there was none."""
    return min(math.fsum(late) / len(late), PRICE_MAX) if late else present
