"""A batch in rounds: columns are opened, prices settle, tasks are cleared at them, and what is left is traded.

    round 1          n1 -> all   Opening(column)        costs of all tasks here; from now on all know the table
    rounds 2..       n1 -> all   Quote(price, load)     until the bound rises no more, PRICE_ROUNDS at most
    then             all         clear at the prices of the best bound: no word needed
    then             n1 -> all   Holding(tasks)         trade, until it is over
    two rounds       n1 -> all   Holding(tasks)         the best division, and its certificate

Each node begins with its own column only. Who leaves takes its column along: its tasks are cleared again among the
others. Who joins opens its column in the middle and takes part in what all do.

Invariant: all nodes that have heard the same words are in the same stage and know the same table, prices, bound and
owners; only the next price of a node is its own.
"""

from __future__ import annotations

import copy
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
import numpy as np

from .clearing import cleared
from .columns import Column, Opening, Owners, Table, column, table
from .core import NodeId, PeerError
from .dual_bound import bound_of, certificate, tightened, trivial_bound, with_bases
from .prices import PriceStep, Quote, first_price, known_prices, priced, raised, wanted
from .trading import Holding, Market, Trading, trading

PRICE_ROUNDS = 100
TRADE_TURNS = 86
CAPACITY_TURNS = 280
"""Turns of trade: where the time counts, and where capacities do, which are harder to keep and tables are smaller."""
ROUNDS_MAX = 1 + PRICE_ROUNDS + CAPACITY_TURNS + 3
PATIENCE = 30
"""So many price rounds without a better bound are enough."""
SLACK = 1.01
"""Clearing gives a node this many times the bound at most, where the time counts."""
BETTER = 1e-5
"""Relative: a bound that rises by less rises no more."""


class Stage(enum.Enum):
    OPENING = enum.auto()
    PRICES = enum.auto()
    TRADE = enum.auto()


@dataclass(frozen=True, slots=True)
class Division:
    """Who got what. `value` is the makespan or the total cost, `overload` 0 where no capacity is exceeded."""

    tasks: Mapping[NodeId, tuple[int, ...]]
    value: float
    overload: float
    bound: float

    @property
    def certificate(self) -> float | None:
        """It is within this part of the optimum."""
        return certificate(self.value, self.bound) if self.overload == 0.0 else None


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What all nodes of a batch must have in common besides the protocol: numbers of rounds, and the seed of lots.
    `trade_turns` None: as many as the question usually takes, and, where the time counts, as prices have not needed."""

    seed: int = 0
    price_rounds: int = PRICE_ROUNDS
    trade_turns: int | None = None


Words = Opening | Quote | Holding
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Words)
Kind = TypeVar("Kind", Opening, Quote, Holding)


class Batch:
    """One node's part: a player of `rounds`. Hearing gives a new one; nothing it holds is ever changed in place."""

    def __init__(self, node: NodeId, own: Column, terms: Terms) -> None:
        self.node = node
        self.stage = Stage.OPENING
        self.table: Table | None = None
        self.bound = -math.inf
        self.steps: tuple[PriceStep, ...] = ()
        """How this node came to its prices, one after the other."""
        self._own = own
        self._terms = terms
        self._columns: Mapping[NodeId, Column] = {}
        self._step = 1
        self._prices: Mapping[NodeId, float] = {}  # of the last step
        self._price = 0.0  # ours, of the step that comes
        self._loads: list[float] = []  # at the prices of the last step
        self._costs: list[float] = []
        self._best_prices: Mapping[NodeId, float] = {}
        self._best_step = 0
        self._trading: Trading | None = None

    # -- the player

    @property
    def settled(self) -> bool:
        return self._trading is not None and self._trading.over and self.node in self._columns

    def say(self) -> bytes:
        if self.node not in self._columns:
            return _encoder.encode(self._own.opening())
        if self._trading is not None:
            return _encoder.encode(self._trading.holding)
        row = self._row
        if row is None:
            return _encoder.encode(Quote(self._step, 0.0, 0.0, 0.0))
        return _encoder.encode(Quote(self._step, self._price, self._loads[row], self._costs[row]))

    def hear(self, words: Mapping[NodeId, bytes]) -> Batch:
        said = {node: _decode(word) for node, word in words.items()}
        after = copy.copy(self)
        opened = _of_kind(said, Opening)
        if opened or not self._columns.keys() <= words.keys():
            after._meet(words, opened)
        if after.table is None:
            return after
        if after.stage is Stage.PRICES and self.stage is Stage.PRICES:
            after._quoted(_of_kind(said, Quote))
        elif after._trading is not None and self._trading is not None:
            after._trading = after._trading.hear(_of_kind(said, Holding))
        return after

    @property
    def division(self) -> Division:
        """The best division that all know of; before the first clearing nobody has anything."""
        if self._trading is None or self.table is None:
            return Division({}, math.inf, 0.0, self.bound)
        owners = self._trading.best
        overload, value = self.table.value(owners)
        held = {
            node: tuple(int(task) for task in np.flatnonzero(owners == row))
            for row, node in enumerate(self.table.nodes)
        }
        return Division(held, value, overload, self.bound)

    @property
    def prices(self) -> Mapping[NodeId, float]:
        """Those of the best bound."""
        return self._best_prices

    # -- who takes part

    @property
    def _row(self) -> int | None:
        assert self.table is not None
        return self.table.nodes.index(self.node) if self.node in self.table.nodes else None

    def _meet(self, present: Mapping[NodeId, bytes], opened: Mapping[NodeId, Opening]) -> None:
        """Somebody has come with a column, or gone with one: what was bound and cleared before counts no more."""
        columns = {node: kept for node, kept in self._columns.items() if node in present}
        for node, opening in opened.items():
            try:
                columns[node] = column(opening)
            except PeerError:
                continue  # as if it had not spoken
        former, self._columns = self.table, columns
        if not columns:
            return
        self.table = table(columns)
        self.bound = trivial_bound(self.table)
        if self.stage is Stage.OPENING:
            self.stage = Stage.PRICES
            self._price_at(dict.fromkeys(self.table.nodes, first_price(self.table)))
            self._best_prices = self._prices
        elif self.stage is Stage.PRICES:
            self._prices = dict(zip(self.table.nodes, known_prices(self.table, self._prices), strict=True))
            self._best_prices, self._best_step = self._prices, self._step
        elif self._trading is not None and former is not None:
            self._regroup(former, self._trading)

    def _regroup(self, former: Table, before: Trading) -> None:
        """Trade goes on among those who are here: what the others held is cleared again."""
        assert self.table is not None
        known = self.table.nodes
        rows = np.asarray([known.index(node) if node in known else -1 for node in former.nodes], dtype=np.intp)
        owners = rows[before.owners]
        market = self._market()
        owners = market.auction(owners, np.flatnonzero(owners < 0))  # type: ignore[arg-type]
        anew = trading(market, self.node, owners, turns=before.turns, seed=self._terms.seed)
        self._trading = replace(anew, versions=dict.fromkeys(known, before.turn + 1))

    # -- prices

    def _price_at(self, prices: Mapping[NodeId, float]) -> None:
        """Where everything would go at these prices, hence our load and our next price."""
        assert self.table is not None
        at = known_prices(self.table, prices)
        self._prices = dict(zip(self.table.nodes, at, strict=True))
        owners = wanted(self.table, at)
        self._loads = self.table.shares(owners)
        costs = self.table.costs[owners, np.arange(self.table.tasks)]
        self._costs = [math.fsum(costs[owners == row]) for row in range(len(at))]
        row = self._row
        if row is not None:
            loads = with_bases(self.table, self._loads)
            self._price = raised(self.table, row, at[row], loads, self._step)
            heard = tuple([self._step - 1 if node in prices else 0 for node in self.table.nodes])
            self.steps += (PriceStep(self._step, self._price, loads[row], heard),)

    def _quoted(self, quotes: Mapping[NodeId, Quote]) -> None:
        """All have quoted: the bound of the last step, and the prices of this one."""
        assert self.table is not None
        nodes = self.table.nodes
        if all(node in quotes for node in nodes):
            bound = bound_of(
                [self._prices[node] for node in nodes],
                with_bases(self.table, [quotes[node].load for node in nodes]),
                [quotes[node].cost for node in nodes],
                None if self.table.capacities is None else list(self.table.capacities),
            )
            if bound > self.bound + BETTER * abs(bound):
                self._best_step = self._step
            if bound > self.bound:
                self.bound, self._best_prices = bound, self._prices
        self._step += 1
        if self._step > self._terms.price_rounds or self._step - self._best_step > PATIENCE:
            self._clear()
        else:
            self._price_at({node: quote.price for node, quote in quotes.items()})

    def _market(self) -> Market:
        assert self.table is not None
        at = [self._best_prices.get(node, first_price(self.table)) for node in self.table.nodes]
        capacities = self.table.capacities
        limits = [SLACK * self.bound] * len(at) if capacities is None else [float(limit) for limit in capacities]
        return Market(self.table, priced(self.table, at), self.bound, tuple(limits))

    def _clear(self) -> None:
        assert self.table is not None
        self.stage = Stage.TRADE
        self.bound = tightened(self.table, self.bound)
        market = self._market()
        nobody: Owners = np.full(self.table.tasks, -1, np.intp)
        owners = cleared(self.table, market.bids, market.limits, nobody, range(self.table.tasks))
        turns = self._terms.trade_turns
        if turns is None and self.table.capacities is None:
            turns = TRADE_TURNS + max(self._terms.price_rounds + 1 - self._step, 0)
        elif turns is None:
            turns = CAPACITY_TURNS
        self._trading = trading(market, self.node, owners, turns=turns, seed=self._terms.seed)


def _decode(word: bytes) -> Words | None:
    try:
        said: Words = _decoder.decode(word)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return said


def _of_kind(said: Mapping[NodeId, Words | None], kind: type[Kind]) -> dict[NodeId, Kind]:
    return {node: word for node, word in said.items() if isinstance(word, kind)}
