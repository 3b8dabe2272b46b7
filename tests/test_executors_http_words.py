"""Whatever is said to a model server, and whatever it says: wrong arguments, refusals, halves, garbage."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from http_nodes import HELLO, node, pair
from openai_server import Script, rude

from parley.agents.executors.http import ANSWER_BYTES_MAX, STREAM_BYTES_MAX, TEXT_BYTES_MAX
from parley.agents.executors.http_words import LINE_BYTES_MAX, MESSAGE_CHARS_MAX, DataLines, Failed
from parley.protocols.performatives import Reason

# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("chat", [], "chat takes named arguments"),
        ("chat", {}, 'chat takes either {"messages": [...]} or {"prompt": "text"}'),
        ("chat", {"messages": [], "prompt": ""}, 'chat takes either {"messages": [...]} or {"prompt": "text"}'),
        ("chat", {"messages": []}, 'messages are a list of {"role": ..., "content": ...}, at least one'),
        ("chat", {"messages": ["Hello"]}, 'messages are a list of {"role": ..., "content": ...}, at least one'),
        ("chat", {"prompt": 3}, "the prompt of a chat is a text"),
        ("chat", {"prompt": "x", "stream": False}, '"stream" is said by the node itself: leave it out'),
        ("chat", {"prompt": "x", "n": 2}, 'an answer is one text: leave tools, functions, best_of and "n" out'),
        ("chat", {"prompt": "x", "tools": []}, 'an answer is one text: leave tools, functions, best_of and "n" out'),
        ("complete", {"prompt": ["a"]}, 'complete takes {"prompt": "text"}'),
        ("embed", {}, 'embed takes {"input": "text"} or {"input": ["text", ...]}'),
        ("embed", {"input": []}, 'embed takes {"input": "text"} or {"input": ["text", ...]}'),
        ("embed", {"input": [1]}, 'embed takes {"input": "text"} or {"input": ["text", ...]}'),
        ("chat", {"prompt": "x", "seed": np.float32(1)}, None),
        ("chat", b"\xc1", None),
    ],
)
async def test_wrong_arguments_fail_for_good_and_nobody_is_asked(
    kind: str, arguments: object, sentence: str | None
) -> None:
    async with pair() as (server, beside):
        reason, error = await beside.failure(f"{kind}:tiny", arguments)
        assert reason is Reason.ERROR
        assert sentence is None or error == sentence
        assert server.asked == []


@pytest.mark.parametrize(
    ("status", "body", "reason", "sentence"),
    [
        (400, {"error": {"message": "too\nlong"}}, Reason.ERROR, "refused the request (400): too long"),
        (422, {"detail": "no such option"}, Reason.ERROR, "refused the request (422): no such option"),
        (400, {"object": "error", "message": "bad"}, Reason.ERROR, "refused the request (400): bad"),
        (413, "<html>no</html>", Reason.ERROR, "refused the request (413): it does not say why"),
        (400, {"error": "x" * 9999}, Reason.ERROR, "x" * (MESSAGE_CHARS_MAX - 1) + "…"),
        (404, {"error": 'model "tiny" not found'}, Reason.DIED, 'failed (404): model "tiny" not found'),
        (401, {"error": {"message": "no, not s3cret!"}}, Reason.DIED, "failed (401): no, not ...!"),
        (429, {"error": {"message": "slow down"}}, Reason.DIED, "failed (429): slow down"),
        (500, {"error": "CUDA"}, Reason.DIED, "failed (500): CUDA"),
        (503, "Loading model", Reason.DIED, "failed (503): Loading model"),
        (302, {}, Reason.DIED, "redirects (302), which is not followed"),
        (307, {}, Reason.DIED, "redirects (307), which is not followed"),
        (200, {"error": "Unexpected endpoint"}, Reason.DIED, "failed (500): Unexpected endpoint"),
        (200, {"error": {"message": "bad", "code": 400}}, Reason.ERROR, "refused the request (400): bad"),
        (200, {}, Reason.DIED, "ended in the middle of its answer"),
        (200, {"choices": 3}, Reason.DIED, "makes no sense: Expected `array | null`, got `int`"),
        (200, "[" * 100_000, Reason.DIED, "makes no sense"),
    ],
)
async def test_refusals(status: int, body: object, reason: Reason, sentence: str) -> None:
    async with pair(key="s3cret") as (server, beside):
        server.script = Script(status=status, body=body)
        told, error = await beside.failure("chat:tiny")
        assert (told, error.startswith("the model server")) == (reason, True)
        assert sentence in error


async def test_an_error_in_the_middle_of_an_answer() -> None:
    async with pair() as (server, beside):
        server.script = Script(error_after={"error": {"message": "out of memory", "code": 500}})
        assert await beside.failure("chat:tiny") == (Reason.DIED, "the model server failed (500): out of memory")
        server.script = Script(error_after={"object": "error", "message": "too long", "code": 400})
        assert (await beside.failure("chat:tiny"))[0] is Reason.ERROR


async def test_half_an_answer() -> None:
    async with pair() as (server, beside):
        server.script = Script(cut_after=2)
        assert await beside.failure("chat:tiny") == (
            Reason.DIED,
            "the model server broke off in the middle of its answer",
        )
        server.script = Script(finish=None, done=False)
        assert await beside.failure("chat:tiny") == (Reason.DIED, "the model server ended in the middle of its answer")


@pytest.mark.parametrize(
    "vectors",
    [
        [],
        [{"embedding": [1.0]}, {"embedding": [1.0]}],
        [{"embedding": "AAAA"}],
        [{"embedding": [1.0], "index": 1}],
    ],
)
async def test_vectors_that_are_none(vectors: list[object]) -> None:
    async with pair() as (server, beside):
        server.script = Script(vectors=vectors)
        reason, error = await beside.failure("embed:tiny", {"input": "text"})
        assert reason is Reason.DIED
        assert error.startswith("the model server's answer makes no sense")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
RAW = {
    "nothing": (b"", "broke off the connection"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "makes no sense"),
    "half a head": (b"HTTP/1.1 200 OK\r\nConte", "broke off the connection"),
    "an endless head": (b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 2**20, "makes no sense"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: {", "in the middle of its answer"),
    "no chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n", "makes no sense"),
    "no JSON": (HEAD + b"data: {]\n\n", "makes no sense"),
    "no UTF-8": (HEAD + b'data: {"choices": [{"text": "\xff"}]}\n\n', "makes no sense"),
    "a web page": (HEAD + b"<html>\n" * 99, "in the middle of its answer"),
    "an endless line": (HEAD + b"data: " + b"x" * 2 * LINE_BYTES_MAX, f"a line of more than {LINE_BYTES_MAX:,} bytes"),
}


@pytest.mark.parametrize("name", RAW)
async def test_garbage(name: str) -> None:
    raw, sentence = RAW[name]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    async with rude(answer) as url, node(url) as beside:
        reason, error = await beside.failure("complete:tiny")
        assert reason is Reason.DIED
        assert sentence in error


TEXT = b'data: {"choices": [{"text": "%s"}]}\n\n' % (b"x" * 60_000)
COMMENTS = (b": nothing" * 60 + b"\n") * 100
VECTORS = b"[1.0, 2.0, 3.0," * 4_000


@pytest.mark.parametrize(
    ("line", "kind", "limit", "sentence"),
    [
        (TEXT, "complete:tiny", 8 * TEXT_BYTES_MAX, "set max_tokens"),
        (COMMENTS, "complete:tiny", 2 * STREAM_BYTES_MAX, f"more than {STREAM_BYTES_MAX:,} bytes"),
        (VECTORS, "embed:tiny", 4 * ANSWER_BYTES_MAX, f"more than {ANSWER_BYTES_MAX:,} bytes"),
    ],
    ids=["text", "comments", "vectors"],
)
async def test_an_answer_without_end(line: bytes, kind: str, limit: int, sentence: str) -> None:
    written = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(HEAD)
        while written < 2**30:
            writer.write(line)
            written += len(line)
            await writer.drain()

    async with rude(answer) as url, node(url) as beside:
        finished = await beside.run(kind, {"input": "text"} if kind.startswith("embed") else HELLO)
        assert sentence in finished.error
        assert finished.reason is (Reason.ERROR if "max_tokens" in sentence else Reason.DIED)
        assert written < limit


async def test_a_list_of_models_that_is_none() -> None:
    async def nothing(writer: asyncio.StreamWriter) -> None:
        pass

    async with rude(nothing) as url, node(url + "/elsewhere") as beside:
        assert beside.executor.tags == []
        assert beside.executor.trouble == "the model server failed (404): it does not say why"


def test_lines_come_in_any_pieces() -> None:
    stream = b"data: one\r\n\r\nevent: x\ndata:two\n: data: no\ndata: three"
    for size in (1, 2, 3, 100):
        lines = DataLines()
        found = [line for at in range(0, len(stream), size) for line in lines.feed(stream[at : at + size])]
        assert found + lines.feed(b"") == [b"one", b"two", b"three"]
    with pytest.raises(Failed, match="a line of more than"):
        [lines.feed(b"x" * 1024) for _ in range(LINE_BYTES_MAX)]
