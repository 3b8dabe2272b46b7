"""Tasks that arrive over time: how long does each take from its arrival to its end, and how many were asked for it?

The trace is Azure's of two LLM services (csv: TIMESTAMP, ContextTokens, GeneratedTokens; Patel et al., Splitwise, ISCA
2024). A request is work: PROMPT_S per token of its prompt and GENERATED_S per generated one, in seconds at speed 1.
Arrivals keep their pattern, and are brought closer together or further apart until they ask for `load` of what all
nodes together can do. Each comes to a node that is drawn from the seed.

`arrivals:100x50:7` is a trace of its own: 100 nodes of speeds 1, 2, 4, 8, 1, ..., with 50 tasks of lognormal work for
each, at random moments. A node knows and asks no more than VIEW others. The last number is the seed.

The nodes are the real initiators and participants of the contract net, with their prices, late binding, leases and
acknowledged links, on virtual time. `probes` 0: all are asked for everything.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

import msgspec
import psutil

from ...protocols.award_rules import RULES, Rule
from ...protocols.core import NodeId, Outcome, ProtocolError, Task
from ...protocols.participant import Asked, Pricing
from ..problems import Exit, Problem
from .contractors import START_S, Contractor, Contractors

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
PROMPT_S = 0.0005
GENERATED_S = 0.020
SPEEDS = (1.0,) * 4 + (2.0,) * 4 + (4.0,) * 4 + (8.0,) * 4
CYCLE = (1.0, 2.0, 4.0, 8.0)
VIEW = 16
GENERATED = re.compile(r"arrivals:(\d{1,6})x(\d{1,6})(?::(\d{1,9}))?")
NODES_MAX = 10_000
LOOKS = 20
"""So often a run is asked how much memory it takes."""
REQUESTS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in seconds after the first, ascending, and works in seconds at speed 1. `nodes`: of its own fleet, in
    which each knows a few others; None: whatever fleet is asked for, in which all know all."""

    name: str
    arrivals: tuple[float, ...]
    works: tuple[float, ...]
    nodes: int | None = None

    def scaled(self, load: float, speeds: Sequence[float]) -> Trace:
        """With arrivals such that work comes in at `load` of what these speeds can do."""
        span = self.arrivals[-1] or 1.0
        factor = math.fsum(self.works) / (load * math.fsum(speeds)) / span
        return Trace(self.name, tuple(at * factor for at in self.arrivals), self.works, self.nodes)

    def speeds(self, asked: Sequence[float]) -> Sequence[float]:
        """Of its fleet."""
        return asked if self.nodes is None else [CYCLE[number % len(CYCLE)] for number in range(self.nodes)]


class Line(msgspec.Struct, frozen=True):
    """One run. Seconds are virtual, but for `seconds`; `ratio` is the mean latency over that of asking all."""

    instance: str
    protocol: str
    probes: int
    load: float
    seed: int
    tasks: int
    mean_s: float
    p50_s: float
    p99_s: float
    ratio: float | None
    messages: int
    deliveries: int
    messages_per_task: float
    bytes_per_task: float
    seconds: float
    ms_per_task: float
    """Of this process's processor time."""
    memory_kb_per_task: float
    """By how much the process grew, at its largest."""
    nodes: int
    view: int | None
    """How many others each node knows; None: all."""


def generated(text: str) -> Trace:
    """The trace that a generator's text stands for. Raises Problem."""
    match = GENERATED.fullmatch(text)
    assert match is not None
    nodes, each, seed = int(match[1]), int(match[2]), int(match[3] or 0)
    if not (1 <= nodes <= NODES_MAX and each >= 1 and nodes * each <= REQUESTS_MAX):
        raise Problem(f"{text}: write arrivals:NODESxTASKS:SEED, {NODES_MAX} nodes at most", Exit.USAGE)
    rng = Random(f"arrivals {seed}")
    works = tuple(rng.lognormvariate(0.0, 1.0) for _ in range(nodes * each))
    arrivals = sorted(rng.uniform(0.0, float(each)) for _ in works)
    return Trace(text, tuple(at - arrivals[0] for at in arrivals), works, nodes)


def is_trace(path: Path) -> bool:
    """Does this file begin as one?"""
    try:
        with path.open(encoding="ascii") as file:
            return file.readline().lstrip("\ufeff").startswith(COLUMNS[0])
    except (OSError, UnicodeDecodeError):
        return False


def read(path: Path, requests: int | None = None) -> Trace:
    """The first so many requests of a file (None: all). Raises Problem."""
    arrivals: list[float] = []
    works: list[float] = []
    try:
        with path.open(encoding="ascii", newline="") as file:
            for row in csv.DictReader(file):
                arrivals.append(_seconds(row[COLUMNS[0]]))
                works.append(PROMPT_S * int(row[COLUMNS[1]]) + GENERATED_S * int(row[COLUMNS[2]]))
                if len(works) == (requests or REQUESTS_MAX):
                    break
    except OSError as error:
        raise Problem(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", Exit.USAGE) from None
    except (KeyError, TypeError, ValueError):
        line = len(works) + 2
        raise Problem(f"{path}, line {line}: a trace has the columns {', '.join(COLUMNS)}", Exit.USAGE) from None
    if not works or min(works) < 0.0 or not math.fsum(works):
        raise Problem(f"{path} holds no requests with work", Exit.USAGE)
    order = sorted(range(len(works)), key=lambda place: arrivals[place])
    first = arrivals[order[0]]
    return Trace(path.stem, tuple(arrivals[place] - first for place in order), tuple(works[place] for place in order))


def _seconds(stamp: str) -> float:
    """Of 2023-11-16 18:15:46.6805900, with any number of digits."""
    whole, _, part = stamp.partition(".")
    return datetime.fromisoformat(whole).timestamp() + (float(f"0.{part}") if part else 0.0)


def play(trace: Trace, rule: Rule, speeds: Sequence[float], probes: int, seed: int) -> Line:
    """Let it all happen. Raises ProtocolError if a task has not come to its end: that is a bug."""
    began, busy = time.perf_counter(), time.process_time()
    before = largest = memory_bytes()
    arrived: dict[str, float] = {}
    latencies: dict[str, float] = {}

    def ended(node: Contractor, outcome: Outcome, now: float) -> None:
        latencies[outcome.task] = now - arrived[outcome.task]

    def by_speed(name: NodeId, speed: float, asked: Asked) -> Pricing:
        assert asked.task.work is not None
        return Pricing((("run", asked.task.work / speed),))

    view = None if trace.nodes is None else VIEW
    fleet = Contractors(speeds, rule, probes, seed, by_speed, ended, view=view)
    rng = Random(f"{seed} arrivals")
    for number, (at, work) in enumerate(zip(trace.arrivals, trace.works, strict=True)):
        task = Task(f"t{number}", "work", work)
        arrived[task.id] = START_S + at
        fleet.nodes[rng.choice(fleet.names)].arrive(START_S + at, task)
    for look in range(1, LOOKS + 1):
        part = len(trace.works) * look // LOOKS
        fleet.run(until=trace.arrivals[-1] * 4 + 3600.0, while_=lambda part=part: len(latencies) < part)  # type: ignore[misc]
        largest = max(largest, memory_bytes())
    if len(latencies) < len(trace.works):
        raise ProtocolError(f"{len(trace.works) - len(latencies)} tasks of {trace.name} have not ended")
    sent = fleet.sent
    seconds = time.perf_counter() - began
    busy_s = time.process_time() - busy
    ordered = sorted(latencies.values())
    return Line(
        instance=trace.name, protocol=rule.name, probes=probes, load=0.0, seed=seed, tasks=len(ordered),
        mean_s=math.fsum(ordered) / len(ordered), p50_s=quantile(ordered, 0.5), p99_s=quantile(ordered, 0.99),
        ratio=None, messages=sent, deliveries=fleet.wire.messages, messages_per_task=sent / len(ordered),
        bytes_per_task=fleet.sent_bytes / len(ordered), seconds=seconds, ms_per_task=1000.0 * busy_s / len(ordered),
        memory_kb_per_task=(largest - before) / 1024 / len(ordered), nodes=len(speeds), view=view,
    )  # fmt: skip


def memory_bytes() -> int:
    """What this process takes at present."""
    return int(psutil.Process().memory_info().rss)


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value that this part of them does not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def runs(
    trace: Trace,
    policies: Sequence[str],
    probes: Sequence[int],
    load: float,
    speeds: Sequence[float],
    seeds: Sequence[int],
    told: Callable[[Line], None],
) -> list[Line]:
    """Each policy with each number of probes, beside the same policy where all of a fleet that know all are asked."""
    lines: list[Line] = []
    speeds = trace.speeds(speeds)
    scaled = trace.scaled(load, speeds)
    for policy in policies:
        for seed in seeds:
            base: float | None = None
            for count in sorted(set(probes) if trace.nodes is not None else {0, *probes}):
                line = play(scaled, RULES[policy], speeds, count, seed)
                base = line.mean_s if not count else base
                lines.append(msgspec.structs.replace(line, load=load, ratio=line.mean_s / base if base else None))
                told(lines[-1])
    return lines
