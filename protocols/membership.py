"""Who is there: SWIM with Lifeguard, over the table of members.

    newcomer                 any agent                          the others
      | Join(me) ------------> |                                    |
      | <--- Members(contacts) | Gossip(newcomer is alive) -------->|  and on, three at a time
      | Hello(me) --------------------------------------------------> |  to each it learns of

    a                                       b                          n4 (killed)
      | (n4's connection drops, or a probe of it is missed)
      | n4 is suspect ------- Gossip ------>| so it is to me: confirmed
      | Ping(n4 is suspect) --------------------------------------------> x   alive, it would refute
      | nobody refutes until the deadline: n4 is dead

Sources: those of `probes.py` (who does not answer), `suspicion.py` (how long it may refute), `local_health.py` (whose
fault it is), `rumours.py` (how the others learn of it), `swim_words.py`. This file is the table, and what changes it.

What is known of a member is its standing (life, refutations, presence), and of two standings the greater holds; so it
matters neither in which order rumours come, nor how often, nor from whom. Only the member itself counts its refutations
up. That somebody is dead is believed of a rumour; in an exchange of whole views, which may be old, it is a doubt only,
so that the halves of a healed fleet do not bury each other. The dead are still pinged now and then, with the news that
they count as dead: one that lives refutes it, and the exchange that follows brings in all it knows.

A peer is *up* for the other roles when it lives and hears what we publish. A dropped connection is a hint, no verdict.

Invariants: this node is never in its own table; standings only rise; no live node stays dead; when nothing happens, a
node sends one ping per period, one comparison per second, and nothing to all.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from random import Random

from .core import (
    Connect,
    Datagram,
    Disconnect,
    Effect,
    Local,
    Message,
    NodeId,
    PeerDown,
    PeerUp,
    ProtocolError,
    Publish,
    Send,
)
from .local_health import LocalHealth
from .probes import HELPERS, Probes
from .rumours import FANOUT, RumourMill, newer, retellings
from .suspicion import PERIOD_S, Suspicion
from .swim_words import (
    LIVING,
    MEMBERS_MAX,
    NO_STATUS,
    RUMOURS_MAX,
    Ack,
    Compare,
    Contact,
    Delta,
    Digest,
    Disconnected,
    Entry,
    Gossip,
    Hello,
    Join,
    Lag,
    Leave,
    Member,
    Members,
    Nack,
    PeerState,
    Ping,
    PingReq,
    Presence,
    Report,
    Rumour,
    Standing,
    Status,
    Subscribed,
    standing_of,
)

GOSSIP_S = 0.02
"""News of so long share a message."""
COMPARE_S = 1.0
COMPARE_JITTER_S = 0.5
DEAD_EACH = 4
"""Instead of every fourth comparison one of the dead is pinged."""
REPORT_S = 1.0
ALONG_S = 0.2
"""What is due so soon after a ping is done along with it: a node that is idle is woken for its pings only."""
REPORT_SOON_S = 0.1
"""After somebody new has begun to listen."""
CONFRONT_S = 0.5
"""So often, at most, one who is heard although it does not count as alive is told so."""
PAUSE_S = 0.1
"""Woken later than this, it was we who slept."""
FORGET_S = 3600.0
"""So long after it was given up, its connection is let go: until then it is found again when a cut has healed."""
FORGET_LEFT_S = 60.0
"""The same for one who left in peace."""
MISSED_S = 4.0
"""About how long a death can go unnoticed in a fleet of tens."""
LISTENS: tuple[type[Local], ...] = (Subscribed, Disconnected, Lag)
"""What it is told of its own node."""


class _Peer:
    __slots__ = (
        "confronted", "contact", "living", "refuted", "since", "state", "status", "subscribed", "up", "version",
    )  # fmt: skip

    def __init__(self, contact: Contact, refuted: int, now: float) -> None:
        self.contact = contact
        self.refuted = refuted
        self.become(Presence.ALIVE, now)
        self.confronted = -math.inf
        self.status = NO_STATUS
        self.version = 0
        self.subscribed = False
        self.up = False

    def become(self, state: Presence, now: float) -> None:
        self.state = state
        self.living = state in LIVING
        self.since = now

    @property
    def standing(self) -> Standing:
        return standing_of(self.contact.incarnation, self.refuted, self.state)

    def rumour(self, by: NodeId | None = None) -> Rumour:
        return Rumour(self.contact, self.refuted, self.state, by)

    @property
    def entry(self) -> Entry:
        return Entry(self.contact.node, self.contact.incarnation, self.refuted, self.state, self.version)


class Membership:
    """The table of peers. Tells the other roles PeerUp and PeerDown.

    `status` is what this node tells of itself; `told` hears what a living peer does, NO_STATUS when it is gone.
    `random` chooses whom to ping, to ask and to tell. `answered` hears who has answered to a ping, after how long.
    """

    def __init__(
        self,
        contact: Contact,
        now: float,
        status: Callable[[], Status] = lambda: NO_STATUS,
        told: Callable[[NodeId, Status], None] = lambda node, status: None,
        random: Random | None = None,
        answered: Callable[[NodeId, float], None] = lambda node, round_trip_s: None,
    ) -> None:
        self.contact = contact
        self.health = LocalHealth(now)
        self._node = contact.node
        self._refuted = 0
        self._leaving = False
        self._status = status
        self._told = told
        self._random = random if random is not None else Random(contact.node)
        self._peers: dict[NodeId, _Peer] = {}
        self._suspicions: dict[NodeId, Suspicion] = {}  # of those who are suspect
        self._subscribed: set[NodeId] = set()  # listeners not known yet
        self._mill: RumourMill[Rumour] = RumourMill()
        self._probes = Probes(self.health, self._rumours, self._helpers, answered)
        self._turn: list[NodeId] = []  # who is pinged next, from its end
        self._version = 0
        self._reported = NO_STATUS
        self._newly_heard = True
        self._compared = 0
        self._ping_at = now
        self._report_at = now
        self._compare_at = now + self._jittered_s()
        self._gossip_at = math.inf
        self._due = now

    # -- what is known

    @property
    def members(self) -> list[tuple[Contact, Presence]]:
        """All that is known, this node included, by name."""
        known = [(peer.contact, peer.state) for peer in self._peers.values()]
        return sorted([*known, (self.contact, Presence.ALIVE)], key=lambda member: member[0].node)

    def contact_of(self, node: NodeId) -> Contact:
        """Where a known node can be reached, and what it declares."""
        return self.contact if node == self.contact.node else self._peers[node].contact

    def life_of(self, node: NodeId) -> int:
        """The incarnation in which a node is known; 0: it is not."""
        peer = self._peers.get(node)
        return peer.contact.incarnation if peer is not None else 0

    @property
    def refuted(self) -> int:
        """How often this life of this node had to say that it lives."""
        return self._refuted

    def status(self, node: NodeId) -> Status:
        """What it told of itself last."""
        return self._status() if node == self._node else self._peers[node].status

    def ready(self, node: NodeId) -> bool:
        """It is this node, or it is up: it lives, and hears what we publish."""
        return node == self._node or (node in self._peers and self._peers[node].up)

    # -- verbs

    def join(self, alias: NodeId) -> Sequence[Effect]:
        """Ask the agent behind this address for the others."""
        return [Send(alias, Join(self.contact))]

    def leave(self) -> Sequence[Effect]:
        """Tell all that we go."""
        self._leaving = True
        self._due = math.inf
        gone = Gossip((Rumour(self.contact, self._refuted, Presence.LEFT),))
        return [Publish(Leave(self._refuted)), *(Datagram(node, gone) for node in self._some(FANOUT))]

    def heard(self, node: NodeId, now: float) -> Sequence[Effect]:
        """Anything at all came from this peer. If it does not count as alive it should know, and refute."""
        peer = self._peers.get(node)
        if peer is None or peer.state is Presence.ALIVE or peer.state is Presence.LEFT or self._leaving:
            return ()
        return self._confront(peer, now)

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        effects = self._receive(message, sender, now)
        self._plan()
        return effects

    def _receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Ping(number, rumours):
                effects = self._hear(rumours, now)
                return effects if self._leaving else [*effects, Datagram(sender, Ack(number, self._rumours(sender)))]
            case Ack(number, rumours):
                self._ping_at = min(self._ping_at, now + PERIOD_S)  # in doubt it waits for answers, not after them
                return [*self._hear(rumours, now), *self._probes.acked(number, sender, now)]
            case PingReq(_, _, _, rumours):
                return [*self._hear(rumours, now), *self._probes.asked(message, sender, now)]
            case Nack(number, rumours):
                self._probes.nacked(number, sender)
                return self._hear(rumours, now)
            case Gossip(rumours):
                return self._hear(rumours, now)
            case Compare(digest):
                return [] if digest == self.digest else [Send(sender, Digest(self._entries()))]
            case Digest(entries):
                return self._differ(entries, sender)
            case Delta():
                return self._learn(message, sender, now)
            case Report(version, status):
                return self._reported_by(sender, version, status)
            case Join(contact):
                return self._joined(contact, sender, now)
            case Members(contacts):
                effects = [effect for contact in contacts for effect in self._merge(_alive(contact), now)]
                return [*effects, Datagram(sender, Compare(self.digest))]
            case Hello(contact):
                return self._merge(_alive(contact), now) if contact.node == sender else []
            case Leave(refuted):
                return self._left(sender, refuted, now)
            case Subscribed(node):
                return self._subscribe(node, now)
            case Disconnected(node):
                return self._disconnected(node, now)
            case Lag(seconds):
                self.health.lagged(seconds, now)
                return []
        raise ProtocolError(f"a membership is not told {type(message).__name__}")

    # -- time

    @property
    def deadline(self) -> float | None:
        return None if self._due == math.inf else self._due

    def _plan(self) -> None:
        """When to be woken next."""
        if self._leaving:
            return
        due = min(self._ping_at, self._report_at, self._compare_at, self._gossip_at)
        probe = self._probes.deadline
        if probe is not None and probe < due:
            due = probe
        if self._suspicions:
            due = min(due, *[suspicion.deadline for suspicion in self._suspicions.values()])
        self._due = due

    def wake(self, now: float) -> Sequence[Effect]:
        if now < self._due:
            return ()
        if now - self._due > PAUSE_S:
            self._excuse(now - self._due, now)
        self.health.pass_to(now)
        effects, missed = self._probes.wake(now)
        for node in missed:
            effects += self._doubt(node, "no answer to a ping, nor to those of others", now)
        for node in [node for node, doubt in self._suspicions.items() if doubt.deadline <= now]:
            effects += self._give_up(node, now)
        soon = now
        if now >= self._ping_at:
            self._ping_at = now + self.health.period_s
            effects += self._ping_next(now)
            soon = now + ALONG_S
        if soon >= self._compare_at:
            self._compare_at = max(now, self._compare_at) + self._jittered_s()
            effects += self._compare(now)
            effects += self._forget_old(now)
        if soon >= self._report_at:
            self._report_at = max(now, self._report_at) + REPORT_S
            effects += self._report()
        if now >= self._gossip_at:
            effects += self._gossip(now)
        self._plan()
        return effects

    def _excuse(self, seconds: float, now: float) -> None:
        """We slept: what would have refuted a doubt may be waiting to be read."""
        self.health.lagged(seconds, now)
        self._probes.excuse(seconds)
        for suspicion in self._suspicions.values():
            suspicion.excuse(seconds)

    # -- pings

    def _ping_next(self, now: float) -> list[Effect]:
        """Each in turn, in an order of our own that changes with every round (SWIM, section 4.3)."""
        for _ in range(2):
            while self._turn:
                peer = self._peers.get(self._turn.pop())
                if peer is not None and peer.living and peer.contact.node not in self._probes:
                    return self._probes.ping(peer.contact.node, now)
            self._turn = self._living()
            self._random.shuffle(self._turn)
        return []

    def _helpers(self, target: NodeId) -> list[NodeId]:
        others = [node for node, peer in sorted(self._peers.items()) if peer.state is Presence.ALIVE and node != target]
        return self._random.sample(others, min(len(others), HELPERS))

    def _disconnected(self, node: NodeId, now: float) -> list[Effect]:
        """A hint: ask, every way there is, whether it lives."""
        peer = self._peers.get(node)
        if peer is None or not peer.living or self._leaving:
            return []
        return [*self._doubt(node, "its connection dropped", now), *self._probes.ping_every_way(node, now)]

    def _confront(self, peer: _Peer, now: float) -> list[Effect]:
        """Tell it what is said of it."""
        if now - peer.confronted < CONFRONT_S:
            return []
        peer.confronted = now
        return self._probes.confront(peer.contact.node)

    def _doubt(self, node: NodeId, reason: str, now: float) -> list[Effect]:
        """We have reason of our own to suspect it."""
        peer = self._peers.get(node)
        if peer is None or not peer.living:
            return []
        return self._merge(Rumour(peer.contact, peer.refuted, Presence.SUSPECT, self._node), now, reason)

    def _give_up(self, node: NodeId, now: float) -> list[Effect]:
        peer, suspicion = self._peers[node], self._suspicions[node]
        by = ", ".join(sorted(suspicion.accusers)) or "hearsay"
        waited_s = now - suspicion.since
        dead = Rumour(peer.contact, peer.refuted, Presence.DEAD, self._node)
        return self._merge(dead, now, f"suspected by {by}, not refuted for {waited_s:.1f} s")

    # -- rumours

    def _hear(self, rumours: Sequence[Rumour], now: float) -> list[Effect]:
        return [effect for rumour in rumours for effect in self._merge(rumour, now)] if rumours else []

    def _merge(self, rumour: Rumour, now: float, reason: str = "") -> list[Effect]:
        """Of two standings the greater holds. What is news is told on."""
        node = rumour.contact.node
        if node == self._node:
            return self._spoken_of(rumour, now)
        peer = self._peers.get(node)
        if peer is None or rumour.contact.incarnation > peer.contact.incarnation:
            return self._meet(rumour, peer, now) if rumour.state in LIVING else []
        said, known = rumour.standing, peer.standing
        if said == known and rumour.by is not None and (suspicion := self._suspicions.get(node)) is not None:
            if suspicion.confirm(rumour.by):
                self._mill.put_beside(node, rumour)
                self._gossip_soon(now)
            return []
        if said <= known:
            return []
        peer.refuted = rumour.refuted
        self._mill.put(node, rumour)
        self._gossip_soon(now)
        return self._judge(peer, rumour.state, rumour.by, reason or _reason(rumour), now)

    def _spoken_of(self, rumour: Rumour, now: float) -> list[Effect]:
        """Something is said of us. If it is wrong, our next refutation is greater than it."""
        if self._leaving or rumour.contact.incarnation > self.contact.incarnation:
            return []  # of another who bears our name, later than we
        mine = Rumour(self.contact, self._refuted, Presence.ALIVE)
        if rumour.standing > mine.standing:
            self._refuted = rumour.refuted + 1
            self.health.worse()
        if rumour.state is not Presence.ALIVE:
            self._mill.put(self._node, Rumour(self.contact, self._refuted, Presence.ALIVE))
            self._gossip_soon(now)
        return []

    def _gossip_soon(self, now: float) -> None:
        self._gossip_at = min(self._gossip_at, now + GOSSIP_S)

    def _gossip(self, now: float) -> list[Effect]:
        """Tell a few what is new; most of it reaches all within a few of these steps."""
        self._gossip_at = math.inf
        told = [(node, self._rumours(node)) for node in self._some(FANOUT)]
        effects: list[Effect] = [Datagram(node, Gossip(rumours)) for node, rumours in told if rumours]
        if effects and self._mill.fresh:
            self._gossip_soon(now)  # there was no room for all of it
        return effects

    def _rumours(self, to: NodeId) -> tuple[Rumour, ...]:
        """What rides along to this node; first of all what is said of itself, if that is not good."""
        accused = self._peers.get(to)
        doubt = () if accused is None or accused.state in (Presence.ALIVE, Presence.LEFT) else (accused.rumour(),)
        return (*doubt, *self._mill.take(to, RUMOURS_MAX - len(doubt), retellings(len(self._peers) + 1)))

    # -- whole views

    def _compare(self, now: float) -> list[Effect]:
        self._compared += 1
        dead = sorted(node for node, peer in self._peers.items() if peer.state is Presence.DEAD)
        if dead and (self._compared % DEAD_EACH == 0 or not self._living()):
            return self._confront(self._peers[self._random.choice(dead)], now)
        return [Datagram(node, Compare(self.digest)) for node in self._some(1)]

    def _entries(self) -> tuple[Entry, ...]:
        """Of all who live, this node included, by name."""
        mine = Entry(self._node, self.contact.incarnation, self._refuted, Presence.ALIVE, self._version)
        entries = [peer.entry for peer in self._peers.values() if peer.living]
        return tuple(sorted((mine, *entries), key=lambda entry: entry.node)[:MEMBERS_MAX])

    @property
    def digest(self) -> int:
        """Of this node's view: equal where views are. What nodes tell of themselves counts, so lost reports do too."""
        mine = (self._node, standing_of(self.contact.incarnation, self._refuted, Presence.ALIVE), self._version)
        living = [(node, peer.standing, peer.version) for node, peer in self._peers.items() if peer.living]
        known = sorted([mine, *living])[:MEMBERS_MAX]
        return zlib.crc32("\n".join([f"{node} {standing} {version}" for node, standing, version in known]).encode())

    def _differ(self, entries: Sequence[Entry], sender: NodeId) -> list[Effect]:
        """Give what is newer here, the dead only to those who believe them alive; ask for what is newer there."""
        theirs = {entry.node: entry for entry in entries}
        mine = {entry.node: entry for entry in self._entries()}
        mine |= {node: peer.entry for node, peer in self._peers.items() if not peer.living and node in theirs}
        given = tuple(self._member(node) for node in newer(mine, theirs))
        wanted = tuple(node for node in newer(theirs, mine) if node != self._node)
        return [Send(sender, Delta(given, wanted))] if given or wanted else []

    def _member(self, node: NodeId) -> Member:
        if node == self._node:
            return Member(Rumour(self.contact, self._refuted, Presence.ALIVE), self._version, self._reported)
        peer = self._peers[node]
        return Member(peer.rumour(), peer.version, peer.status)

    def _learn(self, delta: Delta, sender: NodeId, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for member in delta.members:
            rumour, node = member.rumour, member.rumour.contact.node
            peer = self._peers.get(node)
            if rumour.state is Presence.DEAD and peer is not None and peer.living:
                rumour = Rumour(rumour.contact, rumour.refuted, Presence.SUSPECT)
            effects += self._merge(rumour, now)
            peer = self._peers.get(node)
            if peer is not None and peer.contact.incarnation == rumour.contact.incarnation:
                effects += self._reported_by(node, member.version, member.status)
        known = [node for node in delta.wanted if node == self._node or node in self._peers]
        if known:
            effects.append(Send(sender, Delta(tuple(self._member(node) for node in known))))
        return effects

    def _report(self) -> list[Effect]:
        """What this node tells of itself, if it is new, or somebody listens now who has not heard it."""
        status = self._status()
        if status != self._reported:
            self._version += 1
            self._reported = status
        elif not self._newly_heard:
            return []
        self._newly_heard = False
        return [Publish(Report(self._version, status))]

    def _reported_by(self, node: NodeId, version: int, status: Status) -> list[Effect]:
        peer = self._peers.get(node)
        if peer is not None and version > peer.version:
            peer.version = version
            peer.status = status
            if peer.living:
                self._told(node, status)
        return []

    # -- coming and going

    def _joined(self, contact: Contact, sender: NodeId, now: float) -> list[Effect]:
        if contact.node != sender or contact.node == self._node:
            return []  # nobody introduces another, or us to ourselves
        effects = self._merge(_alive(contact), now)
        living = [self.contact, *(peer.contact for peer in self._peers.values() if peer.living)]
        living.sort(key=lambda member: member.node)
        return [*effects, Send(sender, Members(tuple(living[:MEMBERS_MAX])))]

    def _meet(self, rumour: Rumour, known: _Peer | None, now: float) -> list[Effect]:
        """A life we did not know: connect, and introduce ourselves."""
        contact = rumour.contact
        effects: list[Effect] = []
        if known is not None:
            effects += self._judge(known, Presence.DEAD, None, "started anew", now)
        elif len(self._peers) >= MEMBERS_MAX:
            gone = min((peer for peer in self._peers.values() if not peer.living), key=_by_age, default=None)
            if gone is None:
                return []
            effects += self._forget(gone)
        peer = self._peers[contact.node] = _Peer(contact, rumour.refuted, now)
        peer.subscribed = known is not None and known.subscribed  # it may have subscribed before it was met
        if contact.node in self._subscribed:
            self._subscribed.discard(contact.node)
            peer.subscribed = True
        self._turn.insert(self._random.randint(0, len(self._turn)), contact.node)
        self._mill.put(contact.node, peer.rumour())
        self._gossip_soon(now)
        effects += [self._connect(peer), Send(contact.node, Hello(self.contact)), self._state(peer, "met")]
        effects += self._raise(peer)
        if rumour.state is Presence.SUSPECT:
            effects += self._merge(rumour, now)
        return effects

    def _left(self, node: NodeId, refuted: int, now: float) -> list[Effect]:
        peer = self._peers.get(node)
        if peer is None:
            return []
        return self._merge(Rumour(peer.contact, max(refuted, peer.refuted), Presence.LEFT), now)

    def _subscribe(self, node: NodeId, now: float) -> list[Effect]:
        self._newly_heard = True
        self._report_at = min(self._report_at, now + REPORT_SOON_S)
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
        return [Send(self._node, PeerUp(peer.contact.node))]

    def _judge(self, peer: _Peer, state: Presence, by: NodeId | None, reason: str, now: float) -> list[Effect]:
        """What we now think of it, and what follows."""
        node, before = peer.contact.node, peer.state
        if state is Presence.SUSPECT:
            self._suspicions[node] = Suspicion(len(self._living()) + 1, by, now)
        else:
            self._suspicions.pop(node, None)
        if state is before:
            return self._confront(peer, now) if state is Presence.SUSPECT else []
        peer.become(state, now)
        effects: list[Effect] = [self._state(peer, reason)]
        if state is Presence.SUSPECT:
            peer.confronted = -math.inf
            effects += self._confront(peer, now)
        if peer.living:
            if before not in LIVING:
                effects += self._back(peer)
            return [*effects, *self._raise(peer)]
        self._probes.forget(node)
        self._told(node, NO_STATUS)
        if peer.up:
            peer.up = False
            effects.append(Send(self._node, PeerDown(node)))
        return effects

    def _back(self, peer: _Peer) -> list[Effect]:
        """It was never gone. What it knows, and what it has heard of us, is compared at once."""
        self._told(peer.contact.node, peer.status)
        return [self._connect(peer), Datagram(peer.contact.node, Compare(self.digest))]

    def _forget_old(self, now: float) -> list[Effect]:
        gone = [peer for peer in self._peers.values() if not peer.living]
        limit_s = {Presence.DEAD: FORGET_S, Presence.LEFT: FORGET_LEFT_S}
        old = sorted((peer for peer in gone if now - peer.since > limit_s[peer.state]), key=_by_age)
        return [effect for peer in old for effect in self._forget(peer)]

    def _forget(self, peer: _Peer) -> list[Effect]:
        """Let go of one that was given up. If it only slept, it listens to us still, and will not say so again."""
        node = peer.contact.node
        del self._peers[node]
        if peer.subscribed and len(self._subscribed) < MEMBERS_MAX:
            self._subscribed.add(node)
        return [Disconnect(node)]

    # -- small things

    def _living(self) -> list[NodeId]:
        return sorted([node for node, peer in self._peers.items() if peer.living])

    def _some(self, most: int) -> list[NodeId]:
        living = self._living()
        return self._random.sample(living, min(most, len(living)))

    def _jittered_s(self) -> float:
        return COMPARE_S + self._random.uniform(0.0, COMPARE_JITTER_S)

    @staticmethod
    def _connect(peer: _Peer) -> Connect:
        contact = peer.contact
        return Connect(contact.node, contact.incarnation, contact.address, contact.announcements)

    @staticmethod
    def _state(peer: _Peer, reason: str) -> PeerState:
        return PeerState(peer=peer.contact.node, state=peer.state, address=peer.contact.address, reason=reason)


def _alive(contact: Contact) -> Rumour:
    return Rumour(contact, 0, Presence.ALIVE)


def _reason(rumour: Rumour) -> str:
    """Of what others say."""
    match rumour.state:
        case Presence.ALIVE:
            return "it says that it lives"
        case Presence.LEFT:
            return "left"
    verb = "suspected" if rumour.state is Presence.SUSPECT else "given up"
    return f"{verb} by {rumour.by or 'others'}"


def _by_age(peer: _Peer) -> tuple[float, NodeId]:
    return (peer.since, peer.contact.node)
