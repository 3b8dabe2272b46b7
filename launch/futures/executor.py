"""Agents as executors of Python's own kind: `Client` is of a fleet that runs, `Fleet` starts one of its own.

    with Fleet(nodes=4) as fleet:
        future = fleet.submit(tasks.resize, "a.png", 640)       or of a kind: submit("command", argv=["ls"])
        fleet.map(tasks.resize, names)                          values, in order
        fleet.with_options(need=["gpu"], timeout_s=60).submit(tasks.train, future)

They are `concurrent.futures.Executor`s and can stand wherever one is wanted. What is different, since tasks travel:
functions are found by their names and must be importable on the nodes, arguments and results are plain data (a tuple
comes back as a list), a future given as an argument stands for its result, and `cancel` also stops what runs.

Thread safe. After a fork the child makes its own. `asynchronous.py` has the same for asyncio.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, cast, overload

from ...protocols.requests import NodeLine, TaskLine
from ..client import CONNECT_S, Connection
from ..desk import addresses_of
from .calls import Awaited, Function, TaskOptions, submission
from .errands import Errands
from .errands import Future as Future
from .own_fleet import FleetOptions, OwnFleet

P = ParamSpec("P")
T = TypeVar("T")


class Client(Executor):
    """An executor whose workers are the nodes of a fleet, reached by any of its agents.

    `addresses`: agents, the first that answers within `timeout` seconds in all is taken, and another one when it is
    lost; none: those of PARLEY_AGENT, else the newest agent of this machine. Raises AgentUnreachable if none answers.
    """

    def __init__(self, *addresses: str, timeout: float = CONNECT_S) -> None:
        where = addresses_of(addresses)
        self._use(Errands(lambda: Connection.connect(where, timeout)))

    def _use(self, errands: Errands) -> None:
        self._errands = errands
        self._options: TaskOptions = {}
        self._whole: Client | None = None  # a view keeps alive what it is a view of
        weakref.finalize(self, errands.shut, wait=False, cancel=False).atexit = False

    @property
    def address(self) -> str:
        """Of the agent that it talks to."""
        return self._errands.address

    def with_options(self, **options: Unpack[TaskOptions]) -> Self:
        """The same client, for tasks of which this is said: `need=["gpu"], timeout_s=60`. Raises TaskRefused."""
        view = copy.copy(self)
        view._options = {**self._options, **options}
        view._whole = self
        submission("echo", (), {}, view._options)  # a mistake is told here, and not at the first task
        return view

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...
    def submit(self, fn: Function, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand in one call of a function, or a task of a kind.

        Raises TaskRefused for what cannot travel, AgentUnreachable if no agent is left.
        """
        [submit] = submission(fn, args, kwargs, self._options).submits()
        return self._errands.submit(submit)

    @overload
    def submit_replicas(
        self, replicas: int, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[Future[T]]: ...
    @overload
    def submit_replicas(self, replicas: int, fn: str, /, *args: Any, **kwargs: Any) -> list[Future[Any]]: ...
    def submit_replicas(self, replicas: int, fn: Function, /, *args: Any, **kwargs: Any) -> list[Future[Any]]:
        """The same call so many times, each on a node of its own; a label gets their numbers: LABEL.1, LABEL.2, ..."""
        return [
            self._errands.submit(submit) for submit in submission(fn, args, kwargs, self._options, replicas).submits()
        ]

    def map(
        self,
        fn: Callable[..., T] | str,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The values of fn(*arguments) in the order of the arguments; the first that fails raises.

        All is submitted at once, or no more than `buffersize` calls ahead of what was taken. `timeout`: seconds from
        now. What has not ended is cancelled when the iterator is closed or raises. `chunksize` changes nothing: each
        call is bargained for on its own.
        """
        if chunksize < 1 or (buffersize is not None and buffersize < 1):
            raise ValueError("chunksize and buffersize are 1 or more")
        until = None if timeout is None else time.monotonic() + timeout
        calls = (cast("Future[T]", self.submit(fn, *arguments)) for arguments in zip(*iterables, strict=False))
        return _in_order(deque(islice(calls, buffersize)), calls, until)

    def nodes(self) -> Sequence[NodeLine]:
        """The fleet as its agent sees it."""
        return self._errands.ask(lambda connection: connection.nodes())

    def tasks(self, *which: str | Future[Any]) -> Sequence[TaskLine]:
        """Where these tasks stand, and why: futures, ids or their beginnings, labels; none: all tasks of its agent."""
        names = [one.task if isinstance(one, Awaited) else one for one in which] or ["all"]
        return self._errands.ask(lambda connection: connection.tasks(names))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; `wait` until all has ended. `cancel_futures` gives up what has not, running or not."""
        self._errands.shut(wait, cancel_futures)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Waits for all that was submitted; after an interrupt (Ctrl-C, SystemExit) it is cancelled instead."""
        self.shutdown(cancel_futures=exc_type is not None and not issubclass(exc_type, Exception))


class Fleet(Client):
    """An executor on a local fleet of its own: so many agent processes, which end when it is shut down.

    `nodes`: how many, or their names; more in FleetOptions: `speeds`, `slots`, `allow`, `code`, `run`, `flags`,
    `flags_of`. Raises Problem if it cannot be started. Left alone, it ends with the program.
    """

    def __init__(self, nodes: int | Sequence[str] = 4, **options: Unpack[FleetOptions]) -> None:
        self._own = own = OwnFleet(nodes, **options)
        self._use(Errands(own.connect, own.end))

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
        self._errands.do(lambda: self._own.kill(name))


def _in_order(pending: deque[Future[T]], calls: Iterator[Future[T]], until: float | None) -> Iterator[T]:
    try:
        while pending:
            value = pending[0].result(None if until is None else until - time.monotonic())
            pending.popleft()
            pending.extend(islice(calls, 1))
            yield value
    finally:
        for future in pending:
            future.cancel()
