"""The asyncio loop behind all that is synchronous: one daemon thread per process, started when it is first needed.

    any thread                           the thread "parley"
      | post(callback) ---- inbox -----> |  called in the order of posting, many in one turn
      | call(coroutine) ---------------> |
      | <------------- result or error   |
      | begin(coroutine) --------------> |  nobody need wait

A thread does not survive a fork: what was made before it says so in the child, and what is made after it gets a thread
of its own.

Invariant: callbacks are called in the order in which each thread posted them, and never in the poster's own turn.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")

STOP_S = 1.0
FORKED = "this was made before a fork and belongs to the parent process: make a new Client in the child"
ENDS = "this was given up: the program ends"
FROM_WITHIN = (
    "a callback of a future cannot wait for another one, since it holds up the thread that would end it: "
    "submit what follows, or wait outside"
)


class LoopThread:
    """A running loop. Get it with `current`."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._inbox: deque[Callable[[], object]] = deque()
        self._called = False  # a drain is on its way
        self._thread = threading.Thread(target=self._run, name="parley", daemon=True)
        self._thread.start()

    @property
    def forked(self) -> bool:
        """This process is not the one that it runs in."""
        return os.getpid() != self._pid

    @property
    def stopped(self) -> bool:
        """The program ends: nothing is called any more."""
        return not self.forked and not self._thread.is_alive()

    @property
    def within(self) -> bool:
        """The caller is the loop's own thread."""
        return threading.current_thread() is self._thread

    def post(self, callback: Callable[[], object]) -> None:
        """Have it called on the loop, soon. Raises RuntimeError after a fork."""
        if self.forked:
            raise RuntimeError(FORKED)
        self._inbox.append(callback)
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._drain)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it on the loop. Raises RuntimeError after a fork."""
        if self.forked or self.stopped:
            work.close()
            raise RuntimeError(FORKED if self.forked else ENDS)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop and wait for its end; an interrupt on the way cancels it. Raises what it raises."""
        if self.within:
            work.close()
            raise RuntimeError(FROM_WITHIN)
        running = self.begin(work)
        try:
            return running.result()
        except CancelledError:
            raise RuntimeError(ENDS) from None
        finally:
            running.cancel()

    def stop(self) -> None:
        """The process ends: nothing more is called."""
        if not self.forked and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _drain(self) -> None:
        """What has been posted so far; what comes meanwhile waits for the next turn: the sockets want theirs."""
        self._called = False
        for _ in range(len(self._inbox)):
            callback = self._inbox.popleft()
            try:
                callback()
            except Exception as error:  # a bug of ours: told, and no reason for the others to wait for ever
                context = {"message": "a callback has failed", "exception": error}
                self._loop.call_exception_handler(context)
        if self._inbox and not self._called:
            self._called = True
            self._loop.call_soon(self._drain)


_lock = threading.Lock()
_current: LoopThread | None = None


def current() -> LoopThread:
    """The one of this process."""
    global _current
    with _lock:
        if _current is None or _current.forked:
            _current = LoopThread()
        return _current


def stop() -> None:
    """The process ends."""
    if _current is not None:
        _current.stop()


def _after_fork() -> None:
    """The lock may have been held by a thread that is not here."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
