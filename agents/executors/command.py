"""Runs commands: the kind `command`, where the node's owner allows it.

The argument says what to run, in the words of `exec`: `argv` and never a line for a shell.

    {"argv": [text, ...], "cwd": text, "env": {text: text}, "stdin": text or bytes}       only argv must be there
    {"argv": [...], "files": {"data/x.bin": Blob}, "keep": ["model.bin"]}                 in a folder of its own

The value says how it went, whether the attempt is done (exit 0), an ERROR or a TIMEOUT:

    {"exit": int, "out": text, "err": text, "out_bytes": int, "err_bytes": int}

With `files` or `keep` it runs in a private folder (work_folder.py) and finds its files there (blobs, text or bytes).
What it has left under the names to keep is in the value if it exits with 0, as "files": {name: Blob}.

`exit` as a shell tells it: the command's own, 128 + n if signal n killed it, 127 and 126 if there is no such command or
it cannot be executed, 124 if it took too long. `out` and `err` are the ends of the two streams.

    start    -> the guard starts it (guarded.py): its own session, hence its own process group
             <- Output, Output, ...  if followed: as it comes, no faster than it is read (window.py)
    it exits -> both streams end, or LAST_WORDS_S pass; what is left of its group is killed; all is told; Finished
    stop     -> SIGTERM to the group; when it has gone, or GRACE_S have passed, SIGKILL. So with timeout_s, and close

What a command leaves running in its group ends with it: a slot is free when it says so. The command finds in its
environment, beside the agent's own: PARLEY_TASK and PARLEY_EPOCH (a key and a fencing token for what it does outside),
a member of a gang its seat (seats.py), then what the agent sets (`env`), then what the task sets.

Unequal nodes on one machine: after c CPU-seconds of command, the attempt lasts c·(fastest/speed − 1) more.

Invariants: nothing of an attempt runs on after its Finished, after GRACE_S from a stop, or after the agent's death;
memory is bounded by two tails and a window, whatever a command prints.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from ...protocols.core import Tag, Task
from ...protocols.performatives import Finished, Reason, Stream, Term
from ..blob_folder import BlobError, BlobFolder
from ..blobs import references
from ..payload import Blob, PayloadError, pack, unpack
from .attempts import Attempts
from .base import Attempt, Tell
from .guarded import Child, Guard, GuardLostError, RefusedError
from .pipes import Feed, Pipe, open_pipe
from .window import Window
from .work_folder import FILES_MAX, MissingError, WorkFolder, is_file_name

KIND = "command"
TAIL_BYTES_MAX = 64 * 1024
"""So much of the end of each stream is kept, in UTF-8."""
CHARACTER_BYTES_MAX = 4
GRACE_S = 2.0
"""So long a command may take to end after SIGTERM."""
LAST_WORDS_S = 1.0
"""So long what a command has started may hold its output open after it has exited itself."""
END_S = 5.0
"""So long the system may take to end what was killed."""
EXIT_TIMEOUT, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_SIGNAL = 124, 126, 127, 128
NAME_CHARS_MAX, LINE_CHARS_MAX = 200, 500
"""The most that a command's name, and its last line, take of a sentence."""

_TAKES = 'command takes {"argv": [text, ...]} and, if wanted, "cwd", "env", "stdin", "files" and "keep"'
_SHORT_OF = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What a node may be short of now, and another, or later, not."""


class Command(NamedTuple):
    """What to run."""

    argv: list[bytes]
    cwd: bytes | None
    env: dict[bytes, bytes]
    stdin: bytes | Blob
    files: dict[str, bytes | Blob]
    keep: list[str]

    @classmethod
    def read(cls, payload: bytes, blobs: BlobFolder | None = None) -> Command:
        """Raises PayloadError: one sentence that says what is wrong with the argument."""
        argument = unpack(payload, blobs, leave=True) if payload else None
        if not isinstance(argument, dict) or not set(argument) <= set(cls._fields):
            raise PayloadError(f"{_TAKES}, and nothing else")
        argv, cwd = argument.get("argv"), argument.get("cwd")
        env, stdin = argument.get("env", {}), argument.get("stdin", b"")
        if not isinstance(argv, list) or not all(map(_is_word, argv)) or not argv or not argv[0]:
            raise PayloadError(f"{_TAKES}: argv must be a list of text that begins with a program")
        if cwd is not None and not (_is_word(cwd) and cwd):
            raise PayloadError(f"{_TAKES}: cwd must be the path of a folder")
        if not isinstance(env, dict) or not all(_is_name(name) and _is_word(env[name]) for name in env):
            raise PayloadError(f"{_TAKES}: env must be names with text")
        if not isinstance(stdin, (str, bytes, Blob)):
            raise PayloadError(f"{_TAKES}: stdin must be text or bytes")
        files, keep = argument.get("files", {}), argument.get("keep", [])
        if not isinstance(files, dict) or not all(map(is_file_name, files)) or len(files) > FILES_MAX:
            raise PayloadError(f"{_TAKES}: files must be up to {FILES_MAX} names, such as data/x.bin, with contents")
        if not all(isinstance(content, (str, bytes, Blob)) for content in files.values()):
            raise PayloadError(f"{_TAKES}: a file is given as a blob, text or bytes")
        if not isinstance(keep, list) or not all(map(is_file_name, keep)) or len(keep) > FILES_MAX:
            raise PayloadError(f"{_TAKES}: keep must be a list of up to {FILES_MAX} names, such as model.bin")
        if (files or keep) and cwd is not None:
            raise PayloadError("a command with files runs in a folder of its own, so it cannot have a cwd")
        return cls(
            [word.encode() for word in argv],
            cwd.encode() if cwd else None,
            {name.encode(): value.encode() for name, value in env.items()},
            stdin.encode() if isinstance(stdin, str) else stdin,
            {name: content.encode() if isinstance(content, str) else content for name, content in files.items()},
            keep,
        )

    @property
    def has_files(self) -> bool:
        return bool(self.files or self.keep or isinstance(self.stdin, Blob))

    @property
    def name(self) -> str:
        return _in_a_sentence(self.argv[0].decode())[:NAME_CHARS_MAX]


def _in_a_sentence(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _is_word(text: object) -> bool:
    return isinstance(text, str) and "\0" not in text


def _is_name(text: object) -> bool:
    return isinstance(text, str) and text != "" and not set(text) & {"\0", "="}


class Tail:
    """The end of what has been written to a stream, and how much that was."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._kept += data
        if len(self._kept) > 2 * TAIL_BYTES_MAX:
            del self._kept[:-TAIL_BYTES_MAX]

    def text(self) -> str:
        """The last TAIL_BYTES_MAX bytes of it, as whole characters; what is none is replaced."""
        kept = self._kept[-TAIL_BYTES_MAX:]
        if self.size > TAIL_BYTES_MAX:
            begin = next((i for i in range(CHARACTER_BYTES_MAX) if kept[i] & 0xC0 != 0x80), 0)
            del kept[:begin]
        text = kept.decode(errors="replace").encode()  # a byte that is no character has become three
        return text[-TAIL_BYTES_MAX:].decode(errors="ignore")


class _End(NamedTuple):
    """How an attempt has ended."""

    reason: Reason | None
    error: str
    value: bytes
    blobs: Sequence[Blob] = ()


class _Place:
    """Where a command with files runs, and what it reads. `make`, `collect` and `remove` block."""

    def __init__(self, store: BlobFolder) -> None:
        self._store = store
        self._folder: WorkFolder | None = None
        self.stdin: int | None = None

    def make(self, command: Command) -> Command:
        """The command, in its folder. Raises PayloadError, BlobError and OSError."""
        if isinstance(command.stdin, Blob):
            self.stdin = self._store.open(command.stdin)
        if not command.files and not command.keep:
            return command
        self._folder = WorkFolder(self._store)
        self._folder.fill(command.files)
        return command._replace(cwd=os.fsencode(self._folder.path))

    def collect(self, command: Command) -> dict[str, Blob]:
        """Raises MissingError and OSError."""
        return self._folder.collect(command.keep) if self._folder is not None else {}

    def remove(self) -> None:
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None
        if self._folder is not None:
            self._folder.remove()


class _Running:
    """One command that was asked for: its process and its output. Raises OSError if it can have no pipes."""

    def __init__(
        self, guard: Guard, command: Command, env: Mapping[bytes, bytes], window: Window, place: _Place | None
    ) -> None:
        self._command = command
        self.place = place
        text = command.stdin if isinstance(command.stdin, bytes) else b""
        self._window = window
        self._tails = {Stream.OUT: Tail(), Stream.ERR: Tail()}
        with ExitStack() as undo:
            out, their_out = open_pipe(undo)
            err, their_err = open_pipe(undo)
            their_in, into = open_pipe(undo) if text else (self._input(), None)
            undo.pop_all()
        self._child: Child = guard.start(command.argv, env, command.cwd, [their_in, their_out, their_err])
        self._feed = None if into is None else Feed(into, text)
        self._pipes = [self._pipe(out, Stream.OUT), self._pipe(err, Stream.ERR)]
        window.on_room = self._look
        self.over = False
        """Nothing of it is left."""

    def _input(self) -> int:
        """A file, where that is its input; else nothing."""
        if self.place is not None and self.place.stdin is not None:
            return os.dup(self.place.stdin)
        return os.open(os.devnull, os.O_RDONLY)

    async def exited(self) -> int:
        """Its exit code (below zero: the signal that killed it), after its last words. Raises RefusedError and
        GuardLostError."""
        await asyncio.wait([self._child.exited])  # which, unlike plain waiting, leaves it alone when cancelled
        code = self._child.exited.result()
        await asyncio.wait([pipe.ended for pipe in self._pipes], timeout=LAST_WORDS_S)
        return code

    async def end(self) -> float:
        """Kills what is left of its group. CPU-seconds that it has used."""
        self._child.end()
        await asyncio.wait([self._child.ended], timeout=END_S)
        self.over = True
        if self._child.ended.done():
            return self._child.ended.result()
        self._child.kill()  # the guard hangs, or the system does
        return 0.0

    async def stop(self) -> None:
        """Asks its group to end, then kills it."""
        self._child.signal(signal.SIGTERM)
        ends: list[asyncio.Future[int] | asyncio.Future[None]] = [pipe.ended for pipe in self._pipes]
        await asyncio.wait([*ends, self._child.exited], timeout=GRACE_S)
        await self.end()

    async def told(self, until: float) -> None:
        """All that it has written is told, or nobody has read it until then."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                for pipe in self._pipes:
                    await pipe.told()

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        if self._feed:
            self._feed.close()

    def outcome(self, code: int) -> _End:
        """It has exited, or was killed by a signal."""
        if code == 0:
            return _End(None, "", self.value(0))
        said = self._tails[Stream.ERR].text().splitlines()
        last = next((line for line in map(_in_a_sentence, reversed(said)) if line), "")[:LINE_CHARS_MAX]
        how = f"exited with {code}" if code > 0 else f"was killed by signal {-code}{_named(-code)}"
        error = f"{self._command.name} {how}{': ' if last else ''}{last}"
        return _End(Reason.ERROR, error, self.value(code if code > 0 else EXIT_SIGNAL - code))

    def value(self, code: int) -> bytes:
        out, err = self._tails[Stream.OUT], self._tails[Stream.ERR]
        return _value(code, out, err)

    async def outcome_with_files(self) -> _End:
        """It has exited with 0, and nothing of it is left: what it was to keep is in the value."""
        assert self.place is not None
        try:
            files = await asyncio.to_thread(self.place.collect, self._command)
        except MissingError as missing:
            error = f"{self._command.name} exited with 0 and has left no file {_in_a_sentence(str(missing))}"
            return _End(Reason.ERROR, error, self.value(0))
        except OSError as failure:
            return _End(Reason.DIED, f"what {self._command.name} left cannot be kept: {failure}", self.value(0))
        value = _value(0, self._tails[Stream.OUT], self._tails[Stream.ERR], files)
        return _End(None, "", value, list(dict.fromkeys(files.values())))

    def _pipe(self, fd: int, stream: Stream) -> Pipe:
        tail = self._tails[stream]

        def take(data: bytes) -> None:
            tail.add(data)
            self._window.tell(stream, data)

        return Pipe(fd, lambda: self._window.room, take)

    def _look(self) -> None:
        for pipe in self._pipes:
            pipe.look()


class CommandExecutor:
    """An `Executor` for commands, where they are `allowed`; it takes as many at once as it is given.

    `env` is set for every command. `speed`, and the `fastest` in the local fleet: see above. `blobs` is where its files
    come from and go to; None: it takes and keeps none.
    """

    def __init__(
        self,
        allowed: bool = True,
        *,
        speed: float = 1.0,
        fastest: float = 1.0,
        env: Mapping[str, str] | None = None,
        blobs: BlobFolder | None = None,
    ) -> None:
        if speed <= 0.0:
            raise ValueError(f"a node's speed must be above zero, not {speed}")
        self._allowed = allowed
        self._blobs = blobs
        self._slowdown = max(fastest / speed - 1.0, 0.0)
        self._env = {os.fsencode(name): os.fsencode(value) for name, value in (env or {}).items()}
        self._attempts = Attempts()
        self._guard: Guard | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

    def offers(self, kind: str) -> bool:
        return self._allowed and kind == KIND

    @property
    def tags(self) -> Sequence[Tag]:
        return ()

    def price(self, task: Task) -> Sequence[Term] | None:
        return None

    def start(self, attempt: Attempt, tell: Tell, /) -> None:
        self._attempts.start(attempt, tell, self._run)

    def resume(self, task: str, epoch: int, size: int) -> None:
        self._attempts.resume(task, epoch, size)

    def stop(self, task: str, epoch: int) -> None:
        self._attempts.stop(task, epoch)

    async def close(self) -> None:
        self._closed = True
        await self._attempts.close()
        if self._stopping:
            await asyncio.wait(self._stopping)
        if self._guard:
            await self._guard.close()

    async def _run(self, attempt: Attempt, window: Window) -> Finished:
        clock = asyncio.get_running_loop().time
        began = clock()
        reason, error, value, blobs = await self._attempt(attempt, window)
        return Finished(*attempt.key, reason, value, error, clock() - began, references(blobs))

    async def _attempt(self, attempt: Attempt, window: Window) -> _End:
        task = attempt.task
        until = asyncio.get_running_loop().time() + task.timeout_s
        if self._closed:
            return _End(Reason.DIED, "this node is shutting down", b"")
        if not self.offers(task.kind):
            return _End(Reason.ERROR, f"this node does not run {task.kind}: start it with --allow {task.kind}", b"")
        place: _Place | None = None
        try:
            command = Command.read(attempt.payload, self._blobs)
            if command.has_files:
                place, command = await self._placed(command)
            found = self._environment(attempt, command)
            running = _Running(self._living_guard(), command, found, window, place)
        except (PayloadError, BlobError, OSError) as error:
            if place is not None:
                self._remove_later(place)
            return _not_started(error)
        try:
            async with asyncio.timeout_at(until):
                code = await running.exited()
                await asyncio.sleep(self._slowdown * await running.end())
            await running.told(until)
            return running.outcome(code) if code or not command.keep else await running.outcome_with_files()
        except TimeoutError:
            await running.stop()
            await running.told(until)
            error_text = f"{command.name} did not end within {task.timeout_s:g} s and was killed"
            return _End(Reason.TIMEOUT, error_text, running.value(EXIT_TIMEOUT))
        except RefusedError as refusal:
            running.over = True
            return _refused(command, refusal)
        except GuardLostError as loss:
            running.over = True
            await running.told(until)
            return _End(Reason.DIED, str(loss), b"")
        finally:
            if running.over:
                running.close()
                if place is not None:
                    self._remove_later(place)
            else:
                self._stop_later(running)

    def _stop_later(self, running: _Running) -> None:
        """Nobody waits for its end any more."""

        async def stop() -> None:
            try:
                await running.stop()
            finally:
                running.close()
                if running.place is not None:
                    await asyncio.to_thread(running.place.remove)

        self._later(stop())

    async def _placed(self, command: Command) -> tuple[_Place, Command]:
        """In a folder of its own. If it is stopped meanwhile, the folder goes when it has been made."""
        if self._blobs is None:
            raise PayloadError("this node takes no files for commands")
        place = _Place(self._blobs)
        making = asyncio.ensure_future(asyncio.to_thread(place.make, command))
        try:
            return place, await asyncio.shield(making)
        except BaseException:
            self._remove_later(place, making)
            raise

    def _remove_later(self, place: _Place, making: asyncio.Future[Command] | None = None) -> None:
        async def remove() -> None:
            if making is not None:
                await asyncio.wait([making])
                making.exception()
            await asyncio.to_thread(place.remove)

        self._later(remove())

    def _later(self, work: Coroutine[object, object, None]) -> None:
        """`close` waits for it."""
        working = asyncio.get_running_loop().create_task(work)
        self._stopping.add(working)
        working.add_done_callback(self._stopping.discard)

    def _living_guard(self) -> Guard:
        """Raises OSError if there can be none."""
        if self._guard is None or self._guard.lost:
            self._guard = Guard()
        return self._guard

    def _environment(self, attempt: Attempt, command: Command) -> dict[bytes, bytes]:
        own = {b"PARLEY_TASK": attempt.task.id.encode(), b"PARLEY_EPOCH": b"%d" % attempt.epoch}
        own |= {name.encode(): value.encode() for name, value in attempt.env.items()}
        return {**os.environb, **own, **self._env, **command.env}


def _not_started(error: Exception) -> _End:
    if isinstance(error, PayloadError):
        return _End(Reason.ERROR, str(error), b"")
    if isinstance(error, BlobError):
        return _End(Reason.DIED, str(error), b"")
    return _End(Reason.DIED, f"no command could be started: {error}", b"")


def _refused(command: Command, refusal: RefusedError) -> _End:
    if refusal.number in _SHORT_OF:
        return _End(Reason.DIED, f"no command could be started: {refusal}", b"")
    code = EXIT_NOT_EXECUTABLE
    if refusal.folder:
        folder = _in_a_sentence((command.cwd or b"").decode())[:NAME_CHARS_MAX]
        error = f"{command.name} cannot be run in {folder}: {refusal}"
    elif refusal.number in (errno.ENOENT, errno.ENOTDIR):
        code = EXIT_NOT_FOUND
        error = f"{command.name} is not found on this node"
    else:
        error = f"{command.name} cannot be executed on this node: {refusal}"
    return _End(Reason.ERROR, error, _value(code, Tail(), Tail()))


def _value(code: int, out: Tail, err: Tail, files: dict[str, Blob] | None = None) -> bytes:
    said = {"exit": code, "out": out.text(), "err": err.text(), "out_bytes": out.size, "err_bytes": err.size}
    return pack(said if files is None else {**said, "files": files})


def _named(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
