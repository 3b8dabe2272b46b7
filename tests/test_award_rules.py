"""The award rules: order and choice, and that an award can be recomputed from what it logged."""

from __future__ import annotations

import random

import pytest
from contract_world import World

from parley.protocols.award_rules import RULES, Offer, arrival, at_random, heaviest, least_cost, longest, most_free
from parley.protocols.contract_events import AuctionAwarded
from parley.protocols.core import Task


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


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("seed", range(6))
def test_an_award_is_recomputed_from_its_own_fields(name: str, seed: int) -> None:
    rng = random.Random(seed)
    nodes = {f"n{number}": (rng.randint(1, 3), rng.choice([1.0, 2.0, 4.0])) for number in range(rng.randint(1, 6))}
    world = World(nodes, seed=seed, delay_s=(0.0, 0.02), rule=RULES[name])
    for entry in ("n0", rng.choice(sorted(nodes))):
        works = [rng.lognormvariate(-1.0, 1.0) for _ in range(30)]
        world.call(entry, [Task(f"{entry}-{rng.random()}", "x", work) for work in works])
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
        assert award.margin == (others[0][0] - award.cost if others else None)
        assert [bid.node for bid in award.bids] == sorted(bid.node for bid in award.bids)
