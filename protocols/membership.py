"""Who is there: a newcomer asks one living agent, learns of all others, and is missed within seconds when it vanishes.

    newcomer                       any agent                        the others
      | Hello(me) ----------------> |
      | <------- Members(contacts)  |
      | Hello(me) --------------------------------------------------> |   to each it did not know
      |                             | <--- Alive(digest) published by each, every second
      |                             | Ping -> Pong: to one who has been silent, or whose connection has dropped

Everything heard from a peer counts as a sign of life. A dropped connection is a hint, never a verdict: it only shortens
the wait for the next sign. A peer is *up* for the other roles when it is known and hears what we publish. Digests of
the membership travel with every Alive; whoever sees another one asks that peer for its contacts, so that all views
become equal. A peer that was given up and is heard again is up again; one that has left comes back as another life.

Invariant: this node is never in its own table; a contact is only replaced by one of a higher incarnation.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from .core import (
    Address,
    Amounts,
    Connect,
    Count,
    Disconnect,
    Effect,
    Event,
    Local,
    Message,
    NodeId,
    PeerDown,
    PeerUp,
    ProtocolError,
    Publish,
    Seconds,
    Send,
    Speed,
    Tag,
)
from .load import SLOTS_MAX

MEMBERS_MAX = 4_096
ALIVE_EVERY_S = 1.0
WATCH_EVERY_S = 0.5
"""How often the silence of the others is looked at."""
SUSPECT_S = 1.5
"""Silent for so long, a peer is pinged."""
DEAD_S = 2.5
"""Silent for so long, it counts as gone."""
HINT_S = 0.5
"""Silent for so long after its connection dropped, it counts as gone."""
FORGET_S = 3600.0
"""So long after it was given up, its connection is let go: until then it is found again when a cut has healed."""
FORGET_LEFT_S = 60.0
"""The same for one who left in peace."""
PAUSE_S = 1.0
"""Woken later than this, it was we who slept: nobody's silence counts."""
COMPARE_S = 1.0
"""How often one peer with another view is asked for its contacts."""
TAGS_TOLD_MAX = 64
ESTIMATES_TOLD_MAX = 16
"""Of the kinds observed last."""


class Presence(enum.StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


class Contact(msgspec.Struct, frozen=True, array_like=True):
    """Where a node can be reached, and what it declares of itself."""

    node: NodeId
    incarnation: Count
    address: Address
    announcements: Address
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)] = 1
    speed: Speed = 1.0


class Estimate(msgspec.Struct, frozen=True, array_like=True):
    """What a node has learnt of a kind: after so many `observations` it takes `factor` times its nominal seconds.

    `kind` may be finer than a task's kind: "command python train.py" is what such tasks are like.
    """

    kind: Annotated[str, Meta(min_length=1, max_length=256)]
    observations: Count
    factor: Annotated[float, Meta(gt=0.0, le=1e15)]
    seconds: Seconds  # the last one that was observed


class Status(msgspec.Struct, frozen=True, array_like=True):
    """What a node tells of itself with every sign of life: what it is and has, how busy it is, what it has learnt."""

    tags: Annotated[tuple[Tag, ...], Meta(max_length=TAGS_TOLD_MAX)] = ()
    amounts: Amounts = ()
    running: Count = 0
    waiting: Count = 0
    queued_s: Seconds = 0.0
    draining: bool = False
    estimates: Annotated[tuple[Estimate, ...], Meta(max_length=ESTIMATES_TOLD_MAX)] = ()


NO_STATUS = Status()


class Hello(Message, frozen=True, array_like=True):
    """Here I am; whom do you know?"""

    contact: Contact


class Members(Message, frozen=True, array_like=True):
    """The living as the sender sees them, itself included."""

    contacts: Annotated[tuple[Contact, ...], Meta(min_length=1, max_length=MEMBERS_MAX)]


class Alive(Message, frozen=True, array_like=True):
    """Published; `digest` is the CRC-32 of the sender's sorted view of the living."""

    digest: Count
    status: Status = NO_STATUS


class Ping(Message, frozen=True, array_like=True):
    """Are you there?"""


class Pong(Message, frozen=True, array_like=True):
    """I am."""


class Leave(Message, frozen=True, array_like=True):
    """Published by one who goes in peace."""


class Subscribed(Local, frozen=True, array_like=True):
    """From now on this peer hears what we publish."""

    node: NodeId


class Disconnected(Local, frozen=True, array_like=True):
    """The connection to this peer has dropped."""

    node: NodeId


MESSAGES: tuple[type[Message], ...] = (Hello, Members, Alive, Ping, Pong, Leave)


class PeerState(Event, frozen=True, kw_only=True):
    """What this node now thinks of a peer."""

    name: ClassVar[str] = "peer.state"
    peer: NodeId
    state: Presence
    address: str
    reason: str


EVENTS: tuple[type[Event], ...] = (PeerState,)


class _Peer:
    __slots__ = ("contact", "dropped", "heard", "pinged", "state", "status", "subscribed", "up")

    def __init__(self, contact: Contact, now: float) -> None:
        self.contact = contact
        self.state = Presence.ALIVE
        self.status = NO_STATUS
        self.heard = now
        self.dropped: float | None = None  # when its connection dropped, if nothing was heard since
        self.pinged = 0.0
        self.subscribed = False
        self.up = False

    @property
    def living(self) -> bool:
        return self.state in (Presence.ALIVE, Presence.SUSPECT)


class Membership:
    """The table of peers. Tells the other roles PeerUp and PeerDown.

    `status` is what this node tells of itself; `told` hears what a living peer does, NO_STATUS when it is gone.
    """

    def __init__(
        self,
        contact: Contact,
        now: float,
        status: Callable[[], Status] = lambda: NO_STATUS,
        told: Callable[[NodeId, Status], None] = lambda node, status: None,
    ) -> None:
        self.contact = contact
        self._status = status
        self._told = told
        self._peers: dict[NodeId, _Peer] = {}
        self._subscribed: set[NodeId] = set()  # listeners not known yet
        self._alive_at = now
        self._watch_at = now
        self._woken = now
        self._compared: float = now
        self._digest = self._view_digest()

    @property
    def members(self) -> list[tuple[Contact, Presence]]:
        """All that is known, this node included, by name."""
        known = [(peer.contact, peer.state) for peer in self._peers.values()]
        return sorted([*known, (self.contact, Presence.ALIVE)], key=lambda member: member[0].node)

    @property
    def digest(self) -> int:
        """The checksum of this node's view of the living: equal where the views are."""
        return self._digest

    def status(self, node: NodeId) -> Status:
        """What it told of itself last."""
        return self._status() if node == self.contact.node else self._peers[node].status

    def ready(self, node: NodeId) -> bool:
        """It is this node, or it is up: alive, and hears what we publish."""
        return node == self.contact.node or (node in self._peers and self._peers[node].up)

    def join(self, alias: NodeId) -> Sequence[Effect]:
        """Ask the agent behind this address for the others."""
        return [Send(alias, Hello(self.contact))]

    def leave(self) -> Sequence[Effect]:
        """Tell all that we go."""
        return [Publish(Leave())]

    def heard(self, node: NodeId, now: float) -> Sequence[Effect]:
        """Anything at all came from this peer."""
        peer = self._peers.get(node)
        if peer is None or peer.state is Presence.LEFT:
            return ()
        peer.heard = now
        if peer.state is Presence.ALIVE and peer.dropped is None:
            return ()
        peer.dropped = None
        return self._judge(peer, Presence.ALIVE, "heard again")

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Hello(contact):
                return self._hello(contact, sender, now)
            case Members(contacts):
                return [effect for contact in contacts for effect in self._meet(contact, now)]
            case Alive(digest, status):
                if (peer := self._peers.get(sender)) is not None:
                    peer.status = status
                    self._told(sender, status)
                return self._compare(digest, sender, now)
            case Ping():
                return [Send(sender, Pong())]
            case Pong():
                return ()
            case Leave():
                leaver = self._peers.get(sender)
                return self._judge(leaver, Presence.LEFT, "left") if leaver else ()
            case Subscribed(node):
                return self._subscribe(node)
            case Disconnected(node):
                return self._disconnected(node, now)
        raise ProtocolError(f"a membership is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return self._watch_at

    def wake(self, now: float) -> Sequence[Effect]:
        if now < self._watch_at:
            return ()
        if now - self._woken > PAUSE_S:
            for peer in self._peers.values():
                if peer.living:
                    peer.heard = now
                    peer.dropped = now if peer.dropped is not None else None
        self._woken = now
        self._watch_at = now + WATCH_EVERY_S
        effects: list[Effect] = []
        if now >= self._alive_at:
            self._alive_at = now + ALIVE_EVERY_S
            effects.append(Publish(Alive(self._digest, self._status())))
        for node in sorted(self._peers):
            effects += self._watch(self._peers[node], now)
        return effects

    # -- meeting

    def _hello(self, contact: Contact, sender: NodeId, now: float) -> list[Effect]:
        if contact.node != sender or contact.node == self.contact.node:
            return []  # nobody introduces another, or us to ourselves
        effects = self._meet(contact, now)
        living = tuple(member for member, state in self.members if state in (Presence.ALIVE, Presence.SUSPECT))
        return [*effects, Send(sender, Members(living[:MEMBERS_MAX]))]

    def _meet(self, contact: Contact, now: float) -> list[Effect]:
        """A contact we did not have: connect, and introduce ourselves."""
        if contact.node == self.contact.node:
            return []
        known = self._peers.get(contact.node)
        if known is not None and known.contact.incarnation >= contact.incarnation:
            return []
        effects: list[Effect] = []
        if known is not None:
            effects += self._judge(known, Presence.DEAD, "started anew")
        elif len(self._peers) >= MEMBERS_MAX:
            gone = min((peer for peer in self._peers.values() if not peer.living), key=_by_heard, default=None)
            if gone is None:
                return []
            effects += self._forget(gone)
        peer = _Peer(contact, now)
        peer.subscribed = known is not None and known.subscribed  # it may have subscribed before it said hello
        self._peers[contact.node] = peer
        effects += [
            Connect(contact.node, contact.incarnation, contact.address, contact.announcements),
            Send(contact.node, Hello(self.contact)),
            self._state(peer, "met"),
        ]
        if contact.node in self._subscribed:
            self._subscribed.discard(contact.node)
            peer.subscribed = True
        self._digest = self._view_digest()
        return effects + self._raise(peer)

    def _subscribe(self, node: NodeId) -> list[Effect]:
        peer = self._peers.get(node)
        if peer is None:
            if len(self._subscribed) < MEMBERS_MAX:
                self._subscribed.add(node)
            return []
        peer.subscribed = True
        return self._raise(peer)

    def _raise(self, peer: _Peer) -> list[Effect]:
        if peer.up or not peer.subscribed or not peer.living:
            return []
        peer.up = True
        return [Send(self.contact.node, PeerUp(peer.contact.node))]

    def _compare(self, digest: int, sender: NodeId, now: float) -> list[Effect]:
        """One who sees other members than we do is asked for them, not more than one per period."""
        if digest == self._digest or now - self._compared < COMPARE_S or sender not in self._peers:
            return []
        self._compared = now
        return [Send(sender, Hello(self.contact))]

    # -- missing

    def _disconnected(self, node: NodeId, now: float) -> list[Effect]:
        peer = self._peers.get(node)
        if peer is None or not peer.living:
            return []
        peer.dropped = now
        peer.pinged = now
        return [*self._judge(peer, Presence.SUSPECT, "its connection dropped"), Send(node, Ping())]

    def _watch(self, peer: _Peer, now: float) -> list[Effect]:
        silent = now - peer.heard
        if not peer.living:
            return self._forget(peer) if silent > (FORGET_S if peer.state is Presence.DEAD else FORGET_LEFT_S) else []
        if silent > DEAD_S or (peer.dropped is not None and now - peer.dropped > HINT_S):
            return self._judge(peer, Presence.DEAD, f"silent for {silent:.1f} s")
        if silent > SUSPECT_S and now - peer.pinged > SUSPECT_S / 2:
            peer.pinged = now
            return [*self._judge(peer, Presence.SUSPECT, "silent"), Send(peer.contact.node, Ping())]
        return []

    def _forget(self, peer: _Peer) -> list[Effect]:
        """Let go of one that was given up. If it only slept, it listens to us still, and will not say so again."""
        node = peer.contact.node
        del self._peers[node]
        if peer.subscribed and len(self._subscribed) < MEMBERS_MAX:
            self._subscribed.add(node)
        return [Disconnect(node)]

    def _judge(self, peer: _Peer, state: Presence, reason: str) -> list[Effect]:
        if peer.state is state:
            return []
        peer.state = state
        effects: list[Effect] = [self._state(peer, reason)]
        if peer.living:
            effects += self._raise(peer)
        else:
            self._told(peer.contact.node, NO_STATUS)
        if not peer.living and peer.up:
            peer.up = False
            effects.append(Send(self.contact.node, PeerDown(peer.contact.node)))
        self._digest = self._view_digest()
        return effects

    def _state(self, peer: _Peer, reason: str) -> PeerState:
        contact = peer.contact
        return PeerState(peer=contact.node, state=peer.state, address=contact.address, reason=reason)

    def _view_digest(self) -> int:
        living = sorted(
            f"{contact.node}/{contact.incarnation}"
            for contact, state in self.members
            if state in (Presence.ALIVE, Presence.SUSPECT)
        )
        return zlib.crc32("\n".join(living).encode())


def _by_heard(peer: _Peer) -> tuple[float, NodeId]:
    return (peer.heard, peer.contact.node)
