"""One worker process, seen from its agent: it is asked, it may die, it can be killed.

The idea: the worker leads a process group of its own, so that killing it takes along whatever its functions have
started. Its end is an answer like any other: whoever waits for a reply is told how it died.

    executor                     WorkerProcess                        worker.py
      | ask(Request) ----------------> | frame on stdin -----------------> |
      | <----------------------- Reply | <---------------- frame on stdout |
      | <--------- on_line(task, line) | <---------------- lines on stderr |
      | kill() ----------------------> | SIGKILL to the group -----------> |
      | <------------- WorkerDiedError | <-------------- process has ended |

Invariant: once `gone` is done, no process of the group is left and no pipe is open.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias, cast

from . import channel
from .channel import ChannelError, Reply, Request
from .lines import Lines

LAST_WORDS_S = 1.0
"""How long a dead worker's pipes may stay open: they end with it, unless somebody has escaped from its group."""
STDIN, STDOUT, STDERR = 0, 1, 2

OnLine: TypeAlias = Callable[[str, str], None]
"""Told the task and one line that the worker wrote to stdout or stderr while, or after, it ran that task."""


class WorkerDiedError(Exception):
    """No reply will come; the text is one sentence that says why."""


class WorkerProcess(asyncio.SubprocessProtocol):
    """Use `spawn`; then one `ask` at a time."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._lines = Lines()
        self._received = bytearray()
        self._task = ""
        self._reply: asyncio.Future[Reply] | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_words: asyncio.TimerHandle | None = None

    @classmethod
    async def spawn(cls, command: Sequence[str], env: Mapping[str, str], on_line: OnLine | None) -> WorkerProcess:
        """A new worker that is starting up. Raises OSError if the system cannot."""
        _, worker = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(on_line),
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE if on_line else DEVNULL,
            env=dict(env),
            start_new_session=True,
        )
        return worker

    @property
    def alive(self) -> bool:
        return self._transport.get_returncode() is None

    async def ask(self, request: Request) -> Reply:
        """Raises WorkerDiedError instead of a reply. If cancelled, the worker is of no more use: kill it."""
        if not self.alive:
            raise WorkerDiedError(self._cause_of_death())
        self._task = request.task
        self._lines.begin()
        self._reply = asyncio.get_running_loop().create_future()
        self._stdin.write(channel.encode(request))
        return await self._reply

    def kill(self) -> None:
        """At once, with all that it has started."""
        if self.alive:
            self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)

    # --- what asyncio tells us ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDERR:
            self._tell(self._lines.feed(data))
            return
        self._received += data
        try:
            while (body := channel.take(self._received)) is not None:
                self._settle(channel.decode_reply(body))
        except ChannelError as error:
            self._settle(WorkerDiedError(f"the worker was killed: {error}"))
            self._received.clear()
            self.kill()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == STDERR:
            self._tell(self._lines.end())

    def process_exited(self) -> None:
        self._settle(WorkerDiedError(self._cause_of_death()))
        self._kill_group()
        self._last_words = asyncio.get_running_loop().call_later(LAST_WORDS_S, self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._last_words:
            self._last_words.cancel()
        self._transport.close()
        self.gone.set_result(None)

    def _settle(self, end: Reply | WorkerDiedError) -> None:
        """The end of the question that is open, if one is; a reply that nobody asked for is dropped."""
        if self._reply is None or self._reply.done():
            return
        if isinstance(end, WorkerDiedError):
            self._reply.set_exception(end)
        else:
            self._reply.set_result(end)

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            if self._on_line:
                self._on_line(self._task, line)

    def _cause_of_death(self) -> str:
        code = self._transport.get_returncode() or 0
        if code >= 0:
            return f"worker exited with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unnamed"
        return f"worker died with signal {-code} ({name})"
