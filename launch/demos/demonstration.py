"""The demonstration: a local fleet of unequal agents learns to read digits, one bargained task at a time.

    Training.start() -> jobs -> Client.submit -> (the fleet bargains, runs) -> outcome -> Training.finished -> more jobs

Half-way through, a node may be killed: its tasks are offered again, and the run goes on. What is reported afterwards is
read back from the logs the agents wrote, not from what this process believes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from ...protocols.core import Dividing, Outcome
from ...protocols.objective import prefix_bound
from ..analysis.summary import Divided, Share, Summary, summarise
from ..client import Connection
from ..fleet import LocalFleet, new_run
from ..outcomes import result
from ..problems import Exit, Problem
from .digits import Evaluated, Trained
from .images import DataError
from .training import EVALUATE, TRAIN, Job, Mode, Training, prepare

READY_S = 20.0
SETTLE_S = 0.2
"""So long the agents get to write what they have just decided."""
HOLDERS_LEAST = 3
"""In a smaller fleet a task has one holder, the agent that took it."""


@dataclass(frozen=True)
class Kill:
    """kill -9 `node` when this part of all tasks is done."""

    node: str
    part: float


@dataclass(frozen=True)
class Options:
    speeds: tuple[float, ...]
    mode: Mode
    dataset: str = "digits"
    data_dir: str | None = None
    kill: Kill | None = None
    rule: str = "contract-net"
    protocol: str = Dividing.AUTO
    seed: int = 0
    runs: Path = Path("runs")
    keys: Path | None = None  # a folder of keys; the agents need none

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, len(self.speeds) + 1)]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `parley demo --json` prints. `ratio` is the makespan over its lower bound, so that the whole run was within
    `ratio - 1` of the optimum; `batches` tells the same of those that were divided by prices."""

    accuracy: float
    tasks: int
    done: int
    lost: int
    committed_twice: int
    reassigned: int
    makespan_s: float
    bound_s: float
    ratio: float
    seconds: float
    nodes: dict[str, Share]
    run: str
    batches: tuple[Divided, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """Told after every task."""

    done: int
    total: int
    accuracy: float | None
    node: str
    killed: str | None


def check(options: Options) -> None:
    """Raises Problem for what cannot be demonstrated, before anything is started."""
    if options.kill is None:
        return
    if options.kill.node not in options.names:
        known = ", ".join(options.names)
        raise Problem(f"there is no node {options.kill.node} to kill: the nodes are {known}", Exit.USAGE)
    if options.kill.node == options.names[0] and len(options.names) < HOLDERS_LEAST:
        raise Problem(
            f"{options.kill.node} takes the tasks, and alone holds them in a fleet of fewer than {HOLDERS_LEAST}: "
            "kill another, or say more --nodes",
            Exit.USAGE,
        )


async def demonstrate(options: Options, tell: Callable[[Progress], None]) -> Report:
    """Run it. Raises Problem; leaves no process behind."""
    check(options)
    try:
        training = prepare(options.mode, options.dataset, options.data_dir, options.seed)
    except DataError as error:
        raise Problem(str(error), Exit.USAGE) from None
    flags = [f"--protocol={options.protocol}", f"--mode={options.mode}"]
    begun = time.monotonic()
    async with await LocalFleet.start(
        options.names,
        speeds=options.speeds,
        allow=[TRAIN, EVALUATE],
        rule=options.rule,
        seed=options.seed,
        run=new_run(options.runs),
        flags=flags if options.keys is None else [*flags, f"--keys={options.keys}"],
    ) as fleet:
        async with await Connection.connect([fleet.address]) as client:
            await client.ready(len(options.names), READY_S)
            told = await _learn(training, client, fleet, options, tell)
        await asyncio.sleep(SETTLE_S)
    assert training.accuracy is not None
    return _report(summarise(fleet.run, told), training.accuracy, options, time.monotonic() - begun, fleet.run)


async def _learn(
    training: Training, client: Connection, fleet: LocalFleet, options: Options, tell: Callable[[Progress], None]
) -> set[str]:
    """Keep every job of the training in the fleet's hands until it is learned: the tasks that are done."""
    ended: asyncio.Queue[tuple[Job, asyncio.Future[Outcome]]] = asyncio.Queue()
    fastest = max(options.speeds)
    done: set[str] = set()
    killed: str | None = None

    def hand_in(job: Job) -> None:
        future = client.submit(job.function, dict(job.arguments), work=job.work * fastest)
        future.add_done_callback(lambda future: ended.put_nowait((job, future)))

    for job in training.start():
        hand_in(job)
    while not training.done:
        job, future = await ended.get()
        outcome = future.result()
        for following in training.finished(job, cast("Trained | Evaluated", result(outcome))):
            hand_in(following)
        done.add(outcome.task)
        if options.kill and killed is None and len(done) >= options.kill.part * training.jobs_total:
            killed = options.kill.node
            fleet.kill(killed)
        scores = training.scores
        accuracy = scores[-1].accuracy if scores else None
        tell(Progress(len(done), training.jobs_total, accuracy, outcome.node or "", killed))
    return done


def _report(summary: Summary, accuracy: float, options: Options, seconds: float, run: Path) -> Report:
    if not summary.attempts:
        raise Problem(f"the logs in {run} tell of no attempt that was done: is the disk full?")
    speeds = dict(zip(options.names, options.speeds, strict=True))
    works = [attempt.seconds * speeds[attempt.node] for attempt in summary.attempts]
    bound = prefix_bound(works, options.speeds)
    shares = {
        name: Share(share.tasks, round(share.busy_s, 3))
        for name in options.names
        if (share := summary.nodes.get(name, Share(0, 0.0)))
    }
    return Report(
        accuracy=round(accuracy, 4),
        tasks=summary.tasks,
        done=summary.done,
        lost=summary.lost,
        committed_twice=summary.committed_twice,
        reassigned=summary.reassigned,
        makespan_s=round(summary.makespan_s, 3),
        bound_s=round(bound, 3),
        ratio=round(summary.makespan_s / bound, 3),
        seconds=round(seconds, 3),
        nodes=shares,
        run=str(run),
        batches=summary.batches,
    )
