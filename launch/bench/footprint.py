"""How soon a fleet of four is at work, what an idle agent costs in memory, and how soon `parley why` answers."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from ..client import Connection
from ..fleet import LocalFleet

REPEATS = 5
NODES = 4


class Line(msgspec.Struct, frozen=True):
    """Medians: seconds from nothing to the first result; memory that each idle agent alone holds; a whole `why`."""

    first_result_s: float
    idle_agent_mb: float
    why_s: float


async def measure() -> Line:
    starts: list[float] = []
    memory: list[float] = []
    asked: list[float] = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            names = [f"n{number}" for number in range(1, NODES + 1)]
            async with await LocalFleet.start(names, run=Path(folder)) as fleet:
                async with await Connection.connect([fleet.address]) as client:
                    await client.ready(NODES, 30.0)
                    await client.submit("echo", [])
                    starts.append(time.perf_counter() - begun)
                agents = [psutil.Process(agent.pid) for agent in fleet.agents.values()]
                memory += [agent.memory_full_info().uss / 1e6 for agent in agents]
            asked += [await asyncio.to_thread(_why, folder)]
    return Line(
        round(statistics.median(starts), 3), round(statistics.median(memory), 1), round(statistics.median(asked), 3)
    )


def _why(folder: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-m", "parley", "why", "last", "--run", folder], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - begun
