"""A hundred thousand tasks in one file, handed in by `parley submit --file` as people do it: memory and time.

    submit --file tasks.jsonl    its ids on stdout, all different, one per line of the file
    wait --all                   until all have ended; every one must be done

The commands are processes of their own, so are the four agents. The memory of each is looked at ten times a second, and
where the system remembers the peak, the peak counts.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from .fleets import fleet_of
from .holdings import held_by

NODES = 4
TASKS = 100_000
REPEATS = 3
LOOK_S = 0.1
LINE = '{"kind": "sleep", "args": {"seconds": 0}}\n'


class Line(msgspec.Struct, frozen=True):
    """Seconds are medians over the repeats, until all are handed in and until all are done; memory is the most that
    each process held in any of them: `submit` is the command, the rest are agents."""

    tasks: int
    handed_in_s: float
    done_s: float
    peak_mb: dict[str, float]


async def measure(tasks: int = TASKS, repeats: int = REPEATS) -> Line:
    handed_in: list[float] = []
    done: list[float] = []
    peaks: dict[str, float] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tasks.jsonl"
            file.write_text(LINE * tasks)
            in_s, done_s = await _run(file, tasks, peaks)
        handed_in.append(in_s)
        done.append(done_s)
    return Line(tasks, round(statistics.median(handed_in), 2), round(statistics.median(done), 2), peaks)


async def _run(file: Path, tasks: int, peaks: dict[str, float]) -> tuple[float, float]:
    """The seconds of one run; `peaks` rise."""
    async with fleet_of(NODES) as (fleet, _):
        agents = {name: agent.pid for name, agent in fleet.agents.items()}
        begun = time.perf_counter()
        ids = await _command(["submit", f"--file={file}", f"--agent={fleet.address}"], agents, peaks)
        handed_in_s = time.perf_counter() - begun
        assert len(set(ids.split())) == tasks
        told = await _command(["wait", "--all", "--json", f"--agent={fleet.address}"], agents, peaks)
        done_s = time.perf_counter() - begun
        assert msgspec.json.decode(told) == {"tasks": tasks, "states": {"done": tasks}}
    return handed_in_s, done_s


async def _command(words: list[str], agents: dict[str, int], peaks: dict[str, float]) -> bytes:
    """What it prints; the memory of all processes is looked at meanwhile."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "parley", *words), stdout=asyncio.subprocess.PIPE
    )
    printed = asyncio.create_task(process.communicate())
    while not printed.done():
        for name, pid in {words[0]: process.pid, **agents}.items():
            held = held_by(pid)
            if held is not None:
                peaks[name] = max(peaks.get(name, 0.0), round(held.peak_mb, 1))
        await asyncio.wait((printed,), timeout=LOOK_S)
    assert process.returncode == 0, f"parley {words[0]} ended with {process.returncode}"
    return (await printed)[0]
