"""The owner's own executor: a class that says which kinds it runs, and runs them.

    class Arm:
        kinds = ("pick", "place*")                     # exact, or patterns
        tags = ("arm",)                                # optional: what the node has by it

        async def run(self, job):                      # its answer is the task's value
            job.print("on my way")                     # read by whoever follows the task
            return await self.move(job.arguments["shelf"])

        def price(self, job):                          # optional: seconds by term; None: the estimator says
            return {"run": 3.0}

        async def close(self): ...                     # optional

Here it becomes an `Executor`: arguments are unpacked and values packed, what it raises fails the task with one sentence
and a traceback, a task that takes too long, or is stopped, is cancelled (CancelledError is raised where it waits). It
runs on the agent's loop: what computes belongs into a thread (`await asyncio.to_thread(...)`).

Invariant: that of `base`, whatever the owner's code does, as long as it comes to wait.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

from ...protocols.core import Tag, Task
from ...protocols.performatives import Finished, Reason, Stream, Term
from ..blob_folder import BlobError, BlobFolder
from ..blobs import references
from ..payload import Blob, PayloadError, lift, pack, unpack
from ..seats import NO_SEAT
from .attempts import Attempts
from .base import Attempt, Tell
from .window import Window

SENTENCE_CHARS_MAX = 500
ERROR_CHARS_MAX = 4096
SECONDS_MAX = 1e9
TERMS_MAX = 12
NAME_CHARS_MAX = 32


@dataclass(frozen=True)
class Job:
    """What the owner's code is told of a task; `arguments` are None while it is only priced. `env`: of a member of a
    gang, what a command would find in its environment (`PARLEY_RANK`, ...)."""

    id: str
    kind: str
    epoch: int
    arguments: object
    work: float | None
    about: Mapping[str, float | str]
    timeout_s: float
    env: Mapping[str, str] = field(default_factory=lambda: NO_SEAT)
    _window: Window | None = field(default=None, repr=False)

    def print(self, text: str) -> None:
        """A line for whoever follows the task; what nobody reads in time is dropped."""
        data = f"{text}\n".encode(errors="backslashreplace")
        if self._window is not None and self._window.followed and len(data) <= self._window.room:
            self._window.tell(Stream.OUT, data)


class OwnersClass(Protocol):
    """What must be there; `tags`, `price` and `close` may be, too."""

    kinds: Sequence[str]

    async def run(self, job: Job) -> object: ...


class OwnExecutor:
    """An `Executor` around the owner's object; `blobs` is where large values lie. Raises TypeError if it is none."""

    def __init__(self, own: OwnersClass, blobs: BlobFolder | None = None) -> None:
        kinds = getattr(own, "kinds", None)
        if isinstance(kinds, str) or not kinds or not all(isinstance(kind, str) and kind for kind in kinds):
            raise TypeError(f'{type(own).__name__} must name its kinds, such as kinds = ("pick",)')
        if not asyncio.iscoroutinefunction(getattr(own, "run", None)):
            raise TypeError(f"{type(own).__name__} must have a method `async def run(self, job)`")
        self._own = own
        self._blobs = blobs
        self._kinds = tuple(kinds)
        self._attempts = Attempts()

    def offers(self, kind: str) -> bool:
        return any(fnmatchcase(kind, pattern) for pattern in self._kinds)

    @property
    def tags(self) -> Sequence[Tag]:
        tags = getattr(self._own, "tags", ())
        return tuple(tag for tag in tags if isinstance(tag, str) and 0 < len(tag) <= 128)

    def price(self, task: Task) -> Sequence[Term] | None:
        ask = getattr(self._own, "price", None)
        if ask is None:
            return None
        try:
            told = ask(_job(task, 0, None, None))
            terms = [(name, float(seconds)) for name, seconds in told.items()] if told is not None else None
        except Exception:
            return None  # the task is worth more than its price
        if terms is None or not 0 < len(terms) <= TERMS_MAX:
            return None
        if any(not 0 < len(name) <= NAME_CHARS_MAX or name in ("queue", "resources", "leaving") for name, _ in terms):
            return None
        return terms if all(math.isfinite(cost) and 0.0 <= cost <= SECONDS_MAX for _, cost in terms) else None

    def start(self, attempt: Attempt, tell: Tell, /) -> None:
        self._attempts.start(attempt, tell, self._run)

    def resume(self, task: str, epoch: int, size: int) -> None:
        self._attempts.resume(task, epoch, size)

    def stop(self, task: str, epoch: int) -> None:
        self._attempts.stop(task, epoch)

    async def close(self) -> None:
        await self._attempts.close()
        if close := getattr(self._own, "close", None):
            await close()

    async def _run(self, attempt: Attempt, window: Window) -> Finished:
        task, epoch = attempt.task, attempt.epoch
        clock = asyncio.get_running_loop().time
        began = clock()
        reason, value, error = Reason.ERROR, b"", ""
        try:
            arguments = await self._arguments(task, attempt.payload)
            async with asyncio.timeout(task.timeout_s) as limit:
                value, blobs = await self._value(await self._own.run(_job(task, epoch, arguments, window, attempt.env)))
            return Finished(task.id, epoch, value=value, seconds=clock() - began, blobs=references(blobs))
        except PayloadError as failure:
            error = str(failure)
        except BlobError as failure:
            reason, error = Reason.DIED, str(failure)
        except TimeoutError as failure:
            if limit.expired():
                reason, error = Reason.TIMEOUT, f"no result within {task.timeout_s:g} s"
            else:
                error = _told(failure)
        except Exception as failure:
            error = _told(failure)
        return Finished(task.id, epoch, reason, error=error, seconds=clock() - began)

    async def _arguments(self, task: Task, payload: bytes) -> object:
        """Large ones are hashed, which takes its time."""
        if not task.blobs:
            return unpack(payload) if payload else {}
        return await asyncio.to_thread(unpack, payload, self._blobs)

    async def _value(self, value: object) -> tuple[bytes, Sequence[Blob]]:
        if self._blobs is None:
            return pack(value), ()
        return await asyncio.to_thread(lift, value, self._blobs)


def _job(
    task: Task, epoch: int, arguments: object, window: Window | None, env: Mapping[str, str] = NO_SEAT
) -> Job:
    about = dict(task.conditions.about)
    return Job(task.id, task.kind, epoch, arguments, task.work, about, task.timeout_s, env, window)


def _told(error: Exception) -> str:
    """One sentence, then the traceback: the owner's frames, not ours."""
    sentence = f"{type(error).__name__}: {error}".replace("\n", " ")[:SENTENCE_CHARS_MAX]
    own = error.__traceback__.tb_next if error.__traceback__ else None
    details = "".join(traceback.format_exception(type(error), error, own))
    text = f"{sentence}\n{details[-(ERROR_CHARS_MAX - len(sentence) - 1) :]}"
    return text.encode(errors="backslashreplace").decode()[:ERROR_CHARS_MAX]
