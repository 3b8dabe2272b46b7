"""Runs `pkg.mod:func` in warm worker processes, one per slot.

The idea: a task's kind names a function, and only the node's owner says which names may run here (`allow`: full
names, or patterns such as "pkg.mod:*", which stand for what the module itself defines and not for what it imports).
The agent never imports the function, never unpacks its arguments and never waits for it; all three happen in a
worker, which is started with the node (`warm`) or when it is first needed, stays warm, and is killed when it hangs.
The next attempt gets a fresh one.

    start(task)  -> a warm worker, else a new one -> Request
                 <- Reply                  done(Finished(ok=..., retry=False)), the worker is warm again
                 <- death, or timeout_s    done(Finished(retry=True)), the worker and its children are killed
    stop(task)   -> the same killing, and no Finished

Workers are separate programs (`-P -m parley...`), neither forked nor spawned by multiprocessing: a script without a
main guard or a notebook can run an agent, and a user's own package named `agents` is never mistaken for ours.

Unequal nodes on one machine: after c CPU-seconds a worker sleeps c·(fastest/speed − 1) more, so that the fastest node
runs at full speed and each other one in proportion.

Invariant: at most `slots` attempts at once, and as many warm workers; after `close` no process is left.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...protocols.core import ProtocolError, Task
from ...protocols.performatives import Finished
from ..resources import allows
from .base import Attempt, Done
from .channel import Reply, Request
from .process import OnLine, WorkerDiedError, WorkerProcess

CLOSE_S = 5.0
"""How long `close` waits for killed processes to be gone."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A slot is one CPU, unless the node's owner has set these otherwise."""


def worker_command(code: Sequence[Path] = (), slowdown: float = 0.0, allow: Sequence[str] = ()) -> list[str]:
    """How a worker is started; it imports the modules that `allow` names outright before it is asked."""
    command = [sys.executable, "-P", "-m", "parley", "worker", "--slowdown", repr(slowdown)]
    for folder in code:
        command += ["--code", str(folder.absolute())]
    modules = dict.fromkeys(kind.partition(":")[0] for kind in allow)
    return command + [f"--import={module}" for module in modules if not set(module) & set("*?[")]


class PythonExecutor:
    """An `Executor` for the functions that `allow` names.

    `code`: folders put on the workers' sys.path. `speed`, and the `fastest` in the local fleet: see above.
    `on_line` is told what workers print; without it, that goes nowhere.
    """

    def __init__(
        self,
        allow: Sequence[str],
        *,
        slots: int = 1,
        code: Sequence[Path] = (),
        speed: float = 1.0,
        fastest: float = 1.0,
        on_line: OnLine | None = None,
    ) -> None:
        if slots < 1 or speed <= 0.0:
            raise ValueError(f"a node has at least one slot and a speed above zero, not {slots} and {speed}")
        self._allow = tuple(allow)
        self._slots = slots
        self._command = worker_command(code, max(fastest / speed - 1.0, 0.0), allow)
        self._on_line = on_line
        self._attempts: dict[Attempt, asyncio.Task[Finished]] = {}
        self._warm: list[WorkerProcess] = []
        self._workers: set[WorkerProcess] = set()
        """All that are not yet gone: busy, warm, or killed a moment ago."""
        self._closed = False

    async def warm(self) -> None:
        """Start the workers now, so that the first tasks need not wait for them."""
        while self._allow and len(self._workers) < self._slots and not self._closed:
            self._warm.append(await self._spawn())

    def start(self, task: Task, epoch: int, payload: bytes, done: Done) -> None:
        attempt = (task.id, epoch)
        if attempt in self._attempts or len(self._attempts) >= self._slots:
            raise ProtocolError(f"attempt {attempt} was started twice, or without one of {self._slots} slots free")
        running = asyncio.get_running_loop().create_task(self._run(task, epoch, payload))
        self._attempts[attempt] = running

        def ended(running: asyncio.Task[Finished]) -> None:
            if self._attempts.get(attempt) is running and not running.cancelled():
                del self._attempts[attempt]
                done(running.result())

        running.add_done_callback(ended)

    def stop(self, task: str, epoch: int) -> None:
        if running := self._attempts.pop((task, epoch), None):
            running.cancel()

    async def close(self) -> None:
        self._closed = True
        running = list(self._attempts.values())
        self._attempts.clear()
        self._warm.clear()
        for attempt in running:
            attempt.cancel()
        for worker in self._workers:
            worker.kill()
        ends: list[asyncio.Future[Finished] | asyncio.Future[None]] = [worker.gone for worker in self._workers]
        ends += running
        if ends:
            await asyncio.wait(ends, timeout=CLOSE_S)

    async def _run(self, task: Task, epoch: int, payload: bytes) -> Finished:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            ok, value, error, seconds = await self._ask(task, epoch, payload)
            return Finished(task.id, epoch, ok, value, error, retry=False, seconds=seconds)
        except TimeoutError:
            error = f"no result within {task.timeout_s:g} s; the worker was killed"
        except WorkerDiedError as death:
            error = str(death)
        except OSError as failure:
            error = f"no worker could be started: {failure}"
        return Finished(task.id, epoch, ok=False, error=error, retry=True, seconds=clock() - began)

    async def _ask(self, task: Task, epoch: int, payload: bytes) -> Reply:
        """The reply of a worker that is warm afterwards; a worker that does not come to replying is killed."""
        if self._closed:
            raise WorkerDiedError("this node is shutting down")
        if not allows(self._allow, task.kind):
            return Reply(False, b"", f"this node does not run {task.kind}: start it with --allow {task.kind}", 0.0)
        request = Request(task.id, epoch, task.kind, task.kind not in self._allow, payload)
        worker: WorkerProcess | None = None
        try:
            async with asyncio.timeout(task.timeout_s):
                worker = await self._worker()
                reply = await worker.ask(request)
            self._warm.append(worker)
            worker = None
            return reply
        finally:
            if worker:
                worker.kill()

    async def _worker(self) -> WorkerProcess:
        self._workers = {worker for worker in self._workers if not worker.gone.done()}
        while self._warm:
            worker = self._warm.pop()
            if worker.alive:
                return worker
        return await self._spawn()

    async def _spawn(self) -> WorkerProcess:
        worker = await WorkerProcess.spawn(self._command, ONE_THREAD | os.environ, self._on_line)
        self._workers.add(worker)
        return worker
