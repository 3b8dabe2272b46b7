"""`make chaos`: everything happens to a fleet at work, and nothing is lost, nothing committed twice.

Agents are killed, stopped, sent away and cut off, and come back with their journals; one dies for good; clients die;
strangers talk nonsense (`chaos_fleet.py`). Meanwhile clients hand in work of all kinds (`chaos_clients.py`). When the
last fault is over, every living agent is asked for the outcome of every task that was acknowledged, and the logs of all
are read. Whatever was not kept is one line, and the exit code 1.

    make chaos ARGS="--faults 300 --tasks 500 --agents 8 --seed 1"
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from ...protocols.core import TaskId
from ..analysis.summary import summarise
from ..client import Connection
from ..problems import Problem
from .chaos_clients import Clients
from .chaos_fleet import ChaosFleet
from .closing import close, first_of, logs_in, teller
from .halves import halves, why_not
from .soak_clients import PATIENCE_S, Ledger
from .starts import read as read_starts
from .survivors import Verdict, ask

CLIENTS = 6
FAULT_EVERY_S = 0.5
READY_S = 60.0
TOLD_EVERY = 50
ANSWER_S = 10.0
ASKED_MAX = 3
DEATH_AT = 0.6
"""After so much of it one agent dies for good."""


class Report(msgspec.Struct, frozen=True):
    """What it came to. `unsure` is how often a living agent could not say how a task had ended that others knew of;
    `begun_after` counts tasks of which an attempt began when the result of another stood: work in vain, no harm."""

    seconds: float
    agents: int
    faults: dict[str, int]
    left_out: str
    clients: int
    handed_in: int
    acknowledged: int
    refused: int
    unheard: int
    states: dict[str, int]
    starts: int
    begun_after: int
    lost: int
    committed_twice: int
    started_twice: int
    unsure: int
    wrong: list[str]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.committed_twice or self.started_twice or self.wrong)


async def chaos(
    agents: int,
    tasks: int,
    faults: int,
    seed: int,
    folder: Path,
    every_s: float = FAULT_EVERY_S,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """So many faults, one every `every_s` on average, while so many tasks are done."""
    left_out = why_not()
    with ExitStack() as stack:
        two = None if left_out else stack.enter_context(halves(outside=True))
        rng = random.Random(seed)
        ledger = Ledger()
        fleet = ChaosFleet(agents, folder, random.Random(rng.random()), two, lambda: clients.kill_one())
        clients = Clients(ledger, fleet.addresses, random.Random(rng.random()))
        begun = time.monotonic()
        await fleet.start()
        working: list[asyncio.Task[None]] = []
        try:
            async with await Connection.connect(list(fleet.addresses().values())) as client:
                await client.ready(agents, READY_S)
            working += [asyncio.create_task(clients.come_and_go()) for _ in range(CLIENTS)]
            await _storm(fleet, clients, rng, tasks, faults, every_s, tell)
            await fleet.heal()
            tell(f"{time.monotonic() - begun:6.0f} s   the last fault is over")
            await asyncio.wait_for(asyncio.gather(*working), 3 * PATIENCE_S)
            verdict = await _settle(ledger, clients, fleet)
        finally:
            for task in working:
                task.cancel()
            await fleet.stop()
    return await asyncio.to_thread(_report, ledger, clients, fleet, verdict, folder, time.monotonic() - begun, left_out)


async def _storm(
    fleet: ChaosFleet,
    clients: Clients,
    rng: random.Random,
    tasks: int,
    faults: int,
    every_s: float,
    tell: Callable[[str], None],
) -> None:
    """The faults, and with each its part of the tasks."""
    for fault in range(faults):
        for _ in range(tasks * fault // faults, tasks * (fault + 1) // faults):
            clients.permits.put_nowait(True)
        await asyncio.sleep(rng.expovariate(1.0 / every_s))
        if fault == int(faults * DEATH_AT):
            fleet.die()
        else:
            fleet.strike()
        if (fault + 1) % TOLD_EVERY == 0:
            told = f"{len(clients.told)} of {len(clients.acknowledged)} tasks have ended"
            tell(f"{fault + 1:4} faults, {told}, {', '.join(fleet.addresses())} are well")
    for _ in range(CLIENTS):
        clients.permits.put_nowait(False)


async def _settle(ledger: Ledger, clients: Clients, fleet: ChaosFleet) -> Verdict:
    """Ask every agent that lives for everything; what a client never heard of is in the ledger by that."""
    agents = fleet.addresses()
    waited = await _wait(sorted(clients.acknowledged), next(iter(agents.values())), ledger)
    verdict = await ask(sorted(clients.acknowledged), agents, ANSWER_S if waited else 1.0, clients.told)
    for task in [task for task in ledger.open if task in verdict.outcomes]:
        ledger.told(verdict.outcomes[task])
    return verdict


async def _wait(tasks: list[TaskId], address: str, ledger: Ledger) -> bool:
    """All have ended, as one agent says; it may have to ask the others more than once where they all are."""
    told = ""
    async with await Connection.connect([address], READY_S) as client:
        for _ in range(ASKED_MAX):
            try:
                return (await asyncio.wait_for(client.wait(tasks), PATIENCE_S)).ended
            except (TimeoutError, Problem) as problem:
                told = str(problem)
            await asyncio.sleep(1.0)
    ledger.wrong.append(f"one agent cannot wait for all tasks: {told}")
    return False


def _report(
    ledger: Ledger,
    clients: Clients,
    fleet: ChaosFleet,
    verdict: Verdict,
    folder: Path,
    took_s: float,
    left_out: str,
) -> Report:
    summary = summarise(folder)
    starts = read_starts(folder)
    wrong = [f"{task} is lost" for task in sorted(verdict.lost)]
    wrong += [f"{task} has two outcomes" for task in sorted(verdict.twice)]
    wrong += [f"{task} has ended, and its client was not told" for task in sorted(clients.untold - verdict.lost)]
    wrong += [f"{task} has not ended" for task in sorted(ledger.open.keys() - verdict.lost)]
    return Report(
        round(took_s, 1),
        len(fleet.names),
        dict(sorted(fleet.happened.items())),
        left_out,
        ledger.clients,
        len(ledger.taken),
        len(clients.acknowledged),
        clients.refused,
        clients.unheard,
        {str(state): number for state, number in sorted(ledger.states.items())},
        starts.total(),
        len(starts.after_commit()),
        len(verdict.lost),
        max(summary.committed_twice, len(verdict.twice)),
        len(starts.more_than_once(ledger.once)),
        sum(map(len, verdict.unsure.values())),
        [*wrong, *ledger.wrong],
    )


def table(report: Report) -> list[str]:
    """For people."""
    faults = Counter(report.faults)
    kinds = ", ".join(f"{number} {kind}" for kind, number in faults.most_common())
    states = ", ".join(f"{number} {state}" for state, number in report.states.items())
    lines = [
        f"{report.agents} agents, {report.seconds:.0f} s, {faults.total()} faults: {kinds}",
        f"{report.handed_in} tasks from {report.clients} clients, {report.acknowledged} acknowledged, "
        f"{report.refused} refused, {report.unheard} of clients that died before they heard",
        f"ended: {states}",
        "",
        f"lost                                        {report.lost:6}   must be 0",
        f"committed twice                             {report.committed_twice:6}   must be 0",
        f"at most once, and begun twice               {report.started_twice:6}   must be 0",
        f"attempts                                    {report.starts:6}",
        f"begun once more when the result stood       {report.begun_after:6}",
        f"answers missing from one agent of several   {report.unsure:6}",
    ]
    if report.left_out:
        lines.append(f"no network was cut: {report.left_out}")
    return [*lines, *first_of(report.wrong)]


@click.command()
@click.option("--agents", type=click.IntRange(4, 32), default=8, show_default=True)
@click.option("--tasks", type=click.IntRange(1), default=500, show_default=True)
@click.option("--faults", type=click.IntRange(1), default=300, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the logs here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
def main(agents: int, tasks: int, faults: int, seed: int, folder: Path | None, as_json: bool) -> None:
    """Faults of all kinds on a fleet at work, and what became of the work. Ends with 1 if a promise was not kept."""
    with logs_in(folder) as run:
        report = asyncio.run(chaos(agents, tasks, faults, seed, run, tell=teller(as_json)))
    close(report, table(report), as_json, report.is_good)


if __name__ == "__main__":
    main(prog_name="make chaos")
