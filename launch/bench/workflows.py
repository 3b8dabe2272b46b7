"""Workflows: tasks that come after others and need their data, placed by bids when they are ready; beside it HEFT.

Sources: WfCommons' JSON (Coleman et al. 2022): tasks with parents, files and measured run times; Topcuoglu, Hariri, Wu,
Performance-effective and low-complexity task scheduling for heterogeneous computing (2002): upward ranks and HEFT.

A generator is written like a file: `workflow:TASKSxWIDTH:SEED`, layers of so many tasks, each with up to PARENTS_MAX
parents in the layer before; run times and the bytes handed on are lognormal.

A task takes its run time over the node's speed. A file that was made on another node takes LATENCY_S + bytes over
LINK_BYTES_PER_S to come, while others run; what was there before the workflow is everywhere.

    heft      one knows all and plans it: by falling rank, each task into the gap where it ends soonest
    others    a node calls each task as soon as its parents have ended, with its upward rank as its priority; the bids
              tell what the missing data costs; the award rule and late binding do the rest. Real initiators and
              participants on virtual time.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from ...protocols.award_rules import RULES, Rule
from ...protocols.blobs import Gather
from ...protocols.core import BLOB_BYTES_MAX, BLOBS_MAX, Conditions, NodeId, Outcome, ProtocolError, Reference, Task
from ...protocols.distances import LATENCY_S, LINK_BYTES_PER_S
from ...protocols.participant import Asked, Pricing
from ..problems import Exit, Problem
from .contractors import START_S, Contractor, Contractors

TASKS_MAX = 20_000
FILE_BYTES_MAX = 256 * 1024 * 1024
PRIORITY_MAX = 1000
RUN_S_MIN = 1e-3
PARENTS_MAX = 3
MEDIAN_BYTES = 10e6
GENERATED = re.compile(r"workflow:(\d{1,6})x(\d{1,5})(?::(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Workflow:
    """Tasks in an order in which parents come first. `works` in seconds at speed 1; `parents`: of each task, who they
    are and how many bytes it needs of what they made."""

    name: str
    works: tuple[float, ...]
    parents: tuple[Mapping[int, int], ...]

    @property
    def children(self) -> list[dict[int, int]]:
        found: list[dict[int, int]] = [{} for _ in self.works]
        for task, parents in enumerate(self.parents):
            for parent, size in parents.items():
                found[parent][task] = size
        return found


class Line(msgspec.Struct, frozen=True):
    """One run. `value` is the makespan in virtual seconds, `reference` that of HEFT; `seconds` are this machine's."""

    instance: str
    protocol: str
    seed: int
    tasks: int
    value: float
    reference: float
    ratio: float
    bound: float
    messages: int
    messages_per_task: float
    seconds: float


# --- files


def is_workflow(path: Path) -> bool:
    """Is it worth trying to read?"""
    return path.suffix == ".json"


def read(path: Path) -> Workflow:
    """Raises Problem where it is no workflow."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Problem(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", Exit.USAGE)
        workflow = json.loads(path.read_text("utf-8"))["workflow"]
        specification, execution = workflow["specification"], workflow["execution"]
        sizes = {file["id"]: int(file["sizeInBytes"]) for file in specification.get("files", [])}
        seconds = {task["id"]: float(task["runtimeInSeconds"]) for task in execution["tasks"]}
        tasks: list[dict[str, Any]] = _parents_first(specification["tasks"])
        places = {task["id"]: place for place, task in enumerate(tasks)}
        works = tuple(max(seconds[task["id"]], RUN_S_MIN) for task in tasks)
        made = {file: place for place, task in enumerate(tasks) for file in task.get("outputFiles", [])}
        parents: list[dict[int, int]] = []
        for task in tasks:
            needed = {places[parent]: 0 for parent in task["parents"]}
            for file in task.get("inputFiles", []):
                if made.get(file) in needed:
                    needed[made[file]] += sizes.get(file, 0)
            parents.append(needed)
    except OSError as error:
        raise Problem(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", Exit.USAGE) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Problem(f"{path} is no workflow of WfCommons with run times", Exit.USAGE) from None
    if not 0 < len(works) <= TASKS_MAX or not all(math.isfinite(work) for work in works):
        raise Problem(f"{path} must have 1 to {TASKS_MAX} tasks with finite run times", Exit.USAGE)
    return Workflow(path.stem, works, tuple(parents))


def _parents_first(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kahn's order. Raises ValueError where there is a circle, or a parent that is not there."""
    by_id = {task["id"]: task for task in tasks}
    waits = {task["id"]: len(set(task["parents"])) for task in tasks}
    children: dict[str, list[str]] = {name: [] for name in by_id}
    for task in tasks:
        for parent in sorted(set(task["parents"])):
            children[parent].append(task["id"])
    ready = deque(name for name, left in waits.items() if not left)
    order: list[dict[str, Any]] = []
    while ready:
        name = ready.popleft()
        order.append(by_id[name])
        for child in children[name]:
            waits[child] -= 1
            if not waits[child]:
                ready.append(child)
    if len(order) != len(tasks):
        raise ValueError("a circle")
    return order


# --- a generator


def generated(text: str) -> Workflow:
    """The workflow that a generator's text stands for. Raises Problem."""
    match = GENERATED.fullmatch(text)
    assert match is not None
    tasks, width, rng = int(match[1]), int(match[2]), Random(f"workflow {match[3] or 0}")
    if not 1 <= width <= tasks <= TASKS_MAX:
        raise Problem(f"{text}: write workflow:TASKSxWIDTH:SEED, {TASKS_MAX:,} tasks at most", Exit.USAGE)
    works = tuple(rng.lognormvariate(2.0, 1.0) for _ in range(tasks))
    parents: list[dict[int, int]] = []
    for task in range(tasks):
        before = range(max(task - task % width - width, 0), task - task % width)  # the layer before its own
        few = rng.sample(before, min(rng.randint(1, PARENTS_MAX), len(before)))
        parents.append({parent: round(rng.lognormvariate(math.log(MEDIAN_BYTES), 1.5)) for parent in sorted(few)})
    return Workflow(text, works, tuple(parents))


# --- ranks, the reference, the bound


def transfer_s(size: int) -> float:
    """From one node to another."""
    return LATENCY_S + size / LINK_BYTES_PER_S


def ranks(workflow: Workflow, speeds: Sequence[float]) -> list[float]:
    """Upward ranks: the longest way to the end, at mean run and transfer times. Seconds."""
    slowness = math.fsum(1.0 / speed for speed in speeds) / len(speeds)
    apart = 1.0 - 1.0 / len(speeds)  # how likely two tasks are on different nodes
    children = workflow.children
    found = [0.0] * len(workflow.works)
    for task in reversed(range(len(found))):
        longest = max((apart * transfer_s(size) + found[child] for child, size in children[task].items()), default=0.0)
        found[task] = workflow.works[task] * slowness + longest
    return found


def heft(workflow: Workflow, speeds: Sequence[float]) -> float:
    """The makespan of HEFT with insertion, in seconds."""
    rank = ranks(workflow, speeds)
    busy: list[list[tuple[float, float]]] = [[] for _ in speeds]
    ends = [0.0] * len(rank)
    where = [0] * len(rank)
    for task in sorted(range(len(rank)), key=lambda task: (-rank[task], task)):
        best = math.inf, 0, 0.0
        for node, speed in enumerate(speeds):
            arrivals = [
                ends[parent] + (transfer_s(size) if where[parent] != node else 0.0)
                for parent, size in workflow.parents[task].items()
            ]
            ready = max(arrivals, default=0.0)
            run = workflow.works[task] / speed
            start = _gap(busy[node], ready, run)
            best = min(best, (start + run, node, start))
        ends[task], where[task], start = best
        busy[where[task]].append((start, ends[task]))
        busy[where[task]].sort()
    return max(ends)


def _gap(busy: Sequence[tuple[float, float]], ready: float, run: float) -> float:
    """When a task of `run` seconds could start on a node that is busy in these intervals, ascending."""
    start = ready
    for begin, end in busy:
        if start + run <= begin:
            return start
        start = max(start, end)
    return start


def lower_bound(workflow: Workflow, speeds: Sequence[float]) -> float:
    """All work over all speeds, and the longest way at the highest speed without transfers."""
    longest = [0.0] * len(workflow.works)
    for task, parents in enumerate(workflow.parents):
        longest[task] = workflow.works[task] / max(speeds) + max((longest[parent] for parent in parents), default=0.0)
    return max(*longest, math.fsum(workflow.works) / math.fsum(speeds))


# --- bids


class _Places:
    """Where data lies, and the tasks that wait for their parents."""

    def __init__(self, workflow: Workflow, speeds: Sequence[float]) -> None:
        self.workflow = workflow
        self.rank = ranks(workflow, speeds)
        self.waits = [len(parents) for parents in workflow.parents]
        self.children = workflow.children
        self.lies: list[set[NodeId]] = [set() for _ in workflow.works]

    def task(self, number: int) -> Task:
        priority = round(PRIORITY_MAX * self.rank[number] / max(self.rank))
        return Task(f"t{number}", "work", self.workflow.works[number], terms=Conditions(priority=priority))

    def blobs(self, number: int) -> tuple[Reference, ...]:
        """What it needs, in one piece per parent, or fewer where those are too many."""
        pieces = list(self.workflow.parents[number].values())[: BLOBS_MAX - 1]
        rest = list(self.workflow.parents[number].values())[BLOBS_MAX - 1 :]
        sizes = [*pieces, *([sum(rest)] if rest else [])]
        return tuple(
            Reference(hashlib.sha256(f"{number} {place}".encode()).digest(), min(size, BLOB_BYTES_MAX))
            for place, size in enumerate(sizes)
        )

    def missing_s(self, number: int, node: NodeId) -> float:
        """Until all that it needs is there: the pieces come side by side, as in HEFT's model."""
        parents = self.workflow.parents[number]
        return max((transfer_s(size) for parent, size in parents.items() if node not in self.lies[parent]), default=0.0)


def play(workflow: Workflow, rule: Rule, speeds: Sequence[float], seed: int) -> Line:
    """Let it all happen. Raises ProtocolError if a task has not come to its end: that is a bug."""
    began = time.perf_counter()
    places = _Places(workflow, speeds)
    left = len(workflow.works)
    last = 0.0

    def value(node: NodeId, speed: float, asked: Asked) -> Pricing:
        assert asked.task.work is not None
        run = ("run", asked.task.work / speed)
        missing = places.missing_s(int(asked.task.id[1:]), node)
        return Pricing((run, ("transfer", missing)) if missing else (run,))

    def fetch(node: NodeId, gather: Gather, now: float) -> float:
        number = int(gather.key[1][1:])
        seconds = places.missing_s(number, node)
        for parent in workflow.parents[number]:
            places.lies[parent].add(node)
        return seconds

    def ended(node: Contractor, outcome: Outcome, now: float) -> None:
        nonlocal left, last
        number = int(outcome.task[1:])
        assert outcome.node is not None
        places.lies[number].add(outcome.node)
        left, last = left - 1, now - START_S
        for child in places.children[number]:
            places.waits[child] -= 1
            if not places.waits[child]:
                node.arrive(now, places.task(child), places.blobs(child))

    fleet = Contractors(speeds, rule, 0, seed, value, ended, fetch)
    entry = fleet.nodes[fleet.names[0]]
    for number, waits in enumerate(places.waits):
        if not waits:
            entry.arrive(START_S, places.task(number))
    longest = math.fsum(workflow.works) / min(speeds) + len(workflow.works) * 60.0
    fleet.run(until=longest, while_=lambda: left > 0)
    if left:
        raise ProtocolError(f"{left} tasks of {workflow.name} have not ended")
    reference = heft(workflow, speeds)
    tasks, sent = len(workflow.works), fleet.sent
    return Line(
        instance=workflow.name, protocol=rule.name, seed=seed, tasks=tasks, value=last, reference=reference,
        ratio=last / reference, bound=lower_bound(workflow, speeds), messages=sent, messages_per_task=sent / tasks,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def runs(workflow: Workflow, policies: Sequence[str], speeds: Sequence[float], seeds: Sequence[int]) -> list[Line]:
    return [play(workflow, RULES[policy], speeds, seed) for policy in policies for seed in seeds]
