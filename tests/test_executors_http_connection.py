"""Where the connection to a model server may lead."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable

import pytest
from http_nodes import node
from openai_server import running

from parley.agents.executors.http import HttpExecutor
from parley.agents.executors.http_connection import HttpError, server_url

# --- where it may lead -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://localhost:8000/v1/", "http://localhost:8000"),
        ("https://10.0.0.7/models/v1", "https://10.0.0.7/models"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://100.100.1.2:1", "http://100.100.1.2:1"),
        ("http://0.0.0.0:1", "http://0.0.0.0:1"),
        ("http://gpu-box.lan:1", "http://gpu-box.lan:1"),
    ],
)
def test_urls_of_servers(url: str, base: str) -> None:
    assert server_url(url) == base


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "no URL of a model server"),
        ("127.0.0.1:11434", "no URL of a model server"),
        ("ftp://127.0.0.1", "no URL of a model server"),
        ("file:///etc/passwd", "no URL of a model server"),
        ("http://:80", "no URL of a model server"),
        ("http://127.0.0.1:99999", "no URL"),
        ("http://[::1", "no URL"),
        ("http://me:secret@127.0.0.1", "must hold no user or password"),
        ("http://127.0.0.1/?a=b", "must end with its path"),
        ("http://8.8.8.8", "8.8.8.8 is neither this machine nor in this network"),
        ("https://[2606:4700::1111]", "neither this machine"),
        ("http://[::ffff:8.8.8.8]", "neither this machine"),
        ("http://224.0.0.1", "neither this machine"),
    ],
)
def test_urls_that_are_refused(url: str, sentence: str) -> None:
    with pytest.raises(HttpError, match=re.escape(sentence)) as refused:
        server_url(url)
    assert "secret" not in str(refused.value)


async def test_a_public_server_must_be_asked_for_and_names_are_held_to_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert server_url("https://8.8.8.8", allow_public=True) == "https://8.8.8.8"
    with pytest.raises(HttpError):
        HttpExecutor("http://8.8.8.8")
    with pytest.raises(HttpError, match="plain characters"):
        HttpExecutor("http://127.0.0.1", key="two\nlines")
    asked: list[str] = []

    def resolves_to(address: str, port: int) -> Callable[..., object]:
        async def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        return getaddrinfo

    loop = asyncio.get_running_loop()
    async with running() as server:
        url = f"http://models.example:{server.port}"
        monkeypatch.setattr(loop, "getaddrinfo", resolves_to("93.184.216.34", server.port))
        async with node(url) as beside:
            assert not beside.executor.offers("chat:tiny")
            assert "models.example is neither this machine nor in this network" in beside.executor.trouble
            monkeypatch.setattr(loop, "getaddrinfo", resolves_to("127.0.0.1", server.port))
            await beside.executor.refresh()
            assert beside.executor.offers("chat:tiny")
        assert set(asked) == {"models.example"}
