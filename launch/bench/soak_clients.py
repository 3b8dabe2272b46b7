"""The clients of a soak: each comes, hands tasks in for a while, and goes, some without waiting for the end.

    client -> connects to a desk -> hands errands in, a few at a time, gives some up -> waits for the last -> goes
                                                                                    '-> or goes at once

The ledger knows of every task that was handed in how it may end, and is told how it ended: by its client, or, where the
client went before, by the desk, when all is over.

Invariant: every task that was handed in stands in the ledger exactly once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ...agents.payload import unpack
from ...protocols.core import Outcome, State
from ...protocols.performatives import Stream
from ...protocols.requests import Follow
from ..client import Connection
from ..handle import Handle
from ..problems import AgentUnreachable, Problem
from .soak_tasks import Errand, Known, draw

TASKS_MAX = 80
"""So many a client hands in before it goes."""
IN_FLIGHT_MAX = 12
LEAVES_AT_ONCE = 0.2
KNOWN_MAX = 20
PATIENCE_S = 60.0
"""A task that has not ended so long after the end of all is lost."""
A = TypeVar("A")


class Ledger:
    """All that was handed in. `wrong` are sentences about what ended otherwise than it may."""

    def __init__(self) -> None:
        self.open: dict[str, tuple[str, Errand]] = {}  # and the desk it was handed to
        self.states: Counter[State] = Counter()
        self.taken: list[tuple[float, str]] = []  # when, and by which desk
        self.once: set[str] = set()  # those that may not be started twice
        self.wrong: list[str] = []
        self.clients = 0

    def hand_in(self, task: str, desk: str, errand: Errand) -> None:
        self.open[task] = desk, errand
        self.taken.append((time.monotonic(), desk))
        if errand.submission.at_most_once:
            self.once.add(task)

    def end(self, task: str, state: State, value: object, error: str) -> None:
        """`value` of one that is done, as far as it is known."""
        told = self.open.pop(task, None)
        if told is None:
            self.wrong.append(f"{task} has ended twice: {state}")
            return
        errand = told[1]
        self.states[state] += 1
        if state not in errand.ends:
            self.wrong.append(f"{task} ({errand.submission.kind}) is {state}, not {_listed(errand.ends)}: {error}")
        elif state is State.DONE and errand.has_value and value is not ... and value != errand.value:
            self.wrong.append(f"{task} ({errand.submission.kind}) has the value {value!r}, not {errand.value!r}"[:200])

    def forget(self, task: str) -> None:
        """It was not taken."""
        self.open.pop(task, None)
        self.once.discard(task)

    async def ask(self, desk: str, address: str) -> None:
        """How those have ended whose clients went before; after that, what is open is lost."""
        mine = [task for task, (where, _) in self.open.items() if where == desk]
        async with await _patient(partial(Connection.connect, [address])) as agent:
            for task in mine:
                try:
                    outcome = await asyncio.wait_for(agent.result(task), PATIENCE_S)
                except (TimeoutError, Problem) as error:
                    self.wrong.append(f"{task} was handed in to {desk} and is lost: {error}")
                else:
                    self.told(outcome)

    def follow(self, handle: Handle) -> None:
        """It is told how this one ends, if its client stays so long."""
        handle.outcome.add_done_callback(self._outcome)

    def _outcome(self, future: asyncio.Future[Outcome]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.told(future.result())

    def told(self, outcome: Outcome) -> None:
        """It has ended so."""
        value = unpack(outcome.value) if outcome.state is State.DONE else ...
        self.end(outcome.task, outcome.state, value, outcome.error)


async def come_and_go(ledger: Ledger, desks: dict[str, str], rng: random.Random, pause_s: float) -> None:
    """One client after the other, until it is cancelled: then the last waits for what it has handed in. `desks` are
    addresses by name; `pause_s`: the mean time between two errands."""
    while True:
        desk = rng.choice(list(desks))
        connection = await _patient(partial(Connection.connect, [desks[desk]]))
        ledger.clients += 1
        client = _Client(ledger, desk, connection, rng)
        try:
            haste = rng.choice((0.01, 1.0, 2.0))
            await client.hand_in(rng.randint(1, TASKS_MAX), haste * pause_s, rng.randint(1, IN_FLIGHT_MAX))
        except AgentUnreachable as error:
            ledger.wrong.append(f"a client of {desk}: {error}")
        except asyncio.CancelledError:
            await client.finish()
            raise
        finally:
            connection.close()


class _Client:
    """One connection, and what was handed in by it."""

    def __init__(self, ledger: Ledger, desk: str, connection: Connection, rng: random.Random) -> None:
        self._ledger = ledger
        self._desk = desk
        self._connection = connection
        self._rng = rng
        self._leaves_at_once = rng.random() < LEAVES_AT_ONCE
        self._under_way: set[asyncio.Future[Outcome]] = set()
        self._taken: list[asyncio.Future[None]] = []
        self._known: list[Known] = []

    async def hand_in(self, number: int, pause_s: float, in_flight: int) -> None:
        """So many errands. Raises AgentUnreachable."""
        for _ in range(number):
            await asyncio.sleep(self._rng.expovariate(1.0 / pause_s))
            while len(self._under_way) >= in_flight:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            if (lost := self._connection.lost) is not None:
                raise lost
            self._hand_in(self._draw())
        if self._leaves_at_once:
            await asyncio.wait_for(asyncio.gather(*self._taken), PATIENCE_S)
        else:
            await self.finish()

    async def finish(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=PATIENCE_S)

    def _draw(self) -> Errand:
        """Who leaves at once cannot give anything up later, and is not there to hear that something is refused."""
        while True:
            errand = draw(self._rng, self._known[-KNOWN_MAX:])
            if State.DONE in errand.ends or not self._leaves_at_once:
                return errand

    def _hand_in(self, errand: Errand) -> None:
        for submit in errand.submission.submits():
            self._ledger.hand_in(submit.task.id, self._desk, errand)
            handle = self._connection.hand_in(submit, unread if submit.follow is Follow.OUTPUT else None)
            self._ledger.follow(handle)
            self._taken.append(handle.taken)
            self._under_way.add(handle.outcome)
            handle.outcome.add_done_callback(self._under_way.discard)
            if errand.is_known:
                self._known.append(Known(submit.task.id, errand.value))
            if errand.give_up_s is not None:
                asyncio.get_running_loop().call_later(errand.give_up_s, self._connection.give_up, submit.task.id)


def unread(stream: Stream, data: bytes, epoch: int) -> None:
    """Output comes, and that is all."""


async def _patient(what: Callable[[], Awaitable[A]]) -> A:
    """Once more where the machine is so busy that nobody answers."""
    try:
        return await what()
    except AgentUnreachable:
        return await what()


def _listed(states: frozenset[State]) -> str:
    return " or ".join(sorted(states))
