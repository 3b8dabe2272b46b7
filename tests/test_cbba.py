"""Consensus-based bundles: one agent alone, then against the sequential greedy algorithm and the optimum."""

from __future__ import annotations

import random

import msgspec
import pytest
from consensus_world import (
    agents_of,
    assert_silent,
    best_worth,
    bundles,
    conflict_free,
    data,
    graph,
    greedy,
    on_fleet,
    scheme,
    worth,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.launch.bench import graphs, lossy
from parley.launch.bench.instances import read
from parley.protocols.cbba import Cbba, Winning
from parley.protocols.cbba_conflicts import NOBODY
from parley.protocols.core import PeerError
from parley.protocols.neighbours import AtOnce, InRounds
from parley.protocols.scores import Additive, ByPath
from parley.transport.faults import Faults

SHAPES = st.sampled_from(["full", "ring", "tree"])
LOSSES = st.sampled_from([0.0, 0.2, 0.5])


def alone(worths: list[float], capacity: int, *, asynchronous: bool = False) -> Cbba:
    return Cbba("b", "s", ["a", "b", "c"], len(worths), Additive(worths), capacity, asynchronous=asynchronous)


def told(words: Winning, **changed: object) -> Winning:
    return msgspec.structs.replace(words, **changed)


def test_it_builds_the_bundle_that_is_worth_most() -> None:
    agent = alone([3.0, 0.0, 5.0, 4.0], 2)
    words = agent.speak(1)
    assert agent.bundle == [2, 3]
    assert (words.bids, words.winners) == ((0.0, 0.0, 5.0, 4.0), (NOBODY, NOBODY, 1, 1))
    assert words.stamps == (0, 1, 0)
    assert not words.last


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_comes_after_an_outbid_task_is_released_and_bid_for_again(asynchronous: bool) -> None:
    """Outbid for its first task, the agent gives up the second, and tells so, unless it bids for it anew."""
    agent = alone([9.0, 5.0, 4.0], 2, asynchronous=asynchronous)
    first = agent.speak(1)
    assert agent.bundle == [0, 1]
    stamps = (9, 0, 0)
    agent.hear(told(first, bids=(10.0, 0.0, 0.0), winners=(0, NOBODY, NOBODY), stamps=stamps), "a")
    second = agent.speak(2)
    assert agent.bundle == [1, 2]
    assert (second.bids, second.winners) == ((10.0, 5.0, 4.0), (0, 1, 1))
    agent.hear(told(first, bids=(10.0, 6.0, 6.0), winners=(0, 0, 0), stamps=(99, 99, 99)), "a")
    assert agent.speak(3).winners == (0, 0, 0)
    assert agent.bundle == []


def test_stamps_are_merged_after_the_conflicts_are_resolved() -> None:
    """Row 7: a says that b has it, b believes c: a knows newer of c, so nobody has it. Merged first, c would have kept
    it."""
    agent = alone([1.0], 0)
    quiet = agent.speak(1)
    agent.hear(told(quiet, bids=(5.0,), winners=(2,), stamps=(0, 0, 1)), "c")
    assert agent.winners == [2]
    agent.hear(told(quiet, bids=(4.0,), winners=(1,), stamps=(1, 0, 2)), "a")
    assert agent.winners == [NOBODY]
    assert agent.speak(2).stamps == (1, 2, 2)


def test_asynchronously_an_owner_contradicts_what_is_worse_with_a_later_stamp() -> None:
    agent = alone([5.0], 1, asynchronous=True)
    words = agent.speak(1)
    assert words.stamps == (1,)
    agent.hear(told(words, bids=(0.0,), winners=(NOBODY,), stamps=(7,)), "a")
    assert agent.winners == [NOBODY]
    words = agent.speak(2)
    assert (words.winners, words.stamps) == ((1,), (8,))
    agent.hear(told(words, bids=(5.0,), winners=(0,), stamps=(9,)), "a")
    assert agent.speak(3).winners == (0,)  # a tie: the first in the alphabet wins
    agent.hear(words, "c")
    assert agent.winners == [0]


@pytest.mark.parametrize(
    "changed",
    [
        {"bids": (1.0,)},
        {"bids": (0.0, 5.0, 4.0)},
        {"winners": (0, 0, 3)},
        {"winners": (0,)},
        {"stamps": (1,)},
        {"lines": ((1, 1, 1, 1),)},
    ],
)
def test_nonsense_changes_nothing(changed: dict[str, object]) -> None:
    agent = alone([9.0, 5.0, 4.0], 2)
    words = agent.speak(1)
    with pytest.raises(PeerError):
        agent.hear(told(words, **changed), "a")
    with pytest.raises(PeerError):
        agent.hear(words, "z")
    assert not agent.news


def test_settings_that_mean_nothing() -> None:
    for node, tasks, capacity in (("z", 1, 1), ("a", -1, 1), ("a", 1, -1)):
        with pytest.raises(ValueError, match="take part"):
            Cbba(node, "s", ["a", "b"], tasks, Additive([1.0]), capacity)


def test_what_one_had_that_is_gone_is_free() -> None:
    rng = random.Random(3)
    scores = scheme("finish", 4, 8, rng)
    agents = agents_of(scores, 8, 3)
    connected = graph("full", 4, 0)
    assert lossy.rounds(dict(agents), connected, 0.0, rng, 100).done
    dead = agents.pop("n000")
    assert dead.bundle
    for agent in agents.values():
        agent.gone("n000")
        agent.gone("nobody")
    assert not any(agent.done for agent in agents.values())
    assert lossy.rounds(dict(agents), graph("full", 3, 0), 0.0, rng, 100).done
    taken = [task for agent in agents.values() for task in agent.bundle]
    assert len(taken) == len(set(taken)) == 8
    assert set(next(iter(agents.values())).winners) == {1, 2, 3}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_late_news_of_what_the_gone_one_had_is_no_news(asynchronous: bool) -> None:
    agent = alone([5.0], 1, asynchronous=asynchronous)
    words = agent.speak(1)
    agent.gone("a")
    agent.hear(told(words, bids=(9.0,), winners=(0,), stamps=(7,) if asynchronous else (7, 0, 7)), "c")
    assert agent.winners == [NOBODY]
    assert agent.speak(2).winners == (1,)


@given(
    st.integers(1, 7), st.integers(0, 9), st.integers(0, 4), st.sampled_from(["additive", "finish"]), SHAPES, LOSSES,
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_it_is_the_sequential_greedy_allocation_whatever_the_wire_does(
    count: int, tasks: int, capacity: int, name: str, shape: str, loss: float, asynchronous: bool, seed: int
) -> None:
    """All see the end themselves; then it is free of conflicts, and exactly what the greedy algorithm finds."""
    rng = random.Random(seed)
    scores = scheme(name, count, tasks, rng)
    agents = agents_of(scores, tasks, capacity, asynchronous=asynchronous)
    talk = lossy.at_once if asynchronous else lossy.rounds
    assert talk(dict(agents), graph(shape, count, seed), loss, rng, 20_000).done
    assert conflict_free(agents)
    assert bundles(agents) == [sorted(bundle) for bundle in greedy(scores, tasks, capacity)]


@given(st.integers(2, 8), st.integers(1, 9), st.integers(1, 4), SHAPES, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_without_loss_it_converges_within_tasks_times_diameter(
    count: int, tasks: int, capacity: int, shape: str, seed: int
) -> None:
    rng = random.Random(seed)
    connected = graph(shape, count, seed)
    agents = agents_of(scheme("additive", count, tasks, rng), tasks, capacity)
    changed = 0
    before: list[list[int]] = []

    def after_each(turn: int) -> None:
        nonlocal changed, before
        now = [agent.winners for agent in agents.values()]
        changed, before = (turn, now) if now != before else (changed, before)

    far = graphs.diameter(connected)
    talk = lossy.rounds(dict(agents), connected, 0.0, rng, 1000, after_each)
    assert changed <= min(tasks, count * capacity) * far + 1
    assert talk.rounds <= changed + 3 * far + 1


@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.sampled_from(["additive", "finish"]), st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_it_is_worth_at_least_half_of_the_optimum(count: int, tasks: int, capacity: int, name: str, seed: int) -> None:
    rng = random.Random(seed)
    scores = scheme(name, count, tasks, rng)
    agents = agents_of(scores, tasks, capacity)
    assert lossy.rounds(dict(agents), graph("ring", count, 0), 0.2, rng, 1000).done
    assert worth(scores, [agent.bundle for agent in agents.values()]) >= best_worth(scores, tasks, capacity) / 2


@given(st.integers(1, 5), st.integers(1, 6), LOSSES, st.booleans(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_scores_that_grow_with_the_bundle_converge_too(
    count: int, tasks: int, loss: float, asynchronous: bool, seed: int
) -> None:
    """Two of a kind are worth more than twice one: no diminishing gain, so the bids are warped."""
    rng = random.Random(seed)
    rates = [[rng.uniform(1.0, 3.0) for _ in range(tasks)] for _ in range(count)]
    scores = [
        ByPath(lambda path, rate=rate: sum(rate[task] for task in path) * (1 + len(path)), tasks, warped=True)  # type: ignore[misc]
        for rate in rates
    ]
    agents = agents_of(scores, tasks, 3, asynchronous=asynchronous)
    talk = lossy.at_once if asynchronous else lossy.rounds
    assert talk(dict(agents), graph("ring", count, 0), loss, rng, 20_000).done
    assert conflict_free(agents)
    for agent in agents.values():
        bids = [agent.speak(0).bids[task] for task in agent.bundle]
        assert bids == sorted(bids, reverse=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["rounds", "at once"])
def test_on_the_simulated_fleet(mode: str, seed: int) -> None:
    """Over the fleet's own links, on a bad wire: all see the end, and fall silent."""
    rng = random.Random(seed)
    scores = scheme("finish", 8, 20, rng)
    agents = agents_of(scores, 20, 20, asynchronous=mode == "at once")
    faults = Faults(loss=0.3, duplication=0.1, delay_s=(0.001, 0.02))
    drive = InRounds if mode == "rounds" else AtOnce
    fleet, roles = on_fleet(agents, graphs.regular(8, 4, seed), drive, seed=seed, faults=faults)
    assert all(agent.done for agent in agents.values())
    assert conflict_free(agents)
    assert bundles(agents) == [sorted(bundle) for bundle in greedy(scores, 20, 20)]
    assert not fleet.garbage
    assert_silent(fleet, roles)


def test_an_instance_of_the_or_library() -> None:
    """A hundred agents, a hundred tasks, one each, every other word lost."""
    costs = [[int(cost) for cost in row] for row in read(data("assign", "assign100.txt"))[0].costs]
    agents = agents_of([Additive([101 - cost for cost in row]) for row in costs], 100, 1)
    talk = lossy.rounds(dict(agents), graphs.regular(100, 4, 1), 0.5, random.Random(1), 1000)
    assert talk.done
    assert conflict_free(agents)
    assert sum(costs[place][agent.bundle[0]] for place, agent in enumerate(agents.values())) == 522
