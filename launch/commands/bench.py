"""`parley bench`: protocols side by side on public instances, traces and workflows, and on generated ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import options
from ..problems import Exit, Problem, did_you_mean

if TYPE_CHECKING:
    from ..bench.comparison import Line

SEEDS_MAX = 1000
SPEEDS_MAX = 1024
PROBES_MAX = 1024
WIDTH = 320
"""Of the table where there is no terminal."""
MODES = ("rounds", "gossip")


def _listed(texts: Sequence[str]) -> tuple[str, ...]:
    """The words of lists with commas: a flag that is given again adds to what was said before."""
    return tuple(dict.fromkeys(word.strip() for word in ",".join(texts).split(",") if word.strip()))


def _protocols(texts: Sequence[str]) -> tuple[str, ...]:
    if texts and not _listed(texts):
        raise Problem("--protocol: name at least one protocol, or all", Exit.USAGE)
    return _listed(texts)


def _modes(texts: Sequence[str]) -> tuple[str, ...]:
    for word in _listed(texts):
        if word not in MODES:
            raise Problem(
                f"{word!r} is no mode{did_you_mean(word, MODES)}; there are {' and '.join(MODES)}", Exit.USAGE
            )
    return _listed(texts) or MODES[:1]


def _probes(texts: Sequence[str]) -> tuple[int, ...]:
    words = _listed(texts)
    if not words or not all(word.isdecimal() and int(word) <= PROBES_MAX for word in words):
        text = ",".join(texts)
        raise Problem(f"--probes {text}: write how many are asked, like 2,4 (0: all), {PROBES_MAX} at most", Exit.USAGE)
    return tuple(int(word) for word in words)


def _speeds(text: str) -> tuple[float, ...]:
    try:
        speeds = tuple(float(word) for word in text.split(","))
    except ValueError:
        speeds = ()
    if not 0 < len(speeds) <= SPEEDS_MAX or not all(0.0 < speed < math.inf for speed in speeds):
        raise Problem(f"--speed {text}: write a speed above 0 for each node, like 1,1,2,4", Exit.USAGE)
    return speeds


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="FILE | FOLDER | GENERATOR...")
@click.option(
    "--protocol", multiple=True, metavar="NAME,...|all", help="What to compare.  [default: prices, or contract-net]"
)
@click.option(
    "--mode", multiple=True, default=["rounds"], show_default=True, metavar="rounds,gossip",
    help="How agents keep step.",
)  # fmt: skip
@click.option(
    "--on", type=click.Choice(["simulated", "processes"]), default="simulated", show_default=True,
    help="Where they run.",
)  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, SEEDS_MAX), default=3, show_default=True, help="Runs of each.")
@click.option("--first-seed", type=click.IntRange(0, 10**9), default=0, show_default=True)
@click.option("--seed", type=click.IntRange(0, 10**9), multiple=True, help="This one only; may be given again.")
@click.option("--loss", type=click.FloatRange(0.0, 0.9), default=0.0, show_default=True, help="Part of frames lost.")
@click.option("--topology", metavar="full|ring|K-regular", help="Who talks with whom: of cbba and assignment.")
@click.option("--scaling/--no-scaling", default=True, help="Of assignment: bids, or tenders.  [default: scaling]")
@click.option("--trade/--no-trade", default=True, help="Trade after prices have cleared.  [default: trade]")
@click.option("--sense", type=click.Choice(["min", "max"]), help="Costs or profits, where a name does not tell.")
@click.option("--load", type=click.FloatRange(0.01, 0.99), default=0.7, show_default=True, help="Of a trace.")
@click.option(
    "--probes", multiple=True, default=["0,2,4"], show_default=True, metavar="N,...",
    help="How many are asked for a task of a trace; 0: all.",
)  # fmt: skip
@click.option(
    "--speed", metavar="S,S,...", help="Of each node, for traces and workflows.  [default: 4 each of 1,2,4,8]"
)
@click.option("--requests", type=click.IntRange(1, 10**6), help="Only so many of a trace.")
@click.option(
    "--by", type=click.Choice(["instance", "family", "markdown"]), default="instance", show_default=True,
    help="A row per instance, or per family with all protocols beside each other.",
)  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it into this file; needs parley[plot].")
@options.as_json
def bench(
    places: tuple[str, ...],
    protocol: tuple[str, ...],
    mode: tuple[str, ...],
    on: str,
    seeds: int,
    first_seed: int,
    seed: tuple[int, ...],
    loss: float,
    topology: str | None,
    scaling: bool,
    trade: bool,
    sense: str | None,
    load: float,
    probes: tuple[str, ...],
    speed: str | None,
    requests: int | None,
    by: str,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Protocols side by side: value, bound, certificate, rounds, messages, bytes.

    Files are Braun/HCSP or OR-Library's (generalised) assignment, Azure's LLM traces (csv) and WfCommons' workflows
    (json); a generator is written hcsp:512x16:u_c_hihi:7, gap:10x50:c:7, assign:100:7, arrivals:16x100:7 or
    workflow:200x20:7. Every node is an agent that knows its own column of the table only.
    """
    from .. import plain
    from ..bench import allocations, by_instance, comparison, families, online

    if plot is not None:
        families.check_plot(plot)
    question = comparison.Question(
        protocols=_protocols(protocol),
        modes=_modes(mode),
        on=on,
        seeds=seed or tuple(range(first_seed, first_seed + seeds)),
        setting=allocations.Setting(loss, trade, topology, scaling),
        load=load,
        probes=_probes(probes),
        speeds=online.SPEEDS if speed is None else _speeds(speed),
    )
    count = 0

    def told(line: Line) -> None:
        nonlocal count
        count += 1
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{count} runs; {line.instance}, {line.protocol}", err=True, nl=False)

    lines = comparison.run(comparison.find(places, sense, requests), question, told)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    if plot is not None:
        families.plot(lines, plot)
    if as_json:
        click.echo(plain.line(lines))
    elif by == "markdown":
        click.echo(families.as_markdown(lines))
    else:
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else WIDTH, emoji=False)
        for table in [families.as_table(lines)] if by == "family" else by_instance.as_tables(lines):
            console.print(table)
