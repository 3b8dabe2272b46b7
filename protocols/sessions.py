"""The sessions that a node takes part in: a desk's batch is priced here, and divided with the others by one rule.

    desk -> all members   OpenBatch(session, members, tasks)
    each member           prices every task here, as in a call: its column, and a bid that stands
    members -> all        the words of rounds, or of gossip: columns, prices, trade     (`batch.py`, `batch_gossip.py`)
    each member           its price of each round: logged
    each member           the division, the same everywhere: logged, with its certificate
    the desk's own        Divided -> the initiator, who awards by it, as ever late        (`batches.py`)

The desk is a member among members: it counts nothing for them. Whatever becomes of a session, no task depends on it:
what is not divided is called for and awarded as if there had been none.

Invariants: at most SESSIONS_MAX are kept, each for LIFE_S at most; what is said of a session before it is opened here
is kept for it, EARLY_MAX words of it; who was said to have died when a session opened, counts as dead in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from .batch_words import (
    BatchColumn,
    BatchDivided,
    CloseBatch,
    Divided,
    Mode,
    OpenBatch,
    Priced,
    PriceRound,
    Share,
    checksum,
    period_s,
)
from .core import Effect, Event, Message, NodeId, PeerDown, PeerError, PeerUp, ProtocolError, Send, Task
from .gossip import Exchange, Gossip
from .rounds import Ask, Enter, Log, Out, Rounds, Spoken

if TYPE_CHECKING:
    from .batch import Batch
    from .batch_gossip import BatchByGossip
    from .prices import PriceStep

SESSIONS_MAX = 16
LIFE_S = 120.0
"""A session that has not ended by then is given up."""
LINGER_S = 10.0
"""So long one that has ended here is kept, for those who ask late."""
EARLY_MAX = 256
UNKNOWN_MAX = 16
"""So many sessions may be spoken of that are not open here."""
PERIODS_MAX = 2_000
TRADED_MAX = 512
"""With more tasks than this in the pool of two nodes, prices alone divide well, and a meeting would take long."""
ROUND_WORDS = (Spoken, Ask, Enter, Log, Out)


Price = Callable[[Sequence[Task], NodeId, float], Priced]
"""Tasks, whose they are, and now -> what they cost here."""


class _Session:
    """One session here: first its tasks, then its driver."""

    __slots__ = ("desk", "driver", "ended", "mode", "open", "pieces", "priced", "steps", "until")

    def __init__(self, desk: NodeId, open: OpenBatch, now: float) -> None:
        self.desk = desk
        self.open = open
        self.mode = open.mode
        self.pieces: dict[int, tuple[Task, ...]] = {}
        self.priced = Priced((), ())
        self.driver: Rounds | Gossip | None = None
        self.steps: tuple[PriceStep, ...] = ()  # that the log was told
        self.until = now + LIFE_S
        self.ended = False

    @property
    def deadline(self) -> float:
        driver = self.driver.deadline if self.driver is not None else None
        return self.until if driver is None else min(driver, self.until)


class Sessions:
    """All sessions of one node. `price` makes its column."""

    def __init__(self, node: NodeId, price: Price) -> None:
        self._node = node
        self._price = price
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._early: OrderedDict[str, list[tuple[Message, NodeId]]] = OrderedDict()
        self._down: set[NodeId] = set()

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case OpenBatch():
                return self._open(message, sender, now)
            case CloseBatch(session):
                if (closed := self._sessions.get(session)) is not None and closed.desk == sender:
                    del self._sessions[session]
                return ()
            case PeerUp(node):
                self._down.discard(node)
                return self._all(message, now)
            case PeerDown(node):
                self._down.add(node)
                for name in [name for name, one in self._sessions.items() if one.desk == node]:
                    del self._sessions[name]
                return self._all(message, now)
            case Spoken() | Ask() | Enter() | Log() | Out() | Exchange():
                return self._heard(message.session, message, sender, now)
        raise ProtocolError(f"sessions are not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return min([one.deadline for one in self._sessions.values()]) if self._sessions else None

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        for name, one in list(self._sessions.items()):
            if one.until <= now:
                del self._sessions[name]
            elif one.driver is not None and one.driver.deadline is not None and one.driver.deadline <= now:
                effects += self._after(one, one.driver.wake(now), now)
        return effects

    # -- opening

    def _open(self, message: OpenBatch, sender: NodeId, now: float) -> Sequence[Effect]:
        if self._node not in message.members or sender not in message.members or message.piece >= message.pieces:
            raise PeerError(f"{sender} opened the session {message.session} without itself or without us")
        one = self._sessions.get(message.session)
        if one is None:
            one = self._sessions[message.session] = _Session(sender, message, now)
            while len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)
        if one.desk != sender or one.driver is not None:
            raise PeerError(f"{sender} opened the session {message.session}, which is open already")
        one.pieces[message.piece] = message.tasks
        if len(one.pieces) < message.pieces:
            return ()
        tasks = [task for _, piece in sorted(one.pieces.items()) for task in piece]
        one.pieces = {}
        return self._begin(one, tasks, now)

    def _begin(self, one: _Session, tasks: Sequence[Task], now: float) -> list[Effect]:
        """Price all of them, and speak."""
        priced = one.priced = self._price(tasks, one.desk, now)
        name = one.open.session
        digest = checksum([*priced.costs, *priced.ready_s])
        opened = BatchColumn(
            session=name, peer=one.desk, ready_s=priced.ready_s, costs=priced.costs, digest=digest
        )
        one.driver = driver(self._node, one.open, priced, now)
        effects = [*_told(one, opened), *self._after(one, (), now)]
        for node in sorted(self._down.intersection(one.open.members)):
            effects += self._after(one, one.driver.receive(PeerDown(node), self._node, now), now)
        for message, sender in self._early.pop(name, ()):
            effects += self._heard(name, message, sender, now)
        return effects

    # -- hearing

    def _heard(self, name: str, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        one = self._sessions.get(name)
        if one is None or one.driver is None:
            self._keep(name, message, sender)
            return ()
        if isinstance(message, ROUND_WORDS) != isinstance(one.driver, Rounds):
            raise PeerError(f"{sender} speaks in the session {name} as if it were of the other mode")
        if sender not in one.open.members:
            return ()  # it hears what we publish, and is asked nothing
        return self._after(one, one.driver.receive(message, sender, now), now)

    def _keep(self, name: str, message: Message, sender: NodeId) -> None:
        """It may be opened here in a moment. Of those that never are, the oldest is forgotten first."""
        words = self._early.setdefault(name, [])
        if len(words) < EARLY_MAX:
            words.append((message, sender))
        while len(self._early) > UNKNOWN_MAX:
            self._early.popitem(last=False)

    def _all(self, message: PeerUp | PeerDown, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for one in list(self._sessions.values()):
            if one.driver is not None:
                effects += self._after(one, one.driver.receive(message, self._node, now), now)
        return effects

    def _after(self, one: _Session, effects: Sequence[Effect], now: float) -> list[Effect]:
        """What its driver has said; its prices since; and, if that was the last, what has come of it."""
        if one.driver is None or one.ended:
            return list(effects)
        effects = [*effects, *_prices(one, one.driver)]
        if not one.driver.finished:
            return effects
        one.ended = True
        one.until = now + LINGER_S
        told = divided(one.open.session, one.driver)
        if told is None:
            return effects
        event = BatchDivided(
            session=told.session,
            peer=one.desk,
            mode=one.mode,
            rounds=told.rounds if one.mode is Mode.ROUNDS else None,
            shares=told.shares,
            value=told.value,
            bound=told.bound,
            certificate=told.certificate,
        )
        mine: list[Effect] = [Send(self._node, told)] if one.desk == self._node else []
        return [*effects, *_told(one, event), *mine]


def _told(one: _Session, *events: Event) -> Sequence[Event]:
    """What the log is told."""
    return () if one.open.dry else events


def _prices(one: _Session, driver: Rounds | Gossip) -> Sequence[Effect]:
    """Those that the log was not told; a round that is heard again, with one voice more, has another."""
    player: Batch | BatchByGossip = driver.player  # type: ignore[assignment]
    told, one.steps = one.steps, player.steps
    if one.steps is told:
        return ()
    same = sum([was is now for was, now in zip(told, one.steps, strict=False)])
    rounds = [
        PriceRound(
            session=one.open.session,
            round=step.round,
            price=step.price,
            load=step.load,
            heard=step.heard,
            digest=checksum(step.heard),
        )
        for step in one.steps[same:]
    ]
    return _told(one, *rounds)


def driver(node: NodeId, open: OpenBatch, priced: Priced, now: float) -> Rounds | Gossip:
    """This node's part of a session that opens now. What it is made of is only loaded where there is one."""
    import numpy as np

    from .batch import ROUNDS_MAX, Batch, Terms
    from .batch_gossip import BatchByGossip
    from .columns import REFUSED, Column

    costs = np.asarray([REFUSED if cost is None else min(cost, REFUSED) for cost in priced.costs], np.float64)
    column = Column(costs, ready=priced.ready_s)
    pooled = 2 * len(costs) / len(open.members)
    terms = Terms(open.seed) if open.trade and pooled <= TRADED_MAX else Terms(open.seed, trade_turns=0)
    name, members = open.session, open.members
    if open.mode is Mode.ROUNDS:

        def fresh() -> Batch:
            return Batch(node, column, terms)

        return Rounds(name, node, members, fresh, rounds_max=ROUNDS_MAX, start_at=now)
    player = BatchByGossip(node, column, terms)
    rng = Random(f"{open.seed} {name} {node}")
    return Gossip(
        name,
        node,
        members,
        player,
        rng,
        opening=player.opening,
        periods_max=PERIODS_MAX,
        start_at=now,
        period_s=period_s(len(members)),
    )


def divided(session: str, driver: Rounds | Gossip) -> Divided | None:
    """What a session that has ended has come to; None: to nothing that all have agreed on."""
    from .columns import REFUSED

    player: Batch | BatchByGossip = driver.player  # type: ignore[assignment]
    division, table, prices = player.division, player.table, player.prices
    if table is None or not division.tasks or not division.value < REFUSED:
        return None
    if isinstance(driver, Gossip) and not driver.agreed:
        return None
    shares = tuple(Share(node, tuple(tasks), prices.get(node, 0.0)) for node, tasks in division.tasks.items())
    columns = tuple(
        (node, tuple(cost if 0.0 < cost < REFUSED else None for cost in table.costs[row].tolist()))  # 0: by all
        for row, node in enumerate(table.nodes)
    )
    rounds = driver.rounds if isinstance(driver, Rounds) else driver.periods
    return Divided(session, shares, columns, division.value, division.bound, rounds)
