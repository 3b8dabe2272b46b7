"""One coroutine, from its start to its end or to a signal: how every command runs its asynchronous part.

    Ctrl-C   -> the coroutine is cancelled, ends what it must end, then KeyboardInterrupt   (exit 130)
    SIGTERM  -> the coroutine is cancelled, ends what it must end, then a Problem           (exit 143)

A second signal of either kind does not wait. A coroutine that has its own way to stop, such as an agent that drains,
sets handlers of its own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from .problems import Exit, Problem

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns. Raises Problem when SIGTERM came first, KeyboardInterrupt when SIGINT did."""
    terminated = False

    async def supervised() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            loop.remove_signal_handler(signal.SIGTERM)  # the next one ends the process
            task.cancel()

        loop.add_signal_handler(signal.SIGTERM, terminate)
        try:
            return await work
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        if not terminated:
            raise
        raise Problem("terminated", Exit.TERMINATED) from None
