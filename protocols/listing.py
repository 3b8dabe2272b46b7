"""The plain methods, for comparison: one pass over the tasks, each to a node by an award rule, and no more.

Sources: Graham 1969 (list scheduling); Braun et al. 2001 (eleven heuristics; min-min, OLB); `award_rules.py`.

    round 1    n1 -> all   Opening(column)
    then       all         order the tasks by `order`, give each to whom `choose` says: the same at all nodes

A node offers its load as the queue and the cost of the task as the rest; where capacities count, whoever has room
offers the cost alone. "batched" takes, of all tasks that are left, the one whose best offer is least (min-min).

Invariant: equal columns give equal divisions; the division depends on nothing else but the seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from .award_rules import Offer, Rule
from .batch import Division
from .columns import Column, Opening, Owners, Table, column, table
from .core import NodeId, PeerError, Task
from .dual_bound import tightened, trivial_bound

SPREAD = 0x9E3779B97F4A7C15
"""Neighbouring numbers become seeds that have nothing in common."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Opening)


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """One node's part: a player of `rounds` and of `gossip`. `rule` None: batched."""

    node: NodeId
    own: Column
    rule: Rule | None
    seed: int
    words: Mapping[NodeId, bytes] | None = None

    @property
    def settled(self) -> bool:
        return self.words is not None

    def say(self) -> bytes:
        return _encoder.encode(self.own.opening())

    def hear(self, words: Mapping[NodeId, bytes]) -> Listing:
        return replace(self, words=dict(words))

    @property
    def division(self) -> Division:
        columns: dict[NodeId, Column] = {}
        for node, word in (self.words or {}).items():
            try:
                columns[node] = column(_decoder.decode(word))
            except (msgspec.MsgspecError, PeerError):
                continue
        if not columns:
            return Division({}, math.inf, 0.0, -math.inf)
        known = table(columns)
        owners = _least_first(known) if self.rule is None else _listed(known, self.rule, self.seed)
        overload, value = known.value(owners)
        held = {
            node: tuple(int(task) for task in np.flatnonzero(owners == row)) for row, node in enumerate(known.nodes)
        }
        return Division(held, value, overload, tightened(known, trivial_bound(known)))


def _offers(known: Table, task: int, loads: list[float]) -> Iterator[Offer]:
    """Of all that have room; of all, if nobody has."""
    nodes = range(len(known.nodes))
    rows = [
        row for row in nodes if known.capacities is None or loads[row] + known.sizes[row, task] <= known.capacities[row]
    ]
    ranks = {load: rank for rank, load in enumerate(sorted(set(loads)))}
    speeds = 1.0 / np.maximum(known.costs.mean(axis=1), 1e-300) if known.capacities is None else -known.costs[:, task]
    for row in rows or nodes:
        queue = loads[row] if known.capacities is None or not rows else 0.0
        cost = float(known.costs[row, task])
        yield Offer(known.nodes[row], queue, cost, -ranks[loads[row]], float(speeds[row]))


def _listed(known: Table, rule: Rule, seed: int) -> Owners:
    means = known.costs.mean(axis=0)
    tasks = [Task(str(task), "batch", min(1e9, max(0.0, float(mean)))) for task, mean in enumerate(means)]
    order = sorted(range(known.tasks), key=lambda task: rule.order(tasks[task], task))
    loads = [known.base(row) for row in range(len(known.nodes))]
    owners = np.zeros(known.tasks, np.intp)
    for task in order:
        chosen = rule.choose(list(_offers(known, task, loads)), (seed * known.tasks + task) * SPREAD % 2**63)
        owners[task] = row = known.nodes.index(chosen.node)
        loads[row] += float(known.sizes[row, task])
    return owners


def _least_first(known: Table) -> Owners:
    loads = np.asarray([known.base(row) for row in range(len(known.nodes))])
    owners = np.zeros(known.tasks, np.intp)
    left = list(range(known.tasks))
    while left:
        ends = known.costs[:, left] + (loads[:, None] if known.capacities is None else 0.0)
        if known.capacities is not None:
            room = loads[:, None] + known.sizes[:, left] <= known.capacities[:, None]
            over = (loads[:, None] + known.sizes[:, left]) / np.maximum(known.capacities[:, None], 1e-300)
            ends = np.where(room.any(axis=0), np.where(room, ends, np.inf), over + ends.max() + 1.0)
        place = int(ends.min(axis=0).argmin())
        row = int(ends[:, place].argmin())
        task = left.pop(place)
        owners[task] = row
        loads[row] += known.sizes[row, task]
    return owners
