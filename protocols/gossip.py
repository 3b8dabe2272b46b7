"""Gossip: no rounds. Each period a node meets a few others, sampled from all, and they exchange what one of them lacks.

Sources: Demers et al., Epidemic Algorithms for Replicated Database Maintenance (1987): rumours, anti-entropy; van
Renesse et al., Efficient Reconciliation and Flow Control for Anti-Entropy Protocols (2008): digests of versions.

    n1   player hears the newest words it knows of; its own word has changed: version 8
    n1 -> n5   Exchange(rows: n1 version 8, n5 version 3, ...; rumours: n1's word)
    n5 -> n1   Exchange(rows: ...; rumours: n5's word of version 4, n7's of version 6)     what n1 seems to lack

What a node says once and never again (its column of a table) is its opening: it travels with the first of its words
that a peer is sent. A player hears nothing before all who live have spoken.

A node writes its own word only, so words never conflict, and the newest version counts. Each exchange also carries a
row per node: its version, how many periods it has lived, and the digest of all versions it knew then.

The session ends when the digests of all who live have been equal, and all were settled, for 3 * ceil(log2 n) periods:
three times as long as a rumour takes to reach everybody. Who has ended says so when met, and is followed.

Invariants: versions only rise; a node sends each word to another at most once while nothing is lost; equal digests mean
equal words, so at the end all players have heard the same last words: one that goes on when the others have ended (it
was told of a death, they were not) takes their words for its own.
"""

from __future__ import annotations

import typing
import zlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

import msgspec
from msgspec import Meta

from .core import Count, Effect, Event, Message, NodeId, PeerDown, PeerError, PeerUp, ProtocolError, Send
from .session import MEMBERS_MAX, ROUNDS_MAX, Player, RoundNumber, SessionId, Word

PERIOD_S = 0.05
ANSWER_PERIODS_MAX = 40
"""Who has not answered is met again after so many periods: what is under way would only wait behind itself."""
FANOUT = 2
"""How many others a node meets in a period, besides those who meet it."""
VERSIONS_PER_LIFE = 2**24
"""A node that comes back speaks louder than it did before."""
EXCHANGE_BYTES_MAX = 1024 * 1024
"""Of words in one exchange; what is left over goes with the next."""


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What the sender knows of a node: the version of its word that it has (0: none), and the newest that it heard of
    how many periods that node has lived, and of the digest of all versions it had then."""

    node: NodeId
    version: Count
    beat: RoundNumber
    digest: Annotated[int, Meta(ge=0, lt=2**32)]


class Rumour(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The word of a node, on its way from one to the other."""

    node: NodeId
    version: Count
    settled: bool
    word: Word
    opening: Word = b""
    """Enclosed as long as the receiver may not have it."""


class Introduced(Player, typing.Protocol):
    """A player that has an opening, and is told those of all who live whenever that has changed."""

    @property
    def opening(self) -> bytes: ...

    def introduce(self, openings: Mapping[NodeId, bytes]) -> Introduced: ...


class Exchange(Message, frozen=True, array_like=True):
    """All rows of the sender, and the words that the receiver seems to lack; `answer`: it is one, and wants none."""

    session: SessionId
    rows: Annotated[tuple[Row, ...], Meta(max_length=MEMBERS_MAX)]
    rumours: Annotated[tuple[Rumour, ...], Meta(max_length=MEMBERS_MAX)]
    answer: bool
    ended: bool


class GossipMerged(Event, frozen=True, kw_only=True):
    name = "gossip.merge"
    level = "debug"
    session: str
    period: int
    news: int
    digest: int


class Gossip:
    """One node's part in one session.

    `members` are those it knows from the beginning; others are known once they have met one who knows them. `player` is
    this node's as it begins, and `life` is higher in each life of this node. The player hears once a period, as long as
    it is not settled or there is something new. At `periods_max` the node no longer waits for the others to agree: then
    `agreed` stays False.
    """

    def __init__(
        self,
        session: str,
        node: NodeId,
        members: Sequence[NodeId],
        player: Player,
        rng: Random,
        *,
        opening: bytes = b"",
        periods_max: int,
        life: int = 1,
        start_at: float = 0.0,
        period_s: float = PERIOD_S,
        fanout: int = FANOUT,
    ) -> None:
        if not 0 < len(members) <= MEMBERS_MAX or not 0 < periods_max < ROUNDS_MAX or fanout < 1:
            raise ProtocolError(f"a session has 1 to {MEMBERS_MAX} members, 1 to {ROUNDS_MAX - 1} periods, a fan-out")
        self.session = session
        self.node = node
        self.player = player
        self.finished = False
        self.agreed = False
        self.periods = 0
        self._random = rng
        self._periods_max = periods_max
        self._period_s = period_s
        self._fanout = fanout
        self._wake_at = start_at + period_s * rng.random()
        self._living = {*members, node}
        self._down: set[NodeId] = set()
        self._words: dict[NodeId, Rumour] = {}
        self._rows: dict[NodeId, Row] = {}
        self._known: dict[NodeId, dict[NodeId, int]] = {}  # per peer: the versions it has, as far as we know
        self._version = life * VERSIONS_PER_LIFE
        self._opening = opening
        self._openings: dict[NodeId, bytes] = {node: opening}
        self._introduced: tuple[NodeId, ...] = ()
        self._asked: dict[NodeId, int] = {}  # who owes an answer, and since which period
        self._news = 0
        self._digest: int | None = None  # of all versions that count; None: to be reckoned anew
        self._equal_since: int | None = None
        self._beats: dict[NodeId, int] = {}  # how old the others were then

    @property
    def present(self) -> tuple[NodeId, ...]:
        """Who takes part, as far as this node knows."""
        return tuple(sorted(self._living))

    @property
    def patience(self) -> int:
        """For how many periods the digests must have been equal."""
        return 3 * max(1, (len(self._living) - 1).bit_length())

    @property
    def digest(self) -> int:
        """Of the versions of all words that count here: equal where these are."""
        if self._digest is None:
            known = sorted([(node, self._words[node].version) for node in self._living & self._words.keys()])
            self._digest = zlib.crc32(repr(known).encode())
        return self._digest

    @property
    def deadline(self) -> float | None:
        return None if self.finished else self._wake_at

    # -- told

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case PeerDown(node):
                if node in self._living and not self.finished:
                    self._down.add(node)
                    self._living.discard(node)
                    self._changed()
                return ()
            case PeerUp():
                return ()  # it takes part again when it speaks
            case Exchange(session=self.session):
                return self._meet(message, sender)
        raise PeerError(f"{sender} sent {type(message).__name__} of a session that is not {self.session}")

    def wake(self, now: float) -> Sequence[Effect]:
        """A period has passed: hear, speak, meet a few others."""
        self._wake_at = now + self._period_s
        self.periods += 1
        effects: list[Effect] = []
        if self._news:
            effects.append(
                GossipMerged(session=self.session, period=self.periods, news=self._news, digest=self.digest)
            )
        self._play()
        self._rows[self.node] = Row(self.node, self._version, self.periods, self.digest)
        if self._quiet():
            self._end(agreed=True)
        elif self.periods >= self._periods_max:
            self._end(agreed=False)
        self._asked = {peer: at for peer, at in self._asked.items() if self.periods - at < ANSWER_PERIODS_MAX}
        others = sorted(self._living - {self.node} - self._asked.keys())
        met = self._random.sample(others, min(self._fanout, len(others)))
        sought: NodeId | None = getattr(self.player, "seeks", None)  # whom it would like to meet besides, if it says so
        if sought in others and sought not in met:
            met.append(sought)
        for peer in met:
            self._asked[peer] = self.periods
            effects.append(Send(peer, self._exchange(peer, answer=False)))
        return effects

    # -- what is said, and what is heard

    def _play(self) -> None:
        spoken = self._words.keys() & self._openings.keys() if self._opening else self._words.keys()
        if self._living <= spoken and (self._news or not self.player.settled):
            self._hear()
        self._news = 0
        own = self._words.get(self.node)
        word, settled = self.player.say(), self.player.settled
        if own is None or word != own.word or settled != own.settled:
            self._version += 1
            self._words[self.node] = Rumour(self.node, self._version, settled, word, self._opening)
            self._changed()

    def _hear(self) -> None:
        present = self.present
        if self._opening and present != self._introduced:
            self._introduced = present
            player = typing.cast(Introduced, self.player)
            self.player = player.introduce({node: self._openings[node] for node in present})
        self.player = self.player.hear(
            {node: self._words[node].word for node in sorted(self._living & self._words.keys())}
        )

    def _changed(self) -> None:
        self._news += 1
        self._equal_since = None
        self._digest = None

    def _exchange(self, peer: NodeId, *, answer: bool) -> Exchange:
        has = self._known.setdefault(peer, {})
        rumours: list[Rumour] = []
        size = 0
        for node, rumour in sorted(self._words.items()):
            if node not in self._living:
                continue
            behind = has.get(node, 0) != rumour.version if self.finished else has.get(node, 0) < rumour.version
            if behind and (node != peer or self.finished) and size <= EXCHANGE_BYTES_MAX:
                if rumour.opening and has.get(node, 0) > 0:
                    rumour = msgspec.structs.replace(rumour, opening=b"")
                rumours.append(rumour)
                size += len(rumour.word)
                has[node] = rumour.version
        held = {node: rumour.version for node, rumour in self._words.items()}
        rows = tuple(
            Row(node, held.get(node, 0), row.beat, row.digest)
            for node, row in sorted(self._rows.items())
            if node in self._living
        )
        return Exchange(self.session, rows[:MEMBERS_MAX], tuple(rumours), answer, self.finished and self.agreed)

    def _meet(self, exchange: Exchange, sender: NodeId) -> Sequence[Effect]:
        if exchange.answer:
            self._asked.pop(sender, None)
        has = self._known.setdefault(sender, {})
        has.update((row.node, row.version) for row in exchange.rows)
        if self.finished:
            return () if exchange.answer else [Send(sender, self._exchange(sender, answer=True))]
        if exchange.ended:
            return self._follow(exchange, sender)
        self._admit(sender)
        for rumour in exchange.rumours:
            self._merge(rumour)
        for row in exchange.rows:
            former = self._rows.get(row.node)
            if row.node != self.node and (former is None or row.beat > former.beat):
                self._admit(row.node, met=False)
                self._rows[row.node] = row
        return () if exchange.answer else [Send(sender, self._exchange(sender, answer=True))]

    def _follow(self, exchange: Exchange, sender: NodeId) -> Sequence[Effect]:
        """The others have ended: with the words that they all knew, whoever was found dead, or has spoken, since."""
        words = {**self._words, **{rumour.node: self._with_opening(rumour) for rumour in exchange.rumours}}
        versions = {row.node: row.version for row in exchange.rows}
        if all(node in words and words[node].version == version for node, version in versions.items()):
            self._living = set(versions)
            self._words = words
            self._changed()
            self._end(agreed=True)
            return ()
        return () if exchange.answer else [Send(sender, self._exchange(sender, answer=True))]

    def _admit(self, node: NodeId, *, met: bool = True) -> None:
        """Somebody new, or somebody who was down and has spoken."""
        if met and node in self._down:
            self._down.discard(node)
        if node not in self._living and node not in self._down and len(self._living) < MEMBERS_MAX:
            self._living.add(node)
            self._changed()

    def _merge(self, rumour: Rumour) -> None:
        former = self._words.get(rumour.node)
        if rumour.node != self.node and (former is None or former.version < rumour.version):
            self._words[rumour.node] = self._with_opening(rumour)
            self._changed()

    def _with_opening(self, rumour: Rumour) -> Rumour:
        if rumour.opening:
            self._openings.setdefault(rumour.node, rumour.opening)
        return msgspec.structs.replace(rumour, opening=self._openings.get(rumour.node, b""))

    # -- the end

    def _quiet(self) -> bool:
        """Have all who live known the same, and wanted nothing else, for long enough?"""
        others = self._living - {self.node}
        same = all(
            node in self._rows and node in self._words and self._words[node].settled
            and self._rows[node].digest == self.digest
            for node in others
        )  # fmt: skip
        if not same or self._news or not self.player.settled:
            self._equal_since = None
            return False
        if self._equal_since is None:
            self._equal_since = self.periods
            self._beats = {node: self._rows[node].beat for node in others}
        heard_since = all(self._rows[node].beat > self._beats[node] for node in others)
        return heard_since and self.periods - self._equal_since >= self.patience

    def _end(self, *, agreed: bool) -> None:
        self._hear()
        self.finished = True
        self.agreed = agreed


MESSAGES: tuple[type[Message], ...] = (Exchange,)
EVENTS: tuple[type[Event], ...] = (GossipMerged,)
