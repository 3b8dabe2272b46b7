"""Local fleets of real processes for tests: whatever is started is ended, and no process is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import warm_commands

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


class Agent(NamedTuple):
    """One `parley up` as a person starts it."""

    process: subprocess.Popen[str]
    name: str
    address: str

    def end(self, number: signal.Signals, timeout_s: float = 20.0) -> tuple[int, str]:
        """Send this signal; its exit code, and what it said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, said


@contextmanager
def agent(*flags: str, home: Path, env: Mapping[str, str] | None = None) -> Iterator[Agent]:
    """`parley up` with these flags, in a home of its own, listening; whatever happens it is gone afterwards."""
    process = subprocess.Popen(
        [*PARLEY, "up", "--json", *flags],
        cwd=home,
        env=at_home(home, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"it did not start: {process.communicate(timeout=READY_S)[1]}")
        told = json.loads(line)
        yield Agent(process, told["node"], told["address"])
    finally:
        members = family(process.pid)
        process.kill()
        process.communicate()
        _, living = psutil.wait_procs(members, 10.0)
        assert not living


def at_home(home: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which nothing of this machine's own agents and settings is found."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    places = {"CONFIG": home / "config", "STATE": home / "state", "CACHE": home / "cache"}
    xdg = {f"XDG_{name}_HOME": str(place) for name, place in places.items()}
    return {**clean, **xdg, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), **(env or {})}


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
    return warm_commands.run(arguments, cwd=cwd, env={**os.environ, **(env or {})}, timeout_s=timeout_s)
