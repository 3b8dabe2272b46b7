"""Every cell of the conflict table, each side of each condition; and that the asynchronous one is a lattice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.protocols.cbba_conflicts import FREE, NOBODY, Action, Belief, at_once, in_rounds

ME, K, M, N = 0, 1, 2, 3
LEAVE, UPDATE, RESET = Action.LEAVE, Action.UPDATE, Action.RESET
HIGH, LOW = 9.0, 1.0


def belief(winner: int, bid: float) -> Belief:
    return FREE if winner == NOBODY else Belief(bid, winner)


# what k says | what i believes | k's bid is better | k knows newer of m, of n | what i does
TABLE = [
    (K, ME, True, "", UPDATE), (K, ME, False, "", LEAVE),
    (K, K, False, "", UPDATE), (K, K, True, "", UPDATE),
    (K, M, False, "", LEAVE), (K, M, True, "", UPDATE), (K, M, False, "m", UPDATE),
    (K, NOBODY, True, "", UPDATE),
    (ME, ME, False, "mn", LEAVE),
    (ME, K, False, "", RESET), (ME, K, True, "mn", RESET),
    (ME, M, True, "", LEAVE), (ME, M, False, "m", RESET),
    (ME, NOBODY, True, "mn", LEAVE),
    (M, ME, True, "", LEAVE), (M, ME, False, "m", LEAVE), (M, ME, True, "m", UPDATE),
    (M, K, True, "", RESET), (M, K, False, "m", UPDATE),
    (M, M, True, "", LEAVE), (M, M, False, "m", UPDATE),
    (M, N, True, "", LEAVE), (M, N, True, "m", UPDATE), (M, N, False, "m", LEAVE), (M, N, False, "mn", UPDATE),
    (M, N, True, "n", RESET), (M, N, True, "n=", LEAVE),
    (M, NOBODY, True, "", LEAVE), (M, NOBODY, True, "m", UPDATE),
    (NOBODY, ME, False, "mn", LEAVE),
    (NOBODY, K, False, "", UPDATE),
    (NOBODY, M, False, "", LEAVE), (NOBODY, M, False, "m", UPDATE),
    (NOBODY, NOBODY, False, "mn", LEAVE),
]  # fmt: skip


@pytest.mark.parametrize(("says", "believes", "better", "newer", "action"), TABLE)
def test_in_rounds(says: int, believes: int, better: bool, newer: str, action: Action) -> None:
    """`newer` names of whom k knows newer; "=": of m both know the same, otherwise i knows newer of m than k does."""
    mine, theirs = belief(believes, LOW if better else HIGH), belief(says, HIGH if better else LOW)
    stamps_i = [5, 5, 5, 5]
    stamps_k = [4, 5, 6 if "m" in newer else 5 if "=" in newer else 4, 6 if "n" in newer else 4]
    assert in_rounds(ME, mine, stamps_i, K, theirs, stamps_k) is action


def test_the_table_has_all_its_rows() -> None:
    tried = {(says, believes) for says, believes, *_ in TABLE}
    assert tried == set(itertools.product((K, ME, NOBODY), (ME, K, M, NOBODY))) | {
        (M, each) for each in (ME, K, M, N, NOBODY)
    }


def test_of_two_equal_bids_that_of_the_first_agent_wins() -> None:
    assert Belief(2.0, 1).beats(Belief(2.0, 2))
    assert not Belief(2.0, 2).beats(Belief(2.0, 2))
    assert in_rounds(1, Belief(2.0, 1), [0, 0, 0], 0, Belief(2.0, 0), [0, 0, 0]) is UPDATE
    assert in_rounds(0, Belief(2.0, 0), [0, 0, 0], 1, Belief(2.0, 1), [0, 0, 0]) is LEAVE


Stamped = tuple[int, Belief]
STAMPED = st.tuples(st.integers(0, 3), st.builds(Belief, st.sampled_from([1.0, 2.0]), st.integers(-1, 2)))


def join(mine: Stamped, theirs: Stamped) -> Stamped:
    return theirs if at_once(mine[1], mine[0], theirs[1], theirs[0]) is UPDATE else mine


@given(STAMPED, STAMPED, STAMPED)
def test_at_once_no_order_and_no_repetition_matters(a: Stamped, b: Stamped, c: Stamped) -> None:
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a
