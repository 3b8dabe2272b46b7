"""Tasks that only take time: for benchmarks, demonstrations and the simulator.

The idea: how such an attempt ends is known when it begins, so its end is a pure function (`attempt`). The simulator
delivers it at now + its seconds of virtual time; the executor here lets the asyncio loop deliver it, without any
process.

    kind       argument           takes           answers
    sleep      {"seconds": s}     s / speed       None
    echo       anything           nothing         its argument
    any other  anything           work / speed    None; it must say its work

Invariant: an attempt that would take longer than `timeout_s` fails after `timeout_s`, as a worker would.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from ...protocols.core import ProtocolError, Tag, Task
from ...protocols.performatives import Finished, Reason, Term
from ..blobs import references
from ..payload import PayloadError, blobs_of, pack, unpack
from .base import Attempt, Key, Tell

KINDS = ("echo", "sleep", "work")
"""Every node offers these."""
SECONDS_MAX = 1e9
INSTANT_PER_TURN_MAX = 100
"""So many attempts that take no time end before others have their turn of the loop."""
SLEEP_BYTES_MAX = 256
"""What the argument of a sleep may take: it is read by the agent itself."""

_NOTHING = pack(None)


def duration(task: Task, payload: bytes, speed: float) -> float:
    """Seconds that the task takes on a node of this speed. Raises PayloadError if its argument makes no sense."""
    match task.kind:
        case "sleep":
            return min(_seconds(payload) / speed, SECONDS_MAX)
        case "echo":
            return 0.0
    if task.work is None:
        raise PayloadError(f"nobody knows how long {task.kind} takes: a simulated task needs its work")
    return min(task.work / speed, SECONDS_MAX)


def attempt(task: Task, epoch: int, payload: bytes, speed: float) -> Finished:
    """How the attempt ends, `seconds` after it has begun."""
    try:
        seconds = duration(task, payload, speed)
    except PayloadError as error:
        return Finished(task.id, epoch, Reason.ERROR, error=str(error))
    if seconds > task.timeout_s:
        sentence = f"no result within {task.timeout_s:g} s"
        return Finished(task.id, epoch, Reason.TIMEOUT, error=sentence, seconds=task.timeout_s)
    value = payload if task.kind == "echo" and payload else _NOTHING
    blobs = references(blobs_of(value)) if task.blobs and value is payload else ()
    return Finished(task.id, epoch, value=value, seconds=seconds, blobs=blobs)


def _seconds(payload: bytes) -> float:
    if len(payload) <= SLEEP_BYTES_MAX:
        match unpack(payload):
            case {"seconds": int() | float() as seconds} if 0.0 <= seconds <= SECONDS_MAX:
                return float(seconds)
    raise PayloadError('sleep takes {"seconds": s} with s from 0 to 1e9')


class SimulatedExecutor:
    """An `Executor` whose attempts are timers; it takes as many at once as it is given.

    Attempts that take no time end one after the other in the same turn of the loop, the ones that follow from them
    included, so that what is said about them can share a message.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0.0:
            raise ValueError(f"a node's speed must be above zero, not {speed}")
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._ends: dict[Key, tuple[Finished, float, Tell]] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._instant: deque[Key] = deque()

    def offers(self, kind: str) -> bool:
        return kind in KINDS

    @property
    def tags(self) -> Sequence[Tag]:
        return ()

    def price(self, task: Task) -> Sequence[Term] | None:
        return None

    def start(self, given: Attempt, tell: Tell, /) -> None:
        key = given.key
        if key in self._ends:
            raise ProtocolError(f"attempt {key} was started twice")
        finished = attempt(given.task, given.epoch, given.payload, self._speed)
        self._ends[key] = finished, self._loop.time(), tell
        if finished.seconds > 0.0:
            self._timers[key] = self._loop.call_later(finished.seconds, self._end, key)
            return
        self._instant.append(key)
        if len(self._instant) == 1:
            self._loop.call_soon(self._end_instant)

    def resume(self, task: str, epoch: int, size: int) -> None:
        """It tells no output."""

    def stop(self, task: str, epoch: int) -> None:
        if self._ends.pop((task, epoch), None) and (timer := self._timers.pop((task, epoch), None)):
            timer.cancel()

    async def close(self) -> None:
        for task, epoch in list(self._ends):
            self.stop(task, epoch)

    def _end_instant(self) -> None:
        for _ in range(INSTANT_PER_TURN_MAX):
            self._end(self._instant[0])  # it stays in the row meanwhile: who follows joins it instead of a new turn
            self._instant.popleft()
            if not self._instant:
                return
        self._loop.call_soon(self._end_instant)

    def _end(self, key: Key) -> None:
        ending = self._ends.pop(key, None)
        self._timers.pop(key, None)
        if ending is not None:
            finished, began, tell = ending
            tell(msgspec.structs.replace(finished, seconds=self._loop.time() - began))
