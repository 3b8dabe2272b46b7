"""Probes told by hand: who is pinged, who is asked to ping, and who is missed."""

from __future__ import annotations

import pytest

from parley.protocols.core import Datagram, Effect
from parley.protocols.local_health import ACK_TIMEOUT_S, LocalHealth
from parley.protocols.probes import HELPERS, NACK_PART, RELAYS_MAX, Probes
from parley.protocols.swim_words import Ack, Nack, Ping, PingReq


def probes(*helpers: str) -> tuple[Probes, LocalHealth]:
    health = LocalHealth(0.0)
    return Probes(health, lambda to: (), lambda target: list(helpers[:HELPERS])), health


def test_an_answer_ends_a_probe_and_tells_how_long_it_took() -> None:
    one, health = probes("b")
    health.worse(1)
    assert one.ping("t", 1.0) == [Datagram("t", Ping(1))]
    assert one.deadline == 1.0 + 2 * ACK_TIMEOUT_S
    assert one.ping("t", 1.1) == []
    assert one.acked(1, "stranger", 1.2) == []
    assert "t" in one
    assert one.acked(1, "t", 1.2) == []
    assert "t" not in one
    assert one.deadline is None
    assert health.score == 0
    assert one.wake(60.0) == ([], [])


def test_no_answer_asks_others_and_their_answer_counts() -> None:
    one, health = probes("b", "c", "d", "e")
    one.ping("t", 0.0)
    effects, missed = one.wake(ACK_TIMEOUT_S)
    assert effects == [Datagram(helper, PingReq(1, "t", ACK_TIMEOUT_S)) for helper in "bcd"]
    assert missed == []
    one.acked(1, "e", 0.2)  # who was not asked
    assert "t" in one
    one.acked(1, "c", 0.2)
    assert "t" not in one
    assert health.score == 0


@pytest.mark.parametrize(("nacks", "score"), [("", 3), ("b", 2), ("bcd", 0), ("bcdez", 0)])
def test_nobody_has_an_answer_and_the_missing_nacks_are_our_own_fault(nacks: str, score: int) -> None:
    one, health = probes("b", "c", "d")
    one.ping("t", 0.0)
    one.wake(ACK_TIMEOUT_S)
    for helper in nacks:
        one.nacked(1, helper)
    assert one.wake(2 * ACK_TIMEOUT_S) == ([], ["t"])
    assert health.score == score
    assert one.deadline is None


def test_where_nobody_can_be_asked_it_is_missed_at_once() -> None:
    one, health = probes()
    one.ping("t", 0.0)
    assert one.wake(ACK_TIMEOUT_S) == ([], ["t"])
    assert health.score == 1


def test_on_a_hint_others_are_asked_at_once_and_once() -> None:
    one, _ = probes("b")
    assert one.ping_every_way("t", 0.0) == [Datagram("t", Ping(1)), Datagram("b", PingReq(1, "t", ACK_TIMEOUT_S))]
    assert one.ping_every_way("t", 0.01) == []
    assert one.wake(ACK_TIMEOUT_S) == ([], ["t"])


def test_a_hint_while_the_ping_is_under_way() -> None:
    one, _ = probes("b")
    one.ping("t", 0.0)
    assert one.ping_every_way("t", 0.1) == [Datagram("b", PingReq(1, "t", ACK_TIMEOUT_S))]
    assert one.deadline == 0.1 + ACK_TIMEOUT_S


def test_whoever_is_asked_pings_and_passes_the_answer_on() -> None:
    one, health = probes()
    assert one.asked(PingReq(7, "t", 0.5), "a", 1.0) == [Datagram("t", Ping(1))]
    assert one.acked(1, "x", 1.1) == []  # it was not x that was asked
    assert one.acked(1, "t", 1.1) == [Datagram("a", Ack(7))]
    assert one.acked(1, "t", 1.1) == []
    assert health.score == 0


def test_or_says_in_time_that_there_is_none() -> None:
    one, _ = probes()
    one.asked(PingReq(7, "t", 0.5), "a", 1.0)
    assert one.deadline == 1.0 + NACK_PART * 0.5
    assert one.wake(1.4) == ([Datagram("a", Nack(7))], [])
    assert one.acked(1, "t", 1.5) == []


def test_the_questions_of_others_are_bounded() -> None:
    one, _ = probes()
    asked: list[Effect] = []
    for number in range(RELAYS_MAX + 10):
        asked += one.asked(PingReq(number, "t", 0.5), "a", 0.0)
    assert len(asked) == RELAYS_MAX


def test_one_that_was_given_up_is_not_waited_for() -> None:
    one, _ = probes("b")
    one.ping("t", 0.0)
    one.asked(PingReq(7, "t", 0.5), "a", 0.0)
    one.forget("t")
    assert one.deadline is None


def test_what_we_slept_is_not_their_silence() -> None:
    one, health = probes("b")
    [ping] = one.ping("t", 0.0)
    assert isinstance(ping, Datagram)
    assert isinstance(ping.message, Ping)
    one.asked(PingReq(7, "u", 0.5), "a", 0.0)
    one.excuse(5.0)
    assert one.wake(5.0) == ([], [])
    assert one.deadline == 5.0 + ACK_TIMEOUT_S
    one.acked(ping.message.number, "t", 5.01)
    assert health.ack_timeout_s == ACK_TIMEOUT_S  # 0.01 s is what the way took
