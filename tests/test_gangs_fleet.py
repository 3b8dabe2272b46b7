"""Gangs on a real local fleet of four nodes with two slots each: functions and commands that know their seats and find
each other, a member's node that is killed, a gang that is too large, a cancel; and the logs of all that are sound."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_fleets import agent, fleet_of

from parley.agents.payload import unpack
from parley.launch.analysis.run import open_run
from parley.launch.analysis.verify import verify
from parley.launch.analysis.why import why
from parley.launch.client import Connection
from parley.launch.spool import SPOOL
from parley.launch.submission import Submission
from parley.protocols.core import Outcome, State
from parley.protocols.performatives import Reason

END_S = 90.0
OPTIONS: dict[str, Any] = {"slots": 2, "allow": ["gang_functions:*"], "code": [Path(__file__).parent]}


async def done(client: Connection, kind: str, arguments: object, **more: object) -> Outcome:
    [submit] = Submission(kind, arguments, **more).submits()  # type: ignore[arg-type]
    return await asyncio.wait_for(client.hand_in(submit).outcome, END_S)


async def begun(folder: Path, epoch: int, members: int) -> list[int]:
    """The processes of all members of this attempt, as soon as all have begun."""
    async with asyncio.timeout(END_S):
        while len(files := list(folder.glob(f"{epoch} *"))) < members:
            await asyncio.sleep(0.01)
    return [int(file.name.split()[2]) for file in files]


async def test_members_find_each_other_and_their_results_are_one_list(tmp_path: Path) -> None:
    async with fleet_of(4, tmp_path / "run", **OPTIONS) as (_, client):
        outcome = await done(client, "gang_functions:sum_of_ranks", [str(tmp_path)], gang=6)
        assert (outcome.state, unpack(outcome.value)) == (State.DONE, [15] * 6)
        seats = unpack((await done(client, "gang_functions:seat", [], gang=6)).value)
        assert isinstance(seats, list)
        assert [seat["PARLEY_RANK"] for seat in seats] == [str(rank) for rank in range(6)]
        assert {(seat["PARLEY_SIZE"], seat["PARLEY_PEERS"]) for seat in seats} == {("6", ",".join(["127.0.0.1"] * 6))}
        nodes = seats[0]["PARLEY_NODES"].split(",")
        assert sorted(Counter(nodes).values()) == [2, 2, 2]
        assert [seat["PARLEY_LOCAL_RANK"] for seat in seats] == ["0", "1"] * 3
        assert {seat["PARLEY_TASK"] for seat in seats} == {f"{seats[0]['PARLEY_GANG']}~{rank}" for rank in range(6)}
        [alone] = [unpack((await done(client, "gang_functions:seat", [])).value)]
        assert isinstance(alone, dict)
        assert not {"PARLEY_RANK", "PARLEY_GANG"} & alone.keys(), "a worker is no member any more"
        said = unpack((await done(client, "command", {"argv": ["sh", "-c", "echo $PARLEY_RANK"]}, gang=3)).value)
        assert isinstance(said, list)
        assert [(one["exit"], one["out"]) for one in said] == [(0, "0\n"), (0, "1\n"), (0, "2\n")]
    sound(tmp_path / "run")


async def test_large_results_of_all_come_together(tmp_path: Path) -> None:
    async with fleet_of(2, tmp_path, **OPTIONS) as (_, client):
        outcome = await done(client, "gang_functions:large", [1], gang=4)
        assert len(outcome.blobs) == 4
        assert unpack(outcome.value, SPOOL) == [bytes([rank]) * 1024 * 1024 for rank in range(4)]


@pytest.mark.parametrize("which", ["a member", "the leader"])
async def test_a_node_of_it_is_killed_and_all_begin_anew(tmp_path: Path, which: str) -> None:
    """n1, to which the client talks, has no members."""
    run, tagged = tmp_path / "run", {name: ["--tag=worker"] for name in ("n2", "n3", "n4")}
    async with fleet_of(4, run, flags_of=tagged, **OPTIONS) as (fleet, client):
        [submit] = Submission("gang_functions:hangs_at_first", [str(tmp_path)], gang=4, need=["worker"]).submits()
        handle = client.hand_in(submit)
        processes = await begun(tmp_path, 1, 4)
        [line] = await client.tasks([submit.task.id])
        assert line.reason.startswith("has 4 members, on n")
        leader, other = re.findall(r"n\d", line.reason)
        (tmp_path / "again").touch()
        fleet.kill(leader if which == "the leader" else other)
        outcome = await asyncio.wait_for(handle.outcome, END_S)
        assert (outcome.state, unpack(outcome.value), outcome.attempts) == (State.DONE, [0, 1, 2, 3], 2)
        async with asyncio.timeout(END_S):  # nobody of the first attempt works on
            while any(map(psutil.pid_exists, processes)):
                await asyncio.sleep(0.01)
    told = why(open_run(run), submit.task.id)
    assert [(award.lost is not None, len(award.members)) for award in told.awards] == [(True, 4), (False, 4)]
    texts = [step.text for step in told.history]
    assert any(text.startswith("reserves slots for its 4 members, one node after the other: n") for text in texts)
    assert any(text.startswith("keeps the slots of 2 members") for text in texts)
    assert f"rank 3 started (award {told.awards[-1].epoch})" in texts
    assert "rank 3 ended after" in " ".join(texts)
    sound(run)


async def test_what_is_too_large_is_told_so_or_waits_for_more_nodes_and_a_cancel_ends_all(tmp_path: Path) -> None:
    async with fleet_of(2, tmp_path / "run", **OPTIONS) as (fleet, client):
        outcome = await done(client, "sleep", {"seconds": 0.1}, gang=5)
        assert (outcome.state, outcome.reason) == (State.UNPLACED, Reason.NEED)
        assert outcome.error == "0/2 nodes can run this: 2 have room for 4 of its 5 members together"
        (tmp_path / "n3").mkdir()
        [submit] = Submission("sleep", {"seconds": 0.1}, gang=5, waits=True).submits()
        handle = client.hand_in(submit)
        async with asyncio.timeout(END_S):
            while "it waits until they can" not in (await client.tasks([submit.task.id]))[0].reason:
                await asyncio.sleep(0.01)
        with agent("--name=n3", f"--join={fleet.address}", home=tmp_path / "n3"):
            assert (await asyncio.wait_for(handle.outcome, END_S)).state is State.DONE
        [submit] = Submission("gang_functions:hangs_at_first", [str(tmp_path)], gang=4).submits()
        handle = client.hand_in(submit)
        processes = await begun(tmp_path, 1, 4)
        await client.cancel([submit.task.id])
        assert (await asyncio.wait_for(handle.outcome, END_S)).state is State.CANCELLED
        async with asyncio.timeout(END_S):
            while any(map(psutil.pid_exists, processes)):
                await asyncio.sleep(0.01)
        assert (await done(client, "sleep", {"seconds": 0.1}, gang=4)).state is State.DONE, "all is free again"


def sound(run: Path) -> None:
    verdict = verify(run)
    assert not verdict.differences
    assert verdict.awards
