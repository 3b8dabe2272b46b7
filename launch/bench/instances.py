"""Public instances of allocation, read from their files, and seeded ones of the same families that need no file.

| format | first numbers | then |
|---|---|---|
| Braun et al. 2001, HCSP | tasks nodes [0] | a row of run times per task |
| OR-Library, generalised assignment | problems; of each: nodes tasks | costs, demands, a row per node; capacities |
| OR-Library, assignment | n | n rows of n costs; each node takes one task |

Which it is shows in how many numbers there are. `gap1` to `gap12` are profits to be made as large as possible, all
others are costs; `--sense` says otherwise. A best-known value stands beside a Braun instance, in the name of its
solution (`NAME_MS_7358942,8.sol`), or in `references.py`.

Files and folders are sorted out in `comparison.py`.

A generator is written like a file: `hcsp:512x16:u_c_hihi:7` (Braun's range based matrices: consistent, inconsistent or
semi-consistent; task and machine heterogeneity), `gap:10x50:a:7` to `d` (Beasley's types), `assign:100:7` (whole costs
up to 100), the last number the seed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from ...protocols.columns import COST_MAX, TASKS_MAX, Column, Numbers
from ...protocols.session import MEMBERS_MAX
from ..problems import Exit, Problem
from .references import REFERENCES

FILE_BYTES_MAX = 256 * 1024 * 1024
HETEROGENEITY = {"hi": (3000.0, 1000.0), "lo": (100.0, 10.0)}
"""Of tasks and of machines: the ranges R of Braun et al. 2001."""
GENERATED = re.compile(
    r"(hcsp|gap):(\d{1,4})x(\d{1,4}):(u_[cis]_(?:hi|lo)(?:hi|lo)|[abcd])(?::(\d{1,9}))?|assign:(\d{1,4})(?::(\d{1,9}))?"
)

GENERATORS = "hcsp:512x16:u_c_hihi:7, gap:10x50:c:7, assign:100:7, arrivals:16x100:7, workflow:200x20:7"


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """Arrays (nodes, tasks), and capacities (nodes,) or none. `sign` -1: the costs are profits, negated."""

    name: str
    costs: Numbers
    demands: Numbers | None
    capacities: Numbers | None
    sign: int
    reference: float | None
    """The best value known, as its source states it."""

    def column(self, row: int) -> Column:
        """What the node of this row knows."""
        if self.demands is None or self.capacities is None:
            return Column(self.costs[row])
        return Column(self.costs[row], self.demands[row], float(self.capacities[row]))


def read(path: Path, sense: str | None = None) -> list[Instance]:
    """The instances of a file. Raises Problem where it cannot be read, or is none."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise Problem(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB", Exit.USAGE)
        numbers = np.asarray(path.read_text("ascii").split(), np.float64)
    except FileNotFoundError:
        meant = f"; a generator is written like {GENERATORS}" if ":" in path.name else ""
        raise Problem(f"{path} cannot be read: no such file or directory{meant}", Exit.USAGE) from None
    except OSError as error:
        raise Problem(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", Exit.USAGE) from None
    except (ValueError, UnicodeDecodeError):
        raise Problem(f"{path} is no instance: it must be numbers only", Exit.USAGE) from None
    if not numbers.size or not (np.abs(numbers) <= COST_MAX).all():
        raise Problem(f"{path} is no instance: its numbers must be finite, and at most {COST_MAX:g}", Exit.USAGE)
    found = _braun(path, numbers) or _assignment(path, numbers) or _gap(path, numbers, sense)
    if not found:
        raise Problem(
            f"{path} is no instance: neither Braun/HCSP, nor OR-Library's generalised or plain assignment", Exit.USAGE
        )
    for instance in found:
        nodes, tasks = instance.costs.shape
        if nodes > MEMBERS_MAX or tasks > TASKS_MAX:
            raise Problem(f"{instance.name} has {tasks} tasks on {nodes} nodes: at most {TASKS_MAX} on {MEMBERS_MAX}")
    return found


def _shape(numbers: Numbers) -> tuple[int, int] | None:
    """The first two numbers, if they may be a number of rows and one of columns."""
    if len(numbers) < 2 or not all(1 <= number <= 1e6 and number == int(number) for number in numbers[:2]):
        return None
    return int(numbers[0]), int(numbers[1])


def _braun(path: Path, numbers: Numbers) -> list[Instance]:
    shape = _shape(numbers)
    if shape is None:
        return []
    tasks, nodes = shape
    rest = len(numbers) - tasks * nodes
    if rest not in (2, 3) or (rest == 3 and numbers[2] != 0) or not (numbers[rest:] >= 0).all():
        return []
    times = numbers[rest:].reshape(tasks, nodes).T.copy()
    return [Instance(path.name, times, None, None, 1, _solved(path))]


def _solved(path: Path) -> float | None:
    """The least makespan that the solutions beside it state in their names, or a known one."""
    stated = [
        float(match[1].replace(",", "."))
        for solution in path.parent.glob(f"{path.name}_*.sol")
        if (match := re.search(r"_([\d]+(?:[,.]\d+)?)\.sol$", solution.name))
    ]
    known = REFERENCES.get(path.name)
    return min([*stated, *([known] if known is not None else [])], default=None)


def _assignment(path: Path, numbers: Numbers) -> list[Instance]:
    n = int(numbers[0])
    if n < 1 or numbers[0] != n or len(numbers) != 1 + n * n:
        return []
    ones = np.ones((n, n))
    return [Instance(path.stem, numbers[1:].reshape(n, n), ones, np.ones(n), 1, REFERENCES.get(path.stem))]


def _gap(path: Path, numbers: Numbers, sense: str | None) -> list[Instance]:
    name = path.stem
    sign = -1 if (sense == "max" if sense else re.fullmatch(r"gap(?:\d|1[0-2])", name)) else 1
    found: list[Instance] = []
    place, count = 1, int(numbers[0])
    if count < 1 or count != numbers[0]:
        return []
    for number in range(1, count + 1):
        shape = _shape(numbers[place:])
        if shape is None:
            return []
        nodes, tasks = shape
        size = nodes * tasks
        costs, demands, capacities = np.split(numbers[place + 2 : place + 2 + 2 * size + nodes], [size, 2 * size])
        if len(capacities) != nodes or not (demands >= 0).all() or not (capacities >= 0).all():
            return []
        place += 2 + 2 * size + nodes
        title = f"{name}-{number}"
        found.append(
            Instance(
                title, sign * costs.reshape(nodes, tasks), demands.reshape(nodes, tasks), capacities, sign,
                REFERENCES.get(title),
            )
        )  # fmt: skip
    return found if place == len(numbers) else []


# --- generators ------------------------------------------------------------------------------------------------------


def generated(text: str) -> Instance:
    """The instance that a generator's text stands for."""
    match = GENERATED.fullmatch(text)
    assert match is not None
    family, tasks_or_nodes, other, kind, seed, size, assign_seed = match.groups()
    if family is None:
        return _assigned(text, int(size), Random(f"assign {assign_seed or 0}"))
    first, second, rng = int(tasks_or_nodes), int(other), Random(f"{family} {kind} {seed or 0}")
    tasks, nodes = (first, second) if family == "hcsp" else (second, first)
    if not (1 <= nodes <= MEMBERS_MAX and 1 <= tasks <= TASKS_MAX) or (family == "hcsp") != kind.startswith("u_"):
        raise Problem(f"{text}: write hcsp:TASKSxNODES:u_c_hihi:SEED or gap:NODESxTASKS:a:SEED", Exit.USAGE)
    if family == "hcsp":
        return Instance(text, _range_based(tasks, nodes, kind, rng), None, None, 1, None)
    return _beasley(text, nodes, tasks, kind, rng)


def _assigned(text: str, n: int, rng: Random) -> Instance:
    """As OR-Library's: whole costs, uniform from 2 to 100 (there a few are 1)."""
    if not 1 <= n <= MEMBERS_MAX:
        raise Problem(f"{text}: write assign:N:SEED, with N at most {MEMBERS_MAX}", Exit.USAGE)
    costs = np.asarray([[float(rng.randint(2, 100)) for _ in range(n)] for _ in range(n)])
    return Instance(text, costs, np.ones((n, n)), np.ones(n), 1, None)


def _range_based(tasks: int, nodes: int, kind: str, rng: Random) -> Numbers:
    """Braun et al. 2001: the baseline of a task, times a factor of each machine; then sorted, or half of it, or not."""
    _, consistency, heterogeneity = kind.split("_")
    task_range, machine_range = HETEROGENEITY[heterogeneity[:2]][0], HETEROGENEITY[heterogeneity[2:]][1]
    rows = []
    for _ in range(tasks):
        baseline = rng.uniform(1.0, task_range)
        row = [baseline * rng.uniform(1.0, machine_range) for _ in range(nodes)]
        if consistency == "c":
            row.sort()
        elif consistency == "s":
            row[::2] = sorted(row[::2])
        rows.append(row)
    return np.asarray(rows).T.copy()


def _beasley(text: str, nodes: int, tasks: int, kind: str, rng: Random) -> Instance:
    """Types A to D of Chu and Beasley 1997: A and B differ in capacity, C is tighter, in D costs oppose demands."""
    low, high = (1, 100) if kind == "d" else (5, 25)
    demands = np.asarray([[rng.randint(low, high) for _ in range(tasks)] for _ in range(nodes)], np.float64)
    if kind == "d":
        costs = 111.0 - demands + np.asarray([[rng.randint(-10, 10) for _ in range(tasks)] for _ in range(nodes)])
    else:
        costs = np.asarray([[rng.randint(10, 50) for _ in range(tasks)] for _ in range(nodes)], np.float64)
    if kind in "ab":
        cheapest = costs.argmin(axis=0)
        heaviest = max(float(demands[row, cheapest == row].sum()) for row in range(nodes))
        usual = 0.6 * (tasks / nodes) * 15.0 + 0.4 * heaviest
        capacities = np.full(nodes, math.floor(usual if kind == "a" else 0.7 * usual), np.float64)
    else:
        capacities = np.floor(0.8 * demands.sum(axis=1) / nodes)
    return Instance(text, costs, demands, capacities, 1, None)
