"""No-op tasks per second when ten thousand are handed in at once, beside as many negotiations over bare sockets.

The bare side negotiates each task by itself, ours many in one call: so ours may well be the faster one here.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import msgspec

from ...protocols.core import State
from ..client import Connection
from . import bare
from .fleets import READY_S, fleet_of
from .negotiations import bare_fleet

NODES = 4
TASKS = 10_000
WARM = 1_000
REPEATS = 5


class Line(msgspec.Struct, frozen=True):
    """Medians over the repeats; `ratio` is the median of the paired ratios."""

    tasks: int
    ours_per_s: float
    bare_per_s: float
    ratio: float


async def measure(tasks: int = TASKS, repeats: int = REPEATS) -> Line:
    """Both sides, turn about."""
    pairs: list[tuple[float, float]] = []
    for _ in range(repeats):
        async with fleet_of(NODES) as (_, client):
            await all_at_once(client, min(WARM, tasks))
            ours = tasks / await all_at_once(client, tasks)
        async with bare_fleet(NODES) as router:
            other = bare.Client(router)
            await asyncio.wait_for(other.ready(), READY_S)
            await other.end(min(WARM, tasks))
            begun = time.perf_counter()
            await other.end(tasks)
            pairs.append((ours, tasks / (time.perf_counter() - begun)))
            other.close()
    return Line(
        tasks,
        round(statistics.median(ours for ours, _ in pairs), 1),
        round(statistics.median(bare for _, bare in pairs), 1),
        round(statistics.median(ours / bare for ours, bare in pairs), 3),
    )


async def all_at_once(client: Connection, tasks: int) -> float:
    """Seconds until the last of them has ended."""
    begun = time.perf_counter()
    outcomes = await asyncio.gather(*(client.submit("echo", []) for _ in range(tasks)))
    seconds = time.perf_counter() - begun
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    return seconds
