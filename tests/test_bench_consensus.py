"""The benchmark of assignments and bundles, on instances of its own: what it records, and what it is not asked."""

from __future__ import annotations

import random

import numpy as np
import pytest
from consensus_world import cheapest

from parley.launch.bench.consensus import Wire, play, why_not
from parley.launch.bench.instances import Instance
from parley.launch.problems import Problem

COSTS = [[random.Random(row).randint(1, 40) for _ in range(6)] for row in range(6)]
TIMES = np.array([[random.Random(f"{node} {task}").uniform(1.0, 9.0) for task in range(15)] for node in range(5)])
ONE_EACH = Instance("own", np.array(COSTS, np.float64), np.ones((6, 6)), np.ones(6), 1, None)
MAKESPAN = Instance("own", TIMES, None, None, 1, None)
LIMITED = Instance("own", np.ones((2, 3)), np.ones((2, 3)), np.full(2, 2.0), 1, None)
HALVES = Instance("own", np.full((2, 2), 0.5), np.ones((2, 2)), np.ones(2), 1, None)


WIRES = [("full", 0.0, False), ("ring", 0.5, False), ("full", 0.2, True)]


@pytest.mark.parametrize(("graph", "loss", "at_once"), WIRES)
def test_auctions_are_exact_on_any_wire(graph: str, loss: float, at_once: bool) -> None:
    exact = play(ONE_EACH, "assignment", 0, Wire(graph, loss, at_once))
    assert (exact.value, exact.detected, exact.placed) == (cheapest(COSTS), True, 6)
    assert exact.conflict_free
    assert play(ONE_EACH, "assignment", 0, Wire(graph, loss, at_once), scaling=False).value <= exact.value + 6


def test_records_of_bundles() -> None:
    for graph, loss, at_once in (("full", 0.0, False), ("ring", 0.5, False), ("4-regular", 0.2, True)):
        record = play(ONE_EACH, "cbba", 3, Wire(graph, loss, at_once))
        assert record.detected
        assert record.conflict_free
        assert record.placed == 6
        assert record.value >= cheapest(COSTS)
        assert record.converged <= record.rounds
        assert record.diameter == {"full": 1, "ring": 3, "4-regular": 2}[graph]
    record = play(MAKESPAN, "cbba", 3, Wire("4-regular", 0.0, False))
    assert record.detected
    assert record.conflict_free
    assert TIMES.min(axis=0).sum() / 5 <= record.value <= TIMES.max(axis=0).sum()


@pytest.mark.parametrize(
    ("protocol", "instance", "said"),
    [
        ("assignment", MAKESPAN, "no assignment"),
        ("assignment", LIMITED, "no assignment"),
        ("assignment", HALVES, "whole costs"),
        ("cbba", LIMITED, "has capacities"),
    ],
)
def test_what_does_not_go_together(protocol: str, instance: Instance, said: str) -> None:
    assert said in (why_not(protocol, instance) or "")
    with pytest.raises(Problem, match=said):
        play(instance, protocol, 0, Wire("full", 0.0, False))


def test_a_graph_that_there_is_not() -> None:
    for topology, said in (("star", "is no topology"), ("6-regular", "there is no graph of 6 nodes")):
        with pytest.raises(Problem, match=said):
            play(ONE_EACH, "cbba", 0, Wire(topology, 0.0, False))
