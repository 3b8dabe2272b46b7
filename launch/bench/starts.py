"""What began when, by the logs of a run: was anything begun twice that may not be, or again when its result stood?

    starts = read(folder)
    starts.more_than_once(tasks)     of these, those that were begun more than once
    starts.after_commit()            those that were begun after a result of theirs was committed

All nodes of the run are on one machine, whose monotonic clock stands in every line; so what one did and another one
decided are compared exactly.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...protocols.contract_events import TaskCommitted, TaskStarted
from ...protocols.core import State, TaskId
from ..analysis.run import open_run, understand


class Start(NamedTuple):
    """An attempt left for its slot."""

    at: float
    node: str
    epoch: int


@dataclass
class Starts:
    """All starts of each task, by time, and when it was first committed as done."""

    of: dict[TaskId, list[Start]] = field(default_factory=dict)
    done: dict[TaskId, float] = field(default_factory=dict)

    def more_than_once(self, tasks: Collection[TaskId]) -> set[TaskId]:
        return {task for task in tasks if len(self.of.get(task, ())) > 1}

    def after_commit(self) -> set[TaskId]:
        return {task for task, starts in self.of.items() if task in self.done and starts[-1].at > self.done[task]}

    def total(self) -> int:
        return sum(map(len, self.of.values()))


def read(folder: Path) -> Starts:
    """Raises RunError."""
    starts = Starts()
    for head, line in open_run(folder).heads():
        if head.event not in (TaskStarted.name, TaskCommitted.name):
            continue
        match understand(head, line):
            case TaskStarted(task=task, epoch=epoch):
                starts.of.setdefault(task, []).append(Start(head.mono, head.node, epoch))
            case TaskCommitted(task=task, state=State.DONE):
                starts.done[task] = min(head.mono, starts.done.get(task, head.mono))
    for each in starts.of.values():
        each.sort()
    return starts
