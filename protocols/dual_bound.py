"""The dual bound: what no division can beat, from nothing but the numbers that nodes publish. Nobody solves anything.

Source: Lagrangean duality (Geoffrion 1974; Fisher 1981). Relax "no node is later than C" with prices π:

    makespan        any division   max load >= Σ π_i load_i / Σ π_i >= Σ_j min_i π_i c_ij / Σ π_i
    capacities λ    any feasible   total    >= Σ_j min_i (c_ij + λ_i r_ij) - Σ λ_i b_i

Where each task goes to the least priced bid, the sums over tasks are sums over nodes of what they publish: π_i load_i,
and cost_i + λ_i (load_i - b_i). So whoever hears the quotes of one step knows a bound, whatever the prices were, and
with a division of value v the certificate: it is within (v - bound) / |bound| of the optimum.

Of nodes that have work already, the k slots of each are busy for b_s seconds: a slot that gets a task ends no sooner
than b_s and its work, one that gets none says nothing. But no division is better than L, the time before which some
task ends nowhere; so each slot can count as busy for min(b_s, L), whether it gets a task or not, and the mean over the
slots of those is added to a node's load.

Invariant: the bound is never above the optimum; what rounding could have added is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .columns import Table

ROUNDING = 1e-9
"""Relative to the largest term: more than sums of TASKS_MAX doubles can be off."""


def bound_of(
    prices: Sequence[float],
    loads: Sequence[float],
    costs: Sequence[float],
    capacities: Sequence[float] | None,
) -> float:
    """From what each node published of one step: its price, and load and cost at the prices of all; -inf: nothing."""
    if capacities is None:
        weight = math.fsum(prices)
        value = math.fsum(price * load for price, load in zip(prices, loads, strict=True))
        return value / weight * (1.0 - ROUNDING) if weight > 0.0 else -math.inf
    terms = [
        part
        for price, load, cost, limit in zip(prices, loads, costs, capacities, strict=True)
        for part in (cost, price * load, -price * limit)
    ]
    return math.fsum(terms) - ROUNDING * math.fsum(abs(term) for term in terms)


def trivial_bound(table: Table) -> float:
    """Every task where it is cheapest: the longest of them, or what all cost together; begun when a slot is free."""
    if table.ready:
        return table.floor
    least = table.costs.min(axis=0)
    return float(least.max()) if table.capacities is None else math.fsum(least)


def with_bases(table: Table, shares: Sequence[float]) -> list[float]:
    """(nodes,): these shares of a batch, with what the nodes have to do already, as far as a bound may count it."""
    if table.sure is None:
        return list(shares)
    return [share + sure for share, sure in zip(shares, table.sure.tolist(), strict=True)]


def tightened(table: Table, bound: float) -> float:
    """Where all costs are whole numbers, so is every total: the bound may be rounded up."""
    whole = table.capacities is not None and bool((table.costs == np.floor(table.costs)).all())
    return float(math.ceil(bound - 1e-6)) if whole and math.isfinite(bound) else bound


def certificate(value: float, bound: float) -> float | None:
    """By what part of the bound a value is above it, at most so far from the optimum; None: the bound says nothing."""
    if not math.isfinite(bound) or bound == 0.0:
        return None
    return max(0.0, value - bound) / abs(bound)
