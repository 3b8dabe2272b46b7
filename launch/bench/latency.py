"""How long one no-op takes from submit to result, beside a bare request and its reply over the same kind of sockets.

    ours           submit, call, proposals, award, inform, result: the next is submitted when one has ended
    bare exchange  the same messages (`bare.py`), with nothing of Parley in them
    bare request   one message from DEALER to ROUTER, and one back

The floor is what the machine and ZeroMQ take for one message there and one back; the bare exchange is what as many
messages take as a negotiation needs. All three are measured in turn, so that a ratio holds within one run.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from ..client import Connection
from . import bare
from .fleets import READY_S, fleet_of
from .negotiations import bare_fleet

NODES = 4
SAMPLES = 1_000
WARM = 100
REPEATS = 5


class Times(msgspec.Struct, frozen=True):
    """Of one at a time: half of them, and 99 of 100, take no longer than this."""

    p50_ms: float
    p99_ms: float


class Line(msgspec.Struct, frozen=True):
    """Medians over the repeats; `ratio` is the median of the paired ratios of ours and a bare request, at p50."""

    ours: Times
    bare_request: Times
    bare_exchange: Times
    ratio: float


async def measure(samples: int = SAMPLES, repeats: int = REPEATS) -> Line:
    """Ours and bare sockets, turn about."""
    ours: list[Times] = []
    requests: list[Times] = []
    exchanges: list[Times] = []
    for _ in range(repeats):
        async with fleet_of(NODES) as (_, client):
            ours.append(await timed(partial(no_op, client), samples))
        async with bare_fleet(NODES) as router:
            other = bare.Client(router)
            await asyncio.wait_for(other.ready(), READY_S)
            requests.append(await timed(partial(other.end, 1, bare.REQUEST), samples))
            exchanges.append(await timed(partial(other.end, 1), samples))
            other.close()
    ratio = statistics.median(mine.p50_ms / floor.p50_ms for mine, floor in zip(ours, requests, strict=True))
    return Line(median(ours), median(requests), median(exchanges), round(ratio, 1))


async def no_op(client: Connection) -> None:
    await client.submit("echo", [])


async def timed(once: Callable[[], Awaitable[None]], samples: int) -> Times:
    """One after the other, once all is warm."""
    for _ in range(WARM):
        await once()
    seconds: list[float] = []
    for _ in range(samples):
        begun = time.perf_counter()
        await once()
        seconds.append(time.perf_counter() - begun)
    return times(seconds)


def times(seconds: list[float]) -> Times:
    """
    >>> times([number / 1000 for number in range(1, 201)])
    Times(p50_ms=100.0, p99_ms=198.0)
    """
    ordered = sorted(seconds)
    return Times(*(round(1e3 * ordered[max(len(ordered) * part // 100 - 1, 0)], 3) for part in (50, 99)))


def median(all_times: list[Times]) -> Times:
    return Times(
        round(statistics.median(one.p50_ms for one in all_times), 3),
        round(statistics.median(one.p99_ms for one in all_times), 3),
    )
