"""Tenders: one person alone, then against all permutations, on graphs, with loss, with deaths, on the fleet."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Sequence

import pytest
from consensus_world import assert_silent, cheapest, data, graph, on_fleet, tenderers_of
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.launch.bench import lossy
from parley.launch.bench.instances import generated, read
from parley.protocols import tenders
from parley.protocols.assignment import COST_MAX
from parley.protocols.core import Effect, Message, NodeId, PeerDown, PeerError, Send
from parley.protocols.neighbours import AtOnce, InRounds
from parley.protocols.tenders import FIRST, Tenderer, Tenders
from parley.transport.faults import Faults

Costs = Sequence[Sequence[int]]


def total(costs: Costs, persons: dict[NodeId, Tenderer]) -> int:
    """What the assignment costs; all see the same one, and every object is somebody's."""
    [objects] = {tuple(person.objects) for person in persons.values()}
    assert sorted(place for place in objects if place is not None) == list(range(len(costs)))
    assert [person.object for person in persons.values()] == list(objects)
    return sum(row[place] for row, place in zip(costs, objects, strict=True) if place is not None)


def best(costs: Costs, taking_part: Sequence[int]) -> int:
    """The least that these persons' objects can cost, by trying all."""
    ways = itertools.permutations(range(len(costs)), len(taking_part))
    return min(sum(costs[person][place] for person, place in zip(taking_part, way, strict=True)) for way in ways)


def random_costs(n: int, most: int, rng: random.Random) -> list[list[int]]:
    return [[rng.randint(0, most) for _ in range(n)] for _ in range(n)]


def words(level: int, *told: tuple[int, Sequence[tuple[int, int]]], view: tuple[int, ...] = ()) -> Tenders:
    """What persons tell at a level."""
    pairs = [pair for _, said in told for pair in said]
    headers = tuple((level, person, len(said)) for person, said in told)
    return Tenders("s", 1, False, view, headers, tuple(place for place, _ in pairs), tuple(cost for _, cost in pairs))


def test_it_tells_of_its_cheapest_and_then_of_what_prices_make_better() -> None:
    """Four cheapest first; when four others want the same four objects, the fifth pays for it."""
    person = Tenderer("b", "s", ["a", "b", "c", "d", "e"], [9, 8, 7, 6, 5])
    assert FIRST == 4
    assert person.speak(1) == words(0, (1, [(4, 5), (3, 6), (2, 7), (1, 8)]))
    assert not person.news
    same = [(4, 1), (3, 2), (2, 3), (1, 4)]
    person.hear(words(0, (0, same), (2, same), (3, same), (4, same)), "a")
    assert person.news
    assert person.speak(2).words[-1] == (1, 1, 1)
    assert person.speak(3).words == ()


def test_persons_who_want_different_things_are_done_at_once() -> None:
    costs = [[0 if row == column else 5 for column in range(6)] for row in range(6)]
    persons = tenderers_of(costs, relays=False)
    talk = lossy.rounds(dict(persons), graph("full", 6, 0), 0.0, random.Random(0), 10)
    assert (talk.rounds, talk.done, total(costs, persons)) == (2, True, 0)
    assert [person.told for person in persons.values()] == [FIRST] * 6


@pytest.mark.parametrize("costs", [[1, 2], [1, -1, 2], [1, COST_MAX + 1, 2], [1, 0.5, 2], []])
def test_costs_that_are_none(costs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"persons need|whole numbers"):
        Tenderer("a", "s", ["a", "b", "c"], costs)


@pytest.mark.parametrize(
    ("nonsense", "said"),
    [
        (words(0, (1, [(3, 0)])), "an object"),
        (words(0, (3, [(1, 0)])), "has not said"),
        (words(0, (0, [(1, 7)])), "has not said"),
        (words(0, (1, [(1, 0)]), view=(1,)), "has not said"),
        (words(0, view=(2, 1)), "persons that are none"),
        (words(0, view=(3,)), "persons that are none"),
        (Tenders("s", 1, False, (), ((0, 1, 1),), (1, 2), (1, 2)), "other tenders"),
        (Tenders("s", 1, False, (), ((0, 1, 1),), (1,), ()), "has not said|other tenders"),
        (Tenders("t", 1, False, (), (), (), ()), "no part"),
    ],
)
def test_nonsense_changes_nothing(nonsense: Tenders, said: str) -> None:
    person = Tenderer("a", "s", ["a", "b", "c"], [1, 2, 3])
    person.speak(1)
    with pytest.raises(PeerError, match=said):
        person.hear(nonsense, "b")
    with pytest.raises(PeerError):
        person.hear(words(0), "z")
    assert not person.news
    assert person.speak(2, whole=True).words == ((0, 0, 3),)


@given(
    st.integers(1, 7), st.integers(0, 30), st.sampled_from(["full", "ring", "tree"]), st.sampled_from([0.0, 0.3, 0.5]),
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_it_is_exact_on_any_graph_with_any_loss(
    n: int, most: int, shape: str, loss: float, at_once: bool, seed: int
) -> None:
    """In rounds and out of order: all end with the same, and it costs what the best permutation costs."""
    rng = random.Random(seed)
    costs = random_costs(n, most, rng)
    persons = tenderers_of(costs)
    talk = lossy.at_once if at_once else lossy.rounds
    assert talk(dict(persons), graph(shape, n, seed), loss, rng, 20_000).done
    assert total(costs, persons) == cheapest(costs)


@pytest.mark.parametrize("shape", ["full", "ring"])
def test_what_is_too_much_for_one_message_comes_in_several(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenders, "TENDERS_MAX", 9)
    monkeypatch.setattr(tenders, "WORDS_MAX", 3)
    costs = random_costs(7, 9, random.Random(1))
    for loss in (0.0, 0.3):
        persons = tenderers_of(costs)
        assert lossy.rounds(dict(persons), graph(shape, 7, 0), loss, random.Random(0), 2000).done
        assert total(costs, persons) == cheapest(costs)


# --- deaths


@given(st.integers(3, 6), st.integers(0, 12), st.integers(1, 2), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_the_living_end_with_the_same_whoever_dies_and_whenever(
    n: int, most: int, deaths: int, in_rounds: bool, seed: int
) -> None:
    """On any graph that connects the living, over links that keep their order. Of what the dead said last some hear,
    some do not; their end is known at any time later. It is the best assignment of those who take part, among whom are
    all who live."""
    rng = random.Random(seed)
    costs = random_costs(n, most, rng)
    persons = tenderers_of(costs)
    names = list(persons)
    doomed = {name: rng.randrange(60) for name in rng.sample(names, deaths)}
    linked = connected(names, [name for name in names if name not in doomed], rng)
    drivers = {
        name: (InRounds if in_rounds else AtOnce)(person, sorted(linked[name])) for name, person in persons.items()
    }
    links: dict[tuple[NodeId, NodeId], deque[Message]] = {}
    dead: set[NodeId] = set()

    def perform(name: NodeId, effects: Sequence[Effect]) -> None:
        sends = [effect for effect in effects if isinstance(effect, Send)]
        for send in rng.sample(sends, rng.randint(0, len(sends))) if doomed.get(name) == 0 else sends:
            links.setdefault((name, send.to), deque()).append(send.message)

    for name in names:
        perform(name, drivers[name].begin(0.0))
    for step in range(20_000):
        for name in [name for name, left in doomed.items() if left == 0 and name not in dead]:
            dead.add(name)
            for other in names:  # everybody is told, whoever its neighbours are
                waiting = links.setdefault((name, other), deque())
                for _ in range(rng.randint(0, len(waiting))):
                    waiting.pop()
                waiting.append(PeerDown(name))
        doomed = {name: max(left - 1, 0) for name, left in doomed.items()}
        ways = [way for way, waiting in links.items() if waiting and way[1] not in dead]
        awake = [name for name in names if name not in dead and drivers[name].deadline is not None]
        if not ways and not awake:
            if all(left == 0 for left in doomed.values()):
                break
            continue
        if ways and (not awake or rng.random() < 0.8):
            sender, receiver = rng.choice(ways)
            message = links[sender, receiver].popleft()
            perform(receiver, drivers[receiver].receive(message, sender, float(step)))
        else:
            name = rng.choice(awake)
            perform(name, drivers[name].wake(float(step)))
    living = [persons[name] for name in names if name not in dead]
    assert all(person.done for person in living)
    [objects] = {tuple(person.objects) for person in living}
    taking_part = [place for place, had in enumerate(objects) if had is not None]
    assert {names.index(name) for name in names if name not in dead} <= set(taking_part)
    assert len({objects[place] for place in taking_part}) == len(taking_part)
    assert sum(costs[place][objects[place] or 0] for place in taking_part) == best(costs, taking_part)


def connected(names: list[NodeId], living: list[NodeId], rng: random.Random) -> dict[NodeId, set[NodeId]]:
    """A random graph, in which the living are connected, and everybody has a neighbour among them."""
    linked: dict[NodeId, set[NodeId]] = {name: set() for name in names}
    ways = [(name, rng.choice(living[:place])) for place, name in enumerate(living) if place]
    ways += [(name, rng.choice(living)) for name in names if name not in living]
    ways += [way for way in itertools.combinations(names, 2) if rng.random() < 0.3]
    for one, other in ways:
        linked[one].add(other)
        linked[other].add(one)
    return linked


def test_who_is_left_out_by_the_others_has_no_object() -> None:
    person = Tenderer("a", "s", ["a", "b", "c"], [1, 2, 3])
    person.speak(1)
    person.hear(words(0, (1, [(0, 1)]), view=(0,)), "b")
    assert person.done
    assert person.object is None
    assert person.speak(2).last
    assert not person.news


@pytest.mark.parametrize("who", ["b", "c"])
def test_of_an_end_that_was_seen_before_a_death_only_the_living_may_tell(who: str) -> None:
    """c has died, and a has begun anew without it. That all had ended before, b may say; what c says is too late."""
    costs = {"a": [1, 5, 9], "b": [5, 1, 9], "c": [9, 5, 1]}
    persons = {node: Tenderer(node, "s", list(costs), row) for node, row in costs.items()}
    assert lossy.rounds(dict(persons), graph("full", 3, 0), 0.0, random.Random(0), 9).done
    late = Tenderer("a", "s", list(costs), costs["a"])
    late.speak(1)
    late.gone("c")
    late.speak(2)
    late.hear(persons[who].speak(9, whole=True), who)
    assert late.done is (who == "b")
    assert late.objects == ([0, 1, 2] if who == "b" else [None] * 3)


# --- on the fleet


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["rounds", "at once"])
def test_on_the_simulated_fleet(mode: str, seed: int) -> None:
    """Over links that repeat what a bad wire loses only news is told; all see the end, and fall silent."""
    costs = random_costs(7, 50, random.Random(seed))
    persons = tenderers_of(costs)
    faults = Faults(loss=0.2, duplication=0.1, delay_s=(0.001, 0.02))
    drive = InRounds if mode == "rounds" else AtOnce
    fleet, roles = on_fleet(persons, graph("ring", 7, 0), drive, seed=seed, faults=faults)
    assert total(costs, persons) == cheapest(costs)
    assert not fleet.garbage
    assert_silent(fleet, roles)


# --- instances


def test_an_instance_of_the_or_library() -> None:
    """Exact, in a handful of rounds, where each tells a few of its hundred costs. The larger one is a benchmark."""
    costs = [[int(cost) for cost in row] for row in read(data("assign", "assign100.txt"))[0].costs]
    persons = tenderers_of(costs, relays=False)
    talk = lossy.rounds(dict(persons), graph("full", 100, 0), 0.0, random.Random(0), 10)
    assert talk.done
    assert total(costs, persons) == 305
    assert max(person.told for person in persons.values()) <= 16


@pytest.mark.parametrize("seed", range(10))
def test_instances_of_the_same_family(seed: int) -> None:
    """Nobody's tenders leave anything to be wished for, by each person's own row: so it is the optimum."""
    costs = generated(f"assign:60:{seed}").costs.astype(int).tolist()
    persons = tenderers_of(costs, relays=False)
    assert lossy.rounds(dict(persons), graph("full", 60, 0), 0.0, random.Random(0), 10).done
    assert total(costs, persons) == by_rows_of_all(costs)


def test_where_all_want_the_same_the_shares_double() -> None:
    """The hardest case: everybody must tell everything; in as many levels as n can be doubled up to."""
    costs = [list(range(64)) for _ in range(64)]
    persons = tenderers_of(costs, relays=False)
    talk = lossy.rounds(dict(persons), graph("full", 64, 0), 0.0, random.Random(0), 20)
    assert talk.done
    assert talk.rounds <= 8
    assert total(costs, persons) == sum(range(64))


def by_rows_of_all(costs: Costs) -> int:
    """The optimum by Hungarian steps over the whole table: e-maxx's, which shares nothing with matching.py."""
    n = len(costs)
    rows, columns, owner = [0] * (n + 1), [0] * (n + 1), [0] * (n + 1)
    for person in range(1, n + 1):
        owner[0], column = person, 0
        least, before, used = [10**18] * (n + 1), [0] * (n + 1), [False] * (n + 1)
        while owner[column]:
            used[column] = True
            row = owner[column]
            for other in range(1, n + 1):
                slack = costs[row - 1][other - 1] - rows[row] - columns[other]
                if not used[other] and slack < least[other]:
                    least[other], before[other] = slack, column
            step, following = min((least[other], other) for other in range(1, n + 1) if not used[other])
            for other in range(n + 1):
                if used[other]:
                    rows[owner[other]] += step
                    columns[other] -= step
                else:
                    least[other] -= step
            column = following
        while column:
            owner[column] = owner[before[column]]
            column = before[column]
    return sum(costs[owner[column] - 1][column - 1] for column in range(1, n + 1))
