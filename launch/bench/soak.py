"""`make soak`: many agents, minutes of random work, clients that come and go, agents killed and started again.

What it shows: no task is lost and none is committed twice, every one ends as it may (`soak_tasks.py`), and one that is
to be started at most once is; no agent that stays comes to hold more and more memory, descriptors or processes
(`growth.py`). Whatever is not so is one line, and the exit code 1.

    make soak ARGS="--seconds 600 --agents 16 --seed 1"
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from ...protocols.commitment_events import TaskHeld
from ...protocols.contract_events import TaskStarted
from ..analysis.run import open_run, understand
from ..analysis.summary import summarise
from ..client import Connection
from .closing import close, first_of, logs_in, teller
from .growth import Growth
from .soak_clients import PATIENCE_S, Ledger, come_and_go
from .soak_fleet import SoakFleet
from .starts import read as read_starts

CLIENTS = 8
LOOKS = 150
"""So often each agent is looked at, but not more than twice a second."""
TROUBLES = 30
"""So often something happens to an agent, about."""
TOLD_EVERY_S = 30.0


class Report(msgspec.Struct, frozen=True):
    """What a soak came to. `wrong` are sentences; `agents` those that stayed."""

    seconds: float
    clients: int
    handed_in: int
    states: dict[str, int]
    restarts: int
    lost: int
    committed_twice: int
    started_twice: int
    reassigned: int
    wrong: list[str]
    agents: dict[str, Growth]

    @property
    def is_good(self) -> bool:
        growth = any(agent.is_growth for agent in self.agents.values())
        return not (self.lost or self.committed_twice or self.started_twice or self.wrong or growth)


async def soak(
    agents: int,
    seconds: float,
    seed: int,
    folder: Path,
    per_s: float,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """So many agents at work for so long, `per_s` tasks a second; `tell` is told how it goes on."""
    ledger = Ledger()
    rng = random.Random(seed)
    fleet = await SoakFleet.start(agents, folder)
    try:
        desks = {name: fleet.address(name) for name in fleet.desks}
        async with await Connection.connect(list(desks.values())) as client:
            await client.ready(agents, 60.0)
        begun = time.monotonic()
        clients = [
            asyncio.create_task(come_and_go(ledger, desks, random.Random(rng.random()), CLIENTS / per_s))
            for _ in range(CLIENTS)
        ]
        others = [
            asyncio.create_task(fleet.look(max(seconds / LOOKS, 0.5))),
            asyncio.create_task(fleet.trouble(random.Random(rng.random()), max(seconds / TROUBLES, 4.0))),
            asyncio.create_task(_tell(ledger, fleet, begun, tell)),
        ]
        await asyncio.wait([*clients, *others], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        await _end(others)
        await asyncio.wait_for(_end(clients), 2 * PATIENCE_S)
        for name, address in desks.items():
            await ledger.ask(name, address)
        took = time.monotonic() - begun
    finally:
        await fleet.stop()
    return await asyncio.to_thread(_report, ledger, fleet, folder, begun, took)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what runs until it is cancelled; what it has raised meanwhile is raised here."""
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended


async def _tell(ledger: Ledger, fleet: SoakFleet, begun: float, tell: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        tell(
            f"{time.monotonic() - begun:6.0f} s   {len(ledger.taken):,} tasks from {ledger.clients} clients, "
            f"{len(ledger.open)} under way or left behind, {fleet.restarts} restarts, {len(ledger.wrong)} wrong"
        )


def _report(ledger: Ledger, fleet: SoakFleet, folder: Path, begun: float, took: float) -> Report:
    summary = summarise(folder)
    half = begun + took / 2
    late = [desk for at, desk in ledger.taken if at > half]
    held, begun_at = _held_and_begun(folder, half)
    return Report(
        round(took, 1),
        ledger.clients,
        len(ledger.taken),
        dict(sorted(ledger.states.items())),
        fleet.restarts,
        max(summary.lost, len(ledger.open)),
        summary.committed_twice,
        len(read_starts(folder).more_than_once(ledger.once)),
        summary.reassigned,
        ledger.wrong,
        {
            name: series.growth(late.count(name), held[name], begun_at[name], len(late))
            for name, series in fleet.series.items()
        },
    )


def _held_and_begun(folder: Path, since: float) -> tuple[Counter[str], Counter[str]]:
    """How many tasks each node was given to hold, and how many awards it has begun."""
    held: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for head, line in open_run(folder).heads():
        if head.mono <= since:
            continue
        if head.event == TaskHeld.name:
            event = understand(head, line)
            if isinstance(event, TaskHeld):
                held.update(event.holders)
        elif head.event == TaskStarted.name:
            begun[head.node] += 1
    return held, begun


def table(report: Report) -> list[str]:
    """For people."""
    states = ", ".join(f"{number:,} {state}" for state, number in report.states.items())
    lines = [
        f"{report.handed_in:,} tasks from {report.clients} clients in {report.seconds:.0f} s: {states}",
        f"{report.restarts} restarts, {report.reassigned} tasks reassigned, {report.lost} lost, "
        f"{report.committed_twice} committed twice, {report.started_twice} started twice that may not be",
        "",
        "         memory    grew in the second half    descriptors  grew      processes  grew",
    ]
    for name, agent in report.agents.items():
        memory = f"{agent.memory_mb:6.1f} MB   {agent.memory_grew_mb:+6.2f} MB (remembers {agent.remembered_mb:.2f})"
        descriptors = f"{agent.descriptors:8d}  {agent.descriptors_grew:+6.2f}"
        children = f"{agent.children:8d}  {agent.children_grew:+6.2f}"
        lines.append(f"{name:<5} {memory}   {descriptors}   {children}" + ("   grows" if agent.is_growth else ""))
    return [*lines, *first_of(report.wrong)]


@click.command()
@click.option("--agents", type=click.IntRange(4, 64), default=16, show_default=True)
@click.option("--seconds", type=click.FloatRange(1.0), default=600.0, show_default=True)
@click.option("--per-second", "per_s", type=click.FloatRange(1.0), default=40.0, show_default=True, help="Tasks.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the logs here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
def main(agents: int, seconds: float, per_s: float, seed: int, folder: Path | None, as_json: bool) -> None:
    """Random work for a long time, and what became of it."""
    with logs_in(folder) as run:
        report = asyncio.run(soak(agents, seconds, seed, run, per_s, teller(as_json)))
    close(report, table(report), as_json, report.is_good)


if __name__ == "__main__":
    main(prog_name="make soak")
