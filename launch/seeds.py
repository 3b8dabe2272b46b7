"""Many seeds: each one scenario, all of them one sum, and a command line for every seed that broke an invariant.

    seeds 1..2000 --jobs 2
      |- python -m parley simulate --seeds 1000 --first-seed 1    --json  \\
      '- python -m parley simulate --seeds 1000 --first-seed 1001 --json   >-- sums, added up

A seed shares nothing with another, so processes of their own are all the parallelism it takes.

Invariant: the same seeds give the same sum, but for the seconds, however many processes they are spread over.
"""

from __future__ import annotations

import gc
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from . import scenario, simulate
from .problems import Problem
from .scenario import Profile


@dataclass(frozen=True, slots=True)
class Seeds:
    """What is to be simulated."""

    first: int
    count: int
    nodes: int
    tasks: int
    faults: Profile

    def words(self) -> list[str]:
        """As it is typed."""
        shape = ["--nodes", str(self.nodes), "--tasks", str(self.tasks), "--faults", self.faults]
        return ["simulate", "--seeds", str(self.count), "--first-seed", str(self.first), *shape]

    def replay(self, seed: int) -> str:
        """The command that runs one of them again."""
        return shlex.join(["parley", *replace(self, first=seed, count=1).words()])


@dataclass(slots=True)
class Broken:
    """A seed that broke an invariant; `sentence` says how."""

    invariant: str
    seed: int
    sentence: str


@dataclass(slots=True)
class Sum:
    """What came of all of them. `steps` is how many things have happened, in all virtual worlds."""

    seeds: int = 0
    acked: int = 0
    executions: int = 0
    messages: int = 0
    steps: int = 0
    seconds: float = 0.0
    broken: list[Broken] = field(default_factory=list)

    def add(self, ran: simulate.Ran) -> None:
        self.seeds += 1
        self.acked += ran.acked
        self.executions += ran.executions
        self.messages += ran.messages
        self.steps += ran.steps
        if ran.violation is not None:
            self.broken.append(Broken(ran.violation.invariant, ran.seed, ran.violation.sentence))

    def told(self, seeds: Seeds) -> dict[str, object]:
        """What scripts may rely on; ratios are per task that was acknowledged."""
        return {
            "seeds": self.seeds,
            "acked": self.acked,
            "violations": [
                {"invariant": one.invariant, "seed": one.seed, "replay": seeds.replay(one.seed)} for one in self.broken
            ],
            "executions_per_task": self.executions / max(self.acked, 1),
            "messages_per_task": self.messages / max(self.acked, 1),
            "events_per_s": self.steps / self.seconds if self.seconds else 0.0,
            "seconds": self.seconds,
        }


def run(
    seeds: Seeds,
    *,
    trace: Callable[[str], None] | None = None,
    on_seed: Callable[[Sum], None] = lambda so_far: None,
) -> Sum:
    """All of them, one after the other, in this process. `trace` hears a line for everything that happens."""
    so_far = Sum()
    began = time.perf_counter()
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, *before[1:])  # worlds are garbage as a whole, and only when they are over
    try:
        for seed in range(seeds.first, seeds.first + seeds.count):
            drawn = scenario.draw(seed, seeds.nodes, seeds.tasks, seeds.faults)
            if trace is not None:
                trace(f"seed {seed}")
            so_far.add(simulate.run(drawn, trace))
            so_far.seconds = time.perf_counter() - began
            on_seed(so_far)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    return so_far


def run_in_processes(seeds: Seeds, jobs: int) -> Sum:
    """All of them, in so many processes. Raises Problem if one of these fails."""
    began = time.perf_counter()
    each, more = divmod(seeds.count, jobs)
    shares: list[Seeds] = []
    first = seeds.first
    for job in range(jobs):
        count = each + (job < more)
        if count:
            shares.append(replace(seeds, first=first, count=count))
        first += count
    command = [sys.executable, "-P", "-m", "parley"]
    children = [
        subprocess.Popen([*command, *share.words(), "--sum"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for share in shares
    ]
    total = Sum()
    try:
        for child in children:
            out, err = child.communicate()
            if child.returncode:
                raise Problem(
                    f"one of the processes failed: {err.decode(errors='replace').strip() or child.returncode}"
                )
            part = json.loads(out)
            total.broken += [Broken(**one) for one in part.pop("broken")]
            total.seeds += part["seeds"]
            total.acked += part["acked"]
            total.executions += part["executions"]
            total.messages += part["messages"]
            total.steps += part["steps"]
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    total.seconds = time.perf_counter() - began
    return total
