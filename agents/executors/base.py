"""What a node's runtime asks of whatever runs tasks, and how an attempt is named.

The idea: an executor starts attempts and tells their ends; it never negotiates, and it decides nothing about retries
beyond saying whether another attempt could help.

    runtime                                   executor
      | start(task, epoch, payload, done) ------> |
      | <------------- done(Finished(...))        once, later, on the loop (never from within start)
      | stop(task, epoch) ----------------------> |   no Finished follows, the slot is free at once

Invariant: every start is followed by exactly one `done` or by a stop. `Finished.retry` is true when the attempt died
or hung, so that another node may succeed; false when the task itself failed and would fail anywhere.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import TypeAlias

from ...protocols.core import Task
from ...protocols.performatives import Finished

Done: TypeAlias = Callable[[Finished], None]
Attempt: TypeAlias = tuple[str, int]
"""Task and epoch."""


class Executor(typing.Protocol):
    """Runs tasks on this node. All of it is called on the asyncio loop, and none of it blocks."""

    def start(self, task: Task, epoch: int, payload: bytes, done: Done) -> None:
        """Begin an attempt. Raises ProtocolError if it runs already, or if no slot is free for it: our own bug."""

    def stop(self, task: str, epoch: int) -> None:
        """Give up an attempt. One that has ended, or never began, is no error."""

    async def close(self) -> None:
        """Give up all attempts and let go of everything; returns when no process is left."""
