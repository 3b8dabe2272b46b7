"""What may come over the wire of a real agent, type by type, and what must not: nothing else is ever built."""

from __future__ import annotations

import math
import struct
import tracemalloc
from collections import deque
from typing import Any

import msgspec
import pytest
from fuzz_decoder import CODEC, NAMES, VALUES, Target, damaged, frames, raw
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from parley.agents.agent import MESSAGES
from parley.protocols.core import Message, PeerError
from parley.protocols.swim_words import Contact, Members
from parley.transport.bulletins import Missed, Pull
from parley.transport.codec import (
    ELEMENTS_MAX,
    FRAME_BYTES_MAX,
    ITEMS_MAX,
    SHARED_BYTES_MAX,
    VERSION,
    Bulletin,
    Packet,
)
from parley.transport.link import PACKET_BYTES_AIM, next_items

TYPES: tuple[type[Message], ...] = (*MESSAGES, Pull, Missed)


def packet(*items: tuple[str, bytes]) -> bytes:
    sealed = tuple((name, msgspec.Raw(item)) for name, item in items)
    return CODEC.encode(Packet(VERSION, "n1", 1, "n2", 1, 5, 1, 0, 0, 0, 99, sealed))


def refused(name: str, item: bytes) -> None:
    try:
        taken = CODEC.decode_message((name, msgspec.Raw(item)))
    except PeerError:
        return
    raise AssertionError(f"it is taken for {taken!r:.200}")


# --- every field is bounded ------------------------------------------------------------------------------------------


BOUNDED = (
    *(
        inspect.StructType,
        inspect.VarTupleType,
        inspect.TupleType,
        inspect.UnionType,
        inspect.StrType,
        inspect.BytesType,
    ),
    *(inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.EnumType, inspect.NoneType),
)
"""What a field may be, if its own bounds are set: no maps, no lists, no times, no extensions, nothing of any type."""


def fields(kind: inspect.Type, path: str) -> list[tuple[str, inspect.Type]]:
    """All that a type is made of."""
    found = [(path, kind)]
    match kind:
        case inspect.StructType(fields=inner):
            for field in inner:
                found += fields(field.type, f"{path}.{field.name}")
        case inspect.VarTupleType(item_type=item):
            found += fields(item, f"{path}[]")
        case inspect.TupleType(item_types=items):
            for place, item in enumerate(items):
                found += fields(item, f"{path}[{place}]")
        case inspect.UnionType(types=types):
            for one in types:
                found += fields(one, path)
    return found


def unbounded(kind: inspect.Type) -> bool:
    """A field that a peer could make as large as it likes, or fill with what is no number."""
    match kind:
        case inspect.StrType(max_length=None, pattern=None):
            return True
        case inspect.BytesType(max_length=None) | inspect.VarTupleType(max_length=None):
            return True
        case inspect.IntType() | inspect.FloatType():
            return (kind.ge is None and kind.gt is None) or (kind.le is None and kind.lt is None)
    return not isinstance(kind, BOUNDED)


def elements(kind: inspect.Type) -> int:
    """The most that a value of it can hold, itself included."""
    match kind:
        case inspect.StructType(fields=inner):
            return 1 + sum(elements(field.type) for field in inner)
        case inspect.VarTupleType(item_type=item, max_length=int(length)):
            return 1 + length * elements(item)
        case inspect.TupleType(item_types=items):
            return 1 + sum(map(elements, items))
        case inspect.UnionType(types=types):
            return max(map(elements, types))
    return 1


@pytest.mark.parametrize("message", TYPES, ids=lambda message: message.__name__)
def test_every_field_of_every_message_has_a_bound(message: type[Message]) -> None:
    told = fields(inspect.type_info(message), message.__name__)
    assert [path for path, kind in told if unbounded(kind)] == []
    structs = [(path, kind) for path, kind in told if isinstance(kind, inspect.StructType)]
    assert [path for path, kind in structs if not (kind.array_like and kind.forbid_unknown_fields)] == []
    assert elements(inspect.type_info(message)) <= ELEMENTS_MAX


def test_a_type_without_bounds_would_be_found() -> None:
    class Loose(Message, frozen=True, array_like=True):
        text: str
        number: float
        anything: Any = None

    told = fields(inspect.type_info(Loose), "Loose")
    assert [path for path, kind in told if unbounded(kind)] == ["Loose.text", "Loose.number", "Loose.anything"]


# --- what SAFETY lists, for every type -------------------------------------------------------------------------------

TIMESTAMP = msgspec.msgpack.Ext(-1, struct.pack(">I", 1))
HOSTILE = {
    "nothing": b"",
    "a map in place of the array": raw({"auction": "a", "tasks": []}),
    "a map with the same key twice": b"\x82\xa1a\x01\xa1a\x02",
    "a timestamp": raw(TIMESTAMP),
    "an extension": raw(msgspec.msgpack.Ext(5, b"x")),
    "a number": raw(1),
    "a megabyte of empty maps": b"\x80" * 1_000_000,
    "an array of a megabyte of empty maps": b"\xdd" + (999_999).to_bytes(4, "big") + b"\x80" * 999_999,
    "an array that says it is huge": b"\xdd\xff\xff\xff\xff",
    "a map that says it is huge": b"\xdf\xff\xff\xff\xff",
    "text that says it is huge": b"\x91\xdb\xff\xff\xff\xff",
    "arrays in arrays": b"\x91" * 400_002,
    "maps in maps": b"\x81\xa1a" * 200_000,
    "the byte that is no format": b"\xc1",
}
FILLINGS = {
    "timestamps": TIMESTAMP,
    "extensions": msgspec.msgpack.Ext(1, b""),
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "maps": {},
    "long text": "x" * 5_000,
    "a huge number": 2**64 - 1,
}


@pytest.mark.parametrize("bytes_", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_type_takes_it(bytes_: bytes) -> None:
    tracemalloc.start()
    try:
        for name in NAMES:
            refused(name, bytes_)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 + 2 * len(bytes_)


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS.keys())
def test_no_field_takes_it(filling: object) -> None:
    """An array of it, of every length that a type may have."""
    for length in range(1, 13):
        item = raw([filling] * length)
        for name in NAMES:
            refused(name, item)


def test_too_few_fields_are_refused() -> None:
    needy = [one.__name__ for one in TYPES if any(field.required for field in msgspec.structs.fields(one))]
    assert needy
    for name in needy:
        refused(name, raw([]))


def test_a_field_too_many_in_an_envelope_is_refused() -> None:
    for sealed in (packet(), CODEC.encode(Bulletin(VERSION, "n1", 1, 1, 1, ()))):
        longer = bytes([sealed[0] + 1]) + sealed[1:] + b"\x01"
        for decode in (CODEC.decode_packet, CODEC.decode_bulletin):
            with pytest.raises(PeerError):
                decode(longer)


def test_floats_have_no_odd_values_in_honest_messages() -> None:
    contact = ["n9", 1, "tcp://a:1", "tcp://a:2", 1, 1.0]
    assert CODEC.decode_message(("Hello", msgspec.Raw(raw([contact]))))
    for odd in (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e300):
        refused("Hello", raw([[*contact[:5], odd]]))


def test_messages_that_share_a_frame_have_a_budget_together() -> None:
    """Each keeps to its own limits, and all together would be a hundred megabytes."""
    tasks = raw(["a", [["t", "k"]] * 256, 1.0])
    CODEC.decode_message(("CallForProposals", msgspec.Raw(tasks)))
    sealed = packet(*[("CallForProposals", tasks)] * ITEMS_MAX)
    assert len(sealed) < FRAME_BYTES_MAX
    tracemalloc.start()
    try:
        with pytest.raises(PeerError, match=f"{ITEMS_MAX} messages in one frame of {len(sealed)} bytes"):
            CODEC.decode_packet(sealed)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_what_an_honest_node_puts_into_one_frame_keeps_to_it() -> None:
    """As many messages of whatever size as `next_items` lets share a frame, under the longest names."""
    for size in (0, 100, 1_000, PACKET_BYTES_AIM // 2, PACKET_BYTES_AIM, PACKET_BYTES_AIM + 1):
        queue = deque(("N" * 64, msgspec.Raw(raw(b"x" * size))) for _ in range(2 * ITEMS_MAX))
        items = next_items(queue)
        sealed = CODEC.encode(Packet(VERSION, "n" * 64, 2**53, "n" * 64, 2**53, 2**63 - 1, 2**53, 9, 9, 9, 9, items))
        assert CODEC.decode_packet(sealed).items == items


def test_a_long_message_has_a_frame_of_its_own() -> None:
    members = Members(tuple(Contact(f"n{i}" * 8, 1, "tcp://h" * 30, "tcp://h" * 30) for i in range(4096)))
    name, item = CODEC.encode_message(members)
    sealed = packet((name, bytes(item)))
    assert len(sealed) > SHARED_BYTES_MAX
    assert [CODEC.decode_message(one) for one in CODEC.decode_packet(sealed).items] == [members]


# --- what nobody has thought of --------------------------------------------------------------------------------------

TARGET = Target()
MORE = settings(max_examples=100, deadline=None)
"""`make fuzz` does more."""


@MORE
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    TARGET.bytes(data)


@MORE
@given(frames())
def test_sound_envelopes_around_anything(data: bytes) -> None:
    TARGET.frame(data)


@MORE
@given(damaged())
def test_damaged_frames(data: bytes) -> None:
    TARGET.frame(data)


@MORE
@given(st.sampled_from(NAMES), VALUES)
def test_values_that_are_nearly_messages(name: str, value: object) -> None:
    TARGET.item(name, raw(value))
