"""A burst: a thousand tasks from ten clients at once, over real processes. None is lost, none is committed twice, and
whoever asks in the middle is told of each why it stands where it stands."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from local_fleets import PARLEY, fleet_of

from parley.launch.analysis.summary import summarise
from parley.launch.client import Connection
from parley.launch.fleet import LocalFleet
from parley.protocols.core import ENDED, State
from parley.protocols.requests import TaskLine

CLIENTS = 10
TASKS = 100
"""Of each client."""
NODES = 4
LINE = '{"kind": "sleep", "args": {"seconds": 0.02}}\n'


async def test_a_thousand_tasks_from_ten_clients_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(LINE * TASKS)
    async with fleet_of(NODES, tmp_path / "run") as (fleet, _):
        addresses = [agent.address for agent in fleet.agents.values()]
        async with submitting(file, [addresses[number % NODES] for number in range(CLIENTS)]) as clients:
            told = asyncio.gather(*(client.communicate() for client in clients))
            seen = await asyncio.wait_for(in_the_middle(fleet), 60)
            printed = await asyncio.wait_for(told, 60)
        assert [client.returncode for client in clients] == [0] * CLIENTS
    results = [json.loads(line) for out, _ in printed for line in out.splitlines()]
    assert len(results) == len({result["task"] for result in results}) == CLIENTS * TASKS
    assert Counter(result["state"] for result in results) == {"done": CLIENTS * TASKS}
    assert {State.AWARDED, State.RUNNING} & seen.keys(), "it was asked while some were on their nodes"
    assert seen[State.OPEN] >= TASKS, "and others had to wait"
    summary = summarise(tmp_path / "run")
    assert (summary.tasks, summary.done, len(summary.attempts)) == (CLIENTS * TASKS,) * 3
    assert (summary.lost, summary.committed_twice) == (0, 0)


@asynccontextmanager
async def submitting(file: Path, addresses: Sequence[str]) -> AsyncIterator[list[Process]]:
    """`parley submit --wait` to each of these, every one a process of its own; none is left."""
    words = ("submit", f"--file={file}", "--wait", "--jsonl")
    clients: list[Process] = []
    try:
        for address in addresses:
            clients.append(await asyncio.create_subprocess_exec(*PARLEY, *words, f"--agent={address}", stdout=PIPE))
        yield clients
    finally:
        for client in clients:
            if client.returncode is None:
                client.kill()
                await client.wait()


async def in_the_middle(fleet: LocalFleet) -> Counter[State]:
    """Ask all agents about all tasks, again and again until all are there; what was seen that had not ended."""
    seen: Counter[State] = Counter()
    while True:
        lines = [line for agent in fleet.agents.values() for line in await tasks_of(agent.address)]
        waiting = [line for line in lines if line.state not in ENDED]
        assert [line for line in waiting if not line.reason.strip()] == []
        seen.update(line.state for line in waiting)
        if len(lines) == CLIENTS * TASKS:
            return seen


async def tasks_of(address: str) -> list[TaskLine]:
    async with await Connection.connect([address]) as agent:
        return await agent.tasks(["all"])
