"""What the tests of assignment and bundles share: small exact references, and speakers on the simulated fleet."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from parley.launch.bench import graphs
from parley.protocols import assignment, cbba, tenders
from parley.protocols.assignment import Person
from parley.protocols.cbba import Cbba
from parley.protocols.core import Effect, Message, NodeId
from parley.protocols.neighbours import AtOnce, InRounds, Speaker
from parley.protocols.scores import Additive, EarliestFinish, Scores
from parley.protocols.tenders import Tenderer
from parley.transport.codec import Codec
from parley.transport.faults import Faults
from parley.transport.simulated import SimulatedFleet

CODEC = Codec((*assignment.MESSAGES, *cbba.MESSAGES, *tenders.MESSAGES))


def data(*parts: str) -> Path:
    """A public instance; the test is skipped where it is not."""
    root = Path(os.environ.get("PARLEY_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the public instance {'/'.join(parts)} is not here: set PARLEY_DATA")
    return path


def nodes(count: int) -> list[NodeId]:
    return [f"n{number:03}" for number in range(count)]


# --- references


def cheapest(costs: Sequence[Sequence[int]]) -> int:
    """The cost of the best assignment, by trying all."""
    rows = range(len(costs))
    return min(sum(costs[row][column] for row, column in enumerate(order)) for order in itertools.permutations(rows))


def greedy(scores: Sequence[Scores], tasks: int, capacity: int) -> list[list[int]]:
    """The sequential greedy algorithm: of all pairs the one that is worth most, again and again. A bundle each."""
    paths: list[list[int]] = [[] for _ in scores]
    bundles: list[list[int]] = [[] for _ in scores]
    left = set(range(tasks))
    while True:
        pairs = [
            (gains[task], -agent, -task)
            for agent, path in enumerate(paths)
            if len(path) < capacity
            for gains in [scores[agent].marginals(path)]
            for task in left
            if gains[task] > 0.0
        ]
        if not pairs:
            return bundles
        _, agent, task = max(pairs)
        paths[-agent].insert(scores[-agent].place(paths[-agent], -task), -task)
        bundles[-agent].append(-task)
        left.discard(-task)


def worth(scores: Sequence[Scores], paths: Sequence[Sequence[int]]) -> float:
    """What all paths are worth together: marginal gains, task by task."""
    return sum(
        float(scores[agent].marginals(path[:place])[task])
        for agent, path in enumerate(paths)
        for place, task in enumerate(path)
    )


def best_worth(scores: Sequence[Scores], tasks: int, capacity: int) -> float:
    """The most that any allocation is worth, by trying all (for schemes in which the order does not matter)."""
    best = 0.0
    for owners in itertools.product(range(-1, len(scores)), repeat=tasks):
        paths = [[task for task, owner in enumerate(owners) if owner == agent] for agent in range(len(scores))]
        if max(map(len, paths)) <= capacity:
            best = max(best, worth(scores, paths))
    return best


# --- instances


def graph(name: str, count: int, seed: int) -> graphs.Graph:
    """By its name, or a random tree: nothing is connected with less."""
    if name != "tree":
        return graphs.graph(name, count, seed)
    rng = random.Random(seed)
    made: graphs.Graph = [[] for _ in range(count)]
    for node in range(1, count):
        other = rng.randrange(node)
        made[node].append(other)
        made[other].append(node)
    return made


def scheme(name: str, agents: int, tasks: int, rng: random.Random) -> list[Scores]:
    """Random scores of a scheme with diminishing marginal gain, with many ties where they are additive."""
    if name == "additive":
        return [Additive([rng.randint(0, 6) for _ in range(tasks)]) for _ in range(agents)]
    works = [rng.uniform(1.0, 9.0) for _ in range(tasks)]
    return [EarliestFinish([rng.uniform(1.0, 9.0) for _ in range(tasks)], works) for _ in range(agents)]


def agents_of(scores: Sequence[Scores], tasks: int, capacity: int, *, asynchronous: bool = False) -> dict[NodeId, Cbba]:
    names = nodes(len(scores))
    return {
        name: Cbba(name, "s", names, tasks, mine, capacity, asynchronous=asynchronous)
        for name, mine in zip(names, scores, strict=True)
    }


def persons_of(costs: Sequence[Sequence[int]], epsilons: Sequence[int], *, relays: bool = True) -> dict[NodeId, Person]:
    names = nodes(len(costs))
    return {
        name: Person(name, "s", names, row, epsilons, relays=relays) for name, row in zip(names, costs, strict=True)
    }


def tenderers_of(costs: Sequence[Sequence[int]], *, relays: bool = True) -> dict[NodeId, Tenderer]:
    names = nodes(len(costs))
    return {name: Tenderer(name, "s", names, row, relays=relays) for name, row in zip(names, costs, strict=True)}


def bundles(speakers: Mapping[NodeId, Cbba]) -> list[list[int]]:
    return [sorted(speaker.bundle) for speaker in speakers.values()]


def conflict_free(speakers: Mapping[NodeId, Cbba]) -> bool:
    """No task is in two bundles, and all believe alike who has which."""
    taken = [task for speaker in speakers.values() for task in speaker.bundle]
    [winners] = {tuple(speaker.winners) for speaker in speakers.values()}
    alike = all(
        (winner == place) == (task in speaker.bundle)
        for place, speaker in enumerate(speakers.values())
        for task, winner in enumerate(winners)
    )
    return len(taken) == len(set(taken)) and alike


# --- on the fleet


class Starting:
    """A driver that begins by itself, as soon as it lives."""

    def __init__(self, driver: InRounds | AtOnce) -> None:
        self.driver = driver
        self._begun = False

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        return self.driver.receive(message, sender, now)

    def wake(self, now: float) -> Sequence[Effect]:
        if self._begun:
            return self.driver.wake(now)
        self._begun = True
        return self.driver.begin(now)

    @property
    def deadline(self) -> float | None:
        return self.driver.deadline if self._begun else 0.1

    @property
    def spoken(self) -> int:
        return self.driver.spoken


def on_fleet(
    speakers: Mapping[NodeId, Speaker],
    connected: graphs.Graph,
    driver: Callable[[Speaker, list[NodeId]], InRounds | AtOnce],
    *,
    seed: int,
    faults: Faults,
    until: float = 600.0,
) -> tuple[SimulatedFleet, list[Starting]]:
    """Run them on the simulated fleet, over its links, until nobody has anything to say."""
    fleet = SimulatedFleet(seed, faults, CODEC)
    names = list(speakers)
    running = []
    for place, (name, speaker) in enumerate(speakers.items()):
        role = Starting(driver(speaker, [names[other] for other in connected[place]]))
        running.append(role)
        fleet.add(name, role)
    for place, name in enumerate(names):
        for other in connected[place]:
            fleet.mesh([name, names[other]])
    fleet.run(until=until, while_=lambda: not all(speaker.done for speaker in speakers.values()))
    fleet.run(until=fleet.now + 5.0)
    return fleet, running


def assert_silent(fleet: SimulatedFleet, roles: Sequence[Starting]) -> None:
    """Nobody says anything more."""
    spoken = [role.spoken for role in roles]
    fleet.run(until=fleet.now + 10.0)
    assert [role.spoken for role in roles] == spoken
