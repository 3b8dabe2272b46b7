"""The award rules: which waiting task next (`order`), and which bid (`choose`).

The contract net takes one of each as arguments, and with them becomes one or the other of the field's classic methods:

| name on the command line | order | choose | what it is |
|---|---|---|---|
| contract-net | longest | least-cost | longest processing time first, to where it ends soonest (Graham 1969) |
| first-price | longest | least-cost | the same as an auction: sealed bids, and the winner is paid what it has asked |
| vickrey | longest | least-cost | sealed bids; the winner is paid the runner-up's price: it pays to be honest |
| english, dutch | longest | least-cost | with a reserve price sold in the open (auctions.py), else as first-price |
| iterated | longest | least-cost | the same, but bidders are told the best bid and asked for less (FIPA SC00030H) |
| most-free | arrival | most-free | greedy: to the node with the most free resources |
| longest-heaviest | longest | heaviest | greedy: the longest task to the heaviest node |
| random | arrival | random | the baseline that every rule must beat |

Under a rule that pays, a task's reward is its reserve price: no bid above it is taken. Costs are seconds until done,
lower is better. Ties break by node id, so that everybody who sees the same offers picks the same one.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from .core import NodeId, Task

UNKNOWN_WORK_S = 1.0
"""What a task of unknown work counts as where tasks are put in order."""


class Form(enum.StrEnum):
    """Which way prices go."""

    ENGLISH = "english"
    DUTCH = "dutch"

    @property
    def falls(self) -> bool:
        return self is Form.ENGLISH


class Offer(NamedTuple):
    """A bid as it stands in the plan: `queue_s` until it could start there, `own_s` for all the other terms."""

    node: NodeId
    queue_s: float
    own_s: float
    free: int
    speed: float

    @property
    def cost(self) -> float:
        """Seconds until done."""
        return self.queue_s + self.own_s


Order: TypeAlias = Callable[[Task, int], tuple[float, int]]
"""Task and its arrival number -> sort key; the smallest is served first."""
Choose: TypeAlias = Callable[[Sequence[Offer], int], Offer]
"""Offers, in the order of node ids, never empty, and a seed -> one of them."""


def arrival(task: Task, number: int) -> tuple[float, int]:
    """First come, first served."""
    return (0.0, number)


def longest(task: Task, number: int) -> tuple[float, int]:
    """Longest processing time first."""
    return (-(UNKNOWN_WORK_S if task.work is None else task.work), number)


def least_cost(offers: Sequence[Offer], seed: int) -> Offer:
    """Where it ends soonest."""
    return min(offers, key=lambda offer: (offer.queue_s + offer.own_s, offer.node))


def most_free(offers: Sequence[Offer], seed: int) -> Offer:
    """The node with the most free resources: slots that are free, less the tasks that wait for one."""
    return min(offers, key=lambda offer: (-offer.free, offer.node))


def heaviest(offers: Sequence[Offer], seed: int) -> Offer:
    """The heaviest (fastest) among the nodes that are free; with none free, the heaviest of all."""
    return min(offers, key=lambda offer: (offer.queue_s > 0.0, -offer.speed, offer.node))


def own_price(winner: Offer, offers: Sequence[Offer], reserve: float) -> float:
    """What it has asked."""
    return winner.cost


def second_price(winner: Offer, offers: Sequence[Offer], reserve: float) -> float:
    """What the runner-up has asked, or the reserve if that is less; alone it is paid the reserve, or without one what
    it has asked. W. Vickrey, Counterspeculation, Auctions, and Competitive Sealed Tenders, J. of Finance 16, 1961."""
    others = [offer.cost for offer in offers if offer.node != winner.node]
    price = min(others, default=reserve if reserve > 0.0 else winner.cost)
    return min(price, reserve) if reserve > 0.0 else price


def at_random(offers: Sequence[Offer], seed: int) -> Offer:
    """Any of them, with equal chance."""
    return offers[zlib.crc32(seed.to_bytes(8)) % len(offers)]


Pay: TypeAlias = Callable[[Offer, Sequence[Offer], float], float]
"""The winner, all offers, the reserve (0: none) -> what the winner is paid, in the unit of costs."""


class Rule(NamedTuple):
    """An award rule by its name on the command line and in the log."""

    name: str
    order: Order
    choose: Choose
    revisions: int = 0
    """How often those who bid are asked for a better bid, at most."""
    pay: Pay | None = None
    """What the winner is paid; None: nothing is paid."""
    form: Form | None = None
    """How tasks with a reserve price are sold in the open; None: by sealed bids."""

    def reserve(self, task: Task) -> float:
        """The most that is paid for it; 0: no limit, or nothing is paid at all, as for gangs, which several have."""
        return task.conditions.reward if self.pay is not None and not task.gang else 0.0

    def paid(self, task: Task, offer: Offer, offers: Sequence[Offer]) -> float | None:
        """To whoever has made this offer, of all that were made; None: nothing is paid, as for gangs."""
        return self.pay(offer, offers, self.reserve(task)) if self.pay is not None and not task.gang else None


CONTRACT_NET = Rule("contract-net", longest, least_cost)
RULES = {
    rule.name: rule
    for rule in (
        CONTRACT_NET,
        Rule("first-price", longest, least_cost, pay=own_price),
        Rule("vickrey", longest, least_cost, pay=second_price),
        Rule("english", longest, least_cost, pay=own_price, form=Form.ENGLISH),
        Rule("dutch", longest, least_cost, pay=own_price, form=Form.DUTCH),
        Rule("iterated", longest, least_cost, revisions=4),
        Rule("most-free", arrival, most_free),
        Rule("longest-heaviest", longest, heaviest),
        Rule("random", arrival, at_random),
    )
}
