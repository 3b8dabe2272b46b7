"""`parley up` as a person runs it: how it listens, what it has, and above all how it goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import warm_commands
from local_fleets import PARLEY, Agent, agent, at_home, parley

from parley.launch import machine
from parley.launch.client import Connection
from parley.launch.outcomes import result
from parley.launch.submission import Submission
from parley.launch.up import TAKEN_S
from parley.protocols.core import Outcome, State, TaskId
from parley.protocols.requests import NodeLine, Submit, TaskLine

LONG_S = 3_000.0
LIMIT_S = 20.0


def sleep(seconds: float, **terms: object) -> Submit:
    [submit] = Submission("sleep", {"seconds": seconds}, **terms).submits()  # type: ignore[arg-type]
    return submit


@asynccontextmanager
async def pair(home: Path, *flags: str) -> AsyncIterator[tuple[Agent, Agent, Connection]]:
    """Two nodes that know each other, and a client of the first; the flags are the second's."""
    (home / "two").mkdir()
    with (
        agent("--name=n1", home=home) as one,
        agent("--name=n2", f"--join={one.address}", *flags, home=home / "two") as two,
    ):
        async with await Connection.connect([one.address]) as client:
            await client.ready(2, LIMIT_S)
            yield one, two, client


async def until(client: Connection, task: TaskId, node: str, state: State = State.RUNNING, epoch: int = 1) -> TaskLine:
    """Wait until the task stands so."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            [line] = await client.tasks([task])
            if (line.state, line.node) == (state, node) and line.epoch >= epoch:
                return line
            await asyncio.sleep(0.01)


async def until_draining(client: Connection, node: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not (await line_of(client, node)).told.draining:
            await asyncio.sleep(0.01)


async def line_of(client: Connection, node: str) -> NodeLine:
    return next(line for line in await client.nodes() if line.node == node)


def ended(two: Path, name: str = "n2") -> str:
    """Why it stopped, as the last line of its log says."""
    line = json.loads((two / "state/parley" / name / f"{name}.jsonl").read_text().splitlines()[-1])
    assert line["event"] == "node.stop"
    return str(line["reason"])


def test_a_life_however_short_is_in_the_log(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path):
        lines = (tmp_path / "state/parley/n1/n1.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["event"] == "node.start"


# --- it goes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_it_end_what_runs_and_the_rest_moves(number: signal.Signals, tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, two, client):
        handles = [client.hand_in(sleep(1.0)) for _ in range(6)]
        async with asyncio.timeout(LIMIT_S):
            while not (running := [line.task for line in await running_at(client, "n2")]):
                await asyncio.sleep(0.01)
        assert len(running) == 1, "one slot"
        code, said = await asyncio.to_thread(two.end, number)
        outcomes = await asyncio.wait_for(asyncio.gather(*(handle.outcome for handle in handles)), LIMIT_S)
    assert (code, said) == (0, "")
    assert ended(tmp_path / "two") == "drained"
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert [outcome.task for outcome in outcomes if outcome.node == "n2"] == running
    assert [outcome.attempts for outcome in outcomes if outcome.node == "n2"] == [1], "what ran was not disturbed"


async def running_at(client: Connection, node: str) -> list[TaskLine]:
    return [line for line in await client.tasks(["all"]) if line.node == node and line.state is State.RUNNING]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_makes_it_leave_at_once(number: signal.Signals, code: int, tmp_path: Path) -> None:
    async with pair(tmp_path, "--speed=4") as (_, two, client):
        handle = client.hand_in(sleep(LONG_S))
        await until(client, handle.task, "n2")
        two.process.send_signal(signal.SIGTERM)
        await until_draining(client, "n2")
        began = time.monotonic()
        ended_with, said = await asyncio.to_thread(two.end, number)
        assert time.monotonic() - began < 5.0
        assert (ended_with, said) == (code, "parley: told twice to go, it left at once: what it had is given back\n")
        assert ended(tmp_path / "two") == "told twice"
        await until(client, handle.task, "n1", epoch=2)


async def test_what_has_not_ended_in_time_is_given_back(tmp_path: Path) -> None:
    async with pair(tmp_path, "--drain-timeout=300ms", "--speed=4") as (_, two, client):
        handle = client.hand_in(sleep(8.0))
        await until(client, handle.task, "n2")
        code, said = await asyncio.to_thread(two.end, signal.SIGTERM)
        assert (code, said) == (0, "")
        assert ended(tmp_path / "two") == "out of time to drain"
        await until(client, handle.task, "n1", epoch=2)


async def test_an_idle_one_leaves_at_once(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as one:
        began = time.monotonic()
        assert one.end(signal.SIGINT) == (0, "")
        assert time.monotonic() - began < 5.0
    assert ended(tmp_path, "n1") == "drained"
    assert not list((tmp_path / "parley").iterdir()), "nobody finds it any more"


async def test_it_sees_through_what_was_handed_in_to_it(tmp_path: Path) -> None:
    """Many tasks of one client are with it when it is told to go: all of them end, and the client hears of each."""
    async with pair(tmp_path, "--slots=4") as (one, _, client):
        handles = [client.hand_in(sleep(0.001)) for _ in range(300)]
        await asyncio.gather(*(handle.taken for handle in handles))
        one.process.send_signal(signal.SIGTERM)
        outcomes = await asyncio.wait_for(asyncio.gather(*(handle.outcome for handle in handles)), 60)
        assert await asyncio.to_thread(one.process.wait, LIMIT_S) == 0
    assert {outcome.state for outcome in outcomes} == {State.DONE}


async def test_one_without_others_sees_it_through_alone(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as one:
        async with await Connection.connect([one.address]) as client:
            handles = [client.hand_in(sleep(0.2)) for _ in range(5)]
            await asyncio.gather(*(handle.taken for handle in handles))
            one.process.send_signal(signal.SIGTERM)
            outcomes = await asyncio.wait_for(asyncio.gather(*(handle.outcome for handle in handles)), LIMIT_S)
            assert await asyncio.to_thread(one.process.wait, LIMIT_S) == 0
    assert {outcome.state for outcome in outcomes} == {State.DONE}


async def test_one_that_drains_takes_nothing_more(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as one:
        async with await Connection.connect([one.address]) as client:
            first = client.hand_in(sleep(1.0))
            await until(client, first.task, "n1")
            one.process.send_signal(signal.SIGTERM)
            await until_draining(client, "n1")
            refused: Outcome = await asyncio.wait_for(client.hand_in(sleep(0.0)).outcome, LIMIT_S)
            assert refused.state is State.FAILED
            assert "about to leave" in refused.error
            assert (await asyncio.wait_for(first.outcome, LIMIT_S)).state is State.DONE


def test_its_parents_end_is_its_own(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PARLEY, "up", "--name=n1", "--json", "--with-parent"],
        env=at_home(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        address = json.loads(process.stdout.readline())["address"]
        parley("submit", "sleep", "--args", '{"seconds": 3000}', "--agent", address, env=at_home(tmp_path))
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0
        process.stdout.close()
    finally:
        process.kill()
        process.wait()
    assert ended(tmp_path, "n1") == "stopped"


# --- it listens ------------------------------------------------------------------------------------------------------


def test_without_flags_it_has_the_machines_name_and_listens_on_loopback(tmp_path: Path) -> None:
    with agent(home=tmp_path) as one:
        assert one.name == machine.host_name()
        assert one.address.startswith("tcp://127.0.0.1:")
        assert (tmp_path / "state/parley" / one.name / f"{one.name}.jsonl").exists()
        [entry] = (tmp_path / "parley").iterdir()
        assert json.loads(entry.read_text())["address"] == one.address


def test_what_it_says_for_people_is_one_line(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*PARLEY, "up", "--name=n1"], env=at_home(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("n1 listens at tcp://127.0.0.1:")
        process.terminate()
        assert process.communicate(timeout=LIMIT_S) == ("", ""), "hints are for a terminal"
    finally:
        process.kill()
        process.communicate()


def test_one_that_listens_everywhere_says_what_others_are_to_dial(tmp_path: Path) -> None:
    with agent("--name=n1", *EVERYWHERE, "--advertise=tcp://127.0.0.9:0", home=tmp_path) as one:
        assert one.address.startswith("tcp://127.0.0.9:")
        (tmp_path / "two").mkdir()
        with agent("--name=n2", f"--join={one.address}", home=tmp_path / "two"):
            nodes = json.loads(parley("nodes", "--json", "--agent", one.address, env=at_home(tmp_path)).stdout)
        assert {node["node"]: node["address"] for node in nodes}["n1"] == one.address
        assert json.loads(parley("nodes", "--json", env=at_home(tmp_path)).stdout)[0]["node"] == "n1", "found here, too"


def test_a_list_that_all_nodes_share_may_name_the_node_itself(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as one:
        port = one.address.rpartition(":")[2]
        assert one.end(signal.SIGTERM)[0] == 0
    with agent("--name=n1", f"--bind={one.address}", f"--join=tcp://localhost:{port}", home=tmp_path) as again:
        assert again.address == one.address


EVERYWHERE = ("--bind=tcp://0.0.0.0:0", "--insecure")
REFUSED: list[tuple[str, list[str], int, str]] = [
    ("everywhere", ["--bind=tcp://0.0.0.0:4100"], 2, "0.0.0.0:4100 is no address that others can dial"),
    ("everywhere, as a number", ["--bind=tcp://0:4100"], 2, "tcp://0:4100 is no address that others can dial"),
    ("everywhere, with a star", ["--bind=tcp://*:4100"], 2, "say with --advertise"),
    ("everywhere, in the new family", ["--bind=tcp://[::]:4100"], 2, "say with --advertise"),
    ("advertised everywhere", [*EVERYWHERE, "--advertise=tcp://0.0.0.0:0"], 2, "cannot be advertised"),
    ("a port that is not bound", ["--advertise=tcp://h:4100"], 2, "--advertise names the port 4100, and --bind takes"),
    ("an address that is not here", ["--bind=tcp://192.0.2.1:0", "--insecure"], 2, "this machine has no such address"),
    ("a host that is none", ["--bind=tcp://no.such.host.invalid:0"], 2, "no host named 'no.such.host.invalid'"),
    ("a port in use", ["--bind=BUSY"], 2, "is in use: choose another port"),
    ("a name in use here", ["--name=busy"], 2, "an agent named busy runs here already"),
    ("a name in use there", ["--name=busy", "--folder=other", "--join=BUSY"], 2, "a node named busy is in this fleet"),
    ("nobody to join", ["--join=tcp://127.0.0.1:9"], 4, "no agent answers at tcp://127.0.0.1:9"),
    ("a host to join that is none", ["--join=tcp://no.such.host.invalid:1"], 2, "no host named"),
    ("a folder below a file", ["--folder=/dev/null/x"], 1, "cannot write the log /dev/null/x/"),
    ("an amount as a tag", ["--tag=vram=8GiB"], 2, "write --have vram=8GiB"),
    ("a tag as an amount", ["--have=gpu"], 2, "'gpu' does not say how much"),
    ("too many amounts", [f"--have=x{number}=1" for number in range(15)], 2, "15 are too many: 14 is the most"),
    ("too many tags", [f"--tag=x{number}" for number in range(65)], 2, "65 are too many: 64 is the most"),
    ("a path as a function", ["--allow=tools.py"], 2, "'tools.py' cannot be allowed: write pkg.mod:func"),
    ("nearly the word", ["--allow=commands"], 2, "did you mean command?"),
    ("a speed that is none", ["--speed=nan"], 2, "'nan' is no number"),
    ("a duration that is none", ["--drain-timeout=soon"], 2, "'soon' is no duration"),
    ("a server that is none", ["--http=localhost"], 2, "no URL of a model server"),
    ("a server with a password", ["--http=http://me:secret@localhost"], 2, "must hold no user or password"),
    ("a server far away", ["--http=http://8.8.8.8"], 2, "neither this machine nor in this network"),
    ("an executor that is not there", ["--executor=no.such:Thing"], 2, "the executor no.such:Thing cannot be made"),
    ("an executor without a class", ["--executor=json"], 2, "names nothing in a module of Python"),
    ("a valuation that is not there", ["--valuation=no.such"], 2, "the valuation no.such cannot be imported"),
    ("a valuation without its function", ["--valuation=json:price"], 2, "has no function price"),
    ("a file as a valuation", ["--valuation=./bids.py"], 2, "names no module of Python"),
]


@pytest.mark.parametrize(("flags", "code", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_it_refuses(flags: list[str], code: int, sentence: str, busy: Agent, home: Path) -> None:
    words = ["up", *(flag.replace("BUSY", busy.address) for flag in flags)]
    refused = warm_commands.run(words, cwd=home, env=at_home(home), timeout_s=TAKEN_S + LIMIT_S)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert refused.stderr.startswith("parley: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert sentence in refused.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def busy(home: Path) -> Iterator[Agent]:
    with agent("--name=busy", home=home) as one:
        yield one


async def test_a_name_is_free_again_when_its_node_has_died(tmp_path: Path) -> None:
    """A service that is started anew at once: the fleet still believes its former life to be alive."""
    async with pair(tmp_path) as (one, two, client):
        two.process.kill()
        two.process.communicate()
        (tmp_path / "again").mkdir()
        with agent("--name=n2", f"--join={one.address}", home=tmp_path / "again") as again:
            await client.ready(2, LIMIT_S)
            assert (await line_of(client, "n2")).address == again.address


# --- what it has -----------------------------------------------------------------------------------------------------


async def test_what_it_says_of_itself(tmp_path: Path) -> None:
    flags = ["--name=n1", "--slots=3", "--speed=2.5", "--tag=gpu", "--tag=site=lab", "--have=vram=8GiB", "--have=cpu=1"]
    with agent(*flags, home=tmp_path) as one:
        async with await Connection.connect([one.address]) as client:
            [line] = await client.nodes()
    assert (line.slots, line.speed) == (3, 2.5)
    assert line.told.tags == ("gpu", "site=lab")
    assert dict(line.told.amounts) == {"vram": 8.0 * 2**30, "cpu": 1.0, "memory": machine.capacity()["memory"]}


CODE = """
from parley.agents.bidder import bidder


@bidder("echo")
def dear(task):
    return {"toll": 7.0}


class Arm:
    kinds = ("pick",)
    tags = ("arm",)

    async def run(self, job):
        return {"picked": job.arguments["shelf"]}


def double(number):
    return 2 * number
"""
SHOW = "import os; print(dict(os.environ))"


async def test_its_owners_own_code(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/own.py").write_text(CODE)
    flags = ["--name=n1", "--code=code", "--allow=own:double", "--allow=command"]
    with agent(*flags, "--valuation=own", "--executor=own:Arm", home=tmp_path, env={"PARLEY_HTTP_KEY": "k"}) as one:
        async with await Connection.connect([one.address]) as client:
            [line] = await client.nodes()
            assert "arm" in line.told.tags
            async with asyncio.timeout(LIMIT_S):
                assert result(await client.submit("pick", {"shelf": 4})) == {"picked": 4}
                assert result(await client.submit("own:double", [21])) == 42
                [submit] = Submission("echo", []).submits()
                [bid] = (await client.plan(submit.task)).bids
                assert dict(bid.terms)["toll"] == 7.0
                ran = await client.submit("command", {"argv": [sys.executable, "-c", SHOW]})
                assert "PARLEY_HTTP_KEY" not in str(result(ran)), "a secret of the node is none of its tasks' business"
                other = await client.submit("own:Arm", [])
                assert other.state is State.UNPLACED


async def test_commands_only_where_their_owner_allows_them(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as one:
        async with await Connection.connect([one.address]) as client:
            outcome = await asyncio.wait_for(client.submit("command", {"argv": ["true"]}), LIMIT_S)
    assert outcome.state is State.UNPLACED
    assert "command" in outcome.error


async def test_a_model_server_beside_it(tmp_path: Path) -> None:
    from openai_server import running

    async with running() as server:
        with agent("--name=n1", f"--http={server.url}", home=tmp_path, env={"PARLEY_HTTP_KEY": "k"}) as one:
            async with await Connection.connect([one.address]) as client:
                async with asyncio.timeout(LIMIT_S):
                    while "model=tiny" not in (await client.nodes())[0].told.tags:
                        await asyncio.sleep(0.02)
                    told = result(await client.submit("chat:tiny", {"prompt": "Once"}))
    assert isinstance(told, dict)
    assert told["text"] == "Once upon a time"


def test_the_environment_and_a_file_are_flags_too(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text('[up]\nname = "filed"\nslots = 2\ntag = ["filed"]\n')
    with agent("--tag=typed", home=tmp_path, env={"PARLEY_UP_SLOTS": "3"}) as one:
        assert one.name == "filed"
        [node] = json.loads(parley("nodes", "--json", env=at_home(tmp_path)).stdout)
    assert (node["slots"], node["tags"]) == (3, ["typed"])
    assert "PARLEY_UP_SLOTS" not in os.environ
