"""Trading in rounds: all know the same pairs and divisions; tasks stay whole; it ends by itself and keeps the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tables import small_table, unpack

from parley.protocols.core import NodeId
from parley.protocols.trading import Holding, Market, Trading, pack, relieved, trading


def market(seed: int, *, limited: bool, tasks: int = 24) -> Market:
    known = small_table(seed, limited=limited, nodes=4, tasks=tasks)
    limits = [1e9] * 4 if known.capacities is None else list(known.capacities)
    return Market(known, known.costs, 1.0, tuple(limits))


def begin(of: Market, turns: int = 60) -> dict[NodeId, Trading]:
    owners = np.zeros(of.table.tasks, np.intp)
    return {node: trading(of, node, owners, turns=turns, seed=1) for node in of.table.nodes}


def turn(states: dict[NodeId, Trading]) -> dict[NodeId, Trading]:
    holdings = {node: state.holding for node, state in states.items()}
    return {node: state.hear(holdings) for node, state in states.items()}


def test_tasks_are_packed() -> None:
    assert unpack(pack([0, 7, 4095, 4096])) == [0, 7, 4095]
    assert unpack(pack([3]) + b"x") == [3]


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_all_know_the_same_until_it_ends(seed: int, limited: bool) -> None:
    states = begin(market(seed, limited=limited))
    before = states["n0"].best_value
    turns = 0
    while not all(state.over for state in states.values()):
        states = turn(states)
        turns += 1
        assert turns <= 61
        first = states["n0"]
        for state in states.values():
            assert state.owners.tolist() == first.owners.tolist()
            assert state.meeting == first.meeting
            assert state.versions == first.versions
            assert state.best_value == first.best_value
        assert (first.owners >= 0).all()
    assert states["n0"].best_value < before
    assert states["n0"].owners.tolist() == states["n0"].best.tolist(), "at last all hold their part of the best"
    assert turn(states)["n2"].holding == states["n2"].holding


def test_what_nobody_holds_is_cleared_again() -> None:
    states = begin(market(0, limited=False))
    holdings = {node: state.holding for node, state in states.items() if node != "n0"}
    after = states["n1"].hear(holdings)
    assert (after.owners >= 0).all()


def test_two_who_hold_the_same_are_heard_as_one() -> None:
    states = begin(market(0, limited=False))
    everything = Holding(5, pack(range(24)))
    after = states["n1"].hear(dict.fromkeys(states, everything))
    assert set(after.owners.tolist()) == {0}, "the first by id keeps it"
    assert states["n1"].hear({"n0": Holding(1, pack([999]))}).owners.max() < 4


def test_no_turns_no_trade() -> None:
    assert all(state.over for state in begin(market(0, limited=False), turns=0).values())


def test_an_aim_is_halfway_between_bound_and_largest_load() -> None:
    of = replace(market(2, limited=False), bound=10.0)
    state = begin(of)["n0"]
    assert state.aim == pytest.approx((10.0 + max(of.table.loads(state.owners))) / 2.0)


@pytest.mark.parametrize("seed", range(4))
def test_what_overloads_is_traded_without_a_word_by_all_alike(seed: int) -> None:
    of = market(seed, limited=True)
    everything = np.zeros(24, np.intp)
    assert of.table.value(everything)[0] > 0.0
    owners = relieved(of, everything, turns=60, seed=seed)
    assert of.table.value(owners)[0] == 0.0
    assert relieved(of, everything, turns=60, seed=seed).tolist() == owners.tolist()
    assert relieved(of, owners, turns=60, seed=seed).tolist() == owners.tolist()
