"""Attempts as whoever started them sees them: what is told of them, and read, or left unread; and what processes do."""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import suppress

import psutil

from parley.agents.executors.base import Executor
from parley.protocols.performatives import OUTPUT_BYTES_MAX, OUTPUT_UNREAD_MAX, Finished, Output, Stream

PATIENCE_S = 20.0


class Running:
    """An attempt that has begun: what is told of it, and read, or left unread."""

    def __init__(self, executor: Executor, task: str, epoch: int, reads: bool) -> None:
        self._executor = executor
        self.task = task
        self.epoch = epoch
        self.reads = reads
        """Output is read as soon as it is told."""
        self.keeps = True
        """And it is kept."""
        self.told = {Stream.OUT: bytearray(), Stream.ERR: bytearray()}
        self.size = 0
        self.unread = 0
        self.end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    def tell(self, message: Finished | Output) -> None:
        assert (message.task, message.epoch) == (self.task, self.epoch)
        assert not self.end.done(), "nothing is told after the end"
        if isinstance(message, Finished):
            self.end.set_result(message)
        else:
            assert 0 < len(message.data) <= OUTPUT_BYTES_MAX
            self.told[message.stream] += message.data if self.keeps else b""
            self.size += len(message.data)
            self.unread += len(message.data)
            assert self.unread <= OUTPUT_UNREAD_MAX
            if self.reads:
                asyncio.get_running_loop().call_soon(self.read, len(message.data))
        self._news.set()

    def read(self, size: int) -> None:
        self.unread -= size
        self._executor.resume(self.task, self.epoch, size)

    def stop(self) -> None:
        self._executor.stop(self.task, self.epoch)

    async def until(self, size: int) -> None:
        """So many bytes of output were told."""
        while self.size < size:
            assert not self.end.done()
            self._news.clear()
            await self._news.wait()

    async def line(self) -> list[int]:
        """The numbers on the first line of its output."""
        while b"\n" not in self.told[Stream.OUT]:
            assert not self.end.done()
            self._news.clear()
            await self._news.wait()
        return [int(word) for word in self.told[Stream.OUT].split(b"\n")[0].split()]


def descriptors() -> dict[str, str]:
    """What is open in this process."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


async def gone(*pids: int) -> None:
    """Waits until these processes have ended; whoever inherits orphans may keep them as zombies."""
    for pid in pids:
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ended, _, _ = await asyncio.to_thread(select.select, [process], [], [], PATIENCE_S)
            assert ended, pid
        finally:
            os.close(process)


def lives(pid: int) -> bool:
    try:
        status = str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return False
    return status != str(psutil.STATUS_ZOMBIE)
