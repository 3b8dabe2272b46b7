"""Loads, outlooks and accounts: late binding's arithmetic."""

from __future__ import annotations

import pytest

from parley.protocols.load import NEXT_S, OVERDUE_S, RUN_S_MIN, WAITING_MAX, Account, Load, Outlook


def test_a_free_slot_takes_one_now_and_one_next() -> None:
    outlook = Outlook([0.0], 0, 0.0)
    assert outlook.take(5.0) == 0.0
    assert not outlook.full
    assert outlook.take(1.0) == 5.0
    assert outlook.full
    assert not outlook.room(1.0)


def test_slots_are_filled_soonest_first_and_free_counts_what_waits() -> None:
    outlook = Outlook([3.0, 0.0, 0.0], 0, 0.0)
    assert outlook.free == 2
    assert [outlook.take(run_s) for run_s in (2.0, 1.0, 4.0)] == [0.0, 0.0, 1.0]
    assert outlook.free == -1
    assert outlook.waiting == 1
    assert outlook.ready_s == 2.0


def test_tiny_tasks_pile_up_to_twenty_milliseconds_per_slot() -> None:
    outlook = Outlook([0.0], 0, 0.0)
    taken = 0
    while outlook.room(0.001):
        outlook.take(0.001)
        taken += 1
    assert taken in (NEXT_S / 0.001, 1 + NEXT_S / 0.001)  # the sum may be a rounding above
    assert not outlook.room(0.5)


def test_tasks_that_cost_nothing_are_not_taken_without_end() -> None:
    outlook = Outlook([0.0], 0, 0.0)
    taken = 0
    while outlook.room(0.0):
        outlook.take(0.0)
        taken += 1
    assert taken <= 2 + NEXT_S / RUN_S_MIN
    assert not Outlook([1.0] * 64, WAITING_MAX, 0.0).room(0.0)


def test_a_busy_slot_stays_busy_until_its_node_says_otherwise() -> None:
    account = Account()
    assert not account.known
    account.tell(Load((1.0,), 1, 0.5, 1.0), 0, now=10.0)
    assert account.outlook(10.4).ready_s == pytest.approx(0.6)
    late = account.outlook(99.0)
    assert late.ready_s == OVERDUE_S
    assert late.full


def test_awards_count_until_the_load_counts_them() -> None:
    account = Account()
    account.tell(Load((0.0,), 0, 0.0, 2.0), 0, now=0.0)
    account.award(7, 1.0)
    account.award(9, 2.0)
    assert account.outlook(0.0).ready_s == 3.0
    account.tell(Load((1.0,), 0, 0.0, 2.0), 7, now=0.0)
    assert account.outlook(0.0).ready_s == 3.0
    assert account.unheard
    account.tell(Load((3.0,), 1, 2.0, 2.0), 9, now=0.0)
    assert not account.unheard
    assert account.outlook(0.0).waiting == 1
    assert account.speed == 2.0


def test_an_award_that_never_arrived_fills_no_queue_for_ever() -> None:
    account = Account()
    account.tell(Load((0.0,), 0, 0.0, 1.0), 0, now=0.0)
    account.award(1, 5.0)
    account.award(2, 5.0)
    assert account.outlook(1.0).full
    account.forget(1)
    account.forget(2)
    account.forget(2)
    assert account.outlook(1.0).ready_s == 0.0
