"""Assignments and bundles on public instances: how many rounds, how many messages, how good, and does it end by itself?

    assignment   each node takes one task: Bertsekas' auction with ε-scaling; --no-scaling: tenders, in few rounds
    cbba         bundles: of one task each (CBAA), or of earliest finish where the makespan counts

Both run on any graph (graphs.py), over the wire that loses words for good (lossy.py): in rounds, or at once (`gossip`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...protocols.assignment import Person, scaled
from ...protocols.cbba import Cbba
from ...protocols.columns import Numbers
from ...protocols.core import NodeId
from ...protocols.neighbours import Speaker
from ...protocols.objective import makespan, node_loads
from ...protocols.scores import Additive, EarliestFinish, Scores
from ...protocols.tenders import Tenderer
from ..problems import Exit, Problem
from . import lossy
from .graphs import Graph, diameter, graph
from .instances import Instance

PROTOCOLS = ("assignment", "cbba")
ROUNDS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Wire:
    """Who talks with whom, what part of the words is lost, and whether there are rounds."""

    topology: str
    loss: float
    asynchronous: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One run. `value` is a total cost, or a makespan.

    `rounds` until all have seen the end themselves (`detected`; at once: seconds); `converged` is the round after which
    nothing changed (not looked for: 0). `bound` is what all know of the optimum, `told` how many of its costs a person
    has told (of tenders). `messages`: words to one neighbour each. `conflict_free`: no task is anybody's
    twice, and all name the same winners.
    """

    value: float
    diameter: int
    rounds: int
    converged: int
    messages: int
    detected: bool
    conflict_free: bool
    placed: int
    seconds: float
    bound: float | None = None
    told: float | None = None


def usual_topology(protocol: str, nodes: int) -> str:
    """Auctions let all hear all; bundles need no more than a few neighbours."""
    return "4-regular" if protocol == "cbba" and nodes > 4 else "full"


def why_not(protocol: str, instance: Instance) -> str | None:
    """Why this protocol cannot be asked about this instance; None: it can."""
    one_each = instance.capacities is not None and bool(
        (instance.capacities == 1.0).all() and instance.demands is not None and (instance.demands == 1.0).all()
    )
    square = one_each and instance.costs.shape[0] == instance.costs.shape[1]
    whole = bool((instance.costs == np.floor(instance.costs)).all() and (instance.costs >= 0.0).all())
    if protocol == "assignment" and not (square and whole):
        return f"{instance.name} is no assignment of as many tasks as nodes at whole costs, one each"
    if protocol == "cbba" and instance.capacities is not None and not square:
        return f"{instance.name} has capacities, which bundles do not know"
    return None


def play(instance: Instance, protocol: str, seed: int, wire: Wire, *, scaling: bool = True) -> Record:
    """Raises Problem where the protocol or the graph does not fit the instance."""
    if (reason := why_not(protocol, instance)) is not None:
        raise Problem(f"{protocol}: {reason}", Exit.USAGE)
    try:
        connected = graph(wire.topology, len(instance.costs), seed)
    except ValueError as error:
        raise Problem(f"{instance.name}: {error}", Exit.USAGE) from None
    if protocol == "assignment":
        return _assignment(instance.name, instance.costs, seed, wire, connected, scaling)
    if instance.capacities is not None:
        return _bundles(instance.name, instance.costs, seed, wire, connected)
    return _makespan(instance.name, instance.costs, seed, wire, connected)


# --- runs


def _assignment(name: str, costs: Numbers, seed: int, wire: Wire, connected: Graph, scaling: bool) -> Record:
    """Each tells its own words only where all hear all in every round; else it hands on what it hears."""
    began = time.perf_counter()
    n = len(costs)
    names = _names(n)
    epsilons = scaled(n, int(costs.max()))
    relays = wire.topology != "full" or wire.loss > 0.0 or wire.asynchronous
    rows = {node: [int(cost) for cost in row] for node, row in zip(names, costs, strict=True)}
    persons: dict[NodeId, Person | Tenderer] = {
        node: Person(node, name, names, row, epsilons, relays=relays)
        if scaling
        else Tenderer(node, name, names, row, relays=relays)
        for node, row in rows.items()
    }
    talk = _talk(persons, connected, wire, seed)
    objects = [person.object for person in persons.values()]
    placed = {place for place in objects if place is not None}
    total = sum(float(row[place]) for row, place in zip(costs, objects, strict=True) if place is not None)
    seconds = time.perf_counter() - began
    tenderers = [person for person in persons.values() if isinstance(person, Tenderer)]
    return Record(
        total, diameter(connected), talk.rounds, 0, talk.sent, talk.done, len(placed) == n, len(placed), seconds,
        bound=None if scaling else tenderers[0].bound,
        told=None if scaling else sum(person.told for person in tenderers) / n,
    )  # fmt: skip


def _bundles(name: str, costs: Numbers, seed: int, wire: Wire, connected: Graph) -> Record:
    """CBAA: one task each, worth the largest cost and one more, less its own."""
    most = float(costs.max()) + 1.0
    scores = [Additive([most - float(cost) for cost in row]) for row in costs]

    def value(owners: Sequence[int]) -> float:
        return float(sum(costs[owner][task] for task, owner in enumerate(owners) if owner >= 0))

    return _run(name, scores, costs.shape[1], 1, value, seed, wire, connected)


def _makespan(name: str, times: Numbers, seed: int, wire: Wire, connected: Graph) -> Record:
    """CBBA with the scores of earliest finish; `times` (nodes, tasks) in seconds."""
    works = np.exp(np.log(np.maximum(times, 1e-300)).mean(axis=0))
    tasks = times.shape[1]

    def value(owners: Sequence[int]) -> float:
        return makespan(node_loads(times, owners)) if min(owners) >= 0 else float("inf")

    return _run(name, [EarliestFinish(row, works) for row in times], tasks, tasks, value, seed, wire, connected)


def _run(
    name: str,
    scores: Sequence[Scores],
    tasks: int,
    capacity: int,
    value: Callable[[Sequence[int]], float],
    seed: int,
    wire: Wire,
    connected: Graph,
) -> Record:
    began = time.perf_counter()
    names = _names(len(scores))
    agents = {
        node: Cbba(node, name, names, tasks, mine, capacity, asynchronous=wire.asynchronous)
        for node, mine in zip(names, scores, strict=True)
    }
    converged, before = 0, [agent.winners for agent in agents.values()]

    def after_each(turn: int) -> None:
        nonlocal converged, before
        now = [agent.winners for agent in agents.values()]
        converged, before = (turn, now) if now != before else (converged, before)

    talk = _talk(agents, connected, wire, seed, after_each)
    owners = next(iter(agents.values())).winners
    return Record(
        value(owners), diameter(connected), talk.rounds, converged, talk.sent, talk.done, conflict_free(agents),
        sum(owner >= 0 for owner in owners), time.perf_counter() - began,
    )  # fmt: skip


def _talk(
    speakers: Mapping[NodeId, Speaker],
    connected: Graph,
    wire: Wire,
    seed: int,
    after_each: Callable[[int], None] = lambda turn: None,
) -> lossy.Talk:
    rng = random.Random(seed)
    if wire.asynchronous:
        return lossy.at_once(speakers, connected, wire.loss, rng, ROUNDS_MAX)
    return lossy.rounds(speakers, connected, wire.loss, rng, ROUNDS_MAX, after_each)


def conflict_free(agents: Mapping[NodeId, Cbba]) -> bool:
    """All name the same winners, and every task is in the bundle of its winner and in no other."""
    said = {tuple(agent.winners) for agent in agents.values()}
    bundles = [set(agent.bundle) for agent in agents.values()]
    return len(said) == 1 and all(
        [task in bundle for bundle in bundles] == [winner == place for place in range(len(bundles))]
        for task, winner in enumerate(said.pop())
    )


def _names(count: int) -> list[NodeId]:
    return [f"n{number:04}" for number in range(count)]
