"""What a real failure costs: processes that are killed, or stopped beyond their lease, with work under way.

    winner    kill -9 of a node that runs tasks: the rest do them
    stopped   SIGSTOP of one: its work runs elsewhere, and what it brings in when it wakes counts no more
    entry     kill -9 of the agent that took all tasks: its client, and new ones, go on with another
    half      kill -9 of half of twice as many, one after another, the entry agent among them

    python -m parley.launch.bench.recovery
    python -m parley.launch.bench.recovery --only winner --repeats 5

Each case has a fleet of its own, with three holders and journals. What was promised is counted, and must be 0: tasks
that were acknowledged and of which the living know no outcome (`survivors.py`), tasks with two, tasks that were begun
again when their result stood. Times stand beside their limits, and are only told: they are those of a busy machine.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import click
import msgspec

from ...protocols.commitment_events import EpochFenced
from ...protocols.contract_events import TaskEnded
from ...protocols.core import State, TaskId
from ..analysis.live import gathered, joined
from ..analysis.logfile import Head
from ..analysis.run import open_run, understand
from ..analysis.summary import summarise
from ..client import Connection
from ..fleet import LocalFleet
from ..handle import Handle
from ..submission import Submission
from .fleets import fleet_of
from .starts import Starts, read
from .survivors import ask

NODES, TASKS, TASK_S = 4, 200, 0.05
HALF_OF, VICTIMS, EVERY_S = 8, ("n2", "n1", "n3", "n4"), 5.0
SETTLE_S = 2.0
ENTRY = "n1"
BEGUN = 0.2
"""So much of the work is done when the failure comes."""
PATIENCE_S = 60.0
ANSWER_S = 10.0
LOOK_EVERY_S = 0.05
NOBODY_HAS = "quantum"
NO_LOGS = "nowhere"
"""As on a machine of its own, where there are none."""


class Figure(msgspec.Struct, frozen=True):
    """Something measured, in s or ms, and what it may be (None: no limit was set)."""

    name: str
    value: float
    unit: str = "s"
    limit: float | None = None


class Told(msgspec.Struct, frozen=True):
    """One case, once. `broken` are promises that were not kept, as sentences."""

    case: str
    tasks: int
    lost: int
    committed_twice: int
    run_again: int
    figures: list[Figure]
    broken: list[str]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.committed_twice or self.run_again or self.broken)


class Trial:
    """A fleet at work: what was handed in, how it goes, and what became of it."""

    def __init__(self, case: str, fleet: LocalFleet, client: Connection) -> None:
        self.case = case
        self.fleet = fleet
        self.client = client
        self.handles: list[Handle] = []
        self.figures: list[Figure] = []
        self.broken: list[str] = []

    async def hand_in(self, tasks: int) -> None:
        """So many at once, of 50 ms each; all are acknowledged when this returns."""
        submits = [Submission("sleep", {"seconds": TASK_S}).submits()[0] for _ in range(tasks)]
        self.handles += [self.client.hand_in(submit) for submit in submits]
        await asyncio.wait_for(asyncio.gather(*(handle.taken for handle in self.handles)), PATIENCE_S)

    async def keep(self, tasks: int) -> None:
        """So many are open at any time, until it is cancelled."""
        while True:
            for _ in range(tasks - len(self.open)):
                [submit] = Submission("sleep", {"seconds": TASK_S}).submits()
                self.handles.append(self.client.hand_in(submit))
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def open(self) -> list[TaskId]:
        """Those of which the client does not know how they ended."""
        return [handle.task for handle in self.handles if not handle.outcome.done()]

    async def until_begun(self) -> None:
        """A part of the work is done."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.open) > len(self.handles) * (1 - BEGUN):
                await asyncio.sleep(LOOK_EVERY_S / 10)

    async def winner(self) -> str:
        """Who runs something just now; not the entry agent."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in await self.client.tasks(self.open[:NODES * 4]):
                    if line.state is State.RUNNING and line.node not in (None, ENTRY):
                        return str(line.node)

    async def ended(self) -> None:
        """Until all have, or so long; `judge` sees to those that have not."""
        await asyncio.wait([handle.outcome for handle in self.handles], timeout=PATIENCE_S)

    def figure(self, name: str, value: float, unit: str = "s", limit: float | None = None) -> None:
        self.figures.append(Figure(name, round(value, 3 if unit == "s" else 1), unit, limit))

    async def judge(self, also: Sequence[TaskId] = ()) -> tuple[Told, Starts]:
        """Ask the living, end them, and read the logs."""
        acknowledged = [handle.task for handle in self.handles if _is_acknowledged(handle)] + list(also)
        living = {name: self.fleet.agents[name].address for name in self.fleet.alive}
        told = {handle.task: handle.outcome.result() for handle in self.handles if _is_told(handle)}
        verdict = await ask(acknowledged, living, ANSWER_S, told)
        await self.fleet.stop()
        summary = await asyncio.to_thread(summarise, self.fleet.run)
        starts = await asyncio.to_thread(read, self.fleet.run)
        self.figure("told to their client, and known to nobody now", len(verdict.lost & told.keys()), "")
        self.figure("answers missing from one of several", sum(map(len, verdict.unsure.values())), "")
        self.figure("starts beyond one per task", starts.total() - len(starts.of), "")
        twice = max(summary.committed_twice, len(verdict.twice))
        again = len(starts.after_commit())
        if self.case != "winner":  # whoever slept, or lost its owner, may begin what was awarded to it before
            self.figure("begun once more when the result stood", again, "")
            again = 0
        lost = len(verdict.lost - told.keys())
        return Told(self.case, len(self.handles), lost, twice, again, self.figures, self.broken), starts


def _is_acknowledged(handle: Handle) -> bool:
    return handle.taken.done() and handle.taken.exception() is None


def _is_told(handle: Handle) -> bool:
    return handle.outcome.done() and not handle.outcome.cancelled() and handle.outcome.exception() is None


async def winner_killed(trial: Trial) -> Told:
    """kill -9 of a node that runs tasks."""
    await trial.hand_in(TASKS)
    await trial.until_begun()
    victim = await trial.winner()
    left_s = len(trial.open) * TASK_S / (NODES - 1)
    trial.fleet.kill(victim)
    at = time.monotonic()
    await trial.ended()
    trial.figure("all done, beyond the work left", time.monotonic() - at - left_s, limit=2.5)
    told, _ = await trial.judge()
    return told


async def winner_stopped(trial: Trial) -> Told:
    """SIGSTOP of a node that runs tasks, SIGCONT when others have done them."""
    await trial.hand_in(TASKS)
    await trial.until_begun()
    victim = await trial.winner()
    pid = trial.fleet.agents[victim].pid
    os.kill(pid, signal.SIGSTOP)
    at = time.monotonic()
    try:
        await trial.ended()
    finally:
        os.kill(pid, signal.SIGCONT)
    woken = time.monotonic()
    fenced = await _fenced(trial.fleet, victim, woken)
    if fenced is None:
        trial.broken.append(f"nothing in the log of {victim} tells that what it brought in counted no more")
    else:
        trial.figure("its late results fenced, or stopped, after SIGCONT", fenced - woken)
    told, starts = await trial.judge()
    for begun in starts.of.values():
        before = [start for start in begun if start.at <= at]
        elsewhere = [start.at for start in begun if start.at > at and start.node != victim]
        if before and before[-1].node == victim and elsewhere:
            trial.figure("its work runs elsewhere", elsewhere[0] - at, limit=4.0)
    return told


async def _fenced(fleet: LocalFleet, node: str, since: float) -> float | None:
    """When its log first tells of an epoch that counts no more, by what it brought in or, if it heard that before, by
    what it stopped; None: it does not."""
    end = time.monotonic() + PATIENCE_S / 6
    while time.monotonic() < end:
        await asyncio.sleep(LOOK_EVERY_S)
        for head, line in open_run(fleet.run / f"{node}.jsonl").heads():
            if head.mono > since and (head.event == EpochFenced.name or _is_stopped(head, line)):
                return head.mono
    return None


def _is_stopped(head: Head, line: bytes) -> bool:
    """An attempt was told that it is not wanted any more, before it came to its end."""
    event = understand(head, line) if head.event == TaskEnded.name else None
    return isinstance(event, TaskEnded) and event.reason is not None


async def entry_killed(trial: Trial) -> Told:
    """kill -9 of the agent that took the tasks. Everything is asked of others from then on."""
    await trial.hand_in(TASKS)
    others = {name: trial.fleet.agents[name].address for name in trial.fleet.alive if name != ENTRY}
    waiting = [Submission("echo", [name], need=[NOBODY_HAS], waits=True).submits()[0] for name in others]
    for submit in waiting:
        await asyncio.wait_for(trial.client.hand_in(submit).taken, PATIENCE_S)
    await trial.until_begun()
    async with await Connection.connect([next(iter(others.values()))]) as new:
        left_s = len(trial.open) * TASK_S / (NODES - 1)
        trial.fleet.kill(ENTRY)
        at = time.monotonic()
        handle = new.hand_in(Submission("echo", [1]).submits()[0])
        trial.handles.append(handle)
        await asyncio.wait_for(handle.taken, PATIENCE_S)
        trial.figure("a new task acknowledged", 1e3 * (time.monotonic() - at), "ms")
        await asyncio.wait_for(handle.outcome, PATIENCE_S)
        trial.figure("a new task done", 1e3 * (time.monotonic() - at), "ms")
        await trial.ended()
        told_s = time.monotonic() - at
        trial.figure("all done, as its client knows", told_s)
        trial.figure("the same, beyond the work left", told_s - left_s, limit=3.0)
    tasks = [handle.task for handle in trial.handles]
    ran_elsewhere = next(handle.task for handle in trial.handles if handle.outcome.result().node != ENTRY)
    for submit, (name, address) in zip(waiting, others.items(), strict=True):
        async with await Connection.connect([address]) as other:
            told = await asyncio.wait_for(other.cancel([submit.task.id]), PATIENCE_S)
            if told.cancelled != 1:
                trial.broken.append(f"{name} did not cancel a task of the dead agent")
            if dict((await asyncio.wait_for(other.wait(tasks), PATIENCE_S)).states) != {State.DONE: len(tasks)}:
                trial.broken.append(f"{name} waited for all tasks and has not seen them done")
        story = joined(await gathered([address], ran_elsewhere), trial.fleet.run / NO_LOGS)
        if story.state != State.DONE or not story.history:
            trial.broken.append(f"{name} does not tell why a task of the dead agent went as it did")
    return (await trial.judge([submit.task.id for submit in waiting]))[0]


async def half_killed(trial: Trial) -> Told:
    """kill -9 of four of eight, one after another, 5 s apart; all the while 200 tasks are open."""
    feeding = asyncio.create_task(trial.keep(TASKS))
    try:
        await asyncio.sleep(SETTLE_S)
        for place, victim in enumerate(VICTIMS):
            if place:
                await asyncio.sleep(EVERY_S)
            trial.fleet.kill(victim)
    finally:
        feeding.cancel()
    at, left = time.monotonic(), len(trial.open)
    await trial.ended()
    left_s = left * TASK_S / (HALF_OF - len(VICTIMS))
    trial.figure("all done after the last, beyond the work left", time.monotonic() - at - left_s)
    return (await trial.judge())[0]


CASES: dict[str, tuple[int, Callable[[Trial], Awaitable[Told]]]] = {
    "winner": (NODES, winner_killed),
    "stopped": (NODES, winner_stopped),
    "entry": (NODES, entry_killed),
    "half": (HALF_OF, half_killed),
}


async def measure(case: str) -> Told:
    """One case, once, in a fleet of its own."""
    nodes, happens = CASES[case]
    async with fleet_of(nodes, flags=()) as (fleet, client):
        return await happens(Trial(case, fleet, client))


def table(runs: Sequence[Told]) -> list[str]:
    """For people: the runs of one case."""
    first = runs[0]
    broken = [sentence for run in runs for sentence in run.broken]
    lost, twice, again = (sum(getattr(run, name) for run in runs) for name in ("lost", "committed_twice", "run_again"))
    happens = (CASES[first.case][1].__doc__ or "").partition("\n")[0]
    lines = [
        f"{first.case:<8} {happens}",
        f"  {len(runs)} x {first.tasks:,} tasks: {lost} lost, {twice} committed twice, "
        f"{again} run again when their result stood",
    ]
    for name in dict.fromkeys(figure.name for run in runs for figure in run.figures):
        seen = [figure for run in runs for figure in run.figures if figure.name == name]
        values, unit, limit = [figure.value for figure in seen], seen[0].unit, seen[0].limit
        told = f"  {name:<42}{statistics.median(values):9.{_digits(unit)}f}{max(values):10.{_digits(unit)}f} {unit:<3}"
        if limit is not None:
            told += f" at most {limit:g}" + ("   OVER" if max(values) > limit else "")
        lines.append(told.rstrip())
    return [*lines, *(f"  {sentence}" for sentence in broken)]


def _digits(unit: str) -> int:
    return {"s": 2, "ms": 1}.get(unit, 0)


@click.command()
@click.option("--only", type=click.Choice(list(CASES)), multiple=True, help="This case; may be repeated.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
def recovery(only: tuple[str, ...], repeats: int, as_json: bool) -> None:
    """Kill and stop processes with work under way, and tell what it cost. Ends with 1 if a promise was not kept."""
    told = asyncio.run(measured(only or tuple(CASES), repeats, as_json))
    if as_json:
        click.echo(msgspec.json.encode(told))
    sys.exit(not all(run.is_good for run in told))


async def measured(cases: Sequence[str], repeats: int, quiet: bool) -> list[Told]:
    """Each case so often, told as they end."""
    told: list[Told] = []
    if not quiet:
        click.echo(f"{'':<44}   median     worst")
    for case in cases:
        runs = [await measure(case) for _ in range(repeats)]
        told += runs
        if not quiet:
            click.echo("\n".join(table(runs)))
    return told


if __name__ == "__main__":
    recovery(prog_name="python -m parley.launch.bench.recovery")
