"""`parley run`: a command on whichever node ends it first, as if it ran here.

    Submit(command) -> Output ... Output -> our stdout and stderr -> Result -> its exit code is ours
    Ctrl-C, SIGTERM, SIGHUP -> the task is given up -> until it has stopped, at most STOP_S -> exit 130, 143, 129
    its node dies   -> one line on stderr, and what it writes on the next node
    its agent dies  -> another tells how it ends, and what it has written since

What the command says with its exit code is the command's; what Parley says itself (no node, no agent, too late) has a
sentence on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..agents.executors.work_folder import is_file_name
from ..agents.payload import Blob, unpack
from ..protocols.core import Outcome, State
from ..protocols.performatives import Reason, Stream
from .bar import at_terminal
from .client import Connection
from .desk import connected
from .handle import Handle
from .outcomes import ResultLine, result_line
from .outlet import Outlet
from .problems import Exit, Problem
from .spool import SPOOL, save_blob
from .submission import Submission

STOP_S = 10.0
"""So long a command that is given up may take to stop; then it is left to its node."""
LAST_S = 1.0
"""So long what it still writes then may take to be read here."""
LOOK_S = 0.2
"""How often a person at a terminal is told where it stands, if that has changed."""
NOT_RUN = (126, 127)
"""The exit codes of a command that cannot be executed, or is not found."""


@dataclass(frozen=True)
class Ended:
    """How it ended: the exit code that is to be ours, and Parley's own sentence, if it has one to say."""

    outcome: Outcome
    exit: int
    sentence: str | None


class RunLine(ResultLine, frozen=True):
    """What `parley run --json` prints at the end; `source`: whose the exit code is, "command" or "parley"."""

    exit: int
    source: str


class OwnError(msgspec.Struct, frozen=True):
    """What `parley run --json` prints where there is no result: no agent, interrupted."""

    error: str
    exit: int
    source: str = "parley"


def run_line(ended: Ended) -> RunLine:
    told = result_line(ended.outcome)
    fields = {name: getattr(told, name) for name in told.__struct_fields__}
    return RunLine(**fields, exit=ended.exit, source="command" if ended.sentence is None else "parley")


async def run_command(agents: Sequence[str], submission: Submission, quiet: bool) -> Ended:
    """Run it to its end. `quiet`: stdout is for something else, so all that it writes goes to stderr.

    Raises Problem, BrokenPipeError where nobody reads what it writes, and CancelledError when it was given up.
    """
    [submit] = submission.submits()
    outlet = Outlet(out=2) if quiet else Outlet()
    following = _Following(outlet)
    async with connected(agents) as agent:
        handle = agent.hand_in(submit, following.on_output)
        telling = asyncio.create_task(_tell(agent, handle, following)) if at_terminal() else None
        try:
            await asyncio.wait((handle.outcome, outlet.broken), return_when=asyncio.FIRST_COMPLETED)
            if outlet.broken.done():
                await _stop(agent, handle, outlet)
                raise _unwritable(outlet.broken.result())
            outcome = handle.outcome.result()
            await outlet.written()
        except asyncio.CancelledError:
            await _stop(agent, handle, outlet)
            raise
        finally:
            if telling is not None:
                telling.cancel()
    missing = following.catch_up(outcome)
    if missing:
        outlet.say(f"{missing:,} bytes of what it wrote are missing here: not read for too long, or lost with an agent")
    await outlet.written()
    return _ended(outcome)


def bring_back(ended: Ended) -> None:
    """The files that were kept of a command that has ended well, each to its name here. Raises Problem."""
    left = _left(ended.outcome) if ended.outcome.state is State.DONE else None
    files = left.get("files") if left is not None else None
    for name, blob in files.items() if isinstance(files, dict) else ():
        if is_file_name(name) and isinstance(blob, Blob):
            path = Path(name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Problem(f"{path.parent} cannot be made: {error.strerror or error}") from None
            save_blob(blob, path)


async def _stop(agent: Connection, handle: Handle, outlet: Outlet) -> None:
    """Give it up, and wait until it has stopped, but not for ever."""
    agent.give_up(handle.task)
    await asyncio.wait((handle.outcome,), timeout=STOP_S)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_S):
            await outlet.written()


def _unwritable(error: OSError) -> Exception:
    if error.errno == errno.EPIPE:
        return BrokenPipeError(errno.EPIPE, "whoever read us has gone")
    return Problem(f"what it writes cannot be written here: {(error.strerror or str(error)).lower()}")


class _Following:
    """What has been told of the output, attempt by attempt."""

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.epoch = 0
        self._sizes = {Stream.OUT: 0, Stream.ERR: 0}

    def on_output(self, stream: Stream, data: bytes, epoch: int) -> None:
        if epoch != self.epoch:
            if self.epoch:
                self.outlet.say("the attempt that wrote this came to nothing; it starts again on another node")
            self.epoch = epoch
            self._sizes = {Stream.OUT: 0, Stream.ERR: 0}
        self._sizes[stream] += len(data)
        self.outlet.put(self.outlet.out if stream is Stream.OUT else self.outlet.err, data)

    def catch_up(self, outcome: Outcome) -> int:
        """Show what the last attempt wrote and we were not told, as whoever passed it on has died, where its result has
        it whole. How many bytes it has not."""
        value = _left(outcome)
        if value is None:
            return 0
        missing = 0
        if self.epoch != outcome.epoch:
            self.on_output(Stream.OUT, b"", outcome.epoch)
        for stream, name in ((Stream.OUT, "out"), (Stream.ERR, "err")):
            text, size, shown = value.get(name), value.get(f"{name}_bytes"), self._sizes[stream]
            if not isinstance(text, str) or not isinstance(size, int) or size <= shown:
                continue
            data = text.encode()
            if len(data) == size:
                self.on_output(stream, data[shown:], outcome.epoch)
            else:
                missing += size - shown
        return missing


async def _tell(agent: Connection, handle: Handle, following: _Following) -> None:
    """For people: which node runs it, and, if that is still so at the second look, why none does."""
    told = seen = ""
    with contextlib.suppress(Problem):
        await asyncio.wait((handle.taken,))
        while True:
            [line] = await agent.tasks([handle.task])
            runs = line.state is State.RUNNING
            hint = f"{line.node} runs it" if runs else f"it waits: {line.reason}"
            if hint != told and (line.epoch > following.epoch if runs else hint == seen):
                following.outlet.say(hint)
                told = hint
            seen = hint
            await asyncio.sleep(LOOK_S)


def _left(outcome: Outcome) -> dict[object, object] | None:
    """What a command has left: its exit code, and how much it has written."""
    value = unpack(outcome.value, SPOOL) if outcome.value else None
    return value if isinstance(value, dict) else None


def _ended(outcome: Outcome) -> Ended:
    """Whose the exit code is, and what it is."""
    left = _left(outcome) or {}
    code = left.get("exit")
    if outcome.state is State.DONE:
        return Ended(outcome, Exit.OK, None)
    if outcome.state is State.UNPLACED:
        return Ended(outcome, Exit.UNPLACED, outcome.error)
    if outcome.reason in (Reason.TIMEOUT, Reason.DEADLINE):
        return Ended(outcome, Exit.TIMEOUT, outcome.error)
    if outcome.reason == Reason.ERROR and isinstance(code, int) and code:  # 0: what it was to keep is not there
        silent = code in NOT_RUN and not left.get("err_bytes")
        return Ended(outcome, code, outcome.error if silent else None)
    return Ended(outcome, Exit.FAILURE, outcome.error)
