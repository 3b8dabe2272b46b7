"""How an agent and its worker processes talk: frames over the worker's stdin and stdout.

A frame is four bytes of length, big-endian, and one msgpack array. The agent asks, the worker answers, one at a time.

    agent                                worker
      | Request(task, epoch, ...) -------> |  imports and calls the function
      | <------ Reply(ok, value, error)    |
      | (end of file) -------------------> |  exits at once, even while it computes

Invariant: nobody reads a frame longer than FRAME_BYTES_MAX, and whatever is no such frame is a ChannelError: a worker
runs foreign code, so the agent does not believe it either. Standard library and msgpack only: workers must start
quickly.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

import msgpack

from ..payload import BYTES_MAX

FRAME_BYTES_MAX = BYTES_MAX + 64 * 1024
ERROR_CHARS_MAX = 4096
"""The longest error that travels: core's bound for a Text."""
SECONDS_MAX = 1e9

_LENGTH = struct.Struct(">I")


class ChannelError(ValueError):
    """The other side sent what is no frame, or no request or reply."""


class Request(NamedTuple):
    """One attempt: call `function` ("pkg.mod:func") with the packed `arguments`.

    `own`: the function is allowed by a pattern, so it must be one that its module defines, not one that it imports.
    """

    task: str
    epoch: int
    function: str
    own: bool
    arguments: bytes


class Reply(NamedTuple):
    """The packed `value` of a call that returned, else the `error`: one sentence, a traceback may follow it.

    `seconds` is what the call took, the sleep that makes a slow node slow included; importing the function is not.
    """

    ok: bool
    value: bytes
    error: str
    seconds: float


def encode(parts: Request | Reply) -> bytes:
    """A whole frame."""
    body: bytes = msgpack.packb(parts)
    return _LENGTH.pack(len(body)) + body


def decode_request(body: bytes) -> Request:
    match _decode(body):
        case [str(task), int(epoch), str(function), bool(own), bytes(arguments)]:
            return Request(task, epoch, function, own, arguments)
    raise ChannelError("the agent sent a frame that is no request")


def decode_reply(body: bytes) -> Reply:
    match _decode(body):
        case [bool(ok), bytes(value), str(error), float(seconds)] if (
            len(value) <= BYTES_MAX and len(error) <= ERROR_CHARS_MAX and 0.0 <= seconds <= SECONDS_MAX
        ):
            return Reply(ok, value, error, seconds)
    raise ChannelError("the worker sent a frame that is no reply")


def _decode(body: bytes) -> object:
    try:
        parts: object = msgpack.unpackb(body)
    except (ValueError, TypeError) as error:
        raise ChannelError(f"a frame is no msgpack: {error}") from None
    return parts


def take(received: bytearray) -> bytes | None:
    """Removes the first frame from what has been received so far and answers with its body; None: not all here yet."""
    if len(received) < _LENGTH.size:
        return None
    end = _LENGTH.size + _length(received)
    if len(received) < end:
        return None
    body = bytes(received[_LENGTH.size : end])
    del received[:end]
    return body


def read(source: BinaryIO) -> bytes | None:
    """Waits for the next frame and answers with its body; None: the other side is gone."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _length(head)
    body = source.read(length)
    return body if len(body) == length else None


def _length(head: bytes | bytearray) -> int:
    length: int = _LENGTH.unpack_from(head)[0]
    if length > FRAME_BYTES_MAX:
        raise ChannelError(f"a frame of {length:,} bytes was announced; {FRAME_BYTES_MAX:,} is the most")
    return length
