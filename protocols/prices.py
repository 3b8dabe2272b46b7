"""Node prices: what a second, or a unit of capacity, costs on each node, raised where too much wants to go.

Sources: Plotkin, Shmoys, Tardos 1995 and Arora, Hazan, Kale 2012 (multiplicative weights for packing and covering);
Fisher 1981 (Lagrangean relaxation, the subgradient step); Bertsekas 1988 (prices as the language of a market).

    n1 -> all   Quote(step 7, price 0.93, load 41.2 at step 6)      each node publishes its own two numbers only
    n2 -> all   Quote(step 7, price 1.08, load 55.0 at step 6)
    n1, n2      every task would go where its priced cost is least: so much is my load; the price follows it

Where the time counts, a task's bid at a node is price * cost, and the price is multiplied by
exp(η (load / mean load - 1)), with η = 0.5 / sqrt(step) and the bracket at most 3 either way. Where capacities count,
the bid is cost + price * demand, and the price is raised by 0.5 (c/r) / sqrt(step) (load - capacity) / capacity, never
below 0; c/r is the mean cost per unit of demand.

Invariants: prices are never negative; a node sets its own price only, and publishes it, so that nobody else needs its
exponential.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from .columns import COST_MAX, Numbers, Owners, Table
from .core import NodeId
from .session import ROUNDS_MAX

STEP = 0.5
EXCESS_MAX = 3.0
PRICE_MAX = 1e100
UNPRICED = 1e200
"""The bid of a node that refuses: above all that others can bid."""

Amount = Annotated[float, Meta(ge=-COST_MAX * 1e4, le=COST_MAX * 1e4)]


class Quote(msgspec.Struct, frozen=True, array_like=True, tag="quote", gc=False):
    """A node's price, and what it would have got at the prices of the step before: its load, and the cost of that."""

    step: Annotated[int, Meta(ge=0, le=ROUNDS_MAX)]
    price: Annotated[float, Meta(ge=0.0, le=PRICE_MAX)]
    load: Amount
    cost: Amount


class PriceStep(NamedTuple):
    """How a node came to its price of a round: the load that it would have had at the prices of the others which it had
    heard. `heard`: for each row of the table, of which round that was (0: none yet)."""

    round: int
    price: float
    load: float
    heard: tuple[int, ...]


def first_price(table: Table) -> float:
    """What all nodes begin with: every second counts alike, or no capacity is scarce."""
    return 1.0 if table.capacities is None else 0.0


def known_prices(table: Table, prices: Mapping[NodeId, float]) -> list[float]:
    """(nodes,): these prices, and for nodes that have none the mean of them."""
    known = [prices[node] for node in table.nodes if node in prices]
    usual = math.fsum(known) / len(known) if known else first_price(table)
    return [prices.get(node, usual) for node in table.nodes]


def priced(table: Table, prices: Sequence[float]) -> Numbers:
    """(nodes, tasks): what each node bids for each task at these prices."""
    factors = np.asarray(prices, np.float64)[:, None]
    if table.capacities is not None:
        return table.costs + factors * table.sizes
    bids = factors * table.sizes
    return bids if table.refused is None else np.where(table.refused, UNPRICED, bids)


def wanted(table: Table, prices: Sequence[float]) -> Owners:
    """(tasks,): where each task would go at these prices; the first node where two bid the same."""
    owners: Owners = priced(table, prices).argmin(axis=0)
    return owners


def raised(table: Table, row: int, price: float, loads: Sequence[float], step: int) -> float:
    """The next price of the node in this row, after these loads (nodes,) at the prices of this step (1, 2, ...)."""
    if table.capacities is None:
        mean = math.fsum(loads) / len(loads)
        excess = loads[row] / mean - 1.0 if mean > 0.0 else 0.0
        factor = math.exp(STEP / math.sqrt(step) * max(-EXCESS_MAX, min(EXCESS_MAX, excess)))
        return min(price * factor, PRICE_MAX)
    limit = float(table.capacities[row])
    demand = float(table.sizes.mean())
    scale = float(np.abs(table.costs).mean()) / demand if demand > 0.0 else 0.0
    return min(max(0.0, price + STEP * scale / math.sqrt(step) * (loads[row] - limit) / max(limit, 1.0)), PRICE_MAX)
