"""How commands are made to end: stopped, out of time, closed, without their guard, without their agent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from command_nodes import Node, RunningCommand, node
from running_attempts import PATIENCE_S, gone, lives

from parley.agents.executors import command
from parley.agents.executors.base import Attempt
from parley.agents.payload import pack
from parley.protocols.core import Task
from parley.protocols.performatives import OUTPUT_UNREAD_MAX, Reason

STUBBORN = (
    sys.executable,
    "-IS",
    "-c",
    "import os, signal, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = os.fork()\n"
    "if child: print(os.getpid(), child, flush=True)\n"
    "while True: signal.pause()",
)
"""Tells its number and its child's, and neither of them ends when asked to."""
FAMILY = ("sh", "-c", "sleep 1000 & sh -c 'sleep 1000 & echo $0 $PPID $$ $!; wait' $!; wait")
"""A child, itself, another child, a grandchild."""


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GRACE_S", 0.2)


@pytest.fixture
def short_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LAST_WORDS_S", 0.1)


async def begun(n: Node, *argv: str, timeout_s: float = PATIENCE_S) -> tuple[RunningCommand, list[int]]:
    """It has told who it is."""
    running = n.begin(*argv, timeout_s=timeout_s, follow=True)
    pids = await running.line()
    assert all(map(lives, pids))
    return running, pids


# --- stop ------------------------------------------------------------------------------------------------------------


async def test_stop_ends_the_whole_group_and_says_nothing() -> None:
    async with node() as n:
        running, pids = await begun(n, *FAMILY)
        assert len(pids) == 4
        running.stop()
        await gone(*pids)
        assert not running.end.done()
        running.stop()  # no error


@pytest.mark.usefixtures("short_grace")
async def test_stop_ends_those_that_ignore_it() -> None:
    async with node() as n:
        running, pids = await begun(n, *STUBBORN)
        running.stop()
        await gone(*pids)
        assert not running.end.done()


async def test_a_stopped_command_may_tidy_up(tmp_path: Path) -> None:
    program = f"trap 'sleep 0.1; echo tidy > {tmp_path}/note; exit' TERM; echo $$; while true; do sleep 0.01; done"
    async with node() as n:
        running, pids = await begun(n, "sh", "-c", program)
        running.stop()
        await gone(*pids)
        assert (tmp_path / "note").read_text() == "tidy\n"


async def test_stop_of_one_leaves_the_others_alone() -> None:
    async with node() as n:
        one, of_one = await begun(n, *FAMILY)
        other, of_other = await begun(n, *FAMILY)
        n.executor.stop(one.task, one.epoch + 1)
        n.executor.stop("unknown", 0)
        one.stop()
        await gone(*of_one)
        assert all(map(lives, of_other))
        other.stop()


async def test_stop_at_any_moment_of_the_start() -> None:
    """Before it has begun, while the guard starts, while the command does."""
    async with node() as n:
        stopped = []
        for turns in range(12):
            running = n.begin("sleep", "1000", stdin="x")
            for _ in range(turns):
                await asyncio.sleep(0)
            running.stop()
            stopped.append(running)
        guard = await n.guard()
        while guard.children():  # they end without the test having to do anything
            await n.run("true")
        assert not any(running.end.done() for running in stopped)


async def test_a_stopped_attempt_may_begin_again() -> None:
    async with node() as n:
        running, pids = await begun(n, *FAMILY)
        running.stop()
        again = RunningCommand(n.executor, running.task, running.epoch, True)
        task = Task(id=running.task, kind="command")
        n.executor.start(Attempt(task, running.epoch, pack({"argv": ["echo", "again"]})), again.tell)
        assert (await again.result()).out == "again\n"
        await gone(*pids)


async def test_stop_of_a_command_whose_output_is_not_read() -> None:
    async with node() as n:
        running = n.begin("sh", "-c", "echo $$; exec cat /dev/zero", follow=True, reads=False)
        [pid] = await running.line()
        await running.until(OUTPUT_UNREAD_MAX)
        running.stop()
        await gone(pid)
        assert running.size == OUTPUT_UNREAD_MAX


# --- what it leaves running ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_last_words")
async def test_what_a_command_leaves_running_ends_with_it() -> None:
    """Whether it holds the output open or not."""
    async with node() as n:
        for elsewhere in ("", "> /dev/null 2>&1"):
            result = await n.run("sh", "-c", f"sleep 1000 {elsewhere} & echo $!; exit 3")
            assert (result.exit, result.seconds < 1000.0) == (3, True)
            assert not psutil.pid_exists(int(result.out))


async def test_last_words_of_what_a_command_has_started_are_heard() -> None:
    async with node() as n:
        result = await n.run("sh", "-c", "(sleep 0.1; echo last words) & echo first")
        assert result.out == "first\nlast words\n"


@pytest.mark.usefixtures("short_last_words")
async def test_who_escapes_from_the_group_holds_up_nobody() -> None:
    async with node() as n:
        result = await n.run("sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.5")
        escaped = int(result.out)
        try:
            assert result.exit == 0
            assert lives(escaped)
        finally:
            os.kill(escaped, signal.SIGKILL)
        while psutil.pid_exists(escaped):  # the guard buries it
            await n.run("true")


# --- out of time -----------------------------------------------------------------------------------------------------


async def test_a_command_that_takes_too_long() -> None:
    async with node() as n:
        running = n.begin("sh", "-c", "echo $$; echo so far >&2; sleep 1000", timeout_s=0.5)
        result = await running.result()
        assert (result.reason, result.exit) == (Reason.TIMEOUT, 124)
        assert result.error == "sh did not end within 0.5 s and was killed"
        assert result.err == "so far\n"
        assert 0.5 <= result.seconds < command.GRACE_S
        await gone(int(result.out))


@pytest.mark.usefixtures("short_grace")
async def test_a_command_that_takes_too_long_and_does_not_care() -> None:
    async with node() as n:
        running, pids = await begun(n, *STUBBORN, timeout_s=0.5)
        result = await running.result()
        assert (result.reason, result.exit) == (Reason.TIMEOUT, 124)
        assert result.seconds >= 0.7
        await gone(*pids)


async def test_stop_while_it_is_being_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GRACE_S", PATIENCE_S)
    program = "trap 'echo asked' TERM; echo $$; while true; do sleep 0.01; done"
    async with node() as n:
        running, pids = await begun(n, "sh", "-c", program, timeout_s=1.0)
        await running.until(len(f"{pids[0]}\nasked\n"))
        monkeypatch.setattr(command, "GRACE_S", 0.1)
        running.stop()
        await gone(*pids)
        assert not running.end.done()


async def test_no_time_at_all() -> None:
    async with node() as n:
        for timeout_s in (1e-9, 0.001):
            assert (await n.run("sleep", "1000", timeout_s=timeout_s)).exit == 124
        assert (await n.run("true")).exit == 0


# --- close -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_grace")
async def test_close_ends_all_and_says_nothing() -> None:
    async with node() as n:
        polite, of_polite = await begun(n, *FAMILY)
        stubborn, of_stubborn = await begun(n, *STUBBORN)
        stopped, of_stopped = await begun(n, *STUBBORN)
        starting = n.begin("sleep", "1000")
        stopped.stop()
        await n.executor.close()
        assert not psutil.Process().children(recursive=True)
        assert not any(map(psutil.pid_exists, [*of_polite, *of_stubborn, *of_stopped])), "not even as zombies"
        assert not any(one.end.done() for one in (polite, stubborn, stopped, starting))
        finished = await n.ask(pack({"argv": ["true"]})).end
        assert (finished.reason, finished.error) == (Reason.DIED, "this node is shutting down")
        await n.executor.close()


async def test_close_lets_a_command_that_was_just_stopped_tidy_up(tmp_path: Path) -> None:
    program = f"trap 'echo tidy > {tmp_path}/note; exit' TERM; echo $$; while true; do sleep 0.01; done"
    async with node() as n:
        running, _ = await begun(n, "sh", "-c", program)
        running.stop()
        await n.executor.close()
        assert (tmp_path / "note").read_text() == "tidy\n"


async def test_close_of_what_has_run_nothing() -> None:
    async with node() as n:
        await n.executor.close()


# --- without the guard -----------------------------------------------------------------------------------------------


async def test_commands_end_with_their_guard_and_the_next_gets_another() -> None:
    async with node() as n:
        guard = await n.guard()
        family, pids = await begun(n, *FAMILY)
        stubborn, more = await begun(n, *STUBBORN)
        os.kill(guard.pid, signal.SIGKILL)
        for running in (family, stubborn):
            finished = await running.end
            assert finished.reason is Reason.DIED
            assert finished.error.startswith("the guard of this node's commands has died")
            assert "\n" not in finished.error
        await gone(*pids, *more)
        assert (await n.run("echo", "again")).out == "again\n"
        assert (await n.guard()).pid != guard.pid


async def test_a_guard_that_dies_with_its_hands_full() -> None:
    """Requests under way, replies unread, commands that end, commands that were just stopped."""
    async with node() as n:
        guard = await n.guard()
        stopped, pids = await begun(n, *FAMILY)
        lasting = ["sh", "-c", "while echo; do sleep 0.1; done"]  # without a reader it would end by itself
        ends = [n.begin(*argv, stdin="x").end for argv in [lasting, ["true"]] * 20]
        await asyncio.sleep(0)  # all are asked for
        stopped.stop()
        os.kill(guard.pid, signal.SIGKILL)
        for end in ends:
            assert (await end).reason in (None, Reason.DIED)
        await gone(*pids)
        assert (await n.run("true")).exit == 0


async def test_a_guard_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with node() as n:
        for program, sentence in (("/no/such/python", "cannot be started: "), ("/bin/false", "has died")):
            monkeypatch.setattr(sys, "executable", program)
            for finished in await asyncio.gather(*(n.ask(pack({"argv": ["true"]})).end for _ in range(3))):
                assert finished.reason is Reason.DIED
                assert finished.error.startswith(f"the guard of this node's commands {sentence}")
        monkeypatch.undo()
        assert (await n.run("true")).exit == 0


@pytest.mark.usefixtures("short_grace")
async def test_a_guard_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "END_S", 0.2)
    async with node() as n:
        guard = await n.guard()
        running, pids = await begun(n, *STUBBORN)
        guard.suspend()
        try:
            running.stop()
            await gone(*pids)
            assert (await n.run("true", timeout_s=0.2)).exit == 124
        finally:
            guard.resume()
        assert (await n.run("true")).exit == 0


# --- without the agent -----------------------------------------------------------------------------------------------

AGENT = f"""
import asyncio
from parley.agents.executors.base import Attempt
from parley.agents.executors.command import CommandExecutor
from parley.agents.payload import pack
from parley.protocols.core import Task

def show(output):
    print(output.data.decode(), end="", flush=True)

async def main():
    executor = CommandExecutor()
    for i, argv in enumerate(({FAMILY!r}, {STUBBORN!r})):
        task = Task(id=str(i), kind="command")
        executor.start(Attempt(task, 0, pack({{"argv": argv}}), follow=True), show)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_commands_end_with_their_agent(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", AGENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as agent:
        assert agent.stdout is not None
        try:
            pids = [int(pid) for _ in range(2) for pid in agent.stdout.readline().split()]
            assert len(pids) == 6
            assert all(map(lives, pids))
            [guard] = psutil.Process(agent.pid).children()
            guard.suspend()  # it comes to its work after its agent has gone, however slowly that goes
            try:
                os.kill(agent.pid, how)
                assert agent.wait(PATIENCE_S) != 0
            finally:
                guard.resume()
            await gone(guard.pid, *pids)
        finally:
            with suppress(ProcessLookupError):
                agent.kill()
