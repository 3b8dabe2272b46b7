"""The http executor against a real server on loopback: answers, back pressure, cancelling, prices."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_nodes import HELLO, Node, node, pair
from openai_server import ModelServer, Script, running

from parley.agents.executors import http
from parley.agents.executors.http import HttpExecutor
from parley.agents.executors.http_connection import HttpError
from parley.agents.executors.http_rates import LOAD_FIRST_S
from parley.agents.payload import pack, unpack
from parley.protocols.core import ProtocolError
from parley.protocols.performatives import OUTPUT_BYTES_MAX, OUTPUT_UNREAD_MAX, Reason

TESTS = Path(__file__).parent


# --- answers ---------------------------------------------------------------------------------------------------------


async def test_a_chat() -> None:
    async with pair(key="secret") as (server, beside):
        messages = [{"role": "user", "content": "Tell me a story"}]
        finished = await beside.run("chat:tiny", {"messages": messages, "max_tokens": 9, "temperature": 0.5})
        value = unpack(finished.value)
        assert isinstance(value, dict)
        assert 0.0 <= value.pop("first_token_s") <= value["seconds"] <= finished.seconds
        del value["seconds"]
        assert value == {
            "text": "Once upon a time",
            "finish_reason": "stop",
            "model": "tiny",
            "prompt_tokens": 10,
            "completion_tokens": 4,
        }
        options = {"max_tokens": 9, "temperature": 0.5, "stream": True, "stream_options": {"include_usage": True}}
        assert server.asked == [("/v1/chat/completions", {"model": "tiny", "messages": messages, **options})]
        assert server.keys == ["Bearer secret"]
        assert beside.outputs.empty(), "nobody follows"


async def test_a_prompt_is_a_chat_of_one_message() -> None:
    async with pair() as (server, beside):
        await beside.result("chat:tiny", {"prompt": "Hello"})
        assert server.asked[0][1]["messages"] == [{"role": "user", "content": "Hello"}]
        assert "prompt" not in server.asked[0][1]
        assert server.keys == [None]


async def test_a_completion() -> None:
    async with pair() as (server, beside):
        value = await beside.result("complete:tiny", {"prompt": "There was", "stop": ["."]})
        assert (value["text"], value["completion_tokens"]) == ("Once upon a time", 4)
        assert (server.asked[0][0], server.asked[0][1]["prompt"]) == ("/v1/completions", "There was")


async def test_vectors() -> None:
    async with pair() as (server, beside):
        value = await beside.result("embed:tiny", {"input": ["a", "bcd"]})
        assert value["vectors"].dtype == np.float32
        assert value["vectors"].tolist() == [[1.0, 0.0], [3.0, 1.0]]
        assert (value["model"], value["prompt_tokens"]) == ("tiny", 8)
        assert value.keys() == {"vectors", "model", "prompt_tokens", "seconds"}
        server.script.usage = False
        value = await beside.result("embed:tiny", {"input": "text"})
        assert value["vectors"].shape == (1, 2)
        assert value["prompt_tokens"] is None


async def test_a_server_that_counts_no_tokens() -> None:
    async with pair() as (server, beside):
        server.script.usage = False
        value = await beside.result("chat:tiny")
        assert (value["completion_tokens"], value["prompt_tokens"]) == (4, None)


async def test_a_server_that_does_not_stream() -> None:
    async with pair() as (server, beside):
        server.script.streams = False
        for kind in ("chat:tiny", "complete:tiny"):
            value = await beside.result(kind, follow=True)
            assert (value["text"], value["completion_tokens"]) == ("Once upon a time", 4)
            assert beside.outputs.get_nowait() == b"Once upon a time"


async def test_thoughts_are_no_part_of_the_text() -> None:
    async with pair() as (server, beside):
        server.script = Script(thoughts=3, usage=False)
        value = await beside.result("chat:tiny", follow=True)
        assert (value["text"], value["completion_tokens"]) == ("Once upon a time", 7)
        assert beside.outputs.get_nowait() == b"Once"


@pytest.mark.parametrize(("finish", "done"), [("length", False), (None, True)])
async def test_an_answer_has_ended_when_it_says_so_in_one_way_or_the_other(finish: str | None, done: bool) -> None:
    async with pair() as (server, beside):
        server.script = Script(finish=finish, done=done)
        value = await beside.result("chat:tiny")
        assert (value["text"], value["finish_reason"]) == ("Once upon a time", finish)


async def test_who_follows_hears_it_as_it_comes() -> None:
    async with pair() as (server, beside):
        gate = asyncio.Semaphore(0)
        server.script = Script(tokens=("Größe", " 猫", " 🐈"), gate=gate)
        _, end = beside.begin("chat:tiny", follow=True)
        for token in server.script.tokens:
            assert not end.done()
            gate.release()
            assert (await beside.outputs.get()).decode() == token
        value = unpack((await end).value)
        assert isinstance(value, dict)
        assert value["text"] == "Größe 猫 🐈"


async def test_while_nobody_reads_nothing_is_read_from_the_server() -> None:
    tokens = 1024
    async with pair() as (server, beside):
        server.script = Script(tokens=("y" * 1024,) * tokens, padding=True)
        task, end = beside.begin("chat:tiny", follow=True)
        told = 0
        while told < OUTPUT_UNREAD_MAX:
            told += len(await beside.outputs.get())
        written, quiet = -1, 0
        while quiet < 5:  # the server is on the same loop, and would write on while it answers these questions
            await beside.executor.refresh()
            quiet = quiet + 1 if server.written == written else 0
            written = server.written
        assert beside.outputs.empty()
        assert told == OUTPUT_UNREAD_MAX
        assert written < tokens * 66_000 * 3 / 4
        beside.executor.resume("other", 1, 1)
        beside.executor.resume(task, 1, 10)
        assert len(await beside.outputs.get()) == 10
        told += 10
        beside.executor.resume(task, 1, told)
        while told < tokens * 1024:
            data = await beside.outputs.get()
            assert len(data) <= OUTPUT_BYTES_MAX
            told += len(data)
            beside.executor.resume(task, 1, len(data))
        assert (await end).reason is None
        beside.executor.resume(task, 1, 1)
        assert beside.price("chat:tiny") is None, "the reader was slow, not the server"


# --- ends ------------------------------------------------------------------------------------------------------------


async def test_stop_closes_the_connection_and_frees_the_slot() -> None:
    async with pair() as (server, beside):
        server.script = Script(gate=asyncio.Semaphore(1))
        task, end = beside.begin("chat:tiny", follow=True)
        await beside.outputs.get()
        beside.executor.stop(task, 1)
        beside.executor.stop(task, 1)
        server.script = Script(tokens=("again",))
        _, again = beside.begin("chat:tiny", name=task)
        assert await server.left.get() == "/v1/chat/completions"
        assert (await again).reason is None
        assert not end.done()
        assert beside.outputs.empty()


async def test_stop_before_the_server_has_said_anything() -> None:
    async with pair() as (server, beside):
        server.script = Script(gate=asyncio.Semaphore(0))
        task, end = beside.begin("embed:tiny", {"input": "text"})
        while not server.asked:
            await beside.executor.refresh()
        beside.executor.stop(task, 1)
        assert await server.left.get() == "/v1/embeddings"
        assert not end.done()


async def test_stop_at_once() -> None:
    async with pair() as (server, beside):
        task, end = beside.begin("chat:tiny", {"prompt": "never sent"})
        beside.executor.stop(task, 1)
        await beside.result("chat:tiny")
        assert len(server.asked) == 1
        assert not end.done()


async def test_too_long_an_attempt_is_given_up() -> None:
    async with pair() as (server, beside):
        server.script = Script(gate=asyncio.Semaphore(2))
        reason, error = await beside.failure("chat:tiny", timeout_s=0.05)
        assert (reason, error) == (Reason.TIMEOUT, "no whole answer within 0.05 s; the request was given up")
        assert await server.left.get() == "/v1/chat/completions"


async def test_what_nobody_has_foreseen_costs_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(line: bytes) -> None:
        raise ZeroDivisionError

    async with pair() as (_, beside):
        monkeypatch.setattr(http, "decode_piece", surprise)
        reason, error = await beside.failure("chat:tiny")
        assert reason is Reason.DIED
        assert error == "this node could not make anything of the model server's answer: ZeroDivisionError"
        monkeypatch.undo()
        await beside.result("chat:tiny")


async def test_slots() -> None:
    async with pair(slots=2) as (server, beside):
        server.script = Script(gate=asyncio.Semaphore(0))
        task, _ = beside.begin("chat:tiny")
        with pytest.raises(ProtocolError):
            beside.begin("chat:tiny", name=task)
        beside.begin("complete:tiny")
        with pytest.raises(ProtocolError):
            beside.begin("chat:tiny")
        with pytest.raises(ProtocolError):
            beside.begin("sleep")
        await beside.executor.close()
        assert beside.outputs.empty()
    with pytest.raises(ValueError, match="at least one slot"):
        HttpExecutor("http://127.0.0.1", slots=0)


async def test_without_aiohttp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(HttpError, match=re.escape("pip install 'parley[http]'")):
        HttpExecutor("http://127.0.0.1:11434")


def test_importing_it_loads_neither_aiohttp_nor_numpy() -> None:
    code = "import sys, parley.agents.executors.http; assert not {'aiohttp', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


# --- prices ----------------------------------------------------------------------------------------------------------


class Stopwatch:
    """Time passes between the tokens of an answer, and nowhere else."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def answer(self, server: ModelServer, beside: Node, first_s: float, per_token_s: float) -> dict[str, Any]:
        gate = asyncio.Semaphore(0)
        server.script = Script(gate=gate)
        _, end = beside.begin("chat:tiny", follow=True)
        while not server.asked:
            await beside.executor.refresh()
        for at, token in enumerate(server.script.tokens):
            self.now += per_token_s if at else first_s
            gate.release()
            assert (await beside.outputs.get()).decode() == token
        value = unpack((await end).value)
        assert isinstance(value, dict)
        server.asked.clear()
        return value


async def test_prices_are_measured() -> None:
    clock = Stopwatch()
    payload_bytes = len(pack(HELLO))
    async with pair(clock=clock) as (server, beside):
        server.models = [{"id": "tiny", "owned_by": "llamacpp"}]
        await beside.executor.refresh()
        assert beside.price("chat:tiny") is None
        value = await clock.answer(server, beside, first_s=1.0, per_token_s=0.5)
        assert (value["first_token_s"], value["seconds"]) == (1.0, 2.5)
        assert beside.price("chat:tiny", payload_bytes) == pytest.approx({"run": 1.0 + 4 * 0.5})
        assert beside.price("chat:tiny", payload_bytes, tokens=100.0) == pytest.approx({"run": 1.0 + 100 * 0.5})
        for no_hint in ("many", 0.0, -5.0):
            assert beside.price("chat:tiny", payload_bytes, tokens=no_hint) == beside.price("chat:tiny", payload_bytes)
        assert beside.price("chat:large") is None
        assert beside.price("sleep") is None
        for _ in range(10):
            await clock.answer(server, beside, first_s=3.0, per_token_s=1.5)
        slower = beside.price("chat:tiny", payload_bytes)
        assert slower is not None
        assert slower["run"] > 0.9 * (3.0 + 4 * 1.5)


async def test_a_model_that_is_not_loaded_costs_its_loading() -> None:
    clock = Stopwatch()
    async with pair(clock=clock) as (server, beside):
        server.loaded = []
        await beside.executor.refresh()
        await server.stop()
        await beside.executor.refresh()
        await server.start()
        await beside.executor.refresh()  # as if it had been Ollama from the beginning
        await clock.answer(server, beside, first_s=20.0, per_token_s=0.5)
        price = beside.price("chat:tiny")
        assert price is not None
        assert price.keys() == {"run"}, "it has just answered"
        await beside.executor.refresh()
        price = beside.price("chat:tiny")
        assert price is not None
        assert price["load_model"] == 20.0
        assert price["run"] == 4 * 0.5
        server.loaded = ["tiny"]
        await beside.executor.refresh()
        price = beside.price("chat:tiny")
        assert price is not None
        assert price.keys() == {"run"}


async def test_a_server_that_tells_nothing_has_loaded_what_it_has_used_since_it_started() -> None:
    async with pair() as (server, beside):
        await beside.result("chat:tiny")
        await beside.result("chat:tiny")
        await beside.executor.refresh()
        price = beside.price("chat:tiny")
        assert price is not None
        assert price.keys() == {"run"}
        await server.stop()
        await beside.executor.refresh()
        await server.start()
        await beside.executor.refresh()
        price = beside.price("chat:tiny")
        assert price is not None
        assert 0.0 < price["load_model"] < LOAD_FIRST_S
        server.script = Script(gate=asyncio.Semaphore(1))
        beside.begin("chat:tiny", follow=True)
        await beside.outputs.get()
        price = beside.price("chat:tiny")
        assert price is not None
        assert price.keys() == {"run"}, "a request of ours has it loaded"


VLLM = """# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 4.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 5.0
vllm:num_requests_waiting{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="tiny"} 9.0
vllm:num_requests_swapped 7.0
"""


@pytest.mark.parametrize(
    ("slots", "metrics", "runs_ahead"),
    [
        ([True, True], None, 1 / 2),
        ([True, False], None, 0.0),
        ([], None, 0.0),
        (None, VLLM, 6 / 4),
        (None, VLLM.replace("5.0", "NaN"), 1 / 4),
        (None, "llamacpp:requests_deferred 3\n", 0.0),
        (None, None, 0.0),
    ],
)
async def test_requests_of_others_are_waited_for(
    slots: list[bool] | None, metrics: str | None, runs_ahead: float
) -> None:
    async with running() as server:
        server.slots, server.metrics = slots, metrics
        async with node(server.url) as beside:
            await beside.result("chat:tiny")
            await beside.result("chat:tiny")
            assert "/slots" not in server.paths[: server.paths.index("/v1/chat/completions")], "nobody wanted a price"
            await beside.executor.refresh()
            await beside.executor.refresh()
            price = beside.price("chat:tiny", tokens=100.0)
            assert price is not None
            assert price.get("server_queue", 0.0) == pytest.approx(runs_ahead * price["run"])


async def test_requests_of_our_own_are_not_waited_for_twice() -> None:
    async with running() as server:
        server.slots = [True]
        async with node(server.url) as beside:
            await beside.result("chat:tiny")
            await beside.result("chat:tiny")
            server.script = Script(gate=asyncio.Semaphore(1))
            beside.begin("chat:tiny", follow=True)
            await beside.outputs.get()
            await beside.executor.refresh()
            price = beside.price("chat:tiny", tokens=10.0)
            assert price is not None
            assert "server_queue" not in price


# --- the page for people ---------------------------------------------------------------------------------------------


async def test_the_server_of_the_page_runs(tmp_path: Path) -> None:
    page = (TESTS.parent / "docs" / "http.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "echo_server.py").write_text(code)
    command = (sys.executable, "echo_server.py", "0")
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=PIPE, stderr=DEVNULL)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        async with node(url) as beside:
            assert "model=echo" in beside.executor.tags
            value = await beside.result("chat:echo", {"prompt": "to be or not"}, follow=True)
            assert value["text"] == "to be or not "
            assert beside.outputs.qsize() == 4
    finally:
        process.kill()
        await process.wait()
