"""Large values over real processes: there and back, once and not twice, bounded in memory, whoever dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from local_fleets import family, fleet_of

from parley.agents.payload import Blob, File, Handed
from parley.launch import spool
from parley.launch.analysis.summary import summarise
from parley.launch.client import Connection
from parley.launch.fleet import LocalFleet
from parley.launch.outcomes import result
from parley.launch.submission import Submission
from parley.protocols.core import Outcome, State

TESTS = Path(__file__).parent
MIB = 1024 * 1024
MEMORY_MAX = 300 * MIB
ALLOW = ["worker_functions:*", "command"]
END_S = 60.0


@asynccontextmanager
async def fleet(nodes: int, run: Path) -> AsyncIterator[tuple[LocalFleet, Connection]]:
    """n1 is slow, so that what is handed in there goes to n2, and then to n3."""
    speeds = [1.0, 16.0, 8.0][:nodes]
    async with fleet_of(nodes, run, speeds=speeds, allow=ALLOW, code=[TESTS]) as (made, client):
        yield made, client


class Memory:
    """The most that any process of a fleet takes."""

    def __init__(self, made: LocalFleet) -> None:
        self._pids = [agent.pid for agent in made.agents.values()]
        self.most = 0

    async def watch(self) -> None:
        while True:
            for process in [one for pid in self._pids for one in family(pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.most = max(self.most, process.memory_info().rss)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(made: LocalFleet) -> AsyncIterator[None]:
    memory = Memory(made)
    watching = asyncio.create_task(memory.watch())
    yield
    watching.cancel()
    assert 0 < memory.most < MEMORY_MAX


def array(seed: int = 0, mib: int = 64) -> np.ndarray:
    """No two seeds have the same bytes."""
    return np.arange(mib * MIB // 8, dtype=float) + seed / 8


async def run(client: Connection, kind: str, arguments: object, **options: object) -> Outcome:
    [submit] = Submission(kind, arguments, **options).submits()  # type: ignore[arg-type]
    return await asyncio.wait_for(client.hand_in(submit).outcome, END_S)


def read_bytes(made: LocalFleet, name: str) -> int:
    """What this agent has read from files."""
    return int(psutil.Process(made.agents[name].pid).io_counters().read_chars)


async def test_an_array_goes_there_and_back_and_the_second_time_nothing_is_sent(tmp_path: Path) -> None:
    async with fleet(2, tmp_path) as (made, client), watched(made):
        sent = array()
        outcome = await run(client, "worker_functions:double", [sent])
        value = result(outcome)
        assert isinstance(value, dict)
        assert np.array_equal(value["array"], sent * 2)
        assert value["writable"]
        value["array"][0] = 5.0
        assert outcome.node == "n2"
        assert len(outcome.value) < 1000
        wire, files = client._links.counters.bytes_sent, [read_bytes(made, name) for name in ("n1", "n2")]
        again = await run(client, "worker_functions:double", [sent])
        assert np.array_equal(result(again)["array"], sent * 2)  # type: ignore[index]
        assert again.node == "n2"
        assert client._links.counters.bytes_sent - wire < 10_000
        for before, name in zip(files, ("n1", "n2"), strict=True):
            assert read_bytes(made, name) - before < MIB, f"{name} has sent something"
    assert "msg.drop" not in (tmp_path / "n1.jsonl").read_text()


async def test_text_bytes_and_many_small_values_travel_as_well(tmp_path: Path) -> None:
    async with fleet(1, tmp_path) as (_, client):
        for value in (
            ["é" * MIB, b"x" * 5 * MIB],
            [[float(n), "y" * 100] for n in range(60_000)],
            {"some": [np.full(50_000, n) for n in range(70)]},
        ):
            back = result(await run(client, "echo", value))
            assert plain(back) == plain(value)


def plain(value: object) -> object:
    """Arrays as lists, which can be compared."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [item.tolist() if isinstance(item, np.ndarray) else item for item in value]
    return value


async def test_a_command_is_given_a_file_and_keeps_one(tmp_path: Path) -> None:
    source = tmp_path / "data.bin"
    source.write_bytes(os.urandom(50 * MIB))
    script = "import pathlib, sys; d = pathlib.Path('in/data.bin').read_bytes(); pathlib.Path('out.bin').write_bytes(d[::-1]); print(len(d), pathlib.Path('note').read_text())"  # noqa: E501
    async with fleet(2, tmp_path / "run") as (made, client), watched(made):
        arguments = {
            "argv": ["python3", "-c", script],
            "files": {"in/data.bin": File(source), "note": "hello"},
            "keep": ["out.bin"],
        }
        value = result(await run(client, "command", arguments))
        assert isinstance(value, dict)
        assert value["out"] == f"{50 * MIB} hello\n"
        kept = value["files"]["out.bin"]
        assert isinstance(kept, Blob)
        spool.save_blob(kept, tmp_path / "kept.bin")
        assert (tmp_path / "kept.bin").read_bytes() == source.read_bytes()[::-1]
        again = await run(client, "command", {"argv": ["cat", "it"], "files": {"it": kept}, "keep": ["it"]})
        value = result(again)
        assert isinstance(value, dict)
        assert value["files"]["it"] == kept, "a reference may be handed in again"
        whole = await run(client, "command", {"argv": ["wc", "-c"], "stdin": b"x" * 5 * MIB})
        assert result(whole)["out"].strip() == str(5 * MIB)  # type: ignore[index]
        async with asyncio.timeout(END_S):
            while list((tmp_path / "run").glob("blobs/*/work/*")):  # the private folders go, a moment later
                await asyncio.sleep(0.01)
    assert not (tmp_path / "run" / "blobs").exists(), "a local fleet leaves its logs and nothing large"


CANNOT_BE: list[tuple[dict[str, object], str]] = [
    ({"argv": ["true"], "keep": ["none.bin"]}, "true exited with 0 and has left no file none.bin"),
    ({"argv": ["ln", "-s", "/etc/passwd", "x"], "keep": ["x"]}, "has left no file x"),
    ({"argv": ["true"], "files": {"../x": b"y"}}, "files must be up to 64 names"),
    ({"argv": ["true"], "files": {"/etc/x": b"y"}}, "files must be up to 64 names"),
    ({"argv": ["true"], "keep": ["a/../../x"]}, "keep must be a list"),
    ({"argv": ["true"], "files": {"a": b"y", "a/b": b"z"}}, "cannot lie where another one does"),
    ({"argv": ["true"], "files": {"a": 5}}, "a file is given as a blob, text or bytes"),
    ({"argv": ["true"], "keep": ["a"], "cwd": "/"}, "cannot have a cwd"),
]


async def test_files_that_cannot_be(tmp_path: Path) -> None:
    async with fleet(1, tmp_path) as (_, client):
        for arguments, sentence in CANNOT_BE:
            outcome = await run(client, "command", arguments)
            assert outcome.state is State.FAILED
            assert outcome.attempts == 1
            assert sentence in outcome.error
            assert "\n" not in outcome.error


async def test_results_are_handed_on_by_reference(tmp_path: Path) -> None:
    async with fleet(2, tmp_path) as (_, client):
        first = array(1, 8)
        [parent] = Submission("worker_functions:double", [first], label="first").submits()
        handle = client.hand_in(parent)
        child = await run(client, "echo", [Handed("first")], after=["first"])
        await handle.outcome
        got = result(child)
        assert isinstance(got, list)
        np.testing.assert_array_equal(got[0]["array"], first * 2)


async def test_the_death_of_the_winner_while_its_result_is_fetched_costs_an_attempt(tmp_path: Path) -> None:
    async with fleet(3, tmp_path) as (made, client):
        script = "open('big', 'wb').write(b'0123456789abcdef' * (16 * 1024 * 1024))"
        [submit] = Submission("command", {"argv": ["python3", "-c", script], "keep": ["big"]}).submits()
        handle = client.hand_in(submit)
        unfinished = tmp_path / "blobs" / "n1" / "new"
        async with asyncio.timeout(END_S):
            while not any(path.stat().st_size for path in unfinished.glob("*")):
                await asyncio.sleep(0.001)
        [line] = await client.tasks([handle.task])
        assert "its result is being fetched" in line.reason
        winner = line.node
        assert winner is not None
        assert winner != "n1"
        made.kill(winner)
        outcome = await asyncio.wait_for(handle.outcome, END_S)
        assert (outcome.state, outcome.attempts) == (State.DONE, 2)
        assert outcome.node != winner
        [kept] = result(outcome)["files"].values()  # type: ignore[index]
        assert kept.size == 256 * MIB
        assert spool.read_blob(kept)[-16:] == b"0123456789abcdef"
    summary = summarise(tmp_path)
    assert (summary.lost, summary.committed_twice, summary.done) == (0, 0, 1)


async def test_a_spoilt_copy_on_the_winner_is_never_used(tmp_path: Path) -> None:
    async with fleet(2, tmp_path) as (_, client):
        sent = array(2, 4)
        first = await run(client, "worker_functions:double", [sent])
        assert first.node == "n2"
        [path] = [path for path in copies(tmp_path, "n2") if path.read_bytes() == sent.tobytes()]
        path.write_bytes(b"!" + sent.tobytes()[1:])
        again = await run(client, "worker_functions:double", [sent])
        np.testing.assert_array_equal(result(again)["array"], sent * 2)  # type: ignore[index]
        assert again.attempts == 2
    ends = [json.loads(line) for line in (tmp_path / "n2.jsonl").read_text().splitlines() if '"task.end"' in line]
    assert any("spoilt" in end["detail"] for end in ends)


def copies(run: Path, name: str) -> list[Path]:
    return [path for path in (run / "blobs" / name).glob("??/*") if path.is_file()]


async def test_what_an_agent_no_longer_has_is_one_sentence(tmp_path: Path) -> None:
    async with fleet(1, tmp_path) as (_, client):
        outcome = await run(client, "echo", [Blob(b"x" * 32, 10 * MIB)])
        assert outcome.state is State.FAILED
        assert outcome.error.startswith("not taken: a large value that it needs cannot be had")


def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    page = (TESTS.parent / "docs" / "large.md").read_text()
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "page.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=END_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == re.findall(r"# prints: (\S+)", block)
    assert (tmp_path / "size.txt").read_text().strip() == "64000000"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the most that was taken")
def test_a_client_of_large_values_stays_small(tmp_path: Path) -> None:
    """In a process of its own, since this one has other things in memory."""
    script = """
from pathlib import Path
import numpy as np
from parley import Fleet

with Fleet(nodes=1) as fleet:
    for seed in range(6):
        sent = np.arange(8_000_000, dtype=float) + seed / 8
        [back] = fleet.submit("echo", sent).result()
        assert (back == sent).all()
        del sent, back
[most] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(most.split()[1]) * 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=END_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MEMORY_MAX
