"""Clients of a fleet to which everything happens: they hand work in, and may be gone from one moment to the next.

    one after another: connects to any agent -> cancels what the former wanted cancelled -> hands errands in
                       -> is killed, or hears how all have ended

A connection goes over to another agent by itself. What was acknowledged before a client died stays in the ledger, and
is asked for when all is over; what was not is forgotten: no acknowledgement means unknown.

Invariant: whatever is in the ledger was acknowledged, or its client still lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Callable
from functools import partial

from ...agents.payload import unpack
from ...protocols.core import Outcome, State, TaskId
from ...protocols.requests import Follow
from ..client import Connection
from ..handle import Handle
from ..problems import AgentUnreachable, Problem
from .soak_clients import IN_FLIGHT_MAX, KNOWN_MAX, Ledger, unread
from .soak_tasks import Errand, Known, draw

CONNECT_S = 5.0
PATIENCE_S = 60.0
"""A task that has not ended so long after the last fault is not waited for any more."""
ATTEMPTS = 100
"""Agents that are killed take attempts with them."""
NOT_TAKEN = "not taken"


class Clients:
    """So many at a time. `permits`: one for each errand that may be handed in, and None for each client at the end."""

    def __init__(self, ledger: Ledger, agents: Callable[[], dict[str, str]], rng: random.Random) -> None:
        self.permits: asyncio.Queue[bool] = asyncio.Queue()
        self.told: dict[TaskId, Outcome] = {}
        """What was heard of those that have ended."""
        self.refused = 0
        self.unheard = 0
        """Handed in by a client that was gone before the acknowledgement."""
        self.untold: set[TaskId] = set()
        """Of which their client did not hear how they ended, though it lived and waited."""
        self.acknowledged: set[TaskId] = set()
        self._ledger = ledger
        self._agents = agents
        self._rng = rng
        self._connections: list[Connection] = []

    def kill_one(self) -> None:
        """If any is connected."""
        if self._connections:
            self._rng.choice(self._connections).close()

    async def come_and_go(self) -> None:
        """One after another, until there is nothing more to hand in and all has ended."""
        former: dict[TaskId, Errand] = {}  # of those that are gone, to be cancelled
        known: list[Known] = []
        more = True
        while more or former:
            connection = await self._connect()
            self._ledger.clients += 1
            self._connections.append(connection)
            one = _Client(self, self._ledger, connection, random.Random(self._rng.random()), known)
            try:
                await one.give_up(former)
                former = {}
                while more and connection.lost is None:
                    more = await one.next()
                await one.finish()
            except Problem:
                pass
            finally:
                self._connections.remove(connection)
                connection.close()
                former |= one.leave()

    async def _connect(self) -> Connection:
        while True:
            addresses = list(self._agents().values())
            self._rng.shuffle(addresses)
            with contextlib.suppress(AgentUnreachable):
                return await Connection.connect(addresses[:3], CONNECT_S)


class _Client:
    """One connection, and what was handed in by it."""

    def __init__(
        self, clients: Clients, ledger: Ledger, connection: Connection, rng: random.Random, known: list[Known]
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._connection = connection
        self._rng = rng
        self._known = known
        self._mine: dict[TaskId, tuple[Errand, Handle]] = {}
        self._under_way: set[asyncio.Future[Outcome]] = set()

    async def give_up(self, tasks: dict[TaskId, Errand]) -> None:
        """Tasks of another client. Raises Problem."""
        for task in tasks:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._connection.cancel([task]), PATIENCE_S)

    async def next(self) -> bool:
        """Hand one in when it may be. False: there is no more."""
        permit = asyncio.ensure_future(self._clients.permits.get())
        while not permit.done():
            await asyncio.wait((permit,), timeout=0.1)
            if self._connection.lost is not None and not permit.done():
                permit.cancel()
                return True
        if not permit.result():
            return False
        while len(self._under_way) >= IN_FLIGHT_MAX:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        self._hand_in(_robust(draw(self._rng, self._known[-KNOWN_MAX:])))
        return True

    async def finish(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=PATIENCE_S)
        if self._connection.lost is None:
            self._clients.untold |= self._mine.keys() & self._clients.acknowledged

    def leave(self) -> dict[TaskId, Errand]:
        """It is gone: what was not acknowledged is forgotten; what was to be cancelled is told."""
        for task in [task for task, (_, handle) in self._mine.items() if task not in self._clients.acknowledged]:
            self._clients.unheard += 1
            self._ledger.forget(task)
            del self._mine[task]
        return {
            task: errand
            for task, (errand, _) in self._mine.items()
            if errand.give_up_s is not None and task in self._ledger.open
        }

    def _hand_in(self, errand: Errand) -> None:
        for submit in errand.submission.submits():
            task = submit.task.id
            handle = self._connection.hand_in(submit, unread if submit.follow is Follow.OUTPUT else None)
            self._ledger.hand_in(task, "", errand)
            self._mine[task] = errand, handle
            self._under_way.add(handle.outcome)
            handle.taken.add_done_callback(partial(self._taken, task))
            handle.outcome.add_done_callback(partial(self._ended, task))
            if errand.give_up_s is not None:
                asyncio.get_running_loop().call_later(errand.give_up_s, self._connection.give_up, task)

    def _taken(self, task: TaskId, taken: asyncio.Future[None]) -> None:
        if not taken.cancelled() and taken.exception() is None:
            self._clients.acknowledged.add(task)

    def _ended(self, task: TaskId, ended: asyncio.Future[Outcome]) -> None:
        self._under_way.discard(ended)
        if ended.cancelled() or ended.exception() is not None:
            return  # its client is gone
        outcome = ended.result()
        errand, _ = self._mine.pop(task)
        if outcome.error.startswith(NOT_TAKEN) and State.FAILED not in errand.ends:
            self._clients.refused += 1
            self._clients.acknowledged.discard(task)
            self._ledger.forget(task)
            return
        if outcome.node is not None:
            self._clients.told[task] = outcome
        else:
            self._clients.acknowledged.discard(task)  # refused, or given up before any agent had it
        self._ledger.told(outcome)
        if errand.is_known and outcome.state is State.DONE:
            self._known.append(Known(task, unpack(outcome.value)))


def _robust(errand: Errand) -> Errand:
    """It waits for a node that can do it, if there is one, and for one that lives long enough."""
    task = errand.submission
    if State.DONE in errand.ends:
        task = dataclasses.replace(task, waits=True, attempts=ATTEMPTS)
    return dataclasses.replace(errand, submission=task)
