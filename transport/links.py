"""The pure half of the transport: all that lies between an agent's messages and the frames on the wire.

It is told (a message to send, a frame that has come, the time) and answers with frames and deliveries; it owns no
socket and no clock but the stamps'. The endpoint over ZeroMQ and the simulated fleet both drive this very object.
Messages for one peer that are queued in the same turn share one packet; so do publications, in one bulletin.

    agent                     links                                   peer
      | send(n2, a); send(n2, b)   |                                    |
      |--------------------------->| flush: Packet(seq 1, [a, b]) ----->|
      |                            |<----- Packet(seq 1, ack 1, [c]) ---|
      |<-- (n2, c, cause n2:1.0) --|                                    |

An address whose owner is not known yet is asked first ("whoever is there, who are you?"): a packet to nobody in
particular carries nothing, and neither does the answer, so no message ever reaches a stranger. Whoever addresses a
former life of this node is told of the present one in the same way.

Who a sender says it is counts only as far as `vouches` says that whoever sent the frame may call itself so; without
keys (None) there is nothing to go by but the name.

Invariants: a packet is heard only by the node and the life (incarnation) it names; a PeerError leaves the state as it
was; the table holds at most LINKS_MAX links, and what waits in each is bounded by `link.py`.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec

from ..protocols.core import Message, NodeId, PeerError, ProtocolError
from .bulletins import BULLETIN_BYTES_MAX, Heard, Missed, Published, Pull
from .clock import HybridClock
from .codec import VERSION, Bulletin, Codec, Item, Items, Packet
from .link import LINK_ITEMS_MAX, Link, Route, next_items
from .repeats import RESEND_S, RESEND_S_MAX

LINKS_MAX = 4096
SILENCE_S_MAX = 30.0
"""A link nobody asked us for (a client's) is forgotten when it has not acknowledged for so long."""
BULLETIN_ENVELOPE_BYTES = 1024
DOUBTED_BULLETINS = 16
"""When something was lost, so many of the next bulletins are published anew unasked;"""
LOST_S = 5.0
ROUGH_BULLETINS = 128
"""when it is lost twice within LOST_S, so many."""
AGAIN_S = 0.002
AGAIN_TIMES = 2
"""So often, after so long and then ever later: a hole is only seen when something comes after it."""
AGAIN_MAX = 64
AGAIN_BYTES_MAX = 65_536
"""What is larger, or beyond so many at a time, is pulled by those who lack it."""


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Which item of which packet (or bulletin, "!") a message was: written `n2:17.0`, `n2:!5.0`, if anybody asks."""

    sender: NodeId
    seq: int
    index: int
    published: bool = False

    def __str__(self) -> str:
        return f"{self.sender}:{'!' if self.published else ''}{self.seq}.{self.index}"


Delivery: TypeAlias = tuple[NodeId, Message, Cause]
Outgoing: TypeAlias = tuple[Route, bytes]
"""The route None is the announcement channel."""


class Received(msgspec.Struct):
    """What one frame brought: messages in order, and those of its items that were nonsense."""

    deliveries: list[Delivery]
    refused: list[PeerError]


class Drop(NamedTuple):
    """A message that will not arrive: `reason` is "queue" (the link is full), "unknown" (no link to that name),
    "reborn" (the peer's life it was meant for is over), "silent" or "crowded" (the link was forgotten), "closed"."""

    to: NodeId
    message: str
    reason: str


@dataclass(slots=True)
class Counters:
    packets_sent: int = 0
    packets_received: int = 0
    bulletins_sent: int = 0
    bulletins_received: int = 0
    items_sent: int = 0
    items_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    repeats: int = 0
    duplicates: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    """By reason: those of `Drop`, and of frames "stranger" (not for this node and life), "stale", "garbage"."""


def _unheeded(drop: Drop) -> None:
    """Drops are counted anyhow."""


@dataclass(slots=True, eq=False)
class _Unnamed:
    """An address that is being asked who lives there."""

    alias: str
    route: Route
    queue: list[Message]
    ask_at: float
    ask_s: float = RESEND_S


class Links:
    """All links of one life of one node."""

    def __init__(
        self,
        node: NodeId,
        incarnation: int,
        codec: Codec,
        clock: HybridClock,
        *,
        on_drop: Callable[[Drop], None] = _unheeded,
        vouches: Callable[[NodeId, str | None], bool] | None = None,
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.counters = Counters()
        self._codec = codec
        self._clock = clock
        self._on_drop = on_drop
        self._vouches = vouches
        self._links: dict[NodeId, Link] = {}
        self._aliases: dict[str, Link] = {}
        self._unnamed: dict[str, _Unnamed] = {}
        self._published = Published()
        self._publications: deque[Item] = deque()
        self._again: list[tuple[float, int, bytes]] = []  # a heap: when to publish anew, how often it was, what
        self._rough = 0  # so many of the next bulletins are published more than once
        self._lost_on: Link | None = None  # where something was lost last,
        self._lost_at = -math.inf  # and when
        self._heard: dict[NodeId, Heard] = {}
        self._ready: list[Outgoing] = []
        self._dirty: dict[Link, None] = {}
        self._timed: dict[Link, None] = {}
        self._due = math.inf
        """No timer is earlier; the exact minimum is taken at each wake only."""

    # --- who there is --------------------------------------------------------------------------------------------

    def connect(self, node: NodeId, incarnation: int, route: Route, now: float) -> None:
        """The way to this life of `node`, from now on. A former life than the one we know is ignored."""
        if node == self.node:
            raise ProtocolError(f"{node} cannot be linked to itself: the agent hears itself without the wire")
        link = self._links.get(node)
        if link is None:
            link = self._add(node, incarnation, route, now, pinned=True)
        elif incarnation > link.incarnation:
            self._reborn(link, incarnation, now)
        elif incarnation < link.incarnation:
            return
        link.route = route
        link.pinned = True
        if link.resend_at is not None:
            link.repeat_all(now)
            self._watch(link, now)

    def open(self, alias: str, route: Route, now: float) -> None:
        """Ask who lives at `route`. What is sent to `alias` waits for the answer; then both names work."""
        if alias not in self._unnamed and alias not in self._aliases:
            self._unnamed[alias] = _Unnamed(alias, route, [], now)
            self._due = min(self._due, now)

    def reroute(self, former: Route, route: Route) -> None:
        """What went one way goes another from now on."""
        for link in self._links.values():
            if link.route == former:
                link.route = route
        for unnamed in self._unnamed.values():
            if unnamed.route == former:
                unnamed.route = route

    def close(self, node: NodeId) -> None:
        """Forget the link to a node, or what is known of an alias."""
        unnamed = self._unnamed.pop(node, None)
        if unnamed is not None:
            for message in unnamed.queue:
                self._drop(node, type(message).__name__, "closed")
        link = self._links.get(node) or self._aliases.get(node)
        if link is not None:
            self._forget(link, "closed")

    def name(self, alias: str) -> NodeId | None:
        """Who answers at an alias; None: nobody yet."""
        link = self._aliases.get(alias)
        return link.peer if link else None

    def knows(self, node: NodeId) -> int | None:
        """The incarnation of the peer that the link is with; None: there is no link."""
        link = self._links.get(node)
        return link.incarnation if link else None

    def room(self, to: NodeId) -> int:
        """How many messages the link still takes before it drops."""
        unnamed = self._unnamed.get(to)
        if unnamed is not None:
            return LINK_ITEMS_MAX - len(unnamed.queue)
        link = self._links.get(to) or self._aliases.get(to)
        return LINK_ITEMS_MAX - link.items if link else 0

    @property
    def longest(self) -> int:
        """How many messages wait, or are not acknowledged, at the peer where they are most."""
        return max([link.items for link in self._links.values()], default=0)

    @property
    def settled(self) -> bool:
        """Everybody has acknowledged what was sent to them."""
        return not any(link.items for link in self._links.values())

    def _add(self, node: NodeId, incarnation: int, route: Route, now: float, pinned: bool) -> Link:
        if len(self._links) >= LINKS_MAX:
            self._evict()
        link = self._links[node] = Link(node, incarnation, route, self._clock.tick(), now, pinned)
        return link

    def _evict(self) -> None:
        """The client link that was silent longest makes room, an idle one before one with messages under way."""
        clients = [link for link in self._links.values() if not link.pinned]
        if not clients:
            raise PeerError(f"this node already holds {LINKS_MAX} connections: no further peer is heard")
        self._forget(min(clients, key=lambda link: (link.items > 0, link.heard_at)), "crowded")

    def _forget(self, link: Link, reason: str) -> None:
        self._drop_all(link, reason)
        del self._links[link.peer]
        self._heard.pop(link.peer, None)
        self._dirty.pop(link, None)
        self._timed.pop(link, None)
        for alias in [alias for alias, named in self._aliases.items() if named is link]:
            del self._aliases[alias]

    def _reborn(self, link: Link, incarnation: int, now: float) -> None:
        self._drop_all(link, "reborn")
        link.restart(incarnation, self._clock.tick(), now)

    def _drop(self, to: NodeId, message: str, reason: str) -> None:
        self.counters.drops[reason] += 1
        self._on_drop(Drop(to, message, reason))

    def _drop_all(self, link: Link, reason: str) -> None:
        for sent in link.under_way:
            for name, _ in sent.items:
                self._drop(link.peer, name, reason)
        for name, _ in link.queue:
            self._drop(link.peer, name, reason)

    # --- outwards ------------------------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        """Queue a message for the next flush."""
        link = self._links.get(to)
        if link is None:
            unnamed = self._unnamed.get(to)
            if unnamed is not None:
                self._send_later(unnamed, message)
                return
            link = self._aliases.get(to)
            if link is None:
                self._drop(to, type(message).__name__, "unknown")
                return
        item = self._codec.encode_message(message)
        if link.push(item):
            self._dirty[link] = None
        else:
            self._drop(to, item[0], "queue")

    def datagram(self, to: NodeId, message: Message) -> None:
        """One message in a packet of its own and without a number: it waits for nothing, and nothing repeats it. It
        acknowledges as well as a bare packet would: that may be lost, too."""
        link = self._links.get(to)
        if link is None:
            self._drop(to, type(message).__name__, "unknown")
            return
        self._ready.append((link.route, self._seal(link, 0, (self._codec.encode_message(message),))))
        link.answered()
        self.counters.packets_sent += 1
        self.counters.items_sent += 1

    def _send_later(self, unnamed: _Unnamed, message: Message) -> None:
        if len(unnamed.queue) < LINK_ITEMS_MAX:
            unnamed.queue.append(message)
        else:
            self._drop(unnamed.alias, type(message).__name__, "queue")

    def publish(self, message: Message) -> None:
        """Queue a publication for the next flush."""
        item = self._codec.encode_message(message)
        size = len(item[1])
        if size > BULLETIN_BYTES_MAX - BULLETIN_ENVELOPE_BYTES:
            raise ProtocolError(f"a {item[0]} of {size} bytes is too large to publish: send it to those who need it")
        if len(self._publications) < LINK_ITEMS_MAX:
            self._publications.append(item)
        else:
            self._drop("", item[0], "queue")

    @property
    def published(self) -> int:
        """The number of the last bulletin; tell it in pings, so that a lost tail is found."""
        return self._published.last

    def flush(self, now: float) -> list[Outgoing]:
        """All frames that are to leave now: what was said, and what is due."""
        if self._due <= now:
            self._wake(now)
        if not (self._ready or self._publications or self._dirty):
            return []
        ready = self._ready
        self._ready = []
        if self._publications:
            self._flush_publications(ready, now)
        if self._dirty:
            for link in self._dirty:
                if link.queue:
                    self._flush_packets(link, ready, now)
                elif link.ack_at is not None:
                    link.told(now)
                    if link.ack_at is not None:
                        self._watch(link, link.ack_at)
                    ready.append((link.route, self._seal(link, 0, ())))
                    self.counters.packets_sent += 1
            self._dirty.clear()
        if ready:
            for _, frame in ready:
                self.counters.bytes_sent += len(frame)
        return ready

    def _flush_packets(self, link: Link, ready: list[Outgoing], now: float) -> None:
        counters = self.counters
        while link.queue:
            items = next_items(link.queue)
            link.seq += 1
            frame = self._seal(link, link.seq, items)
            link.sent(items, frame, now)
            ready.append((link.route, frame))
            counters.packets_sent += 1
            counters.items_sent += len(items)
        if link.resend_at is not None:
            self._watch(link, link.resend_at)

    def _seal(self, link: Link, seq: int, items: Items) -> bytes:
        return self._codec.encode(
            Packet(
                VERSION, self.node, self.incarnation, link.peer, link.incarnation,
                link.stream, seq, link.heard, link.ack, 0 if seq else self.published, self._clock.tick(), items,
            )
        )  # fmt: skip

    def _flush_publications(self, ready: list[Outgoing], now: float) -> None:
        while self._publications:
            items = next_items(self._publications)
            seq = self._published.last + 1
            stamp = self._clock.tick()
            frame = self._codec.encode(Bulletin(VERSION, self.node, self.incarnation, seq, stamp, items))
            self._published.keep(frame)
            ready.append((None, frame))
            self.counters.bulletins_sent += 1
            self.counters.items_sent += len(items)
            if self._rough:
                self._rough -= 1
                if len(frame) <= AGAIN_BYTES_MAX and len(self._again) < AGAIN_MAX:
                    self._publish_again(frame, 0, now)

    def _publish_again(self, frame: bytes, times: int, now: float) -> None:
        """In a moment: the wire is known to lose frames."""
        at = now + AGAIN_S * 2.0**times
        heapq.heappush(self._again, (at, times + 1, frame))
        self._due = min(self._due, at)

    def _lost(self, link: Link, now: float) -> None:
        """Something was lost on its way here, or from here. Where two links lose something, it is the wire: all do."""
        self._rough = max(self._rough, DOUBTED_BULLETINS)
        if now < self._lost_at + LOST_S:
            self._rough = ROUGH_BULLETINS
            if self._lost_on is not link:
                for other in self._links.values():
                    other.rough()
        self._lost_on, self._lost_at = link, now

    def _introduce(self, receiver: str, incarnation: int, route: Route) -> None:
        """Say who we are, or ask who is there (receiver ""); this begins no stream and changes nothing here."""
        stamp = self._clock.tick()
        frame = self._codec.encode(
            Packet(VERSION, self.node, self.incarnation, receiver, incarnation, 0, 0, 0, 0, 0, stamp, ())
        )
        self._ready.append((route, frame))
        self.counters.packets_sent += 1

    # --- inwards -------------------------------------------------------------------------------------------------

    def receive(self, frame: bytes, route: Route, now: float, key: str | None = None) -> Received:
        """A frame has come over `route` (None: the announcement channel), from the owner of `key` (None: from anybody).

        Raises PeerError on nonsense, and for a sender that is not who it says.
        """
        received = Received([], [])
        counters = self.counters
        counters.bytes_received += len(frame)
        try:
            if route is None:
                counters.bulletins_received += 1
                bulletin = self._codec.decode_bulletin(frame)
                if self._vouches is not None and not self._vouches(bulletin.sender, key):
                    raise _impostor(bulletin.sender, key)
                self._receive_bulletin(bulletin, received, now)
            else:
                counters.packets_received += 1
                packet = self._codec.decode_packet(frame)
                if self._vouches is not None and not self._vouches(packet.sender, key):
                    raise _impostor(packet.sender, key)
                self._receive_packet(packet, len(frame), route, received, now)
        except PeerError:
            counters.drops["garbage"] += 1
            raise
        return received

    def _receive_packet(self, packet: Packet, size: int, route: Route, received: Received, now: float) -> None:
        if packet.receiver != self.node or packet.receiver_incarnation != self.incarnation:
            self._mistaken(packet, route)
            return
        link = self._link_of(packet, route, now)
        if link is None:
            return
        self._clock.update(packet.hlc)
        link.heard_at = now
        if packet.stream < link.heard:
            if packet.stream:
                self.counters.drops["stale"] += 1
            return
        if packet.stream > link.heard and link.forgotten_by(packet):
            link.renumber(self._clock.tick())
            self._dirty[link] = None
        if packet.ack > link.acked:
            if link.acknowledge(packet.heard, packet.ack, now):
                self._lost(link, now)
            if link.resend_at is not None:
                self._watch(link, link.resend_at)
        elif link.says_again(packet) and link.missed(now) and link.resend_at is not None:
            self._lost(link, now)
            self._watch(link, link.resend_at)
        if packet.seq:
            self._take_in(link, packet, size, received, now)
        elif packet.items:
            if link.pinned:
                self._heard_published(link, packet.published, now)
            self._deliver(packet.items, link.peer, 0, received, now)

    def _take_in(self, link: Link, packet: Packet, size: int, received: Received, now: float) -> None:
        if packet.seq <= link.ack:
            self.counters.duplicates += 1
        for ready in link.accept(packet, size, now):
            self._deliver(ready.items, link.peer, ready.seq, received, now)
        ack_at = link.ack_at
        if ack_at is not None:
            if ack_at <= now:
                self._dirty[link] = None
            self._watch(link, ack_at)

    def _mistaken(self, packet: Packet, route: Route) -> None:
        """Not for this life of this node: whoever asks who we are, or takes us for our former self, is told."""
        if packet.sender == self.node:
            raise PeerError(f"a peer calls itself {self.node}, which is the name of this node")
        asks = not packet.receiver and not packet.items
        if asks or (packet.receiver == self.node and packet.receiver_incarnation < self.incarnation):
            self._introduce(packet.sender, packet.sender_incarnation, route)
        if not asks:
            self.counters.drops["stranger"] += 1

    def _link_of(self, packet: Packet, route: Route, now: float) -> Link | None:
        """The link this packet belongs to, made or reborn if need be; None: it comes from a former life."""
        sender = packet.sender
        if sender == self.node:
            raise PeerError(f"a peer calls itself {self.node}, which is the name of this node")
        if packet.seq and not packet.stream:
            raise PeerError(f"{sender} numbers a packet of no stream")
        link = self._links.get(sender)
        if link is None:
            if not packet.stream and all(unnamed.route != route for unnamed in self._unnamed.values()):
                return None
            link = self._add(sender, packet.sender_incarnation, route, now, pinned=False)
        elif packet.sender_incarnation != link.incarnation:
            if packet.sender_incarnation < link.incarnation:
                self.counters.drops["stale"] += 1
                return None
            self._reborn(link, packet.sender_incarnation, now)
            link.route = route
            link.pinned = False
        elif not link.pinned:
            link.route = route
        if self._unnamed:
            self._christen(link, route)
        return link

    def _christen(self, link: Link, route: Route) -> None:
        """An address we asked has answered: the alias now stands for this link, and what waited may go."""
        for alias, unnamed in list(self._unnamed.items()):
            if unnamed.route == route:
                del self._unnamed[alias]
                self._aliases[alias] = link
                if not link.pinned:
                    link.route = route
                    link.pinned = True
                for message in unnamed.queue:
                    self.send(alias, message)

    def _receive_bulletin(self, bulletin: Bulletin, received: Received, now: float) -> None:
        sender = bulletin.sender
        if sender == self.node:
            raise PeerError(f"a peer calls itself {self.node}, which is the name of this node")
        link = self._links.get(sender)
        if link is None:
            self.counters.drops["stranger"] += 1
            return
        heard = self._heard.get(sender)
        known = max(link.incarnation, heard.incarnation if heard else 0)
        if bulletin.sender_incarnation < known:
            self.counters.drops["stale"] += 1
            return
        heard = self._hearing(sender, bulletin.sender_incarnation, bulletin.seq)
        if not heard.hear(bulletin.seq, now):
            self.counters.duplicates += 1
            return
        self._pull_later(heard)
        self._clock.update(bulletin.hlc)
        self._deliver(bulletin.items, sender, bulletin.seq, received, now, published=True)

    def _heard_published(self, link: Link, seq: int, now: float) -> None:
        """This is the last it has published: what we lost of it is asked for."""
        heard = self._hearing(link.peer, link.incarnation, seq + 1)
        heard.told(seq, now)
        self._pull_later(heard)

    def _hearing(self, node: NodeId, incarnation: int, first: int) -> Heard:
        """What has come of the bulletins of this life, or a later one, which for us begins with the number `first`."""
        heard = self._heard.get(node)
        if heard is None or heard.incarnation < incarnation:
            heard = self._heard[node] = Heard(incarnation, first)
        return heard

    def _pull_later(self, heard: Heard) -> None:
        if heard.pull_at is not None:
            self._due = min(self._due, heard.pull_at)

    def _deliver(
        self, items: Items, sender: NodeId, seq: int, received: Received, now: float, published: bool = False
    ) -> None:
        index = 0
        decode = self._codec.decode_message
        for item in items:
            try:
                message = decode(item)
                kind = type(message)
                if kind is Pull or kind is Missed:
                    self._mend(message, sender, published, received, now)  # type: ignore[arg-type]
                else:
                    received.deliveries.append((sender, message, Cause(sender, seq, index, published)))
            except PeerError as error:
                self.counters.drops["garbage"] += 1
                received.refused.append(error)
            index += 1
        self.counters.items_received += index

    def _mend(self, message: Pull | Missed, sender: NodeId, published: bool, received: Received, now: float) -> None:
        """The transport's own two messages, which close holes in what was published."""
        if published:
            raise PeerError(f"{sender} publishes a {type(message).__name__}, which belongs on a link")
        if isinstance(message, Pull):
            if (link := self._links.get(sender)) is not None:
                self._lost(link, now)
            for frame in self._published.between(message.first, message.last):
                self.send(sender, Missed(frame))
            return
        bulletin = self._codec.decode_bulletin(message.frame)
        if bulletin.sender != sender:
            raise PeerError(f"{sender} passes on what {bulletin.sender} published")
        self._receive_bulletin(bulletin, received, now)

    # --- time ----------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When to flush, at the latest; to do so for nothing is cheap. None: nothing is waited for."""
        return None if self._due == math.inf else self._due

    def _watch(self, link: Link, at: float) -> None:
        self._timed[link] = None
        if at < self._due:
            self._due = at

    def _wake(self, now: float) -> None:
        """Acknowledge, repeat, ask and pull what is due."""
        due = math.inf
        for link in list(self._timed):
            link_due = self._wake_link(link, now)
            if link_due < due:
                due = link_due
        for unnamed in self._unnamed.values():
            if unnamed.ask_at <= now:
                self._introduce("", 0, unnamed.route)
                unnamed.ask_at = now + unnamed.ask_s
                unnamed.ask_s = min(2 * unnamed.ask_s, RESEND_S_MAX)
            due = min(due, unnamed.ask_at)
        while self._again and self._again[0][0] <= now:
            _, times, frame = heapq.heappop(self._again)
            self._ready.append((None, frame))
            self.counters.repeats += 1
            if times < AGAIN_TIMES:
                self._publish_again(frame, times, now)
        if self._again:
            due = min(due, self._again[0][0])
        self._due = due
        for node, heard in self._heard.items():
            if heard.pull_at is None:
                continue
            if heard.pull_at > now:
                self._due = min(self._due, heard.pull_at)
            elif (pull := heard.missing()) is not None:
                self.send(node, pull)

    def _wake_link(self, link: Link, now: float) -> float:
        """Do what is due on one link; when its next timer runs out (infinity: it has none)."""
        if link.ack_at is not None and link.ack_at <= now:
            self._dirty[link] = None
        if link.under_way and not link.pinned and now - link.heard_at > SILENCE_S_MAX:
            self._forget(link, "silent")
            return math.inf
        for frame in link.overdue(now):
            self._ready.append((link.route, frame))
            self.counters.repeats += 1
        due = math.inf if link.resend_at is None else link.resend_at
        if link.ack_at is not None and link.ack_at > now:
            due = min(due, link.ack_at)
        if due == math.inf:
            del self._timed[link]
        return due


def _impostor(sender: NodeId, key: str | None) -> PeerError:
    return PeerError(f"a peer calls itself {sender}, which is not its key's name: its key is {key}")
