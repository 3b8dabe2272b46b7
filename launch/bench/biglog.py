"""A log of a million lines from a real run, and how long it takes to ask it why.

    a run -> copy after copy of it, each later by its length, with tasks and auctions of its own -> one run, so long
    why, tasks, report, verify, each as a process of its own -> seconds, and the most memory it held

Every copy is a life of its nodes: they start, and their lines are counted from 1, as after a restart.

    python -m parley.launch.bench.biglog runs/last --lines 1000000
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import msgspec
import psutil

from ...transport.clock import COUNTER_BITS
from ..analysis.run import open_run
from ..submission import CROCKFORD

LOOK_S = 0.01
LIMITS_S = {"why": 3.0, "tasks": 3.0, "report": 30.0, "verify": None}


class Line(msgspec.Struct, frozen=True):
    """One command on the big log."""

    command: str
    seconds: float
    limit_s: float | None
    memory_mb: float


def repeat(run: Path, folder: Path, lines: int) -> int:
    """Write copies of this run to `folder` until it has so many lines; how many it has. Raises RunError."""
    files = open_run(run).files
    heads = [head for file in files for head, _ in file.heads()]
    first, last = min(head.ts for head in heads), max(head.ts for head in heads)
    copies = -(-lines // len(heads))
    length = (last - first) + timedelta(seconds=1)
    for file in files:
        decoded: list[dict[str, Any]] = [msgspec.json.decode(line) for _, line in file.heads()]
        with (folder / file.path.name).open("wb", buffering=1 << 20) as out:
            for number in range(copies):
                for fields in decoded:
                    out.write(msgspec.json.encode(_later(fields, number, number * length)) + b"\n")
    return copies * len(heads)


def _later(fields: dict[str, Any], number: int, later: timedelta) -> dict[str, Any]:
    """The same line in that copy."""
    seconds = later.total_seconds()
    at = datetime.fromisoformat(fields["ts"]) + later
    moved = {
        **fields,
        "ts": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "mono": fields["mono"] + seconds,
        "hlc": fields["hlc"] + (int(seconds * 1000) << COUNTER_BITS),
    }
    if "task" in fields:
        moved["task"] = _renamed(fields["task"], number)
    if "tasks" in fields:
        moved["tasks"] = [_renamed(task, number) for task in fields["tasks"]]
    if "steps" in fields:
        moved["steps"] = [{**step, "task": _renamed(step["task"], number)} for step in fields["steps"]]
    if "auction" in fields:
        moved["auction"] = f"{fields['auction']}.{number}"
    return moved


@lru_cache(maxsize=1 << 16)
def _renamed(task: str, number: int) -> str:
    """An id as random as all are."""
    value = int.from_bytes(hashlib.blake2b(f"{task} {number}".encode(), digest_size=8).digest())
    return "".join(CROCKFORD[value >> 5 * place & 31] for place in range(12))


def measure(words: Sequence[str]) -> tuple[float, float]:
    """Seconds of a command, and the most memory it held, in megabytes."""
    begun = time.perf_counter()
    with psutil.Popen([sys.executable, "-P", "-m", "parley", *words], stdout=-3) as process:
        most = 0
        while process.poll() is None:
            try:
                most = max(most, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(LOOK_S)
        code = process.wait()
    if code:
        raise RuntimeError(f"parley {' '.join(words)} ended with {code}")
    return time.perf_counter() - begun, most / 1e6


def commands(run: Path) -> list[Line]:
    """Each of them on the run in this folder."""
    asked = {
        "why": ["why", "last", f"--run={run}"],
        "tasks": ["tasks", f"--run={run}", "--state=failed"],
        "report": ["report", str(run)],
        "verify": ["verify", str(run)],
    }
    told = []
    for command, words in asked.items():
        seconds, memory = measure(words)
        told.append(Line(command, seconds, LIMITS_S[command], memory))
    return told


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--lines", type=click.IntRange(1), default=1_000_000, show_default=True, help="How many at least.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Write it here, and leave it.")
def main(run: Path, lines: int, keep: Path | None) -> None:
    """How long the commands over logs take where RUN is repeated to so many lines."""
    with tempfile.TemporaryDirectory() as folder:
        place = keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        written = repeat(run, place, lines)
        size = sum(path.stat().st_size for path in place.glob("*.jsonl"))
        click.echo(f"{written:,} lines, {size / 1e6:,.0f} MB")
        for line in commands(place):
            most = f"(at most {line.limit_s:g})" if line.limit_s else ""
            click.echo(f"{line.command:<8}{line.seconds:8.2f} s  {line.memory_mb:8.0f} MB   {most}")
        page = place / "report.html"
        click.echo(f"report.html is {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
