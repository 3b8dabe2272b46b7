"""What a node offers beside a model server that has models, loads them, goes down and comes back."""

from __future__ import annotations

import pytest
from http_nodes import node, pair
from openai_server import Script, running

from parley.agents.executors import http, http_connection
from parley.agents.executors.http_models import LOADED_TOLD_MAX, MODELS_MAX, NAME_CHARS_MAX, PATIENCE_S
from parley.protocols.performatives import Reason

# --- what the node offers --------------------------------------------------------------------------------------------


async def test_it_offers_what_the_server_has() -> None:
    async with pair() as (server, node):
        assert [node.executor.offers(f"{verb}:tiny") for verb in ("chat", "complete", "embed")] == [True] * 3
        for kind in ("chat:large", "chat", "chat:", "tiny", "draw:tiny", "sleep", "mod:func"):
            assert not node.executor.offers(kind)
        assert node.executor.tags == ["model=tiny"]
        server.models = [{"id": "org/large-Q4_K_M.gguf"}]
        await node.executor.refresh()
        assert not node.executor.offers("chat:tiny")
        assert node.executor.offers("chat:org/large-Q4_K_M.gguf")
        assert node.executor.trouble == ""


async def test_ollama_tells_what_is_loaded_and_latest_goes_without_saying() -> None:
    async with running() as server:
        server.models = [{"id": "llama3.2:latest"}, {"id": "qwen3:8b"}]
        server.loaded = ["qwen3:8b"]
        async with node(server.url) as beside:
            assert beside.executor.tags == ["model=qwen3:8b", "model=llama3.2", "loaded=qwen3:8b"]
            assert beside.executor.offers("chat:llama3.2")
            assert beside.executor.offers("chat:llama3.2:latest")
            value = await beside.result("chat:llama3.2")
            assert value["model"] == "llama3.2"
            assert server.asked[-1][1]["model"] == "llama3.2:latest"
            assert "loaded=llama3.2" in beside.executor.tags, "it has just answered"
            server.loaded = []
            await beside.executor.refresh()
            assert not [tag for tag in beside.executor.tags if tag.startswith("loaded=")]


async def test_an_older_ollama_is_asked_for_its_tags() -> None:
    async with running() as server:
        server.tags = ["tiny:latest"]
        async with node(server.url) as beside:
            assert beside.executor.tags == ["model=tiny"]


@pytest.mark.parametrize(
    ("entry", "loaded"),
    [
        ({}, False),
        ({"owned_by": "library"}, False),
        ({"owned_by": "vllm"}, True),
        ({"owned_by": "llamacpp"}, True),
        ({"owned_by": "llamacpp", "status": {"value": "unloaded"}}, False),
        ({"status": {"value": "loaded"}}, True),
    ],
)
async def test_some_servers_tell_by_their_list_what_is_loaded(entry: dict[str, object], loaded: bool) -> None:
    async with running() as server:
        server.models = [{"id": "tiny", **entry}]
        async with node(server.url) as beside:
            assert ("loaded=tiny" in beside.executor.tags) is loaded
            assert (await beside.run("chat:tiny")).reason is None
            assert "loaded=tiny" in beside.executor.tags


async def test_names_and_their_number_are_bounded() -> None:
    odd = ["", "x" * (NAME_CHARS_MAX + 1), "two words", "line\nbreak", "bell\a"]
    many = [f"m{at}" for at in range(200)]
    async with running() as server:
        server.models = [{"id": name} for name in [*odd, *many, "x" * NAME_CHARS_MAX]]
        server.loaded = many[100:]
        async with node(server.url) as beside:
            tags = beside.executor.tags
            assert [tag for tag in tags if tag.startswith("model=")] == [
                f"model=m{100 + at}" for at in range(MODELS_MAX)
            ]
            assert len(tags) == MODELS_MAX + LOADED_TOLD_MAX
            server.models, server.loaded = [{"id": name} for name in [*odd, "x" * NAME_CHARS_MAX]], []
            await beside.executor.refresh()
            assert beside.executor.tags == ["model=" + "x" * NAME_CHARS_MAX]


async def test_what_a_server_does_not_know_it_is_not_asked_again() -> None:
    async with running() as server:
        server.always_200 = True
        async with node(server.url) as beside:
            assert beside.executor.offers("chat:tiny")
            for _ in range(5):
                await beside.executor.refresh()
                await beside.run("chat:tiny")
            assert all(server.paths.count(path) == 1 for path in ("/api/ps", "/slots", "/metrics"))


# --- a server that comes and goes ------------------------------------------------------------------------------------


async def test_a_server_that_is_down_offers_nothing_and_comes_back_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ASK_EVERY_S", 0.01)
    async with running() as server, node(server.url) as beside:
        assert beside.executor.offers("chat:tiny")
        await server.stop()
        await beside.executor.refresh()
        assert not beside.executor.offers("chat:tiny")
        assert beside.executor.tags == []
        assert beside.executor.trouble == f"the model server at {server.url} does not answer: connection refused"
        assert await beside.failure("chat:tiny") == (Reason.DIED, beside.executor.trouble)
        while not server.lists.locked():
            await server.lists.acquire()
        await server.start()
        await server.lists.acquire()
        await server.lists.acquire()  # it asks one question after the other: the answer to the first has come
        assert beside.executor.offers("chat:tiny")
        assert beside.executor.trouble == ""


async def test_a_failed_attempt_makes_it_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ASK_EVERY_S", 3600.0)
    async with pair() as (server, beside):
        await beside.executor.refresh()  # the first that it asked of itself is answered now
        while not server.lists.locked():
            await server.lists.acquire()
        server.script = Script(status=500, body={"error": "out of memory"})
        assert (await beside.run("chat:tiny")).reason is Reason.DIED
        await server.lists.acquire()
        server.script = Script()
        assert (await beside.run("chat:tiny")).reason is None
        assert server.lists.locked()


async def test_slow_is_not_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "QUESTION_S", 0.05)
    now = 0.0
    async with pair(clock=lambda: now) as (server, beside):
        server.models_gate.clear()
        await beside.executor.refresh()
        assert beside.executor.offers("chat:tiny")
        assert beside.executor.trouble.endswith("is slow to answer")
        now = PATIENCE_S + 1.0
        await beside.executor.refresh()
        assert not beside.executor.offers("chat:tiny")
        server.models_gate.set()
        await beside.executor.refresh()
        assert beside.executor.offers("chat:tiny")


async def test_a_server_that_starts_up_or_wants_another_key_offers_nothing() -> None:
    async with running() as server, node(server.url, key="wrong") as beside:
        for status in (503, 401):
            server.script = Script(status=status)
            await beside.executor.refresh()
            assert not beside.executor.offers("chat:tiny")
            assert beside.executor.trouble == f"the model server failed ({status}): not you"
