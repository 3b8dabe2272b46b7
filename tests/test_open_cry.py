"""Tasks sold in the open: the bridge alone, then agents on the simulated wire, and nodes that die while they bid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from simulated_agents import Fleet

from parley.protocols.auctions import AuctionClosed, KnockedDown, Lot, PriceTried, Sell, outcome
from parley.protocols.award_rules import RULES
from parley.protocols.contract import Contract, Stage
from parley.protocols.contract_events import AuctionAwarded
from parley.protocols.core import Conditions, Send, State, Task
from parley.protocols.open_cry import PRICES, OpenCry
from parley.protocols.performatives import Decline, Reason
from parley.transport.faults import Faults

FORMS = pytest.mark.parametrize("rule", ["english", "dutch"])


def task(name: str, reward: float, work: float = 0.4) -> Task:
    return Task(name, "work", work, terms=Conditions(reward=reward))


def contract(name: str, reward: float, number: int = 1) -> Contract:
    return Contract(task(name, reward), b"", (0.0, 0.0, 0.0, number), follow=False, waits=False, due=None, blobs=())


# --- the bridge


def test_what_has_a_reserve_price_is_sold_in_the_open() -> None:
    assert OpenCry("a", "a.1.", RULES["english"]).sells(contract("t", 2.0))
    assert not OpenCry("a", "a.1.", RULES["english"]).sells(contract("t", 0.0))
    assert not OpenCry("a", "a.1.", RULES["vickrey"]).sells(contract("t", 2.0))


@FORMS
def test_a_lot_begins_at_the_reserve_or_ends_there(rule: str) -> None:
    cries = OpenCry("a", "a.1.", RULES[rule])
    one = contract("t", 2.0)
    cries.add(one)
    assert cries.sell_next([], 0.0) == []
    [effect] = cries.sell_next(["a", "b"], 0.0)
    assert isinstance(effect, Send)
    sell = effect.message
    assert isinstance(sell, Sell)
    assert (effect.to, sell.auction, sell.bidders, one.auction) == ("a", "a.1.c1", ("a", "b"), "a.1.c1")
    assert sell.lot == Lot(sell.lot.form, 2.0 if rule == "english" else 2.0 / PRICES, 2.0 / PRICES, 2.0)
    assert sell.lot.price(0 if rule == "english" else PRICES - 1) == pytest.approx(2.0)
    assert cries.sell_next(["a", "b"], 0.0) == []


def test_one_after_the_other_in_the_rules_order() -> None:
    cries = OpenCry("a", "a.1.", RULES["dutch"])
    for number in (3, 1, 2):
        cries.add(contract(f"t{number}", 1.0, number))
    order = []
    for number in range(1, 4):
        [effect] = cries.sell_next(["b"], 0.0)
        assert isinstance(effect, Send)
        assert isinstance(effect.message, Sell)
        order.append(effect.message.task.id)
        assert cries.sell_next(["b"], 0.0) == []
        sold = cries.knocked_down(KnockedDown(f"a.1.c{number}", order[-1], "b", 0.5))
        assert sold is not None
        assert sold.bids["b"].own_s == 0.5
    assert order == ["t1", "t2", "t3"]


def test_an_end_that_comes_too_late_counts_no_more() -> None:
    cries = OpenCry("a", "a.1.", RULES["dutch"])
    one = contract("t", 1.0)
    cries.add(one)
    cries.sell_next(["b"], 0.0)
    one.stage = Stage.ENDED
    assert cries.knocked_down(KnockedDown("a.1.c1", "t", "b", 0.5)) is None
    assert cries.knocked_down(KnockedDown("a.1.c1", "t", "b", 0.5)) is None
    again = contract("u", 1.0)
    cries.add(again)
    cries.sell_next(["b"], 0.0)
    unsold = KnockedDown("a.1.c2", "u", None, None, (("b", Decline("u", Reason.KIND)),), ("c",))
    assert cries.knocked_down(unsold) is again
    assert (again.bids, list(again.declines), again.silent) == ({}, ["b"], ("c",))


# --- agents


def checked(fleet: Fleet) -> list[AuctionAwarded]:
    """The awards; each is recomputed from what the log says of its auction, and paid no more than the reserve."""
    tried: dict[str, list[PriceTried]] = {}
    for _, _, event in fleet.events(PriceTried):
        assert isinstance(event, PriceTried)
        tried.setdefault(event.auction, []).append(event)
    sold = {}
    for _, _, event in fleet.events(AuctionClosed):
        assert isinstance(event, AuctionClosed)
        recomputed = outcome(event.lot, tried.get(event.auction, ()), event.gone)
        assert recomputed == ((event.winner, event.price) if event.winner is not None else None)
        sold[event.auction] = recomputed
    awards = [event for _, _, event in fleet.events(AuctionAwarded) if isinstance(event, AuctionAwarded)]
    for award in awards:
        assert sold[award.auction] == (award.winner, award.payment)
        assert award.payment is not None
        assert award.payment == award.cost <= award.reserve
    return awards


def works(count: int, reward: float = 4.0) -> Sequence[Task]:
    return [task(f"t{number:02}", reward, 0.1 + 0.05 * number) for number in range(count)]


@FORMS
def test_a_fleet_that_sells_in_the_open(rule: str) -> None:
    fleet = Fleet([1.0, 2.0, 4.0], {"n1": works(12)}, rule=RULES[rule])
    fleet.run(until=60.0)
    [client] = fleet.clients.values()
    assert [end.state for end in client.outcomes] == [State.DONE] * 12
    assert len(checked(fleet)) == 12
    assert not fleet.wire.garbage
    served = Counter(award.winner for award in checked(fleet))
    assert served["n3"] > served["n1"]


@FORMS
def test_a_bad_wire_and_a_death(rule: str) -> None:
    """What the dead one had, or was about to have, is sold again."""
    faults = Faults(loss=0.1, duplication=0.1, delay_s=(0.001, 0.02))
    fleet = Fleet([1.0, 2.0, 4.0], {"n1": works(10)}, rule=RULES[rule], seed=3, faults=faults)
    fleet.wire.run(until=1.4)
    fleet.wire.kill("n3")
    fleet.run(until=90.0)
    [client] = fleet.clients.values()
    assert [end.state for end in client.outcomes] == [State.DONE] * 10
    checked(fleet)


@FORMS
def test_what_nobody_does_for_the_reserve(rule: str) -> None:
    fleet = Fleet([1.0, 2.0], {"n1": [task("t", 0.1, 4.0)]}, rule=RULES[rule])
    fleet.run(until=30.0)
    [client] = fleet.clients.values()
    [end] = client.outcomes
    assert end.state is State.UNPLACED
    assert end.error == "0/2 nodes can run this: 2 ask more than the 0.1 s that were called"


@FORMS
def test_without_a_reserve_price_bids_are_sealed(rule: str) -> None:
    fleet = Fleet([1.0, 2.0], {"n1": [Task("t", "work", 0.1)]}, rule=RULES[rule])
    fleet.run(until=30.0)
    [client] = fleet.clients.values()
    assert client.outcomes[0].state is State.DONE
    assert not fleet.events(PriceTried)
