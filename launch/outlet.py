"""Our own stdout and stderr, for what a command on another node writes: its bytes, in the order in which they came.

    loop:    put(1, b"...") ---.                    a reader that pauses (`| less`) holds up the thread, not the loop
    thread:                    '--> os.write        so signals are heard and the agent is answered meanwhile

Who puts waits a little while much is held, and so slows the command down; only when HELD_MAX is held it waits for as
long as it takes.

Invariant: no more than HELD_MAX and one piece are held; nothing is written twice, or out of order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable
from typing import TypeVar

FREE = 1024 * 1024
"""So much may be held without waiting."""
HELD_MAX = 256 * 1024 * 1024
PAUSED_PER_S = 256 * 1024
"""So fast it is taken at least from a command whose output nobody reads."""

T = TypeVar("T")


class Outlet:
    """Make it inside a running loop. `broken` is set when one of the two cannot be written any more."""

    def __init__(self, out: int = 1) -> None:
        self.out, self.err = out, 2
        self._loop = asyncio.get_running_loop()
        self.broken: asyncio.Future[OSError] = self._loop.create_future()
        self._held = 0
        self._changed = threading.Condition()
        self._pieces: queue.SimpleQueue[tuple[int, bytes] | asyncio.Future[None]] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="writes", daemon=True).start()

    def put(self, fd: int, data: bytes) -> None:
        """Have it written."""
        with self._changed:
            self._held += len(data)
        self._pieces.put((fd, data))
        if self._held > FREE:
            with self._changed:
                self._changed.wait_for(lambda: self._held <= FREE, len(data) / PAUSED_PER_S)
                self._changed.wait_for(lambda: self._held <= HELD_MAX)

    def say(self, sentence: str) -> None:
        """A line of our own on stderr."""
        self.put(self.err, f"parley: {sentence}\n".encode())

    async def written(self) -> None:
        """All that was put so far is out, or cannot be."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._pieces.put(done)
        await done

    def _write(self) -> None:
        while True:
            piece = self._pieces.get()
            if isinstance(piece, asyncio.Future):
                self._tell(_settle, piece)
                continue
            try:
                _write_all(*piece)
            except OSError as error:
                self._tell(self._break, error)
            with self._changed:
                self._held -= len(piece[1])
                self._changed.notify_all()

    def _tell(self, callback: Callable[[T], None], about: T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(callback, about)

    def _break(self, error: OSError) -> None:
        if not self.broken.done():
            self.broken.set_result(error)


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _write_all(fd: int, data: bytes) -> None:
    """Also where somebody else has made it non-blocking."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])
