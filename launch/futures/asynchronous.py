"""The twin of `executor.py` for asyncio: the same client and the same fleet, on the loop that runs already.

    async with AsyncFleet(nodes=4) as fleet:
        value = await fleet.submit(tasks.resize, "a.png", 640)
        async for value in fleet.map(tasks.resize, names): ...              values, in order
        async for future in fleet.as_completed(futures): ...                futures, as they end

`submit` is no coroutine: the task is handed in at once, and what it answers is an `asyncio.Future`. So `gather`,
`wait`, `wait_for` and `timeout` take it, and cancelling it, by any of them, stops the work.

Invariant: every future ends, with AgentUnreachable when no agent of the fleet answers any more. When `async with` is
left, all that was submitted has ended, and of a fleet no process is left.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, cast, overload

from ...protocols.core import Outcome, State
from ...protocols.requests import NodeLine, Submit, TaskLine
from ..client import CONNECT_S, Connection, never_handed_in
from ..desk import addresses_of
from ..problems import AgentUnreachable
from .calls import Awaited, Function, TaskOptions, submission
from .ends import value_of
from .own_fleet import FleetOptions, OwnFleet

P = ParamSpec("P")
T = TypeVar("T")

AHEAD = 1_000
"""So many calls `map` has under way beyond the one whose value is awaited."""


class AsyncFuture(asyncio.Future[T], Awaited):
    """The result of a task that may still be under way; await it. `task` and `outcome` as those of `futures.Future`."""

    def __init__(self, task: str, give_up: Callable[[str], None]) -> None:
        super().__init__()
        self.task = task
        self.outcome: Outcome | None = None
        self._give_up = give_up

    @property
    def node(self) -> str | None:
        """Where it was done; None: nowhere, or not yet."""
        return self.outcome.node if self.outcome is not None else None

    @property
    def later(self) -> T:
        """Itself, for type checkers: in the arguments of another call it stands for its value."""
        return cast(T, self)

    def cancel(self, msg: Any | None = None) -> bool:
        """Give the task up, whether it waits or runs: True unless it is done. Its work stops soon after."""
        if not super().cancel(msg):
            return False
        self._give_up(self.task)
        return True

    def end(self, outcome: Outcome) -> None:
        """The task has ended so."""
        self.outcome = outcome
        if self.done():
            return
        if outcome.state is State.CANCELLED:
            super().cancel()
            return
        try:
            self.set_result(value_of(outcome))  # type: ignore[arg-type]
        except Exception as error:
            self.set_exception(error)

    def fail(self, error: Exception) -> None:
        """Nobody knows how the task ends."""
        if not self.done():
            self.set_exception(error)


class _Errands:
    """What a client and its views have in common: the connection, and what has not ended."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], end: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._connect = connect
        self._end = end
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._open: set[AsyncFuture[Any]] = set()  # what has not ended there, cancelled here or not
        self._all_ended = asyncio.Event()
        self._waiting: set[asyncio.Task[None]] = set()  # for another agent
        self._shut = False

    async def begin(self) -> None:
        if self._connection is not None:
            raise RuntimeError("a client is entered once: make a new one")
        self._connection = await self._connect()

    @property
    def connection(self) -> Connection:
        """Raises RuntimeError outside of `async with`."""
        if self._connection is None or self._shut:
            raise RuntimeError("this is for use within `async with`")
        return self._connection

    async def connected(self) -> Connection:
        """Another one, if the first is lost."""
        async with self._connecting:
            if self.connection.lost is not None:
                self.connection.close()
                self._connection = await self._connect()
            return self.connection

    def submit(self, submit: Submit) -> AsyncFuture[Any]:
        lost = self.connection.lost is not None
        future: AsyncFuture[Any] = AsyncFuture(submit.task.id, self._give_up)
        self._open.add(future)
        if lost:
            waiting = asyncio.get_running_loop().create_task(self._hand_in_elsewhere(future, submit))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._waiting.discard)
        else:
            self._hand_in(future, submit)
        return future

    async def close(self, cancel: bool) -> None:
        """Take no more; when all has ended, let go of everything."""
        connection, self._shut = self.connection, True
        try:
            if cancel:
                for future in list(self._open):
                    future.cancel()
            if self._open:
                await self._all_ended.wait()
        finally:
            connection.close()
            if self._end is not None:
                await self._end()

    def _give_up(self, task: str) -> None:
        assert self._connection is not None
        self._connection.give_up(task)

    async def _hand_in_elsewhere(self, future: AsyncFuture[Any], submit: Submit) -> None:
        try:
            await self.connected()
        except Exception as error:
            future.fail(error)
            self._over(future)
        else:
            self._hand_in(future, submit)

    def _hand_in(self, future: AsyncFuture[Any], submit: Submit) -> None:
        assert self._connection is not None
        if future.cancelled():
            future.end(never_handed_in(future.task))
            self._over(future)
        else:
            self._connection.hand_in(submit).outcome.add_done_callback(partial(self._ended, future))

    def _ended(self, future: AsyncFuture[Any], ended: asyncio.Future[Outcome]) -> None:
        error = ended.exception()
        if error is None:
            future.end(ended.result())
        else:
            future.fail(AgentUnreachable(str(error)))  # an exception of its own: each has its traceback
        self._over(future)

    def _over(self, future: AsyncFuture[Any]) -> None:
        self._open.discard(future)
        if self._shut and not self._open:
            self._all_ended.set()


class AsyncClient:
    """Hands tasks to a fleet, by way of any of its agents; `addresses` and `timeout` as those of `futures.Client`.

    Entering it raises AgentUnreachable if none of them answers.
    """

    def __init__(self, *addresses: str, timeout: float = CONNECT_S) -> None:
        self._use(_Errands(lambda: Connection.connect(addresses_of(addresses), timeout)))

    def _use(self, errands: _Errands) -> None:
        self._errands = errands
        self._options: TaskOptions = {}

    async def __aenter__(self) -> Self:
        await self._errands.begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Waits for all that was submitted; if this is cancelled or interrupted, it is cancelled instead."""
        await self._errands.close(cancel=exc_type is not None and not issubclass(exc_type, Exception))

    @property
    def address(self) -> str:
        """Of the agent that it talks to."""
        return self._errands.connection.address

    def with_options(self, **options: Unpack[TaskOptions]) -> Self:
        """The same client, for tasks of which this is said: `need=["gpu"], timeout_s=60`. Raises TaskRefused."""
        view = copy.copy(self)
        view._options = {**self._options, **options}
        submission("echo", (), {}, view._options)  # a mistake is told here, and not at the first task
        return view

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> AsyncFuture[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> AsyncFuture[Any]: ...
    def submit(self, fn: Function, /, *args: Any, **kwargs: Any) -> AsyncFuture[Any]:
        """Hand in one call of a function, or a task of a kind; await what it answers.

        Raises TaskRefused for what cannot travel.
        """
        [submit] = submission(fn, args, kwargs, self._options).submits()
        return self._errands.submit(submit)

    @overload
    def submit_replicas(
        self, replicas: int, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[AsyncFuture[T]]: ...
    @overload
    def submit_replicas(self, replicas: int, fn: str, /, *args: Any, **kwargs: Any) -> list[AsyncFuture[Any]]: ...
    def submit_replicas(self, replicas: int, fn: Function, /, *args: Any, **kwargs: Any) -> list[AsyncFuture[Any]]:
        """The same call so many times, each on a node of its own; a label gets their numbers: LABEL.1, LABEL.2, ..."""
        return [
            self._errands.submit(submit) for submit in submission(fn, args, kwargs, self._options, replicas).submits()
        ]

    def map(
        self,
        fn: Callable[..., T] | str,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        buffersize: int = AHEAD,
    ) -> AsyncIterator[T]:
        """The values of fn(*arguments) in the order of the arguments; the first that fails raises.

        No more than `buffersize` calls are ahead of what was taken. `timeout`: seconds from now. What has not ended is
        cancelled when the iterator is closed or raises.
        """
        if buffersize < 1:
            raise ValueError("buffersize is 1 or more")
        calls: Iterator[AsyncFuture[T]] = (self.submit(fn, *arguments) for arguments in zip(*iterables, strict=False))
        return _in_order(deque(islice(calls, buffersize)), calls, _end_of(timeout))

    @staticmethod
    def as_completed(
        futures: Iterable[AsyncFuture[T]], *, timeout: float | None = None
    ) -> AsyncIterator[AsyncFuture[T]]:
        """The futures, done, in the order in which they end. Raises TimeoutError after so many seconds from now."""
        return _as_completed(set(futures), _end_of(timeout))

    async def nodes(self) -> Sequence[NodeLine]:
        """The fleet as its agent sees it."""
        return await (await self._errands.connected()).nodes()

    async def tasks(self, *which: str | AsyncFuture[Any]) -> Sequence[TaskLine]:
        """Where these tasks stand, and why: futures, ids or their beginnings, labels; none: all tasks of its agent."""
        names = [one.task if isinstance(one, Awaited) else one for one in which] or ["all"]
        return await (await self._errands.connected()).tasks(names)


class AsyncFleet(AsyncClient):
    """A local fleet of its own, of so many agent processes; `nodes` and the options as those of `futures.Fleet`.

    Entering it starts the agents, and raises Problem if they cannot be started; leaving it ends them.
    """

    def __init__(self, nodes: int | Sequence[str] = 4, **options: Unpack[FleetOptions]) -> None:
        self._own = own = OwnFleet(nodes, **options)
        self._use(_Errands(own.connect, own.end))

    @property
    def run(self) -> Path:
        """The folder of its logs, for `parley why --run`."""
        return self._own.run

    @property
    def alive(self) -> Sequence[str]:
        """The names of the nodes whose processes run."""
        return self._own.alive

    def kill(self, name: str) -> None:
        """kill -9 a node: what it ran is run by the others. Raises Problem for a name that no node has."""
        self._own.kill(name)


def _end_of(timeout: float | None) -> float | None:
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


async def _in_order(
    pending: deque[AsyncFuture[T]], calls: Iterator[AsyncFuture[T]], until: float | None
) -> AsyncIterator[T]:
    try:
        while pending:
            async with asyncio.timeout_at(until):
                value = await pending[0]
            pending.popleft()
            pending.extend(islice(calls, 1))
            yield value
    finally:
        for future in pending:
            if not future.cancel() and not future.cancelled():
                future.exception()  # nobody asks for it any more


async def _as_completed(futures: set[AsyncFuture[T]], until: float | None) -> AsyncIterator[AsyncFuture[T]]:
    done: asyncio.Queue[AsyncFuture[T]] = asyncio.Queue()
    for future in futures:
        future.add_done_callback(done.put_nowait)
    try:
        for _ in range(len(futures)):
            async with asyncio.timeout_at(until):
                future = await done.get()
            yield future
    finally:
        for future in futures:
            future.remove_done_callback(done.put_nowait)
