"""Everything that may travel comes back as it was; everything else is one sentence."""

from __future__ import annotations

import contextlib
import enum
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.agents import payload
from parley.agents.blob_folder import BlobError, BlobFolder
from parley.agents.payload import (
    ARRAY_CODE,
    BLOB_CODE,
    BYTES_MAX,
    DIMENSIONS_MAX,
    ITEMS_MAX,
    LIFT_BYTES,
    LIFTED_CODE,
    NESTING_MAX,
    Blob,
    File,
    Handed,
    PayloadError,
)
from parley.protocols.core import BLOBS_MAX, PAYLOAD_BYTES_MAX

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


# --- what is large ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> BlobFolder:
    folder = BlobFolder(tmp_path / "blobs")
    folder.make()
    return folder


def lifted(value: object, store: BlobFolder) -> tuple[object, list[Blob]]:
    data, blobs = payload.lift(value, store)
    assert len(data) < LIFT_BYTES
    return payload.unpack(data, store), blobs


def test_the_number_of_blobs_is_cores() -> None:
    assert payload.BLOBS_MAX == BLOBS_MAX


def test_small_values_are_packed_as_ever(store: BlobFolder) -> None:
    for value in (None, [1, "two"], {"x": b"y" * LIFT_BYTES, "z": "t" * (LIFT_BYTES // 4)}):
        assert payload.lift(value, store) == (payload.pack(value), [])
    assert store.blobs() == []


@pytest.mark.parametrize("dtype", ["f8", "<i4", ">u2", "?", "c8", "U3", "S7"])
def test_large_arrays_come_back_writable_and_as_they_were(store: BlobFolder, dtype: str) -> None:
    array = np.arange(120_000).reshape(300, 400).astype(dtype)
    for one in (array, np.asfortranarray(array), array[::2, ::-1]):
        if one.nbytes <= LIFT_BYTES:
            continue
        back, blobs = lifted({"a": [one]}, store)
        assert [blob.size for blob in blobs] == [one.nbytes]
        assert isinstance(back, dict)
        again = back["a"][0]
        assert again.dtype == one.dtype
        np.testing.assert_array_equal(again, one)
        again[0, 0] = again[1, 1]
        np.testing.assert_array_equal(payload.unpack(payload.lift(one, store)[0], store), one)


def test_large_text_and_bytes_come_back(store: BlobFolder) -> None:
    value = ["é" * LIFT_BYTES, b"x" * (LIFT_BYTES + 1), {"deep": [("y" * 2 * LIFT_BYTES, 1)]}]
    back, blobs = lifted(value, store)
    assert back == [value[0], value[1], {"deep": [["y" * 2 * LIFT_BYTES, 1]]}]
    assert len(blobs) == 3
    assert lifted(bytearray(LIFT_BYTES + 1), store)[0] == bytes(LIFT_BYTES + 1)


def test_the_same_array_twice_is_one_blob_and_two_arrays(store: BlobFolder) -> None:
    array = np.zeros(100_000)
    back, blobs = lifted([array, array], store)
    assert len(blobs) == 1
    assert isinstance(back, list)
    back[0][0] = 5.0
    assert back[1][0] == 0.0


def test_a_value_too_large_with_nothing_large_in_it_is_lifted_as_a_whole(store: BlobFolder) -> None:
    for value in ([[float(n)] * 10 for n in range(80_000)], {str(n): "x" * 1000 for n in range(6_000)}):
        back, blobs = lifted(value, store)
        assert back == value
        assert len(blobs) == 1


def test_many_large_values_are_lifted_as_a_whole(store: BlobFolder) -> None:
    arrays = [np.full(40_000, float(n)) for n in range(BLOBS_MAX + 1)]
    back, blobs = lifted([*arrays, Blob(b"h" * 32, 5)], store)
    assert isinstance(back, list)
    np.testing.assert_array_equal(back[:-1], arrays)
    assert len(blobs) == 2, "the whole, and what it refers to"
    many = [Blob(bytes([n]) * 32, 5) for n in range(BLOBS_MAX + 1)]
    with pytest.raises(PayloadError, match="64 is the most"):
        payload.lift(many, store)


def test_blobs_stay_references_and_files_become_them(store: BlobFolder, tmp_path: Path) -> None:
    source = tmp_path / "data.bin"
    source.write_bytes(b"content")
    back, blobs = lifted({"files": {"data.bin": File(source)}}, store)
    assert back == {"files": {"data.bin": blobs[0]}}
    assert store.read(blobs[0]) == b"content"
    assert again(blobs) == blobs, "a reference needs no store"
    with pytest.raises(PayloadError, match="missing cannot be sent: No such file"):
        payload.lift(File(tmp_path / "missing"), store)
    with pytest.raises(PayloadError, match="cannot travel from here"):
        payload.pack(File(source))


def test_text_and_bytes_may_be_left_where_they_are(store: BlobFolder) -> None:
    data, blobs = payload.lift({"stdin": b"x" * 2 * LIFT_BYTES, "argv": ["a"]}, store)
    assert payload.unpack(data, store, leave=True) == {"stdin": blobs[0], "argv": ["a"]}


def test_results_with_blobs_are_handed_on(store: BlobFolder) -> None:
    array = np.arange(100_000.0)
    result, _ = payload.lift([array, Blob(b"h" * 32, 5)], store)
    filled = payload.hand_on(payload.pack({"x": Handed("a")}), {"a": result})
    back = payload.unpack(filled, store)
    assert isinstance(back, dict)
    np.testing.assert_array_equal(back["x"][0], array)
    assert back["x"][1] == Blob(b"h" * 32, 5)


def test_what_is_elsewhere_is_one_sentence(store: BlobFolder, tmp_path: Path) -> None:
    data, blobs = payload.lift(np.zeros(100_000), store)
    with pytest.raises(PayloadError, match="too large for where it is needed"):
        payload.unpack(data)
    store.remove(blobs[0])
    with pytest.raises(BlobError, match="is not here"):
        payload.unpack(data, store)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        ["text"],
        ["text", b"h" * 31, 5],
        ["text", "h" * 32, 5],
        ["text", b"h" * 32, -1],
        ["text", b"h" * 32, True],
        ["pickle", b"h" * 32, 5],
        [["O", [1]], b"h" * 32, 5],
        [["<f8", [-1]], b"h" * 32, 8],
        [["<f8", [2]], None, 8],
        [["<f8"], b"h" * 32, 8],
        [None, b"h" * 32, 5],
    ],
)
def test_what_is_no_lifted_value_is_refused(store: BlobFolder, parts: list[object]) -> None:
    data = msgpack.packb(msgpack.ExtType(LIFTED_CODE, msgpack.packb(parts)))
    with pytest.raises((PayloadError, BlobError)):
        payload.unpack(data, store)


@pytest.mark.parametrize("parts", [[], [b"h" * 32], [b"h" * 33, 1], ["h", 1], [b"h" * 32, 2**41], [b"h" * 32, 1.0]])
def test_what_is_no_reference_is_refused(parts: list[object]) -> None:
    with pytest.raises(PayloadError):
        payload.unpack(msgpack.packb(msgpack.ExtType(BLOB_CODE, msgpack.packb(parts))))


def test_a_shape_that_does_not_fit_its_blob_is_refused(store: BlobFolder) -> None:
    blob = store.put(bytes(800))
    for shape in ([101], [10, 11], [0]):
        parts = [["<f8", shape], blob.hash, blob.size]
        with pytest.raises(PayloadError, match="does not have 800 bytes"):
            payload.unpack(msgpack.packb(msgpack.ExtType(LIFTED_CODE, msgpack.packb(parts))), store)


def test_one_large_text_a_thousand_times_is_read_once(store: BlobFolder) -> None:
    blob = store.put(b"x" * 1_000_000)
    one = msgpack.ExtType(LIFTED_CODE, msgpack.packb(["text", blob.hash, blob.size]))
    back = payload.unpack(msgpack.packb([one] * 1000), store)
    assert isinstance(back, list)
    assert len({id(item) for item in back}) == 1
    with pytest.raises(PayloadError, match="large values are too many"):
        payload.unpack(msgpack.packb([one] * 5000), store)


def test_a_whole_in_a_whole_is_refused(store: BlobFolder) -> None:
    inner = store.put(payload.pack("x"))
    one = msgpack.packb(msgpack.ExtType(LIFTED_CODE, msgpack.packb(["whole", inner.hash, inner.size])))
    outer = store.put(one)
    with pytest.raises(PayloadError, match="what a blob in a payload stands for"):
        payload.unpack(
            msgpack.packb(msgpack.ExtType(LIFTED_CODE, msgpack.packb(["whole", outer.hash, outer.size]))), store
        )


# --- the values of a gang --------------------------------------------------------------------------------------------


@given(st.lists(PLAIN, max_size=20))
def test_values_that_are_joined_are_their_list(values: list[object]) -> None:
    assert payload.unpack(payload.joined([payload.pack(value) for value in values])) == values


def test_nothing_joins_as_none_and_what_is_too_large_together_is_refused() -> None:
    assert payload.unpack(payload.joined([b"", payload.pack(1)])) == [None, 1]
    large = payload.pack(b"x" * (BYTES_MAX // 2))
    with pytest.raises(PayloadError, match="cannot travel"):
        payload.joined([large, large])


def test_wholes_beside_each_other_come_back(store: BlobFolder) -> None:
    values = [["x" * 100] * 60_000, ["y" * 100] * 60_000]
    lifted = [payload.lift(value, store) for value in values]
    assert [len(blobs) for _, blobs in lifted] == [1, 1]
    assert payload.unpack(payload.joined([data for data, _ in lifted]), store) == values
