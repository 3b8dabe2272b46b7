"""What keys cost: the same fleet without and with them, turn about, so that the ratios hold within one run.

    latency      one no-op from submit to result, the next when it has ended
    throughput   no-ops handed in all at once
    bulk         one value of BULK_BYTES there and back, inside messages: encryption by the byte
    processor    what all of it has cost agents and client together, which does not depend on who else is busy

All agents and the client share one key, as local fleets do; the cost is that of the handshakes and of the cipher.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import msgspec
import psutil

from ...transport.security import make
from ..client import Connection
from ..fleet import LocalFleet
from .fleets import fleet_of
from .latency import Times, median, no_op, timed
from .throughput import all_at_once

NODES = 4
SAMPLES = 200
TASKS = 500
BULK_BYTES = 200_000
BULKS = 30
REPEATS = 7


class Side(msgspec.Struct, frozen=True):
    """Medians over the repeats."""

    latency: Times
    tasks_per_s: float
    bulk_mb_per_s: float
    processor_s: float


class Line(msgspec.Struct, frozen=True):
    """Both, and medians of the paired ratios: how many times slower it is with keys."""

    plain: Side
    keyed: Side
    latency_ratio: float
    throughput_ratio: float
    bulk_ratio: float
    processor_ratio: float


async def measure(samples: int = SAMPLES, tasks: int = TASKS, bulks: int = BULKS, repeats: int = REPEATS) -> Line:
    """Plain and with keys, turn about."""
    plain: list[Side] = []
    keyed: list[Side] = []
    with tempfile.TemporaryDirectory() as folder:
        own = make(Path(folder) / "keys", "bench").folder
        for _ in range(repeats):
            plain.append(await _side((), samples, tasks, bulks))
            keyed.append(await _side((f"--keys={own}",), samples, tasks, bulks))
    pairs = list(zip(plain, keyed, strict=True))
    return Line(
        _median(plain),
        _median(keyed),
        _ratio([after.latency.p50_ms / before.latency.p50_ms for before, after in pairs]),
        _ratio([before.tasks_per_s / after.tasks_per_s for before, after in pairs]),
        _ratio([before.bulk_mb_per_s / after.bulk_mb_per_s for before, after in pairs]),
        _ratio([after.processor_s / before.processor_s for before, after in pairs]),
    )


async def _side(flags: tuple[str, ...], samples: int, tasks: int, bulks: int) -> Side:
    async with fleet_of(NODES, flags=flags) as (fleet, client):
        before = _processor_s(fleet)
        latency = await timed(partial(no_op, client), samples)
        seconds = await all_at_once(client, tasks)
        moved = await _moved(client, bulks)
        processor_s = _processor_s(fleet) - before
    return Side(latency, round(tasks / seconds, 1), round(moved, 2), round(processor_s, 2))


def _processor_s(fleet: LocalFleet) -> float:
    """Of all agents and of this process, so far."""
    times = [psutil.Process(pid).cpu_times() for pid in (os.getpid(), *(one.pid for one in fleet.agents.values()))]
    return float(sum(one.user + one.system for one in times))


async def _moved(client: Connection, bulks: int) -> float:
    """Megabytes per second, one value after the other."""
    value = [b"x" * BULK_BYTES]
    begun = time.perf_counter()
    for _ in range(bulks):
        await client.submit("echo", value)
    return 2 * bulks * BULK_BYTES / 1e6 / (time.perf_counter() - begun)


def _median(sides: list[Side]) -> Side:
    return Side(
        median([side.latency for side in sides]),
        statistics.median(side.tasks_per_s for side in sides),
        statistics.median(side.bulk_mb_per_s for side in sides),
        statistics.median(side.processor_s for side in sides),
    )


def _ratio(ratios: list[float]) -> float:
    return round(statistics.median(ratios), 2)
