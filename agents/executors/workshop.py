"""All executors of one node, as one: the first that offers a kind runs it.

    workshop = Workshop([SimulatedExecutor(...), PythonExecutor(...), ...])
    workshop.offers("command") -> any of them does
    workshop.start(attempt, tell) -> the first that offers it; that one is told of resume and stop as well

Invariant: an attempt is the matter of the executor that started it, whatever the others come to offer later.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from ...protocols.core import Tag, Task
from ...protocols.performatives import Finished, Output, Reason, Term
from ..blob_folder import BlobFolder
from .base import Attempt, Executor, Key, Tell
from .own import OwnExecutor


class ExecutorError(ValueError):
    """The owner's executor cannot be had; the text is one sentence."""


class Workshop:
    """An `Executor` made of executors."""

    def __init__(self, executors: Sequence[Executor]) -> None:
        self._executors = tuple(executors)
        self._running: dict[Key, Executor] = {}

    def offers(self, kind: str) -> bool:
        return self._executor(kind) is not None

    @property
    def tags(self) -> Sequence[Tag]:
        return [tag for executor in self._executors for tag in executor.tags]

    def price(self, task: Task) -> Sequence[Term] | None:
        executor = self._executor(task.kind)
        return executor.price(task) if executor is not None else None

    def start(self, attempt: Attempt, tell: Tell, /) -> None:
        kind, key = attempt.task.kind, attempt.key
        executor = self._executor(kind)
        if executor is None:  # it was offered when it was priced, and no longer is
            error = f"this node does not offer the kind {kind} any more"
            gone = Finished(*key, Reason.DIED, error=error)
            asyncio.get_running_loop().call_soon(tell, gone)
            return
        self._running[key] = executor

        def told(message: Finished | Output) -> None:
            if isinstance(message, Finished):
                self._running.pop(key, None)
            tell(message)

        executor.start(attempt, told)

    def resume(self, task: str, epoch: int, size: int) -> None:
        if executor := self._running.get((task, epoch)):
            executor.resume(task, epoch, size)

    def stop(self, task: str, epoch: int) -> None:
        if executor := self._running.pop((task, epoch), None):
            executor.stop(task, epoch)

    async def close(self) -> None:
        await asyncio.gather(*(executor.close() for executor in self._executors))

    def _executor(self, kind: str) -> Executor | None:
        for executor in self._executors:
            if executor.offers(kind):
                return executor
        return None


def load_executor(name: str, code: Sequence[Path] = (), blobs: BlobFolder | None = None) -> OwnExecutor:
    """The owner's class `pkg.mod:Class`, made without arguments. Raises ExecutorError, one sentence."""
    for folder in map(str, code):
        if folder not in sys.path:
            sys.path.append(folder)  # behind all else: nothing of ours is ever taken from there
    module_name, _, class_name = name.partition(":")
    if not module_name or not class_name:
        raise ExecutorError(f"{name!r} names no executor: write pkg.mod:Class")
    try:
        own = getattr(importlib.import_module(module_name), class_name, None)
        if own is None:
            raise ExecutorError(f"{module_name} has no class {class_name} that could be an executor")
        return OwnExecutor(own(), blobs)
    except ExecutorError:
        raise
    except Exception as error:
        raise ExecutorError(f"the executor {name} cannot be made: {type(error).__name__}: {error}") from None
