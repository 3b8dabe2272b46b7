"""Open-cry auctions of one task: the auctioneer calls prices, English or Dutch, until it is clear who has it for what.

Sources: FIPA XC00031F (English), XC00032F (Dutch), 2001; R. McAfee, J. McMillan, Auctions and Bidding, J. of Economic
Literature 25, 1987. A task is work to be done, so the auctions run in reverse: the price is what the winner is paid, in
the unit of costs, and the reserve is the most that is paid. English: it falls as long as somebody would go there.
Dutch: it rises until somebody takes it. (Sealed bids are a single contract net: award_rules.py, first-price and
vickrey.)

    auctioneer                                            bidders
      | AuctionStarted(auction, task, form) --------------> all            inform-start-of-auction
      | PriceCalled(number, price) -----------------------> all still in   cfp
      | <-------------------- PriceBid(number) | PricePassed(number)       propose: "I would do it at this price"
      |   English: when all have answered, or at reply_by; Dutch: at the first bid
      | PriceAccepted(number) -> the first to bid                          accept-proposal
      | PriceRejected(number, outbid | late) -> all others who bid         reject-proposal
      |   English: the next lower price is called to all others who are in, until nobody bids
      |   Dutch: nobody bid, the next higher price is called, up to the reserve
      | AuctionEnded(winner, price) ----------------------> all            inform

What holds: prices fall (English) or rise (Dutch) by one step each, and begin anew only if the one who is accepted dies;
at most one bidder is accepted at any moment, and it has bid at that very price; nobody is paid more than the reserve.
Who passes in an English auction is out: it would not do it for less either. Whoever bids is answered; a late bid is
rejected as late. One that has not understood, is silent or dead holds up nobody for longer than `cry_s`.

English ends within one step of the second smallest cost, whatever is bid: bidding down to one's cost is the best one
can do. In a Dutch auction, as with sealed first prices, it pays to wait; how long is the owner's affair.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple, TypeAlias

import msgspec

from .award_rules import Form
from .core import (
    AuctionId,
    Count,
    Effect,
    Event,
    Local,
    Message,
    NodeId,
    PeerDown,
    PeerError,
    ProtocolError,
    Seconds,
    Send,
    Task,
    TaskId,
)
from .performatives import Decline, NotUnderstood, Reason

CRY_S = 0.25
"""So long bidders may take to answer a price."""
CRIES_MAX = 10_000
"""No auction calls more prices."""
AUCTIONS_MAX = 4096
"""In so many a bidder takes part at a time; the oldest is forgotten first."""


class Lot(msgspec.Struct, frozen=True):
    """How a task is sold: prices begin at `start` and move by `step`; no more than `reserve` is paid. All in the unit
    of costs. Raises ValueError where no price could be called."""

    form: Form
    start: float
    step: float
    reserve: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.start < math.inf and 0.0 < self.step < math.inf and 0.0 <= self.reserve < math.inf):
            raise ValueError("start, step and reserve must be finite prices, and the step more than nothing")
        if self.start > self.reserve:
            raise ValueError("the first price is above the reserve: nobody would be paid it")

    def price(self, steps: int) -> float | None:
        """The price after so many steps; None: there is none any more. Exact: start ± steps · step."""
        price = self.start - steps * self.step if self.form.falls else self.start + steps * self.step
        if steps >= CRIES_MAX or price < 0.0:
            return None
        if price <= self.reserve:
            return price
        before = self.start + (steps - 1) * self.step
        return self.reserve if before < self.reserve else None  # the last price of all is the reserve itself


# --- what is said ----------------------------------------------------------------------------------------------------


class AuctionStarted(Message, frozen=True, array_like=True):
    """This task is for sale; prices follow."""

    auction: AuctionId
    task: Task
    form: Form


class PriceCalled(Message, frozen=True, array_like=True):
    """Who does it for this? To be answered within `reply_by_s`."""

    auction: AuctionId
    number: Count
    price: Seconds
    reply_by_s: Seconds


class PriceBid(Message, frozen=True, array_like=True):
    """I do. It binds until it is rejected."""

    auction: AuctionId
    number: Count


class PricePassed(Message, frozen=True, array_like=True):
    """Not I, and why."""

    auction: AuctionId
    number: Count
    decline: Decline


class PriceAccepted(Message, frozen=True, array_like=True):
    """You have it at this price, unless somebody does it for less."""

    auction: AuctionId
    number: Count


class PriceRejected(Message, frozen=True, array_like=True):
    """Somebody else has it, or will have; or your bid was late."""

    auction: AuctionId
    number: Count
    reason: Reason


class AuctionEnded(Message, frozen=True, array_like=True):
    """Who has it, for what; None: nobody."""

    auction: AuctionId
    winner: NodeId | None
    price: Seconds | None


class Sell(Local, frozen=True, array_like=True):
    """To the auctioneer of this node: sell this task among these bidders."""

    auction: AuctionId
    task: Task
    lot: Lot
    bidders: tuple[NodeId, ...]


class KnockedDown(Local, frozen=True, array_like=True):
    """The auctioneer's word to its own node: the task goes to the winner at this price; None: it was not sold.

    `declines`: why those who passed did so last; `silent`: who did not answer the last price.
    """

    auction: AuctionId
    task: TaskId
    winner: NodeId | None
    price: Seconds | None
    declines: tuple[tuple[NodeId, Decline], ...] = ()
    silent: tuple[NodeId, ...] = ()


MESSAGES: tuple[type[Message], ...] = (
    AuctionStarted,
    PriceCalled,
    PriceBid,
    PricePassed,
    PriceAccepted,
    PriceRejected,
    AuctionEnded,
)


TO_AUCTIONEER: tuple[type[Message], ...] = (Sell, PriceBid, PricePassed, NotUnderstood, PeerDown)
TO_BIDDER: tuple[type[Message], ...] = (
    AuctionStarted,
    PriceCalled,
    PriceAccepted,
    PriceRejected,
    AuctionEnded,
    PeerDown,
)


# --- what is logged --------------------------------------------------------------------------------------------------


class PriceTried(Event, frozen=True, kw_only=True):
    """A price was called: who bid, in this order, who passed, who had not answered when it closed, who was accepted."""

    name: ClassVar[str] = "auction.price"
    auction: AuctionId
    task: TaskId
    number: int
    steps: int
    price: float
    bidders: tuple[NodeId, ...]
    passed: tuple[NodeId, ...]
    silent: tuple[NodeId, ...]
    accepted: NodeId | None


class AuctionClosed(Event, frozen=True, kw_only=True):
    """Sold or not. With the prices that were called it can be recomputed: `outcome`."""

    name: ClassVar[str] = "auction.close"
    auction: AuctionId
    task: TaskId
    form: Form
    start: float
    step: float
    reserve: float
    gone: tuple[NodeId, ...]
    winner: NodeId | None
    price: float | None

    @property
    def lot(self) -> Lot:
        """Raises ValueError if these are no prices."""
        return Lot(self.form, self.start, self.step, self.reserve)


EVENTS: tuple[type[Event], ...] = (PriceTried, AuctionClosed)


def outcome(lot: Lot, tried: Sequence[PriceTried], gone: Iterable[NodeId]) -> tuple[NodeId, float] | None:
    """Who has it for what, from the log alone: the last who was accepted since prices began. None: it was not sold."""
    last: PriceTried | None = None
    for line in tried:
        if line.steps == 0 or line.accepted is not None:
            last = line
    if last is None or last.accepted is None or last.accepted in set(gone):
        return None
    price = lot.price(last.steps)
    return (last.accepted, price) if price is not None else None


# --- the auctioneer --------------------------------------------------------------------------------------------------


class Holder(NamedTuple):
    """Who is accepted at present, by which cry and at which step."""

    node: NodeId
    number: int
    steps: int


class _Auction:
    """One that is running."""

    def __init__(self, auction: AuctionId, task: Task, lot: Lot, bidders: Iterable[NodeId]) -> None:
        self.auction = auction
        self.task = task
        self.lot = lot
        self.bidders = sorted(bidders)
        self.out: set[NodeId] = set()
        self.gone: list[NodeId] = []
        self.number = 0  # of the price that is called
        self.steps = 0
        self.awaiting: set[NodeId] = set()
        self.bids: list[NodeId] = []  # for this price, in the order in which they came
        self.passed: list[NodeId] = []
        self.declines: dict[NodeId, Decline] = {}  # of those who passed, the last
        self.silent: list[NodeId] = []
        self.holder: Holder | None = None
        self.close_at = 0.0

    def still_in(self) -> list[NodeId]:
        """Whom a price is called to."""
        holder = self.holder.node if self.holder else None
        return [node for node in self.bidders if node not in self.out and node != holder]

    def stands(self, node: NodeId, number: int) -> bool:
        """Has it bid for this price, and was not rejected?"""
        bid = number == self.number and node in self.bids
        return bid or (self.holder is not None and self.holder[:2] == (node, number))


class Auctioneer:
    """Sells the tasks of its node, each in an auction of its own: told `Sell`, it answers at last with
    `KnockedDown`."""

    def __init__(self, node: NodeId, incarnation: int, cry_s: float = CRY_S) -> None:
        self._node = node
        self._prefix = f"{node}.{incarnation:x}."
        self._cry_s = cry_s
        self._running: dict[AuctionId, _Auction] = {}

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Sell():
                return self._sell(message, now)
            case PriceBid(auction, number):
                return self._bid(auction, number, sender, now)
            case PricePassed(auction, number, decline):
                one = self._open(auction, number, sender)
                return self._answered(one, sender, now, decline) if one else ()
            case NotUnderstood(about):
                one = self._running.get(about)
                return self._answered(one, sender, now) if one and sender in one.awaiting else ()
            case PeerDown(node):
                return [effect for one in list(self._running.values()) for effect in self._gone(one, node, now)]
        raise ProtocolError(f"an auctioneer is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return min([one.close_at for one in self._running.values()]) if self._running else None

    def wake(self, now: float) -> Sequence[Effect]:
        due = [one for one in self._running.values() if one.close_at <= now]
        return [effect for one in due for effect in self._close(one, now)]

    # -- hearing

    def _sell(self, sell: Sell, now: float) -> list[Effect]:
        if not sell.auction.startswith(self._prefix) or sell.auction in self._running:
            raise ProtocolError(f"{sell.auction} is no new auction of this node")
        one = self._running[sell.auction] = _Auction(sell.auction, sell.task, sell.lot, sell.bidders)
        started = AuctionStarted(one.auction, one.task, one.lot.form)
        return [*(Send(node, started) for node in one.bidders), *self._call(one, now)]

    def _open(self, auction: AuctionId, number: int, sender: NodeId) -> _Auction | None:
        """The auction, if it waits for this answer. Raises PeerError if it was never asked."""
        one = self._running.get(auction)
        if one is not None and (sender not in one.bidders or number > one.number):
            raise PeerError(f"{sender} answers a price of {auction} that was not called to it")
        return one if one is not None and number == one.number and sender in one.awaiting else None

    def _bid(self, auction: AuctionId, number: int, sender: NodeId, now: float) -> list[Effect]:
        if not auction.startswith(self._prefix):
            return [Send(sender, NotUnderstood(auction, "this auction is not mine"))]
        one = self._open(auction, number, sender)
        if one is None:
            running = self._running.get(auction)
            stands = running is not None and running.stands(sender, number)  # then it only says so twice
            return [] if stands else [Send(sender, PriceRejected(auction, number, Reason.LATE))]
        one.bids.append(sender)
        if one.lot.form is Form.DUTCH:
            return self._close(one, now)
        return self._answered(one, sender, now)

    def _answered(self, one: _Auction, node: NodeId, now: float, decline: Decline | None = None) -> list[Effect]:
        one.awaiting.discard(node)
        if decline is not None:
            one.passed.append(node)
            one.declines[node] = decline
            if one.lot.form.falls:
                one.out.add(node)
        return [] if one.awaiting else self._close(one, now)

    def _gone(self, one: _Auction, node: NodeId, now: float) -> list[Effect]:
        """Nobody waits for it; what it had is for sale again, to all who live, and prices begin anew."""
        if node not in one.bidders:
            return []
        one.bidders.remove(node)
        one.gone.append(node)
        one.bids = [bidder for bidder in one.bids if bidder != node]
        one.declines.pop(node, None)
        if one.holder is None or one.holder.node != node:
            return self._answered(one, node, now) if node in one.awaiting else []
        rejected = [Send(bidder, PriceRejected(one.auction, one.number, Reason.VANISHED)) for bidder in one.bids]
        one.holder, one.steps = None, 0
        one.out.clear()
        return [*rejected, *self._call(one, now)]

    # -- calling

    def _call(self, one: _Auction, now: float) -> list[Effect]:
        """Call the price of this step, if there is one and anybody to hear it; else it is over."""
        price, bidders = one.lot.price(one.steps), one.still_in()
        if price is None or not bidders:
            return self._end(one)
        one.number += 1
        one.awaiting, one.bids, one.passed = set(bidders), [], []
        one.close_at = now + self._cry_s
        called = PriceCalled(one.auction, one.number, price, self._cry_s)
        return [Send(node, called) for node in bidders]

    def _close(self, one: _Auction, now: float) -> list[Effect]:
        """Accept the first bid, reject the others, and go on as the form says."""
        accepted = one.bids[0] if one.bids else None
        price = one.lot.price(one.steps)
        assert price is not None, "a price was called"
        one.silent = sorted(one.awaiting - set(one.bids))
        effects: list[Effect] = [
            PriceTried(
                auction=one.auction,
                task=one.task.id,
                number=one.number,
                steps=one.steps,
                price=price,
                bidders=tuple(one.bids),
                passed=tuple(one.passed),
                silent=tuple(one.silent),
                accepted=accepted,
            )
        ]
        former = one.holder
        if accepted is not None:
            one.holder = Holder(accepted, one.number, one.steps)
            effects.append(Send(accepted, PriceAccepted(one.auction, one.number)))
            losers = [(node, one.number) for node in one.bids[1:]] + ([former[:2]] if former else [])
            for node, number in losers:
                effects.append(Send(node, PriceRejected(one.auction, number, Reason.OUTBID)))
        if one.lot.form.falls == (accepted is None):
            return [*effects, *self._end(one)]
        one.steps += 1
        return [*effects, *self._call(one, now)]

    def _end(self, one: _Auction) -> list[Effect]:
        del self._running[one.auction]
        winner = one.holder.node if one.holder else None
        price = one.lot.price(one.holder.steps) if one.holder else None
        lot = one.lot
        closed = AuctionClosed(
            auction=one.auction,
            task=one.task.id,
            form=lot.form,
            start=lot.start,
            step=lot.step,
            reserve=lot.reserve,
            gone=tuple(one.gone),
            winner=winner,
            price=price,
        )
        ended = AuctionEnded(one.auction, winner, price)
        declines = tuple(sorted((node, decline) for node, decline in one.declines.items() if node != winner))
        knocked = KnockedDown(one.auction, one.task.id, winner, price, declines, tuple(one.silent))
        return [closed, *(Send(node, ended) for node in one.bidders), Send(self._node, knocked)]


# --- the bidder ------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """An auction it takes part in."""

    auctioneer: NodeId
    task: Task


Asks: TypeAlias = Callable[[Task, NodeId, float], float | Decline]
"""Task, auctioneer, now -> for how much this node does it, or why not at all."""


def _unheeded(auctioneer: NodeId, task: TaskId) -> None:
    """Nobody wants to know."""


class Bidder:
    """Bids for what it is called.

    Whether what it `asks` is its cost, or more, is its owner's affair. `lost` is told what went to somebody else.
    """

    def __init__(self, node: NodeId, asks: Asks, lost: Callable[[NodeId, TaskId], None] = _unheeded) -> None:
        self._node = node
        self._asks = asks
        self._lost = lost
        self._parts: OrderedDict[AuctionId, _Part] = OrderedDict()

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case AuctionStarted(auction, task):
                self._parts[auction] = _Part(sender, task)
                if len(self._parts) > AUCTIONS_MAX:
                    self._parts.popitem(last=False)
                return ()
            case PriceCalled(auction, number, price):
                return [Send(sender, self._answer(auction, number, price, sender, now))]
            case PriceAccepted() | PriceRejected():
                return ()  # it binds, or binds no more: the award follows, or nothing
            case AuctionEnded(auction, winner):
                if (part := self._parts.get(auction)) and part.auctioneer == sender:
                    del self._parts[auction]
                    if winner not in (None, self._node):
                        self._lost(sender, part.task.id)
                return ()
            case PeerDown(node):
                for auction in [auction for auction, part in self._parts.items() if part.auctioneer == node]:
                    del self._parts[auction]
                return ()
        raise ProtocolError(f"a bidder is not told {type(message).__name__}")

    def wake(self, now: float) -> Sequence[Effect]:
        return ()

    @property
    def deadline(self) -> float | None:
        return None

    def _answer(self, auction: AuctionId, number: int, price: float, sender: NodeId, now: float) -> Message:
        part = self._parts.get(auction)
        if part is None or part.auctioneer != sender:
            return NotUnderstood(auction, "a price in an auction that has not started")
        asked = self._asks(part.task, sender, now)
        if isinstance(asked, Decline):
            return PricePassed(auction, number, asked)
        if asked > price:
            dear = Decline(part.task.id, Reason.RESERVE, f"ask more than the {price:.3g} s that were called")
            return PricePassed(auction, number, dear)
        return PriceBid(auction, number)
