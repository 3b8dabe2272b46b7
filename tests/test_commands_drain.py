"""`parley drain`: a node is told to go over the wire, ends what it has, and is seen to leave."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_fleets import Agent, agent, at_home, parley
from test_commands_up import LIMIT_S, ended, line_of, pair, sleep, until, until_draining

from parley.launch.client import Connection
from parley.launch.draining import drain
from parley.launch.problems import AgentUnreachable
from parley.protocols.core import State
from parley.protocols.requests import Draining


async def drained(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(parley, "drain", *arguments, env=at_home(home))


async def test_a_node_ends_what_it_runs_and_leaves(tmp_path: Path) -> None:
    async with pair(tmp_path, "--speed=4") as (one, two, client):
        handle = client.hand_in(sleep(40.0))
        await until(client, handle.task, "n2")
        told = await drained(tmp_path, "n2", "--agent", one.address, "--json")
        assert (told.returncode, told.stderr) == (0, "")
        seen = json.loads(told.stdout)
        assert {key: seen[key] for key in ("node", "running", "open", "left")} == {
            "node": "n2", "running": 1, "open": 0, "left": True
        }  # fmt: skip
        assert seen["address"] == two.address
        assert 0.0 < seen["seconds"] < LIMIT_S
        assert await asyncio.to_thread(two.process.wait, LIMIT_S) == 0
        outcome = await asyncio.wait_for(handle.outcome, LIMIT_S)
        assert (outcome.state, outcome.node, outcome.attempts) == (State.DONE, "n2", 1)
        assert (await line_of(client, "n2")).state == "left"
        again = await drained(tmp_path, "n2", "--agent", one.address)
        assert (again.returncode, again.stderr) == (1, "parley: n2 is not there any more: it has left\n")
    assert ended(tmp_path / "two") == "drained"


async def test_without_a_name_it_is_the_agent_that_is_talked_to(tmp_path: Path) -> None:
    async with pair(tmp_path) as (one, _, _client):
        told = await drained(tmp_path, "--agent", one.address)
        assert (told.returncode, told.stdout, told.stderr) == (0, "n1 has left\n", "")
        assert await asyncio.to_thread(one.process.wait, LIMIT_S) == 0


async def test_the_last_one_of_a_fleet_found_on_this_machine(tmp_path: Path) -> None:
    """Nobody else is there to say that it has left: nobody listens at its address any more."""
    flags = ["--name=n1", "--bind=tcp://0.0.0.0:0", "--insecure", "--advertise=tcp://localhost:0"]
    with agent(*flags, home=tmp_path) as one:
        told = await drained(tmp_path)
        assert (told.returncode, told.stdout) == (0, "n1 has left\n")
        assert one.process.wait(LIMIT_S) == 0


async def test_one_that_has_gone_before_its_answer_came_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drains = Connection.drain

    async def unheard(to: Connection) -> Draining:
        await drains(to)
        raise AgentUnreachable("it has not answered")

    monkeypatch.setattr(Connection, "drain", unheard)
    async with pair(tmp_path) as (one, two, _client):
        for last in (one, two):  # with another one that can tell, and without
            told = await drain([last.address], None, wait=True, timeout_s=LIMIT_S, on_progress=lambda *told: None)
            assert (told.address, told.running, told.left) == (last.address, 0, True)
            assert await asyncio.to_thread(last.process.wait, LIMIT_S) == 0


async def test_it_need_not_be_waited_for(tmp_path: Path) -> None:
    async with pair(tmp_path, "--speed=4", "--drain-timeout=0s") as (one, two, client):
        handle = client.hand_in(sleep(3_000.0))
        await until(client, handle.task, "n2")
        told = await drained(tmp_path, "n2", "--agent", one.address, "--no-wait")
        assert told.stdout == "n2 ends what it has, and leaves: 1 running there, 0 handed in there and not ended\n"
        await until_draining(client, "n2")
        late = await drained(tmp_path, "n2", "--agent", one.address, "--timeout=300ms")
        assert late.returncode == 124
        assert late.stderr == (
            "parley: n2 has not left within 0.3 s: 1 attempt runs there; it goes on ending what it has\n"
        )
        assert two.process.poll() is None
        assert await asyncio.to_thread(two.end, signal.SIGTERM) == (0, ""), "who must not wait sends a signal"


async def test_one_that_dies_has_not_left(tmp_path: Path) -> None:
    async with pair(tmp_path, "--speed=4") as (one, two, client):
        handle = client.hand_in(sleep(3_000.0))
        await until(client, handle.task, "n2")
        telling = asyncio.create_task(drained(tmp_path, "n2", "--agent", one.address))
        await until_draining(client, "n2")
        two.process.kill()
        told = await telling
        assert (told.returncode, told.stderr) == (1, "parley: n2 died before it had left: what it had goes to others\n")


async def test_its_next_life_is_not_told_to_go(tmp_path: Path) -> None:
    """A service that is started anew, under its name and at its address, while somebody watches it leave."""
    async with pair(tmp_path, "--speed=4") as (one, two, client):
        handle = client.hand_in(sleep(20.0))
        await until(client, handle.task, "n2")
        telling = asyncio.create_task(drained(tmp_path, "n2", "--agent", one.address))
        await until_draining(client, "n2")
        await asyncio.to_thread(two.process.wait, LIMIT_S)
        flags = ["--name=n2", f"--bind={two.address}", f"--join={one.address}"]
        with agent(*flags, home=tmp_path / "two"):
            told = await telling
            assert (told.returncode, told.stdout) == (0, "n2 has left\n")
            async with await Connection.connect([two.address]) as next_life:
                assert not (await line_of(next_life, "n2")).told.draining


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def one(home: Path) -> Iterator[Agent]:
    with agent("--name=n1", home=home) as running:
        yield running


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["n11"], 2, "there is no node n11 in this fleet: did you mean n1?"),
        (["other"], 2, "there is no node other in this fleet: the nodes are n1"),
        (["n1", "--timeout=0s"], 2, "is no time at all"),
        (["n1", "--agent=tcp://127.0.0.1:9"], 4, "no agent answers at tcp://127.0.0.1:9"),
        (["n1", "--agent=here"], 2, "'here' is no address"),
    ],
)
def test_what_it_refuses(flags: list[str], code: int, sentence: str, one: Agent, home: Path) -> None:
    refused = parley("drain", *flags, env=at_home(home))
    assert (refused.returncode, refused.stdout) == (code, "")
    assert refused.stderr.startswith("parley: ")
    assert sentence in refused.stderr
    assert one.process.poll() is None
