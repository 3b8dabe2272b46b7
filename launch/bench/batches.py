"""A batch on unrelated nodes, real agents in processes of their own: by the contract net, and by prices and trade.

    python -m parley.launch.bench.batches [--nodes 4] [--tasks 96] [--seconds 16] [--seeds 2] [--json]

A task takes its own time on every node: a nominal time, and a factor for each node, uniform in 1 to 8 (the inconsistent
matrices of Braun et al. 2001, with less of a range). Both fleets get the same tasks, are told the same times, and do
sleep for so long; what is told is the makespan, from the first start to the last end, over the dual bound.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import numpy as np

from ...protocols.core import Dividing, State
from ..analysis.summary import Summary, summarise
from ..client import Connection
from ..fleet import LocalFleet
from ..submission import Submission
from .fleets import PLAIN, READY_S
from .instances import Instance
from .sessions import play
from .unrelated import KIND

NODES_MAX = 16
"""So many facts may be told of a task."""
FACTOR_MAX = 8.0


class Line(msgspec.Struct, frozen=True):
    """One seed; ratios are makespans over `bound_s`, and `certificate` is what the agents have logged of the batch."""

    seed: int
    nodes: int
    tasks: int
    bound_s: float
    contract_net: float
    prices: float
    certificate: float | None
    rounds: int | None
    trades: int


def matrix(nodes: int, tasks: int, seed: int, seconds: float) -> list[list[float]]:
    """Seconds by node and task, so that the best division takes about so many seconds."""
    rng = random.Random(f"{seed} {nodes} {tasks}")
    works = [rng.uniform(0.5, 1.5) for _ in range(tasks)]
    costs = [[work * rng.uniform(1.0, FACTOR_MAX) for work in works] for _ in range(nodes)]
    least = sum(min(column) for column in zip(*costs, strict=True)) / nodes
    return [[cost * seconds / least for cost in row] for row in costs]


async def run(costs: Sequence[Sequence[float]], protocol: Dividing, flags: Sequence[str] = PLAIN) -> Summary:
    """How a fleet of real agents has done the batch."""
    with tempfile.TemporaryDirectory() as folder:
        await run_in(Path(folder), costs, protocol, flags)
        return summarise(Path(folder))


async def run_in(folder: Path, costs: Sequence[Sequence[float]], protocol: Dividing, flags: Sequence[str]) -> None:
    """The same, with its logs left in a folder."""
    names = [f"n{row + 1}" for row in range(len(costs))]
    own = {name: [f"--executor={__package__}.unrelated:{name}"] for name in names}
    tasks = range(len(costs[0]))
    told = [*flags, f"--protocol={protocol}"]
    async with (
        await LocalFleet.start(names, run=folder, flags=told, flags_of=own) as fleet,
        await Connection.connect([fleet.address]) as client,
    ):
        await client.ready(len(names), READY_S)
        about = [{name: costs[row][task] for row, name in enumerate(names)} for task in tasks]
        works = [statistics.fmean(each.values()) for each in about]
        handed = [Submission(KIND, {}, work=works[task], about=about[task]).submits()[0] for task in tasks]
        ended = await asyncio.gather(*(client.hand_in(submit).outcome for submit in handed))
        assert {outcome.state for outcome in ended} == {State.DONE}


async def measure(nodes: int, tasks: int, seconds: float, seed: int) -> Line:
    """Both, one after the other."""
    costs = matrix(nodes, tasks, seed, seconds)
    instance = Instance(f"unrelated-{nodes}x{tasks}", np.asarray(costs), None, None, 1, None)
    bound = play(instance, "prices", "rounds", 0).division.bound
    calls = await run(costs, Dividing.CALLS)
    prices = await run(costs, Dividing.AUTO)
    batch = prices.batches[0] if prices.batches else None
    return Line(
        seed,
        nodes,
        tasks,
        round(bound, 3),
        round(calls.makespan_s / bound, 3),
        round(prices.makespan_s / bound, 3),
        None if batch is None or batch.certificate is None else round(batch.certificate, 4),
        None if batch is None else batch.rounds,
        len(prices.batches),
    )


@click.command()
@click.option("--nodes", type=click.IntRange(2, NODES_MAX), default=4, show_default=True)
@click.option("--tasks", type=click.IntRange(2, 4096), default=96, show_default=True)
@click.option("--seconds", type=float, default=16.0, show_default=True, help="About so long a batch takes.")
@click.option("--seeds", type=click.IntRange(1, 100), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def bench(nodes: int, tasks: int, seconds: float, seeds: int, as_json: bool) -> None:
    """A batch on unrelated nodes: the contract net beside prices and trade, makespan over bound."""
    lines = []
    for seed in range(seeds):
        line = asyncio.run(measure(nodes, tasks, seconds, seed))
        lines.append(line)
        if not as_json:
            proof = "no session" if line.certificate is None else f"certificate {line.certificate:.2%}"
            click.echo(
                f"seed {seed}: {line.tasks} tasks on {line.nodes} nodes, bound {line.bound_s:.2f} s   "
                f"contract net {line.contract_net:.3f}   prices and trade {line.prices:.3f}   {proof}"
            )
    if as_json:
        click.echo(msgspec.json.encode(lines))


if __name__ == "__main__":
    bench(prog_name="python -m parley.launch.bench.batches", args=sys.argv[1:])
