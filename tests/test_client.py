"""A connection to an agent: what is under way ends, whatever becomes of the agent, the client or the tasks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from local_fleets import PARLEY, fleet_of

from parley.launch import client as client_module
from parley.launch.client import Connection
from parley.launch.desk import addresses_of
from parley.launch.fleet import Listening, LocalFleet
from parley.launch.problems import AgentUnreachable, Exit, Problem
from parley.launch.submission import Submission
from parley.protocols.core import Message, State
from parley.protocols.requests import Follow, Refused, Result, Submit
from parley.transport.links import Cause

LONG_S = 3_000.0


def sleep(seconds: float, follow: Follow = Follow.RESULT) -> Submit:
    [submit] = Submission("sleep", {"seconds": seconds}, follow=follow).submits()
    return submit


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with fleet_of(1, tmp_path) as (_, connection):
        yield connection


async def until_running(connection: Connection, task: str) -> None:
    async with asyncio.timeout(10):
        while (await connection.tasks([task]))[0].state is not State.RUNNING:
            await asyncio.sleep(0.005)


async def test_what_is_given_up_ends_cancelled(connection: Connection) -> None:
    handles = [connection.hand_in(sleep(LONG_S)) for _ in range(3)]
    await until_running(connection, handles[0].task)
    for handle in handles:
        connection.give_up(handle.task)
    outcomes = await asyncio.wait_for(asyncio.gather(*(handle.outcome for handle in handles)), 10)
    assert [outcome.state for outcome in outcomes] == [State.CANCELLED] * 3
    assert (await asyncio.wait_for(connection.submit("echo", [1]), 10)).state is State.DONE, "its slot is free"


async def test_what_was_taken_once_is_not_refused_later(connection: Connection) -> None:
    """As by an agent without room, to which the client has gone over."""
    handle = connection.hand_in(sleep(0.3))
    await handle.taken
    connection._on_message("x", Refused(handle.task, "no room"), Cause("x", 1, 0))
    assert not handle.outcome.done()
    assert (await asyncio.wait_for(handle.outcome, 10)).state is State.DONE
    never = connection.hand_in(sleep(0.0))
    connection._on_message("x", Refused(never.task, "no room"), Cause("x", 2, 0))
    assert (await never.outcome).error == "not taken: no room"


async def test_who_closes_while_it_looks_for_another_agent_looks_no_further(connection: Connection) -> None:
    connection._others = ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
    looking = asyncio.create_task(connection._fail_over(AgentUnreachable("it is gone")))
    while connection.address != "tcp://127.0.0.1:1":
        await asyncio.sleep(0)
    connection.close()
    assert not await looking
    assert connection.address == "tcp://127.0.0.1:1"


async def test_what_was_not_sent_yet_is_never_sent(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "UNANSWERED_MAX", 1)
    first, second, third = (connection.hand_in(sleep(0.0)) for _ in range(3))
    connection.give_up(second.task)
    assert second.outcome.done()
    assert (await second.outcome).error == "cancelled before it was handed in"
    assert second.taken.done(), "nobody waits for it"
    assert [(await handle.outcome).state for handle in (first, third)] == [State.DONE] * 2
    with pytest.raises(Problem, match="no task here is called"):
        await connection.tasks([second.task])


async def test_one_that_is_forgotten_keeps_no_other_from_being_cancelled(connection: Connection) -> None:
    stranger, handle = connection.hand_in(sleep(LONG_S)), connection.hand_in(sleep(LONG_S))
    await handle.taken
    connection._given_up.append("stranger")  # as if the agent had forgotten it
    connection._go_on(connection._cancel_given_up)
    connection.give_up(handle.task)
    connection.give_up(stranger.task)
    outcomes = await asyncio.wait_for(asyncio.gather(stranger.outcome, handle.outcome), 10)
    assert [outcome.state for outcome in outcomes] == [State.CANCELLED] * 2
    connection.give_up(handle.task)  # it has ended: nothing happens


async def test_closing_ends_what_is_under_way(connection: Connection) -> None:
    handle, waiting = connection.hand_in(sleep(LONG_S)), asyncio.create_task(connection.wait(["all"]))
    await handle.taken
    connection.close()
    for end in (handle.outcome, waiting, connection.nodes(), connection.hand_in(sleep(0.0)).outcome):
        with pytest.raises(AgentUnreachable, match="the connection was closed") as closed:
            await asyncio.wait_for(end, 1)
        assert closed.value.code is Exit.UNREACHABLE


async def test_an_agent_that_is_killed_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line is cut, which is only a hint; its silence is the verdict. Where nobody else is known, it has time."""
    monkeypatch.setattr(client_module, "CUT_S", 0.01)
    monkeypatch.setattr(client_module, "GONE_S", 0.5)
    async with fleet_of(1, tmp_path) as (fleet, connection):
        handle = connection.hand_in(sleep(LONG_S))
        await handle.taken
        fleet.kill("n1")
        with pytest.raises(AgentUnreachable, match=r"has not answered for 0\.5 s"):
            await asyncio.wait_for(handle.outcome, 10)
        assert connection.lost is not None
        with pytest.raises(AgentUnreachable):
            await connection.nodes()


async def test_an_agent_whose_line_is_cut_has_little_time_where_others_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it was cut while the agent was being asked at leisure whether it lives."""
    monkeypatch.setattr(client_module, "PROBE_EVERY_S", 0.01)
    monkeypatch.setattr(client_module, "GONE_S", LONG_S)
    async with fleet_of(2, tmp_path) as (fleet, connection):
        os.kill(fleet.agents["n1"].pid, signal.SIGSTOP)
        question = asyncio.create_task(connection.nodes())
        async with asyncio.timeout(10):
            while len(connection._asked) < 2:  # the question, and whether it lives
                await asyncio.sleep(0.005)
        fleet.kill("n1")
        assert {line.node for line in await asyncio.wait_for(question, 20)} == {"n1", "n2"}
        assert connection.address == fleet.agents["n2"].address


async def test_what_is_given_up_between_two_agents_is_cancelled_at_the_new_one(tmp_path: Path) -> None:
    """Which hears of the task first, and then that it is not wanted."""
    async with fleet_of(3, tmp_path) as (fleet, connection):
        os.kill(fleet.agents["n1"].pid, signal.SIGSTOP)
        handle = connection.hand_in(sleep(LONG_S))
        await asyncio.sleep(0)
        fleet.kill("n1")
        async with asyncio.timeout(20):
            while not connection._moving:
                await asyncio.sleep(0)
            connection.give_up(handle.task)
            assert (await handle.outcome).state is State.CANCELLED
        assert connection.address in {fleet.agents[name].address for name in ("n2", "n3")}


async def test_an_agent_that_is_silent_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "GONE_S", 0.5)
    async with fleet_of(1, tmp_path) as (fleet, connection):
        handle = connection.hand_in(sleep(LONG_S))
        await handle.taken
        os.kill(fleet.agents["n1"].pid, signal.SIGSTOP)
        try:
            with pytest.raises(AgentUnreachable, match=r"has not answered for 0\.5 s"):
                await asyncio.wait_for(handle.outcome, 10)
        finally:
            os.kill(fleet.agents["n1"].pid, signal.SIGCONT)


async def test_an_agent_started_anew_does_not_know_us(tmp_path: Path) -> None:
    """At the same address, under the same name, before anybody has missed it."""
    async with await LocalFleet.start(["n1"], run=tmp_path) as fleet:
        connection = await Connection.connect([fleet.address])
        handle = connection.hand_in(sleep(LONG_S))
        await handle.taken
        fleet.kill("n1")
        command = [*PARLEY, "up", "--name=n1", f"--bind={fleet.address}", f"--folder={tmp_path}", "--json"]
        again = await asyncio.to_thread(_started, command)
        try:
            with pytest.raises(AgentUnreachable, match=r"was started anew and knows nothing|has not answered"):
                await asyncio.wait_for(handle.outcome, 10)
            connection.close()
            async with await Connection.connect([fleet.address]) as other:
                assert [line.node for line in await other.nodes()] == ["n1"]
        finally:
            again.kill()  # it runs the task of its former life, and would wait for its end
            await asyncio.to_thread(again.communicate)


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    """It listens when this returns: the address may take a moment to be free."""
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        if line := process.stdout.readline():
            assert msgspec.json.decode(line, type=Listening).node == "n1"
            return process
        process.communicate()


async def test_who_has_slept_asks_for_what_was_missed(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results on a line that the agent has forgotten never come."""
    hears = connection._on_message
    missed: list[Message] = []

    def deaf(sender: str, message: Message, cause: object) -> None:
        if isinstance(message, Result):
            missed.append(message)
        else:
            hears(sender, message, cause)  # type: ignore[arg-type]

    monkeypatch.setattr(client_module, "SLEPT_S", -1.0)
    connection._endpoint._on_message = deaf
    handle = connection.hand_in(sleep(0.3))
    await until_running(connection, handle.task)
    endless = connection.hand_in(sleep(LONG_S))
    outcome = await asyncio.wait_for(handle.outcome, 10)
    assert (outcome.state, outcome.task) == (State.DONE, handle.task)
    assert [message.outcome.task for message in missed if isinstance(message, Result)] == [handle.task]
    assert not endless.outcome.done()


async def test_nobody_waits_for_what_is_not_followed(connection: Connection) -> None:
    handle = connection.hand_in(sleep(0.0, Follow.NOTHING))
    await asyncio.wait_for(handle.taken, 10)
    assert (await asyncio.wait_for(connection.result(handle.task), 10)).state is State.DONE


async def test_what_no_agent_would_hear_is_not_asked(connection: Connection) -> None:
    """It would be met with silence."""
    for question in (connection.result(""), connection.wait([]), connection.tasks([""]), connection.cancel([])):
        with pytest.raises(Problem, match=r"no agent can be asked this: Expected `.*` of length >= 1") as refused:
            await asyncio.wait_for(question, 10)
        assert refused.value.code == Exit.USAGE
    assert not connection._asked


async def test_nobody_there() -> None:
    with pytest.raises(AgentUnreachable, match=r"no agent answers at tcp://127\.0\.0\.1:9 or tcp://127\.0\.0\.2:9"):
        await Connection.connect(["tcp://127.0.0.1:9", "tcp://127.0.0.2:9"], timeout_s=0.2)
    with pytest.raises(Problem, match="is no address"):
        await Connection.connect(["127.0.0.1:9"])


async def test_an_agent_that_does_not_answer_is_not_waited_for_where_another_does(connection: Connection) -> None:
    dead = ["tcp://127.0.0.1:9", "tcp://127.0.0.2:9"]
    async with asyncio.timeout(20), await Connection.connect([*dead, connection.address], LONG_S) as other:
        assert other.address == connection.address
        assert [line.node for line in await other.nodes()] == ["n1"]
        assert other._others == tuple(dead)


def test_whom_to_talk_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PARLEY_AGENT", "tcp://a:1, tcp://b:2 tcp://c:3")
    assert addresses_of(["tcp://d:4"]) == ("tcp://d:4",)
    assert addresses_of() == ("tcp://a:1", "tcp://b:2", "tcp://c:3")
    monkeypatch.delenv("PARLEY_AGENT")
    with pytest.raises(AgentUnreachable, match="no agent runs here: start one with `parley up --name n1`"):
        addresses_of()
