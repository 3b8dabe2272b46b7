"""The numbered lines of a file of any size, or of a pipe that may be slow, read without holding anything else up.

    file:  read in pieces of PIECE_BYTES, as the lines are taken
    pipe:  a thread of its own waits for the next piece; the loop stays free for signals and for the agent

Invariant: no more than one piece and one line are held; a line of more than LINE_BYTES_MAX is a Problem.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import AsyncIterator

from .problems import Exit, Problem

PIECE_BYTES = 256 * 1024
LINE_BYTES_MAX = 32 * 1024 * 1024
STDIN = "-"


class Lines:
    """The lines of the file `path`, or of stdin if that is "-". Raises Problem if it cannot be read."""

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == STDIN else path
        self.size: int | None = None
        """In bytes; None: nobody knows."""
        self.read = 0
        """Bytes so far."""
        self.number = 0
        """Of the line taken last."""
        try:
            self._fd = os.dup(0) if path == STDIN else os.open(path, os.O_RDONLY)
            state = os.fstat(self._fd)
        except OSError as error:
            raise self._unreadable(error) from None
        self._is_file = stat.S_ISREG(state.st_mode)
        if self._is_file:
            self.size = state.st_size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Lines without their ends; empty ones too."""
        held: list[bytes] = []  # pieces of a line whose end has not been seen
        size = 0
        while piece := await self._piece():
            first, *others = piece.split(b"\n")
            held.append(first)
            size += len(first)
            self._check(size)
            if others:
                for line in (b"".join(held), *others[:-1]):
                    self.number += 1
                    yield line
                held, size = [others[-1]], len(others[-1])
        if size:
            self.number += 1
            yield b"".join(held)

    def close(self) -> None:
        """Not while a thread may read it: then it stays open until the process ends."""
        if self._is_file:
            os.close(self._fd)

    def _check(self, size: int) -> None:
        """Of the line after `number`."""
        if size > LINE_BYTES_MAX:
            raise Problem(f"line {self.number + 1} of {self.name} has more than {LINE_BYTES_MAX:,} bytes", Exit.USAGE)

    async def _piece(self) -> bytes:
        try:
            if self._is_file:
                piece = os.read(self._fd, PIECE_BYTES)
                await asyncio.sleep(0)  # a file is always ready; others want their turn
            else:
                piece = await _waited(self._fd)
        except OSError as error:
            raise self._unreadable(error) from None
        self.read += len(piece)
        return piece

    def _unreadable(self, error: OSError) -> Problem:
        return Problem(f"{self.name} cannot be read: {(error.strerror or str(error)).lower()}", Exit.USAGE)


async def _waited(fd: int) -> bytes:
    """The next piece of a pipe. If nobody waits for it any more, neither does the end of the process."""
    loop = asyncio.get_running_loop()
    piece: asyncio.Future[bytes] = loop.create_future()

    def tell(data: bytes | OSError) -> None:
        if piece.done():
            return
        if isinstance(data, OSError):
            piece.set_exception(data)
        else:
            piece.set_result(data)

    def wait() -> None:
        try:
            data: bytes | OSError = os.read(fd, PIECE_BYTES)
        except OSError as error:
            data = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell, data)

    threading.Thread(target=wait, name="reads", daemon=True).start()
    return await piece
