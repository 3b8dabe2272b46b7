"""The attempts of an executor whose attempts are coroutines: begun, followed, stopped, told.

    start -> the coroutine runs, with a window for its output -> tell(Finished), on the loop, once
    stop  -> the coroutine is cancelled, its window closed; nothing more is told

Invariant: that of `base`: one Finished per start, or a stop, and nothing after either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from ...protocols.core import ProtocolError
from ...protocols.performatives import Finished
from .base import Attempt, Key, Tell
from .window import Window

Work: TypeAlias = Callable[[Attempt, Window], Coroutine[object, object, Finished]]
"""Carries an attempt out and answers with its end. Cancelled when the attempt is stopped."""


class Attempts:
    """All that run now."""

    def __init__(self) -> None:
        self._running: dict[Key, tuple[asyncio.Task[Finished], Window]] = {}
        self._stopped: set[asyncio.Task[Finished]] = set()
        """Those that are not over yet."""

    def __len__(self) -> int:
        return len(self._running)

    def start(self, attempt: Attempt, tell: Tell, work: Work) -> None:
        """Raises ProtocolError if the attempt runs already."""
        key = attempt.key
        if key in self._running:
            raise ProtocolError(f"attempt {key} was started twice")
        window = Window(*key, tell if attempt.follow else None)
        running = asyncio.get_running_loop().create_task(work(attempt, window))
        self._running[key] = running, window

        def ended(running: asyncio.Task[Finished]) -> None:
            if self._running.get(key) == (running, window) and not running.cancelled():
                del self._running[key]
                tell(running.result())

        running.add_done_callback(ended)

    def resume(self, task: str, epoch: int, size: int) -> None:
        """So many bytes of its output were read."""
        if attempt := self._running.get((task, epoch)):
            attempt[1].resume(size)

    def stop(self, task: str, epoch: int) -> None:
        """Says nothing more."""
        if attempt := self._running.pop((task, epoch), None):
            running, window = attempt
            window.close()
            running.cancel()
            self._stopped.add(running)
            running.add_done_callback(self._stopped.discard)

    async def close(self) -> None:
        """Stops all; returns when the coroutines of these, and of those stopped before, have ended."""
        for task, epoch in list(self._running):
            self.stop(task, epoch)
        if self._stopped:
            await asyncio.wait(self._stopped)
