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

import msgspec

from ...protocols.core import ProtocolError, Task
from ...protocols.performatives import Finished
from ..payload import PayloadError, pack, unpack
from .base import Attempt, Done

SECONDS_MAX = 1e9
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
        return Finished(task.id, epoch, ok=False, error=str(error))
    if seconds > task.timeout_s:
        sentence = f"no result within {task.timeout_s:g} s"
        return Finished(task.id, epoch, ok=False, error=sentence, retry=True, seconds=task.timeout_s)
    value = payload if task.kind == "echo" and payload else _NOTHING
    return Finished(task.id, epoch, ok=True, value=value, seconds=seconds)


def _seconds(payload: bytes) -> float:
    if len(payload) <= SLEEP_BYTES_MAX:
        match unpack(payload):
            case {"seconds": int() | float() as seconds} if 0.0 <= seconds <= SECONDS_MAX:
                return float(seconds)
    raise PayloadError('sleep takes {"seconds": s} with s from 0 to 1e9')


class SimulatedExecutor:
    """An `Executor` whose attempts are timers; it takes as many at once as it is given."""

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0.0:
            raise ValueError(f"a node's speed must be above zero, not {speed}")
        self._speed = speed
        self._timers: dict[Attempt, asyncio.TimerHandle] = {}

    def start(self, task: Task, epoch: int, payload: bytes, done: Done) -> None:
        if (task.id, epoch) in self._timers:
            raise ProtocolError(f"attempt {(task.id, epoch)} was started twice")
        loop = asyncio.get_running_loop()
        began = loop.time()
        finished = attempt(task, epoch, payload, self._speed)

        def end() -> None:
            del self._timers[task.id, epoch]
            done(msgspec.structs.replace(finished, seconds=loop.time() - began))

        self._timers[task.id, epoch] = loop.call_later(finished.seconds, end)

    def stop(self, task: str, epoch: int) -> None:
        if timer := self._timers.pop((task, epoch), None):
            timer.cancel()

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
