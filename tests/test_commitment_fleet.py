"""Commitment over real processes: a winner is killed, or stopped beyond its lease; the agent that took the work is
killed; a fleet is started again with its journals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from local_fleets import fleet_of

from parley.launch.analysis.run import open_run
from parley.launch.analysis.why import why
from parley.launch.client import Connection
from parley.launch.fleet import LocalFleet
from parley.launch.handle import Handle
from parley.launch.submission import Submission
from parley.protocols.contract_events import TaskStarted
from parley.protocols.core import State

END_S = 90.0


def hand_in(client: Connection, kind: str, arguments: object, count: int = 1) -> list[Handle]:
    submits = [Submission(kind, arguments).submits()[0] for _ in range(count)]
    return [client.hand_in(submit) for submit in submits]


async def taken(handles: list[Handle]) -> None:
    await asyncio.wait_for(asyncio.gather(*(handle.taken for handle in handles)), END_S)


async def ended(handles: list[Handle]) -> Counter[State]:
    outcomes = await asyncio.wait_for(asyncio.gather(*(handle.outcome for handle in handles)), END_S)
    return Counter(outcome.state for outcome in outcomes)


async def winner_of(client: Connection, *tasks: str) -> str:
    """Who runs one of them, as soon as somebody does."""
    async with asyncio.timeout(END_S):
        while True:
            for line in await client.tasks(tasks):
                if line.state is State.RUNNING and line.node is not None:
                    return line.node
            await asyncio.sleep(0.01)


async def test_a_winner_is_killed_and_its_task_is_done_elsewhere(tmp_path: Path) -> None:
    async with fleet_of(4, tmp_path) as (fleet, client):
        [handle] = hand_in(client, "sleep", {"seconds": 1.0})
        winner = await winner_of(client, handle.task)
        if winner == "n1":  # which is spared: see below
            [other] = hand_in(client, "sleep", {"seconds": 1.0})
            handle, winner = other, await winner_of(client, other.task)
        fleet.kill(winner)
        outcome = await asyncio.wait_for(handle.outcome, END_S)
        assert (outcome.state, outcome.node != winner, outcome.attempts) == (State.DONE, True, 2)


async def test_the_agent_that_took_the_work_is_killed_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    async with fleet_of(4, tmp_path) as (fleet, client):
        handles = hand_in(client, "sleep", {"seconds": 0.3}, 20)
        await taken(handles)
        await winner_of(client, *(handle.task for handle in handles))
        fleet.kill("n1")
        assert await ended(handles) == Counter({State.DONE: 20})  # the client has gone over by itself
        for name in ("n2", "n3", "n4"):  # any agent answers for any task
            async with await Connection.connect([fleet.agents[name].address], END_S) as other:
                assert (await other.result(handles[3].task)).state is State.DONE
                assert (await other.wait([handles[4].task])).ended
                assert (await other.cancel([handles[5].task])).ended == 1
    told = why(open_run(tmp_path), handles[0].task)
    assert told.state == "done"


async def test_another_agent_cancels_what_is_under_way(tmp_path: Path) -> None:
    async with fleet_of(3, tmp_path) as (fleet, client):
        [handle] = hand_in(client, "sleep", {"seconds": 600.0})
        await winner_of(client, handle.task)
        async with await Connection.connect([fleet.agents["n3"].address], END_S) as other:
            assert (await asyncio.wait_for(other.cancel([handle.task]), END_S)).cancelled == 1
        assert (await asyncio.wait_for(handle.outcome, END_S)).state is State.CANCELLED


async def test_a_winner_that_sleeps_beyond_its_lease_is_fenced(tmp_path: Path) -> None:
    async with fleet_of(4, tmp_path) as (fleet, client):
        [handle] = hand_in(client, "sleep", {"seconds": 1.0})
        winner = await winner_of(client, handle.task)
        if winner == "n1":
            [handle] = hand_in(client, "sleep", {"seconds": 1.0})
            winner = await winner_of(client, handle.task)
        pid = fleet.agents[winner].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            outcome = await asyncio.wait_for(handle.outcome, END_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (outcome.state, outcome.node != winner) == (State.DONE, True)
        async with await Connection.connect([fleet.agents[winner].address], END_S) as sleeper:
            again = await asyncio.wait_for(sleeper.result(handle.task), END_S)
        assert (again.state, again.node) == (outcome.state, outcome.node)  # its own late result has changed nothing
    starts = [
        (line.head.node, line.event.epoch)
        for line in open_run(tmp_path).about(handle.task)
        if isinstance(line.event, TaskStarted)
    ]
    assert len(set(starts)) == len(starts) >= 2


async def test_a_fleet_that_was_killed_goes_on_with_its_journals(tmp_path: Path) -> None:
    names = ["n1", "n2", "n3"]
    first = await LocalFleet.start(names, run=tmp_path)
    try:
        client = await Connection.connect([first.address], END_S)
        await client.ready(3, END_S)
        handles = hand_in(client, "sleep", {"seconds": 0.3}, 12)
        await taken(handles)
        client.close()
        for name in names:
            first.kill(name)
    finally:
        await first.stop()
    second = await LocalFleet.start(names, run=tmp_path)
    try:
        async with await Connection.connect([second.agents["n2"].address], END_S) as other:
            tasks = [handle.task for handle in handles]
            told = await asyncio.wait_for(other.wait(tasks), END_S)
            assert dict(told.states) == {State.DONE: 12}
    finally:
        await second.stop()
