"""How long a suspect has, by how many doubt it."""

from __future__ import annotations

import math

import pytest

from parley.protocols.suspicion import CONFIRMATIONS, MAX_FACTOR, Suspicion, least_s


def test_the_least_time_grows_with_the_logarithm_of_the_fleet() -> None:
    assert [least_s(members) for members in (1, 2, 10, 100)] == pytest.approx([0.8, 0.8, 0.8, 1.6])
    assert least_s(16) == pytest.approx(0.8 * math.log10(16))


def test_each_confirmation_brings_the_deadline_nearer_until_the_least() -> None:
    suspicion = Suspicion(8, "a", 10.0)
    deadlines = [suspicion.deadline]
    for by in "bcd":
        assert suspicion.confirm(by)
        deadlines.append(suspicion.deadline)
    assert deadlines == sorted(deadlines, reverse=True)
    assert deadlines[0] == pytest.approx(10.0 + MAX_FACTOR * least_s(8))
    assert deadlines[1] == pytest.approx(10.0 + 2 * least_s(8))  # half of log(4)
    assert deadlines[-1] == pytest.approx(10.0 + least_s(8))
    assert len(suspicion.accusers) == CONFIRMATIONS + 1


def test_nobody_confirms_twice_and_enough_is_enough() -> None:
    suspicion = Suspicion(8, "a", 0.0)
    assert not suspicion.confirm("a")
    assert [suspicion.confirm(by) for by in "bbcde"] == [True, False, True, True, False]


def test_hearsay_is_no_accuser() -> None:
    suspicion = Suspicion(8, None, 0.0)
    assert suspicion.confirm("a")
    assert suspicion.deadline == pytest.approx(MAX_FACTOR * least_s(8))


@pytest.mark.parametrize(("members", "factor"), [(2, 1.0), (3, MAX_FACTOR)])
def test_where_nobody_can_confirm_the_least_time_counts(members: int, factor: float) -> None:
    suspicion = Suspicion(members, "a", 0.0)
    assert suspicion.deadline == pytest.approx(factor * least_s(members))
    assert suspicion.confirm("b") is (members > 2)
    assert suspicion.deadline == pytest.approx(least_s(members))


def test_time_in_which_we_did_not_listen_does_not_count() -> None:
    suspicion = Suspicion(2, "a", 1.0)
    before = suspicion.deadline
    suspicion.excuse(5.0)
    assert suspicion.deadline == pytest.approx(before + 5.0)
