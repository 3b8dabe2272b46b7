"""An executor of commands as the tests of it see one: commands in, what it tells out, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import psutil
from running_attempts import PATIENCE_S, Running, descriptors, lives

from parley.agents.executors.base import Attempt
from parley.agents.executors.command import KIND, CommandExecutor
from parley.agents.payload import pack, unpack
from parley.protocols.core import Task
from parley.protocols.performatives import Reason


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


class RunningCommand(Running):
    """One that has begun."""

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

    def ask(
        self, payload: bytes, timeout_s: float = PATIENCE_S, follow: bool = False, reads: bool = True
    ) -> RunningCommand:
        self._count += 1
        task = Task(id=f"t{self._count}", kind=KIND, timeout_s=timeout_s)
        running = RunningCommand(self.executor, task.id, 3, reads)
        self.executor.start(Attempt(task, 3, payload, follow), running.tell)
        assert not running.end.done(), "nothing is told from within start"
        return running

    def begin(
        self,
        *argv: str,
        timeout_s: float = PATIENCE_S,
        follow: bool = False,
        reads: bool = True,
        **options: object,
    ) -> RunningCommand:
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
