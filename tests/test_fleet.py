"""Local fleets: real processes that share out real work, survive what is done to them, and end with their starter."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_fleets import PARLEY, all_gone, family, fleet_of

from parley.launch import machine
from parley.launch.analysis.summary import summarise
from parley.launch.client import Connection
from parley.launch.fleet import STOP_S, LocalFleet
from parley.launch.outcomes import result
from parley.launch.problems import AgentUnreachable, Problem
from parley.protocols.core import State

GARBAGE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f" + b"\x00" * 54,
    random.Random(1).randbytes(100_000),
)


async def test_every_node_works_and_nothing_is_lost(tmp_path: Path) -> None:
    async with fleet_of(4, tmp_path, speeds=(1, 1, 2, 4)) as (_, client):
        outcomes = await asyncio.gather(*(client.submit("work", {}, work=0.1) for _ in range(40)))
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert {outcome.node for outcome in outcomes} == {"n1", "n2", "n3", "n4"}
    summary = summarise(tmp_path)
    assert (summary.tasks, summary.done, summary.lost, summary.committed_twice) == (40, 40, 0, 0)
    assert summary.unfinished == ()


async def test_a_killed_nodes_work_is_done_by_the_others(tmp_path: Path) -> None:
    async with fleet_of(3, tmp_path) as (fleet, client):
        futures = [client.submit("work", {}, work=0.3) for _ in range(12)]
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        fleet.kill("n3")
        outcomes = await asyncio.wait_for(asyncio.gather(*futures), 30)
        lines = await client.nodes()
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert {line.node: line.state for line in lines}["n3"] == "dead"
    summary = summarise(tmp_path)
    assert (summary.lost, summary.committed_twice, summary.unfinished) == (0, 0, ("n3",))
    assert summary.reassigned >= 1


async def test_a_stopped_nodes_late_result_is_refused(tmp_path: Path) -> None:
    """SIGSTOP: its lease ends, its work runs elsewhere; what it says after SIGCONT is of an old epoch."""
    async with fleet_of(2, tmp_path) as (fleet, client):
        first = client.submit("sleep", {"seconds": 3.0})
        second = client.submit("sleep", {"seconds": 3.0})
        await asyncio.wait_for(asyncio.gather(*(started(tmp_path, name) for name in fleet.agents)), 20)
        os.kill(fleet.agents["n2"].pid, signal.SIGSTOP)
        try:
            outcomes = await asyncio.wait_for(asyncio.gather(first, second), 30)
        finally:
            os.kill(fleet.agents["n2"].pid, signal.SIGCONT)
        await client.ready(2, 10)
    assert {outcome.node for outcome in outcomes} == {"n1"}
    assert sorted(outcome.epoch for outcome in outcomes) == [1, 2]
    summary = summarise(tmp_path)
    assert (summary.done, summary.lost, summary.committed_twice, summary.reassigned) == (2, 0, 0, 1)


async def started(run: Path, name: str) -> None:
    """Wait until a task runs on this node, as its log tells."""
    while '"task.start"' not in (run / f"{name}.jsonl").read_text():
        await asyncio.sleep(0.02)


async def test_garbage_on_an_agents_port_harms_nobody(tmp_path: Path) -> None:
    async with fleet_of(2, tmp_path) as (fleet, client):
        host, port = fleet.address.removeprefix("tcp://").rsplit(":", 1)
        for junk in GARBAGE:
            for _ in range(20):
                with socket.create_connection((host, int(port))) as stranger:
                    stranger.sendall(junk)
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(client.submit("echo", {"number": number}) for number in range(20))), 20
        )
        assert [result(outcome) for outcome in outcomes] == [{"number": number} for number in range(20)]


async def test_a_zeromq_stranger_is_named_in_the_log(tmp_path: Path) -> None:
    import zmq

    async with fleet_of(1, tmp_path) as (fleet, client):
        context = zmq.Context()
        stranger = context.socket(zmq.DEALER)
        stranger.setsockopt(zmq.LINGER, 1000)
        stranger.connect(fleet.address)
        for junk in (b"", b"nonsense", b"\x93\x01\x02\x03", random.Random(2).randbytes(1000)):
            stranger.send(junk)
        stranger.close()
        context.term()
        outcome = await asyncio.wait_for(client.submit("echo", []), 20)
    assert outcome.state is State.DONE
    drops = [json.loads(line) for line in (tmp_path / "n1.jsonl").read_text().splitlines() if '"msg.drop"' in line]
    assert len(drops) == 4
    assert all("peer" in drop["reason"] for drop in drops)


async def test_a_python_function_runs_in_a_worker_and_its_error_comes_back(tmp_path: Path) -> None:
    code = Path(__file__).parent
    allow = ["worker_functions:*"]
    async with fleet_of(2, tmp_path, allow=allow, code=[code]) as (_, client):
        done = await asyncio.wait_for(client.submit("worker_functions:add", [1, 2]), 20)
        assert result(done) == 3
        raised = await asyncio.wait_for(client.submit("worker_functions:raises", ["boom"]), 20)
        assert raised.state is State.FAILED
        assert raised.attempts == 1
        with pytest.raises(Problem, match="ValueError"):
            result(raised)
        died = await asyncio.wait_for(client.submit("worker_functions:vanish", [3]), 20)
        assert (died.state, died.attempts) == (State.FAILED, 3)
        assert "worker" in died.error


async def test_an_agent_over_ipc(tmp_path: Path) -> None:
    async with fleet_of(1, tmp_path, bind=f"ipc://{tmp_path}/n1") as (fleet, client):
        assert fleet.address.startswith("ipc://")
        assert (await asyncio.wait_for(client.submit("echo", []), 20)).state is State.DONE


async def test_agents_over_ipv6(tmp_path: Path) -> None:
    async with fleet_of(2, tmp_path, bind="tcp://[::1]:0") as (fleet, client):
        assert fleet.address.startswith("tcp://[::1]:")
        assert (await asyncio.wait_for(client.submit("echo", []), 20)).state is State.DONE


async def test_a_client_is_told_when_its_agent_is_gone(tmp_path: Path) -> None:
    async with fleet_of(1, tmp_path) as (fleet, client):
        future = client.submit("sleep", {"seconds": 60})
        fleet.kill("n1")
        with pytest.raises(AgentUnreachable, match="has not answered"):
            await asyncio.wait_for(future, 20)


async def test_nobody_there() -> None:
    with pytest.raises(AgentUnreachable, match=r"no agent answers at tcp://127\.0\.0\.1:9"):
        await Connection.connect(["tcp://127.0.0.1:9"], timeout_s=0.3)


def agents_of(run: Path) -> list[psutil.Process]:
    """The agents that this process has started for this run, and that live."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and str(run) in str(child.cmdline())]


async def test_a_fleet_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="the agent n1 did not start; its last words stand above"):
        await LocalFleet.start(["n1"], run=tmp_path, bind="tcp://127.0.0.1:99999")
    assert agents_of(tmp_path) == []


async def test_a_fleet_of_which_one_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="the agent n3 did not start"):
        await LocalFleet.start(["n1", "n2", "n3"], run=tmp_path, flags_of={"n3": ["--slots=0"]})
    assert (tmp_path / "n1.jsonl").exists(), "the first was there"
    assert agents_of(tmp_path) == []


async def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    starting = asyncio.create_task(LocalFleet.start(["n1", "n2"], run=tmp_path))
    async with asyncio.timeout(20):
        while not agents_of(tmp_path):
            await asyncio.sleep(0.005)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert agents_of(tmp_path) == []


async def test_who_has_not_begun_to_listen_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.launch.fleet.STOP_S", 3_600.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes whoever comes, and never answers
        fleet = LocalFleet(tmp_path)
        await fleet._launch("n1", [f"--join=tcp://127.0.0.1:{silent.getsockname()[1]}", f"--folder={tmp_path}"])
        await fleet.stop()
    assert fleet._processes["n1"].returncode == -signal.SIGKILL, "it would have ended by itself, with 4"


async def test_stopping_waits_for_no_work_and_for_nobody_who_is_stopped(tmp_path: Path) -> None:
    async with fleet_of(2, tmp_path) as (fleet, client):
        for _ in range(2):
            client.submit("sleep", {"seconds": 3_000})
        await asyncio.wait_for(asyncio.gather(*(started(tmp_path, name) for name in fleet.agents)), 20)
        os.kill(fleet.agents["n2"].pid, signal.SIGSTOP)
        await asyncio.wait_for(fleet.stop(), STOP_S + 5.0)
        assert fleet.alive == []
    assert agents_of(tmp_path) == []
    assert '"node.stop"' in (tmp_path / "n1.jsonl").read_text().splitlines()[-1], "n1 has left in peace"


@pytest.mark.parametrize(
    ("names", "more", "sentence"),
    [
        (["n1", "n1"], {}, "a name of its own for each"),
        (["n1"], {"speeds": [1.0, 2.0]}, "one speed per node"),
        ([], {}, "a local fleet has 1 to 64 nodes"),
        (["n1"], {"flags_of": {"n2": ["--tag=gpu"]}}, "there is no node n2 in this fleet: the nodes are n1"),
    ],
)
async def test_fleets_that_are_none(names: list[str], more: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=sentence):
        await LocalFleet.start(names, run=tmp_path, **more)
    assert list(tmp_path.iterdir()) == []


async def test_they_share_one_machine_and_each_may_have_its_own(tmp_path: Path) -> None:
    flags_of = {"n2": ["--tag=gpu", "--have=vram=8GiB", "--have=cpu=1"]}
    async with fleet_of(2, tmp_path, flags=["--tag=here"], flags_of=flags_of) as (_, client):
        async with asyncio.timeout(20):
            lines = await client.nodes()
            while not all(line.told.tags for line in lines):  # a node tells of itself with its signs of life
                await asyncio.sleep(0.02)
                lines = await client.nodes()
        ran = await asyncio.wait_for(client.submit("command", {"argv": ["true"]}), 20)
    told = {line.node: line.told for line in lines}
    half = machine.capacity(2)
    assert dict(told["n1"].amounts) == half
    assert dict(told["n2"].amounts) == {**half, "cpu": 1.0, "vram": 8.0 * 2**30}
    assert (told["n1"].tags, told["n2"].tags) == (("here",), ("here", "gpu"))
    assert ran.state is State.DONE, "whoever starts a local fleet may run commands himself"


async def test_no_settings_reach_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parley.toml").write_text("wrong = true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARLEY_UP_TAG", "set")
    monkeypatch.setenv("PARLEY_UP_JOIN", "tcp://127.0.0.1:9")
    (tmp_path / "run").mkdir()
    async with fleet_of(1, tmp_path / "run") as (_, client):
        [line] = await client.nodes()
    assert line.told.tags == ()


async def test_agents_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """A script without a main guard starts a fleet, and is killed: nothing is left."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, pathlib
            from parley.launch.fleet import STOP_S, LocalFleet

            async def main():
                fleet = await LocalFleet.start(["n1", "n2"], run=pathlib.Path("run"))
                print(*(agent.pid for agent in fleet.agents.values()), flush=True)
                await asyncio.sleep(60)

            asyncio.run(main())
            """
        )
    )
    (tmp_path / "run").mkdir()
    process = subprocess.Popen([sys.executable, script.name], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    agents = [member for pid in pids for member in family(pid)]
    assert len(agents) >= 2
    process.kill()
    process.wait()
    process.stdout.close()
    await all_gone(agents)


async def test_it_works_beside_packages_of_the_same_names(tmp_path: Path) -> None:
    """A user's own `agents`, `launch`, `protocols` and `transport` are never ours, and ours are never theirs."""
    code = tmp_path / "code"
    for name in ("agents", "launch", "protocols", "transport"):
        (code / name).mkdir(parents=True)
        (code / name / "__init__.py").write_text(f"def whoami():\n    return 'the user\\'s {name}'\n")
    environment = {**os.environ, "PYTHONPATH": str(code)}
    script = (
        "import agents, launch, protocols, transport, parley.agents.agent, parley.launch.cli\n"
        "print(agents.whoami(), transport.whoami(), parley.agents.agent.Agent.__module__)"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=code, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "the user's agents the user's transport parley.agents.agent"
    run = tmp_path / "run"
    run.mkdir()
    async with fleet_of(2, run, allow=["agents:whoami"], code=[code]) as (_, client):
        outcome = await asyncio.wait_for(client.submit("agents:whoami", []), 20)
        assert result(outcome) == "the user's agents"


async def test_a_name_is_taken_once(tmp_path: Path) -> None:
    async with fleet_of(1, tmp_path) as (fleet, _):
        second = await asyncio.create_subprocess_exec(
            *PARLEY, "up", "--name=n1", f"--join={fleet.address}", f"--folder={tmp_path}/second",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(second.communicate(), 20)
        assert second.returncode == 2
        assert said.decode() == "parley: a node named n1 is in this fleet already: choose another --name\n"


async def test_ten_thousand_tasks_at_once_are_all_done(tmp_path: Path) -> None:
    """More than a link holds at a time: client and agent wait for each other instead of losing any."""
    async with fleet_of(2, tmp_path, level="warning") as (_, client):
        futures = [client.submit("echo", [number], work=0.0) for number in range(10_000)]
        outcomes = await asyncio.wait_for(asyncio.gather(*futures), 60)
    assert [result(outcome) for outcome in outcomes] == [[number] for number in range(10_000)]


@pytest.mark.parametrize(("size", "tasks"), [(250_000, 80), (3_000_000, 12)])  # in messages, and beside them
async def test_large_results_are_all_read(tmp_path: Path, size: int, tasks: int) -> None:
    code = Path(__file__).parent
    async with fleet_of(2, tmp_path, allow=["worker_functions:large"], code=[code]) as (_, client):
        futures = [client.submit("worker_functions:large", [size]) for _ in range(tasks)]
        outcomes = await asyncio.wait_for(asyncio.gather(*futures), 60)
        values = [result(outcome) for outcome in outcomes]
    assert values == [b"x" * size] * tasks
