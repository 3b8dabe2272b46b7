"""Prices of answers, from what earlier answers took. Plain numbers, no clock."""

from __future__ import annotations

import math

import pytest

from parley.agents.executors.http_rates import (
    FADE_S,
    KINDS_MAX,
    LOAD_FIRST_S,
    PATIENCE_S,
    SECONDS_MAX,
    Rates,
    Seen,
    Start,
)

# 100 bytes and 50 tokens of prompt are read in 0.5 s, then 21 tokens come, one each 0.1 s
SEEN = Seen(100, 50, 21, first_s=0.5, seconds=2.5, start=Start.AT_ONCE)


def test_nothing_is_expected_before_anything_was_measured() -> None:
    rates = Rates()
    assert rates.run_s("chat", "m", 100, None, 0.0) is None
    assert rates.run_s("chat", "m", 100, 20.0, 0.0) is None
    assert rates.run_s("embed", "m", 100, None, 0.0) is None
    assert rates.load_s("m") == LOAD_FIRST_S


def test_reading_and_writing_are_measured_apart() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN, 0.0)
    assert rates.run_s("chat", "m", 100, None, 0.0) == pytest.approx(0.5 + 2.1)
    assert rates.run_s("chat", "m", 1000, None, 0.0) == pytest.approx(5.0 + 2.1)
    assert rates.run_s("chat", "m", 100, 200.0, 0.0) == pytest.approx(0.5 + 20.0)
    assert rates.run_s("chat", "other", 100, None, 0.0) is None


def test_kinds_share_the_speed_of_their_model_and_not_their_lengths() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN, 0.0)
    assert rates.run_s("complete", "m", 100, None, 0.0) is None
    assert rates.run_s("complete", "m", 100, 30.0, 0.0) == pytest.approx(3.0)


def test_a_slower_server_is_dearer_within_a_few_answers_and_cheaper_again() -> None:
    rates = Rates()
    slower = SEEN._replace(first_s=1.5, seconds=7.5)

    def price() -> float:
        expected = rates.run_s("chat", "m", 100, 20.0, 0.0)
        assert expected is not None
        return expected

    for _ in range(10):
        rates.observe("chat", "m", SEEN, 0.0)
    assert price() == pytest.approx(2.5)
    prices = []
    for _ in range(10):
        rates.observe("chat", "m", slower, 0.0)
        prices.append(price())
    assert prices == sorted(prices)
    assert prices[4] > 0.8 * 7.5
    for _ in range(5):
        rates.observe("chat", "m", SEEN, 0.0)
    assert price() < 1.25 * 2.5


def test_a_speed_that_is_not_renewed_fades_towards_the_best() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN, 0.0)
    for _ in range(5):
        rates.observe("chat", "m", SEEN._replace(first_s=5.0, seconds=25.0), 100.0)
    prices = [
        rates.run_s("chat", "m", 100, 20.0, 100.0 + after) for after in (0.0, PATIENCE_S, PATIENCE_S + FADE_S, 1e6)
    ]
    now, patient, faded, old = (price or math.nan for price in prices)
    assert now == patient > faded > old > 2.5
    assert old < 2 * 2.5


def test_loading_is_what_remains_of_the_wait_for_the_first_token() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN._replace(first_s=8.0, seconds=10.0, start=Start.LOADED), 0.0)
    assert rates.load_s("m") == pytest.approx(8.0)
    assert rates.run_s("chat", "m", 100, None, 0.0) == pytest.approx(2.1), "reading is not known yet"
    rates.observe("chat", "m", SEEN, 0.0)
    rates.observe("chat", "m", SEEN._replace(first_s=5.5, seconds=7.5, start=Start.LOADED), 0.0)
    assert rates.load_s("m") == pytest.approx((8.0 + 5.0) / 2)
    assert rates.run_s("chat", "m", 100, None, 0.0) == pytest.approx(2.6), "loading is no part of running"


def test_waiting_for_others_teaches_nothing_but_how_fast_it_writes() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN._replace(first_s=60.0, seconds=62.0, start=Start.WAITED), 0.0)
    assert rates.run_s("chat", "m", 100, None, 0.0) == pytest.approx(2.1)
    assert rates.load_s("m") == LOAD_FIRST_S


def test_an_answer_in_one_piece_counts_as_written_all_the_time() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN._replace(first_s=2.1, seconds=2.1), 0.0)
    assert rates.run_s("chat", "m", 1000, None, 0.0) == pytest.approx(2.1)


def test_part_of_an_answer_tells_the_speed_and_not_the_length() -> None:
    rates = Rates()
    rates.observe("chat", "m", SEEN, 0.0)
    rates.observe("chat", "m", SEEN._replace(completion_tokens=2, seconds=10.5, whole=False), 0.0)
    geometric = math.sqrt(0.1 * 10.0)
    assert rates.run_s("chat", "m", 0, None, 0.0) == pytest.approx(21 * geometric)


def test_a_prompt_whose_tokens_nobody_counts_is_measured_by_its_bytes() -> None:
    rates = Rates()
    rates.observe("embed", "m", Seen(400, None, 0, 2.0, 2.0, Start.AT_ONCE), 0.0)
    assert rates.run_s("embed", "m", 200, None, 0.0) == pytest.approx(1.0)
    assert rates.run_s("chat", "m", 200, 10.0, 0.0) is None


def test_strange_measurements_stay_finite() -> None:
    rates = Rates()
    rates.observe("chat", "m", Seen(0, 0, 0, 0.0, 0.0, Start.AT_ONCE), 0.0)
    rates.observe("chat", "m", Seen(0, None, 2**53, 0.0, 1e-9, Start.LOADED), 0.0)
    rates.observe("chat", "m", Seen(1, 2**53, 2, 1e9, 2e9, Start.AT_ONCE), 0.0)
    price = rates.run_s("chat", "m", 2**53, 1e18, 0.0)
    assert price is not None
    assert 0.0 <= price <= SECONDS_MAX


def test_only_so_many_kinds_are_remembered() -> None:
    rates = Rates()
    for number in range(KINDS_MAX + 1):
        rates.observe("chat", f"m{number}", SEEN, 0.0)
    assert rates.run_s("chat", "m0", 100, None, 0.0) is None
    assert rates.run_s("chat", "m1", 100, None, 0.0) is not None
