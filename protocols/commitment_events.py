"""What commitment tells the log: who holds a task, who opened a later epoch and why, what was fenced, what moved."""

from __future__ import annotations

from typing import ClassVar

from .core import Event, NodeId, TaskId


class TaskHeld(Event, frozen=True, kw_only=True):
    """A majority of its holders has it on disk: its client has its acknowledgement."""

    name: ClassVar[str] = "task.hold"
    task: TaskId
    holders: tuple[NodeId, ...]


class EpochOpened(Event, frozen=True, kw_only=True):
    """This node asks for a later epoch of a task. `reason`: orphan, cancel or move."""

    name: ClassVar[str] = "epoch.open"
    task: TaskId
    epoch: int
    reason: str


class EpochFenced(Event, frozen=True, kw_only=True):
    """An epoch of this node, or one that it works in, counts no more."""

    name: ClassVar[str] = "epoch.fence"
    level: ClassVar[str] = "warning"
    task: TaskId
    epoch: int


class TaskMoved(Event, frozen=True, kw_only=True):
    """A holder was dead for long: others hold the task now."""

    name: ClassVar[str] = "task.move"
    task: TaskId
    holders: tuple[NodeId, ...]


EVENTS: tuple[type[Event], ...] = (TaskHeld, EpochOpened, EpochFenced, TaskMoved)
