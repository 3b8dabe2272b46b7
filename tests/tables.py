"""Small tables of every kind, their optimum by trying all divisions, and sessions without a wire."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from random import Random

import numpy as np

from parley.protocols.columns import TASKS_MAX, Column, Table, table
from parley.protocols.core import NodeId
from parley.protocols.session import Player
from parley.protocols.trading import tasks_of


def small_table(seed: int, *, limited: bool, nodes: int = 3, tasks: int = 6) -> Table:
    """Costs of 1 to 20; where it is limited, capacities that one division at least keeps to."""
    rng = Random(seed)
    costs = np.asarray([[float(rng.randint(1, 20)) for _ in range(tasks)] for _ in range(nodes)])
    if not limited:
        return table({f"n{row}": Column(costs[row]) for row in range(nodes)})
    demands = np.asarray([[float(rng.randint(1, 9)) for _ in range(tasks)] for _ in range(nodes)])
    owners = np.asarray([rng.randrange(nodes) for _ in range(tasks)])
    capacities = [float(demands[row, owners == row].sum()) + rng.randint(0, 3) for row in range(nodes)]
    return table({f"n{row}": Column(costs[row], demands[row], capacities[row]) for row in range(nodes)})


def columns(known: Table) -> dict[NodeId, Column]:
    return {
        node: Column(known.costs[row])
        if known.capacities is None
        else Column(known.costs[row], known.sizes[row], float(known.capacities[row]))
        for row, node in enumerate(known.nodes)
    }


def optimum(known: Table) -> float:
    """Of all feasible divisions."""
    divisions = itertools.product(range(len(known.nodes)), repeat=known.tasks)
    values = [known.value(np.asarray(owners)) for owners in divisions]
    return min(value for overload, value in values if overload == 0.0)


def in_rounds(players: Mapping[NodeId, Player], rounds_max: int = 500) -> tuple[dict[NodeId, Player], int]:
    """All say, all hear, until all have been settled in two rounds in a row."""
    said, rounds = 0, 0
    current = dict(players)
    while said < 2 and rounds < rounds_max:
        words = {node: player.say() for node, player in current.items()}
        said = said + 1 if all(player.settled for player in current.values()) else 0
        current = {node: player.hear(words) for node, player in current.items()}
        rounds += 1
    return current, rounds


def unpack(tasks: bytes) -> list[int]:
    return [int(task) for task in tasks_of(tasks, TASKS_MAX)]
