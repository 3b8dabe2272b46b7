"""Everything that may travel comes back as it was; everything else is one sentence."""

from __future__ import annotations

import contextlib
import enum
import math
import subprocess
import sys
import time
from typing import NamedTuple

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.agents import payload
from parley.agents.payload import ARRAY_CODE, BYTES_MAX, DIMENSIONS_MAX, ITEMS_MAX, NESTING_MAX, PayloadError
from parley.protocols.core import PAYLOAD_BYTES_MAX

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc") | st.integers(-5, 5), inner),
    max_leaves=20,
)


def again(value: object) -> object:
    return payload.unpack(payload.pack(value))


def array_bytes(*parts: object) -> bytes:
    data: bytes = msgpack.packb(msgpack.ExtType(ARRAY_CODE, msgpack.packb(parts)))
    return data


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(PLAIN)
def test_plain_values_come_back_equal(value: object) -> None:
    assert again(value) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_payload_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        payload.pack(payload.unpack(data))


def test_the_limit_is_the_protocols_limit() -> None:
    assert BYTES_MAX == PAYLOAD_BYTES_MAX


def test_nan_and_infinity_may_travel() -> None:
    value = again([math.nan, math.inf, -math.inf])
    assert isinstance(value, list)
    assert math.isnan(value[0])
    assert value[1:] == [math.inf, -math.inf]


def test_a_subclass_travels_as_its_base() -> None:
    class Point(NamedTuple):
        x: int
        y: int

    class Colour(enum.IntEnum):
        RED = 3

    assert again((1, 2)) == [1, 2]
    assert again({"point": Point(1, 2), "colour": Colour.RED}) == {"point": [1, 2], "colour": 3}
    assert type(again(np.float64(0.5))) is float


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=">i4").reshape(3, 4),
        np.array([True, False]),
        np.array([[1.5, np.nan], [np.inf, -0.0]], dtype=np.float16),
        np.array([1 + 2j], dtype=np.complex64),
        np.array(["añb", "c"]),
        np.array([b"ab", b"c"]),
        np.zeros((0, 7), dtype=np.uint8),
        np.zeros((2, 0, 3)),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::-3],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back_with_dtype_and_shape(array: np.ndarray) -> None:
    value = again({"array": array})
    assert isinstance(value, dict)
    back = value["array"]
    assert back.dtype == array.dtype
    assert back.flags.writeable
    np.testing.assert_array_equal(back, array, strict=True)


@pytest.mark.parametrize("scalar", [np.float32(1.5), np.int64(-3), np.bool_(True), np.complex128(1j)])
def test_scalars_keep_their_dtype(scalar: np.generic) -> None:
    back = again(scalar)
    assert back == scalar
    assert type(back) is type(scalar)


def test_an_array_without_dimensions_comes_back_as_a_scalar() -> None:
    assert type(again(np.array(7))) is np.int64


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({1, 2}, "a set cannot travel: use lists, dicts, numbers, text, bytes or numpy arrays"),
        ([{"deep": object()}], "an object cannot travel: use lists, dicts, numbers, text, bytes or numpy arrays"),
        (msgpack.Timestamp(1), "a Timestamp cannot travel"),
        (msgpack.ExtType(5, b""), "an ExtType cannot travel"),
        (1j, "a complex cannot travel"),
        ([2**64], "an int beyond 64 bits cannot travel"),
        ({-(2**63) - 1: 0}, "an int beyond 64 bits cannot travel"),
        ("\ud800", "text with lone surrogates cannot travel"),
        ({1.5: 0}, "a float cannot travel as a dict's key"),
        ({(1, 2): 0}, "a tuple cannot travel as a dict's key"),
        (np.array([object()]), "an array of object cannot travel"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "an array of datetime64"),
        (np.zeros(1, dtype=[("a", "i4")]), "an array of"),
        (np.ma.masked_array([1], [True]), "a MaskedArray cannot travel"),
        (b"x" * (BYTES_MAX + 1), "4,194,304 is the most"),
        (np.zeros(BYTES_MAX + 1, dtype=np.uint8), "a payload of 4,194,305 bytes cannot travel"),
        ([0] * (ITEMS_MAX + 1), "more than 1,048,576 items cannot travel"),
        (nested(NESTING_MAX + 1), "nested more than 64 deep"),
    ],
    ids=lambda part: part[:20] if isinstance(part, str) else type(part).__name__,
)
def test_what_cannot_travel_is_named(value: object, sentence: str) -> None:
    with pytest.raises(PayloadError) as caught:
        payload.pack(value)
    assert sentence in str(caught.value)


def test_nesting_up_to_the_limit_travels() -> None:
    assert again(nested(NESTING_MAX)) == nested(NESTING_MAX)


def test_cycles_are_refused_at_once() -> None:
    wide: list[object] = []
    wide += [wide] * 1000
    for cycle in (wide, {"me": wide}):
        with pytest.raises(PayloadError):
            payload.pack(cycle)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91",
        b"\x01\x02",
        b"\xc1",
        b"\xa1\xff",
        b"\x81\x90\x01",
        b"\x81\xc0\x01",
        msgpack.packb(msgpack.Timestamp(1, 2)),
        msgpack.packb(msgpack.ExtType(7, b"x")),
        b"\x91" * 5000 + b"\x90",
        b"\x91" * NESTING_MAX + b"\x90",
        array_bytes("|O", [1], b"12345678"),
        array_bytes("<f8", [2], b"12345678"),
        array_bytes("<f8", [-1], b"12345678"),
        array_bytes("<f8", [True], b"12345678"),
        array_bytes("<f8", [2**62, 4], b""),
        array_bytes("<f8", [2**62, 2**62, 0], b""),
        array_bytes("<f8", [1] * (DIMENSIONS_MAX + 1), b"12345678"),
        array_bytes("<f3", [1], b"123"),
        array_bytes("<U0", [5], b""),
        array_bytes("<f8,<f8", [1], b"1234567812345678"),
        array_bytes("<f8", [1], "12345678"),
        array_bytes("<f8", [1]),
        array_bytes("<U1", [1], b"\xff\xff\xff\xff") + b"\x00",
        b"x" * (BYTES_MAX + 1),
    ],
    ids=lambda data: f"{len(data)}-{data[:8].hex()}",
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        payload.unpack(data)


@pytest.mark.parametrize("filler", [b"\x80", b"\x90", b"\xdd\x00\x0f\x00\x00"], ids=["dicts", "lists", "announced"])
def test_boxes_without_end_are_refused_soon(filler: bytes) -> None:
    many = (BYTES_MAX - 5) // len(filler)
    data = b"\xdd" + min(many, ITEMS_MAX).to_bytes(4, "big") + filler * many
    began = time.process_time()
    with pytest.raises(PayloadError):
        payload.unpack(data)
    assert time.process_time() - began < 5.0


def test_importing_it_loads_neither_numpy_nor_msgspec() -> None:
    code = (
        "import sys, parley.agents.payload as p; p.pack([1]); sys.exit(bool({'numpy', 'msgspec'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
