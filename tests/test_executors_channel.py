"""Frames between an agent and its workers: there and back, whole or not at all, and nothing else believed."""

from __future__ import annotations

import io

import pytest

from parley.agents.executors import channel
from parley.agents.executors.channel import ERROR_CHARS_MAX, HEAD_BYTES_MAX, SECONDS_MAX, ChannelError, Reply, Request
from parley.agents.payload import BYTES_MAX, pack

REQUEST = Request("task", 7, "pkg.mod:func", True, pack([1, "two"]))
REPLY = Reply(True, b"abc", "", 0.5)


LENGTHS_BYTES = 8


def head(reply: Reply) -> bytes:
    return channel.encode_reply(reply)[0][LENGTHS_BYTES:]


def written(frame: channel.Frame) -> bytes:
    return b"".join(frame)


def frame(body: bytes, payload: bytes = b"") -> bytes:
    return len(body).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + body + payload


def taken(data: bytes) -> channel.Frame:
    received = bytearray(data)
    one = channel.take(received)
    assert one is not None
    assert not received
    return one


def test_requests_and_replies_arrive_as_they_were_sent() -> None:
    assert channel.decode_request(taken(written(channel.encode_request(REQUEST)))) == REQUEST
    assert channel.decode_reply(taken(written(channel.encode_reply(REPLY)))) == REPLY
    failed = Reply(False, b"", "ValueError: é", 0.0)
    assert channel.decode_reply(taken(written(channel.encode_reply(failed)))) == failed
    assert channel.decode_reply(taken(frame(head(REPLY), REPLY.value))) == REPLY


def test_frames_are_taken_as_they_become_complete() -> None:
    data = written(channel.encode_reply(REPLY))
    received = bytearray()
    for byte in data[:-1]:
        received.append(byte)
        assert channel.take(received) is None
    received += data[-1:] + data[:3]
    first = channel.take(received)
    assert first is not None
    assert channel.decode_reply(first) == REPLY
    assert received == data[:3]


def test_a_reader_waits_for_whole_frames_and_knows_the_end() -> None:
    data = written(channel.encode_request(REQUEST))
    source = io.BytesIO(data * 2)
    for _ in range(2):
        one = channel.read(source)
        assert one is not None
        assert channel.decode_request(one) == REQUEST
    assert channel.read(source) is None
    for length in range(len(data)):
        assert channel.read(io.BytesIO(data[:length])) is None


def test_the_largest_frame_passes_and_a_larger_one_is_refused_before_it_is_read() -> None:
    largest = Reply(True, bytes(BYTES_MAX), "", 0.0)
    assert channel.decode_reply(taken(written(channel.encode_reply(largest)))) == largest
    for first, payload in ((HEAD_BYTES_MAX + 1, 0), (0, BYTES_MAX + 1), (2**32 - 1, 2**32 - 1)):
        lengths = first.to_bytes(4, "big") + payload.to_bytes(4, "big")
        with pytest.raises(ChannelError, match="are the most"):
            channel.take(bytearray(lengths))
        with pytest.raises(ChannelError, match="are the most"):
            channel.read(io.BytesIO(lengths))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91\xd9",
        channel.encode_request(REQUEST)[0][LENGTHS_BYTES:],
        pack([True, "text"]),
        pack([True, b"", 0.5]),
        pack([1, "", 0.5]),
        head(REPLY._replace(error="x" * (ERROR_CHARS_MAX + 1))),
        head(REPLY._replace(seconds=-0.5)),
        head(REPLY._replace(seconds=float("nan"))),
        head(REPLY._replace(seconds=2 * SECONDS_MAX)),
        pack({"ok": True}),
    ],
)
def test_what_is_no_reply_is_not_believed(body: bytes) -> None:
    with pytest.raises(ChannelError):
        channel.decode_reply(taken(frame(body, b"value")))


@pytest.mark.parametrize("body", [b"", b"\xc1", pack([1, 2]), pack(["t", 1, "m:f"]), pack(["t", "1", "m:f", True])])
def test_what_is_no_request_is_not_believed(body: bytes) -> None:
    with pytest.raises(ChannelError):
        channel.decode_request(taken(frame(body)))
