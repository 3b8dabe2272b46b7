"""Bargaining: one at a time, both sides the same, nothing lost when an offer is void or a node is gone."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import msgspec
import numpy as np
import pytest
from tables import small_table, unpack

from parley.protocols.bargain import Bargain, Stand
from parley.protocols.core import NodeId
from parley.protocols.trading import Market, pack

KNOWN = small_table(4, limited=False, nodes=3, tasks=12)
MARKET = Market(KNOWN, KNOWN.costs, 1.0, (1.0, 1.0, 1.0))


def begin() -> dict[NodeId, Bargain]:
    tasks = {"n0": range(12), "n1": (), "n2": ()}
    return {node: Bargain(node, 0, Stand(0, pack(list(held)))) for node, held in tasks.items()}


def stands(of: Mapping[NodeId, Bargain]) -> dict[NodeId, Stand]:
    return {node: bargain.stand for node, bargain in of.items()}


def held(of: Mapping[NodeId, Stand]) -> list[int]:
    return sorted(task for stand in of.values() for task in unpack(stand.tasks))


def test_an_offer_a_deal_and_the_same_division_on_both_sides() -> None:
    states = begin()
    first = states["n0"].hear(MARKET, stands(states))
    assert first.stand.offer is not None
    peer, version = first.stand.offer
    assert (first.seeks, version) == (peer, 0)
    second = states[peer].hear(MARKET, {**stands(states), "n0": first.stand})
    assert second.stand.deal == ("n0", 0)
    assert second.stand.version == 1
    concluded = first.hear(MARKET, {**stands(states), "n0": first.stand, peer: second.stand})
    other = ({"n1", "n2"} - {peer}).pop()
    assert concluded.stand.version == 1
    assert held({"n0": concluded.stand, peer: second.stand, other: states[other].stand}) == list(range(12))
    free = second.hear(MARKET, {**stands(states), "n0": concluded.stand, peer: second.stand})
    assert free.stand.deal is None


def test_an_offer_to_one_that_has_changed_or_gone_is_void() -> None:
    states = begin()
    first = states["n0"].hear(MARKET, stands(states))
    assert first.stand.offer is not None
    peer, _ = first.stand.offer
    changed = msgspec.structs.replace(states[peer].stand, version=4)
    again = first.hear(MARKET, {**stands(states), "n0": first.stand, peer: changed})
    assert again.stand.offer is not None
    assert again.stand.offer != first.stand.offer
    without = {node: stand for node, stand in stands(states).items() if node != peer}
    gone = first.hear(MARKET, without)
    assert gone.stand.offer is None or gone.stand.offer[0] != peer


def test_who_waits_accepts_nothing() -> None:
    states = begin()
    bound = states["n1"].hear(MARKET, stands(states))
    assert bound.stand.offer == ("n2", 0)
    offer = msgspec.structs.replace(states["n0"].stand, offer=("n1", 0))
    assert bound.hear(MARKET, {**stands(states), "n0": offer, "n1": bound.stand}).stand == bound.stand


def test_orphans_and_twins_are_mended_when_nobody_is_bound() -> None:
    states = begin()
    halved = Stand(1, pack(range(6)))
    mended = states["n2"].hear(MARKET, {"n0": halved, "n1": Stand(0, b""), "n2": Stand(0, b"")})
    orphans = MARKET.auction(np.asarray([0] * 6 + [-1] * 6), range(6, 12))
    assert unpack(mended.stand.tasks) == np.flatnonzero(orphans == 2).tolist()
    twin = Bargain("n2", 0, Stand(3, pack([0, 1])))
    all_of_it = Stand(0, pack(range(12)))
    assert unpack(twin.hear(MARKET, {"n0": all_of_it, "n1": Stand(0, b""), "n2": twin.stand}).stand.tasks) == []
    half_heard = Stand(1, pack(range(6)), None, None, ("n1", 7))
    waits = states["n2"].hear(MARKET, {"n0": half_heard, "n1": Stand(0, b""), "n2": Stand(0, b"")})
    assert waits.stand.tasks == b"", "n1 holds them in a version that has not come yet"


@pytest.mark.parametrize("seed", range(8))
def test_with_old_news_of_each_other_it_ends_and_nothing_is_lost(seed: int) -> None:
    """Each hears the others late, by a lag drawn anew each time, but never something older than before."""
    rng = Random(seed)
    states = begin()
    spoken: dict[NodeId, list[Stand]] = {node: [bargain.stand] for node, bargain in states.items()}
    known = {(node, other): 0 for node in states for other in states}
    before = max(KNOWN.loads(np.zeros(12, np.intp)))
    for _ in range(2000):
        node = rng.choice(sorted(states))
        for other in states:
            known[node, other] = rng.randint(known[node, other], len(spoken[other]) - 1)
        known[node, node] = len(spoken[node]) - 1
        states[node] = states[node].hear(MARKET, {other: spoken[other][known[node, other]] for other in states})
        spoken[node].append(states[node].stand)
    assert all(state.idle for state in states.values())
    final = stands(states)
    assert held(final) == list(range(12))
    owners = np.zeros(12, np.intp)
    for row, node in enumerate(sorted(final)):
        owners[unpack(final[node].tasks)] = row
    assert max(KNOWN.loads(owners)) < before
