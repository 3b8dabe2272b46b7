"""The loop thread: callbacks in the order of posting, coroutines from any thread, and no waiting for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from parley.launch.futures import loop as futures_loop
from parley.launch.futures.loop import LoopThread

WAIT_S = 10.0


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.stop()


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_there_is_one_per_process() -> None:
    assert futures_loop.current() is futures_loop.current()


def test_callbacks_keep_the_order_of_each_thread(loop: LoopThread) -> None:
    called: list[tuple[int, int]] = []

    def post(me: int) -> None:
        for number in range(1_000):
            loop.post(partial(called.append, (me, number)))

    threads = [threading.Thread(target=post, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    loop.call(answer(0))
    for me in range(4):
        assert [number for who, number in called if who == me] == list(range(1_000))


def test_what_a_callback_posts_waits_for_the_next_turn(loop: LoopThread) -> None:
    called: list[str] = []
    done = threading.Event()

    def first() -> None:
        loop.post(partial(called.append, "posted within"))
        loop.post(done.set)
        called.append("first")

    loop.post(first)
    assert done.wait(WAIT_S)
    assert called == ["first", "posted within"]


def test_a_callback_that_fails_holds_up_no_other(loop: LoopThread) -> None:
    told: list[object] = []
    loop.call(_tell_errors(told))
    done = threading.Event()
    loop.post(lambda: 1 // 0)
    loop.post(done.set)
    assert done.wait(WAIT_S)
    assert [type(error) for error in told] == [ZeroDivisionError]


async def _tell_errors(told: list[object]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context.get("exception")))


def test_a_coroutine_is_waited_for_or_not(loop: LoopThread) -> None:
    assert loop.call(answer(3)) == 3
    assert loop.begin(answer(4)).result(WAIT_S) == 4
    with pytest.raises(KeyError):
        loop.call(_fails())


async def _fails() -> None:
    raise KeyError


def test_nothing_waits_within(loop: LoopThread) -> None:
    async def within() -> str:
        assert loop.within
        try:
            loop.call(answer(1))
        except RuntimeError as error:
            return str(error)
        return ""

    assert not loop.within
    assert "submit what follows, or wait outside" in loop.call(within())


def test_after_the_end_nothing_is_begun() -> None:
    loop = LoopThread()
    loop.stop()
    assert loop.stopped
    with pytest.raises(RuntimeError, match="the program ends"):
        loop.call(answer(1))
    loop.stop()  # a second time
