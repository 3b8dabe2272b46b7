"""The asyncio twin: futures of asyncio that are tasks, cancelled by whatever cancels them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from futures_functions import fails, hangs, power, square, total

from parley import AgentUnreachable, AsyncClient, AsyncFleet, AsyncFuture, Problem, TaskError, TaskRefused, Unplaced
from parley.protocols.core import State

WAIT_S = 20.0


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncFleet]:
    async with AsyncFleet(2, run=tmp_path_factory.mktemp("fleet") / "run") as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="module")
async def fleet(running: AsyncFleet) -> AsyncIterator[AsyncFleet]:
    """The one that all share; what a test leaves open is given up."""
    yield running
    left = list(running._errands._open)
    for future in left:
        future.cancel()
    while any(future.outcome is None for future in left):
        await asyncio.sleep(0.005)


async def hanging(fleet: AsyncClient, begun: Path) -> tuple[AsyncFuture[None], psutil.Process]:
    """A task that runs, and the process that it runs in."""
    future = fleet.submit(hangs, str(begun))
    while not begun.exists():
        await asyncio.sleep(0.005)
    return future, psutil.Process(int(begun.read_text()))


async def gone(process: psutil.Process) -> None:
    await asyncio.to_thread(process.wait, WAIT_S)


async def test_a_call_is_awaited(fleet: AsyncFleet) -> None:
    future = fleet.submit(power, 3, less=1)
    assert await future == 8
    assert future.node in ("n1", "n2")
    assert future.outcome is not None
    assert (future.outcome.state, future.outcome.task) == (State.DONE, future.task)
    assert await fleet.submit("echo", 1) == [1]
    assert await asyncio.gather(*(fleet.submit(square, x) for x in range(5))) == [0, 1, 4, 9, 16]


async def test_map_is_in_order(fleet: AsyncFleet) -> None:
    assert [value async for value in fleet.map(square, range(50))] == [x * x for x in range(50)]
    assert [value async for value in fleet.map(power, [1, 2, 3], [1, 2])] == [1, 4]


async def test_map_takes_no_more_than_it_is_asked_for(fleet: AsyncFleet) -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    values = fleet.map(square, endless(), buffersize=2)
    assert taken == [0, 1]
    assert [await anext(values), await anext(values)] == [0, 1]
    assert taken == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="1 or more"):
        fleet.map(square, [1], buffersize=0)


async def test_map_gives_up_what_nobody_takes(fleet: AsyncFleet, tmp_path: Path) -> None:
    _, process = await hanging(fleet, tmp_path / "first")
    values = fleet.map(hangs, [str(tmp_path / str(place)) for place in range(3)], timeout=0.3)
    with pytest.raises(TimeoutError):
        await anext(values)
    open_ = fleet._errands._open
    while len(open_) > 1:
        await asyncio.sleep(0.005)
    for future in list(open_):
        future.cancel()
    await gone(process)


async def test_map_ends_at_the_first_error(fleet: AsyncFleet) -> None:
    values = fleet.map(fails, ["one", "two"])
    with pytest.raises(ValueError, match="one"):
        await anext(values)
    with pytest.raises(StopAsyncIteration):
        await anext(values)


async def test_results_as_they_complete(fleet: AsyncFleet, tmp_path: Path) -> None:
    endless, _ = await hanging(fleet, tmp_path / "begun")
    futures = [fleet.submit(square, x) for x in range(5)]
    assert sorted([future.result() async for future in fleet.as_completed(futures)]) == [0, 1, 4, 9, 16]
    with pytest.raises(TimeoutError):
        [future async for future in fleet.as_completed([endless], timeout=0.01)]
    assert not endless.done(), "asking does not cancel"
    endless.cancel()
    everything: list[AsyncFuture[Any]] = [endless, *futures]
    assert {future async for future in fleet.as_completed(everything)} == set(everything)


async def test_what_times_out_is_cancelled_there(fleet: AsyncFleet, tmp_path: Path) -> None:
    future, process = await hanging(fleet, tmp_path / "begun")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(future, 0.01)
    assert future.cancelled()
    assert future.cancel() is False
    await gone(process)
    while future.outcome is None:
        await asyncio.sleep(0.005)
    assert future.outcome.state is State.CANCELLED


async def test_a_task_of_asyncio_that_is_cancelled_cancels_what_it_awaits(fleet: AsyncFleet, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        future, process = await hanging(fleet, tmp_path / "begun")

        async def wait() -> None:
            await future

        waiting = group.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
    assert future.cancelled()
    await gone(process)


async def test_cancelled_by_somebody_else(fleet: AsyncFleet, tmp_path: Path) -> None:
    future, process = await hanging(fleet, tmp_path / "begun")
    await fleet._errands.connection.cancel([future.task])
    with pytest.raises(asyncio.CancelledError):
        await future
    await gone(process)


async def test_what_goes_wrong(fleet: AsyncFleet) -> None:
    with pytest.raises(ValueError, match="no such colour") as error:
        await fleet.submit(fails, "no such colour")
    assert "raise ValueError(text)" in str(error.value.__cause__)
    with pytest.raises(Unplaced, match="lack capability gpu"):
        await fleet.with_options(need=["gpu"]).submit(square, 2)
    with pytest.raises(TaskRefused, match="a set cannot travel"):
        fleet.submit("echo", {1, 2})
    with pytest.raises(TaskRefused, match="priority is a whole number"):
        fleet.with_options(priority=5_000)
    parent = fleet.submit(fails, "no")
    with pytest.raises(TaskError, match="it comes after"):
        await fleet.with_options(after=[parent]).submit(square, 2)
    with pytest.raises(ValueError, match="no"):
        await parent


async def test_futures_stand_for_their_results_and_replicas_run_apart(fleet: AsyncFleet) -> None:
    assert await fleet.submit(total, [fleet.submit(square, x).later for x in range(4)]) == 14
    replicas = fleet.submit_replicas(2, square, 3)
    assert await asyncio.gather(*replicas) == [9, 9]
    assert {future.node for future in replicas} == {"n1", "n2"}
    assert sorted(line.node for line in await fleet.nodes()) == ["n1", "n2"]
    assert [line.state for line in await fleet.tasks(*replicas)] == [State.DONE] * 2


async def test_when_the_agent_dies_futures_fail_and_others_take_over(tmp_path: Path) -> None:
    async with AsyncFleet(2, run=tmp_path / "run") as fleet:
        first = fleet.address
        futures = [fleet.submit("sleep", seconds=600) for _ in range(4)]
        while (await fleet.tasks(futures[0]))[0].state is not State.RUNNING:
            await asyncio.sleep(0.005)
        fleet.kill("n1")
        ends = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), WAIT_S)
        assert [type(end) for end in ends] == [AgentUnreachable] * 4
        assert await asyncio.wait_for(fleet.submit("echo", 1), WAIT_S) == [1]
        assert fleet.address != first
        fleet.kill("n2")
        lost = fleet.submit("sleep", seconds=600)
        with pytest.raises(AgentUnreachable):
            await asyncio.wait_for(lost, WAIT_S)
        with pytest.raises(AgentUnreachable, match="no agent answers"):
            await asyncio.wait_for(fleet.submit("echo", 1), WAIT_S)
        with pytest.raises(Problem, match="there is no node n3"):
            fleet.kill("n3")


async def test_a_client_of_a_fleet_that_runs(fleet: AsyncFleet, tmp_path: Path) -> None:
    async with AsyncClient(fleet.address) as client:
        slow = client.submit("sleep", seconds=0.2)
    assert slow.done(), "leaving waits for what was submitted"
    with pytest.raises(RuntimeError, match="within `async with`"):
        client.submit(square, 2)
    with pytest.raises(RuntimeError, match="entered once"):
        async with client:
            pass
    with pytest.raises(RuntimeError, match="within `async with`"):
        AsyncClient(fleet.address).submit(square, 2)
    with pytest.raises(AgentUnreachable, match="no agent answers"):
        async with AsyncClient("tcp://127.0.0.1:9", timeout=0.2):
            pass
    client = await AsyncClient(fleet.address).__aenter__()
    square_later = client.submit(square, 2)
    await client.__aexit__(KeyError, KeyError(), None)
    assert square_later.result() == 4


async def test_one_that_is_cancelled_cancels_what_it_has(fleet: AsyncFleet, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    futures: list[AsyncFuture[None]] = []

    async def work() -> None:
        async with AsyncClient(fleet.address) as client:
            futures.append(client.submit(hangs, str(begun)))
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    while not begun.exists():
        await asyncio.sleep(0.005)
    process = psutil.Process(int(begun.read_text()))
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert futures[0].cancelled()
    assert futures[0].outcome is not None, "leaving waits until the work has stopped"
    await gone(process)


async def test_no_process_is_left(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    async with AsyncFleet(2, run=tmp_path):
        family = set(psutil.Process().children(recursive=True)) - before
    assert len(family) >= 2
    _, living = await asyncio.to_thread(psutil.wait_procs, list(family), WAIT_S)
    assert not living
