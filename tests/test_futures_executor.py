"""Clients and fleets as executors: Python's own tests of what an executor is, and what is different for tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, as_completed
from pathlib import Path
from typing import Any

import futures_functions
import psutil
import pytest
from futures_functions import OwnError, fails, fails_in_its_own_way, hangs, pair, power, square, total

from parley import AgentUnreachable, Client, Fleet, Future, Problem, RemoteError, TaskError, TaskRefused, Unplaced
from parley.launch.futures import errands
from parley.launch.problems import Exit
from parley.protocols.core import State

WAIT_S = 20.0
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(2, run=tmp_path_factory.mktemp("run"), flags_of={"n2": ["--slots=2"]})
    yield fleet
    fleet.shutdown(cancel_futures=True)


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    client = Client(fleet.address)
    yield client
    client.shutdown(cancel_futures=True)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.005)


def counted(taken: list[int]) -> Iterator[int]:
    """All numbers, and which of them were taken."""
    for number in itertools.count():
        taken.append(number)
        yield number


def hanging(client: Client, folder: Path) -> tuple[Future[None], psutil.Process]:
    """A task that runs, and the process that it runs in."""
    begun = folder / "begun"
    future = client.submit(hangs, str(begun))
    until(begun.exists)
    return future, psutil.Process(int(begun.read_text()))


# -- what any executor does


def test_a_call_has_a_value(client: Client) -> None:
    future = client.submit(power, 3, less=1)
    assert future.result(WAIT_S) == 8
    assert future.done()
    assert future.exception() is None
    assert future.node in ("n1", "n2")
    assert future.outcome is not None
    assert (future.outcome.state, future.outcome.task, future.outcome.attempts) == (State.DONE, future.task, 1)


def test_a_task_of_a_kind_has_a_value(client: Client) -> None:
    assert client.submit("echo", 1, "two").result(WAIT_S) == [1, "two"]
    assert client.submit("sleep", seconds=0).result(WAIT_S) is None
    assert client.submit("command", argv=["echo", "hello"]).result(WAIT_S)["out"] == "hello\n"


def test_a_tuple_comes_back_as_a_list(client: Client) -> None:
    value: object = client.submit(pair).result(WAIT_S)
    assert value == [1, 2]


def test_map_is_in_order(client: Client) -> None:
    assert list(client.map(square, range(100))) == [x * x for x in range(100)]
    assert list(client.map(power, [1, 2, 3], [1, 2])) == [1, 4]
    assert list(client.map("echo", [1, 2])) == [[1], [2]]
    assert list(client.map(square, [])) == []


def test_map_ends_at_the_first_error(client: Client) -> None:
    values = client.map(fails, ["one", "two"])
    with pytest.raises(ValueError, match="one"):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def test_map_takes_no_more_than_it_is_asked_for(client: Client) -> None:
    taken: list[int] = []
    values = client.map(square, counted(taken), buffersize=3)
    assert taken == [0, 1, 2]
    assert [next(values), next(values)] == [0, 1]
    assert taken == [0, 1, 2, 3, 4]


def test_map_gives_up_what_nobody_takes(client: Client, tmp_path: Path) -> None:
    values = client.map(hangs, [str(tmp_path / str(place)) for place in range(3)], timeout=0.3)
    until(lambda: (tmp_path / "0").exists())
    hanging = psutil.Process(int((tmp_path / "0").read_text()))
    with pytest.raises(TimeoutError):
        next(values)
    hanging.wait(WAIT_S)


def test_map_refuses_sizes_below_one(client: Client) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        client.map(square, [1], chunksize=0)
    with pytest.raises(ValueError, match="1 or more"):
        client.map(square, [1], buffersize=0)


def test_wait_and_as_completed(client: Client, tmp_path: Path) -> None:
    endless, _ = hanging(client, tmp_path)
    quick = [client.submit(square, x) for x in range(5)]
    both: list[Future[Any]] = [endless, *quick]
    done, open_ = concurrent.futures.wait(both, WAIT_S, FIRST_COMPLETED)
    assert done
    assert endless in open_
    assert sorted(future.result() for future in as_completed(quick, WAIT_S)) == [0, 1, 4, 9, 16]
    endless.cancel()
    ended = concurrent.futures.wait([endless], WAIT_S)
    assert (ended.done, ended.not_done) == ({endless}, set()), "who waits is told of a cancellation too"


def test_a_callback_may_submit_and_must_not_wait(client: Client) -> None:
    seen: list[object] = []
    told = threading.Event()

    def follow(future: concurrent.futures.Future[int]) -> None:
        second = client.submit(square, future.result())
        for wait in (second.result, client.nodes, client.shutdown):
            try:
                wait()
            except RuntimeError as error:
                seen.append(str(error))
        second.add_done_callback(end)

    def end(future: concurrent.futures.Future[int]) -> None:
        seen.append(future.result())
        told.set()

    client.submit(square, 3).add_done_callback(follow)
    assert told.wait(WAIT_S)
    assert seen[-1] == 81
    assert len(seen) == 4
    assert all("submit what follows, or wait outside" in str(sentence) for sentence in seen[:3])


def test_many_threads_share_a_client(client: Client) -> None:
    values: list[list[int]] = []
    threads = [threading.Thread(target=lambda: values.append(list(client.map(square, range(50))))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert values == [[x * x for x in range(50)]] * 8


async def test_asyncio_takes_it_for_an_executor(client: Client) -> None:
    loop = asyncio.get_running_loop()
    assert await asyncio.wait_for(loop.run_in_executor(client, square, 5), WAIT_S) == 25
    assert await asyncio.wait_for(asyncio.wrap_future(client.submit(square, 6)), WAIT_S) == 36


# -- what goes wrong


def test_an_exception_comes_back_with_its_traceback(client: Client) -> None:
    future = client.submit(fails, "no such colour")
    with pytest.raises(ValueError, match="no such colour") as error:
        future.result(WAIT_S)
    text = "".join(traceback.format_exception(error.value))
    assert f"task {future.task}" in text
    assert "raise ValueError(text)" in text, "the line that failed, there"
    assert future.exception() is error.value


def test_an_exception_of_ones_own_is_a_remote_error(client: Client) -> None:
    with pytest.raises(RemoteError, match="OwnError: mine") as error:
        client.submit(fails_in_its_own_way).result(WAIT_S)
    assert error.value.type == OwnError.__name__


def test_a_task_has_its_time(client: Client, tmp_path: Path) -> None:
    quick = client.with_options(timeout_s=0.2, attempts=1)
    future = quick.submit(hangs, str(tmp_path / "begun"))
    with pytest.raises(TimeoutError):
        future.result(0.0)  # not yet
    with pytest.raises(TaskError, match=r"no result within 0\.2 s") as error:
        future.result(WAIT_S)
    assert error.value.task == future.task


def test_what_nobody_can_run_says_so(client: Client) -> None:
    with pytest.raises(Unplaced, match=r"0/2 nodes can run this: 2 lack capability gpu") as error:
        client.with_options(need=["gpu"]).submit(square, 2).result(WAIT_S)
    assert error.value.code is Exit.UNPLACED


def test_what_cannot_travel_is_refused_at_once(client: Client) -> None:
    with pytest.raises(TaskRefused, match="a set cannot travel"):
        client.submit("echo", {1, 2})
    with pytest.raises(TaskRefused, match="cannot be imported by name"):
        client.submit(lambda: 0)
    with pytest.raises(TaskRefused, match="priority is a whole number"):
        client.with_options(priority=5_000)


def test_views_keep_their_client_and_add_up(fleet: Fleet) -> None:
    client = Client(fleet.address)
    view = client.with_options(attempts=2).with_options(label="add")
    assert view._options == {"attempts": 2, "label": "add"}
    assert client._options == {}
    del client
    gc.collect()
    assert view.submit(square, 3).result(WAIT_S) == 9
    view.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        view.submit(square, 3)
    with pytest.raises(RuntimeError, match="shut down"):
        view.nodes()


# -- cancel


def test_what_runs_is_cancelled(client: Client, tmp_path: Path) -> None:
    future, process = hanging(client, tmp_path)
    assert future.cancel()
    assert future.cancelled()
    assert future.cancel(), "it is cancelled still"
    with pytest.raises(CancelledError):
        future.result()
    process.wait(WAIT_S)
    until(lambda: future.outcome is not None)
    assert future.outcome is not None
    assert future.outcome.state is State.CANCELLED


def test_what_waits_is_cancelled(fleet: Fleet, tmp_path: Path) -> None:
    with Client(fleet.address) as client:
        futures = [client.submit(hangs, str(tmp_path / str(place))) for place in range(50)]
        assert all(future.cancel() for future in futures)
    assert {future.outcome.state for future in futures if future.outcome} == {State.CANCELLED}
    assert all(future.outcome for future in futures), "leaving waits until the work has stopped"


def test_what_is_done_is_not_cancelled(client: Client) -> None:
    future = client.submit(square, 2)
    assert future.result(WAIT_S) == 4
    assert not future.cancel()
    assert not future.cancelled()


def test_cancelled_by_somebody_else(client: Client, fleet: Fleet, tmp_path: Path) -> None:
    future, process = hanging(client, tmp_path)
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    fleet._errands.ask(lambda connection: connection.cancel([future.task]))
    assert ended.wait(WAIT_S)
    assert future.cancelled()
    process.wait(WAIT_S)


def test_many_threads_cancel_the_same(client: Client, tmp_path: Path) -> None:
    future, _ = hanging(client, tmp_path)
    told: list[object] = []
    future.add_done_callback(told.append)
    threads = [threading.Thread(target=future.cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert told == [future]


def test_a_future_of_asyncio_cancels_the_work(client: Client, tmp_path: Path) -> None:
    async def give_up() -> psutil.Process:
        begun = tmp_path / "begun"
        future = asyncio.wrap_future(client.submit(hangs, str(begun)))
        while not begun.exists():
            await asyncio.sleep(0.005)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        return psutil.Process(int(begun.read_text()))

    try:
        asyncio.run(give_up()).wait(WAIT_S)
    except psutil.NoSuchProcess:
        return


# -- tasks after tasks, replicas, tasks of tasks


def test_a_future_stands_for_its_result(client: Client) -> None:
    parts = [client.submit(square, x) for x in range(4)]
    more = client.submit(square, 10)
    assert client.submit(total, [part.later for part in parts], more=more.later).result(WAIT_S) == 114


def test_what_comes_after_a_failure_fails(client: Client) -> None:
    parent = client.submit(fails, "no")
    child = client.with_options(after=[parent]).submit(square, 2)
    with pytest.raises(TaskError, match=f"it comes after {parent.task}, which is failed: ValueError: no"):
        child.result(WAIT_S)


def test_replicas_run_on_different_nodes(client: Client) -> None:
    futures = client.submit_replicas(2, square, 3)
    assert [future.result(WAIT_S) for future in futures] == [9, 9]
    assert {future.node for future in futures} == {"n1", "n2"}
    assert [future.task[12:] for future in futures] == ["/1", "/2"]


def test_a_task_has_others_do_its_work(fleet: Fleet) -> None:
    """The worker is a client of its own agent; n2's second slot is free meanwhile."""
    future = fleet.submit(futures_functions.squares_of_others, 10)
    assert future.result(WAIT_S) == sum(x * x for x in range(10))
    assert fleet.submit(futures_functions.whose_agent).result(WAIT_S) in {line.address for line in fleet.nodes()}


def test_where_things_stand(client: Client, fleet: Fleet, tmp_path: Path) -> None:
    future, _ = hanging(client, tmp_path)
    [line] = client.tasks(future)
    assert (line.task, line.node in ("n1", "n2")) == (future.task, True)
    assert line.state in (State.AWARDED, State.RUNNING), "its node tells soon that it runs"
    assert future.task in {line.task for line in client.tasks()}
    assert sorted(line.node for line in client.nodes()) == ["n1", "n2"]
    assert client.address == fleet.address
    future.cancel()


# -- shutting down


def test_shutdown_waits_for_all_or_gives_it_up(fleet: Fleet, tmp_path: Path) -> None:
    client = Client(fleet.address)
    future = client.submit("sleep", seconds=0.2)
    client.shutdown()
    assert future.done()
    client.shutdown()  # a second time
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.submit(square, 2)
    client = Client(fleet.address)
    future, process = hanging(client, tmp_path)
    client.shutdown(cancel_futures=True)
    assert future.cancelled()
    process.wait(WAIT_S)


def test_shutdown_need_not_wait(fleet: Fleet) -> None:
    client = Client(fleet.address)
    future = client.submit("sleep", seconds=0.2)
    client.shutdown(wait=False)
    assert not future.done()
    assert future.result(WAIT_S) is None


def test_leaving_by_an_error_waits_and_by_an_interrupt_cancels(fleet: Fleet, tmp_path: Path) -> None:
    client = Client(fleet.address)
    future = client.submit(square, 3)
    client.__exit__(KeyError, KeyError(), None)
    assert future.result(0) == 9
    client = Client(fleet.address)
    endless, process = hanging(client, tmp_path)
    client.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert endless.cancelled()
    process.wait(WAIT_S)


def test_a_client_that_is_forgotten_still_ends_what_it_has(fleet: Fleet) -> None:
    future = Client(fleet.address).submit("sleep", seconds=0.2)
    gc.collect()
    assert future.result(WAIT_S) is None


def test_threads_that_submit_too_much_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "UNTAKEN_MAX", 2)
    most = 0

    def numbers() -> Iterator[int]:
        nonlocal most
        for number in range(200):
            most = max(most, client._errands._untaken)
            yield number

    assert list(client.map(square, numbers())) == [x * x for x in range(200)]
    assert 0 < most <= 2


# -- agents and processes that go


def test_nobody_there() -> None:
    with pytest.raises(AgentUnreachable, match=r"no agent answers at tcp://127\.0\.0\.1:9"):
        Client("tcp://127.0.0.1:9", timeout=0.2)


def test_when_the_agent_dies_futures_fail_and_others_take_over(tmp_path: Path) -> None:
    with Fleet(["a", "b"], run=tmp_path) as fleet:
        first = fleet.address
        futures = [fleet.submit("sleep", seconds=600) for _ in range(4)]
        until(lambda: fleet.tasks(futures[0])[0].state is State.RUNNING)
        fleet.kill("a")
        for future in futures:
            with pytest.raises(AgentUnreachable):
                future.result(WAIT_S)
        assert fleet.alive == ["b"]
        assert fleet.submit("echo", 1).result(WAIT_S) == [1]
        assert fleet.address != first
        fleet.kill("a")  # it is dead already
        with pytest.raises(Problem, match="there is no node c in this fleet: the nodes are a, b"):
            fleet.kill("c")


def test_a_killed_nodes_work_is_done_by_the_others(tmp_path: Path) -> None:
    with Fleet(3, run=tmp_path) as fleet:
        futures = [fleet.submit("sleep", seconds=0.2) for _ in range(9)]
        concurrent.futures.wait(futures, WAIT_S, FIRST_COMPLETED)
        fleet.kill("n3")
        assert [future.result(WAIT_S) for future in futures] == [None] * 9


def test_a_fleet_that_cannot_start_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Problem, match="one speed per node"):
        Fleet(2, speeds=[1], run=tmp_path)
    with pytest.raises(Problem, match="a fleet has no option speed: the options are speeds, slots, allow"):
        Fleet(2, speed=[1])  # type: ignore[call-arg]
    with pytest.raises(Problem, match="n1 did not start"):
        Fleet(2, run=tmp_path, flags=["--no-such-flag"])
    assert "no-such-flag" in capfd.readouterr().err


def program(text: str, folder: Path) -> subprocess.Popen[str]:
    """A script of a person's own, in a process of its own."""
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


FLEET = """
    import os, sys, time
    import psutil
    from parley import Fleet
    from futures_functions import hangs, square, appears

    fleet = Fleet(2)
    print(*(process.pid for process in psutil.Process().children(recursive=True)), flush=True)
"""


def family_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) >= 4, "two agents, two workers"
    living: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # the program goes on meanwhile, and may have ended them
            living.append(psutil.Process(pid))
    return living


def all_end(process: subprocess.Popen[str], family: list[psutil.Process]) -> tuple[str, str]:
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:  # `communicate` would forget what was read ahead with the first line
        out, err = process.stdout.read(), process.stderr.read()
    process.wait(WAIT_S)
    _, living = psutil.wait_procs(family, WAIT_S)
    assert not living
    return out, err


ENDS = {
    "left alone": ("print(fleet.submit(square, 7).result())", 0, "49\n", ""),
    "left by an error": ("raise SystemExit('over')", 1, "", "over\n"),
    "forgotten": (
        """
    import gc
    future = fleet.submit(square, 7)
    del fleet
    gc.collect()
    print(future.result())
    until = time.monotonic() + 20
    while psutil.Process().children():
        assert time.monotonic() < until
        time.sleep(0.01)
    """,
        0,
        "49\n",
        "",
    ),
    "with work under way": ("fleet.submit(hangs, 'begun')", 0, "", ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_fleet_ends_with_its_program(end: str, tmp_path: Path) -> None:
    text, code, printed, complained = ENDS[end]
    process = program(FLEET + textwrap.indent(textwrap.dedent(text), "    "), tmp_path)
    family = family_of(process)
    out, err = all_end(process, family)
    assert (process.returncode, out, err) == (code, printed, complained)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_fleet_ends_when_its_program_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group of processes, as from a terminal; kill -9 to the program alone."""
    text = """
    with fleet:
        fleet.submit(hangs, "begun").result()
    """
    process = program(FLEET + text, tmp_path)
    family = family_of(process)
    until((tmp_path / "begun").exists)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, err = all_end(process, family)
    assert process.returncode == -number
    assert number == signal.SIGKILL or err.rstrip().endswith("KeyboardInterrupt")


def test_a_program_that_ends_has_handed_in_what_it_submitted(fleet: Fleet, tmp_path: Path) -> None:
    text = f"""
    from parley import Client
    from futures_functions import appears
    client = Client({fleet.address!r})
    client.submit(appears, {str(tmp_path / "done")!r})
    """
    process = program(text, tmp_path)
    assert all_end(process, []) == ("", "")
    until((tmp_path / "done").exists)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_the_child_makes_its_own(fleet: Fleet, tmp_path: Path) -> None:
    text = f"""
    import os, sys, warnings
    from parley import Client
    from futures_functions import square
    client = Client({fleet.address!r})
    future = client.submit("sleep", seconds=600)
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any fork beside threads
    child = os.fork()
    if not child:
        told = []
        for use in (future.result, future.cancel, client.nodes, lambda: client.submit(square, 2)):
            try:
                use()
            except RuntimeError as error:
                told.append(str(error))
        client.shutdown()  # is the parent's business
        with Client({fleet.address!r}) as own:
            print(len(told), set(told), own.submit(square, 5).result(), flush=True)
        sys.exit()
    os.waitpid(child, 0)
    future.cancel()
    print(client.submit(square, 6).result())
    """
    out, err = all_end(program(text, tmp_path), [])
    assert err == ""
    assert out.splitlines() == [
        "4 {'this was made before a fork and belongs to the parent process: make a new Client in the child'} 25",
        "36",
    ]
