"""Links told by hand: what leaves, what arrives, and what happens in between when the wire is bad."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_samples import SAMPLES, Carry, Say, make_links

from parley.protocols.core import Message, NodeId, PeerError, ProtocolError
from parley.transport.bulletins import BULLETINS_KEPT, PULL_DELAY_S
from parley.transport.clock import AHEAD_MS_MAX, HybridClock, milliseconds
from parley.transport.codec import VERSION, Bulletin, Codec, Packet
from parley.transport.link import (
    ACK_DELAY_S,
    ACK_PACKETS_MAX,
    GAP_S,
    HOLE_TOLD_MAX,
    LINK_BYTES_MAX,
    LINK_ITEMS_MAX,
    QUICK_S,
)
from parley.transport.links import AGAIN_TIMES, LINKS_MAX, SILENCE_S_MAX, Cause, Drop, Links
from parley.transport.repeats import EARLY, FIRST_S, LINEAR, RESEND_S, RESEND_S_MAX

CODEC = Codec(SAMPLES)


def pair() -> tuple[Links, Links]:
    """Two nodes with a line each to the other; a route is the name of where it leads."""
    a, b = make_links("a"), make_links("b")
    a.connect("b", 1, "to b", 0.0)
    b.connect("a", 1, "to a", 0.0)
    return a, b


def calm_pair() -> tuple[Links, Links]:
    """Two nodes that have talked for a while, at time 0, and have lost nothing."""
    a, b = pair()
    for number in range(EARLY):
        a.send("b", Say(number))
        hear(b, frames(a))
        b.send("a", Say(number))
        hear(a, frames(b))
    hear(b, frames(a, 0.1), 0.1)
    assert (frames(a, 0.2), frames(b, 0.2)) == ([], [])
    return a, b


def frames(links: Links, now: float = 0.0) -> list[bytes]:
    return [frame for _, frame in links.flush(now)]


def packets(links: Links, now: float = 0.0) -> list[Packet]:
    return [CODEC.decode_packet(frame) for frame in frames(links, now)]


def hear(links: Links, sent: Iterable[bytes], now: float = 0.0, route: str | None = "in") -> list[Message]:
    return [message for frame in sent for _, message, _ in links.receive(frame, route, now).deliveries]


def settle(a: Links, b: Links, now: float) -> tuple[list[Message], list[Message]]:
    """Carry everything to and fro until silence; what a and b have heard."""
    at_a: list[Message] = []
    at_b: list[Message] = []
    while (from_a := frames(a, now)) + (from_b := frames(b, now)):
        at_b += hear(b, from_a, now)
        at_a += hear(a, from_b, now)
    return at_a, at_b


# --- clock -----------------------------------------------------------------------------------------------------------


def test_clock_rises_and_follows_causes() -> None:
    ahead, behind = HybridClock(lambda: 5.0), HybridClock(lambda: 4.0)
    stamps = [ahead.tick() for _ in range(3)]
    assert stamps == sorted(set(stamps))
    assert milliseconds(stamps[-1]) == 5000
    assert behind.tick() < stamps[0]
    behind.update(stamps[-1])
    assert behind.tick() > stamps[-1]


def test_clock_does_not_believe_the_far_future() -> None:
    clock = HybridClock(lambda: 4.0)
    clock.update(2**62)
    assert milliseconds(clock.tick()) == 4000 + AHEAD_MS_MAX


# --- one link --------------------------------------------------------------------------------------------------------


def test_messages_of_one_turn_share_a_packet() -> None:
    a, b = pair()
    for number in range(3):
        a.send("b", Say(number))
    [(route, frame)] = a.flush(0.0)
    assert route == "to b"
    received = b.receive(frame, "in", 0.0)
    assert received.deliveries == [("a", Say(number), Cause("a", 1, number)) for number in range(3)]
    assert [str(cause) for _, _, cause in received.deliveries] == ["a:1.0", "a:1.1", "a:1.2"]


def test_large_messages_have_packets_of_their_own() -> None:
    a, b = pair()
    said = [Carry(bytes([i]) * 600_000) for i in range(3)]
    for message in said:
        a.send("b", message)
    sent = frames(a)
    assert len(sent) == 3
    assert hear(b, sent) == said


def test_acknowledgement_rides_on_the_answer() -> None:
    a, b = pair()
    a.send("b", Say(1))
    hear(b, frames(a))
    b.send("a", Say(2))
    [answer] = frames(b, 0.01)
    assert CODEC.decode_packet(answer).ack == 1
    hear(a, [answer], 0.02)
    assert [packet.seq for packet in packets(a, 10.0)] == [0]  # its own acknowledgement, and no repeat
    assert a.deadline is None


@pytest.mark.parametrize(("made", "after_s"), [(pair, QUICK_S), (calm_pair, ACK_DELAY_S)])
def test_acknowledgement_is_sent_bare_when_there_is_no_answer(
    made: Callable[[], tuple[Links, Links]], after_s: float
) -> None:
    a, b = made()
    a.send("b", Say(1))
    [packet] = sent = packets(a, 1.0)
    hear(b, [CODEC.encode(packet) for packet in sent], 1.0)
    assert b.deadline == 1.0 + after_s
    assert frames(b, 1.0) == []
    [bare] = packets(b, 1.0 + after_s)
    assert (bare.seq, bare.ack, bare.items) == (0, packet.seq, ())


def test_a_stream_without_answers_is_acknowledged_before_the_delay() -> None:
    a, b = pair()
    for number in range(ACK_PACKETS_MAX):
        a.send("b", Say(number))
        hear(b, frames(a))
    [bare] = packets(b)
    assert bare.ack == ACK_PACKETS_MAX


def repeated(links: Links, begun: float, times: int) -> list[float]:
    """How long it waited each time before it sent the same bytes again."""
    lost = frames(links, begun)
    at = [begun]
    for _ in range(times):
        assert links.deadline is not None
        at.append(links.deadline)
        assert frames(links, links.deadline) == lost
    return [round(later - earlier, 6) for earlier, later in pairwise(at)]


def test_loss_is_repeated_with_the_same_bytes_less_and_less_often() -> None:
    a, _ = calm_pair()
    a.send("b", Say(1))
    assert repeated(a, 1.0, 6) == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert a.counters.repeats == 6


def test_where_nothing_is_known_yet_it_is_repeated_soon_and_for_a_while_at_that_pace() -> None:
    a, _ = pair()
    a.send("b", Say(1))
    first = 5.0 * FIRST_S
    gaps = repeated(a, 0.0, LINEAR + 6)
    assert gaps[: LINEAR + 1] == [first] * (LINEAR + 1)
    assert gaps[LINEAR + 1 :] == [2.0 * first, 4.0 * first, 8.0 * first, 16.0 * first, RESEND_S_MAX]


def test_a_hole_is_told_and_closed_long_before_a_repeat_would_be_due() -> None:
    a, b = calm_pair()
    sent = []
    for number in range(3):
        a.send("b", Say(number))
        sent += frames(a, 1.0)
    assert hear(b, sent[1:], 1.001) == []
    assert b.deadline == 1.001 + GAP_S
    now = 1.001 + GAP_S
    hear(a, frames(b, now), now + 0.001)
    assert a.deadline is not None
    assert a.deadline < 1.0 + RESEND_S / 10
    assert hear(b, frames(a, a.deadline), a.deadline) == [Say(0), Say(1), Say(2)]


def test_a_hole_is_told_again_for_what_tells_of_it_may_be_lost_too_and_not_for_ever() -> None:
    a, b = calm_pair()
    sent = []
    for number in range(2):
        a.send("b", Say(number))
        sent += frames(a, 1.0)
    hear(b, sent[1:], 1.0)
    told = 0
    while b.deadline is not None and b.deadline < 100.0:
        told += len(frames(b, b.deadline))
    assert told == 1 + HOLE_TOLD_MAX


def test_what_went_again_by_a_way_known_only_now_is_no_loss() -> None:
    """Both copies come, and the peer says twice what it has: no bulletin is doubled for that."""
    a, b = pair()
    a.send("b", Say(1))
    first = frames(a)
    a.connect("b", 1, "other way to b", 0.0)
    again = frames(a)
    assert again == first
    a.send("b", Say(2))
    second = frames(a, 0.001)
    assert hear(b, [*first, *second], 0.001) == [Say(1), Say(2)]
    hear(a, frames(b, 0.001 + QUICK_S), 0.01)
    a.send("b", Say(3))
    third = frames(a, 0.01)
    assert hear(b, again, 0.01) == []
    echo = frames(b, 0.01)
    assert [CODEC.decode_packet(frame).ack for frame in echo] == [2]
    hear(a, echo, 0.011)
    assert frames(a, 0.04) == []
    hear(a, frames(b, 0.04), 0.04)
    hear(b, third, 0.04)
    a.publish(Say(0))
    published = []
    while a.deadline is not None and a.deadline < 100.0:
        published += [frame for route, frame in a.flush(max(a.deadline, 0.05)) if route is None]
        hear(a, frames(b, 0.05 + QUICK_S), 0.05 + QUICK_S)
    assert len(published) == 1


def test_a_packet_that_was_only_overtaken_is_no_hole() -> None:
    a, b = calm_pair()
    sent = []
    for number in range(2):
        a.send("b", Say(number))
        sent += frames(a, 1.0)
    assert hear(b, reversed(sent), 1.0) == [Say(0), Say(1)]
    now = b.deadline
    assert now is not None
    hear(a, frames(b, now), now)
    assert (a.settled, a.counters.repeats) == (True, 0)


def test_how_long_is_waited_follows_how_long_answers_take_and_grows_where_that_is_not_known() -> None:
    """Of a peer that is slow, and loses nothing: after some repeats it is given the time it takes."""
    a, b = pair()
    slow_s = 0.3
    spent = []
    for turn in range(1, 13):
        begun, before = 10.0 * turn, a.counters.repeats
        a.send("b", Say(turn))
        under_way = frames(a, begun)
        while a.deadline is not None and a.deadline < begun + slow_s:
            under_way += frames(a, a.deadline)
        hear(b, under_way, begun + slow_s)
        hear(a, frames(b, begun + slow_s + QUICK_S), begun + slow_s + QUICK_S)
        assert a.settled
        spent.append(a.counters.repeats - before)
    assert spent[0] > 2
    assert spent[-2:] == [0, 0]


def test_duplicate_is_delivered_once_and_acknowledged_again() -> None:
    a, b = pair()
    a.send("b", Say(1))
    sent = frames(a)
    assert hear(b, sent + sent) == [Say(1)]
    assert packets(b)[0].ack == 1
    assert b.counters.duplicates == 1


def test_swapped_packets_are_delivered_in_order_and_the_hole_is_told() -> None:
    a, b = pair()
    sent = []
    for number in range(4):
        a.send("b", Say(number))
        sent += frames(a)
    assert hear(b, [sent[0], sent[3], sent[2]]) == [Say(0)]
    assert packets(b, GAP_S)[0].ack == 1
    assert hear(b, [sent[1]], GAP_S) == [Say(1), Say(2), Say(3)]


def test_whoever_has_forgotten_a_stream_says_so_at_once() -> None:
    a, b = pair()
    sent = []
    for number in range(2):
        a.send("b", Say(number))
        sent += frames(a)
    assert hear(b, [sent[1]]) == []
    assert packets(b)[0].ack == 0


def test_a_full_link_drops_and_says_so() -> None:
    drops: list[Drop] = []
    a = make_links("a", on_drop=drops.append)
    a.connect("b", 1, "to b", 0.0)
    for number in range(LINK_ITEMS_MAX):
        a.send("b", Say(number))
    assert (a.room("b"), drops) == (0, [])
    a.send("b", Say(0))
    a.send("nobody", Say(0))
    assert drops == [Drop("b", "Say", "queue"), Drop("nobody", "Say", "unknown")]
    a.flush(0.0)
    a.send("b", Say(0))  # what is under way counts as well
    assert a.counters.drops == {"queue": 2, "unknown": 1}


def test_a_link_is_bounded_in_bytes_and_gets_its_room_back() -> None:
    a, b = pair()
    size = 4 * 1024 * 1024 - 1024
    for _ in range(LINK_BYTES_MAX // size + 1):
        a.send("b", Carry(bytes(size)))
    assert a.counters.drops == {"queue": 1}
    hear(b, frames(a))
    hear(a, frames(b, 1.0), 1.0)
    a.send("b", Carry(bytes(size)))
    assert a.counters.drops == {"queue": 1}


def test_one_bad_item_does_not_block_the_link() -> None:
    class News(Say, frozen=True, array_like=True):
        pass

    newer = Links("a", 1, Codec([Say, News]), HybridClock(lambda: 1.0))
    newer.connect("b", 1, "to b", 0.0)
    for message in (Say(1), News(2), Say(3)):
        newer.send("b", message)
    b = make_links("b")
    [frame] = frames(newer)
    received = b.receive(frame, "in", 0.0)
    assert [message for _, message, _ in received.deliveries] == [Say(1), Say(3)]
    [refusal] = received.refused
    assert str(refusal) == "a peer sent 'News', which is no message that may come from the wire"
    assert packets(b, 1.0)[0].ack == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_once_and_in_order_over_any_wire(seed: int, loss: float, duplication: float) -> None:
    draw = random.Random(seed)
    a, b = pair()
    wire: list[tuple[Links, bytes]] = []
    heard: dict[NodeId, list[Message]] = {"a": [], "b": []}
    now = 0.0
    for step in range(4000):
        now += 0.01
        if step < 60:
            a.send("b", Say(step))
            b.send("a", Say(step))
        for source, target in ((a, b), (b, a)):
            for frame in frames(source, now):
                copies = 0 if draw.random() < loss else 2 if draw.random() < duplication else 1
                wire += [(target, frame)] * copies
        draw.shuffle(wire)
        for _ in range(len(wire) // 2 + 1 if wire else 0):
            target, frame = wire.pop()
            heard[target.node] += hear(target, [frame], now)
        if not wire and a.deadline is None and b.deadline is None:
            break
    assert heard["a"] == heard["b"] == [Say(number) for number in range(60)]


# --- lives and names -------------------------------------------------------------------------------------------------


def test_a_packet_is_only_heard_by_whom_it_names() -> None:
    a, _ = pair()
    a.send("b", Say(1))
    sent = frames(a)
    stranger, reborn = make_links("c"), make_links("b", 2)
    assert hear(stranger, sent) == hear(reborn, sent) == []
    assert stranger.counters.drops == reborn.counters.drops == {"stranger": 1}
    assert frames(stranger) == []


def test_whoever_takes_us_for_our_former_self_is_told() -> None:
    drops: list[Drop] = []
    a = make_links("a", on_drop=drops.append)
    a.connect("b", 1, "to b", 0.0)
    a.send("b", Say(1))
    reborn = make_links("b", 2)
    hear(reborn, frames(a))
    hear(a, frames(reborn), 0.1, route="to b")
    assert drops == [Drop("b", "Say", "reborn")]
    a.send("b", Say(2))
    assert settle(a, reborn, 0.2)[1] == [Say(2)]


def test_a_higher_life_begins_anew_and_a_lower_one_is_ignored() -> None:
    a, b = pair()
    b.send("a", Say(1))
    assert settle(a, b, 0.0)[0] == [Say(1)]
    b.send("a", Say(2))
    late = frames(b)
    reborn = make_links("b", 2)
    reborn.connect("a", 1, "to a", 0.0)
    reborn.send("a", Say(3))
    assert hear(a, frames(reborn), 0.0) == [Say(3)]
    assert hear(a, late, 0.0) == []
    assert a.counters.drops == {"stale": 1}


def test_nobody_may_bear_my_name() -> None:
    a = make_links("a")
    for receiver, incarnation in (("a", 1), ("", 0)):
        with pytest.raises(PeerError, match="calls itself a"):
            a.receive(CODEC.encode(Packet(VERSION, "a", 9, receiver, incarnation, 1, 1, 0, 0, 0, 1, ())), "in", 0.0)
    with pytest.raises(PeerError, match="calls itself a"):
        a.receive(CODEC.encode(Bulletin(VERSION, "a", 9, 1, 1, ())), None, 0.0)
    with pytest.raises(ProtocolError):
        a.connect("a", 1, "to a", 0.0)


def test_an_address_is_asked_for_its_name_before_it_is_told_anything() -> None:
    client, agent = make_links("c"), make_links("a")
    client.open("@there", "to there", 0.0)
    client.send("@there", Say(1))
    [question] = frames(client)
    assert CODEC.decode_packet(question).receiver == ""
    assert hear(agent, [question], route="from c") == []
    [(route, answer)] = agent.flush(0.0)
    assert route == "from c"
    assert client.name("@there") is None
    hear(client, [answer], route="to there")
    assert client.name("@there") == "a"
    [(_, first)] = client.flush(0.0)
    assert hear(agent, [first], route="from c") == [Say(1)]
    agent.send("c", Say(2))
    [(route, answer)] = agent.flush(0.0)
    assert route == "from c"
    assert hear(client, [answer], route="to there") == [Say(2)]
    for name in ("@there", "a"):
        client.send(name, Say(3))
    assert hear(agent, frames(client)) == [Say(3), Say(3)]


def test_a_question_without_an_answer_is_asked_again() -> None:
    client = make_links("c")
    client.open("@there", "to there", 0.0)
    asked = []
    for _ in range(3):
        assert client.deadline is not None
        asked.append(client.deadline)
        assert len(frames(client, client.deadline)) == 1
    assert asked == [0.0, RESEND_S, 3 * RESEND_S]
    client.close("@there")
    assert client.flush(99.0) == []
    assert client.deadline is None


def test_an_alias_of_a_peer_that_is_known_already_joins_its_link() -> None:
    a, b = pair()
    a.open("@b", "other way to b", 0.0)
    a.send("@b", Say(1))
    a.send("b", Say(0))
    questions = frames(a)
    at_b = hear(b, questions, route="from a")
    for route, frame in b.flush(0.0):
        hear(a, [frame], route="other way to b" if route == "from a" else str(route))
    assert at_b + settle(a, b, 0.0)[1] == [Say(0), Say(1)]


def test_a_client_is_answered_on_the_way_it_came_last() -> None:
    client, agent = make_links("c"), make_links("a")
    client.connect("a", 1, "to a", 0.0)
    for way in ("first way", "second way"):
        client.send("a", Say(1))
        hear(agent, frames(client), route=way)
        agent.send("c", Say(2))
        assert [route for route, _ in agent.flush(0.0)] == [way]


def test_a_forgotten_link_is_numbered_anew_from_either_side() -> None:
    for forgets_first in (True, False):
        a, b = pair()
        a.send("b", Say(1))
        b.send("a", Say(1))
        settle(a, b, 0.0)
        settle(a, b, ACK_DELAY_S)
        b.close("a")
        b.connect("a", 1, "to a", 1.0)
        speaker = b if forgets_first else a
        speaker.send("a" if forgets_first else "b", Say(2))
        heard = [message for side in settle(a, b, 1.0) for message in side]
        a.send("b", Say(3))
        b.send("a", Say(3))
        heard += [message for side in settle(a, b, 2.0) for message in side]
        assert heard == [Say(2), Say(3), Say(3)]


def test_a_client_that_vanished_is_forgotten() -> None:
    client, agent = make_links("c"), make_links("a")
    client.connect("a", 1, "to a", 0.0)
    client.send("a", Say(1))
    hear(agent, frames(client))
    agent.send("c", Say(2))
    now = 0.0
    while agent.deadline is not None and now < 100.0:
        now = agent.deadline
        agent.flush(now)
    assert SILENCE_S_MAX < now < SILENCE_S_MAX + 3.0
    assert agent.counters.drops == {"silent": 1}


def test_links_are_bounded_and_the_longest_idle_client_makes_room() -> None:
    agent = make_links("a")
    for number in range(LINKS_MAX + 1):
        sender = f"c{number}"
        agent.receive(
            CODEC.encode(Packet(VERSION, sender, 1, "a", 1, 5, 1, 0, 0, 0, 1, (CODEC.encode_message(Say(1)),))),
            sender,
            float(number),
        )
    assert agent.knows("c0") is None
    assert agent.knows("c1") == agent.knows(f"c{LINKS_MAX}") == 1


def test_closing_forgets_what_waits() -> None:
    drops: list[Drop] = []
    a = make_links("a", on_drop=drops.append)
    a.connect("b", 1, "to b", 0.0)
    a.send("b", Say(1))
    a.flush(0.0)
    a.send("b", Say(2))
    a.close("b")
    assert drops == [Drop("b", "Say", "closed")] * 2
    assert (a.flush(9.0), a.deadline, a.knows("b")) == ([], None, None)


def test_nonsense_leaves_the_state_as_it_was() -> None:
    a, b = pair()
    a.send("b", Say(1))
    [frame] = frames(a)
    for nonsense in (b"", b"\xff" * 9, frame[:-1], b"GET / HTTP/1.1\r\n\r\n"):
        with pytest.raises(PeerError):
            b.receive(nonsense, "in", 0.0)
    assert b.counters.drops == {"garbage": 4}
    assert hear(b, [frame]) == [Say(1)]


# --- announcements ---------------------------------------------------------------------------------------------------


def bulletins(publisher: Links, count: int) -> list[bytes]:
    sent = []
    for _ in range(count):
        publisher.publish(Say(publisher.published + 1))
        [(route, frame)] = publisher.flush(0.0)
        assert route is None
        sent.append(frame)
    return sent


def pull(listener: Links, publisher: Links, now: float) -> list[Message]:
    """Let the listener ask for what it misses; what it then hears."""
    heard: list[Message] = []
    while sent := listener.flush(now):
        for _, frame in sent:
            publisher.receive(frame, "in", now)
        heard += hear(listener, frames(publisher, now), now)
    return heard


def ping(publisher: Links, now: float) -> list[bytes]:
    publisher.datagram("b", Say(0))
    return frames(publisher, now)


def test_publications_of_one_turn_share_a_bulletin() -> None:
    a, b = pair()
    for number in range(3):
        a.publish(Say(number))
    [(route, frame)] = a.flush(0.0)
    deliveries = b.receive(frame, route, 0.0).deliveries
    assert [(message, str(cause)) for _, message, cause in deliveries] == [(Say(i), f"a:!1.{i}") for i in range(3)]
    assert a.published == 1


def test_a_hole_is_pulled_and_delivered_once() -> None:
    a, b = pair()
    sent = bulletins(a, 6)
    assert hear(b, [sent[0], sent[3], sent[1], sent[1]], route=None) == [Say(1), Say(4), Say(2)]
    assert b.deadline == PULL_DELAY_S
    assert pull(b, a, PULL_DELAY_S) == [Say(3)]
    assert hear(b, [*sent[:4], sent[4]], route=None) == [Say(5)]


def test_on_a_wire_that_loses_much_bulletins_come_again_unasked() -> None:
    a, b = make_links("a"), make_links("b")
    for node in ("b", "c"):
        a.connect(node, 1, f"to {node}", 0.0)
    b.connect("a", 1, "to a", 0.0)
    a.publish(Say(0))
    once = [frame for route, frame in a.flush(0.0) if route is None]
    assert (len(once), a.flush(1.0)) == (1, [])
    for number, now in enumerate((1.0, 2.0), 1):  # two are lost, and come when they are repeated
        a.send("b", Say(number))
        a.flush(now)
        assert a.deadline is not None
        assert hear(b, frames(a, a.deadline), a.deadline) == [Say(number)]
        hear(a, frames(b, now + 1.0), now + 1.0)
    a.publish(Say(3))
    published = []
    while a.deadline is not None and a.deadline < 100.0:
        published += [frame for route, frame in a.flush(max(a.deadline, 4.0)) if route is None]
    assert len(published) == 1 + AGAIN_TIMES
    assert len(set(published)) == 1


def test_beginning_late_is_no_hole() -> None:
    a, b = pair()
    sent = bulletins(a, 6)
    assert hear(b, sent[3:], route=None) == [Say(4), Say(5), Say(6)]
    assert b.deadline is None


def test_a_lost_tail_is_found_by_what_pings_tell() -> None:
    a, b = pair()
    sent = bulletins(a, 6)
    assert hear(b, [sent[1]], route=None) == [Say(2)]
    assert hear(b, ping(a, 0.0)) == [Say(0)]
    assert b.deadline == PULL_DELAY_S
    assert pull(b, a, PULL_DELAY_S) == [Say(3), Say(4), Say(5), Say(6)]
    assert hear(b, ping(a, 1.0), 1.0) == [Say(0)]
    assert pull(b, a, 2.0) == []


def test_before_the_first_ping_nothing_was_missed() -> None:
    a, b = pair()
    bulletins(a, 6)
    hear(b, ping(a, 0.0))
    assert b.deadline is None
    [lost] = bulletins(a, 1)
    hear(b, ping(a, 1.0), 1.0)
    assert pull(b, a, 1.0 + PULL_DELAY_S) == [Say(7)]
    assert hear(b, [lost], route=None) == []


def test_what_the_publisher_no_longer_keeps_stays_lost() -> None:
    a, b = pair()
    sent = bulletins(a, BULLETINS_KEPT + 50)
    hear(b, [sent[0], sent[-1]], route=None)
    assert pull(b, a, 1.0) == [Say(number) for number in range(51, BULLETINS_KEPT + 50)]
    assert hear(b, sent, route=None) == []


def test_bulletins_of_a_former_life_and_of_strangers_are_ignored() -> None:
    a, b = pair()
    reborn = make_links("a", 2)
    old, new = bulletins(a, 2), bulletins(reborn, 1)
    assert hear(b, [old[0], *new, old[1]], route=None) == [Say(1), Say(1)]
    assert hear(b, bulletins(make_links("x"), 1), route=None) == []
    assert b.counters.drops == {"stale": 1, "stranger": 1}


def test_far_jumps_cost_nothing() -> None:
    _, b = pair()
    for seq in (1, 2**53, 1, 2**53 - 5):
        b.receive(CODEC.encode(Bulletin(VERSION, "a", 1, seq, 1, ())), None, 0.0)
    assert b.counters.duplicates == 1


def test_it_is_settled_when_all_has_been_heard() -> None:
    a, b = pair()
    assert a.settled
    a.send("b", Say(1))
    assert not a.settled
    assert hear(b, frames(a)) == [Say(1)]
    assert not a.settled
    hear(a, frames(b, ACK_DELAY_S), ACK_DELAY_S)
    assert a.settled


# --- datagrams -------------------------------------------------------------------------------------------------------


def test_a_datagram_waits_for_nothing_and_is_not_repeated() -> None:
    a, b = pair()
    a.send("b", Say(1))
    [lost] = frames(a)
    a.datagram("b", Say(2))
    [sent] = frames(a)
    assert [message for _, message, _ in b.receive(sent, "to a", 0.0).deliveries] == [Say(2)]
    assert frames(b) == []  # it is not acknowledged
    assert frames(a, RESEND_S) == [lost]


def test_what_a_datagram_brings_of_numbers_is_heeded() -> None:
    """It acknowledges, as every packet does, and begins no stream anew."""
    a, b = pair()
    a.send("b", Say(1))
    [packet] = frames(a)
    b.receive(packet, "to a", 0.0)
    b.datagram("a", Say(2))
    a.receive(frames(b)[0], "to b", 0.0)
    assert a.settled
    a.send("b", Say(3))
    assert [message for _, message, _ in b.receive(frames(a)[0], "to a", 0.0).deliveries] == [Say(3)]


def test_a_datagram_to_nobody_or_of_a_former_life_is_dropped() -> None:
    a, b = pair()
    a.datagram("x", Say(1))
    assert (frames(a), a.counters.drops) == ([], {"unknown": 1})
    a.datagram("b", Say(1))
    [sent] = frames(a)
    assert make_links("b", 2).receive(sent, "to a", 0.0).deliveries == []
    b.connect("a", 2, "to a", 0.0)
    assert b.receive(sent, "to a", 0.0).deliveries == []
