"""One coroutine, from its start to its end or to a signal: how every command runs its asynchronous part.

    Ctrl-C   -> the coroutine is cancelled, ends what it must end, then KeyboardInterrupt   (exit 130)
    SIGTERM  -> the coroutine is cancelled, ends what it must end, then a Problem           (exit 143)
    SIGHUP   -> the same, as its terminal has gone; unless it is ignored (`nohup`)          (exit 129)

A second signal of the same kind does not wait. A coroutine that has its own way to stop, such as an agent that drains,
sets handlers of its own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from .problems import Exit, Problem

SAID = {
    signal.SIGTERM: ("terminated", Exit.TERMINATED),
    signal.SIGHUP: ("its terminal has gone", Exit.HUNG_UP),
}

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns. Raises Problem when SIGTERM or SIGHUP came first, KeyboardInterrupt for SIGINT."""
    heard: list[signal.Signals] = []
    ours = [number for number in SAID if number is signal.SIGTERM or signal.getsignal(number) is signal.SIG_DFL]

    async def supervised() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def terminate(number: signal.Signals) -> None:
            heard.append(number)
            loop.remove_signal_handler(number)  # the next one ends the process
            task.cancel()

        for number in ours:
            loop.add_signal_handler(number, terminate, number)
        try:
            return await work
        finally:
            for number in ours:
                loop.remove_signal_handler(number)

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        if not heard:
            raise
        raise Problem(*SAID[heard[0]]) from None
