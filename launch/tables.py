"""The fleet and the tasks of an agent: as tables for people, as lines of JSON for scripts.

Both say the same: the tables in the units that suit, the lines in base units. A table is as wide as what stands in it;
only on a terminal are reasons cut where the line ends.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence

import msgspec

from ..agents.resources import quantity
from ..protocols.requests import NodeLine, TaskLine
from ..protocols.swim_words import LIVING, Estimate, Presence
from .analysis.words import clean, duration, listed

GAP = "  "
CELL_MAX = 40
"""Characters of one cell; the last of a row may have more."""


class EstimateTold(msgspec.Struct, frozen=True):
    """What a node has learnt: tasks of this kind take `factor` times their nominal seconds."""

    kind: str
    observations: int
    factor: float


class NodeTold(msgspec.Struct, frozen=True):
    """A line of `parley nodes --json`."""

    node: str
    state: str
    address: str
    speed: float
    slots: int
    tags: tuple[str, ...]
    queued_s: float
    running: int
    lag_s: float
    estimates: tuple[EstimateTold, ...]


class TaskTold(msgspec.Struct, frozen=True):
    """A line of `parley tasks --json`."""

    task: str
    kind: str
    state: str
    reason: str
    node: str | None
    epoch: int
    attempts: int


def node_told(line: NodeLine) -> NodeTold:
    told = line.told
    return NodeTold(
        line.node,
        line.state,
        line.address,
        line.speed,
        line.slots,
        told.tags,
        told.queued_s,
        told.running,
        told.lag_s,
        tuple(EstimateTold(one.kind, one.observations, one.factor) for one in told.estimates),
    )


def task_told(line: TaskLine) -> TaskTold:
    return TaskTold(line.task, line.kind, line.state, line.reason, line.node, line.epoch, line.attempts)


def state_told(line: NodeLine) -> str:
    """As people are told it: who was about to leave, and lives no more, has left, or has died."""
    return "draining" if line.told.draining and line.state is Presence.ALIVE else str(line.state)


def nodes_table(lines: Sequence[NodeLine]) -> str:
    """The fleet, with how late each loop ran at worst, lately; below it what the nodes have learnt of each kind.

    What a node told last of its work is not shown when it is gone.
    """
    head = ("NODE", "STATE", "SPEED", "SLOTS", "RUNNING", "QUEUED", "LAG", "HAS", "ADDRESS")
    rows = [
        (
            line.node,
            state_told(line),
            f"{line.speed:g}",
            str(line.slots),
            str(line.told.running) if line.state in LIVING else "",
            duration(line.told.queued_s) if line.state in LIVING else "",
            duration(line.told.lag_s) if line.state in LIVING and line.told.lag_s else "",
            " ".join([f"{name}={quantity(name, much)}" for name, much in line.told.amounts] + list(line.told.tags)),
            line.address,
        )
        for line in lines
    ]
    learnt = [(line.node, one) for line in lines for one in line.told.estimates]
    return table(head, rows, right={2, 3, 4, 5, 6}) + ("\n\n" + _learnt(learnt) if learnt else "")


def _learnt(estimates: Sequence[tuple[str, Estimate]]) -> str:
    """Kind by kind: how long it takes where, against what it should."""
    head = ("KIND", "NODE", "SEEN", "TAKES", "LAST")
    rows = [
        (one.kind, node, str(one.observations), f"{one.factor:.3g} times its nominal time", duration(one.seconds))
        for node, one in sorted(estimates, key=lambda pair: (pair[1].kind, pair[0]))
    ]
    return table(head, rows, right={2, 4})


def tasks_table(lines: Sequence[TaskLine]) -> str:
    head = ("TASK", "NAME", "KIND", "STATE", "NODE", "TRIES", "REASON")
    rows = [
        (line.task, line.label, line.kind, str(line.state), line.node or "", str(line.attempts), line.reason)
        for line in lines
    ]
    return table(head, rows, right={5})


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> str:
    """Columns as wide as their cells; a column that is empty everywhere is left out; no space at the ends of lines."""
    cells = [[clean(cell) for cell in row] for row in rows]
    kept = [place for place in range(len(head)) if not cells or any(row[place] for row in cells)]
    last = kept[-1]
    lines = [list(head), *cells]
    for line in lines:
        for place in kept:
            if place != last and len(line[place]) > CELL_MAX:
                line[place] = line[place][: CELL_MAX - 1] + "…"
    widths = {place: max(len(line[place]) for line in lines) for place in kept}
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    drawn = []
    for line in lines:
        words = [
            line[place].rjust(widths[place]) if place in right else line[place].ljust(widths[place]) for place in kept
        ]
        text = GAP.join(words).rstrip()
        drawn.append(text if most is None or len(text) <= most else text[: most - 1] + "…")
    return "\n".join(drawn)


def counted(lines: Sequence[TaskLine]) -> str:
    """The states that occur, for whoever asked for another one."""
    return listed(sorted({str(line.state) for line in lines}))
