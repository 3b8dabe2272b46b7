"""Clearing: a batched contract net on price-adjusted bids, which every node can carry out alike.

Sources: Smith 1980 (contract net); Gerkey and Matarić 2004 (batched single-item auctions); Martello and Toth 1981 (the
task that would lose most by waiting goes first: regret).

    all    every node with room under its limit bids for every task that is left
    all    each task is for the least bid; a node takes those that would lose most if it did not, AWARDS_MAX at most
    all    those are awarded, loads rise, and the rest is bid for again
    all    what fits nowhere goes where it overloads least

Bids are known to all (columns and prices were published), so no message is needed: each applies the same rule to the
same bids and takes what is its own.

Invariants: every task is awarded once; no award takes a node over its limit, but for those that fit nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .columns import Numbers, Owners, Table

ROUNDS = 32
"""About so many rounds of awards; a small batch awards one task per node and round."""


def cleared(table: Table, bids: Numbers, limits: Sequence[float], owners: Owners, open_tasks: Sequence[int]) -> Owners:
    """(tasks,) owners after these tasks were awarded; the others stay where `owners` has them.

    `bids` (nodes, tasks), lower is better; `limits` (nodes,) are loads.
    """
    result = owners.copy()
    left = np.asarray(sorted(open_tasks), np.intp)
    kept = np.ones(table.tasks, np.bool_)
    kept[left] = False
    rows = range(len(table.nodes))
    loads = np.asarray([table.base(row) + math.fsum(table.sizes[row, kept & (result == row)]) for row in rows])
    room = np.asarray(limits, np.float64)
    awards_max = max(1, len(left) // (len(table.nodes) * ROUNDS))
    while left.size:
        fits = loads[:, None] + table.sizes[:, left] <= room[:, None]
        offers = np.where(fits, bids[:, left], np.inf)
        best = offers.argmin(axis=0)
        regret = _regret(offers)
        awarded: list[int] = []
        for row in range(len(table.nodes)):
            mine = np.flatnonzero((best == row) & fits.any(axis=0))
            taken = 0
            for place in mine[np.argsort(-regret[mine], kind="stable")]:
                size = table.sizes[row, left[place]]
                if taken < awards_max and loads[row] + size <= room[row]:
                    loads[row] += size
                    result[left[place]] = row
                    awarded.append(int(place))
                    taken += 1
        if not awarded:
            return _squeezed(table, room, loads, result, left)
        left = np.delete(left, awarded)
    return result


def _regret(offers: Numbers) -> Numbers:
    """What each task (columns) would lose if its best bidder did not get it; inf: nobody else can take it."""
    if len(offers) == 1:
        return np.full(offers.shape[1], np.inf)
    two = np.partition(offers, 1, axis=0)[:2]
    return np.where(np.isfinite(two[1]), two[1] - np.where(np.isfinite(two[0]), two[0], 0.0), np.inf)


def _squeezed(table: Table, room: Numbers, loads: Numbers, result: Owners, left: Owners) -> Owners:
    """What fits nowhere, the largest first, goes where the load exceeds its limit least."""
    smallest = table.sizes[:, left].min(axis=0)
    for task in left[np.argsort(-smallest, kind="stable")]:
        row = int(((loads + table.sizes[:, task] - room) / np.maximum(room, 1e-300)).argmin())
        result[task] = row
        loads[row] += table.sizes[row, task]
    return result
