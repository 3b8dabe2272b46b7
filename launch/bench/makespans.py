"""Makespan over its lower bound: real agents of speeds 1,1,2,4, lognormal tasks, all handed in at once.

Beside it stands blind pull on the very same tasks: each node takes the next task in order of arrival whenever it is
free, with no message and no time lost in between, so what blind pull loses, it loses by being blind.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ...protocols.objective import prefix_bound
from ..analysis.summary import summarise
from ..client import Connection
from ..fleet import LocalFleet

SPEEDS = (1.0, 1.0, 2.0, 4.0)
SEEDS = 7
SIGMA = 1.0
BOUND_S = {24: 2.0, 400: 5.0}
"""About how long one run takes: so long that tens of milliseconds do not count, so short that one can wait."""


class Line(msgspec.Struct, frozen=True):
    """Medians over the seeds; 1 is the lower bound."""

    tasks: int
    ours: float
    ours_worst: float
    blind_pull: float


async def measure(tasks: int) -> Line:
    ours: list[float] = []
    blind: list[float] = []
    for seed in range(SEEDS):
        works = lognormal(tasks, seed)
        bound = prefix_bound(works, SPEEDS)
        ours.append(await makespan(works) / bound)
        blind.append(blind_pull(works) / bound)
    return Line(tasks, round(statistics.median(ours), 3), round(max(ours), 3), round(statistics.median(blind), 3))


def lognormal(tasks: int, seed: int) -> list[float]:
    """Works in seconds at speed 1, scaled so that together they take about BOUND_S on these nodes."""
    rng = random.Random(seed)
    works = [rng.lognormvariate(0.0, SIGMA) for _ in range(tasks)]
    scale = BOUND_S[tasks] * sum(SPEEDS) / sum(works)
    return [work * scale for work in works]


async def makespan(works: Sequence[float]) -> float:
    """Seconds from the first start to the last end in a fleet of real agents."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"n{number}" for number in range(1, len(SPEEDS) + 1)]
        async with (
            await LocalFleet.start(names, speeds=SPEEDS, run=Path(folder)) as fleet,
            await Connection.connect([fleet.address]) as client,
        ):
            await client.ready(len(SPEEDS), 30.0)
            await asyncio.gather(*(client.submit("work", {}, work=work) for work in works))
        return summarise(Path(folder)).makespan_s


def blind_pull(works: Sequence[float]) -> float:
    """The makespan if each node takes the next task as soon as it is free."""
    free = [(0.0, -speed) for speed in SPEEDS]
    heapq.heapify(free)
    end = 0.0
    for work in works:
        at, speed = free[0]
        heapq.heapreplace(free, (at + work / -speed, speed))
        end = max(end, at + work / -speed)
    return end
