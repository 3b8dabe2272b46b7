"""Assignments and bundles over the sessions of a fleet, in rounds and by gossip, on a wire that loses and doubles."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from consensus_world import bundles, cheapest, conflict_free, greedy, scheme
from session_world import World, names

from parley.protocols.assignment import Person, Standings, scaled
from parley.protocols.cbba import Cbba, Winning
from parley.protocols.core import NodeId
from parley.protocols.delegate import Delegate
from parley.protocols.tenders import Tenderer, Tenders
from parley.transport.faults import Faults

LOSSY = Faults(loss=0.2, duplication=0.1, delay_s=(0.0005, 0.03))
Drive = Callable[[World, NodeId], object]
IN_ROUNDS: Drive = lambda world, node: world.rounds(node, rounds_max=2000)  # noqa: E731
BY_GOSSIP: Drive = lambda world, node: world.gossip(node, periods_max=5000)  # noqa: E731
MODES = pytest.mark.parametrize("gossip", [False, True], ids=["rounds", "gossip"])


def run(world: World, gossip: bool) -> None:
    for node in world.members:
        (BY_GOSSIP if gossip else IN_ROUNDS)(world, node)
    world.wire.mesh()
    world.run()
    assert all(driver.finished for driver in world.living)


def delegates(world: World) -> list[Delegate]:  # type: ignore[type-arg]
    players = [driver.player for driver in world.living]
    assert all(isinstance(player, Delegate) for player in players)
    return players  # type: ignore[return-value]


@MODES
@pytest.mark.parametrize("seed", range(3))
def test_assignment(gossip: bool, seed: int) -> None:
    rng = random.Random(seed)
    members = names(6)
    costs = [[rng.randint(0, 30) for _ in members] for _ in members]

    def fresh(node: NodeId) -> Delegate[Person]:
        person = Person(node, "s", members, costs[members.index(node)], scaled(6, 30), relays=False)
        return Delegate(node, members, person, Standings, whole=gossip)

    world = World(members, fresh, seed, LOSSY)
    run(world, gossip)
    objects = [delegate.speaker.object for delegate in delegates(world)]
    assert sorted(objects) == list(range(6))
    assert sum(row[place] for row, place in zip(costs, objects, strict=True)) == cheapest(costs)


@MODES
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tenders(gossip: bool, dies: bool, seed: int) -> None:
    """All who live end with the same; if one dies at work, the best without it, or the best with it."""
    rng = random.Random(seed)
    members = names(6)
    costs = [[rng.randint(0, 30) for _ in members] for _ in members]

    def fresh(node: NodeId) -> Delegate[Tenderer]:
        tenderer = Tenderer(node, "s", members, costs[members.index(node)], relays=gossip)
        return Delegate(node, members, tenderer, Tenders, whole=gossip)

    world = World(members, fresh, seed, LOSSY)
    if dies:
        for node in members:
            (BY_GOSSIP if gossip else IN_ROUNDS)(world, node)
        world.wire.mesh()
        world.run(until=0.012 if not gossip else 0.06)
        world.kill("n2", notice_s=0.05)
        world.run()
    else:
        run(world, gossip)
    [objects] = {tuple(delegate.speaker.objects) for delegate in delegates(world)}
    value = sum(row[place] for row, place in zip(costs, objects, strict=True) if place is not None)
    part = [place for place, had in enumerate(objects) if had is not None]
    ways = itertools.permutations(range(6), len(part))
    assert value == min(sum(costs[who][what] for who, what in zip(part, way, strict=True)) for way in ways)
    assert len(part) == 6 or (dies and part == [0, 2, 3, 4, 5])


@MODES
@pytest.mark.parametrize("seed", range(3))
def test_bundles(gossip: bool, seed: int) -> None:
    members = names(6)
    scores = scheme("finish", 6, 15, random.Random(seed))

    def fresh(node: NodeId) -> Delegate[Cbba]:
        agent = Cbba(node, "s", members, 15, scores[members.index(node)], 15, asynchronous=gossip)
        return Delegate(node, members, agent, Winning, whole=gossip)

    world = World(members, fresh, seed, LOSSY)
    run(world, gossip)
    agents = dict(zip(members, [delegate.speaker for delegate in delegates(world)], strict=True))
    assert conflict_free(agents)
    assert bundles(agents) == [sorted(bundle) for bundle in greedy(scores, 15, 15)]


@MODES
def test_what_one_had_that_dies_is_shared_out_among_the_others(gossip: bool) -> None:
    members = names(5)
    scores = scheme("finish", 5, 12, random.Random(1))

    def fresh(node: NodeId) -> Delegate[Cbba]:
        agent = Cbba(node, "s", members, 12, scores[members.index(node)], 12, asynchronous=gossip)
        return Delegate(node, members, agent, Winning, whole=gossip)

    world = World(members, fresh, 1)
    for node in members:
        (BY_GOSSIP if gossip else IN_ROUNDS)(world, node)
    world.wire.mesh()
    world.run(until=0.012 if not gossip else 0.06)
    assert not all(driver.finished for driver in world.living)
    world.kill("n2", notice_s=0.05)
    world.run()
    taken = sorted(task for delegate in delegates(world) for task in delegate.speaker.bundle)
    assert taken == list(range(12))


def test_a_delegate_stays_as_it_was() -> None:
    scores = scheme("additive", 2, 3, random.Random(0))
    first, second = (
        Delegate(node, "ab", Cbba(node, "s", ["a", "b"], 3, mine, 2), Winning, whole=False)
        for node, mine in zip("ab", scores, strict=True)
    )
    before = first.say()
    after = first.hear({"a": first.say(), "b": second.say()})
    assert first.say() == before
    assert after.say() != before
    assert after.hear({"a": after.say(), "b": b"nonsense"}).say() == after.say()
