"""Assignments and bundles on public instances: how many rounds, how many messages, how good, and does it end by itself?

    python -m parley.launch.bench.consensus auction assign100.txt assign600.txt
    python -m parley.launch.bench.consensus auction --no-scaling assign100.txt
    python -m parley.launch.bench.consensus bundles --graph ring --loss 0.5 assign100.txt
    python -m parley.launch.bench.consensus makespan --loss 0.2 u_c_hihi.0

Instances are OR-Library assignments (n, then n×n costs) and those of Braun et al. 2001 (tasks, nodes, 0, then run
times, task by task); a name is looked for in the folder of the public data. The wire is that of lossy.py.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from ...protocols.assignment import Person, scaled, unscaled
from ...protocols.cbba import Cbba
from ...protocols.core import NodeId
from ...protocols.objective import makespan, node_loads
from ...protocols.scores import Additive, EarliestFinish, Scores
from . import lossy
from .graphs import GRAPHS, diameter
from .references import REFERENCES

ROUNDS_MAX = 20_000


class Record(msgspec.Struct, frozen=True):
    """One run. `value` is a total cost, or a makespan; `reference` the optimum or the best known, if it is.

    `rounds` until all have seen the end themselves (`detected`); `converged` is the round after which nothing changed
    (asynchronously: not looked for, 0). `messages`: words to one neighbour each. `conflict_free`: no task is anybody's
    twice, and all name the same winners.
    """

    instance: str
    protocol: str
    graph: str
    diameter: int
    loss: float
    value: float
    reference: float | None
    rounds: int
    converged: int
    messages: int
    detected: bool
    conflict_free: bool
    placed: int

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None


# --- instances


def assignment_costs(text: str) -> list[list[int]]:
    """OR-Library: n, then n×n costs. Raises ValueError."""
    numbers = [int(word) for word in text.split()]
    n = numbers[0] if numbers else 0
    if n < 1 or len(numbers) != 1 + n * n:
        raise ValueError(f"{len(numbers)} numbers are not an assignment: n, then n times n costs")
    return [numbers[1 + row * n : 1 + (row + 1) * n] for row in range(n)]


def run_times(text: str) -> NDArray[np.float64]:
    """Braun et al.: tasks, nodes, 0, then the run times, task by task. (nodes, tasks). Raises ValueError."""
    words = text.split()
    tasks, nodes = (int(words[0]), int(words[1])) if len(words) > 2 else (0, 0)
    if tasks < 1 or nodes < 1 or len(words) != 3 + tasks * nodes:
        raise ValueError(f"{len(words)} numbers are not run times: tasks, nodes, 0, then tasks times nodes of them")
    return np.array(words[3:], np.float64).reshape(tasks, nodes).T


# --- runs


def run_auction(name: str, costs: Sequence[Sequence[int]], seed: int = 0, *, scaling: bool = True) -> Record:
    """Bertsekas: all hear all in every round; each tells its own bids only, and a word to all counts as n - 1."""
    n = len(costs)
    names = _names(n)
    epsilons = scaled(n, max(map(max, costs))) if scaling else unscaled(n)
    persons = {
        node: Person(node, name, names, row, epsilons, relays=False) for node, row in zip(names, costs, strict=True)
    }
    talk = lossy.rounds(persons, GRAPHS["full"](n, seed), 0.0, random.Random(seed), ROUNDS_MAX)
    objects = [person.object for person in persons.values()]
    placed = {place for place in objects if place is not None}
    total = sum(row[place] for row, place in zip(costs, objects, strict=True) if place is not None)
    protocol = "assignment" if scaling else "assignment, ε = 1"
    reference = REFERENCES.get(name.removesuffix(".txt"))
    return Record(
        name, protocol, "full", 1, 0.0, float(total), reference, talk.rounds, talk.rounds, talk.sent, talk.done,
        len(placed) == n, len(placed),
    )  # fmt: skip


def run_bundles(
    name: str,
    costs: Sequence[Sequence[int]],
    seed: int = 0,
    *,
    graph: str = "4-regular",
    loss: float = 0.0,
    asynchronous: bool = False,
) -> Record:
    """CBAA: one task each, worth the largest cost and one more, less its own."""
    most = max(map(max, costs)) + 1
    scores = [Additive([most - cost for cost in row]) for row in costs]

    def value(owners: Sequence[int]) -> float:
        return float(sum(costs[owner][task] for task, owner in enumerate(owners) if owner >= 0))

    reference = REFERENCES.get(name.removesuffix(".txt"))
    return _run(name, scores, len(costs), 1, value, reference, seed, graph=graph, loss=loss, asynchronous=asynchronous)


def run_makespan(
    name: str,
    times: NDArray[np.float64],
    seed: int = 0,
    *,
    graph: str = "4-regular",
    loss: float = 0.0,
    asynchronous: bool = False,
) -> Record:
    """CBBA with the scores of earliest finish; `times` (nodes, tasks) in seconds."""
    works = np.exp(np.log(times).mean(axis=0))
    tasks = times.shape[1]

    def value(owners: Sequence[int]) -> float:
        return makespan(node_loads(times, owners)) if min(owners) >= 0 else float("inf")

    scores = [EarliestFinish(row, works) for row in times]
    return _run(
        name, scores, tasks, tasks, value, REFERENCES.get(name), seed, graph=graph, loss=loss, asynchronous=asynchronous
    )


def _run(
    name: str,
    scores: Sequence[Scores],
    tasks: int,
    capacity: int,
    value: Callable[[Sequence[int]], float],
    reference: float | None,
    seed: int,
    *,
    graph: str,
    loss: float,
    asynchronous: bool,
) -> Record:
    names = _names(len(scores))
    agents = {
        node: Cbba(node, name, names, tasks, mine, capacity, asynchronous=asynchronous)
        for node, mine in zip(names, scores, strict=True)
    }
    connected = GRAPHS[graph](len(scores), seed)
    rng = random.Random(seed)
    converged, before = 0, [agent.winners for agent in agents.values()]

    def after_each(turn: int) -> None:
        nonlocal converged, before
        now = [agent.winners for agent in agents.values()]
        converged, before = (turn, now) if now != before else (converged, before)

    if asynchronous:
        talk = lossy.at_once(agents, connected, loss, rng, ROUNDS_MAX)
    else:
        talk = lossy.rounds(agents, connected, loss, rng, ROUNDS_MAX, after_each)
    protocol = "cbba, asynchronous" if asynchronous else "cbba"
    owners = next(iter(agents.values())).winners
    return Record(
        name, protocol, graph, diameter(connected), loss, value(owners), reference, talk.rounds, converged, talk.sent,
        talk.done, conflict_free(agents), sum(owner >= 0 for owner in owners),
    )  # fmt: skip


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


# --- the command


def _read(kind: str, name: str) -> str:
    root = Path(os.environ.get("PARLEY_DATA", "../shared/data"))
    for path in (Path(name), root / kind / name):
        if path.is_file():
            return path.read_text()
    raise click.UsageError(f"there is no instance {name}, neither here nor in {root / kind}: set PARLEY_DATA")


def _print(record: Record) -> None:
    of = f"{record.ratio:.4f} of {record.reference:g}" if record.ratio is not None else "no reference"
    words = (
        f"{record.instance:<14}{record.protocol:<20}{record.graph:<10}diameter {record.diameter:<3}",
        f"loss {record.loss:.1f}  value {record.value:<12g} {of:<22} rounds {record.rounds:<5}",
        f"converged {record.converged:<5} messages {record.messages:<8} detected {record.detected}",
        f"conflict-free {record.conflict_free}  placed {record.placed}",
    )
    click.echo("  ".join(words))


_graph = click.option("--graph", type=click.Choice(list(GRAPHS)), default="4-regular", show_default=True)
_loss = click.option("--loss", type=click.FloatRange(0.0, 0.9), default=0.0, show_default=True)
_seed = click.option("--seed", type=int, default=1, show_default=True)
_asynchronous = click.option("--asynchronous", is_flag=True)
_instances = click.argument("instances", nargs=-1, required=True)


@click.group()
def bench() -> None:
    """Assignments and bundles on public instances."""


@bench.command()
@click.option("--scaling/--no-scaling", default=True)
@_seed
@_instances
def auction(instances: tuple[str, ...], seed: int, scaling: bool) -> None:
    """Bertsekas, in rounds in which all hear all."""
    for name in instances:
        _print(run_auction(name, assignment_costs(_read("assign", name)), seed, scaling=scaling))


@bench.command()
@_graph
@_loss
@_seed
@_asynchronous
@_instances
def bundles(instances: tuple[str, ...], graph: str, loss: float, seed: int, asynchronous: bool) -> None:
    """CBAA: one task each."""
    for name in instances:
        costs = assignment_costs(_read("assign", name))
        _print(run_bundles(name, costs, seed, graph=graph, loss=loss, asynchronous=asynchronous))


@bench.command("makespan")
@_graph
@_loss
@_seed
@_asynchronous
@_instances
def makespans(instances: tuple[str, ...], graph: str, loss: float, seed: int, asynchronous: bool) -> None:
    """CBBA for makespans."""
    for name in instances:
        times = run_times(_read("hcsp/512x16", name))
        _print(run_makespan(name, times, seed, graph=graph, loss=loss, asynchronous=asynchronous))


if __name__ == "__main__":
    bench(prog_name="python -m parley.launch.bench.consensus", args=sys.argv[1:])
