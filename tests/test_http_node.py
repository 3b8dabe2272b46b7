"""A node beside a model server, as docs/http.md tells it: real agents, a real HTTP server, all commands of the page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from local_fleets import PARLEY, fleet_of, parley
from openai_server import ModelServer, Script, running

from parley.agents.payload import unpack
from parley.launch.client import Connection
from parley.launch.fleet import LocalFleet
from parley.launch.submission import Submission
from parley.protocols.core import State
from parley.protocols.performatives import Stream
from parley.protocols.requests import Follow

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "http.md").read_text()


@contextmanager
def process(*command: str, folder: Path) -> Iterator[str]:
    """Its first line; ended afterwards."""
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    )
    assert started.stdout is not None
    try:
        yield started.stdout.readline()
    finally:
        started.terminate()
        started.wait(20)
        started.stdout.close()


def test_the_page_of_model_servers_says_what_happens(tmp_path: Path) -> None:
    [server] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "echo_server.py").write_text(server)
    with process(sys.executable, "echo_server.py", "0", folder=tmp_path) as said:
        url = re.fullmatch(r"echoes at (\S+)\n", said)
        assert url is not None
        up = [*PARLEY, "up", "--name=n1", f"--http={url[1]}", f"--folder={tmp_path}", "--json"]
        with process(*up, folder=tmp_path) as line:
            agent = json.loads(line)["address"]
            arguments = json.dumps({"prompt": "to be or not"})
            submitted = parley("submit", "chat:echo", "--args", arguments, "--agent", agent, "--wait-for-node")
            assert submitted.returncode == 0, submitted.stderr
            told = json.loads(parley("result", "last", "--json", "--agent", agent).stdout)
            assert told["value"]["text"] == "to be or not "
            assert told["node"] == "n1"
            assert "model=echo" in json.loads(parley("nodes", "--json", "--agent", agent).stdout)[0]["tags"]


@asynccontextmanager
async def beside(server: ModelServer, run: Path) -> AsyncIterator[tuple[LocalFleet, Connection]]:
    """Two nodes, the second beside the model server."""
    async with fleet_of(2, run, flags_of={"n2": [f"--http={server.url}"]}) as (fleet, client):
        while not any("model=tiny" in tag for line in await client.nodes() for tag in line.told.tags):
            await client.ready(2, 10.0)
        yield fleet, client


async def test_the_servers_models_are_the_nodes(tmp_path: Path) -> None:
    async with running() as server, beside(server, tmp_path) as (_, client):
        [submit] = Submission("chat:tiny", {"prompt": "Hello"}, need=["model=tiny"]).submits()
        outcome = await client.hand_in(submit).outcome
        assert (outcome.state, outcome.node) == (State.DONE, "n2")
        assert isinstance(unpack(outcome.value), dict)
        [unknown] = Submission("chat:other", {"prompt": "Hello"}).submits()
        refused = await client.hand_in(unknown).outcome
        assert refused.state is State.UNPLACED
        assert refused.error == "0/2 nodes can run this: 2 do not offer the kind chat:other"


async def test_an_answer_streams_to_the_client(tmp_path: Path) -> None:
    pieces: list[bytes] = []

    def heard(stream: Stream, data: bytes, epoch: int) -> None:
        assert stream is Stream.OUT
        pieces.append(data)

    async with running() as server, beside(server, tmp_path) as (_, client):
        [submit] = Submission("chat:tiny", {"prompt": "Hello"}, follow=Follow.OUTPUT).submits()
        outcome = await client.hand_in(submit, heard).outcome
        value = unpack(outcome.value)
        assert isinstance(value, dict)
        assert b"".join(pieces).decode() == value["text"]


async def test_cancel_closes_the_request(tmp_path: Path) -> None:
    async with running() as server, beside(server, tmp_path) as (_, client):
        gate = asyncio.Semaphore(1)
        server.script = Script(gate=gate)
        begun = asyncio.Event()
        [submit] = Submission("chat:tiny", {"prompt": "Hello"}, follow=Follow.OUTPUT).submits()
        handle = client.hand_in(submit, lambda stream, data, epoch: begun.set())
        await begun.wait()
        assert (await client.cancel([handle.task])).cancelled == 1
        assert (await handle.outcome).state is State.CANCELLED
        assert await server.left.get() == "/v1/chat/completions"


async def test_a_server_that_vanishes_takes_its_kinds_along(tmp_path: Path) -> None:
    async with running() as server, beside(server, tmp_path) as (_, client):
        await server.stop()
        while any("model=tiny" in line.told.tags for line in await client.nodes()):
            await asyncio.sleep(0.05)
        [submit] = Submission("chat:tiny", {"prompt": "Hello"}).submits()
        assert (await client.hand_in(submit).outcome).state is State.UNPLACED
