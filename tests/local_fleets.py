"""Local fleets of real processes for tests: whatever is started is ended, and no process is left."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from parley.launch.client import Connection
from parley.launch.fleet import LocalFleet

READY_S = 30.0
PARLEY = (sys.executable, "-P", "-m", "parley")


@asynccontextmanager
async def fleet_of(
    nodes: int, run: Path, *, speeds: Sequence[float] | None = None, **options: object
) -> AsyncIterator[tuple[LocalFleet, Connection]]:
    """So many agents, ready for work, and a client of the first; all processes are gone afterwards."""
    names = [f"n{number}" for number in range(1, nodes + 1)]
    fleet = await LocalFleet.start(names, speeds=speeds, run=run, **options)  # type: ignore[arg-type]
    processes = [process for agent in fleet.agents.values() for process in family(agent.pid)]
    try:
        client = await Connection.connect([fleet.address])
        try:
            await client.ready(nodes, READY_S)
            yield fleet, client
        finally:
            client.close()
        processes += [process for name in fleet.alive for process in family(fleet.agents[name].pid)]
    finally:
        await fleet.stop()
    await all_gone(processes)


def family(pid: int) -> list[psutil.Process]:
    """A process and all it has started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


async def all_gone(processes: Sequence[psutil.Process], timeout_s: float = 10.0) -> None:
    """Wait until none of them runs."""
    _, living = await asyncio.to_thread(psutil.wait_procs, processes, timeout_s)
    assert not living


def parley(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*PARLEY, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
