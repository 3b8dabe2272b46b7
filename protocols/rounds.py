"""Synchronous rounds without a controller: nobody begins round r + 1 before all who live have spoken in round r.

Sources: Lynch, Distributed Algorithms (1996), ch. 2 and 6 (synchronous networks, flooding); Attiya and Welch (2004),
ch. 5 and 11 (crashes in rounds, synchronizers). No node counts for the others: each hears the same words, applies the
same rule and reaches the same result.

    n1 -> all   Spoken(round 7, without=(), word)        without: who of round 6 did not reach me in time
    n2 -> all   Spoken(round 7, ...)
    n1 -> n3    Ask(round 7, n3)                         nothing heard of it for long; or of whoever has what I miss
    n3 -> n1    Spoken(round 7, ...)                     all have spoken: round 7 is closed, round 8 begins

A node that dies may have been heard by some only. Who closes round 6 without it says so in round 7, where another names
what it has heard: then the word is pulled, round 6 is heard again with one voice more, and round 7 is spoken anew
(`revision`). So round r + 1 closes when all the living name the same speakers of round r; a node is left out of a round
only if no living node has its message. Whoever has closed round 7 already is followed by the others.

A newcomer is named in a round (`joins`), is told all that was said (`Log`), and speaks from the next round on. One that
was left out although it lives finds out (`Out`) and joins anew.

Suspicions may be false, and never refuted: then some close a round with words that others have done without. Whose
asking is in vain begins anew as a newcomer, in an order that lets the others stay: those behind, then those who are
outvoted, then, where no half agrees, those with the greater ids.

The session ends after two rounds in a row in which all said that they are settled, or at `rounds_max`; one more round,
without words, makes sure that all know who was heard in the last.

Invariants: closed rounds but the last never change, and are the same at all nodes; one that is slow is waited for until
it is said to be down; a round costs one publication per node where nothing is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from typing import Annotated

from msgspec import Meta

from .core import Count, Effect, Event, Message, NodeId, PeerDown, PeerError, PeerUp, ProtocolError, Publish, Send
from .session import MEMBERS_MAX, ROUNDS_MAX, Nodes, Player, RoundNumber, SessionId, Word

ASK_S = 0.2
ASK_S_MIN = 0.02
ASK_S_MAX = 1.0
LATE = 16.0
"""A word is asked for when it has taken so many times as long as words usually do, but after ASK_S_MIN to ASK_S."""
SMOOTHING = 0.1
PULLS_MAX = 8
"""So often a node asks in one round before it doubts itself."""
LOG_SPOKEN_MAX = 256
LOG_BYTES_MAX = 1024 * 1024
"""A log travels in pieces of about this size."""


class Spoken(Message, frozen=True, array_like=True):
    """What `node` says in a round; whoever has it may pass it on. The highest revision counts.

    `closed`: the revision of its word with which it closed the round before.
    """

    session: SessionId
    node: NodeId
    round: RoundNumber
    revision: Count
    without: Nodes
    joins: Nodes
    settled: bool
    word: Word
    closed: Count = 0


class Ask(Message, frozen=True, array_like=True):
    """Send me what this node said in this round."""

    session: SessionId
    node: NodeId
    round: RoundNumber


class Enter(Message, frozen=True, array_like=True):
    """The sender would like to take part; `spoke` is the last round in which it did (0: none)."""

    session: SessionId
    spoke: RoundNumber


class Log(Message, frozen=True, array_like=True):
    """All that was heard before `enters`, the round in which its receiver may speak for the first time, in pieces.

    `without` are those who were not heard in the last of these rounds; only with the last piece (`complete`).
    """

    session: SessionId
    enters: RoundNumber
    spoken: Annotated[tuple[Spoken, ...], Meta(max_length=LOG_SPOKEN_MAX)]
    without: Nodes
    complete: bool


class Out(Message, frozen=True, array_like=True):
    """The round you speak in was closed without you: nobody who lived had your word."""

    session: SessionId
    round: RoundNumber


class RoundEnded(Event, frozen=True, kw_only=True):
    name = "round.end"
    level = "debug"
    session: str
    round: int
    without: tuple[str, ...]
    settled: bool


class _Round:
    """A round that this node has closed: whose words it expected, and whose it heard."""

    __slots__ = ("expected", "heard")

    def __init__(self, expected: frozenset[NodeId], heard: dict[NodeId, Spoken]) -> None:
        self.expected = expected
        self.heard = heard

    @property
    def without(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self.expected - self.heard.keys()))

    @property
    def settled(self) -> bool:
        return all(spoken.settled for spoken in self.heard.values())

    @property
    def joins(self) -> set[NodeId]:
        return set().union(*(spoken.joins for spoken in self.heard.values()))

    def after(self, player: Player) -> Player:
        return player.hear({node: self.heard[node].word for node in sorted(self.heard)})


class Rounds:
    """One node's part in one session.

    `members` are those who begin it, all of them at `start_at` (seconds); a node that is not among them asks `members`
    to join. `fresh` makes the player of this node as it is before the first round. Told PeerDown and PeerUp as other
    roles are.
    """

    def __init__(
        self,
        session: str,
        node: NodeId,
        members: Sequence[NodeId],
        fresh: Callable[[], Player],
        *,
        rounds_max: int,
        start_at: float = 0.0,
    ) -> None:
        if not 0 < len(members) <= MEMBERS_MAX or not 0 < rounds_max < ROUNDS_MAX:
            raise ProtocolError(f"a session has 1 to {MEMBERS_MAX} members and 1 to {ROUNDS_MAX - 1} rounds")
        self.session = session
        self.node = node
        self.finished = False
        self.player = fresh()
        """As it is after the last round that was closed."""
        self._before = self.player
        """As it was before that round."""
        self._members = sorted(set(members) - {node})
        self._fresh = fresh
        self._rounds_max = rounds_max
        self._log: list[_Round] = []
        self._expected = frozenset(members)
        self._spoken: dict[int, dict[NodeId, Spoken]] = {}  # of the round to close and those after it
        self._down: set[NodeId] = set()
        self._joins: set[NodeId] = set()  # to be named in our next word
        self._named: set[NodeId] = set()  # were named by us: we send them the log
        self._revision = 0
        self._outside = node not in members
        self._told: dict[int, dict[NodeId, Spoken]] = {}  # the pieces of a log that have come, by round
        self._wake_at: float | None = start_at
        self._ask_s = ASK_S
        self._usual_s = ASK_S / LATE  # from our word to that of another
        self._spoke_at = start_at
        self._begun = False
        self._pulls = 0
        self._spoke = 0

    # -- what it knows

    @property
    def rounds(self) -> int:
        """How many rounds were closed; the one without words is none."""
        return min(len(self._log), self._last or len(self._log))

    @property
    def present(self) -> tuple[NodeId, ...]:
        """Who took part in the last round that was closed."""
        return tuple(sorted(self._log[-1].heard)) if self._log else ()

    @property
    def deadline(self) -> float | None:
        return None if self.finished else self._wake_at

    @property
    def _last(self) -> int:
        """The round with which the session ends, as far as it is known; 0: not yet."""
        log = self._log
        for number in (len(log) - 1, len(log)):
            if number == self._rounds_max:
                return number
            if number >= 2 and log[number - 1].settled and log[number - 2].settled:
                return number
        return 0

    @property
    def _open(self) -> int:
        return len(self._log) + 1

    @property
    def _closed_with(self) -> int:
        """The revision of our word in the last round."""
        ours = self._log[-1].heard.get(self.node) if self._log else None
        return ours.revision if ours is not None else 0

    # -- told

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case PeerDown(node):
                self._down.add(node)
                self._joins.discard(node)
                return self._go_on(now)
            case PeerUp(node):
                self._down.discard(node)
                return ()
        if getattr(message, "session", None) != self.session:
            raise PeerError(f"{sender} speaks of a session that is not {self.session}")
        match message:
            case Spoken():
                return self._hear(message, sender, now)
            case Ask(_, node, number):
                return self._asked(node, number, sender)
            case Enter(_, spoke):
                return self._join(sender, spoke, now)
            case Log():
                return self._replay(message, now)
            case Out(_, number):
                return self._left_out(number, now)
        raise PeerError(f"{sender} sent {type(message).__name__}, which rounds do not know")

    def wake(self, now: float) -> Sequence[Effect]:
        if self._outside:
            return self._ask_to_join(now)
        if not self._begun:
            self._begun = True
            return [*self._speak(now), *self._go_on(now)]
        if len(self._spoken[self._open]) == 1:
            self._usual_s = min(2.0 * self._usual_s, ASK_S)  # not one word is lost: all are late
        self._wake_at = now + self._ask_s
        self._ask_s = min(2 * self._ask_s, ASK_S_MAX)
        self._pulls += 1
        return self._left_out(self._open, now) if self._astray() else self._pull()

    # -- a round

    def _speak(self, now: float) -> list[Effect]:
        """Say our word in the open round, and be heard by ourselves."""
        number = self._open
        farewell = self._last == number - 1 > 0
        before = self._spoken.get(number, {}).get(self.node)  # what has been said of newcomers stands
        joins = set(before.joins) if before else set() if farewell else self._joins - self._expected
        spoken = Spoken(
            self.session,
            self.node,
            number,
            self._revision,
            self._log[-1].without if self._log else (),
            tuple(sorted(joins)),
            farewell or self.player.settled,
            b"" if farewell else self.player.say(),
            self._closed_with,
        )
        self._spoke = number
        self._pulls = 0
        self._joins -= joins
        self._named |= joins
        self._spoken.setdefault(number, {})[self.node] = spoken
        self._spoke_at = now
        self._ask_s = min(max(LATE * self._usual_s, ASK_S_MIN), ASK_S)
        self._wake_at = now + self._ask_s
        return [Publish(spoken)]

    def _hear(self, spoken: Spoken, sender: NodeId, now: float) -> Sequence[Effect]:
        node, number = spoken.node, spoken.round
        if number < 1:
            raise PeerError(f"{sender} told of round {number}: they are counted from 1")
        if node == self.node or self._outside:
            return ()
        if number < self._open:
            return self._hear_late(spoken, sender, now)
        if number > self._open + 1:
            return ()  # we were left out, and shall be told so
        heard = self._spoken.setdefault(number, {})
        former = heard.get(node)
        if former is None or former.revision < spoken.revision:
            heard[node] = spoken
            if number == self._open and not self._pulls:
                self._usual_s += SMOOTHING * (now - self._spoke_at - self._usual_s)
            self._pulls = 0
            return self._go_on(now)
        return ()

    def _hear_late(self, spoken: Spoken, sender: NodeId, now: float) -> Sequence[Effect]:
        """A word of a round that we have closed; of the last one it is still let in, if another has counted it."""
        node, number = spoken.node, spoken.round
        closed = self._log[number - 1]
        if node in closed.heard or self.finished:
            return ()
        if self._is_out(node, number):
            return [Send(node, Out(self.session, number))] if node == sender else ()
        before = self._log[number - 2].without if number > 1 else ()
        if (
            number == self._open - 1
            and node in closed.expected
            and spoken.without == before
            and node not in self._agreed()
        ):
            closed.heard[node] = spoken
            return self._again(now)
        return ()

    def _is_out(self, node: NodeId, number: int) -> bool:
        """It was not heard in this round, and that can no longer change."""
        if number >= len(self._log):
            return False
        return node not in self._log[number - 1].heard and node not in self._log[number].expected

    def _agreed(self) -> tuple[NodeId, ...]:
        """Who is left out of the last round, as far as those who live have said.

        Whoever has closed the open round already has done so with the consent of all: its word is binding. Else those
        are left out whom nobody has heard.
        """
        open_round = self._spoken[self._open]
        ahead = self._ahead()
        if ahead is not None:
            return open_round[ahead.node].without
        said = [set(other.without) for node, other in open_round.items() if node in self._waited_for()]
        return tuple(sorted(set.intersection(*said)))

    def _ahead(self) -> Spoken | None:
        """The word of a node that has closed the open round already, and whose last word in it is known; None: nobody
        has."""
        open_round = self._spoken.get(self._open, {})
        for node, spoken in sorted(self._spoken.get(self._open + 1, {}).items()):
            if node not in self._down and node in open_round and open_round[node].revision == spoken.closed:
                return spoken
        return None

    def _give_up(self, without: tuple[NodeId, ...], now: float) -> Sequence[Effect]:
        """Others have closed the open round without words of the last that we have heard: so have we not heard them."""
        if self.node in without:
            return self._left_out(self._open, now)
        for node in without:
            self._log[-1].heard.pop(node, None)
        return self._again(now)

    def _again(self, now: float) -> Sequence[Effect]:
        """Close the last round once more, with other voices, and speak anew."""
        self.player = self._log[-1].after(self._before)
        self._expect()
        if self.node not in self._expected:  # who had named us as a newcomer is not among them any more
            return self._left_out(self._open, now)
        self._revision += 1
        return [*self._speak(now), *self._go_on(now)]

    def _expect(self) -> None:
        """Whose words the open round waits for: those heard in the last, and those who join."""
        joins = self._log[-1].joins
        self._expected = frozenset(self._log[-1].heard).union(joins)
        self._down -= joins

    def _go_on(self, now: float) -> Sequence[Effect]:
        """Close the open round, if all who live have spoken in it and name the same speakers of the last."""
        effects: list[Effect] = []
        while self._begun and not self._outside and not self.finished:
            ahead = self._ahead()
            if ahead is not None and self._log:
                binding = self._spoken[self._open][ahead.node].without
                if set(binding) & self._log[-1].heard.keys():
                    return [*effects, *self._give_up(binding, now)]
            needed = self._waited_for() if ahead is None else self._expected.difference(ahead.without)
            said = self._spoken[self._open]
            without = said[self.node].without
            agree = {node for node in self._expected if node in said and said[node].without == without}
            left_out = self.node not in needed and not self._last
            if left_out or not needed <= agree:
                break
            effects += self._close(agree if ahead is None else needed, now)
        return effects

    def _waited_for(self) -> set[NodeId]:
        """Who must speak before the open round is closed."""
        return set(self._expected - self._down) | {self.node}

    def _close(self, heard: Set[NodeId], now: float) -> list[Effect]:
        number = self._open
        said = self._spoken.pop(number)
        farewell = self._last == number - 1 > 0
        closed = _Round(self._expected, {node: said[node] for node in sorted(heard)})
        self._log.append(closed)
        if farewell:
            self.finished = True
            end = Spoken(self.session, self.node, self._open, 0, closed.without, (), True, b"", self._closed_with)
            self._spoken[self._open] = {self.node: end}  # said to those only who ask
            return []
        self._before, self.player = self.player, closed.after(self.player)
        self._expect()
        self._revision = 0
        effects: list[Effect] = [
            RoundEnded(session=self.session, round=number, without=closed.without, settled=closed.settled)
        ]
        for joined in sorted(self._named & self._expected):
            effects += self._send_log(joined)
        self._named.clear()
        return [*effects, *self._speak(now)]

    # -- what is missing

    def _pull(self) -> list[Effect]:
        """Ask for all that the open round waits for: a word from its speaker, else from whoever has counted it."""
        effects: list[Effect] = []
        heard = self._spoken.get(self._open, {})
        without = set(heard[self.node].without)
        ahead = self._ahead()
        if ahead is not None and self.node in ahead.without:  # are we out?
            effects.append(Send(ahead.node, Ask(self.session, self.node, self._open)))
        missing = sorted(self._waited_for() - heard.keys())
        others = sorted(heard.keys() - self._down - {self.node})
        if missing and others:  # one who waits no longer tells us so
            effects.append(Send(others[self._pulls % len(others)], Ask(self.session, missing[0], self._open)))
        for node in sorted(self._waited_for()):
            spoken = heard.get(node)
            if spoken is None or not without.issuperset(spoken.without):  # it may have spoken anew
                effects.append(Send(node, Ask(self.session, node, self._open)))
            if spoken is not None:  # it has heard, in the last round, whom we have not
                missed = sorted(without.difference(spoken.without))
                effects += [Send(node, Ask(self.session, miss, self._open - 1)) for miss in missed]
        agree = {node for node, spoken in heard.items() if spoken.without == heard[self.node].without}
        for node, ahead in sorted(self._spoken.get(self._open + 1, {}).items()):
            if node in self._down:
                continue
            if node in heard and heard[node].revision != ahead.closed:  # it has spoken anew
                effects.append(Send(node, Ask(self.session, node, self._open)))
            missed = sorted(self._expected.difference(ahead.without, agree))
            effects += [Send(node, Ask(self.session, miss, self._open)) for miss in missed]
        return effects

    def _astray(self) -> bool:
        """Asking has not helped, and it is for us to begin anew, not for the others.

        So it is where others who live have gone on; where more than half agree on who spoke last, otherwise than we;
        or, if no half does for long, where one who comes before us disagrees. That can only be where some were said to
        be down who were not; where nobody errs, it does not happen.
        """
        if self._pulls <= PULLS_MAX:
            return False
        if self._spoken.get(self._open + 1, {}).keys() - self._down:
            return True
        said = self._spoken[self._open]
        ours = said[self.node].without
        votes = Counter(spoken.without for spoken in said.values())
        most, count = max(votes.items(), key=lambda vote: vote[1])
        if 2 * count > len(self._expected):
            return most != ours
        before = {node for node, spoken in said.items() if node < self.node and spoken.without != ours}
        return self._pulls > 2 * PULLS_MAX and bool(before - self._down)

    def _asked(self, node: NodeId, number: int, sender: NodeId) -> Sequence[Effect]:
        """Tell it; and where that round is closed here, what we said next, for it says how we closed it."""
        if not 0 < number <= len(self._log):
            found = self._spoken.get(number, {}).get(node)
            return () if found is None else [Send(sender, found)]
        closed = self._log[number - 1]
        if self._is_out(sender, number):
            return [Send(sender, Out(self.session, number))]
        told = [closed.heard.get(node)]
        if number == len(self._log):
            told.append(self._spoken.get(self._open, {}).get(self.node))
        return [Send(sender, spoken) for spoken in told if spoken is not None]

    # -- who comes and goes

    def _join(self, node: NodeId, spoke: int, now: float) -> Sequence[Effect]:
        if self.finished:
            return self._send_log(node)
        if self._outside or not self._log:
            return ()
        if node not in self._expected:
            self._joins.add(node)
        elif spoke < self._open and node in self._log[-1].joins and node not in self._spoken[self._open]:
            return self._send_log(node)  # what it was sent was of a round that was taken back
        elif spoke and not self._spoke_after(node, spoke) and (node not in self._log[-1].joins or spoke >= self._open):
            self._joins.add(node)  # it has found itself left out: nobody need wait for it
            self._down.add(node)
            return self._go_on(now)
        return ()

    def _spoke_after(self, node: NodeId, number: int) -> bool:
        """Then it takes part, and has asked to join before."""
        closed = any(node in closed.heard for closed in self._log[number:])
        return closed or (number < self._open and node in self._spoken[self._open])

    def _ask_to_join(self, now: float) -> Sequence[Effect]:
        """One member after the other is asked, in case the first has died; beside it one of those who are said to have
        died, in case they have not."""
        self._begun = True
        self._wake_at = now + self._ask_s
        self._ask_s = ASK_S_MAX
        living = [node for node in self._members if node not in self._down]
        asked = living[:1] + [node for node in self._members if node in self._down][:1]
        self._members = [node for node in self._members if node not in asked] + asked
        return [Send(node, Enter(self.session, self._spoke)) for node in asked]

    def _send_log(self, to: NodeId) -> list[Effect]:
        """All that was heard in the closed rounds, in pieces."""
        rounds = self._log[: self.rounds]
        pieces: list[list[Spoken]] = [[]]
        size = 0
        for spoken in (spoken for closed in rounds for spoken in closed.heard.values()):
            if len(pieces[-1]) >= LOG_SPOKEN_MAX or size > LOG_BYTES_MAX:
                pieces.append([])
                size = 0
            pieces[-1].append(spoken)
            size += len(spoken.word)
        last, enters, without = pieces[-1], len(rounds) + 1, rounds[-1].without
        return [Send(to, Log(self.session, enters, tuple(piece), without, piece is last)) for piece in pieces]

    def _replay(self, log: Log, now: float) -> Sequence[Effect]:
        """Hear all that was said before we came, and speak; in no round twice, for some may have closed it by then."""
        if not self._outside or log.enters < 2:
            return ()
        for spoken in log.spoken:
            self._told.setdefault(spoken.round, {})[spoken.node] = spoken
        if not log.complete:
            return ()
        told, self._told = self._told, {}
        if sorted(told) != list(range(1, log.enters)):
            return ()  # a piece is missing: we ask again
        self.player, self._log = self._fresh(), []
        for number in range(1, log.enters):
            left = log.without if number == log.enters - 1 else ()
            closed = _Round(frozenset(told[number]).union(left), told[number])
            self._log.append(closed)
            self._before, self.player = self.player, closed.after(self.player)
        if log.enters <= self._spoke and self._last != log.enters - 1:
            return ()
        self._expect()
        self._expected |= {self.node}
        self._spoken = {number: said for number, said in self._spoken.items() if number >= log.enters}
        self._outside = False
        return [*self._speak(now), *self._go_on(now)]

    def _left_out(self, number: int, now: float) -> Sequence[Effect]:
        """Begin anew as one that comes."""
        if self._outside or self.finished or number != self._open:
            return ()
        self._outside = True
        self._spoken.clear()
        self._revision = 0
        self._ask_s = ASK_S
        return self._ask_to_join(now)


MESSAGES: tuple[type[Message], ...] = (Spoken, Ask, Enter, Log, Out)
EVENTS: tuple[type[Event], ...] = (RoundEnded,)
