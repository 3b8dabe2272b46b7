"""What a cut stops, by name of what people call it; and when everything is over."""

from __future__ import annotations

import pytest

from parley.transport.faults import Crash, Cut, Faults, Pause, Trouble, Way

PAIRS = [(sender, to) for sender in "abcd" for to in "abcd" if sender != to]


def passes(cut: Cut, now: float = 1.0) -> set[str]:
    return {sender + to for sender, to in PAIRS if not cut.blocks(sender, to, now)}


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        pytest.param(Cut(0, 9, frozenset("ab")), {"ab", "ba", "cd", "dc"}, id="halves"),
        pytest.param(Cut(0, 9, frozenset("a")), {"bc", "cb", "bd", "db", "cd", "dc"}, id="one node"),
        pytest.param(
            Cut(0, 9, frozenset("a"), Way.OUT), {"ba", "ca", "da", "bc", "cb", "bd", "db", "cd", "dc"}, id="one way"
        ),
        pytest.param(
            Cut(0, 9, frozenset("a"), Way.IN), {"ab", "ac", "ad", "bc", "cb", "bd", "db", "cd", "dc"}, id="deaf"
        ),
        pytest.param(
            Cut(0, 9, frozenset("ab"), bridge="c"), {"ab", "ba", "cd", "dc", "ac", "ca", "bc", "cb"}, id="bridge"
        ),
    ],
)
def test_who_still_reaches_whom(cut: Cut, expected: set[str]) -> None:
    assert passes(cut) == expected


def test_a_flapping_cut_comes_and_goes() -> None:
    cut = Cut(2.0, 9.0, frozenset("a"), flap_s=0.5)
    assert [cut.blocks("a", "b", now) for now in (2.1, 2.6, 3.1, 3.6)] == [True, False, True, False]


def test_when_it_is_over() -> None:
    assert Faults().over_at == 0.0
    assert Faults(cuts=(Cut(1, 3, frozenset("a")),), pauses=(Pause("a", 1, 4),)).over_at == 4
    assert Faults(crashes=(Crash("a", 5), Crash("b", 1, 6)), troubles=(Trouble("a", 1, 2, True),)).over_at == 6
    assert Faults(loss=0.1, until=8).over_at == 8
    assert Faults(loss=0.1).over_at == float("inf")
