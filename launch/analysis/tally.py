"""All tasks of a run as `parley tasks` shows those of an agent: state, reason, node, epoch and attempts, from the logs.

    task.submit -> open      auction.award -> awarded      task.start -> running      task.lost -> open again
    task.commit -> its end, the first that was decided

One pass, in which only the few fields that matter are decoded: a million lines take about two seconds.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...protocols.contract_events import AuctionAwarded, AuctionFailed, TaskCommitted, TaskLost, TaskStarted
from ...protocols.core import State
from ...protocols.requests import TaskLine
from ...protocols.service import TaskSubmitted
from .run import open_run

_EVENTS = frozenset(
    event.name for event in (TaskSubmitted, AuctionAwarded, AuctionFailed, TaskStarted, TaskLost, TaskCommitted)
)


class _Brief(msgspec.Struct, gc=False):
    """What of a line matters here."""

    epoch: int = 0
    kind: str = ""
    winner: str = ""
    peer: str | None = None
    state: str = ""
    attempts: int = 0
    detail: str = ""
    reason: str = ""


_decode = msgspec.json.Decoder(_Brief).decode


class _Task:
    __slots__ = ("attempts", "committed", "epoch", "kind", "node", "reason", "stamp", "state", "submitted")

    def __init__(self) -> None:
        self.kind = ""
        self.state: str = State.UNKNOWN
        self.reason = "the log of the agent that took it is not here"
        self.node: str | None = None
        self.epoch = self.attempts = 0
        self.stamp = 0  # of what its state is from
        self.submitted = 0
        self.committed = 0


def tally(path: Path) -> tuple[list[TaskLine], list[str]]:
    """The tasks of the run in this folder in the order of their submission, and what is wrong with its logs. Raises
    RunError."""
    run = open_run(path)
    tasks: dict[str, _Task] = {}
    for head, line in run.heads():
        if head.task is None or head.event not in _EVENTS:
            continue
        try:
            told = _decode(line)
        except msgspec.MsgspecError:
            continue
        task = tasks.get(head.task)
        if task is None:
            task = tasks[head.task] = _Task()
        _note(task, head.event, told, head.hlc, head.node)
    lines = [
        TaskLine(name, "", task.kind or "unknown", State(task.state), task.reason, task.node, task.epoch, task.attempts)
        for name, task in sorted(tasks.items(), key=lambda item: (item[1].submitted, item[0]))
    ]
    return lines, run.notes


def _note(task: _Task, event: str, told: _Brief, stamp: int, node: str) -> None:
    """The line that is the latest by the hybrid clock counts, in whichever order files are read; of ends, the first."""
    if event == TaskSubmitted.name:
        task.kind, task.submitted = told.kind, stamp
        if not task.stamp:
            task.state, task.reason = State.OPEN, "its call comes when those before it are placed"
        return
    if event == TaskCommitted.name:
        if not task.committed or stamp < task.committed:
            task.committed = stamp
            task.state, task.reason = told.state, told.detail
            task.node, task.epoch, task.attempts = told.peer, told.epoch, told.attempts
        return
    if event == TaskStarted.name:
        task.kind = task.kind or told.kind
    if event == AuctionAwarded.name and not task.committed:
        task.attempts += 1
    if task.committed or stamp < task.stamp:
        return
    task.stamp = stamp
    if event == AuctionAwarded.name:
        task.state, task.node, task.epoch = State.AWARDED, told.winner, told.epoch
        task.reason = f"awarded to {told.winner}, when the logs end"
    elif event == TaskStarted.name:
        task.state, task.node, task.epoch = State.RUNNING, node, told.epoch
        task.reason = f"runs on {node}, when the logs end"
    elif event == TaskLost.name:
        task.state, task.node = State.OPEN, None
        task.reason = f"lost on {told.peer} ({told.reason}), to be awarded again"
    else:
        task.state, task.reason = State.OPEN, "nobody has bid for it; it waits for one that can"
