"""All that one client has handed in: futures for any thread, over one connection on the loop thread.

    any thread                           the thread "parley"
      | submit(Submit) -> Future           | the connection hands it in
      | future.cancel() -> True, at once   | the agent is told, and stops the work
      | <----- result, exception, callbacks| the outcome has come

A future is a real one of `concurrent.futures`: `wait`, `as_completed`, callbacks and `asyncio.wrap_future` take it. The
difference: it may be cancelled while its work runs, since the work can be stopped.

Invariant: every future ends. When the agent dies, the connection goes over to another one of the fleet; when none
answers, what is under way ends with AgentUnreachable, and what is submitted afterwards tries all addresses again. No
more than UNTAKEN_MAX submissions wait to be taken by the agent: a thread that submits more waits.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TypeVar, cast

from ...agents.payload import PayloadError
from ...protocols.core import Outcome, State
from ...protocols.requests import Submit
from ..client import Connection, never_handed_in
from ..problems import AgentUnreachable
from . import loop
from .calls import Awaited
from .ends import exception_of, value_of
from .loop import FORKED, FROM_WITHIN

T = TypeVar("T")

UNTAKEN_MAX = 20_000
LEAVE_S = 3.0
"""So long a program that ends waits until the agent has taken what was submitted."""
SHUT = "cannot schedule new futures after shutdown"


class Future(concurrent.futures.Future[T], Awaited):
    """The result of a task that may still be under way.

    `task` is its id, for `parley why`; `outcome` tells, once it has ended, where, how often and how long it was tried:
    also of a future that was cancelled, as soon as its agent has told what became of the work.
    """

    def __init__(self, errands: Errands, task: str) -> None:
        super().__init__()
        self.task = task
        self.outcome: Outcome | None = None
        self._errands = errands
        self._is_cancelled = False

    @property
    def node(self) -> str | None:
        """Where it was done; None: nowhere, or not yet."""
        return self.outcome.node if self.outcome is not None else None

    @property
    def later(self) -> T:
        """Itself, for type checkers: in the arguments of another call it stands for its value."""
        return cast(T, self)

    def cancel(self) -> bool:
        """Give the task up, whether it waits or runs: True unless the future is done.

        The future is cancelled at once; its work is stopped as soon as its agent and its node are told.
        """
        if not self.cancel_here():
            return False
        self._errands.give_up(self.task)
        return True

    def result(self, timeout: float | None = None) -> T:
        """The value. Raises what the task raised, CancelledError, or TimeoutError if it has not ended in time."""
        self._check_wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise; None: nothing."""
        self._check_wait()
        return super().exception(timeout)

    def cancel_here(self) -> bool:
        """Cancelled, and nobody else told; False: it is done."""
        if not super().cancel():
            return False
        with _cancelling:
            first, self._is_cancelled = not self._is_cancelled, True
        if first:
            self.set_running_or_notify_cancel()  # whoever waits for several futures is told by this only
        return True

    def end(self, outcome: Outcome) -> None:
        """The task has ended so."""
        self.outcome = outcome
        if outcome.state is State.CANCELLED:
            self.cancel_here()
            return
        error: Exception | None
        try:
            error = exception_of(outcome)
            value = value_of(outcome) if error is None else None
        except PayloadError as unreadable:
            error = unreadable
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # cancelled here, and done there
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(value)  # type: ignore[arg-type]

    def fail(self, error: Exception) -> None:
        """Nobody knows how the task ends."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_exception(error)

    def _check_wait(self) -> None:
        """Waiting for it must not be for ever."""
        if not self.done():
            self._errands.check_wait()


_cancelling = threading.Lock()


class Errands:
    """`connect` makes a connection, also a second time if the first is lost; `end` is awaited when all is over."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], end: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._loop = loop.current()
        self._connect = connect
        self._end = end
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._changed = threading.Condition()
        self._open: set[Future[object]] = set()  # what has not ended there, cancelled here or not
        self._untaken = 0
        self._shut = False
        self._all_ended = asyncio.Event()
        self._closing: concurrent.futures.Future[None] | None = None
        self._letting_go: asyncio.Task[None] | None = None
        self._loop.call(self._connected())
        _all.add(self)

    @property
    def address(self) -> str:
        """Of the agent that it talks to, or talked to last."""
        assert self._connection is not None
        return self._connection.address

    def ask(self, question: Callable[[Connection], Coroutine[object, object, T]]) -> T:
        """What the agent answers."""

        async def asked() -> T:
            return await question(await self._connected())

        if self._shut:
            raise RuntimeError("it has been shut down")
        return self._loop.call(asked())

    def do(self, deed: Callable[[], None]) -> None:
        """On the loop, at once. Raises what it raises."""

        async def done() -> None:
            deed()

        if self._loop.within:
            deed()
        else:
            self._loop.call(done())

    def submit(self, submit: Submit) -> Future[object]:
        """Raises AgentUnreachable, or RuntimeError after a shutdown or a fork."""
        self.check_not_forked()
        connection = self._connection
        if (connection is None or connection.lost is not None) and not self._loop.within and not self._shut:
            self._loop.call(self._connected())
        future: Future[object] = Future(self, submit.task.id)
        with self._changed:
            while self._untaken >= UNTAKEN_MAX and not self._loop.within and not self._shut:
                self._changed.wait()
            if self._shut:
                raise RuntimeError(SHUT)
            self._untaken += 1
            self._open.add(future)
        self._loop.post(partial(self._hand_in, future, submit))
        return future

    def give_up(self, task: str) -> None:
        """Have it cancelled."""
        self.check_not_forked()
        self._loop.post(partial(self._give_up, task))

    def shut(self, wait: bool, cancel: bool) -> None:
        """Take no more; when all has ended, which may be waited for, let go of everything."""
        if self._loop.forked or self._loop.stopped:
            return
        with self._changed:
            self._shut = True
            self._changed.notify_all()
            under_way = list(self._open)
        if cancel:
            for future in under_way:
                future.cancel()
        with self._changed:
            if self._closing is None:
                self._closing = self._loop.begin(self._close())
        if wait and not self._closing.done():
            self.check_wait()
            self._closing.result()

    def leave(self) -> None:
        """The program ends: hand in what was submitted, if that is soon done, and let go of everything."""
        if self._loop.forked:
            return
        self._shut = True
        with contextlib.suppress(Exception):
            self._loop.call(self._leave())

    def check_not_forked(self) -> None:
        if self._loop.forked:
            raise RuntimeError(FORKED)

    def check_wait(self) -> None:
        """Raises RuntimeError where nothing would ever come."""
        self.check_not_forked()
        if self._loop.within:
            raise RuntimeError(FROM_WITHIN)

    # -- on the loop

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.lost is not None:
                lost, self._connection = self._connection, await self._connect()
                if lost is not None:
                    lost.close()
            return self._connection

    def _hand_in(self, future: Future[object], submit: Submit) -> None:
        assert self._connection is not None
        if future.cancelled():
            self._taken()
            future.end(never_handed_in(future.task))
            self._over(future)
            return
        handle = self._connection.hand_in(submit)
        handle.taken.add_done_callback(self._taken)
        handle.outcome.add_done_callback(partial(self._ended, future))

    def _give_up(self, task: str) -> None:
        if self._connection is not None:
            self._connection.give_up(task)

    def _taken(self, _: object = None) -> None:
        with self._changed:
            self._untaken -= 1
            self._changed.notify()

    def _ended(self, future: Future[object], ended: asyncio.Future[Outcome]) -> None:
        error = ended.exception()
        if error is None:
            future.end(ended.result())
        else:
            future.fail(AgentUnreachable(str(error)))  # an exception of its own: each has its traceback
        self._over(future)

    def _over(self, future: Future[object]) -> None:
        with self._changed:
            self._open.discard(future)
            if self._shut and not self._open:
                self._all_ended.set()

    async def _close(self) -> None:
        if self._open:
            await self._all_ended.wait()
        await self._let_go()

    async def _leave(self) -> None:
        if self._end is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    while self._untaken:
                        await asyncio.sleep(0.01)
        await self._let_go()

    async def _let_go(self) -> None:
        """Once; whoever comes second waits for the first."""
        if self._letting_go is None:
            self._letting_go = asyncio.get_running_loop().create_task(self._let_go_now())
        await asyncio.shield(self._letting_go)

    async def _let_go_now(self) -> None:
        async with self._connecting:
            if self._connection is not None:
                self._connection.close()
        if self._end is not None:
            await self._end()


_all: weakref.WeakSet[Errands] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    for errands in list(_all):
        errands.leave()
    loop.stop()
