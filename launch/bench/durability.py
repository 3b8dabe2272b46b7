"""What commitment costs: the same no-ops with three holders and one, with journals and without.

    durable ack    from submit until a majority of the holders has the task on disk
    result         from submit until its outcome is known: four fsyncs in a row with a journal
    at once        no-ops per second when thousands are handed in together

    python -m parley.launch.bench.durability
    python -m parley.launch.bench.durability --tasks 1000 --samples 200 --repeats 1

All four fleets are measured in turn, as often as is said, so that ratios hold within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import msgspec

from ..client import Connection
from ..submission import Submission
from .fleets import fleet_of
from .latency import WARM, Times, times
from .throughput import all_at_once

NODES = 4
SETTINGS = {
    "three holders, journal": ("--holders=3",),
    "one holder, journal": ("--holders=1",),
    "three holders, no journal": ("--holders=3", "--no-journal"),
    "one holder, no journal": ("--holders=1", "--no-journal"),
}


class Line(msgspec.Struct, frozen=True):
    """Medians over the repeats."""

    setting: str
    ack_p50_ms: float
    result_p50_ms: float
    result_p99_ms: float
    tasks_per_s: float


async def measure(tasks: int, samples: int, repeats: int) -> list[Line]:
    """One line per setting."""
    told: dict[str, list[tuple[Times, Times, float]]] = {setting: [] for setting in SETTINGS}
    for _ in range(repeats):
        for setting, flags in SETTINGS.items():
            async with fleet_of(NODES, flags=flags) as (_, client):
                acks, results = await one_by_one(client, samples)
                await all_at_once(client, max(tasks // 10, 1))
                told[setting].append((acks, results, tasks / await all_at_once(client, tasks)))
    return [
        Line(
            setting,
            round(statistics.median(acks.p50_ms for acks, _, _ in runs), 2),
            round(statistics.median(results.p50_ms for _, results, _ in runs), 2),
            round(statistics.median(results.p99_ms for _, results, _ in runs), 2),
            round(statistics.median(rate for _, _, rate in runs), 0),
        )
        for setting, runs in told.items()
    ]


async def one_by_one(client: Connection, samples: int) -> tuple[Times, Times]:
    """How long until each is acknowledged, and until it has ended."""
    acks: list[float] = []
    results: list[float] = []
    for number in range(min(WARM, samples) + samples):
        [submit] = Submission("echo", []).submits()
        begun = time.perf_counter()
        handle = client.hand_in(submit)
        await handle.taken
        acked = time.perf_counter()
        await handle.outcome
        if number >= min(WARM, samples):
            acks.append(acked - begun)
            results.append(time.perf_counter() - begun)
    return times(acks), times(results)


def main() -> None:
    parser = argparse.ArgumentParser(description="What commitment costs.")
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    told = parser.parse_args()
    for line in asyncio.run(measure(told.tasks, told.samples, told.repeats)):
        print(
            f"{line.setting:26} ack {line.ack_p50_ms:7.2f} ms   result {line.result_p50_ms:7.2f} ms "
            f"(p99 {line.result_p99_ms:.2f})   {line.tasks_per_s:7.0f}/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
