"""Tasks by what people call them: the beginnings of their ids, and their labels. Found without looking at all tasks.

    add("k3f9", "mnist")     named("k3")    -> k3f9, and whatever else begins so
                             named("mnist") -> k3f9, and whatever else bears this label

Ids lie in drawers by their first letters; one that is meant is sought in its drawer only. Others ask for thousands at
once, when an agent that has thousands dies.
"""

from __future__ import annotations

from .core import TaskId

LETTERS = 2
"""Ids are random: with 32 letters there are 1,024 drawers."""


class Names:
    def __init__(self) -> None:
        self._drawers: dict[str, dict[TaskId, None]] = {}
        self._labelled: dict[str, TaskId | dict[TaskId, None]] = {}  # most labels are those of one task

    def add(self, task: TaskId, label: str = "") -> None:
        """It is known, by this label too, until it is discarded."""
        self._drawers.setdefault(task[:LETTERS], {})[task] = None
        if not label:
            return
        others = self._labelled.setdefault(label, task)
        if isinstance(others, dict):
            others[task] = None
        elif others != task:
            self._labelled[label] = {others: None, task: None}

    def discard(self, task: TaskId, label: str = "") -> None:
        """Nobody means it any more."""
        drawer = self._drawers.get(task[:LETTERS], {})
        drawer.pop(task, None)
        if not drawer:
            self._drawers.pop(task[:LETTERS], None)
        others = self._labelled.get(label)
        if isinstance(others, dict):
            others.pop(task, None)
        if not others or others == task:
            self._labelled.pop(label, None)

    def named(self, name: str) -> list[TaskId]:
        """Whose label it is, and whose id begins so."""
        labelled = self._labelled.get(name, {})
        found = dict.fromkeys([labelled] if isinstance(labelled, str) else labelled)
        found.update(dict.fromkeys(self._beginning(name)))
        return list(found)

    def _beginning(self, name: str) -> list[TaskId]:
        if len(name) >= LETTERS:
            drawers = [self._drawers.get(name[:LETTERS], {})]
        else:
            drawers = [drawer for letters, drawer in self._drawers.items() if letters.startswith(name)]
        return [task for drawer in drawers for task in drawer if task.startswith(name)]
