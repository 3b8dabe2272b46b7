"""A fleet on virtual time: the real protocols and the real links, over a wire and on machines that fail.

One seed decides everything: the wire's faults are drawn from one generator, events are ordered by (time, number), and
what crosses the wire are the very bytes that ZeroMQ would carry. The same seed gives the same run, byte for byte; so a
violation is replayed by its seed alone. What may go wrong stands in `faults.py`.

    heap: (0.0103, 17, frame n1 -> n2)   (0.0500, 9, wake n3)   (1.2000, 21, attempt ends on n2)   (2.0, 3, n3 dies)
      | pop the earliest; now = 0.0103
      | n2's links receive the bytes -> n2's protocol receives the messages -> effects
      | performed in order: sends queue, runs and timers enter the heap
      | n2's links flush -> new frames, each drawn a delay, or a loss, or a twin
      | the witness has seen all of it, and looks at n2

Invariants: time never runs backwards, on no node's clock; a killed node is told nothing and says nothing, and neither
does one that pauses; nothing a node says reaches itself over the wire; the wire holds at most FRAMES_UNDER_WAY_MAX.
"""

from __future__ import annotations

import heapq
import math
import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol as Shape
from typing import TypeAlias

import msgspec

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
    Record,
    Run,
    Send,
    Stop,
    TaskId,
)
from .clock import HybridClock
from .codec import Codec
from .disk import Disk
from .faults import Crash, Cut, Faults, Trouble
from .links import Cause, Links

FRAMES_UNDER_WAY_MAX = 1_000_000
WAKES_PER_INSTANT_MAX = 1000
"""A node that wants to be woken more often without time passing is broken."""

Execute: TypeAlias = Callable[[Run, float], tuple[float, Local] | None]
"""How an attempt goes on a node: after how many seconds which local message ends it (None: it never ends)."""


class Recorder(Shape):
    """Where a node's records go (`agents/simulated_journal.py`)."""

    def write(self, number: int, records: Sequence[Record]) -> None:
        """Have these on disk; `number` is that of the last of them, counted from the beginning of this life."""


class Witness:
    """Sees all that happens, as it happens, in virtual seconds. This one looks away; the invariants do not."""

    def born(self, now: float, node: NodeId, incarnation: int) -> None:
        """A life begins."""

    def died(self, now: float, node: NodeId) -> None:
        """A life is over, and all that ran there."""

    def heard(self, now: float, node: NodeId, message: Message, cause: Cause, life: int | None) -> None:
        """The wire brought a message, from this life (incarnation) of its sender; None: a datagram."""

    def said(self, now: float, node: NodeId, message: Message) -> None:
        """A message leaves a node, for good."""

    def recorded(self, now: float, node: NodeId, record: Record) -> None:
        """A node wants something on its disk, where it is not yet."""

    def noted(self, now: float, node: NodeId, event: Event) -> None:
        """A node logs something."""

    def ran(self, now: float, node: NodeId, run: Run) -> None:
        """An attempt begins to take its slot."""

    def ended(self, now: float, node: NodeId, task: TaskId, epoch: int) -> None:
        """An attempt that ran runs no more: it has come to its end, or was stopped."""

    def turned(self, now: float, node: NodeId) -> None:
        """A node has performed all effects of one turn."""


def _nothing(_: NodeId) -> Sequence[Local]:
    return ()


def _nobody(node: NodeId) -> None:
    raise ProtocolError(f"{node} is to be started anew, and nobody says how")


class _Node:
    """One life of one node."""

    __slots__ = (
        "alive", "attempts", "backlog", "due", "execute", "id", "incarnation", "links", "listeners", "local", "paused",
        "protocol", "rate", "recorder", "records", "touched", "wake_at",
    )  # fmt: skip

    def __init__(
        self, links: Links, protocol: Protocol, execute: Execute | None, recorder: Recorder | None, rate: float
    ) -> None:
        self.id = links.node
        self.incarnation = links.incarnation
        self.links = links
        self.protocol = protocol
        self.execute = execute
        self.recorder = recorder
        self.records = 0  # so many in this life
        self.rate = rate
        self.local = 0.0  # its own clock, as it read it last
        self.alive = True
        self.paused = False
        self.backlog: list[Callable[[], None]] = []  # what happened to it while it paused
        self.listeners: dict[NodeId, None] = {}
        self.attempts: dict[tuple[TaskId, int], int] = {}
        self.touched = True  # its protocol was told something since its last turn ended
        self.due: float | None = None  # the protocol's deadline at the end of that turn, by its own clock
        self.wake_at: float | None = None


class SimulatedFleet:
    """Nodes, one wire and one clock.

    `subscribed` says what a node is told when a peer begins to listen to it, `disconnected` when the connection to one
    drops (the agents' layer has local messages for both); `reborn` adds a node anew that was to come back. `trace`
    hears one line for everything that happens.
    """

    def __init__(
        self,
        seed: int,
        faults: Faults,
        codec: Codec,
        *,
        subscribed: Callable[[NodeId], Sequence[Local]] = _nothing,
        disconnected: Callable[[NodeId], Sequence[Local]] = _nothing,
        reborn: Callable[[NodeId], None] = _nobody,
        witness: Witness | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.now = 0.0
        self.events: list[tuple[float, NodeId, Event]] = []
        self.garbage: list[tuple[float, NodeId, PeerError]] = []
        self.frames = 0
        """How many frames have been delivered."""
        self.messages = 0
        """How many messages the wire has brought in them."""
        self.steps = 0
        """How many things have happened."""
        self.fingerprint = 0
        """A checksum over every delivered frame and every event, in order: two runs are the same if it is."""
        self.disks: defaultdict[NodeId, Disk] = defaultdict(Disk)
        """Each node's, through all its lives."""
        self._random = random.Random(seed)
        self._draw = self._random.random
        self._faults = faults
        self._codec = codec
        self._subscribed = subscribed
        self._disconnected = disconnected
        self._reborn = reborn
        self._witness = witness or Witness()
        self._trace = trace
        self._encode = msgspec.msgpack.Encoder().encode
        self._nodes: dict[NodeId, _Node] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._under_way = 0
        self._cuts: dict[Cut, None] = {}  # those of this moment
        self._plan(faults)

    def _plan(self, faults: Faults) -> None:
        for cut in faults.cuts:
            self._at(cut.at, partial(self._cut, cut, True))
            self._at(cut.until, partial(self._cut, cut, False))
        for crash in faults.crashes:
            self._at(crash.copied_at, partial(self._copy, crash.node))
            self._at(crash.at, partial(self._crash, crash))
            if crash.back_at is not None:
                self._at(crash.back_at, partial(self._come_back, crash.node))
        for pause in faults.pauses:
            self._at(pause.at, partial(self._pause, pause.node))
            self._at(pause.until, partial(self._go_on, pause.node))
        for trouble in faults.troubles:
            self._at(trouble.at, partial(self._trouble, trouble, True))
            self._at(trouble.until, partial(self._trouble, trouble, False))

    # --- who there is --------------------------------------------------------------------------------------------

    def add(
        self,
        node: NodeId,
        protocol: Protocol,
        execute: Execute | None = None,
        incarnation: int = 1,
        recorder: Recorder | None = None,
    ) -> Links:
        """A node begins to live; its deadline is looked at from now on. After a kill it takes a higher incarnation."""
        self._witness.born(self.now, node, incarnation)
        former = self._nodes.get(node)
        if former is not None and (former.alive or former.incarnation >= incarnation):
            raise ProtocolError(f"{node} lives already, or lived later than incarnation {incarnation}")
        rate = self._faults.drift.get(node, 1.0)
        links = Links(node, incarnation, self._codec, HybridClock(lambda: self.now * rate))
        added = self._nodes[node] = _Node(links, protocol, execute, recorder, rate)
        self._tell_trace(node, f"is born, incarnation {incarnation}")
        self._local(added)
        self._at(self.now, partial(self._settle, added))
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
        self._tell_trace(node, "dies")
        self._witness.died(self.now, node)

    def fail(self, crash: Crash) -> None:
        """Something more has gone wrong than was planned: a node dies now, and comes back when it is said to."""
        self._crash(crash)
        if crash.back_at is not None:
            self._at(crash.back_at, partial(self._come_back, crash.node))

    def later(self, node: NodeId, after_s: float, happen: Callable[[], None]) -> None:
        """What this life of a node waits for happens, but not while it pauses, nor after its death."""
        self._at(self.now + after_s, partial(self._happen, self._nodes[node], happen))

    def at(self, time: float, happen: Callable[[], None]) -> None:
        """Something happens, whoever lives."""
        self._at(time, happen)

    def alive(self) -> list[NodeId]:
        return sorted(name for name, node in self._nodes.items() if node.alive)

    def links(self, node: NodeId) -> Links:
        return self._nodes[node].links

    def clock(self, node: NodeId) -> float:
        """What this node's clock shows."""
        return self.now * self._faults.drift.get(node, 1.0)

    def tell(self, node: NodeId, message: Message, sender: NodeId) -> None:
        """Hand a message to a node without the wire: a local one, or a client's request."""
        self._tell(self._nodes[node], lambda: (message,), sender)

    def perform(self, node: NodeId, effects: Sequence[Effect]) -> None:
        """A verb of its protocol was called, and answered so."""
        told = self._nodes[node]
        told.touched = True
        self._local(told)
        self._perform(told, effects)
        self._settle(told)

    # --- time ----------------------------------------------------------------------------------------------------

    def run(self, until: float | None = None, while_: Callable[[], bool] | None = None) -> None:
        """Let time pass: up to `until`, as long as `while_` holds, or until nothing is left to happen."""
        heap, pop, limit = self._heap, heapq.heappop, math.inf if until is None else until
        while heap and heap[0][0] <= limit and (while_ is None or while_()):
            self.now, _, happen = pop(heap)
            self.steps += 1
            happen()
        if until is not None and (while_ is None or while_()):
            self.now = max(self.now, until)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (time, self._number, happen))

    def _happen(self, node: _Node, happen: Callable[[], None]) -> None:
        if not node.alive:
            return
        if node.paused:
            node.backlog.append(partial(self._happen, node, happen))
        else:
            happen()

    def _local(self, node: _Node) -> float:
        """Let a node look at its own clock, which never runs backwards."""
        local = self.now * node.rate
        if local > node.local:
            node.local = local
        return node.local

    def _wake(self, node: _Node, at: float) -> None:
        """The moment at which a node wanted to be woken has come, unless it changed its mind."""
        if node.wake_at != at or not node.alive:
            return
        if node.paused:
            node.backlog.append(partial(self._wake, node, at))
            return
        node.wake_at = None
        node.local = max(self._local(node), at)
        self._settle(node)

    def _settle(self, node: _Node) -> None:
        """End a node's turn as the real shell does: what is due is done, its frames leave, its next wake is set."""
        now, links = node.local, node.links
        due = node.protocol.deadline if node.touched else node.due
        if due is not None and due <= now:
            due = self._woken(node, now)
        if node.touched:
            node.touched = False
            node.due = due
            self._witness.turned(self.now, node.id)
        for route, frame in links.flush(now):
            if route is None:
                for listener in node.listeners:
                    self._carry(node.id, listener, frame, True)
            else:
                self._carry(node.id, route, frame, False)  # type: ignore[arg-type]
        wanted = links.deadline
        if wanted is None or (due is not None and due < wanted):
            wanted = due
        if wanted is None or (node.wake_at is not None and node.wake_at <= wanted):
            return
        at = node.wake_at = wanted if wanted > now else now
        self._at(max(at / node.rate, self.now), partial(self._wake, node, at))

    def _woken(self, node: _Node, now: float) -> float | None:
        """A node is woken until nothing is due any more; when something is."""
        protocol = node.protocol
        for _ in range(WAKES_PER_INSTANT_MAX):
            node.touched = True
            self._perform(node, protocol.wake(now))
            due = protocol.deadline
            if due is None or due > now:
                return due
        raise ProtocolError(f"{node.id} wants to be woken at {self.now} again and again")

    # --- the wire ------------------------------------------------------------------------------------------------

    def _carry(self, sender: NodeId, to: NodeId, frame: bytes, published: bool) -> None:
        now = self.now
        if self._cuts and any(cut.blocks(sender, to, now) for cut in self._cuts):
            return
        faults, draw = self._faults, self._draw
        low, high = faults.delay_s
        twins = 1
        if now < faults.until:
            if faults.loss and draw() < faults.loss:
                return
            if faults.duplication and draw() < faults.duplication:
                twins = 2
        for _ in range(twins):
            if self._under_way >= FRAMES_UNDER_WAY_MAX:
                return
            self._under_way += 1
            self._number += 1
            if faults.late and now < faults.until and draw() < faults.late:
                shortest, longest = faults.late_s
                at = now + shortest + (longest - shortest) * draw()
            else:
                at = now + low + (high - low) * draw()
            arrive: Callable[[], None] = partial(self._arrive, sender, to, frame, published)
            heapq.heappush(self._heap, (at, self._number, arrive))

    def _delay_s(self) -> float:
        low, high = self._faults.delay_s
        return low + (high - low) * self._random.random()

    def _arrive(self, sender: NodeId, to: NodeId, frame: bytes, published: bool) -> None:
        self._under_way -= 1
        node = self._nodes.get(to)
        if node is None or not node.alive:
            return
        if node.paused:
            self._under_way += 1
            node.backlog.append(partial(self._arrive, sender, to, frame, published))
            return
        self.frames += 1
        self.fingerprint = zlib.crc32(frame, self.fingerprint)
        if self._trace is not None:
            what = "bulletin" if published else "packet"
            self._tell_trace(to, f"<- {sender} {what} of {len(frame)} bytes, {zlib.crc32(frame):08x}")
        now = self.now * node.rate
        if now > node.local:
            node.local = now
        else:
            now = node.local
        try:
            received = node.links.receive(frame, None if published else sender, now)
        except PeerError as error:
            self.garbage.append((self.now, to, error))
            return
        for nonsense in received.refused:
            self.garbage.append((self.now, to, nonsense))
        for peer, message, cause in received.deliveries:
            self.messages += 1
            if self._trace is not None:
                self._tell_trace(to, f"<- {peer} {message!r}")
            life = None if cause.published or not cause.seq else node.links.knows(peer)
            self._witness.heard(self.now, to, message, cause, life)
            self._receive(node, message, peer)
        self._settle(node)

    def _receive(self, node: _Node, message: Message, sender: NodeId) -> None:
        if not node.alive:
            return
        node.touched = True
        try:
            effects = node.protocol.receive(message, sender, node.local)
        except PeerError as error:
            self.garbage.append((self.now, node.id, error))
        else:
            if effects:
                self._perform(node, effects)

    def _tell(self, node: _Node, messages: Callable[[], Sequence[Message]], sender: NodeId) -> None:
        """Something happens to a node; while it pauses it does not notice."""
        if not node.alive:
            return
        if node.paused:
            node.backlog.append(partial(self._tell, node, messages, sender))
            return
        self._local(node)
        for message in messages():
            self._receive(node, message, sender)
        self._settle(node)

    # --- effects -------------------------------------------------------------------------------------------------

    def _perform(self, node: _Node, effects: Sequence[Effect]) -> None:
        """In order. By type, as there are many: a pattern that is matched in vain costs as much as one that is met."""
        records: list[Record] = []
        links = node.links
        for effect in effects:
            kind = type(effect)
            if kind is Datagram:
                links.datagram(effect.to, effect.message)  # type: ignore[attr-defined]
            elif kind is Send:
                self._witness.said(self.now, node.id, effect.message)  # type: ignore[attr-defined]
                links.send(effect.to, effect.message)  # type: ignore[attr-defined]
            elif kind is Record and node.recorder is not None:
                self._witness.recorded(self.now, node.id, effect)  # type: ignore[arg-type]
                records.append(effect)  # type: ignore[arg-type]
            elif isinstance(effect, Event):
                self._note(node, effect)
            else:
                self._perform_rare(node, effect)
        if records and node.recorder is not None:
            node.records += len(records)
            node.recorder.write(node.records, records)

    def _perform_rare(self, node: _Node, effect: Effect) -> None:
        match effect:
            case Publish(message):
                node.links.publish(message)
            case Run():
                self._run(node, effect)
            case Stop(task, epoch):
                self._end(node, (task, epoch))
            case Connect(peer, incarnation, _, _):
                self._connect(node, peer, incarnation)
            case Disconnect(peer):
                self._disconnect(node, peer)
            case _:
                raise ProtocolError(f"{node.id} wants a {type(effect).__name__}, which no fleet can perform")

    def _note(self, node: _Node, event: Event) -> None:
        self.events.append((self.now, node.id, event))
        self.fingerprint = zlib.crc32(self._encode((self.now, node.id, event.name, event)), self.fingerprint)
        if self._trace is not None:
            self._tell_trace(node.id, repr(event))
        self._witness.noted(self.now, node.id, event)

    def _tell_trace(self, node: NodeId, what: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.now!r} {node} {what}")

    def _run(self, node: _Node, run: Run) -> None:
        if node.execute is None:
            raise ProtocolError(f"{node.id} runs {run.task.id}, but nothing says how attempts go there")
        end = node.execute(run, self.now)
        self._number += 1
        key, attempt = (run.task.id, run.epoch), self._number
        self._witness.ran(self.now, node.id, run)
        node.attempts[key] = attempt
        if end is not None:
            after_s, message = end
            self._at(self.now + after_s, partial(self._finish, node, key, attempt, message))

    def _finish(self, node: _Node, key: tuple[TaskId, int], attempt: int, message: Local) -> None:
        """An attempt has ended, unless it was stopped, or its node died."""

        def told() -> Sequence[Message]:
            if node.attempts.get(key) != attempt:
                return ()
            self._end(node, key)
            return (message,)

        if node.attempts.get(key) == attempt:
            self._tell(node, told, node.id)

    def _end(self, node: _Node, key: tuple[TaskId, int]) -> None:
        if node.attempts.pop(key, None) is not None:
            self._witness.ended(self.now, node.id, *key)

    def _connect(self, node: _Node, peer: NodeId, incarnation: int) -> None:
        """A line to a peer, and a subscription that the peer sees once it has come through."""
        node.links.connect(peer, incarnation, peer, self._local(node))
        self._at(self.now + self._delay_s(), partial(self._subscribe, node, peer, incarnation))

    def _subscribe(self, listener: _Node, peer: NodeId, incarnation: int) -> None:
        node = self._nodes.get(peer)
        if node is None or not node.alive or not listener.alive or listener.links.knows(peer) != incarnation:
            return
        node.listeners[listener.id] = None
        self._tell(node, lambda: self._subscribed(listener.id), node.id)

    def _disconnect(self, node: _Node, peer: NodeId) -> None:
        node.links.close(peer)
        former = self._nodes.get(peer)
        if former is not None:
            former.listeners.pop(node.id, None)

    # --- what befalls them ---------------------------------------------------------------------------------------

    def _cut(self, cut: Cut, there: bool) -> None:
        what = "is cut" if there else "heals"
        self._tell_trace("wire", f"{what}: {cut.way.name} of {' '.join(sorted(cut.side))}, bridge {cut.bridge}")
        if there:
            self._cuts[cut] = None
        else:
            del self._cuts[cut]

    def _copy(self, node: NodeId) -> None:
        self.disks[node].copy()

    def _trouble(self, trouble: Trouble, there: bool) -> None:
        disk = self.disks[trouble.node]
        if trouble.full:
            disk.full = there
        else:
            disk.broken = there

    def _crash(self, crash: Crash) -> None:
        node = self._nodes[crash.node]
        if not node.alive:
            return
        self.kill(crash.node)
        self.disks[crash.node].crash(crash.left, self._random)
        if crash.noticed:
            for peer in self._nodes.values():
                if peer.alive and peer.links.knows(crash.node) == node.incarnation:
                    self._at(self.now + self._delay_s(), partial(self._notice, peer, crash.node))

    def _notice(self, node: _Node, gone: NodeId) -> None:
        self._tell(node, lambda: self._disconnected(gone), node.id)

    def _come_back(self, node: NodeId) -> None:
        if not self._nodes[node].alive:
            self._reborn(node)

    def _pause(self, node: NodeId) -> None:
        self._nodes[node].paused = True
        self._tell_trace(node, "pauses")

    def _go_on(self, node: NodeId) -> None:
        """What came while it stood still is heard now, in its order; of the timers, those that are due then."""
        going = self._nodes[node]
        self._tell_trace(node, "goes on")
        going.paused = False
        backlog, going.backlog = going.backlog, []
        for happen in backlog:
            happen()
