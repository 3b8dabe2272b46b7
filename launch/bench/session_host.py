"""One node of a session in a process of its own: its column, a driver, an endpoint over ZeroMQ, and nothing else.

    parent                                         host
      | Setup (one line of JSON) -------------------> |  what it is, and its own column
      | <---------------------- Here(its addresses)   |
      | Peers (the addresses of all) ---------------> |  dials all; waits until all listen to it
      | <---------------------------------- "ready"   |
      | "begin" ------------------------------------> |  the session runs
      | <------------------- Told(division, counts)   |  it has ended here; late peers may still ask
      | end of its input ---------------------------> |  exit

The driver is that of the simulated fleet. What it does is performed as an agent's shell would; its clock is the loop's.
With `loss`, that part of the frames that come is thrown away before the links see it, and has to be repeated.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from random import Random

import msgspec
import numpy as np

from ...protocols import gossip, rounds
from ...protocols.columns import Column
from ...protocols.core import Effect, Event, Message, NodeId, PeerError, ProtocolError, Publish, Send
from ...transport.clock import HybridClock
from ...transport.codec import Codec
from ...transport.link import Route
from ...transport.links import Cause, Links, Received
from ...transport.zeromq import Endpoint
from .sessions import divided, driver

LINE_BYTES_MAX = 16 * 1024 * 1024


class Setup(msgspec.Struct, frozen=True):
    """`demands` and `capacity`: of a question with capacities."""

    names: tuple[NodeId, ...]
    row: int
    costs: list[float]
    demands: list[float] | None
    capacity: float | None
    protocol: str
    mode: str
    seed: int
    trade: bool
    loss: float


class Here(msgspec.Struct, frozen=True):
    address: str
    announcements: str


class Told(msgspec.Struct, frozen=True):
    """How it ended here. `seconds` since it began; `cpu_s` of this process for all of it."""

    tasks: dict[NodeId, list[int]]
    value: float | None
    overload: float
    bound: float | None
    rounds: int
    messages: int
    deliveries: int
    bytes: int
    seconds: float
    cpu_s: float


class Lossy(Links):
    """Links of which a part of all frames never comes; `rng` says which."""

    loss = 0.0
    rng = Random()

    def receive(self, frame: bytes, route: Route, now: float, key: str | None = None) -> Received:
        if self.rng.random() < self.loss:
            return Received([], [])
        return super().receive(frame, route, now, key)


class Host:
    """The shell of one driver."""

    def __init__(self, setup: Setup) -> None:
        own = Column(
            np.asarray(setup.costs, np.float64),
            None if setup.demands is None else np.asarray(setup.demands, np.float64),
            setup.capacity,
        )
        self.node = setup.names[setup.row]
        self._names = setup.names
        self._loop = asyncio.get_running_loop()
        self._driver = driver(setup.names, setup.row, own, setup.protocol, setup.mode, setup.seed, setup.trade)
        self._timer: asyncio.TimerHandle | None = None
        self._began: float | None = None
        self._listeners: set[NodeId] = set()
        self._heard = 0
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        links = Lossy(self.node, 1, Codec((*rounds.MESSAGES, *gossip.MESSAGES)), HybridClock(time.time))
        links.loss, links.rng = setup.loss, Random(f"loss {setup.seed} {self.node}")
        self.endpoint = Endpoint(
            links,
            bind="tcp://127.0.0.1:0",
            on_message=self._on_message,
            on_garbage=lambda error: None,
            on_turn=self._arm,
            on_subscribed=self._on_subscribed,
        )
        if len(self._names) == 1:
            self.ready.set()

    def begin(self) -> None:
        self._began = self._loop.time()
        self._wake()

    def told(self) -> Told:
        """Once it has ended."""
        assert self._began is not None
        division = divided(self._driver)
        counters = self.endpoint.links.counters
        return Told(
            {node: list(tasks) for node, tasks in division.tasks.items()},
            division.value,
            division.overload,
            division.bound,
            self._driver.rounds if isinstance(self._driver, rounds.Rounds) else self._driver.periods,
            counters.items_sent,
            self._heard,
            counters.bytes_sent,
            self._loop.time() - self._began,
            time.process_time(),
        )

    # -- what the endpoint says

    def _on_subscribed(self, node: NodeId) -> None:
        self._listeners.add(node)
        if self._listeners >= set(self._names) - {self.node}:
            self.ready.set()

    def _on_message(self, sender: NodeId, message: Message, cause: Cause) -> None:
        self._heard += 1
        try:
            self._perform(self._driver.receive(message, sender, self._now()))
        except PeerError:
            return

    def _now(self) -> float:
        """Seconds since it began; before, nothing has a time."""
        return self._loop.time() - self._began if self._began is not None else -1.0

    # -- what the driver does

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    self.endpoint.send(to, message)
                case Publish(message):
                    self.endpoint.publish(message)
                case Event():
                    pass
                case _:
                    raise ProtocolError(f"a session has no use for {type(effect).__name__}")
        if self._driver.finished:
            self.ended.set()

    def _arm(self) -> None:
        """One timer for the driver's deadline."""
        deadline = self._driver.deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._began is not None and deadline is not None:
            self._timer = self._loop.call_at(self._began + deadline, self._wake)

    def _wake(self) -> None:
        deadline = self._driver.deadline
        if deadline is not None and deadline <= self._now():
            self._perform(self._driver.wake(self._now()))
        self._arm()


def say(told: msgspec.Struct | str) -> None:
    """One line to the parent."""
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    if not (setup := await lines.readline()):
        return  # the parent has gone, here as below
    host = Host(msgspec.json.decode(setup, type=Setup))
    try:
        say(Here(host.endpoint.address, host.endpoint.announcements))
        if not (others := await lines.readline()):
            return
        for name, here in msgspec.json.decode(others, type=dict[str, Here]).items():
            if name != host.node:
                host.endpoint.connect(name, 1, here.address, here.announcements)
        await host.ready.wait()
        say("ready")
        if not await lines.readline():
            return
        host.begin()
        parted, ended = asyncio.create_task(lines.read()), asyncio.create_task(host.ended.wait())
        await asyncio.wait((parted, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            say(host.told())
            await parted
    finally:
        host.endpoint.close()


if __name__ == "__main__":
    asyncio.run(main())
