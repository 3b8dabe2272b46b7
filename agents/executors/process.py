"""One worker process, seen from its agent: it is asked, it may die, it can be killed.

The idea: the worker leads a process group of its own, so that killing it takes along whatever its functions have
started. Its end is an answer like any other: whoever waits for a reply is told how it died. What it prints comes by two
pipes of its own: to whoever follows the attempt (window.py), else cut into lines (lines.py).

    executor                     WorkerProcess                        worker.py
      | ask(Request, window) --------> | frame on stdin -----------------> |
      | <----------------------- Reply | <---------------- frame on stdout |
      | <--------- window.tell(ERR, …) | <------- two pipes: prints, errors |
      |       or on_line(task, line)   |                                   |
      | told(), release() -----------> | what comes now is nobody's output |
      | kill() ----------------------> | SIGKILL to the group -----------> |
      | <------------- WorkerDiedError | <-------------- process has ended |

Invariant: once `gone` is done, no process of the group is left and no pipe is open.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TypeAlias, cast

from ...protocols.performatives import OUTPUT_BYTES_MAX, Stream
from . import channel
from .channel import ChannelError, Reply, Request
from .lines import Lines
from .pipes import Pipe, open_pipe
from .window import Window

LAST_WORDS_S = 1.0
"""How long a dead worker's pipes may stay open: they end with it, unless somebody has escaped from its group."""
STDIN = 0

OnLine: TypeAlias = Callable[[str, str], None]
"""Told the task and one line that the worker wrote to stdout or stderr while, or after, it ran that task."""


class WorkerDiedError(Exception):
    """No reply will come; the text is one sentence that says why."""


class WorkerProcess(asyncio.SubprocessProtocol):
    """Use `spawn`; then one `ask` at a time, each followed by a `release`.

    `prints` and `errors` are the reading ends of what it writes to stdout and to stderr.
    """

    def __init__(self, on_line: OnLine | None, prints: int, errors: int) -> None:
        self._on_line = on_line
        self._lines = {Stream.OUT: Lines(), Stream.ERR: Lines()}
        self._received = bytearray()
        self._task = ""
        self._window: Window | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._last_words: asyncio.TimerHandle | None = None
        self._buried = False
        """It has been dead for LAST_WORDS_S."""
        self._open = 3
        """The process with its channel, and two pipes."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pipes = [self._pipe(prints, Stream.OUT), self._pipe(errors, Stream.ERR)]

    @classmethod
    async def spawn(cls, command: Sequence[str], env: Mapping[str, str], on_line: OnLine | None) -> WorkerProcess:
        """A new worker that is starting up. Raises OSError if the system cannot."""
        with ExitStack() as undo:
            prints, their_prints = open_pipe(undo)
            errors, their_errors = open_pipe(undo)
            undo.pop_all()
        worker = cls(on_line, prints, errors)
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: worker,
                *command,
                f"--prints={their_prints}",
                stdin=PIPE,
                stdout=PIPE,
                stderr=their_errors,
                pass_fds=[their_prints],
                env=dict(env),
                start_new_session=True,
            )
        except BaseException:
            worker._close_pipes()
            raise
        finally:
            os.close(their_prints)
            os.close(their_errors)
        return worker

    @property
    def alive(self) -> bool:
        return self._transport.get_returncode() is None

    async def ask(self, request: Request, window: Window) -> Reply:
        """Raises WorkerDiedError instead of a reply. If cancelled, the worker is of no more use: kill it."""
        if not self.alive:
            raise WorkerDiedError(self._cause_of_death())
        self._task = request.task
        for lines in self._lines.values():
            lines.begin()
        self._window = window
        window.on_room = self._look
        self._reply = asyncio.get_running_loop().create_future()
        for part in channel.encode_request(request):
            self._stdin.write(part)
        return await self._reply

    async def told(self, until: float) -> None:
        """Returns when all that it has printed so far was told, or at this time of the loop if nobody reads it."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                for pipe in self._pipes:
                    await pipe.told()

    def release(self) -> None:
        """The attempt is over."""
        self._window = None
        self._look()
        if self._buried:
            self._close_pipes()

    def kill(self) -> None:
        """At once, with all that it has started."""
        if self.alive:
            self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)

    # --- what asyncio tells us ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._received += data
        try:
            while (frame := channel.take(self._received)) is not None:
                self._settle(channel.decode_reply(frame))
        except ChannelError as error:
            self._settle(WorkerDiedError(f"the worker was killed: {error}"))
            self._received.clear()
            self.kill()

    def process_exited(self) -> None:
        self._settle(WorkerDiedError(self._cause_of_death()))
        self._kill_group()
        self._last_words = asyncio.get_running_loop().call_later(LAST_WORDS_S, self._bury)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport.close()
        self._shut()

    def _bury(self) -> None:
        self._buried = True
        self._transport.close()
        if self._window is None:
            self._close_pipes()

    def _shut(self) -> None:
        self._open -= 1
        if not self._open:
            if self._last_words:
                self._last_words.cancel()
            self.gone.set_result(None)

    def _settle(self, end: Reply | WorkerDiedError) -> None:
        """The end of the question that is open, if one is; a reply that nobody asked for is dropped."""
        if self._reply is None or self._reply.done():
            return
        if isinstance(end, WorkerDiedError):
            self._reply.set_exception(end)
        else:
            self._reply.set_result(end)

    def _cause_of_death(self) -> str:
        code = self._transport.get_returncode() or 0
        if code >= 0:
            return f"worker exited with code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unnamed"
        return f"worker died with signal {-code} ({name})"

    # --- what it prints ----------------------------------------------------------------------------------------------

    def _pipe(self, fd: int, stream: Stream) -> Pipe:
        lines = self._lines[stream]

        def take(data: bytes) -> None:
            if self._window and self._window.followed:
                self._window.tell(stream, data)
            else:
                self._say(lines.feed(data))

        def ended(_: asyncio.Future[None]) -> None:
            self._say(lines.end())
            self._shut()

        pipe = Pipe(fd, lambda: self._window.room if self._window else OUTPUT_BYTES_MAX, take)
        pipe.ended.add_done_callback(ended)
        return pipe

    def _say(self, lines: list[str]) -> None:
        if self._on_line:
            for line in lines:
                self._on_line(self._task, line)

    def _look(self) -> None:
        for pipe in self._pipes:
            pipe.look()

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()
