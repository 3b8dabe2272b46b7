"""Who holds a task, and the small things it stands on: epochs and timers."""

from __future__ import annotations

from collections import Counter

import pytest

from parley.protocols.epochs import Epoch
from parley.protocols.holders import holders_count, holders_of, replaced
from parley.protocols.timers import STALE_MIN, Timers

NODES = ["n1", "n2", "n3", "n4", "n5"]


@pytest.mark.parametrize(
    ("asked", "members", "count"), [(3, 1, 1), (3, 2, 1), (3, 3, 3), (5, 4, 3), (5, 9, 5), (2, 9, 1), (99, 99, 5)]
)
def test_their_number_is_odd(asked: int, members: int, count: int) -> None:
    assert holders_count(asked, members) == count


def test_the_entry_is_first_and_the_rest_is_spread_evenly() -> None:
    chosen = [holders_of(f"T{number}", "n1", NODES, 3) for number in range(400)]
    assert all(holders[0] == "n1" and len(set(holders)) == 3 for holders in chosen)
    assert chosen[7] == holders_of("T7", "n1", list(reversed(NODES)), 3)
    counts = Counter(node for holders in chosen for node in holders[1:])
    assert min(counts.values()) > 150


def test_too_few_living_are_an_odd_number_all_the_same() -> None:
    assert holders_of("T", "n1", ["n1", "n2"], 3) == ("n1",)


def test_a_member_that_goes_moves_only_its_own() -> None:
    for number in range(50):
        before = holders_of(f"T{number}", "n1", NODES, 3)
        after = holders_of(f"T{number}", "n1", [node for node in NODES if node != "n5"], 3)
        assert set(before) - {"n5"} <= set(after)


def test_the_dead_are_replaced_as_far_as_others_live() -> None:
    assert replaced("T", ("n1", "n2", "n3"), ["n2"], ["n1", "n3"]) == ["n1", "n2", "n3"]
    new = replaced("T", ("n1", "n2", "n3"), ["n2"], ["n1", "n3", "n4", "n5"])
    assert new[0] == "n1"
    assert new[1] in ("n4", "n5")
    assert new[2] == "n3"


def test_epochs_are_ordered_and_never_shared() -> None:
    first = Epoch(0, "n1", 7)
    assert first.number == 1
    assert first < first.next_hop < first.next_hop.later("n0", 1)
    assert first.next_hop.root == first
    assert first.next_hop.number == 2
    assert first.next_hop.later("n2", 4) == Epoch(2, "n2", 4)
    assert first.later("n2", 4) != first.later("n3", 4)


def test_timers_are_due_in_order_and_once() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 3.0)
    timers.set("b", 1.0)
    timers.set("a", 0.5)
    timers.set("c", 0.7)
    timers.cancel("c")
    assert timers.deadline == 0.5
    assert timers.due(1.0) == ["a", "b"]
    assert timers.deadline is None
    assert "a" not in timers


def test_timers_that_count_no_more_do_not_pile_up() -> None:
    timers: Timers[int] = Timers()
    for task in range(10_000):
        timers.set(task, 10.0 + task % 7)
        if task >= 10:
            timers.cancel(task - 10)
    assert len(timers._heap) <= STALE_MIN + 2 * 10
    assert timers.due(20.0) == sorted(range(9_990, 10_000), key=lambda task: (task % 7, task))
