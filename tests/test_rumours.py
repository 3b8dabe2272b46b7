"""The rumour mill by itself, and which of two views knows more."""

from __future__ import annotations

import random

import pytest

from parley.protocols.rumours import BESIDE_MAX, FANOUT, RumourMill, newer, retellings
from parley.protocols.swim_words import Entry, Presence


def test_the_least_told_goes_first_and_each_is_told_so_often() -> None:
    mill: RumourMill[str] = RumourMill()
    mill.put("a", "a1")
    assert mill.fresh
    assert mill.take("x", 1, 3) == ["a1"]
    assert not mill.fresh
    mill.put("b", "b1")
    assert [mill.take("x", 1, 3) for _ in range(6)] == [["b1"], ["a1"], ["b1"], ["a1"], ["b1"], []]
    assert len(mill) == 0


def test_news_of_the_same_subject_takes_the_place_of_what_was_said() -> None:
    mill: RumourMill[str] = RumourMill()
    mill.put("a", "suspect")
    mill.put_beside("a", "suspect too")
    assert mill.take("x", 9, 5) == ["suspect", "suspect too"]
    mill.put("a", "alive")
    assert mill.fresh
    assert mill.take("x", 9, 5) == ["alive"]


def test_it_is_bounded_and_tells_nobody_of_itself() -> None:
    mill: RumourMill[int] = RumourMill()
    for number in range(10):
        mill.put_beside("a", number)
    assert len(mill) == BESIDE_MAX
    assert mill.take("a", 9, 5) == []
    assert mill.take("b", 2, 5) == [0, 1]


@pytest.mark.parametrize(("members", "times"), [(1, 4), (8, 4), (9, 4), (10, 8), (64, 8), (100, 12)])
def test_how_often_grows_with_the_logarithm(members: int, times: int) -> None:
    assert retellings(members) == times


@pytest.mark.parametrize("members", [8, 32, 128])
def test_a_rumour_reaches_almost_all(members: int) -> None:
    """Each tells it to FANOUT others per step, as long as its mill has it."""
    rng = random.Random(members)
    missed = 0
    for _ in range(50):
        mills: list[RumourMill[str]] = [RumourMill() for _ in range(members)]
        heard = {0}
        mills[0].put("s", "news")
        while any(map(len, mills)):
            for teller in sorted(heard):
                for listener in rng.sample(range(members), FANOUT):
                    if mills[teller].take("", 1, retellings(members)) and listener not in heard:
                        heard.add(listener)
                        mills[listener].put("s", "news")
        missed += members - len(heard)
    assert missed / (50 * members) < 0.02


def entry(node: str, refuted: int = 0, state: Presence = Presence.ALIVE, version: int = 0, life: int = 1) -> Entry:
    return Entry(node, life, refuted, state, version)


@pytest.mark.parametrize(
    ("mine", "theirs", "gives", "wants"),
    [
        (entry("a"), entry("a"), False, False),
        (entry("a", 1), entry("a"), True, False),
        (entry("a", 0, Presence.SUSPECT), entry("a"), True, False),
        (entry("a", 0, Presence.LEFT), entry("a", 0, Presence.DEAD), True, False),
        (entry("a", 0, Presence.DEAD), entry("a", 1), False, True),
        (entry("a", version=3), entry("a", 1, version=2), True, True),
        (entry("a", 9, version=9), entry("a", life=2), False, True),
    ],
)
def test_which_of_two_is_newer(mine: Entry, theirs: Entry, gives: bool, wants: bool) -> None:
    assert newer({"a": mine}, {"a": theirs}) == ["a"] * gives
    assert newer({"a": theirs}, {"a": mine}) == ["a"] * wants


def test_who_is_unknown_is_news() -> None:
    assert newer({"b": entry("b"), "a": entry("a")}, {}) == ["a", "b"]
