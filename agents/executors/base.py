"""What a node's runtime asks of whatever runs tasks, and how an attempt is named.

The idea: an executor starts attempts and tells what becomes of them; it never negotiates, and it decides nothing about
retries beyond saying, by the reason of a failure, whether another attempt could help.

    runtime                                   executor
      | offers("command") ----------------------> |  may it run this kind?
      | start(attempt, tell) -------------------> |
      | <---------------------- tell(Output(...)) |  where its output is followed, as it comes
      | resume(task, epoch, size) --------------> |  so much of it was read
      | <-------------------- tell(Finished(...)) |  once, later, on the loop (never from within start)
      | stop(task, epoch) ----------------------> |  no Finished follows, the slot is free at once

Invariants: every start is followed by exactly one Finished or by a stop, and nothing is told after either. Of output
that is followed no more than OUTPUT_UNREAD_MAX bytes are told and not read: the rest waits where it is written. An
attempt that takes longer than `task.timeout_s` ends with the reason TIMEOUT.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ...protocols.core import Tag, Task
from ...protocols.performatives import Finished, Output, Term
from ..seats import NO_SEAT

Tell: TypeAlias = Callable[[Finished | Output], None]
Key: TypeAlias = tuple[str, int]
"""Task and epoch: what an attempt is known by."""


class Attempt(NamedTuple):
    """What is to be run: a task, for this epoch. `payload` are its arguments, packed; with `follow` somebody reads what
    it writes; `env` it finds in its environment, if it has one."""

    task: Task
    epoch: int
    payload: bytes
    follow: bool = False
    env: Mapping[str, str] = NO_SEAT

    @property
    def key(self) -> Key:
        return self.task.id, self.epoch


class Executor(typing.Protocol):
    """Runs tasks on this node. All of it is called on the asyncio loop, and none of it blocks."""

    def offers(self, kind: str) -> bool:
        """Does it run tasks of this kind?"""

    @property
    def tags(self) -> Sequence[Tag]:
        """What the node has by having this executor, such as "model=llama3.2"; may change while it runs."""

    def price(self, task: Task) -> Sequence[Term] | None:
        """The terms of the task's cost here in seconds, the queue apart; None: let the estimator say."""

    def start(self, attempt: Attempt, tell: Tell, /) -> None:
        """Begin it. Raises ProtocolError if it runs already, or if no slot is free for it: our own bug."""

    def resume(self, task: str, epoch: int, size: int) -> None:
        """So many bytes of its output were read. One that has ended is no error."""

    def stop(self, task: str, epoch: int) -> None:
        """Give up an attempt. One that has ended, or never began, is no error."""

    async def close(self) -> None:
        """Give up all attempts and let go of everything; returns when no process is left."""
