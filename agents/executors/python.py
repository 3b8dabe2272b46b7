"""Runs `pkg.mod:func` in warm worker processes, one per slot.

The idea: a task's kind names a function, and only the node's owner says which names may run here (`allow`: full
names, or patterns such as "pkg.mod:*", which stand for what the module itself defines and not for what it imports).
The agent never imports the function, never unpacks its arguments and never waits for it; all three happen in a
worker, which is started with the node (`warm`) or when it is first needed, stays warm, and is killed when it hangs.
The next attempt gets a fresh one.

    start(task)  -> a warm worker, else a new one -> Request
                 <- prints                 tell(Output), if followed: no faster than they are read (window.py)
                 <- Reply                  tell(Finished(None or ERROR)), the worker is warm again
                 <- death, or timeout_s    tell(Finished(DIED or TIMEOUT)), the worker and its children are killed
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
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...protocols.core import ProtocolError, Tag, Task
from ...protocols.performatives import Finished, Reason, Term
from ..blobs import references
from ..resources import allows
from .attempts import Attempts
from .base import Attempt, Tell
from .channel import Request
from .process import OnLine, WorkerDiedError, WorkerProcess
from .window import Window

CLOSE_S = 5.0
"""How long `close` waits for killed processes to be gone."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A slot is one CPU, unless the node's owner has set these otherwise."""


def worker_command(
    code: Sequence[Path] = (), slowdown: float = 0.0, allow: Sequence[str] = (), blobs: Path | None = None
) -> list[str]:
    """How a worker is started; it imports the modules that `allow` names outright before it is asked."""
    command = [sys.executable, "-P", "-m", "parley", "worker", "--slowdown", repr(slowdown)]
    for folder in code:
        command += ["--code", str(folder.absolute())]
    if blobs is not None:
        command += ["--blobs", str(blobs.absolute())]
    modules = dict.fromkeys(kind.partition(":")[0] for kind in allow)
    return command + [f"--import={module}" for module in modules if not set(module) & set("*?[")]


class PythonExecutor:
    """An `Executor` for the functions that `allow` names.

    `code`: folders put on the workers' sys.path. `env` is set for every worker. `speed`, and the `fastest` in the local
    fleet: see above. `on_line` is told what workers print while nobody follows; without it, that goes nowhere. `blobs`:
    the folder (`blob_folder.py`) where workers find large arguments and leave large results.
    """

    def __init__(
        self,
        allow: Sequence[str],
        *,
        slots: int = 1,
        code: Sequence[Path] = (),
        speed: float = 1.0,
        fastest: float = 1.0,
        env: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
        blobs: Path | None = None,
    ) -> None:
        if slots < 1 or speed <= 0.0:
            raise ValueError(f"a node has at least one slot and a speed above zero, not {slots} and {speed}")
        self._allow = tuple(allow)
        self._slots = slots
        self._command = worker_command(code, max(fastest / speed - 1.0, 0.0), allow, blobs)
        self._env = dict(env or {})
        self._on_line = on_line
        self._attempts = Attempts()
        self._warm: list[WorkerProcess] = []
        self._workers: set[WorkerProcess] = set()
        """All that are not yet gone: busy, warm, or killed a moment ago."""
        self._warming = asyncio.Lock()
        self._closed = False

    async def warm(self) -> None:
        """Start the workers now, so that the first tasks need not wait for them."""
        async with self._warming:
            while self._allow and len(self._workers) < self._slots and not self._closed:
                self._warm.append(await self._spawn())

    def offers(self, kind: str) -> bool:
        return allows(self._allow, kind)

    @property
    def tags(self) -> Sequence[Tag]:
        return ()

    def price(self, task: Task) -> Sequence[Term] | None:
        return None

    def start(self, attempt: Attempt, tell: Tell, /) -> None:
        if len(self._attempts) >= self._slots:
            raise ProtocolError(f"{attempt.task.id} was started without one of {self._slots} slots free")
        self._attempts.start(attempt, tell, self._run)

    def resume(self, task: str, epoch: int, size: int) -> None:
        self._attempts.resume(task, epoch, size)

    def stop(self, task: str, epoch: int) -> None:
        self._attempts.stop(task, epoch)

    async def close(self) -> None:
        self._closed = True
        await self._attempts.close()
        async with self._warming:  # none is on its way any more
            self._warm.clear()
        for worker in self._workers:
            worker.kill()
        if self._workers:
            await asyncio.wait([worker.gone for worker in self._workers], timeout=CLOSE_S)

    async def _run(self, attempt: Attempt, window: Window) -> Finished:
        task, epoch = attempt.task, attempt.epoch
        clock = asyncio.get_running_loop().time
        began = clock()
        until = began + task.timeout_s
        if self._closed:
            return Finished(task.id, epoch, Reason.DIED, error="this node is shutting down")
        if not self.offers(task.kind):
            error = f"this node does not run {task.kind}: start it with --allow {task.kind}"
            return Finished(task.id, epoch, Reason.ERROR, error=error)
        request = Request(task.id, epoch, task.kind, task.kind not in self._allow, attempt.payload, dict(attempt.env))
        reason, warm = Reason.DIED, False
        worker: WorkerProcess | None = None
        try:
            try:
                async with asyncio.timeout_at(until):
                    worker = await self._worker()
                    ok, value, error, seconds, blobs, again = await worker.ask(request, window)
                await worker.told(until)
                warm = True
                failed = Reason.DIED if again else Reason.ERROR
                return Finished(
                    task.id, epoch, None if ok else failed, value, error, seconds, references(blobs) if ok else ()
                )
            except TimeoutError:
                reason = Reason.TIMEOUT
                error = f"no result within {task.timeout_s:g} s; the worker was killed"
            except WorkerDiedError as death:
                error = str(death)
            except OSError as failure:
                error = f"no worker could be started: {failure}"
            seconds = clock() - began
            if worker:
                worker.kill()
                await worker.told(until)
            return Finished(task.id, epoch, reason, error=error, seconds=seconds)
        finally:
            if worker:
                worker.release()
                if warm and len(self._warm) + len(self._attempts) <= self._slots:  # we are one of these attempts
                    self._warm.append(worker)
                else:
                    worker.kill()

    async def _worker(self) -> WorkerProcess:
        self._workers = {worker for worker in self._workers if not worker.gone.done()}
        while self._warm:
            worker = self._warm.pop()
            if worker.alive:
                return worker
        return await self._spawn()

    async def _spawn(self) -> WorkerProcess:
        worker = await WorkerProcess.spawn(self._command, ONE_THREAD | os.environ | self._env, self._on_line)
        self._workers.add(worker)
        return worker
