"""The agent's ends of the pipes of its processes: what comes is read no faster than it is wanted, what goes is written
as it is taken.

Reading: `room` says before every read how much may come. While it says 0 the pipe is left alone, so it fills, and
whoever writes into it waits. Descriptors are read here and not by asyncio's transports because those decide themselves
how much they read.

Invariant: memory is bounded by one read; a pipe that has ended is closed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from contextlib import ExitStack

WRITE_BYTES = 64 * 1024


def open_pipe(undo: ExitStack) -> tuple[int, int]:
    """The reading and the writing end of a new pipe; `undo` would close them. Raises OSError if there are too many."""
    reading, writing = os.pipe()
    undo.callback(os.close, reading)
    undo.callback(os.close, writing)
    return reading, writing


class Pipe:
    """The reading end `fd`, which is its own from now on. `take` is told each piece, at most `room()` bytes long.

    `ended` is done when the other end is closed and all has been read, or after `close`.
    """

    def __init__(self, fd: int, room: Callable[[], int], take: Callable[[bytes], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._room = room
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._watched = False
        self._read_bytes = 0
        self._aim = 0
        self._reached: asyncio.Future[None] | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.look()

    def look(self) -> None:
        """There may be room again."""
        if not self._watched and not self.ended.done() and self._room() > 0:
            self._watched = True
            self._loop.add_reader(self._fd, self._readable)

    async def told(self) -> None:
        """Returns when all that lies in the pipe at this moment has been taken."""
        if self.ended.done():
            return
        self._aim = self._read_bytes + struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        while self._read_bytes < self._aim and self._room() > 0 and self._read():
            pass
        if self._read_bytes < self._aim and not self.ended.done():
            self._reached = self._loop.create_future()
            await self._reached

    def close(self) -> None:
        """Reads no more; what is left is lost, and who writes on is told so by the system."""
        if self.ended.done():
            return
        if self._watched:
            self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self.ended.set_result(None)
        self._wake()

    def _readable(self) -> None:
        if self._room() > 0:
            self._read()
        else:
            self._watched = False
            self._loop.remove_reader(self._fd)

    def _read(self) -> bool:
        """One piece, if one is there. Whoever takes it may close us."""
        try:
            data = os.read(self._fd, self._room())
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._read_bytes += len(data)
        self._take(data)
        if self._read_bytes >= self._aim:
            self._wake()
        return not self.ended.done()

    def _wake(self) -> None:
        if self._reached and not self._reached.done():
            self._reached.set_result(None)


class Feed:
    """Writes `data` into the writing end `fd`, which is its own from now on, then closes it; a reader that stops
    reading is no error."""

    def __init__(self, fd: int, data: bytes) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._left = memoryview(data)
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_writer(fd, self._writable)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_writer(self._fd)
            os.close(self._fd)

    def _writable(self) -> None:
        try:
            self._left = self._left[os.write(self._fd, self._left[:WRITE_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self.close()
            return
        if not self._left:
            self.close()
