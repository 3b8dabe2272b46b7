"""How an agent and its worker processes talk: frames over the worker's stdin and stdout.

A frame is two lengths of four bytes, big-endian, then so many bytes of a msgpack array, the head, then so many bytes of
arguments or of a value. Those may be large, so they are no part of the head: nothing takes them apart or copies them
more often than it must. The agent asks, the worker answers, one at a time.

    agent                                worker
      | Request(task, epoch, ...) -------> |  imports and calls the function
      | <------ Reply(ok, value, error)    |
      | (end of file) -------------------> |  exits at once, even while it computes

Invariant: nobody reads a head longer than HEAD_BYTES_MAX or more after it than a payload may have, and whatever is no
such frame is a ChannelError: a worker runs foreign code, so the agent does not believe it either. Standard library and
msgpack only: workers must start quickly.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, TypeAlias

import msgpack

from ..payload import BLOBS_MAX, BYTES_MAX, HASH_BYTES, Blob

HEAD_BYTES_MAX = 64 * 1024
ERROR_CHARS_MAX = 4096
"""The longest error that travels: core's bound for a Text."""
SECONDS_MAX = 1e9

Frame: TypeAlias = tuple[bytes, bytes]
"""A head and what comes after it."""

_LENGTHS = struct.Struct(">II")


class ChannelError(ValueError):
    """The other side sent what is no frame, or no request or reply."""


class Request(NamedTuple):
    """One attempt: call `function` ("pkg.mod:func") with the packed `arguments`.

    `own`: the function is allowed by a pattern, so it must be one that its module defines, not one that it imports.
    `env`: what it finds in its environment, beside its task and epoch.
    """

    task: str
    epoch: int
    function: str
    own: bool
    arguments: bytes
    env: Mapping[str, str] = MappingProxyType({})


class Reply(NamedTuple):
    """The packed `value` of a call that returned, else the `error`: one sentence, a traceback may follow it.

    `seconds` is what the call took, the sleep that makes a slow node slow included; importing the function is not.
    `blobs` are what the value refers to: they lie in the folder that the worker was told of. `again`: it failed for
    something that may be otherwise the next time.
    """

    ok: bool
    value: bytes
    error: str
    seconds: float
    blobs: tuple[Blob, ...] = ()
    again: bool = False


def encode_request(request: Request) -> Frame:
    """What is to be written, one after the other."""
    task, epoch, function, own, arguments, env = request
    return _encode((task, epoch, function, own, dict(env)), arguments)


def encode_reply(reply: Reply) -> Frame:
    """What is to be written, one after the other."""
    blobs = [[blob.hash, blob.size] for blob in reply.blobs]
    return _encode((reply.ok, reply.error, reply.seconds, blobs, reply.again), reply.value)


def _encode(parts: tuple[object, ...], payload: bytes) -> Frame:
    head: bytes = msgpack.packb(parts)
    return _LENGTHS.pack(len(head), len(payload)) + head, payload


def decode_request(frame: Frame) -> Request:
    head, arguments = frame
    match _decode(head):
        case [str(task), int(epoch), str(function), bool(own), dict(env)]:
            return Request(task, epoch, function, own, arguments, env)
    raise ChannelError("the agent sent a frame that is no request")


def decode_reply(frame: Frame) -> Reply:
    head, value = frame
    match _decode(head):
        case [bool(ok), str(error), float(seconds), [*parts], bool(again)] if _are_bounded(error, seconds, parts):
            return Reply(ok, value, error, seconds, tuple(map(_blob, parts)), again)
    raise ChannelError("the worker sent a frame that is no reply")


def _are_bounded(error: str, seconds: float, blobs: list[object]) -> bool:
    return len(error) <= ERROR_CHARS_MAX and 0.0 <= seconds <= SECONDS_MAX and len(blobs) <= BLOBS_MAX


def _blob(parts: object) -> Blob:
    match parts:
        case [bytes(digest), int(size)] if len(digest) == HASH_BYTES and 0 <= size <= 2**40:
            return Blob(digest, size)
    raise ChannelError("the worker sent a reply with what is no blob")


def _decode(head: bytes) -> object:
    try:
        parts: object = msgpack.unpackb(head)
    except (ValueError, TypeError) as error:
        raise ChannelError(f"a frame is no msgpack: {error}") from None
    return parts


def take(received: bytearray) -> Frame | None:
    """Removes the first frame from what has been received so far and answers with it; None: not all here yet."""
    if len(received) < _LENGTHS.size:
        return None
    middle, end = _ends(received)
    if len(received) < end:
        return None
    with memoryview(received) as view:
        frame = bytes(view[_LENGTHS.size : middle]), bytes(view[middle:end])
    del received[:end]
    return frame


def read(source: BinaryIO) -> Frame | None:
    """Waits for the next frame and answers with it; None: the other side is gone."""
    lengths = source.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    middle, end = _ends(lengths)
    head = source.read(middle - _LENGTHS.size)
    payload = source.read(end - middle)
    return (head, payload) if len(head) + len(payload) == end - _LENGTHS.size else None


def _ends(frame: bytes | bytearray) -> tuple[int, int]:
    """Where the head of this frame ends, and where the frame does."""
    head, payload = _LENGTHS.unpack_from(frame)
    if head > HEAD_BYTES_MAX or payload > BYTES_MAX:
        most = f"{HEAD_BYTES_MAX:,} and {BYTES_MAX:,} are the most"
        raise ChannelError(f"a frame of {head:,} and {payload:,} bytes was announced; {most}")
    return _LENGTHS.size + head, _LENGTHS.size + head + payload
