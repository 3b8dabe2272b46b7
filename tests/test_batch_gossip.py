"""A batch by gossip: all end with the same division and bound, under loss, with a death, with a newcomer."""

from __future__ import annotations

from random import Random

import pytest
from session_world import SESSION, World
from tables import columns, optimum, small_table

from parley.protocols.batch import Division, Terms
from parley.protocols.batch_gossip import BatchByGossip
from parley.protocols.columns import Table
from parley.protocols.core import NodeId
from parley.protocols.gossip import Gossip
from parley.transport.faults import Faults

TERMS = Terms(price_rounds=30)


def world(known: Table, members: list[NodeId], seed: int, loss: float) -> World:
    made = World(members, lambda node: BatchByGossip(node, columns(known)[node], TERMS), seed, Faults(loss=loss))
    for node in members:
        add(made, known, node)
    made.wire.mesh()
    return made


def add(made: World, known: Table, node: NodeId, start_at: float = 0.01) -> None:
    player = BatchByGossip(node, columns(known)[node], TERMS)
    rng = Random(f"{made.seed} {node}")
    made.drivers[node] = Gossip(
        SESSION, node, made.members, player, rng, opening=player.opening, periods_max=4000, start_at=start_at
    )
    made.wire.add(node, made.drivers[node])


def result(made: World) -> Division:
    assert all(driver.finished and driver.agreed for driver in made.living)  # type: ignore[union-attr]
    found = [driver.player.division for driver in made.living]  # type: ignore[attr-defined]
    assert all(other == found[0] for other in found)
    return found[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("limited", [False, True])
def test_all_agree_and_the_certificate_holds(limited: bool, loss: float) -> None:
    for seed in range(2):
        known = small_table(seed, limited=limited)
        made = world(known, list(known.nodes), seed, loss)
        made.run(300.0)
        division, best = result(made), optimum(known)
        assert sorted(task for tasks in division.tasks.values() for task in tasks) == list(range(6))
        assert division.bound <= best
        assert division.overload == 0.0
        assert best <= division.value <= 1.3 * best


@pytest.mark.parametrize("seed", range(3))
def test_who_leaves_and_who_joins(seed: int) -> None:
    known = small_table(seed, limited=False, nodes=5, tasks=20)
    made = world(known, ["n0", "n1", "n2", "n3"], seed, 0.0)
    made.wire.run(until=0.6 + 0.7 * seed)
    made.kill("n2")
    made.wire.run(until=1.0 + 0.7 * seed)
    made.members = ["n0", "n1", "n3"]
    add(made, known, "n4", made.wire.now)
    made.wire.mesh(["n0", "n1", "n3", "n4"])
    made.run(300.0)
    division = result(made)
    assert "n2" not in division.tasks
    assert sorted(task for tasks in division.tasks.values() for task in tasks) == list(range(20))
