"""Timers that end as they said they would."""

from __future__ import annotations

import asyncio

import pytest

from parley.agents.executors.base import Attempt
from parley.agents.executors.simulated import SLEEP_BYTES_MAX, SimulatedExecutor, attempt, duration
from parley.agents.payload import PayloadError, pack
from parley.protocols.core import ProtocolError, Task
from parley.protocols.performatives import Finished, Output, Reason


def task(kind: str = "work", work: float | None = None, timeout_s: float = 60.0) -> Task:
    return Task(id="t", kind=kind, work=work, timeout_s=timeout_s)


def test_durations() -> None:
    assert duration(task("sleep"), pack({"seconds": 3}), 2.0) == 1.5
    assert duration(task("echo"), pack("x"), 2.0) == 0.0
    assert duration(task(work=3.0), b"", 2.0) == 1.5
    assert duration(task("sleep", work=7.0), pack({"seconds": 3.0}), 1.0) == 3.0


@pytest.mark.parametrize(
    "argument",
    [None, {}, {"seconds": -1}, {"seconds": float("nan")}, {"seconds": 1e10}, {"seconds": "1"}, [1]],
)
def test_a_sleep_without_seconds_fails_for_good(argument: object) -> None:
    with pytest.raises(PayloadError):
        duration(task("sleep"), pack(argument), 1.0)
    finished = attempt(task("sleep"), 1, pack(argument), 1.0)
    assert finished == Finished("t", 1, Reason.ERROR, error='sleep takes {"seconds": s} with s from 0 to 1e9')


def test_a_large_argument_of_a_sleep_is_not_even_read() -> None:
    argument = pack({"seconds": 0.0, "filler": b"x" * SLEEP_BYTES_MAX})
    assert attempt(task("sleep"), 1, argument, 1.0).reason is Reason.ERROR


def test_a_kind_without_work_fails_for_good() -> None:
    finished = attempt(task("dig"), 1, b"", 1.0)
    assert finished.reason is Reason.ERROR
    assert finished.error == "nobody knows how long dig takes: a simulated task needs its work"


def test_the_end_is_known_at_the_beginning() -> None:
    assert attempt(task(work=3.0), 7, b"", 2.0) == Finished("t", 7, value=pack(None), seconds=1.5)
    assert attempt(task("echo"), 0, pack([1]), 2.0) == Finished("t", 0, value=pack([1]))
    assert attempt(task("echo"), 0, b"", 2.0) == Finished("t", 0, value=pack(None))


def test_too_long_an_attempt_ends_at_its_timeout() -> None:
    finished = attempt(task(work=30.0, timeout_s=2.0), 1, b"", 1.0)
    assert finished == Finished("t", 1, Reason.TIMEOUT, error="no result within 2 s", seconds=2.0)


async def test_it_tells_the_end_when_it_comes_and_never_before_start_returns() -> None:
    executor, ends = SimulatedExecutor(speed=2.0), asyncio.Queue[Finished | Output]()
    executor.start(Attempt(task(work=0.04), 1, b""), ends.put_nowait)
    executor.start(Attempt(task("echo"), 2, pack("x")), ends.put_nowait)
    assert ends.empty()
    async with asyncio.timeout(5.0):
        first, second = await ends.get(), await ends.get()
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (first.epoch, first.value) == (2, pack("x"))
    assert (second.epoch, second.value) == (1, pack(None))
    assert 0.02 <= second.seconds < 5.0


async def test_a_stopped_attempt_says_nothing_and_may_begin_again() -> None:
    executor, ends = SimulatedExecutor(), asyncio.Queue[Finished | Output]()
    executor.start(Attempt(task("echo"), 1, pack("stopped")), ends.put_nowait)
    executor.stop("t", 1)
    executor.stop("t", 1)
    executor.start(Attempt(task("echo"), 1, pack("again")), ends.put_nowait)
    with pytest.raises(ProtocolError):
        executor.start(Attempt(task("echo"), 1, pack("twice")), ends.put_nowait)
    async with asyncio.timeout(5.0):
        again = await ends.get()
    assert isinstance(again, Finished)
    assert again.value == pack("again")
    assert ends.empty()


async def test_nothing_ends_after_close() -> None:
    executor, ends = SimulatedExecutor(), asyncio.Queue[Finished | Output]()
    executor.start(Attempt(task("echo"), 1, pack("x")), ends.put_nowait)
    await executor.close()
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.0, turn.set_result, None)
    await turn
    assert ends.empty()


def test_a_node_without_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        SimulatedExecutor(0.0)
