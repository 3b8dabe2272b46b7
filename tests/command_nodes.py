"""An executor of commands as the tests of it see one: commands in, what it tells out, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import psutil

from parley.agents.executors.command import KIND, CommandExecutor
from parley.agents.payload import pack, unpack
from parley.protocols.core import Task
from parley.protocols.performatives import OUTPUT_BYTES_MAX, OUTPUT_UNREAD_MAX, Finished, Output, Reason, Stream

PATIENCE_S = 20.0


class Result(NamedTuple):
    """How a command ended, taken apart."""

    reason: Reason | None
    error: str
    exit: int
    out: str
    err: str
    out_bytes: int
    err_bytes: int
    seconds: float


class Running:
    """An attempt that has begun: what is told of it, and read, or left unread."""

    def __init__(self, executor: CommandExecutor, task: str, epoch: int, reads: bool) -> None:
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

    async def result(self) -> Result:
        finished = await self.end
        value = unpack(finished.value)
        assert isinstance(value, dict)
        assert set(value) == {"exit", "out", "err", "out_bytes", "err_bytes"}
        assert (finished.reason is None) == (value["exit"] == 0) == (finished.error == "")
        assert "\n" not in finished.error
        return Result(finished.reason, finished.error, **value, seconds=finished.seconds)


class Node:
    """An executor that is asked to run commands."""

    def __init__(self, executor: CommandExecutor) -> None:
        self.executor = executor
        self._count = 0

    def ask(self, payload: bytes, timeout_s: float = PATIENCE_S, follow: bool = False, reads: bool = True) -> Running:
        self._count += 1
        task = Task(id=f"t{self._count}", kind=KIND, timeout_s=timeout_s)
        running = Running(self.executor, task.id, 3, reads)
        self.executor.start(task, 3, payload, running.tell, follow=follow)
        assert not running.end.done(), "nothing is told from within start"
        return running

    def begin(
        self,
        *argv: str,
        timeout_s: float = PATIENCE_S,
        follow: bool = False,
        reads: bool = True,
        **options: object,
    ) -> Running:
        return self.ask(pack({"argv": argv, **options}), timeout_s, follow, reads)

    async def run(self, *argv: str, timeout_s: float = PATIENCE_S, **options: object) -> Result:
        return await self.ask(pack({"argv": argv, **options}), timeout_s).result()

    async def refusal(self, payload: bytes) -> str:
        """The error of an attempt that was not even tried."""
        finished = await self.ask(payload).end
        assert finished.reason is Reason.ERROR
        assert finished.value == b""
        return finished.error

    async def guard(self) -> psutil.Process:
        """The process that starts its commands, which it has by now."""
        assert (await self.run("true")).exit == 0
        [guard] = psutil.Process().children()
        return guard


@asynccontextmanager
async def node(executor: CommandExecutor | None = None) -> AsyncIterator[Node]:
    """Whatever happens inside, no process and no descriptor is left in the end."""
    executor = executor or CommandExecutor()
    me = psutil.Process()
    before = descriptors()
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Node(executor)
    finally:
        left = me.children(recursive=True)
        await executor.close()
        alive = [process.pid for process in left if lives(process.pid)]
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        assert not alive
        assert descriptors() == before


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
