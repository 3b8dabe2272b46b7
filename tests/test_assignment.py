"""The assignment auction: one person alone, then against all permutations, on graphs, with loss, on the fleet."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from consensus_world import assert_silent, cheapest, data, graph, on_fleet, persons_of
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.launch.bench import lossy
from parley.launch.bench.instances import read
from parley.protocols.assignment import COST_MAX, Person, Standings, scaled
from parley.protocols.core import NodeId, PeerError
from parley.protocols.neighbours import AtOnce, InRounds
from parley.transport.faults import Faults

Costs = Sequence[Sequence[int]]


def total(costs: Costs, persons: dict[NodeId, Person]) -> int:
    """What the assignment costs; every object is somebody's."""
    objects = [person.object for person in persons.values()]
    assert sorted(place for place in objects if place is not None) == list(range(len(costs)))
    return sum(row[place] for row, place in zip(costs, objects, strict=True) if place is not None)


def random_costs(n: int, most: int, rng: random.Random) -> list[list[int]]:
    return [[rng.randint(0, most) for _ in range(n)] for _ in range(n)]


def test_a_bid_is_what_it_may_cost_before_another_is_better() -> None:
    """Margins -3, -5, -9 in units of 4: it bids the 2 cost units (8) by which the first is better, and ε."""
    person = Person("b", "s", ["a", "b", "c"], [3, 5, 9], (4,))
    assert person.speak(1) == Standings("s", 1, False, ((0, 0, 8 + 4, 1),))
    assert not person.news
    person.hear(Standings("s", 1, False, ((0, 0, 13, 0),)), "a")
    assert person.news
    assert person.speak(2).standings == ((0, 0, 13, 0), (1, 0, (3 * 4 + 13) - 5 * 4 + 4, 1))


def test_of_two_equal_bids_the_first_in_the_alphabet_stands() -> None:
    first, second = Person("a", "s", ["a", "b"], [0, 0], (3,)), Person("b", "s", ["a", "b"], [0, 0], (3,))
    mine, theirs = first.speak(1), second.speak(1)
    assert (mine.standings, theirs.standings) == (((0, 0, 3, 0),), ((0, 0, 3, 1),))
    first.hear(theirs, "b")
    second.hear(mine, "a")
    assert not first.news
    assert second.speak(2).standings[-1] == (1, 0, 6, 1)


def test_what_is_heard_again_or_late_changes_nothing() -> None:
    person = Person("a", "s", ["a", "b"], [0, 9], (3,))
    person.speak(1)
    for price in (40, 20, 40):
        person.hear(Standings("s", 1, False, ((1, 0, price, 1),)), "b")
    assert person.prices == [30, 40]
    assert person.done
    assert person.object == 0


def test_phases() -> None:
    assert scaled(4, 10) == (25, 8, 2, 1)
    assert scaled(1, 0) == (1,)


@pytest.mark.parametrize("costs", [[1, 2], [1, -1, 2], [1, COST_MAX + 1, 2], [1, 0.5, 2], []])
def test_costs_that_are_none(costs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"persons need|whole numbers"):
        Person("a", "s", ["a", "b", "c"], costs, (1,))


@pytest.mark.parametrize("line", [(3, 0, 1, 0), (0, 0, 1, 3), (0, 1, 1, 0)])
def test_nonsense_changes_nothing(line: tuple[int, int, int, int]) -> None:
    person = Person("a", "s", ["a", "b", "c"], [1, 2, 3], (1,))
    with pytest.raises(PeerError):
        person.hear(Standings("s", 1, False, ((1, 0, 99, 1), line)), "b")
    with pytest.raises(PeerError):
        person.hear(Standings("s", 1, False, ()), "z")
    assert person.prices == [0, 0, 0]


def test_who_is_gone_is_not_waited_for() -> None:
    costs = [[1, 9, 9], [9, 1, 9], [9, 9, 1]]
    persons = persons_of(costs, scaled(3, 9))
    del persons["n001"]
    for person in persons.values():
        person.gone("n001")
        person.gone("nobody")
    pair = dict(persons)
    assert lossy.rounds(pair, [[1], [0]], 0.0, random.Random(0), 200).done
    assert [person.object for person in persons.values()] == [0, 2]


@given(
    st.integers(1, 6), st.integers(0, 30), st.sampled_from(["full", "ring", "tree"]), st.sampled_from([0.0, 0.3, 0.5]),
    st.booleans(), st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_it_is_exact_on_any_graph_with_any_loss(
    n: int, most: int, shape: str, loss: float, scaling: bool, at_once: bool, seed: int
) -> None:
    """With and without phases, in rounds and out of order: what the best permutation costs."""
    rng = random.Random(seed)
    costs = random_costs(n, most, rng)
    persons = persons_of(costs, scaled(n, most) if scaling else (1,))
    talk = lossy.at_once if at_once else lossy.rounds
    assert talk(dict(persons), graph(shape, n, seed), loss, rng, 20_000).done
    assert total(costs, persons) == cheapest(costs)
    assert len({tuple(person.prices) for person in persons.values()}) == 1


@given(st.integers(1, 6), st.integers(0, 100), st.integers(1, 20), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_one_phase_is_within_n_times_epsilon(n: int, most: int, epsilon: int, seed: int) -> None:
    rng = random.Random(seed)
    costs = random_costs(n, most, rng)
    persons = persons_of(costs, (epsilon * (n + 1),), relays=False)
    assert lossy.rounds(dict(persons), graph("full", n, 0), 0.0, rng, 10_000).done
    assert total(costs, persons) <= cheapest(costs) + n * epsilon


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["rounds", "at once"])
def test_on_the_simulated_fleet(mode: str, seed: int) -> None:
    """Over links that repeat what a bad wire loses only news is told; all see the end, and fall silent."""
    costs = random_costs(7, 50, random.Random(seed))
    persons = persons_of(costs, scaled(7, 50))
    faults = Faults(loss=0.2, duplication=0.1, delay_s=(0.001, 0.02))
    drive = InRounds if mode == "rounds" else AtOnce
    fleet, roles = on_fleet(persons, graph("ring", 7, 0), drive, seed=seed, faults=faults)
    assert total(costs, persons) == cheapest(costs)
    assert not fleet.garbage
    assert_silent(fleet, roles)


def test_an_instance_of_the_or_library() -> None:
    """Exact. The larger one is a benchmark."""
    costs = [[int(cost) for cost in row] for row in read(data("assign", "assign100.txt"))[0].costs]
    persons = persons_of(costs, scaled(100, 100), relays=False)
    assert lossy.rounds(dict(persons), graph("full", 100, 0), 0.0, random.Random(0), 1000).done
    assert total(costs, persons) == 305
