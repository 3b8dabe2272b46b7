"""The plain methods: each as its book says, on tables small enough to count."""

from __future__ import annotations

import numpy as np
import pytest
from tables import columns, in_rounds, small_table

from parley.protocols.award_rules import RULES
from parley.protocols.batch import Division
from parley.protocols.columns import Column, Table, table
from parley.protocols.listing import Listing


def divided(known: Table, name: str, seed: int = 0) -> Division:
    rule = None if name == "batched" else RULES[name]
    ended, rounds = in_rounds({node: Listing(node, own, rule, seed) for node, own in columns(known).items()})
    results = [player.division for player in ended.values()]  # type: ignore[attr-defined]
    assert all(result == results[0] for result in results)
    assert rounds == 3, "one to open, two to say that nothing changes"
    return results[0]  # type: ignore[no-any-return]


TIMES = table({"a": Column(np.asarray([2.0, 5.0, 3.0, 1.0])), "b": Column(np.asarray([4.0, 10.0, 6.0, 2.0]))})


@pytest.mark.parametrize(
    ("name", "first", "second", "value"),
    [
        ("contract-net", (0, 1, 3), (2,), 8.0),
        ("batched", (0, 2, 3), (1,), 10.0),
        ("most-free", (0, 2, 3), (1,), 10.0),
        ("longest-heaviest", (0, 1, 3), (2,), 8.0),
    ],
)
def test_each_as_its_book_says(name: str, first: tuple[int, ...], second: tuple[int, ...], value: float) -> None:
    division = divided(TIMES, name)
    assert (division.tasks["a"], division.tasks["b"], division.value) == (first, second, value)


def test_random_is_decided_by_its_seed() -> None:
    assert divided(TIMES, "random", 3) == divided(TIMES, "random", 3)
    assert len({str(divided(TIMES, "random", seed).tasks) for seed in range(10)}) > 3


@pytest.mark.parametrize("name", ["contract-net", "batched", "most-free", "longest-heaviest", "random"])
def test_with_capacities_whoever_has_room_is_asked(name: str) -> None:
    for seed in range(5):
        known = small_table(seed, limited=True, nodes=4, tasks=12)
        division = divided(known, name, seed)
        assert sorted(task for tasks in division.tasks.values() for task in tasks) == list(range(12))
        assert division.bound <= division.value
