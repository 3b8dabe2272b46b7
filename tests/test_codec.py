"""The decoder alone: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import contextlib
import math
import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transport_samples import SAMPLES, Carry, Heard, Say, Weigh

from parley.protocols.core import Message, PeerError, ProtocolError
from parley.transport.bulletins import Pull
from parley.transport.codec import FRAME_BYTES_MAX, ITEMS_MAX, VERSION, Bulletin, Codec, Packet

CODEC = Codec(SAMPLES)


def packet(*messages: Message, version: int = VERSION) -> bytes:
    items = tuple(CODEC.encode_message(message) for message in messages)
    return CODEC.encode(Packet(version, "n1", 1, "n2", 1, 5, 1, 0, 0, 0, 99, items))


def packet_of(name: str, raw: bytes) -> bytes:
    return CODEC.encode(Packet(VERSION, "n1", 1, "n2", 1, 5, 1, 0, 0, 0, 99, ((name, msgspec.Raw(raw)),)))


def decode_all(frame: bytes) -> list[Message]:
    return [CODEC.decode_message(item) for item in CODEC.decode_packet(frame).items]


def test_packet_round_trip() -> None:
    said = [Say(1, "é"), Weigh((0.5, 2.0)), Carry(b"\0\xff"), Pull(3, 4)]
    decoded = CODEC.decode_packet(packet(*said))
    assert decode_all(packet(*said)) == said
    assert (decoded.sender, decoded.receiver, decoded.stream, decoded.seq, decoded.hlc) == ("n1", "n2", 5, 1, 99)


def test_what_a_peer_would_refuse_is_known_before() -> None:
    assert not CODEC.refuses(Say(1, "é"))
    assert CODEC.refuses(Pull(-1, 4)) == "Expected `int` >= 0 - at `$[0]`"


def test_bulletin_round_trip() -> None:
    sent = Bulletin(VERSION, "n1", 7, 3, 42, (CODEC.encode_message(Say(2)),))
    heard = CODEC.decode_bulletin(CODEC.encode(sent))
    assert (heard.sender, heard.sender_incarnation, heard.seq) == ("n1", 7, 3)
    assert CODEC.decode_message(heard.items[0]) == Say(2)


def test_other_version_is_named_even_if_its_layout_differs() -> None:
    for frame in (packet(version=9), msgspec.msgpack.encode([9, {"a": 1}])):
        with pytest.raises(PeerError, match=rf"speaks version 9; this node speaks {VERSION}"):
            CODEC.decode_packet(frame)


def test_local_messages_never_cross_the_wire() -> None:
    with pytest.raises(ProtocolError):
        Codec([Heard])
    with pytest.raises(ProtocolError):
        CODEC.encode_message(Heard("n1"))
    with pytest.raises(PeerError, match="Heard"):
        decode_all(packet_of("Heard", msgspec.msgpack.encode(["n1"])))


def test_two_types_of_one_name_are_a_bug() -> None:
    class Pull(Message, frozen=True, array_like=True):
        pass

    with pytest.raises(ProtocolError, match="Pull"):
        Codec([Pull])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0])
def test_numbers_out_of_bounds_are_refused(number: float) -> None:
    with pytest.raises(PeerError, match="Weigh"):
        decode_all(packet_of("Weigh", msgspec.msgpack.encode([[number]])))


def test_too_much_is_refused() -> None:
    full = [Say(i) for i in range(ITEMS_MAX)]
    assert len(decode_all(packet(*full))) == ITEMS_MAX
    with pytest.raises(PeerError):
        CODEC.decode_packet(packet(*full, Say(0)))
    with pytest.raises(PeerError, match="bytes"):
        CODEC.decode_packet(b"\x9b" + bytes(FRAME_BYTES_MAX))
    with pytest.raises(PeerError):
        decode_all(packet_of("x" * 65, b"\x90"))
    with pytest.raises(ProtocolError, match="too large"):
        CODEC.encode_message(Carry(bytes(FRAME_BYTES_MAX)))


MAPS = b"\x80" * 1_000_000
MILLION = (1_000_000).to_bytes(4, "big")
BOMBS = {
    "a megabyte of empty maps": MAPS,
    "empty maps for an item": packet_of("Weigh", b"\x90").replace(b"Weigh\x90", b"Weigh\xdd" + MILLION + MAPS),
    "empty maps for a field": packet_of("Weigh", b"\x90").replace(b"Weigh\x90", b"Weigh\x91\xdd" + MILLION + MAPS),
    "nested arrays": b"\x91" * 400_002,
    "nested arrays for an item": packet_of("Say", b"\x90").replace(b"Say\x90", b"Say" + b"\x91" * 400_002),
    "a huge declared array": b"\xdd\xff\xff\xff\xff",
    "a huge declared array for items": packet()[:-1] + b"\xdd\xff\xff\xff\xff",
    "a huge declared array for a field": packet_of("Weigh", b"\x90")[:-1] + b"\x91\xdd\xff\xff\xff\xff",
    "a huge declared string": packet_of("Say", b"\x90")[:-1] + b"\x92\x01\xdb\xff\xff\xff\xff",
    "a huge declared map": b"\xdf\xff\xff\xff\xff",
    "a text that is no UTF-8": packet_of("Say", b"\x92\x01\xa2\xff\xfe"),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_cost_neither_time_nor_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        began = time.perf_counter()
        with pytest.raises(PeerError):
            decode_all(bomb)
        took = time.perf_counter() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(bomb) + 1_000_000
    assert took < 0.25


def refused_or_right(frame: bytes) -> None:
    for decode in (CODEC.decode_packet, CODEC.decode_bulletin):
        try:
            items = decode(frame).items
        except PeerError:
            continue
        for item in items:
            with contextlib.suppress(PeerError):
                assert isinstance(CODEC.decode_message(item), Message)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes(frame: bytes) -> None:
    refused_or_right(frame)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4), st.integers(0, 10_000))
def test_mutated_packets(changes: list[tuple[int, int]], cut: int) -> None:
    frame = bytearray(packet(Say(1, "hello"), Weigh((1.0, 2.0)), Carry(b"xyz"), Pull(1, 2)))
    for place, value in changes:
        frame[place % len(frame)] = value
    refused_or_right(bytes(frame[: len(frame) - cut % len(frame)] if cut % 3 == 0 else frame))
