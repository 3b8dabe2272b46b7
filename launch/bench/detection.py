"""How soon real agents notice a death, how seldom they are wrong, and how soon they agree again after a cut.

    python -m parley.launch.bench.detection                          kill -9, at 8 and 16 agents
    python -m parley.launch.bench.detection --hogs 2 --seconds 600   nobody dies: every death is a false one
    python -m parley.launch.bench.detection --cut 10                 two halves for 10 s, then one fleet

All figures are read from the agents' logs (`watched.py`). A cut is one of the network where this machine can have two
(`halves.py`); elsewhere half of the agents are stopped instead, which is said, and is less: they do not see the others
go.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from ...protocols.swim_words import Presence
from .halves import Halves, halves, why_not
from .watched import Watched

NOTICED_S, AGREED_S, BACK_S = 30.0, 60.0, 60.0
QUIET_S = 2.0
"""Between two kills: the fleet has nothing to tell any more."""


class Noticed(NamedTuple):
    """Seconds after a kill -9: suspected by one, dead to one, dead to all."""

    suspected_s: float
    first_s: float
    all_s: float


class Calm(NamedTuple):
    """What was thought of agents of whom none died."""

    seconds: float
    suspicions: int
    deaths: int


class Agreed(NamedTuple):
    """`deaths`: how many of the views of the other half were lost; `agreed_s` after healing all were back."""

    network: str
    deaths: int
    views: int
    agreed_s: float


async def kills(nodes: int, times: int, seed: int = 0) -> list[Noticed]:
    """Kill one after the other, each of which comes back before the next."""
    found = []
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        fleet = await Watched.start(nodes, Path(folder))
        try:
            for _ in range(times):
                await asyncio.sleep(QUIET_S * draw.uniform(1.0, 1.5))
                found.append(await _kill(fleet, draw.choice(fleet.living[1:])))
        finally:
            await fleet.stop()
    return found


async def _kill(fleet: Watched, victim: str) -> Noticed:
    fleet.look()
    before = len(fleet.changes)
    at = fleet.kill(victim)
    others = len(fleet.living) - 1 if victim in fleet.living else len(fleet.living)

    def dead() -> list[float]:
        thought = [view for view in fleet.changes[before:] if view.peer == victim and view.state is Presence.DEAD]
        return [min(view.since for view in thought if view.node == node) for node in {view.node for view in thought}]

    await fleet.until(lambda: len(dead()) == others, NOTICED_S)
    doubts = [view for view in fleet.changes[before:] if view.peer == victim and view.state is Presence.SUSPECT]
    noticed = Noticed(min(view.since for view in doubts) - at, min(dead()) - at, max(dead()) - at)
    await fleet.add(victim)
    await fleet.until(fleet.whole, BACK_S)
    return noticed


async def calm(nodes: int, hogs: int, seconds: float) -> Calm:
    """Leave them alone, with so many processes beside them that want a whole core each."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = await Watched.start(nodes, Path(folder))
        try:
            fleet.look()
            before, began = len(fleet.changes), time.monotonic()
            with _hogs(hogs):
                while time.monotonic() < began + seconds:
                    await asyncio.sleep(1.0)
                    fleet.look()
            states = [view.state for view in fleet.changes[before:]]
        finally:
            await fleet.stop()
    return Calm(seconds, states.count(Presence.SUSPECT), states.count(Presence.DEAD))


@contextmanager
def _hogs(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def cut(nodes: int, seconds: float) -> Agreed:
    """Part the fleet for so long, and see how long the halves take to become one again."""
    reason = why_not()
    with tempfile.TemporaryDirectory() as folder:
        if reason:
            return await _cut(await Watched.start(nodes, Path(folder)), seconds, None, f"stopped, not cut: {reason}")
        with halves() as two:

            def within(name: str) -> tuple[Sequence[str], str]:
                side = _side(name)
                return two.within(side), f"tcp://{two.address(side)}:0"

            fleet = await Watched.start(nodes, Path(folder), within=within)
            return await _cut(fleet, seconds, two, "the network cut in two")


def _side(name: str) -> int:
    return int(name[1:]) % 2


async def _cut(fleet: Watched, seconds: float, two: Halves | None, network: str) -> Agreed:
    right = [name for name in fleet.living if _side(name)]
    try:
        await asyncio.sleep(QUIET_S)
        fleet.look()
        before = len(fleet.changes)
        if two is not None:
            two.pull()
        else:
            fleet.signal(right, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if two is not None:
            two.plug()
            healed = time.monotonic()
        else:
            healed = fleet.signal(right, signal.SIGCONT)
        fleet.look()
        lost = {view[:2] for view in fleet.changes[before:] if view.state is Presence.DEAD}
        await asyncio.sleep(QUIET_S)
        await fleet.until(fleet.whole, AGREED_S)
        await asyncio.sleep(QUIET_S)  # it stays so
        await fleet.until(fleet.whole, AGREED_S)
        agreed_s = max((view.since for view in fleet.changes[before:]), default=healed) - healed
        views = len(right) * (len(fleet.living) - len(right)) * (2 if two is not None else 1)
        return Agreed(network, len(lost), views, agreed_s)
    finally:
        await fleet.stop()


@click.command()
@click.option("--nodes", type=click.IntRange(3, 64), multiple=True, help="How many agents; may be repeated. [8, 16]")
@click.option("--kills", "times", type=click.IntRange(1), default=7, show_default=True, help="How many are killed.")
@click.option("--hogs", type=click.IntRange(0), help="Kill nobody; so many processes beside them want a whole core.")
@click.option("--seconds", type=float, default=600.0, show_default=True, help="How long, with --hogs.")
@click.option("--cut", "cut_s", type=float, help="Kill nobody; part them for so many seconds.")
def detection(nodes: tuple[int, ...], times: int, hogs: int | None, seconds: float, cut_s: float | None) -> None:
    """Measure what a fleet knows of itself, on this machine, from real processes."""
    for count in nodes or (8, 16):
        if hogs is not None:
            found = asyncio.run(calm(count, hogs, seconds))
            click.echo(
                f"{count:>2} agents, {hogs} hogs, {found.seconds:g} s: "
                f"{found.deaths} false deaths, {found.suspicions} suspicions, all refuted"
                if not found.deaths
                else f"{count:>2} agents, {hogs} hogs, {found.seconds:g} s: {found.deaths} FALSE DEATHS"
            )
        elif cut_s is not None:
            agreed = asyncio.run(cut(count, cut_s))
            click.echo(
                f"{count:>2} agents, {agreed.network} for {cut_s:g} s: {agreed.deaths} of {agreed.views} views lost, "
                f"all back {agreed.agreed_s:.2f} s after it healed"
            )
        else:
            _print_kills(count, asyncio.run(kills(count, times)))


def _print_kills(nodes: int, found: Sequence[Noticed]) -> None:
    click.echo(f"{nodes:>2} agents, {len(found)} killed      median     worst")
    for word, place in (("suspected by one", 0), ("dead to one", 1), ("dead to all", 2)):
        times = [noticed[place] for noticed in found]
        click.echo(f"  {word:<20}{statistics.median(times):>8.3f} s{max(times):>8.3f} s")


if __name__ == "__main__":
    detection(prog_name="python -m parley.launch.bench.detection")
