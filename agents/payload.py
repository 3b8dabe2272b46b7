"""What may travel as a task's argument or result, and the bytes it travels as.

The idea: plain data only. None, bool, int, float, text, bytes, lists, dicts with text or whole numbers as keys, and
numpy arrays and scalars, as msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md). An array is one
extension, `[dtype, shape, raw bytes]` in C order; dtypes are booleans, numbers and fixed-width text or bytes, never
objects. There is no pickle: bytes from the network are data and never code.

    pack({"x": array, "rate": 0.1}) -> bytes        unpack(bytes) -> {"x": array, "rate": 0.1}
    pack([Handed("a")])             -> bytes        hand_on(bytes, {"a": pack(7)}) -> pack([7])
    pack({1, 2})                    -> PayloadError("a set cannot travel: use lists, dicts, ...")

A subclass travels as its base: a tuple comes back as a list, an IntEnum as its number, np.float64 as a float. An
array without dimensions comes back as a scalar.

Invariant: `pack` answers only with bytes that `unpack` accepts. `unpack` answers with such values or PayloadError, in
time and memory linear in the bytes, whoever wrote them. Neither numpy nor msgspec (that is, `protocols`) is loaded by
importing this module: a worker should start at once.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import msgpack

if TYPE_CHECKING:
    import numpy as np

BYTES_MAX = 4 * 1024 * 1024
"""The most that `pack` makes and `unpack` takes: core's PAYLOAD_BYTES_MAX (a test compares them)."""
NESTING_MAX = 64
ITEMS_MAX = 1024 * 1024
"""Items in all lists and dicts of one value together; more numbers than that belong in an array."""
DIMENSIONS_MAX = 32
ARRAY_CODE = 1
"""The msgpack extension that is an array."""
HANDED_CODE = 2
"""The one that stands for another task's result: its name, as text."""

_DTYPE = re.compile(r"[<>|][biufcSU][1-9][0-9]{0,8}")
_TRAVELS = "use lists, dicts, numbers, text, bytes or numpy arrays"
_FOREIGN = frozenset({msgpack.Timestamp, msgpack.ExtType})
"""What msgpack itself would let through."""

Box = TypeVar("Box", list[object], dict[object, object])


class Handed:
    """Stands in an argument for the result of the task of this name; the agent that calls the task puts it there."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class PayloadError(ValueError):
    """This value, or these bytes, cannot travel; the text is one sentence that says why."""


def pack(value: object) -> bytes:
    """The value as at most BYTES_MAX bytes. Raises PayloadError if it is not plain data, too deep or too large."""
    _check(value)
    try:
        data: bytes = msgpack.packb(value, default=_encode_array)
    except PayloadError:
        raise
    except UnicodeEncodeError:
        raise PayloadError("text with lone surrogates cannot travel: send it as bytes") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise PayloadError(f"this value cannot travel: {error}") from None
    if len(data) > BYTES_MAX:
        raise _too_large(len(data))
    return data


def hand_on(data: bytes, results: Mapping[str, bytes]) -> bytes:
    """The packed argument `data` with packed results, by name, where it says `Handed(name)`. Raises PayloadError."""

    def fill(code: int, body: bytes) -> object:
        if code != HANDED_CODE:
            return msgpack.ExtType(code, body)  # an array, as it is
        name = body.decode(errors="replace")
        if name not in results:
            raise PayloadError(f"the result of {name} is wanted, and it does not come after {name}")
        return msgpack.unpackb(results[name], strict_map_key=False)

    try:
        filled: bytes = msgpack.packb(msgpack.unpackb(data, ext_hook=fill, strict_map_key=False))
    except PayloadError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise PayloadError(f"results cannot be handed on to this argument: {error}") from None
    if len(filled) > BYTES_MAX:
        raise _too_large(len(filled))
    return filled


def unpack(data: bytes) -> object:
    """The value that `pack` was given. Arrays are fresh and writable. Raises PayloadError on anything else."""
    if len(data) > BYTES_MAX:
        raise _too_large(len(data))
    try:
        value: object = _Reader().read(data)
    except PayloadError:
        raise
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise PayloadError(f"these bytes are no payload: {str(error) or type(error).__name__}") from None
    _check(value)
    return value


def _check(value: object) -> None:
    """Refuses what is too deep (cycles with it), too many, keyed by something odd, or msgpack's own: level by level."""
    level: list[object] = [value]
    items = 0
    for _ in range(NESTING_MAX + 1):
        for kind in _FOREIGN & set(map(type, level)):
            raise _cannot_travel(kind)
        boxes = [item for item in level if isinstance(item, (list, tuple, dict))]
        if not boxes:
            return
        items += sum(map(len, boxes))
        if items > ITEMS_MAX:
            raise PayloadError(f"more than {ITEMS_MAX:,} items cannot travel: use a numpy array")
        for key in (key for box in boxes if isinstance(box, dict) for key in box):
            if not isinstance(key, (str, int)):
                raise PayloadError(f"{_a(type(key))} cannot travel as a dict's key: use text or whole numbers")
        level = [item for box in boxes for item in (box.values() if isinstance(box, dict) else box)]
    raise PayloadError(f"lists and dicts nested more than {NESTING_MAX} deep cannot travel")


def _encode_array(value: object) -> msgpack.ExtType:
    """What msgpack does not know: an array or a scalar as an extension. Whoever holds one has loaded numpy already."""
    if isinstance(value, Handed):
        return msgpack.ExtType(HANDED_CODE, value.name.encode())
    if isinstance(value, int):
        raise PayloadError("an int beyond 64 bits cannot travel: send it as text")
    numpy = sys.modules.get("numpy")
    if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
        raise _cannot_travel(type(value))
    array: np.ndarray = numpy.asarray(value)
    if not _DTYPE.fullmatch(array.dtype.str):
        raise PayloadError(f"an array of {array.dtype} cannot travel: use booleans, numbers or fixed-width text")
    if array.nbytes > BYTES_MAX:
        raise _too_large(array.nbytes)
    return msgpack.ExtType(ARRAY_CODE, msgpack.packb([array.dtype.str, array.shape, array.tobytes()]))


class _Reader:
    """One reading. It counts the lists and dicts as they appear: a megabyte of empty ones would take eighty."""

    def __init__(self) -> None:
        self._boxes_left = ITEMS_MAX

    def read(self, data: bytes) -> object:
        value: object = msgpack.unpackb(
            data,
            strict_map_key=False,
            list_hook=self._count,
            object_hook=self._count,
            ext_hook=self._decode_array,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
        )
        return value

    def _count(self, box: Box) -> Box:
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise PayloadError(f"more than {ITEMS_MAX:,} lists and dicts are too many for one payload")
        return box

    def _decode_array(self, code: int, data: bytes) -> object:
        if code != ARRAY_CODE:
            raise PayloadError(f"extension {code} is no part of a payload")
        parts = msgpack.unpackb(data, list_hook=self._count, max_array_len=DIMENSIONS_MAX, max_map_len=0, max_ext_len=0)
        match parts:
            case [str(dtype), [*shape], bytes(raw)] if _DTYPE.fullmatch(dtype) and _is_shape(shape):
                return _array(dtype, shape, raw)
        raise PayloadError("an array in a payload is not [dtype, shape, raw bytes] of a dtype that may travel")


def _is_shape(shape: list[object]) -> bool:
    return all(type(length) is int and length >= 0 for length in shape)


def _array(dtype: str, shape: list[int], raw: bytes) -> object:
    import numpy as np

    kind = np.dtype(dtype)
    if math.prod(shape) * kind.itemsize != len(raw):
        raise PayloadError(f"an array of shape {tuple(shape)} and dtype {dtype} does not have {len(raw)} bytes")
    array: np.ndarray = np.ndarray(tuple(shape), kind, raw).copy()
    return array if shape else array[()]


def _cannot_travel(kind: type) -> PayloadError:
    return PayloadError(f"{_a(kind)} cannot travel: {_TRAVELS}")


def _too_large(size: int) -> PayloadError:
    most = f"{BYTES_MAX:,} is the most, so put it where the nodes can read it and send its path"
    return PayloadError(f"a payload of {size:,} bytes cannot travel: {most}")


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__}"
