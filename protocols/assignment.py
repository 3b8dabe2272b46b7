"""The assignment problem by auction: n persons, n objects, each person one object, the total cost as small as can be.

Sources: D. Bertsekas, The Auction Algorithm, Annals of Operations Research 14, 1988 (bids, ε-complementary slackness,
ε-scaling); M. Zavlanos, L. Spesivtsev, G. Pappas, A Distributed Auction Algorithm for the Assignment Problem, CDC 2008
(each person knows its own row only, prices travel by max-gossip). Here a person is an agent, an object is a task.

    person i: value of object j = -cost_ij; it wants the object of the largest value less price
      no object of mine  -> bid: price of the best + (best - second best) + ε      Standings -> neighbours
      Standings come     -> per object the higher (phase, price, name) stands; outbid: bid again
      each person has one -> the phase is over, and everybody who sees it knows: the next, smaller ε begins

The table of what stands is a join-semilattice: per object the largest (phase, price, -owner). So it does not matter how
often, or in which order, it is heard; and prices never fall.

*The end is seen, not assumed.* Let what a person knows be causally closed: whoever knows a bid knows all that its
bidder knew (whole tables; or changes handed on over links that keep their order; or all hear all in every round). If
then in one person's table every person owns an object, no bid follows in this phase. For let k's bid be the first to
follow: k lost its object to some m whose bid in the table is for another object. m's winning bid was made either later,
so k's is not the first, or earlier, but then k's loss stands in every table that holds m's later bid.

Invariant: ε-complementary slackness: at the prices it knows, an owner's object is within ε of its best. So the total is
within n·ε of the optimum. Costs are whole numbers, and all is counted in units of 1/(n+1): the last ε is one unit,
n·ε < 1, and the assignment is exact. (Fewer rounds, where persons may tell some of their costs: tenders.py.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from .core import AuctionId, Count, Message, NodeId, PeerError

OBJECTS_MAX = 4096
COST_MAX = 10**9
"""The largest cost: prices then stay below 2^62, whatever is bid."""
SCALE = 3
"""Each phase's ε is this part of the one before."""

Place: TypeAlias = Annotated[int, Meta(ge=0, lt=OBJECTS_MAX)]
"""Which person, which object, by its place in the session's order."""
Standing: TypeAlias = tuple[Place, Annotated[int, Meta(ge=0, le=64)], Annotated[int, Meta(ge=0, lt=2**62)], Place]
"""Object, phase, price in units of 1/(n+1), owner."""


class Standings(Message, frozen=True, array_like=True):
    """What its sender has learnt since it last spoke, its own bids among it; `last`: it says nothing more unasked."""

    session: AuctionId
    round: Count
    last: bool
    standings: Annotated[tuple[Standing, ...], Meta(max_length=OBJECTS_MAX)]


MESSAGES: tuple[type[Message], ...] = (Standings,)


def scaled(persons: int, cost_max: int, scale: int = SCALE) -> tuple[int, ...]:
    """The ε of each phase, in units of 1/(persons+1): from half of the largest cost down to one unit.

    >>> scaled(9, 100)
    (500, 166, 55, 18, 6, 2, 1)
    """
    epsilons = [max(cost_max * (persons + 1) // 2, 1)]
    while epsilons[-1] > 1:
        epsilons.append(max(epsilons[-1] // scale, 1))
    return tuple(epsilons)


def whole_costs(costs: Sequence[int], persons: int) -> npt.NDArray[np.int64]:
    """A person's row (objects,), checked. Raises ValueError."""
    if len(costs) != persons or not 0 < persons <= OBJECTS_MAX:
        raise ValueError(f"{persons} persons need as many objects, and at most {OBJECTS_MAX}")
    if any(cost != int(cost) or not 0 <= cost <= COST_MAX for cost in costs):
        raise ValueError(f"costs must be whole numbers from 0 to {COST_MAX}")
    return np.asarray(costs, np.int64)


class Person:
    """One person: knows its own row of costs, and what stands as far as it has heard.

    `costs` (objects,) are whole numbers from 0 to COST_MAX; `persons` are all who take part, in the order of their ids,
    as many as there are objects; `epsilons` are alike for all. `relays`: what it hears is handed on to its neighbours;
    not needed where all hear all in every round. Raises ValueError for costs that are none.
    """

    def __init__(
        self,
        node: NodeId,
        session: AuctionId,
        persons: Sequence[NodeId],
        costs: Sequence[int],
        epsilons: Sequence[int],
        *,
        relays: bool = True,
    ) -> None:
        n = len(persons)
        self._values = -whole_costs(costs, n) * (n + 1)
        self.session = session
        self._me = persons.index(node)
        self._places = {person: place for place, person in enumerate(persons)}
        self._epsilons = epsilons
        self._relays = relays
        self._prices = np.zeros(n, np.int64)
        self._phases = [-1] * n  # in which each object was bid for last
        self._owners = [0] * n
        self._phase = 0
        self._objects: list[int | None] = [None] * n  # of each person, in this phase
        self._waiting = set(range(n))  # who has none, and lives
        self._gone: set[int] = set()
        self._news: dict[int, None] = {}  # objects to tell of

    # -- hearing and speaking

    def hear(self, message: Message, sender: NodeId) -> None:
        """Take what is higher. Raises PeerError on nonsense."""
        if not isinstance(message, Standings) or message.session != self.session or sender not in self._places:
            raise PeerError(f"{sender} sent {type(message).__name__}, or has no part in the assignment {self.session}")
        n = len(self._owners)
        for place, phase, _, owner in message.standings:
            if place >= n or owner >= n or phase >= len(self._epsilons):
                raise PeerError(f"{sender} speaks of an object, an owner or a phase that is not in this session")
        for place, phase, price, owner in message.standings:
            if self._take(place, phase, price, owner) and self._relays:
                self._news[place] = None

    def speak(self, turn: int, *, whole: bool = False) -> Standings:
        """Bid if it has no object, and tell what is new; `whole`: all that stands, for neighbours that miss words."""
        self._bid()
        places: Iterable[int] = range(len(self._owners)) if whole else self._news
        told = [(place, self._phases[place], int(self._prices[place]), self._owners[place]) for place in places]
        self._news = {}
        return Standings(self.session, turn, self.done, tuple(line for line in told if line[1] >= 0))

    @property
    def news(self) -> bool:
        """It has something to say: a bid of its own, or what it has heard."""
        return bool(self._news) or (not self.done and (self._complete or self._objects[self._me] is None))

    def gone(self, node: NodeId) -> None:
        """It takes no part any more: nobody waits for its bid."""
        if (place := self._places.get(node)) is not None:
            self._gone.add(place)
            self._waiting.discard(place)

    # -- what it knows

    @property
    def done(self) -> bool:
        """Everybody has an object in the last phase: no bid follows."""
        return self._complete and self._phase == len(self._epsilons) - 1

    @property
    def object(self) -> int | None:
        """The place of its object, once all is done."""
        return self._objects[self._me] if self.done else None

    @property
    def prices(self) -> list[int]:
        """Per object, in units of 1/(n+1)."""
        return [int(price) for price in self._prices]

    @property
    def _complete(self) -> bool:
        return not self._waiting

    # -- the table

    def _take(self, place: int, phase: int, price: int, owner: int) -> bool:
        """Let the higher stand; was this the higher?"""
        former, before = self._phases[place], self._owners[place]
        if (phase, price, -owner) <= (former, int(self._prices[place]), -before):
            return False
        if phase > self._phase:
            self._begin(phase)  # who bids in a phase has seen the one before complete
        self._phases[place], self._prices[place], self._owners[place] = phase, price, owner
        if phase == self._phase:
            if former == phase and self._objects[before] == place:
                self._own(before, None)
            self._own(owner, place)
        return True

    def _own(self, person: int, place: int | None) -> None:
        self._objects[person] = place
        if place is not None:
            self._waiting.discard(person)
        elif person not in self._gone:
            self._waiting.add(person)

    def _begin(self, phase: int) -> None:
        """A phase begins with the prices of the one before, and nobody owns anything."""
        self._phase = phase
        self._objects = [None] * len(self._owners)
        self._waiting = set(range(len(self._owners))) - self._gone

    def _bid(self) -> None:
        """For the object of the largest margin, as much as it may cost before another is better, and ε more."""
        if self._complete and not self.done:
            self._begin(self._phase + 1)
        if self._objects[self._me] is not None:
            return
        margins = self._values - self._prices
        best = int(margins.argmax())
        most = int(margins[best])
        margins[best] = np.iinfo(np.int64).min
        next_best = int(margins.max()) if len(margins) > 1 else most
        price = int(self._prices[best]) + most - next_best + self._epsilons[self._phase]
        self._take(best, self._phase, price, self._me)
        self._news[best] = None
