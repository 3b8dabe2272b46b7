"""A task that a client has handed in, as whoever handed it in holds it: is it taken, and how has it ended?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from ..protocols.core import Outcome
from ..protocols.performatives import Stream
from ..protocols.requests import Submit

OnOutput: TypeAlias = Callable[[Stream, bytes, int], None]
"""Told what a task writes, as it comes, and the epoch of the attempt; the next is asked for when it has returned."""


class Handle:
    """A task handed in: `taken` when the agent has it, `outcome` when it has ended (if its result is followed)."""

    def __init__(self, submit: Submit, on_output: OnOutput | None) -> None:
        loop = asyncio.get_running_loop()
        self.task = submit.task.id
        self.submit = submit
        self.sent = False
        self.follow = submit.follow
        self.on_output = on_output
        self.taken: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()

    @property
    def outlives(self) -> bool:
        """Others than the agent it was handed to hold it."""
        return not self.sent or len(self.submit.holders) > 1

    def take(self) -> None:
        if not self.taken.done():
            self.taken.set_result(None)

    def end(self, outcome: Outcome) -> None:
        self.take()
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """Whoever waits is told; nobody need."""
        for future in (self.taken, self.outcome):
            if not future.done():
                future.set_exception(error)
                future.exception()
