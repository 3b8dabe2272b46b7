"""The award rules: order and choice, and that an award can be recomputed from what it logged."""

from __future__ import annotations

import random

import pytest
from contract_world import World

from parley.protocols.award_rules import (
    RULES,
    Offer,
    arrival,
    at_random,
    heaviest,
    least_cost,
    longest,
    most_free,
    own_price,
    second_price,
)
from parley.protocols.contract_events import AuctionAwarded
from parley.protocols.core import Conditions, State, Task
from parley.protocols.performatives import Award, Reason


def offer(node: str, queue_s: float = 0.0, own_s: float = 1.0, free: int = 1, speed: float = 1.0) -> Offer:
    return Offer(node, queue_s, own_s, free, speed)


def test_orders() -> None:
    tasks = [Task("a", "x", 2.0), Task("b", "x", 5.0), Task("c", "x", 3.0), Task("d", "x"), Task("e", "x", 5.0)]
    numbered = list(enumerate(tasks))
    by_longest = sorted(numbered, key=lambda numbered: longest(numbered[1], numbered[0]))
    assert [task.id for _, task in by_longest] == ["b", "e", "c", "a", "d"]
    numbered.reverse()
    by_arrival = sorted(numbered, key=lambda numbered: arrival(numbered[1], numbered[0]))
    assert [task.id for _, task in by_arrival] == ["a", "b", "c", "d", "e"]


def test_least_cost_counts_the_queue_and_breaks_ties_by_name() -> None:
    assert least_cost([offer("a", 2.0, 1.0), offer("b", 0.5, 2.0)], 0).node == "b"
    assert least_cost([offer("b", 1.0, 1.0), offer("a", 0.5, 1.5)], 0).node == "a"


def test_most_free() -> None:
    assert most_free([offer("a", free=1), offer("b", free=3), offer("c", free=3)], 0).node == "b"


def test_heaviest_prefers_the_free_ones() -> None:
    assert heaviest([offer("a", speed=1.0), offer("b", queue_s=1.0, speed=9.0), offer("c", speed=2.0)], 0).node == "c"
    assert heaviest([offer("a", queue_s=0.1, speed=1.0), offer("b", queue_s=1.0, speed=9.0)], 0).node == "b"


def test_random_is_decided_by_its_seed() -> None:
    offers = [offer(node) for node in "abcd"]
    first = [at_random(offers, seed).node for seed in range(200)]
    assert first == [at_random(offers, seed).node for seed in range(200)]
    assert set(first) == set("abcd")
    assert min(first.count(node) for node in "abcd") > 25


def test_the_classic_example_the_longest_goes_to_the_heaviest() -> None:
    """Three tasks of 2, 5 and 3 seconds: Task2 goes to Node1, the heaviest."""
    world = World({"node1": (1, 3.0), "node2": (1, 2.0), "node3": (1, 1.0)}, rule=RULES["longest-heaviest"])
    world.call("node3", [Task("task1", "x", 2.0), Task("task2", "x", 5.0), Task("task3", "x", 3.0)])
    world.run(0.1)
    awards = [event for _, _, event in world.events if isinstance(event, AuctionAwarded)]
    assert [(award.task, award.winner) for award in awards] == [
        ("task2", "node1"), ("task3", "node2"), ("task1", "node3"),
    ]  # fmt: skip


def test_most_free_fills_the_node_with_most_slots_in_order_of_arrival() -> None:
    world = World({"big": (3, 1.0), "fast": (1, 9.0)}, rule=RULES["most-free"])
    world.call("fast", [Task(f"t{number}", "x", 1.0 + number) for number in range(4)])
    world.run(0.1)
    awards = [event for _, _, event in world.events if isinstance(event, AuctionAwarded)]
    assert [(award.task, award.winner) for award in awards] == [
        ("t0", "big"), ("t1", "big"), ("t2", "big"), ("t3", "fast"),
    ]  # fmt: skip


def test_what_the_winner_is_paid() -> None:
    offers = [offer("a", own_s=2.0), offer("b", own_s=5.0), offer("c", own_s=3.0)]
    assert own_price(offers[0], offers, 9.0) == 2.0
    assert second_price(offers[0], offers, 0.0) == 3.0
    assert second_price(offers[0], offers, 2.5) == 2.5
    assert second_price(offers[0], offers[:1], 9.0) == 9.0
    assert second_price(offers[0], offers[:1], 0.0) == 2.0
    tied = [offer("a"), offer("b")]
    assert second_price(tied[0], tied, 0.0) == 1.0


def test_vickrey_asking_more_than_the_cost_gains_nothing() -> None:
    """Whatever the others ask: with any other price than its cost a bidder gains at most what honesty gains."""
    rng = random.Random(5)
    for _ in range(300):
        cost, asked, reserve = rng.uniform(0.0, 9.0), rng.uniform(0.0, 9.0), rng.choice((0.0, rng.uniform(0.0, 9.0)))
        others = [offer(f"n{number}", own_s=rng.uniform(0.0, 9.0)) for number in range(rng.randint(1, 3))]

        def gain(price: float, cost: float = cost, reserve: float = reserve, others: list[Offer] = others) -> float:
            offers = [each for each in (offer("m", own_s=price), *others) if reserve == 0.0 or each.cost <= reserve]
            winner = least_cost(offers, 0) if offers else None
            return second_price(winner, offers, reserve) - cost if winner is not None and winner.node == "m" else 0.0

        assert gain(asked) <= gain(cost) + 1e-12


@pytest.mark.parametrize(("rule", "paid"), [("first-price", 1.0), ("vickrey", 2.0), ("contract-net", None)])
def test_the_winner_is_told_what_it_is_paid_and_the_log_too(rule: str, paid: float | None) -> None:
    world = World({"a": (1, 1.0), "b": (1, 4.0), "c": (1, 2.0)}, rule=RULES[rule])
    world.call("a", [Task("t", "x", 4.0, terms=Conditions(reward=3.0))])
    world.run(0.1)
    [(_, _, to, award)] = world.told(Award)
    assert isinstance(award, Award)
    [logged] = [event for _, _, event in world.events if isinstance(event, AuctionAwarded)]
    assert to == logged.winner == "b"
    assert award.payment == logged.payment == paid
    assert logged.reserve == (3.0 if paid else 0.0)
    dear = [line for line in logged.declines if line.reason is Reason.RESERVE]
    assert [line.node for line in dear] == (["a"] if paid else [])


def test_what_nobody_does_for_the_reserve_is_not_placed() -> None:
    world = World({"a": (1, 1.0), "b": (1, 2.0)}, rule=RULES["vickrey"])
    world.call("a", [Task("t", "x", 4.0, terms=Conditions(reward=1.5))])
    world.run(1.0)
    [end] = world.outcomes["t"]
    assert end.state is State.UNPLACED
    assert end.error == "0/2 nodes can run this: 2 ask more than the 1.5 s it is worth"


def test_above_the_reserve_for_its_queue_a_bid_waits_until_the_queue_is_shorter() -> None:
    world = World({"a": (1, 1.0)}, rule=RULES["vickrey"])
    first = Task("first", "x", 2.0, terms=Conditions(priority=1))
    world.call("a", [first, Task("second", "x", 1.0, terms=Conditions(reward=1.5))])
    world.run(0.5)
    assert len(world.told(Award)) == 1
    world.run(20.0)
    [logged] = [event for _, _, event in world.events if isinstance(event, AuctionAwarded) and event.task == "second"]
    assert logged.payment == 1.5
    assert logged.cost <= 1.5


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("seed", range(6))
def test_an_award_is_recomputed_from_its_own_fields(name: str, seed: int) -> None:
    rng = random.Random(seed)
    nodes = {f"n{number}": (rng.randint(1, 3), rng.choice([1.0, 2.0, 4.0])) for number in range(rng.randint(1, 6))}
    world = World(nodes, seed=seed, delay_s=(0.0, 0.02), rule=RULES[name])
    for entry in ("n0", rng.choice(sorted(nodes))):
        works = [rng.lognormvariate(-1.0, 1.0) for _ in range(30)]
        most = 1e6 if RULES[name].form is None else 0.0  # what is sold in the open is recomputed in test_open_cry.py
        rewards = [Conditions(reward=rng.choice((0.0, most))) for _ in works]
        tasks = zip(works, rewards, strict=True)
        world.call(entry, [Task(f"{entry}-{rng.random()}", "x", work, terms=terms) for work, terms in tasks])
    world.run(stop=lambda: len(world.outcomes) == 60)
    awards = [event for _, _, event in world.events if isinstance(event, AuctionAwarded)]
    assert len(awards) >= 60
    for award in awards:
        offers = []
        for bid in award.bids:
            own_s = sum(seconds for term, seconds in bid.terms.items() if term != "queue")
            offers.append(Offer(bid.node, bid.terms["queue"], own_s, bid.free, bid.speed))
            assert bid.cost == pytest.approx(sum(bid.terms.values()))
        assert award.rule == name
        chosen = RULES[award.rule].choose(offers, award.seed)
        assert (chosen.node, chosen.cost) == (award.winner, award.cost)
        others = sorted((other.cost, other.node) for other in offers if other.node != chosen.node)
        assert award.runner_up == (others[0][1] if others else None)
        pay = RULES[name].pay
        assert award.payment == (pay(chosen, offers, award.reserve) if pay is not None else None)
        assert award.margin == (others[0][0] - award.cost if others else None)
        assert [bid.node for bid in award.bids] == sorted(bid.node for bid in award.bids)
