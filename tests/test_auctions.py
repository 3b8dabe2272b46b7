"""Open-cry auctions: lots, each role alone, then FIPA's cases as plays with transcripts, then random owners.

The transcripts in `transcripts/auctions_*.txt` are compared word by word; they are written anew only when
PARLEY_WRITE_TRANSCRIPTS is set.
"""

from __future__ import annotations

import heapq
import inspect
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.protocols.auctions import (
    CRIES_MAX,
    CRY_S,
    MESSAGES,
    AuctionClosed,
    Auctioneer,
    AuctionEnded,
    AuctionStarted,
    Bidder,
    KnockedDown,
    Lot,
    PriceAccepted,
    PriceBid,
    PriceCalled,
    PricePassed,
    PriceRejected,
    PriceTried,
    Sell,
    outcome,
)
from parley.protocols.award_rules import Form
from parley.protocols.core import Effect, Event, Message, NodeId, PeerDown, PeerError, ProtocolError, Send, Task
from parley.protocols.performatives import Decline, NotUnderstood, Reason
from parley.transport.codec import Codec

TRANSCRIPTS = Path(__file__).parent / "transcripts"
DELAY_S = 0.001
TASK = Task("t", "x", 1.0)
ENGLISH = Lot(Form.ENGLISH, 10.0, 1.0, 10.0)
DUTCH = Lot(Form.DUTCH, 1.0, 1.0, 8.0)
DEAR = Decline("t", Reason.RESERVE)

Person = Callable[[Message], Message | None]


def costs(cost: float | None, silent_at: Sequence[int] = ()) -> Person:
    """A bidder that does it for this, and says nothing to some prices."""
    refusal = Decline("t", Reason.KIND, "do not offer it")
    role = Bidder("", lambda task, auctioneer, now: cost if cost is not None else refusal)

    def hear(message: Message) -> Message | None:
        if isinstance(message, PriceCalled) and message.number in silent_at:
            return None
        answers = role.receive(message, "a", 0.0)
        return answers[0].message if answers and isinstance(answers[0], Send) else None

    return hear


class Sale:
    """One auctioneer, a, and those who bid; what is said takes a millisecond, and is written down."""

    def __init__(self, people: Mapping[NodeId, Person], *, strangers: Sequence[NodeId] = ()) -> None:
        self.now = 0.0
        self.auctioneer = Auctioneer("a", 1)
        self.people = dict(people)
        self.bidders = [*people, *strangers]
        self.said: list[tuple[NodeId, NodeId, Message]] = []
        self.events: list[Event] = []
        self.sold: list[KnockedDown] = []
        self._lines: list[str] = []
        self._queue: list[tuple[float, int, NodeId, NodeId, Message]] = []
        self._number = 0

    def sell(self, lot: Lot, task: Task = TASK) -> Sale:
        self._tell(Sell("a.1.c1", task, lot, tuple(self.bidders)))
        return self

    def run(self, until: float = 100.0) -> Sale:
        while True:
            wake = self.auctioneer.deadline
            at = min(wake if wake is not None else until, self._queue[0][0] if self._queue else until)
            if at >= until:
                self.now = until
                return self
            self.now = at
            if self._queue and self._queue[0][0] <= at:
                _, _, sender, to, message = heapq.heappop(self._queue)
                self._deliver(sender, to, message)
            else:
                self._perform(self.auctioneer.wake(self.now))

    def say(self, sender: NodeId, to: NodeId, message: Message) -> None:
        self.said.append((sender, to, message))
        self._lines.append(f"{self.now * 1000:8.1f} ms  {sender} -> {to}: {words(message)}")
        self._number += 1
        heapq.heappush(self._queue, (self.now + DELAY_S, self._number, sender, to, message))

    def die(self, node: NodeId) -> None:
        self._lines.append(f"{self.now * 1000:8.1f} ms  {node} dies")
        del self.people[node]
        self._tell(PeerDown(node))

    def _tell(self, message: Message) -> None:
        self._perform(self.auctioneer.receive(message, "a", self.now))

    def _deliver(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if to == "a":
            try:
                self._perform(self.auctioneer.receive(message, sender, self.now))
            except PeerError as error:
                self._lines.append(f"{self.now * 1000:8.1f} ms  a drops it: {error}")
        elif (person := self.people.get(to)) is not None and (answer := person(message)) is not None:
            self.say(to, sender, answer)

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send("a", KnockedDown() as end):
                    self.sold.append(end)
                    what = f"goes to {end.winner} for {end.price:g}" if end.winner else "is not sold"
                    self._lines.append(f"{self.now * 1000:8.1f} ms  a: {end.task} {what}")
                case Send(to, message):
                    self.say("a", to, message)
                case Event():
                    self.events.append(effect)

    def tried(self) -> list[PriceTried]:
        return [event for event in self.events if isinstance(event, PriceTried)]

    def end(self) -> tuple[NodeId | None, float | None]:
        """Who has it for what; and the log says the same."""
        [end], [closed] = self.sold, [event for event in self.events if isinstance(event, AuctionClosed)]
        recomputed = outcome(closed.lot, self.tried(), closed.gone)
        assert (recomputed or (None, None)) == (end.winner, end.price) == (closed.winner, closed.price)
        return end.winner, end.price

    def told(self, kind: type[Message], to: NodeId | None = None) -> list[Message]:
        return [message for _, who, message in self.said if isinstance(message, kind) and to in (None, who)]


def words(message: Message) -> str:
    name = type(message).__name__
    match message:
        case AuctionStarted(auction, task, form):
            return f"{name} {auction}: {task.id}, {form}"
        case PriceCalled(_, number, price, reply_by_s):
            return f"{name} {number}: {price:g}, within {reply_by_s:g} s"
        case PriceBid(_, number) | PriceAccepted(_, number):
            return f"{name} {number}"
        case PricePassed(_, number, decline):
            return f"{name} {number}: {decline.reason}"
        case PriceRejected(_, number, reason):
            return f"{name} {number}: {reason}"
        case AuctionEnded(_, winner, price):
            return f"{name}: {winner} for {price:g}" if winner and price is not None else f"{name}: not sold"
        case NotUnderstood(about, detail):
            return f"{name} {about}: {detail}"
    return name


@pytest.fixture
def transcript(request: pytest.FixtureRequest) -> Callable[[Sale], None]:
    case = request.function
    path = TRANSCRIPTS / f"auctions_{case.__name__.removeprefix('test_')}.txt"

    def compare(sale: Sale) -> None:
        text = f"{inspect.cleandoc(case.__doc__ or '')}\n\n" + "".join(f"{line}\n" for line in sale._lines)
        if os.environ.get("PARLEY_WRITE_TRANSCRIPTS"):
            path.write_text(text)
        assert text == path.read_text()

    return compare


Transcript = Callable[[Sale], None]

# --- lots


def test_prices_of_a_lot() -> None:
    assert [ENGLISH.price(steps) for steps in (0, 1, 10, 11)] == [10.0, 9.0, 0.0, None]
    assert [DUTCH.price(steps) for steps in (0, 1, 7, 8)] == [1.0, 2.0, 8.0, None]
    odd = Lot(Form.DUTCH, 1.0, 4.0, 7.0)
    assert [odd.price(steps) for steps in (0, 1, 2, 3)] == [1.0, 5.0, 7.0, None]
    assert Lot(Form.DUTCH, 0.0, 1e-9, 1.0).price(CRIES_MAX) is None


@pytest.mark.parametrize(
    ("start", "step", "reserve"), [(11.0, 1.0, 10.0), (1.0, 0.0, 10.0), (-1.0, 1.0, 10.0), (1.0, 1.0, float("inf"))]
)
def test_lots_without_prices(start: float, step: float, reserve: float) -> None:
    with pytest.raises(ValueError, match="price"):
        Lot(Form.DUTCH, start, step, reserve)


# --- English (FIPA XC00031F)


def test_english_the_price_falls_until_nobody_bids(transcript: Transcript) -> None:
    """English: started; each price is called to all but the one who has it; the first to bid is accepted, the others
    are rejected; who passes is out; when nobody bids any more it is sold at the last price that was accepted.

    b does it for 7, c for 8.5, d for 9.5: it goes to b, one step below what c would have gone to.
    """
    sale = Sale({"b": costs(7.0), "c": costs(8.5), "d": costs(9.5)}).sell(ENGLISH).run()
    assert sale.end() == ("b", 8.0)
    prices = [line.price for line in sale.tried()]
    assert prices == sorted(prices, reverse=True)
    transcript(sale)


def test_english_nobody_goes_to_the_first_price(transcript: Transcript) -> None:
    """The reserve is the first price, and nobody does it for that: not sold."""
    sale = Sale({"b": costs(11.0), "c": costs(None)}).sell(ENGLISH).run()
    assert sale.end() == (None, None)
    transcript(sale)


def test_english_not_understood_ends_nothing_with_the_others(transcript: Transcript) -> None:
    """c understands no price: nobody waits for it, and it is asked again at the next. d is silent to the first price,
    and bids for the second. z does not exist, so each price stands for a quarter of a second."""

    def baffled(message: Message) -> Message | None:
        return NotUnderstood(message.auction, "what?") if isinstance(message, PriceCalled) else None

    people = {"b": costs(5.0), "c": baffled, "d": costs(6.5, silent_at=[1])}
    sale = Sale(people, strangers=["z"]).sell(ENGLISH).run()
    assert sale.end() == ("b", 6.0)
    assert sale.tried()[0].silent == ("d", "z")
    assert len(sale.told(PriceCalled, "c")) == len(sale.tried())
    transcript(sale)


def test_english_a_late_bid_is_rejected_as_late(transcript: Transcript) -> None:
    """c bids for the first price when the second is called already, and for the second when all is over. Nonsense
    changes nothing: a price never called, a bid by one who was not asked, a conversation that is not ours."""
    sale = Sale({"b": costs(8.0), "c": costs(8.5, silent_at=[2, 3])}).sell(ENGLISH)
    sale.run(0.1)
    sale.say("c", "a", PriceBid("a.1.c1", 1))
    sale.say("c", "a", PriceBid("a.1.c1", 99))
    sale.say("y", "a", PriceBid("a.1.c1", 2))
    sale.say("y", "a", PriceBid("m.1.c1", 1))
    sale.run()
    sale.say("c", "a", PriceBid("a.1.c1", 2))
    sale.run(200.0)
    late = [m for m in sale.told(PriceRejected, "c") if isinstance(m, PriceRejected) and m.reason is Reason.LATE]
    assert len(late) == 2
    assert sale.told(NotUnderstood, "y") == [NotUnderstood("m.1.c1", "this auction is not mine")]
    sale.end()
    transcript(sale)


def test_english_who_has_it_dies(transcript: Transcript) -> None:
    """b has it when it dies: prices begin anew among those who live, those who were out among them."""
    sale = Sale({"b": costs(1.0), "c": costs(9.0, silent_at=[2]), "d": costs(9.5)}).sell(ENGLISH)
    sale.run(0.1)
    sale.die("b")
    sale.run()
    assert sale.end() == ("c", 10.0)
    transcript(sale)


# --- Dutch (FIPA XC00032F)


def test_dutch_the_price_rises_until_somebody_bids(transcript: Transcript) -> None:
    """Dutch: the first to bid has it, at that price; whoever bids for it too is rejected."""
    sale = Sale({"b": costs(3.5), "c": costs(3.2), "d": costs(5.0)}).sell(DUTCH).run()
    assert sale.end() == ("b", 4.0)
    assert sale.told(PriceRejected, "c") == [PriceRejected("a.1.c1", 4, Reason.LATE)]
    transcript(sale)


def test_dutch_at_the_reserve_it_is_not_sold(transcript: Transcript) -> None:
    """The last price is the reserve, though no step leads there."""
    sale = Sale({"b": costs(6.5)}).sell(Lot(Form.DUTCH, 0.0, 4.0, 6.0)).run()
    assert sale.end() == (None, None)
    assert [line.price for line in sale.tried()] == [0.0, 4.0, 6.0]
    transcript(sale)


def test_dutch_who_is_silent_holds_up_each_price(transcript: Transcript) -> None:
    """A price stands for a quarter of a second if somebody says nothing to it."""
    sale = Sale({"b": costs(3.0), "c": lambda message: None}).sell(DUTCH).run()
    assert sale.end() == ("b", 3.0)
    assert [line.silent for line in sale.tried()] == [("c",)] * 3
    transcript(sale)


# --- each role alone


def test_nobody_to_sell_to() -> None:
    sale = Sale({}).sell(ENGLISH).run()
    assert sale.end() == (None, None)
    assert sale.auctioneer.deadline is None


def test_the_only_bidder_is_paid_the_first_price() -> None:
    assert Sale({"b": costs(1.0)}).sell(ENGLISH).run().end() == ("b", 10.0)


def test_it_bids_once_for_a_price_however_often_it_says_so() -> None:
    auctioneer = Auctioneer("a", 1)
    auctioneer.receive(Sell("a.1.c1", TASK, ENGLISH, ("b", "c")), "a", 0.0)
    assert auctioneer.deadline == CRY_S
    bid = PriceBid("a.1.c1", 1)
    assert auctioneer.receive(bid, "b", 0.1) == []
    assert auctioneer.receive(bid, "b", 0.1) == []
    effects = auctioneer.receive(PricePassed("a.1.c1", 1, DEAR), "c", 0.1)
    assert Send("b", AuctionEnded("a.1.c1", "b", 10.0)) in effects
    assert [effect.bidders for effect in effects if isinstance(effect, PriceTried)] == [("b",)]


def test_a_bidder_answers_only_the_auctioneer_of_an_auction_that_has_started() -> None:
    lost: list[tuple[str, str]] = []
    bidder = Bidder("b", lambda task, auctioneer, now: 5.0, lambda auctioneer, task: lost.append((auctioneer, task)))
    called = PriceCalled("a.1.c1", 1, 6.0, 0.25)
    unknown = [Send("a", NotUnderstood("a.1.c1", "a price in an auction that has not started"))]
    assert bidder.receive(called, "a", 0.0) == unknown
    bidder.receive(AuctionStarted("a.1.c1", TASK, Form.ENGLISH), "a", 0.0)
    assert bidder.receive(called, "a", 0.0) == [Send("a", PriceBid("a.1.c1", 1))]
    assert bidder.receive(PriceCalled("a.1.c1", 2, 4.0, 0.25), "a", 0.0) == [
        Send("a", PricePassed("a.1.c1", 2, Decline("t", Reason.RESERVE, "ask more than the 4 s that were called")))
    ]
    assert isinstance(bidder.receive(called, "b", 0.0)[0], Send)
    bidder.receive(AuctionEnded("a.1.c1", None, None), "b", 0.0)
    assert bidder.receive(called, "a", 0.0) != unknown
    bidder.receive(PeerDown("a"), "b", 0.0)
    assert bidder.receive(called, "a", 0.0) == unknown
    for winner in ("b", None, "c"):
        bidder.receive(AuctionStarted("a.1.c1", TASK, Form.ENGLISH), "a", 0.0)
        bidder.receive(AuctionEnded("a.1.c1", winner, 5.0), "a", 0.0)
    assert lost == [("a", "t")]


@pytest.mark.parametrize("role", [Auctioneer("a", 1), Bidder("b", lambda task, auctioneer, now: 1.0)])
def test_a_word_that_is_not_for_this_role_is_our_own_mistake(role: Auctioneer | Bidder) -> None:
    with pytest.raises(ProtocolError):
        role.receive(KnockedDown("a.1.c1", "t", None, None), "a", 0.0)


def test_all_words_cross_the_wire() -> None:
    codec = Codec(MESSAGES)
    for message in (
        AuctionStarted("a.1.c1", TASK, Form.DUTCH), PriceCalled("a.1.c1", 1, 2.5, 0.25), PriceBid("a.1.c1", 1),
        PricePassed("a.1.c1", 1, DEAR), PriceAccepted("a.1.c1", 1), PriceRejected("a.1.c1", 1, Reason.OUTBID),
        AuctionEnded("a.1.c1", "b", 2.5),
    ):  # fmt: skip
        assert codec.decode_message(codec.encode_message(message)) == message


# --- any owners


OWNERS = st.lists(st.floats(0.0, 12.0), min_size=1, max_size=6)


@given(OWNERS, st.floats(0.05, 3.0))
@settings(max_examples=100, deadline=None)
def test_english_ends_within_one_step_of_the_second_smallest_cost(owners: list[float], step: float) -> None:
    lot = Lot(Form.ENGLISH, 10.0, step, 10.0)
    sale = Sale({f"n{number}": costs(cost) for number, cost in enumerate(owners)}).sell(lot).run()
    winner, price = sale.end()
    able = sorted(cost for cost in owners if cost <= 10.0)
    assert (winner is None) == (not able)
    if winner is not None and price is not None:
        second = able[1] if len(able) > 1 else 10.0
        assert owners[int(winner[1:])] <= price + step
        assert second - step - 1e-9 <= price <= max(second + step, 0.0) + 1e-9
        assert owners[int(winner[1:])] <= price


@given(OWNERS, st.floats(0.05, 3.0), st.floats(0.0, 10.0))
@settings(max_examples=100, deadline=None)
def test_dutch_goes_to_one_who_bids_at_the_first_price_that_anybody_bids_at(
    owners: list[float], step: float, reserve: float
) -> None:
    lot = Lot(Form.DUTCH, 0.0, step, reserve)
    sale = Sale({f"n{number}": costs(cost) for number, cost in enumerate(owners)}).sell(lot).run()
    winner, price = sale.end()
    assert (winner is None) == (min(owners) > reserve)
    if winner is not None and price is not None:
        assert owners[int(winner[1:])] <= price <= reserve
        assert min(owners) > price - step - 1e-9


@given(OWNERS, st.sampled_from([ENGLISH, DUTCH]), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_whatever_dies_when_it_ends_once_and_the_winner_lives(owners: list[float], lot: Lot, seed: int) -> None:
    rng = random.Random(seed)
    silent = [rng.sample(range(1, 8), 2) for _ in owners]
    sale = Sale({f"n{number}": costs(cost, silent[number]) for number, cost in enumerate(owners)}).sell(lot)
    while sale.auctioneer.deadline is not None:
        sale.run(sale.now + rng.uniform(0.0, 0.5))
        if sale.people and rng.random() < 0.3 and not sale.sold:
            sale.die(rng.choice(sorted(sale.people)))
    winner, _ = sale.end()
    assert winner is None or winner in sale.people
