"""Trading in rounds: which pairs meet next, towards what, and when it ends, as every node works it out for itself.

    all         hold what clearing gave them; all holdings are known
    n1, n5      meet in turn 1: both divide their pool anew, and say what they hold now
    n2 -> all   Holding(version 3, tasks)                     in every turn; holdings, versions and pairs stay known

Where the time counts, trade first aims at a load halfway between the bound and the largest load: whoever is above it
gives, whoever is below takes what costs least at the prices, so that cheap room is not wasted on the way. When that is
reached, or no pair can do more, it aims again; at last the larger load of each pair must fall. Where capacities count,
overload must fall, then the cost. In turns that are left, a part of the tasks is auctioned again from the best division
so far (ruin and recreate; Schrimpf et al. 2000), for trade finds another end from there.

Invariants: every task is held by one node after each turn; all nodes that have heard the same holdings know the same
pairs, aims and best division; `turns` bounds it all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from .clearing import cleared
from .columns import TASKS_MAX, Numbers, Owners, Table
from .core import Count, NodeId
from .trade import LEAST_GAIN, Pair, Pool, matching, redivide, unmet

AIM_TURNS = 40
"""One aim is followed for so many turns at most."""
AIMED = 0.7
"""The part of all turns that may go into aims."""
REACHED = 1e-4
"""Relative: an aim missed by less counts as reached."""
OPTIMAL = 1e-8
"""Relative: a value that near to the bound is the optimum."""
AGAIN = (0.1, 0.5)
"""The part of all tasks that is auctioned again, drawn anew for each auction."""
NOISE = 0.1
"""Their bids are changed by up to this part of themselves, so that not the same division comes out."""
IN_VAIN_MAX = 30
"""So many auctions without a better division, and it ends."""


class Holding(msgspec.Struct, frozen=True, array_like=True, tag="holding", gc=False):
    """What a node holds: numbers of tasks as little-endian 16-bit words."""

    version: Count
    tasks: Annotated[bytes, Meta(max_length=2 * TASKS_MAX)]


def pack(tasks: Sequence[int]) -> bytes:
    return np.asarray(tasks, "<u2").tobytes()


def tasks_of(packed: bytes, count: int) -> Owners:
    """What a peer has sent, which need not make sense: those numbers that are tasks, of which there are `count`."""
    numbers = np.frombuffer(packed[: len(packed) // 2 * 2], "<u2").astype(np.intp)
    return numbers[numbers < count]


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What trade goes by, the same at all nodes: arrays (nodes, tasks) of bids; loads that clearing may give."""

    table: Table
    bids: Numbers
    bound: float
    limits: tuple[float, ...]

    def pool(self, one: int, other: int, tasks: Sequence[int], aim: float | None, least_gain: float) -> Pool:
        """The pool of the nodes in these rows; `aim`: the load both should stay below, None: the larger falls."""
        table = self.table
        sizes = (table.sizes[one, tasks], table.sizes[other, tasks])
        if table.capacities is not None:
            limits: tuple[float, float] | None = (float(table.capacities[one]), float(table.capacities[other]))
            return Pool(sizes, (table.costs[one, tasks], table.costs[other, tasks]), limits, least_gain)
        limits = None if aim is None else (aim, aim)
        bases = (table.base(one), table.base(other))
        return Pool(sizes, (self.bids[one, tasks], self.bids[other, tasks]), limits, least_gain, bases)

    def meet(
        self, one: int, other: int, owners: Owners, aim: float | None, least_gain: float = LEAST_GAIN
    ) -> Owners | None:
        """(tasks,) owners after the nodes of these rows have met; None: nothing better was found."""
        tasks = np.flatnonzero((owners == one) | (owners == other))
        mine = redivide(self.pool(one, other, tasks, aim, least_gain), owners[tasks] == one)  # type: ignore[arg-type]
        if mine is None:
            return None
        result = owners.copy()
        result[tasks] = np.where(mine, one, other)
        return result

    def auction(self, owners: Owners, tasks: Sequence[int]) -> Owners:
        """Owners after these tasks were awarded anew."""
        return cleared(self.table, self.bids, self.limits, owners, tasks)


@dataclass(frozen=True, slots=True, eq=False)
class Trading:
    """The state of the trade at a turn. A value: `hear` gives the next."""

    market: Market
    node: NodeId
    seed: int
    turns: int
    owners: Owners
    best: Owners
    best_value: tuple[float, float]
    versions: Mapping[NodeId, int]
    met: Mapping[Pair, tuple[int, int]]
    meeting: tuple[Pair, ...] = ()
    """Who meets in this turn: what they hold after it is what they say next."""
    turn: int = 0
    aim: float | None = None
    aims_left: bool = True
    since: int = 0
    """The turn in which the present aim was set."""
    in_vain: int = 0
    best_at_auction: tuple[float, float] = (math.inf, math.inf)
    over: bool = False

    # -- what this node says

    @property
    def holding(self) -> Holding:
        """What this node holds after the meetings of this turn."""
        row = self.market.table.nodes.index(self.node) if self.node in self.market.table.nodes else -1
        version = self.versions.get(self.node, 0)
        for pair in self.meeting:
            if self.node in pair:
                one, other = (self.market.table.nodes.index(node) for node in pair)
                after = self.market.meet(one, other, self.owners, self.aim)
                if after is not None:
                    return Holding(version + 1, pack(np.flatnonzero(after == row)))  # type: ignore[arg-type]
        return Holding(version, pack(np.flatnonzero(self.owners == row)))  # type: ignore[arg-type]

    # -- what it hears

    def hear(self, holdings: Mapping[NodeId, Holding]) -> Trading:
        """The trade after all have said what they hold."""
        nodes = self.market.table.nodes
        owners = np.full(self.market.table.tasks, -1, np.intp)
        for row in reversed(range(len(nodes))):
            if nodes[row] in holdings:
                owners[tasks_of(holdings[nodes[row]].tasks, len(owners))] = row
        versions = {node: holdings[node].version if node in holdings else 0 for node in nodes}
        orphans = np.flatnonzero(owners < 0)
        if orphans.size:
            owners = self.market.auction(owners, orphans)  # type: ignore[arg-type]
            versions = {node: version + 1 for node, version in versions.items()}
        met = dict(self.met)
        for pair in self.meeting:
            met[pair] = versions[pair[0]], versions[pair[1]]
        heard = replace(self, owners=owners, versions=versions, met=met, turn=self.turn + 1)
        value = self.market.table.value(owners)
        return (replace(heard, best=owners, best_value=value) if value < self.best_value else heard).plan()

    def plan(self) -> Trading:
        """With the meetings of the turn that comes; over, if there are none and nothing else is left to try."""
        if self.over:
            return self
        trading = self
        while trading.turn < trading.turns and trading.in_vain <= IN_VAIN_MAX and not trading._best_possible:
            pairs = unmet(trading.versions, trading.met)
            if pairs and not trading._reached():
                rng = Random(f"{self.seed} {trading.turn}")
                return replace(trading, meeting=tuple(matching(pairs, rng)))
            trading = trading._aim_anew() if trading.aims_left else trading._auction()
        versions = {node: version + 1 for node, version in trading.versions.items()}
        return replace(trading, owners=trading.best, versions=versions, meeting=(), over=True)

    @property
    def _best_possible(self) -> bool:
        """The bound says so."""
        overload, value = self.best_value
        return overload == 0.0 and value <= self.market.bound + OPTIMAL * abs(self.market.bound)

    # -- aims

    def _reached(self) -> bool:
        """The aim, if there is one, was reached or has had its time."""
        if self.aim is None:
            return self.aims_left
        return self._largest <= self.aim or self.turn - self.since >= AIM_TURNS

    @property
    def _largest(self) -> float:
        return max(self.market.table.loads(self.owners))

    def _aim_anew(self) -> Trading:
        """The next aim; the last one is that the larger load of each pair falls."""
        if self.market.table.capacities is not None:
            return replace(self, aims_left=False)
        missed = self.aim is not None and self._largest > self.aim * (1.0 + REACHED)
        stuck = missed and self.turn - self.since < AIM_TURNS
        if (
            stuck
            or self._largest <= self.market.bound * (1.0 + REACHED)
            or self.turn >= AIMED * self.turns
            or len(self.versions) == 1
        ):
            return replace(self, aim=None, aims_left=False, met={})
        return replace(self, aim=(self.market.bound + self._largest) / 2.0, since=self.turn, met={})

    def _auction(self) -> Trading:
        """Auction a part of the tasks again, from the best division so far."""
        in_vain = 0 if self.best_value < self.best_at_auction else self.in_vain + 1
        rng = Random(f"{self.seed} again {self.turn} {in_vain}")
        part = rng.uniform(*AGAIN)
        tasks = [task for task in range(self.market.table.tasks) if rng.random() < part]
        noise = np.asarray([[rng.uniform(1.0 - NOISE, 1.0 + NOISE) for _ in tasks] for _ in self.versions])
        bids = self.market.bids.copy()
        bids[:, tasks] *= noise.reshape(bids[:, tasks].shape)
        versions = {node: version + 1 for node, version in self.versions.items()}
        return replace(
            self,
            owners=cleared(self.market.table, bids, self.market.limits, self.best, tasks),
            versions=versions,
            met={},
            in_vain=in_vain,
            best_at_auction=self.best_value,
        )


def trading(market: Market, node: NodeId, owners: Owners, *, turns: int, seed: int) -> Trading:
    """The trade of a division that all know, before its first turn."""
    versions = dict.fromkeys(market.table.nodes, 0)
    return Trading(market, node, seed, turns, owners, owners, market.table.value(owners), versions, {}).plan()


def relieved(market: Market, owners: Owners, *, turns: int, seed: int) -> Owners:
    """A division that all know, traded without a word until nobody is overloaded: each works out all meetings alike."""
    nodes = market.table.nodes
    state = trading(market, nodes[0], owners, turns=turns, seed=seed)
    while state.best_value[0] > 0.0 and not state.over:
        state = state.hear({node: replace(state, node=node).holding for node in nodes})
    return state.best
