"""What may travel as a task's argument or result, and the bytes it travels as.

The idea: plain data only. None, bool, int, float, text, bytes, lists, dicts with text or whole numbers as keys, and
numpy arrays and scalars, as msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md). An array is one
extension, `[dtype, shape, raw bytes]` in C order; dtypes are booleans, numbers and fixed-width text or bytes, never
objects. There is no pickle: bytes from the network are data and never code.

    pack({"x": array, "rate": 0.1}) -> bytes        unpack(bytes) -> {"x": array, "rate": 0.1}
    pack([Handed("a")])             -> bytes        hand_on(bytes, {"a": pack(7)}) -> pack([7])
    pack({1, 2})                    -> PayloadError("a set cannot travel: use lists, dicts, ...")

What is large does not travel inside: where there is a store, an array, text or bytes beyond LIFT_BYTES is put there,
as a blob, and `[what it is, hash, size]` stands for it; unpacking with a store that has it puts it back. A value that
is too large with nothing large in it becomes a blob as a whole. A `Blob` in a value is a reference and stays one.

    lift([array], store) -> bytes, [Blob]           unpack(bytes, store) -> [array], mapped: read when it is used
    lift({"files": {"x": File("x.bin")}}, store)    unpack(bytes, store) -> {"files": {"x": Blob(...)}}

A subclass travels as its base: a tuple comes back as a list, an IntEnum as its number, np.float64 as a float. An
array without dimensions comes back as a scalar.

Invariant: `pack` answers only with bytes that `unpack` accepts. `unpack` answers with such values or PayloadError, in
time and memory linear in the bytes, whoever wrote them. Neither numpy nor msgspec (that is, `protocols`) is loaded by
importing this module: a worker should start at once.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgpack

if TYPE_CHECKING:
    import mmap

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
BLOB_CODE = 3
"""The one that is a reference to a blob: its hash and its size."""
LIFTED_CODE = 4
"""The one that stands for a value whose bytes are a blob: what it is, hash and size."""
LIFT_BYTES = 256 * 1024
"""What is larger becomes a blob, where there is a store for it."""
BLOBS_MAX = 64
"""How many blobs one value may refer to (core's; a test compares them)."""
LIFTED_MAX = 4096
WHOLE_BYTES_MAX = 512 * 1024 * 1024
"""The most that is packed as one blob: it passes through memory."""
HASH_BYTES = 32
_TEXT, _BYTES, _WHOLE = "text", "bytes", "whole"

_DTYPE = re.compile(r"[<>|][biufcSU][1-9][0-9]{0,8}")
_TRAVELS = "use lists, dicts, numbers, text, bytes or numpy arrays"
_SMALL = frozenset({int, float, bool, type(None)})
_NONE = b"\xc0"
"""Nothing, packed."""
_FOREIGN = frozenset({msgpack.Timestamp, msgpack.ExtType})
"""What msgpack itself would let through."""

Box = TypeVar("Box", list[object], dict[object, object])


class Handed:
    """Stands in an argument for the result of the task of this name; the agent that calls the task puts it there."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Blob:
    """A reference to bytes that lie elsewhere, by their SHA-256 and their size."""

    __slots__ = ("hash", "size")

    def __init__(self, hash: bytes, size: int) -> None:
        self.hash = hash
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and (self.hash, self.size) == (other.hash, other.size)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Blob({self.hash.hex()[:12]}…, {self.size:,} bytes)"


class File:
    """Stands in an argument for what is in this file when it is handed in; it arrives as a `Blob`."""

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)


class Store(Protocol):
    """Where blobs lie: a `BlobFolder`."""

    def put(self, data: bytes | memoryview) -> Blob: ...
    def put_file(self, source: Path) -> Blob: ...
    def read(self, blob: Blob) -> bytes: ...
    def map(self, blob: Blob) -> mmap.mmap: ...


class PayloadError(ValueError):
    """This value, or these bytes, cannot travel; the text is one sentence that says why."""


def pack(value: object) -> bytes:
    """The value as at most BYTES_MAX bytes. Raises PayloadError if it is not plain data, too deep or too large."""
    return _Writer(None).write(value, BYTES_MAX)


def lift(value: object, store: Store) -> tuple[bytes, list[Blob]]:
    """The same, with what is large put into the store; and all blobs that the bytes refer to.

    Raises PayloadError, and OSError where the store cannot take it.
    """
    writer = _Writer(store)
    try:
        data = writer.write(value, BYTES_MAX)
    except TooLargeError:
        data = b""
    if data and len(writer.blobs) <= BLOBS_MAX:
        return data, list(writer.blobs)
    plain = _Writer(None, files=store)
    whole = plain.write(value, WHOLE_BYTES_MAX)
    if plain.handed:
        raise PayloadError("a value this large cannot take in other tasks' results: send its large parts as arrays")
    data = msgpack.packb(_lifted(_WHOLE, store.put(whole), plain.blobs))
    if len(plain.blobs) > BLOBS_MAX:
        raise PayloadError(f"a value that refers to {len(plain.blobs)} blobs cannot travel: {BLOBS_MAX} is the most")
    return data, list(plain.blobs)


def hand_on(data: bytes, results: Mapping[str, bytes]) -> bytes:
    """The packed argument `data` with packed results, by name, where it says `Handed(name)`. Raises PayloadError."""

    def fill(code: int, body: bytes) -> object:
        if code != HANDED_CODE:
            return msgpack.ExtType(code, body)  # an array or a blob, as it is
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


def joined(values: Sequence[bytes]) -> bytes:
    """The list of these packed values, packed. Raises PayloadError if it is too large."""
    data: bytes = b"".join([msgpack.Packer().pack_array_header(len(values)), *[value or _NONE for value in values]])
    if len(data) > BYTES_MAX:
        raise _too_large(len(data))
    return data


def blobs_of(data: bytes) -> list[Blob]:
    """What the packed value refers to, without the values themselves. Raises PayloadError."""
    found: dict[Blob, None] = {}

    def note(code: int, body: bytes) -> None:
        if code in (BLOB_CODE, LIFTED_CODE):
            match msgpack.unpackb(body)[-2:]:
                case [bytes(digest), int(size)] if _is_blob(digest, size):
                    found[Blob(digest, size)] = None

    try:
        msgpack.unpackb(data, ext_hook=note, strict_map_key=False)
    except (ValueError, TypeError, OverflowError) as error:
        raise PayloadError(f"these bytes are no payload: {error}") from None
    return list(found)


def unpack(data: bytes, store: Store | None = None, *, leave: bool = False) -> object:
    """The value that `pack` or `lift` was given. Arrays are fresh and writable.

    `leave`: text and bytes that are blobs are left so. Raises PayloadError on anything else, and what the store raises.
    """
    if len(data) > BYTES_MAX:
        raise _too_large(len(data))
    return _Reader(store, leave).value(data)


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


class TooLargeError(PayloadError):
    """It is plain data, and there is too much of it."""


class _Writer:
    """One writing. `store` takes what is large, `files` the contents of files; None: nothing does."""

    def __init__(self, store: Store | None, files: Store | None = None) -> None:
        self.blobs: dict[Blob, None] = {}
        self.handed = False
        self._store = store
        self._files = files or store

    def write(self, value: object, bytes_max: int) -> bytes:
        _check(value)
        try:
            if self._store is not None:
                value = self._without_large(value, self._store)
            data: bytes = msgpack.packb(value, default=self._encode)
        except PayloadError:
            raise
        except UnicodeEncodeError:
            raise PayloadError("text with lone surrogates cannot travel: send it as bytes") from None
        except (ValueError, TypeError, OverflowError) as error:
            raise PayloadError(f"this value cannot travel: {error}") from None
        if len(data) > bytes_max:
            raise _too_large(len(data), bytes_max)
        return data

    def _without_large(self, value: object, store: Store) -> object:
        """The value with its large text and bytes as blobs; itself, if it has none."""
        if isinstance(value, (list, tuple)):
            items = [item if type(item) in _SMALL else self._without_large(item, store) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, dict):
            entries = {key: self._without_large(item, store) for key, item in value.items()}
            return entries if any(entries[key] is not value[key] for key in value) else value
        if isinstance(value, str):
            if len(value) * 4 > LIFT_BYTES and len(data := value.encode()) > LIFT_BYTES:
                return _lifted(_TEXT, store.put(data), self.blobs)
        elif isinstance(value, (bytes, bytearray, memoryview)) and len(value) > LIFT_BYTES:
            return _lifted(_BYTES, store.put(memoryview(value)), self.blobs)
        return value

    def _encode(self, value: object) -> msgpack.ExtType:
        """What msgpack does not know, as an extension. Whoever holds an array has loaded numpy already."""
        if isinstance(value, Handed):
            self.handed = True
            return msgpack.ExtType(HANDED_CODE, value.name.encode())
        if isinstance(value, File):
            value = self._file(value)
        if isinstance(value, Blob):
            self.blobs[value] = None
            return msgpack.ExtType(BLOB_CODE, msgpack.packb([value.hash, value.size]))
        if isinstance(value, int):
            raise PayloadError("an int beyond 64 bits cannot travel: send it as text")
        numpy = sys.modules.get("numpy")
        if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
            raise _cannot_travel(type(value))
        array: np.ndarray = numpy.asarray(value)
        if not _DTYPE.fullmatch(array.dtype.str):
            raise PayloadError(f"an array of {array.dtype} cannot travel: use booleans, numbers or fixed-width text")
        if self._store is not None and array.nbytes > LIFT_BYTES:
            raw = numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8).data
            return _lifted([array.dtype.str, list(array.shape)], self._store.put(raw), self.blobs)
        bytes_max = BYTES_MAX if self._files is None else WHOLE_BYTES_MAX
        if array.nbytes > bytes_max:
            raise _too_large(array.nbytes, bytes_max)
        return msgpack.ExtType(ARRAY_CODE, msgpack.packb([array.dtype.str, array.shape, array.tobytes()]))

    def _file(self, file: File) -> Blob:
        if self._files is None:
            raise PayloadError("a file cannot travel from here")
        try:
            return self._files.put_file(file.path)
        except OSError as error:
            raise PayloadError(f"the file {file.path} cannot be sent: {error.strerror or error}") from None


def _lifted(what: str | list[object], blob: Blob, blobs: dict[Blob, None]) -> msgpack.ExtType:
    blobs[blob] = None
    return msgpack.ExtType(LIFTED_CODE, msgpack.packb([what, blob.hash, blob.size]))


class _Reader:
    """One reading. It counts the lists and dicts as they appear: a megabyte of empty ones would take eighty."""

    def __init__(self, store: Store | None = None, leave: bool = False) -> None:
        self._store = store
        self._leave = leave
        self._boxes_left = ITEMS_MAX
        self._lifted_left = LIFTED_MAX
        self._read: dict[tuple[str, Blob], str | bytes] = {}
        self._nested = False
        self._whole_left = WHOLE_BYTES_MAX

    def value(self, data: bytes) -> object:
        try:
            value = self._unpack(data)
        except PayloadError:
            raise
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            raise PayloadError(f"these bytes are no payload: {str(error) or type(error).__name__}") from None
        _check(value)
        return value

    def _unpack(self, data: bytes) -> object:
        value: object = msgpack.unpackb(
            data,
            strict_map_key=False,
            list_hook=self._count,
            object_hook=self._count,
            ext_hook=self._decode,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
        )
        return value

    def _count(self, box: Box) -> Box:
        self._boxes_left -= 1
        if self._boxes_left < 0:
            raise PayloadError(f"more than {ITEMS_MAX:,} lists and dicts are too many for one payload")
        return box

    def _decode(self, code: int, data: bytes) -> object:
        if code not in (ARRAY_CODE, BLOB_CODE, LIFTED_CODE):
            raise PayloadError(f"extension {code} is no part of a payload")
        parts = msgpack.unpackb(data, list_hook=self._count, max_array_len=DIMENSIONS_MAX, max_map_len=0, max_ext_len=0)
        match parts:
            case [str(dtype), [*shape], bytes(raw)] if code == ARRAY_CODE and _DTYPE.fullmatch(dtype):
                return _array(dtype, shape, raw)
            case [bytes(digest), int(size)] if code == BLOB_CODE and _is_blob(digest, size):
                return Blob(digest, size)
            case [what, bytes(digest), int(size)] if code == LIFTED_CODE and _is_blob(digest, size):
                return self._put_back(what, Blob(digest, size))
        if code == ARRAY_CODE:
            raise PayloadError("an array in a payload is not [dtype, shape, raw bytes] of a dtype that may travel")
        raise PayloadError("a blob in a payload is not [hash, size], or not [what it is, hash, size]")

    def _put_back(self, what: object, blob: Blob) -> object:
        """The value whose bytes are this blob."""
        self._lifted_left -= 1
        if self._lifted_left < 0:
            raise PayloadError(f"more than {LIFTED_MAX:,} large values are too many for one payload")
        if self._leave and what in (_TEXT, _BYTES):
            return blob
        if self._store is None:
            raise PayloadError(f"a value of {blob.size:,} bytes is too large for where it is needed")
        match what:
            case "text" | "bytes":
                if (what, blob) not in self._read:
                    data = self._store.read(blob)
                    self._read[what, blob] = data.decode() if what == _TEXT else data
                return self._read[what, blob]
            case "whole" if not self._nested and blob.size <= self._whole_left:
                self._nested, self._whole_left = True, self._whole_left - blob.size
                value = self._unpack(self._store.read(blob))
                self._nested = False  # the values of a gang's members may each be one
                return value
            case [str(dtype), [*shape]] if _DTYPE.fullmatch(dtype) and blob.size > 0:
                return _array(dtype, shape, self._store.map(blob), blob.size)
        raise PayloadError("what a blob in a payload stands for is not text, bytes, or an array that may travel")


def _is_blob(digest: bytes, size: int) -> bool:
    return len(digest) == HASH_BYTES and type(size) is int and 0 <= size <= 2**40


def _array(dtype: str, lengths: list[object], raw: bytes | mmap.mmap, size: int | None = None) -> object:
    """A copy of its bytes; or around them, where they are mapped for it alone, and `size` of them."""
    import numpy as np

    shape = [length for length in lengths if type(length) is int and length >= 0]
    if len(shape) < len(lengths):
        raise PayloadError("an array in a payload is not [dtype, shape, raw bytes] of a dtype that may travel")
    kind = np.dtype(dtype)
    have = len(raw) if size is None else size
    if math.prod(shape) * kind.itemsize != have:
        raise PayloadError(f"an array of shape {tuple(shape)} and dtype {dtype} does not have {have} bytes")
    array: np.ndarray = np.ndarray(tuple(shape), kind, raw)
    if size is None:
        array = array.copy()
    return array if shape else array[()]


def _cannot_travel(kind: type) -> PayloadError:
    return PayloadError(f"{_a(kind)} cannot travel: {_TRAVELS}")


def _too_large(size: int, bytes_max: int = BYTES_MAX) -> TooLargeError:
    most = f"{bytes_max:,} is the most, so put it where the nodes can read it and send its path"
    return TooLargeError(f"a payload of {size:,} bytes cannot travel: {most}")


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__}"
