"""Latency and bandwidth of links, by what passes over them; and bids that count them, between edge and cloud."""

from __future__ import annotations

import pytest
from simulated_agents import START_S, Fleet

from parley.protocols.contract_events import BidSubmitted
from parley.protocols.core import Task
from parley.protocols.distances import BYTES_MIN, LATENCY_S, LINK_BYTES_PER_S, PEERS_MAX, WINDOW, Distances
from parley.transport.faults import Faults

MB = 1_000_000


def test_a_link_is_as_good_as_it_has_been_and_none_is_better_than_a_local_one() -> None:
    far = Distances()
    assert far.seconds("b", MB) == LATENCY_S + MB / LINK_BYTES_PER_S
    for round_trip_s in (0.3, 0.08, 0.2):
        far.answered("b", round_trip_s)
    assert far.seconds("b", 0) == 0.04
    far.carried("b", 8 * MB, 4.0)
    far.carried("b", 2 * MB, 4.0)
    far.carried("b", BYTES_MIN - 1, 1e-6)  # too little to tell
    assert far.seconds("b", MB) == 0.04 + 0.5
    far.answered("c", 1e-5)
    far.carried("c", 100 * MB, 0.01)
    assert far.seconds("c", MB) == LATENCY_S + MB / LINK_BYTES_PER_S


def test_what_was_is_forgotten() -> None:
    far = Distances()
    far.answered("b", 0.01)
    far.carried("b", MB, 0.1)
    for _ in range(WINDOW):
        far.answered("b", 0.4)
        far.carried("b", MB, 1.0)
    assert far.seconds("b", MB) == 0.2 + 1.0
    for number in range(PEERS_MAX):
        far.answered(f"n{number}", 1.0)
    assert far.seconds("b", 0) == LATENCY_S


def test_pings_tell_how_far_the_initiator_is() -> None:
    fleet = Fleet([1.0, 1.0], {"n1": [Task("t", "work", 1.0)]}, faults=Faults(delay_s=(0.03, 0.05)))
    fleet.run(20.0)
    bids = {node: event for _, node, event in fleet.events(BidSubmitted) if isinstance(event, BidSubmitted)}
    assert "transfer" not in bids["n1"].terms
    assert bids["n2"].terms["transfer"] == pytest.approx(0.04, abs=0.01)


def test_what_is_large_stays_at_the_edge_and_what_is_long_goes_to_the_cloud() -> None:
    """n1 and n2 stand beside each other; n3 is eight times as fast, behind 100 kB a second."""
    large = [Task(f"large{number}", "work", 1.0, MB // 2) for number in range(6)]
    long = [Task(f"long{number}", "work", 8.0, 100) for number in range(6)]
    fleet = Fleet([1.0, 1.0, 8.0], {"n1": [*large, *long]})
    for near in ("n1", "n2"):
        fleet.agents["n3"].distances.carried(near, MB, 10.0)
    fleet.run(START_S + 200.0)
    ran = {outcome.task: outcome.node for outcome in fleet.clients["n1"].outcomes}
    assert len(ran) == 12
    assert sum(ran[task.id] == "n3" for task in long) >= 5
    assert sum(ran[task.id] == "n3" for task in large) <= 1
