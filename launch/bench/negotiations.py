"""Negotiations per second, ours against bare sockets in the same exchange (`bare.py`), turn about in one run.

One negotiation is: a client's task to one agent, one call, N proposals, one award, one inform, the result back to the
client. Ours has validation, acknowledgement, leases and the log switched on; winners are drawn at random on both sides,
so that the award crosses the wire.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from ..client import Connection
from . import bare
from .fleets import READY_S, fleet_of

SECONDS = 2.0
WARM_S = 0.5
REPEATS = 5


class Line(msgspec.Struct, frozen=True):
    """Negotiations per second; `ratio` is the median of the paired ratios."""

    nodes: int
    in_flight: int
    ours_per_s: float
    bare_per_s: float
    ratio: float


async def measure(nodes: int, in_flight: int) -> Line:
    """Both sides, turn about."""
    pairs: list[tuple[float, float]] = []
    for _ in range(REPEATS):
        pairs.append((await _ours(nodes, in_flight), await _bare(nodes, in_flight)))
    return Line(
        nodes,
        in_flight,
        round(statistics.median(ours for ours, _ in pairs), 1),
        round(statistics.median(bare for _, bare in pairs), 1),
        round(statistics.median(ours / bare for ours, bare in pairs), 3),
    )


async def _ours(nodes: int, in_flight: int) -> float:
    async with fleet_of(nodes, rule="random") as (_, client):
        return await _busy(client, in_flight)


async def _busy(client: Connection, in_flight: int) -> float:
    """Keep so many tasks in flight, and count."""
    ended = 0
    running = True

    def submit() -> None:
        client.submit("echo", [], work=0.0).add_done_callback(again)

    def again(_: object) -> None:
        nonlocal ended
        ended += 1
        if running:
            submit()

    for _ in range(in_flight):
        submit()
    rate = await _rate(lambda: ended)
    running = False
    return rate


async def _bare(nodes: int, in_flight: int) -> float:
    async with bare_fleet(nodes) as router:
        client = bare.Client(router)
        await asyncio.wait_for(client.ready(), READY_S)
        client.begin(in_flight)
        rate = await _rate(lambda: client.ended)
        client.close()
        return rate


async def _rate(ended: Callable[[], int]) -> float:
    """How many end per second, once all is warm."""
    await asyncio.sleep(WARM_S)
    before, begun = ended(), time.perf_counter()
    await asyncio.sleep(SECONDS)
    return (ended() - before) / (time.perf_counter() - begun)


@asynccontextmanager
async def bare_fleet(nodes: int) -> AsyncIterator[str]:
    """So many processes of bare sockets; the address of the first."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        command = (sys.executable, "-P", "-m", "parley.launch.bench.bare", str(nodes), *arguments)
        pipe = asyncio.subprocess.PIPE
        processes.append(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))
        return processes[-1]

    try:
        initiator = await start()
        assert initiator.stdout is not None
        router, pub = (await initiator.stdout.readline()).decode().split()
        for number in range(2, nodes + 1):
            await start(str(number), router, pub)
        yield router
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            await process.wait()
