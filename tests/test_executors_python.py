"""Real workers, and all that can happen to them. Every test ends with no process left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from running_attempts import PATIENCE_S, Running, descriptors, gone, lives

from parley.agents.executors import channel
from parley.agents.executors.base import Attempt
from parley.agents.executors.channel import ERROR_CHARS_MAX, Request
from parley.agents.executors.lines import DROPPED, LINE_BYTES_MAX, LINES_MAX
from parley.agents.executors.python import PythonExecutor, worker_command
from parley.agents.payload import pack, unpack
from parley.protocols.core import ProtocolError, Task
from parley.protocols.performatives import OUTPUT_UNREAD_MAX, Finished, Reason, Stream

TESTS = Path(__file__).parent


class Node:
    """An executor, and what its workers print."""

    def __init__(self, executor: PythonExecutor, lines: asyncio.Queue[str]) -> None:
        self.executor = executor
        self.lines = lines
        self._count = 0

    def ask(
        self, kind: str, payload: bytes, timeout_s: float = PATIENCE_S, follow: bool = False, reads: bool = True
    ) -> Running:
        self._count += 1
        task = Task(id=f"t{self._count}", kind=kind, timeout_s=timeout_s)
        running = Running(self.executor, task.id, 1, reads)
        self.executor.start(Attempt(task, 1, payload, follow), running.tell)
        assert not running.end.done(), "nothing is told from within start"
        return running

    def begin(
        self,
        function: str,
        arguments: object = (),
        timeout_s: float = PATIENCE_S,
        follow: bool = False,
        reads: bool = True,
    ) -> Running:
        return self.ask(f"worker_functions:{function}", pack(arguments), timeout_s, follow, reads)

    async def run(self, function: str, *arguments: object) -> Finished:
        return await self.begin(function, arguments).end

    async def value(self, function: str, *arguments: object) -> object:
        finished = await self.run(function, *arguments)
        assert finished.reason is None, finished.error
        return unpack(finished.value)

    async def number(self, function: str, *arguments: object) -> int:
        value = await self.value(function, *arguments)
        assert isinstance(value, int)
        return value

    async def failure(self, function: str, *arguments: object, reason: Reason = Reason.ERROR) -> str:
        finished = await self.run(function, *arguments)
        assert finished.reason is reason
        assert finished.value == b""
        return finished.error

    async def pids(self) -> list[int]:
        """What a function has printed that nobody follows."""
        return [int(word) for word in (await self.lines.get()).split()]


@asynccontextmanager
async def node(
    *allow: str,
    slots: int = 1,
    code: Path = TESTS,
    speed: float = 1.0,
    fastest: float = 1.0,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Node]:
    """Whatever happens inside, no process and no descriptor is left in the end."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    executor = PythonExecutor(
        allow or ("worker_functions:*",),
        slots=slots,
        code=[code],
        speed=speed,
        fastest=fastest,
        env=env,
        on_line=lambda task, line: lines.put_nowait(line),
    )
    me = psutil.Process()
    before = descriptors()
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Node(executor, lines)
    finally:
        left = me.children(recursive=True)
        await executor.close()
        _, alive = psutil.wait_procs(left, timeout=5.0)
        for process in alive:
            process.kill()
        assert not alive
        assert not me.children(recursive=True)
        assert descriptors() == before


# --- what goes well --------------------------------------------------------------------------------------------------


async def test_lists_are_positional_and_dicts_are_named_arguments() -> None:
    async with node() as n:
        assert await n.value("add", 2, 3) == 5
        named = await n.begin("add", {"a": 2, "b": 5}).end
        assert unpack(named.value) == 7
        assert await n.value("nothing") is None


async def test_no_payload_means_no_arguments() -> None:
    async with node() as n:
        assert (await n.ask("worker_functions:nothing", b"").end).reason is None


async def test_workers_stay_warm_one_per_slot() -> None:
    async with node(slots=2) as n:
        ends = [n.begin("pid").end for _ in range(2)]
        first = {unpack((await end).value) for end in ends}
        assert len(first) == 2
        assert {await n.value("pid") for _ in range(5)} <= first


async def test_arrays_go_in_and_out() -> None:
    async with node() as n:
        value = await n.value("double", np.arange(6, dtype=np.float32).reshape(2, 3))
        assert isinstance(value, dict)
        np.testing.assert_array_equal(value["array"], np.arange(6, dtype=np.float32).reshape(2, 3) * 2, strict=True)
        assert value["mean"] == np.float32(2.5)
        assert value["writable"] is True


async def test_a_function_knows_its_task_and_epoch() -> None:
    async with node() as n:
        assert await n.value("attempt") == ["t1", "1"]


async def test_a_worker_loads_nothing_heavy_and_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    async with node() as n:
        loaded = await n.value("modules")
        assert isinstance(loaded, list)
        assert not {"numpy", "zmq", "click", "rich", "msgspec", "asyncio", "structlog"} & set(loaded)
        assert await n.value("environment", "OMP_NUM_THREADS") == "1"
        assert await n.value("environment", "MKL_NUM_THREADS") == "3"


async def test_workers_know_what_their_agent_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_AGENT", "another")
    monkeypatch.setenv("OF_THE_AGENT", "inherited")
    async with node(env={"PARLEY_AGENT": "tcp://127.0.0.1:7777"}) as n:
        assert await n.value("environment", "PARLEY_AGENT") == "tcp://127.0.0.1:7777"
        assert await n.value("environment", "OF_THE_AGENT") == "inherited"


async def test_a_users_own_package_named_agents_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("OWNER = 'the user'\n")
    (tmp_path / "worker_functions.py").write_text((TESTS / "worker_functions.py").read_text())
    async with node(code=tmp_path) as n:
        assert await n.value("whose_agents") == "the user"


async def test_a_slow_node_sleeps_in_proportion_to_the_work() -> None:
    async with node(speed=1.0, fastest=3.0) as n:
        finished = await n.run("burn", 0.1)
        used = unpack(finished.value)
        assert isinstance(used, float)
        assert finished.seconds >= 3 * used


# --- what is printed -------------------------------------------------------------------------------------------------


async def test_a_flood_of_prints_harms_nobody() -> None:
    async with node() as n:
        assert await n.value("flood", 20_000) == ""
        lines = [n.lines.get_nowait() for _ in range(n.lines.qsize())]
        printed = [line for line in lines if not line.startswith("y")]
        assert printed[0].startswith("line 0 xxx")
        assert len(printed) == LINES_MAX + 1
        assert printed[-1] == DROPPED
        assert [line for line in lines if line.startswith("y")] == ["y" * LINE_BYTES_MAX]
        await n.value("say", "and the next task is heard")
        while (await n.lines.get()) != "and the next task is heard":
            pass


async def test_followed_prints_come_as_they_are_written() -> None:
    async with node() as n:
        running = n.begin("say_and_complain", ("printed é", "complained"), follow=True)
        finished = await running.end
        assert unpack(finished.value) == "said"
        assert running.told == {Stream.OUT: "printed é\n".encode() + b"\xff", Stream.ERR: b"complained\n"}
        assert n.lines.empty()
        hanging = n.begin("hang", follow=True)
        worker, child = await hanging.line()
        assert not hanging.end.done()
        hanging.stop()
        await gone(worker, child)
        await n.value("say", "and without a follower, to the agent")
        assert await n.lines.get() == "and without a follower, to the agent"


async def test_a_followed_flood_is_told_no_faster_than_it_is_read() -> None:
    async with node(slots=2) as n:
        running = n.begin("flood", [20_000], follow=True, reads=False)
        await running.until(OUTPUT_UNREAD_MAX)
        assert await n.value("add", 1) == 2
        assert running.size == OUTPUT_UNREAD_MAX
        assert not running.end.done()
        running.reads = True
        running.read(running.unread)
        assert (await running.end).reason is None
        printed = running.told[Stream.OUT].split(b"\n")
        assert [line.split()[1] for line in printed[:20_000]] == [b"%d" % i for i in range(20_000)]
        assert running.told[Stream.ERR] == b"y" * 1_000_000 + b"\n"


@pytest.mark.parametrize("end", ["stopped", "killed", "late"])
async def test_a_flood_that_nobody_reads_can_be_ended(end: str) -> None:
    async with node() as n:
        worker = await n.number("pid")
        timeout_s = 1.0 if end == "late" else PATIENCE_S
        running = n.begin("flood", [20_000], timeout_s=timeout_s, follow=True, reads=False)
        await running.until(OUTPUT_UNREAD_MAX)
        match end:
            case "stopped":
                running.stop()
            case "killed":
                os.kill(worker, signal.SIGKILL)
                await gone(worker)
                running.reads = True
                running.read(running.unread)
                assert (await running.end).reason is Reason.DIED
            case "late":
                assert (await running.end).reason is Reason.TIMEOUT
        await gone(worker)
        assert await n.value("add", 1) == 2


# --- failures of the task: no other node would do better -------------------------------------------------------------


async def test_what_a_function_raises_is_told_with_its_traceback() -> None:
    async with node() as n:
        error = await n.failure("raises", "wrong number")
        first, *rest = error.splitlines()
        assert first == "ValueError: wrong number"
        assert "in raises" in error
        assert "worker.py" not in error
        assert rest[0].startswith("Traceback")
        assert (await n.failure("leaves")).startswith("SystemExit: 3")
        assert (await n.failure("add")).startswith("TypeError: add() missing 1 required positional argument")


async def test_a_monstrous_error_is_cut() -> None:
    async with node() as n:
        error = await n.failure("raises", "long " * 10_000)
        assert error.startswith("ValueError: long long")
        assert len(error) <= ERROR_CHARS_MAX


async def test_a_result_that_cannot_be_sent() -> None:
    async with node() as n:
        error = await n.failure("unsendable")
        assert error.startswith("the result of worker_functions:unsendable cannot be sent: a set cannot travel")
        assert "4,194,304 is the most" in await n.failure("huge")
        assert await n.value("add", 1) == 2


async def test_only_what_the_owner_allows_runs() -> None:
    async with node("worker_functions:add", "worker_functions:basename", "worker_functions:p*") as n:
        assert await n.value("add", 1) == 2
        assert await n.value("basename", "a/b") == "b"
        assert isinstance(await n.value("pid"), int)
        error = await n.failure("nothing")
        assert error == (
            "this node does not run worker_functions:nothing: start it with --allow worker_functions:nothing"
        )


async def test_a_pattern_does_not_allow_what_a_module_imports() -> None:
    async with node() as n:
        assert "is not defined in worker_functions but imported there" in await n.failure("basename", "a/b")


async def test_what_is_no_function_here() -> None:
    async with node("worker_functions:*", "worker_functions:NOT_A_FUNCTION", "no_such_module:*") as n:
        assert await n.failure("missing") == "worker_functions has no function missing"
        assert await n.failure("NOT_A_FUNCTION") == "worker_functions:NOT_A_FUNCTION is not a function but int"
        finished = await n.ask("no_such_module:f", b"").end
        assert "no_such_module cannot be imported on this node: ModuleNotFoundError" in finished.error
        assert finished.reason is Reason.ERROR


@pytest.mark.parametrize("payload", [pack(7), pack({1: 2}), b"\xc1"])
async def test_arguments_that_are_none(payload: bytes) -> None:
    async with node() as n:
        finished = await n.ask("worker_functions:add", payload).end
        assert finished.error.startswith("the arguments of worker_functions:add")
        assert finished.reason is Reason.ERROR


# --- deaths: another attempt may succeed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments", "error"),
    [
        ("segfault", (), "worker died with signal 11 (SIGSEGV)"),
        ("aborted", (), "worker died with signal 6 (SIGABRT)"),
        ("killed", (), "worker died with signal 9 (SIGKILL)"),
        ("vanish", (3,), "worker exited with code 3"),
        ("vanish", (0,), "worker exited with code 0"),
        ("babbles", (), "the worker was killed: a frame of 4,294,967,295 and 4,294,967,295 bytes was announced"),
    ],
)
async def test_a_worker_that_dies_is_replaced(function: str, arguments: tuple[object, ...], error: str) -> None:
    async with node() as n:
        before = await n.number("pid")
        for _ in range(2):
            finished = await n.run(function, *arguments)
            assert (finished.reason, finished.value) == (Reason.DIED, b"")
            assert finished.error.startswith(error)
            assert "\n" not in finished.error
        assert await n.value("pid") != before
        await gone(before)


async def test_a_worker_that_hangs_up() -> None:
    async with node() as n:
        before = await n.number("pid")
        finished = await n.begin("deafens", timeout_s=0.5).end
        assert finished.reason in (Reason.DIED, Reason.TIMEOUT)
        await gone(before)
        assert await n.value("add", 1) == 2


async def test_only_one_of_those_that_return_is_the_worker() -> None:
    async with node() as n:
        before = await n.number("pid")
        assert [await n.value("forks") for _ in range(3)] == [before] * 3
        assert await n.value("pid") == before


async def test_a_worker_killed_from_outside() -> None:
    async with node() as n:
        running = n.begin("hang")
        worker, child = await n.pids()
        os.kill(worker, signal.SIGKILL)
        finished = await running.end
        assert (finished.reason, finished.error) == (Reason.DIED, "worker died with signal 9 (SIGKILL)")
        await gone(child)
        idle = await n.number("pid")
        os.kill(idle, signal.SIGKILL)
        await gone(idle)
        assert (await n.run("add", 1)).reason in (None, Reason.DIED)
        assert await n.value("add", 1) == 2


async def test_a_hanging_worker_is_killed_with_its_children() -> None:
    async with node() as n:
        await n.value("nothing")
        running = n.begin("hang", timeout_s=1.0)
        worker, child = await n.pids()
        finished = await running.end
        assert finished.error == "no result within 1 s; the worker was killed"
        assert finished.reason is Reason.TIMEOUT
        assert 1.0 <= finished.seconds < 3.0
        await gone(worker, child)
        assert await n.value("add", 1) == 2


async def test_what_a_function_leaves_running_ends_with_its_worker() -> None:
    async with node() as n:
        worker, child = await n.number("pid"), await n.number("leaves_behind", False)
        assert lives(child)
        os.kill(worker, signal.SIGKILL)
        await gone(worker, child)


async def test_who_escapes_from_the_group_holds_up_nobody() -> None:
    async with node() as n:
        escaped = await n.number("leaves_behind", True)
        try:
            assert await n.failure("killed", reason=Reason.DIED) == "worker died with signal 9 (SIGKILL)"
            assert await n.value("add", 1) == 2
            await n.executor.close()
            assert lives(escaped)
        finally:
            os.kill(escaped, signal.SIGKILL)


async def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with node() as n:
        assert (await n.failure("add", 1, reason=Reason.DIED)).startswith("no worker could be started: ")


# --- stop and close --------------------------------------------------------------------------------------------------


async def test_stop_frees_the_slot_at_once_and_says_nothing() -> None:
    async with node() as n:
        running = n.begin("hang")
        worker, child = await n.pids()
        n.executor.stop(running.task, 0)
        running.stop()
        assert await n.value("add", 1) == 2
        await gone(worker, child)
        assert not running.end.done()
        running.stop()


async def test_stop_before_the_worker_has_begun() -> None:
    async with node() as n:
        stopped = []
        for turns in range(8):
            running = n.begin("hang")
            for _ in range(turns):
                await asyncio.sleep(0)
            running.stop()
            stopped.append(running)
        assert await n.value("add", 1) == 2
        assert not any(running.end.done() for running in stopped)


async def test_close_ends_busy_workers_and_says_nothing() -> None:
    async with node(slots=3) as n:
        await n.value("nothing")
        stopped = n.begin("hang")
        busy = n.begin("hang")
        await n.lines.get()
        await n.lines.get()
        starting = n.begin("hang")
        stopped.stop()
        await n.executor.close()
        assert not psutil.Process().children(recursive=True)
        assert not any(running.end.done() for running in (stopped, busy, starting))
        assert await n.failure("add", 1, reason=Reason.DIED) == "this node is shutting down"
        await n.executor.close()


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_close_while_workers_are_started(turns: int) -> None:
    async with node(slots=3) as n:
        warming = asyncio.create_task(n.executor.warm())
        for _ in range(turns):
            await asyncio.sleep(0)
        await n.executor.close()
        await warming
        assert not psutil.Process().children(recursive=True)


async def test_no_more_workers_stay_warm_than_there_are_slots() -> None:
    """A task that comes while the workers are started gets one of its own, which is one too many then."""
    async with node() as n:
        warming = asyncio.create_task(n.executor.warm())
        await asyncio.sleep(0)
        await n.number("pid")
        await warming
        second = await n.number("pid")
        while [child.pid for child in psutil.Process().children()] != [second]:  # the other one is ending
            await asyncio.sleep(0.01)
        assert lives(second)


async def test_more_attempts_than_slots_are_our_own_bug() -> None:
    async with node() as n:
        n.begin("nothing")
        with pytest.raises(ProtocolError):
            n.begin("nothing")


# --- the worker alone: its agent dies --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["compute", "hang"])
def test_a_busy_worker_ends_with_its_agent(function: str) -> None:
    with subprocess.Popen(
        worker_command([TESTS]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stderr is not None
        try:
            for part in channel.encode_request(Request("t", 1, f"worker_functions:{function}", True, b"")):
                worker.stdin.write(part)
            worker.stdin.flush()
            said = worker.stderr.readline().split()
            worker.stdin.close()
            assert worker.wait(5.0) == -signal.SIGKILL
            if function == "hang":
                asyncio.run(gone(int(said[1])))
        finally:
            worker.kill()
