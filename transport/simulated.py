"""A fleet on virtual time: the real protocols and the real links, over a wire that loses, doubles and delays.

One seed decides everything: the wire's faults are drawn from one generator, events are ordered by (time, number), and
what crosses the wire are the very bytes that ZeroMQ would carry. The same seed gives the same run, byte for byte; so a
violation is replayed by its seed alone.

    heap: (0.0103, 17, frame n1 -> n2)   (0.0500, 9, wake n3)   (1.2000, 21, attempt ends on n2)
      | pop the earliest; now = 0.0103
      | n2's links receive the bytes -> n2's protocol receives the messages -> effects
      | performed in order: sends queue, runs and timers enter the heap
      | n2's links flush -> new frames, each drawn a delay, or a loss, or a twin

Invariants: time never runs backwards; a killed node is told nothing and says nothing; nothing a node says reaches
itself over the wire; the wire holds at most FRAMES_UNDER_WAY_MAX frames.
"""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..protocols.core import (
    Connect,
    Datagram,
    Disconnect,
    Effect,
    Event,
    Local,
    Message,
    NodeId,
    PeerError,
    Protocol,
    ProtocolError,
    Publish,
    Run,
    Send,
    Stop,
    TaskId,
)
from .clock import HybridClock
from .codec import Codec
from .links import Links

FRAMES_UNDER_WAY_MAX = 1_000_000
WAKES_PER_INSTANT_MAX = 1000
"""A node that wants to be woken more often without time passing is broken."""

Execute: TypeAlias = Callable[[Run, float], tuple[float, Local] | None]
"""How an attempt goes on a node: after how many seconds which local message ends it (None: it never ends)."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What the wire does to frames: probabilities, and the range from which each delay is drawn evenly."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: tuple[float, float] = (0.0005, 0.0015)


def _nothing(_: NodeId) -> Sequence[Local]:
    return ()


def _unheeded(time: float, node: NodeId, event: Event) -> None:
    """Events are kept in the fleet's list anyhow."""


class _Node:
    """One life of one node."""

    __slots__ = (
        "alive", "attempts", "execute", "id", "incarnation", "links", "listeners", "protocol", "wake_at", "wakes",
        "woken_at",
    )  # fmt: skip

    def __init__(self, links: Links, protocol: Protocol, execute: Execute | None) -> None:
        self.id = links.node
        self.incarnation = links.incarnation
        self.links = links
        self.protocol = protocol
        self.execute = execute
        self.alive = True
        self.listeners: dict[NodeId, None] = {}
        self.attempts: dict[tuple[TaskId, int], int] = {}
        self.wake_at: float | None = None
        self.woken_at = -1.0
        self.wakes = 0


class SimulatedFleet:
    """Nodes, one wire and one clock.

    `subscribed` says what a node is told when a peer begins to listen to it (the agents' layer has a local message for
    that); `on_event` sees each event as it happens, besides `events`.
    """

    def __init__(
        self,
        seed: int,
        faults: Faults,
        codec: Codec,
        *,
        subscribed: Callable[[NodeId], Sequence[Local]] = _nothing,
        on_event: Callable[[float, NodeId, Event], None] = _unheeded,
    ) -> None:
        self.now = 0.0
        self.events: list[tuple[float, NodeId, Event]] = []
        self.garbage: list[tuple[float, NodeId, PeerError]] = []
        self.frames = 0
        """How many frames have been delivered."""
        self.fingerprint = 0
        """A checksum over every delivered frame and every event, in order: two runs are the same if it is."""
        self._random = random.Random(seed)
        self._faults = faults
        self._codec = codec
        self._subscribed = subscribed
        self._on_event = on_event
        self._nodes: dict[NodeId, _Node] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._under_way = 0

    # --- who there is --------------------------------------------------------------------------------------------

    def add(self, node: NodeId, protocol: Protocol, execute: Execute | None = None, incarnation: int = 1) -> Links:
        """A node begins to live; its deadline is looked at from now on. After a kill it takes a higher incarnation."""
        former = self._nodes.get(node)
        if former is not None and (former.alive or former.incarnation >= incarnation):
            raise ProtocolError(f"{node} lives already, or lived later than incarnation {incarnation}")
        links = Links(node, incarnation, self._codec, HybridClock(lambda: self.now))
        added = self._nodes[node] = _Node(links, protocol, execute)
        self._at(self.now, lambda: self._settle(added))
        return links

    def mesh(self, nodes: Iterable[NodeId] | None = None) -> None:
        """Connect each of these nodes (None: all) with each other, as `Connect` effects would."""
        names = sorted(self._nodes if nodes is None else nodes)
        for name in names:
            for peer in names:
                if peer != name:
                    self._connect(self._nodes[name], peer, self._nodes[peer].incarnation)

    def kill(self, node: NodeId) -> None:
        """It dies silently: it is told nothing more and says nothing more; its peers have to find out."""
        self._nodes[node].alive = False

    def alive(self) -> list[NodeId]:
        return sorted(name for name, node in self._nodes.items() if node.alive)

    def links(self, node: NodeId) -> Links:
        return self._nodes[node].links

    def tell(self, node: NodeId, message: Message, sender: NodeId) -> None:
        """Hand a message to a node without the wire: a local one, or a client's request."""
        told = self._nodes[node]
        if told.alive:
            self._receive(told, message, sender)
            self._settle(told)

    # --- time ----------------------------------------------------------------------------------------------------

    def run(self, until: float | None = None, while_: Callable[[], bool] | None = None) -> None:
        """Let time pass: up to `until`, as long as `while_` holds, or until nothing is left to happen."""
        heap = self._heap
        while heap and (while_ is None or while_()):
            if until is not None and heap[0][0] > until:
                break
            self.now, _, happen = heapq.heappop(heap)
            happen()
        if until is not None and (while_ is None or while_()):
            self.now = max(self.now, until)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (time, self._number, happen))

    def _wake(self, node: _Node, at: float) -> None:
        """The moment at which a node wanted to be woken has come, unless it changed its mind."""
        if node.wake_at != at or not node.alive:
            return
        node.wake_at = None
        if node.woken_at == self.now:
            node.wakes += 1
            if node.wakes > WAKES_PER_INSTANT_MAX:
                raise ProtocolError(f"{node.id} wants to be woken at {self.now} again and again")
        else:
            node.woken_at, node.wakes = self.now, 0
        deadline = node.protocol.deadline
        if deadline is not None and deadline <= self.now:
            self._perform(node, node.protocol.wake(self.now))
        deadline = node.links.deadline
        if deadline is not None and deadline <= self.now:
            node.links.wake(self.now)
        self._settle(node)

    def _settle(self, node: _Node) -> None:
        """End a node's turn: its frames leave, and its next wake is set."""
        for route, frame in node.links.flush(self.now):
            if route is None:
                for listener in node.listeners:
                    self._carry(node.id, listener, frame, published=True)
            else:
                self._carry(node.id, str(route), frame, published=False)
        mine, theirs = node.protocol.deadline, node.links.deadline
        wanted = mine if theirs is None or (mine is not None and mine <= theirs) else theirs
        if wanted is None or (node.wake_at is not None and node.wake_at <= wanted):
            return
        at = node.wake_at = max(wanted, self.now)
        self._at(at, lambda: self._wake(node, at))

    # --- the wire ------------------------------------------------------------------------------------------------

    def _carry(self, sender: NodeId, to: NodeId, frame: bytes, published: bool) -> None:
        faults, draw = self._faults, self._random.random
        if faults.loss and draw() < faults.loss:
            return
        twins = 2 if faults.duplication and draw() < faults.duplication else 1
        for _ in range(twins):
            if self._under_way >= FRAMES_UNDER_WAY_MAX:
                return
            self._under_way += 1
            self._at(self.now + self._delay_s(), lambda: self._arrive(sender, to, frame, published))

    def _delay_s(self) -> float:
        low, high = self._faults.delay_s
        return low + (high - low) * self._random.random()

    def _arrive(self, sender: NodeId, to: NodeId, frame: bytes, published: bool) -> None:
        self._under_way -= 1
        node = self._nodes.get(to)
        if node is None or not node.alive:
            return
        self.frames += 1
        self.fingerprint = zlib.crc32(frame, self.fingerprint)
        try:
            deliveries, refused = node.links.receive(frame, None if published else sender, self.now)
        except PeerError as error:
            self.garbage.append((self.now, to, error))
            return
        for nonsense in refused:
            self.garbage.append((self.now, to, nonsense))
        for peer, message, _ in deliveries:
            self._receive(node, message, peer)
        self._settle(node)

    def _receive(self, node: _Node, message: Message, sender: NodeId) -> None:
        if not node.alive:
            return
        try:
            effects = node.protocol.receive(message, sender, self.now)
        except PeerError as error:
            self.garbage.append((self.now, node.id, error))
        else:
            self._perform(node, effects)

    # --- effects -------------------------------------------------------------------------------------------------

    def _perform(self, node: _Node, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    node.links.send(to, message, self.now)
                case Datagram(to, message):
                    node.links.datagram(to, message)
                case Publish(message):
                    node.links.publish(message, self.now)
                case Run():
                    self._run(node, effect)
                case Stop(task, epoch):
                    node.attempts.pop((task, epoch), None)
                case Event():
                    self._note(node, effect)
                case Connect(peer, incarnation, _, _):
                    self._connect(node, peer, incarnation)
                case Disconnect(peer):
                    self._disconnect(node, peer)
                case _:
                    raise ProtocolError(f"{node.id} wants a {type(effect).__name__}, which no fleet can perform")

    def _note(self, node: _Node, event: Event) -> None:
        self.events.append((self.now, node.id, event))
        self.fingerprint = zlib.crc32(f"{self.now!r} {node.id} {event!r}".encode(), self.fingerprint)
        self._on_event(self.now, node.id, event)

    def _run(self, node: _Node, run: Run) -> None:
        if node.execute is None:
            raise ProtocolError(f"{node.id} runs {run.task.id}, but nothing says how attempts go there")
        end = node.execute(run, self.now)
        if end is None:
            return
        after_s, message = end
        self._number += 1
        key, attempt = (run.task.id, run.epoch), self._number
        node.attempts[key] = attempt
        self._at(self.now + after_s, lambda: self._finish(node, key, attempt, message))

    def _finish(self, node: _Node, key: tuple[TaskId, int], attempt: int, message: Local) -> None:
        """An attempt has ended, unless it was stopped, or its node died."""
        if node.attempts.get(key) == attempt and node.alive:
            del node.attempts[key]
            self._receive(node, message, node.id)
            self._settle(node)

    def _connect(self, node: _Node, peer: NodeId, incarnation: int) -> None:
        """A line to a peer, and a subscription that the peer sees once it has come through."""
        node.links.connect(peer, incarnation, peer, self.now)
        self._at(self.now + self._delay_s(), lambda: self._subscribe(node, peer, incarnation))

    def _subscribe(self, listener: _Node, peer: NodeId, incarnation: int) -> None:
        node = self._nodes.get(peer)
        if node is None or not node.alive or not listener.alive or listener.links.knows(peer) != incarnation:
            return
        node.listeners[listener.id] = None
        for message in self._subscribed(listener.id):
            self._receive(node, message, node.id)
        self._settle(node)

    def _disconnect(self, node: _Node, peer: NodeId) -> None:
        node.links.close(peer)
        former = self._nodes.get(peer)
        if former is not None:
            former.listeners.pop(node.id, None)
