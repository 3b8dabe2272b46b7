"""Real workers, and all that can happen to them. Every test ends with no process left."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from parley.agents.executors import channel
from parley.agents.executors.channel import ERROR_CHARS_MAX, Request
from parley.agents.executors.lines import DROPPED, LINE_BYTES_MAX, LINES_MAX
from parley.agents.executors.python import PythonExecutor, worker_command
from parley.agents.payload import pack, unpack
from parley.protocols.core import ProtocolError, Task
from parley.protocols.performatives import Finished, Reason

TESTS = Path(__file__).parent
PATIENCE_S = 15.0


class Node:
    """An executor, and what its workers print."""

    def __init__(self, executor: PythonExecutor, lines: asyncio.Queue[str]) -> None:
        self.executor = executor
        self.lines = lines
        self._count = 0

    def begin(
        self, function: str, arguments: object = (), timeout_s: float = PATIENCE_S
    ) -> tuple[str, asyncio.Future[Finished]]:
        self._count += 1
        task = Task(id=f"t{self._count}", kind=f"worker_functions:{function}", timeout_s=timeout_s)
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        self.executor.start(task, 1, pack(arguments), end.set_result)
        return task.id, end

    async def run(self, function: str, *arguments: object) -> Finished:
        _, end = self.begin(function, arguments)
        return await end

    async def value(self, function: str, *arguments: object) -> object:
        finished = await self.run(function, *arguments)
        assert finished.reason is None, finished.error
        return unpack(finished.value)

    async def failure(self, function: str, *arguments: object, reason: Reason = Reason.ERROR) -> str:
        finished = await self.run(function, *arguments)
        assert finished.reason is reason
        assert finished.value == b""
        return finished.error


@asynccontextmanager
async def node(
    *allow: str, slots: int = 1, code: Path = TESTS, speed: float = 1.0, fastest: float = 1.0
) -> AsyncIterator[Node]:
    lines: asyncio.Queue[str] = asyncio.Queue()
    executor = PythonExecutor(
        allow or ("worker_functions:*",),
        slots=slots,
        code=[code],
        speed=speed,
        fastest=fastest,
        on_line=lambda task, line: lines.put_nowait(line),
    )
    me = psutil.Process()
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


async def gone(pid: int) -> None:
    """Waits until the process has ended; it may be a zombie still, as whoever inherits orphans is in no hurry."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = await asyncio.to_thread(select.select, [process], [], [], PATIENCE_S)
        assert ended
    finally:
        os.close(process)


# --- what goes well --------------------------------------------------------------------------------------------------


async def test_lists_are_positional_and_dicts_are_named_arguments() -> None:
    async with node() as n:
        assert await n.value("add", 2, 3) == 5
        _, end = n.begin("add", {"a": 2, "b": 5})
        assert unpack((await end).value) == 7
        assert await n.value("nothing") is None


async def test_no_payload_means_no_arguments() -> None:
    async with node() as n:
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        n.executor.start(Task(id="bare", kind="worker_functions:nothing"), 0, b"", end.set_result)
        assert (await end).reason is None


async def test_workers_stay_warm_one_per_slot() -> None:
    async with node(slots=2) as n:
        ends = [n.begin("pid")[1] for _ in range(2)]
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
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        n.executor.start(Task(id="x", kind="no_such_module:f"), 0, b"", end.set_result)
        finished = await end
        assert "no_such_module cannot be imported on this node: ModuleNotFoundError" in finished.error
        assert finished.reason in (None, Reason.ERROR)


@pytest.mark.parametrize("payload", [pack(7), pack({1: 2}), b"\xc1"])
async def test_arguments_that_are_none(payload: bytes) -> None:
    async with node() as n:
        end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        n.executor.start(Task(id="x", kind="worker_functions:add"), 0, payload, end.set_result)
        finished = await end
        assert finished.error.startswith("the arguments of worker_functions:add")
        assert finished.reason in (None, Reason.ERROR)


# --- deaths: another attempt may succeed -----------------------------------------------------------------------------


async def test_a_worker_that_dies_is_replaced() -> None:
    async with node() as n:
        before = await n.value("pid")
        assert await n.failure("segfault", reason=Reason.DIED) == "worker died with signal 11 (SIGSEGV)"
        assert await n.failure("vanish", 3, reason=Reason.DIED) == "worker exited with code 3"
        assert await n.value("pid") != before


async def test_a_worker_killed_from_outside() -> None:
    async with node() as n:
        _, end = n.begin("hang")
        worker, child = map(int, (await n.lines.get()).split())
        os.kill(worker, signal.SIGKILL)
        finished = await end
        assert finished.error == "worker died with signal 9 (SIGKILL)"
        assert finished.reason in (Reason.DIED, Reason.TIMEOUT)
        await gone(child)
        idle = await n.value("pid")
        assert isinstance(idle, int)
        os.kill(idle, signal.SIGKILL)
        await gone(idle)
        finished = await n.run("add", 1)
        assert finished.reason is not Reason.ERROR
        assert await n.value("add", 1) == 2


async def test_a_hanging_worker_is_killed_with_its_children() -> None:
    async with node() as n:
        await n.value("nothing")
        _, end = n.begin("hang", timeout_s=1.0)
        worker, child = map(int, (await n.lines.get()).split())
        finished = await end
        assert finished.error == "no result within 1 s; the worker was killed"
        assert finished.reason in (Reason.DIED, Reason.TIMEOUT)
        assert 1.0 <= finished.seconds < 3.0
        await gone(worker)
        await gone(child)
        assert await n.value("add", 1) == 2


async def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with node() as n:
        assert (await n.failure("add", 1, reason=Reason.DIED)).startswith("no worker could be started: ")


# --- stop and close --------------------------------------------------------------------------------------------------


async def test_stop_frees_the_slot_at_once_and_says_nothing() -> None:
    async with node() as n:
        task, end = n.begin("hang")
        worker, child = map(int, (await n.lines.get()).split())
        n.executor.stop(task, 0)
        n.executor.stop(task, 1)
        assert await n.value("add", 1) == 2
        await gone(worker)
        await gone(child)
        assert not end.done()
        n.executor.stop(task, 1)


async def test_stop_before_the_worker_has_begun() -> None:
    async with node() as n:
        task, end = n.begin("hang")
        n.executor.stop(task, 1)
        task, second = n.begin("hang")
        await asyncio.sleep(0)
        n.executor.stop(task, 1)
        assert await n.value("add", 1) == 2
        assert not end.done()
        assert not second.done()


async def test_close_ends_busy_workers_and_says_nothing() -> None:
    async with node(slots=2) as n:
        await n.value("nothing")
        _, end = n.begin("hang")
        await n.lines.get()
        _, starting = n.begin("hang")
        await n.executor.close()
        assert not psutil.Process().children(recursive=True)
        assert not end.done()
        assert not starting.done()
        assert await n.failure("add", 1, reason=Reason.DIED) == "this node is shutting down"


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
