"""Trade: two nodes put what they hold and have not started into one pool, and divide it anew, if that is better.

Sources: Lawler 1983 (two machines: sort by the ratio of costs); Smith and Toulouse, Durfee (task re-allocation by local
contracts: Sandholm 1998, O-, C-, S- and M-contracts); Kernighan and Lin 1970 (moves and swaps).

    a    pools what a and b hold: costs on a, costs on b
    a    sorts by (cost on a - cost on b) / size and takes the best of all splits; beside it, the present division
    a    improves both by the best move, or swap, as long as there is one
    a    takes the better: only if (the larger load, then the price of all) or (the overload, then the cost) falls

Both compute the same from the same pool, so one message that names the pool settles it. Each holding has a version that
rises with every change: a pair that has met since either changed need not meet again. A round of meetings is a matching
that prefers the nodes with most partners left to meet; who is alike in that is decided by lot, over the whole fleet.

Invariants: every meeting leaves its pool whole and its score no worse; scores fall strictly and there are finitely many
divisions, so trade ends by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .columns import Numbers
from .core import NodeId

EXACT_TASKS_MAX = 11
"""All divisions of a pool of so many tasks are compared."""
LEAST_GAIN = 1e-12
"""Relative: a gain smaller than rounding is none."""

Mask: TypeAlias = NDArray[np.bool_]
Pair: TypeAlias = tuple[NodeId, NodeId]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What two nodes hold together: arrays (pooled tasks,) of sizes and prices on the one and on the other.

    `limits`: what each may carry; None: the larger load counts instead of the overload.
    """

    sizes: tuple[Numbers, Numbers]
    prices: tuple[Numbers, Numbers]
    limits: tuple[float, float] | None
    least_gain: float = LEAST_GAIN
    """Relative: a smaller gain is none. Where a meeting costs much, only what is worth it should be changed."""
    bases: tuple[float, float] = (0.0, 0.0)
    """What each has to do already: it counts for who gets something of the pool."""

    def score(self, first: Numbers | float, second: Numbers | float, price: Numbers | float) -> tuple[Numbers, Numbers]:
        """What must fall, and what must fall where that stays: of these shares and this price of all."""
        if self.bases != (0.0, 0.0):
            first = np.where(np.asarray(first) > 0.0, np.add(first, self.bases[0]), 0.0)
            second = np.where(np.asarray(second) > 0.0, np.add(second, self.bases[1]), 0.0)
        if self.limits is None:
            return np.maximum(first, second), np.asarray(price)
        left, right = self.limits
        over = np.maximum(np.subtract(first, left), 0.0) / max(left, 1.0)
        return over + np.maximum(np.subtract(second, right), 0.0) / max(right, 1.0), np.asarray(price)


def redivide(pool: Pool, mine: Mask) -> Mask | None:
    """The better division of a pool of which the first node now has `mine`; None: this one is as good.

    Masks (pooled tasks,): True where the first node has the task.
    """
    if not mine.size:
        return None
    present = _Division(pool, mine)
    best = present
    if mine.size <= EXACT_TASKS_MAX:
        starts = [_Division(pool, _best_of_all(pool))]
    else:
        starts = [_improve(present), _improve(_Division(pool, _best_split(pool)))]
    for division in starts:
        if division.better_than(best):
            best = division
    return None if best is present else best.mine


class _Division:
    """A pool divided, with its loads and its score."""

    __slots__ = ("first", "mine", "pool", "price", "score", "second")

    def __init__(self, pool: Pool, mine: Mask) -> None:
        self.pool = pool
        self.mine = mine
        other = ~mine
        self.first = math.fsum(pool.sizes[0][mine])
        self.second = math.fsum(pool.sizes[1][other])
        self.price = math.fsum([*pool.prices[0][mine], *pool.prices[1][other]])
        major, minor = pool.score(self.first, self.second, self.price)
        self.score = float(major), float(minor)

    def better_than(self, other: _Division) -> bool:
        return _falls(other.score, self.score, self.pool.least_gain)


def _falls(before: tuple[float, float], after: tuple[float, float], least: float) -> bool:
    """The first number falls, or it stays and the second falls; by more than this part of them."""
    if after[0] < before[0] - least * abs(before[0]):
        return True
    return after[0] <= before[0] and after[1] < before[1] - least * abs(before[1])


def _lowest(major: Numbers, minor: Numbers) -> int:
    """The index of the lexicographically lowest pair, the first of equals."""
    lowest = np.flatnonzero(major == major.min())
    return int(lowest[minor[lowest].argmin()])


def _best_of_all(pool: Pool) -> Mask:
    """The best of all 2 ** tasks divisions of a small pool."""
    (first, second), (here, there) = pool.sizes, pool.prices
    mine = yours = price = np.zeros(1)
    for task in range(len(first)):  # sums are made by adding, so that they are the same everywhere
        mine = np.concatenate([mine, mine + first[task]])
        yours = np.concatenate([yours + second[task], yours])
        price = np.concatenate([price + there[task], price + here[task]])
    choice = _lowest(*pool.score(mine, yours, price))
    return np.asarray([choice >> task & 1 for task in range(len(first))], np.bool_)


def _best_split(pool: Pool) -> Mask:
    """The tasks sorted by how much dearer each is on the first node, per size: the best cut of that row in two."""
    (first, second), (here, there) = pool.sizes, pool.prices
    order = np.argsort((here - there) / np.maximum(first + second, 1e-300), kind="stable")
    loads = np.concatenate([[0.0], np.cumsum(first[order])])
    rest = np.concatenate([np.cumsum(second[order][::-1])[::-1], [0.0]])
    price = np.concatenate([[0.0], np.cumsum(here[order])])
    price += np.concatenate([np.cumsum(there[order][::-1])[::-1], [0.0]])
    cut = _lowest(*pool.score(loads, rest, price))
    mine = np.zeros(len(order), np.bool_)
    mine[order[:cut]] = True
    return mine


def _improve(division: _Division) -> _Division:
    """Make the best single move or swap, again and again, until none is a gain."""
    pool = division.pool
    (first, second), (here, there) = pool.sizes, pool.prices
    while True:
        given, taken = np.flatnonzero(division.mine), np.flatnonzero(~division.mine)
        dearer = np.concatenate([there[given] - here[given], here[taken] - there[taken]])
        swaps = (there[given] - here[given])[:, None] + (here[taken] - there[taken])[None, :]
        mine = np.concatenate([-first[given], first[taken], (first[taken][None, :] - first[given][:, None]).ravel()])
        yours = np.concatenate(
            [second[given], -second[taken], (second[given][:, None] - second[taken][None, :]).ravel()]
        )
        price = np.concatenate([dearer, swaps.ravel()])
        choice = _lowest(*pool.score(division.first + mine, division.second + yours, division.price + price))
        moved = division.mine.copy()
        if choice < len(given):
            moved[given[choice]] = False
        elif choice < len(given) + len(taken):
            moved[taken[choice - len(given)]] = True
        else:
            row, place = divmod(choice - len(given) - len(taken), len(taken))
            moved[given[row]] = False
            moved[taken[place]] = True
        after = _Division(pool, moved)
        if not after.better_than(division):
            return division
        division = after


# --- who meets whom --------------------------------------------------------------------------------------------------


def unmet(versions: Mapping[NodeId, int], met: Mapping[Pair, tuple[int, int]]) -> list[Pair]:
    """The pairs of which one has changed since they met, in the order of ids."""
    nodes = sorted(versions)
    pairs = [(one, other) for place, one in enumerate(nodes) for other in nodes[place + 1 :]]
    return [pair for pair in pairs if met.get(pair) != (versions[pair[0]], versions[pair[1]])]


def matching(pairs: Sequence[Pair], rng: Random) -> list[Pair]:
    """Pairs of which no two share a node and to which none can be added: first those with most others left to meet."""
    left: dict[NodeId, int] = {}
    for pair in pairs:
        for node in pair:
            left[node] = left.get(node, 0) + 1
    order = list(pairs)
    rng.shuffle(order)
    order.sort(key=lambda pair: -max(left[pair[0]], left[pair[1]]))
    chosen: list[Pair] = []
    busy: set[NodeId] = set()
    for pair in order:
        if busy.isdisjoint(pair):
            busy.update(pair)
            chosen.append(pair)
    return sorted(chosen)
