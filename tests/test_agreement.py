"""Agreement: true once all are in one state and know it, and never before; against the world's own view of itself."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from parley.protocols.agreement import UNHEARD, Agreement, checksum


def test_two_members_need_each_others_digest_and_then_each_others_witness() -> None:
    a, b = Agreement(0, 2), Agreement(1, 2)
    a.note(7)
    b.note(7)
    assert a.lines == ((1, 1, 7, 0), UNHEARD)
    assert a.merge(b.lines)
    a.note(7)
    assert a.lines[0][3] > 0
    assert not a.agreed, "b has not said that it has seen a's"
    assert b.merge(a.lines)
    b.note(7)
    assert b.agreed
    assert a.merge(b.lines)
    assert a.agreed


def test_a_change_ends_it_and_an_old_line_brings_nothing_back() -> None:
    a, b = Agreement(0, 2), Agreement(1, 2)
    for _ in range(2):
        for one, other in ((a, b), (b, a)):
            one.note(7)
            other.merge(one.lines)
    assert a.agreed
    old = b.lines
    b.note(8)
    assert not b.agreed
    a.merge(b.lines)
    assert not a.agreed
    assert not a.merge(old)
    assert not a.agreed


def test_alone_it_agrees_at_once_and_nobody_waits_for_the_gone() -> None:
    a = Agreement(0, 1)
    assert not a.agreed
    a.note(3)
    assert a.agreed
    b = Agreement(0, 2)
    b.note(3)
    assert not b.agreed
    b.gone(1)
    b.note(3)
    assert b.agreed


def test_checksums() -> None:
    assert checksum([1.5], [2]) == checksum([1.5], [2])
    assert checksum([1.5], [2]) != checksum([1.5, 2])
    assert 0 < checksum([1.5], [2]) < 2**62


@given(st.integers(1, 5), st.integers(1, 3), st.floats(0.0, 0.9), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_whoever_agrees_is_right(members: int, states: int, loss: float, seed: int) -> None:
    """Members go from state to state as they please, words are lost and come late. When one agrees, there was a moment
    at which all were in that state."""
    rng = random.Random(seed)
    agreements = [Agreement(place, members) for place in range(members)]
    state = [rng.randrange(states) for _ in range(members)]
    under_way: list[tuple[int, tuple[tuple[int, int, int, int], ...]]] = []
    shared: set[int] = set()
    for _ in range(200):
        place = rng.randrange(members)
        if rng.random() < 0.1:
            state[place] = rng.randrange(states)
            agreements[place].note(state[place] + 1)
        if len(set(state)) == 1:
            shared.add(state[0])
        agreements[place].note(state[place] + 1)
        if agreements[place].agreed:
            assert state[place] in shared
        for other in range(members):
            if rng.random() >= loss:
                under_way.append((other, agreements[place].lines))
        rng.shuffle(under_way)
        for _ in range(min(members, len(under_way))):
            to, lines = under_way.pop()
            agreements[to].merge(lines)
