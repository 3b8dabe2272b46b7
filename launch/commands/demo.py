"""`parley demo`: local agents of unequal speed do a real job."""

from __future__ import annotations

from pathlib import Path

import click

from ...protocols.award_rules import RULES
from ...protocols.core import Dividing
from .. import options
from ..problems import Exit, Problem
from ..running import run

HALF = 0.5


def _speeds(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Comma-separated positive numbers."""
    try:
        speeds = tuple(float(part) for part in value.split(","))
    except ValueError:
        speeds = ()
    if not speeds or not all(0 < speed <= 1e6 for speed in speeds):
        raise click.BadParameter(f"{value!r} is no list of speeds: write positive numbers such as 1,1,2,4")
    return speeds


def _kill(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, float] | None:
    """NODE, or NODE@PERCENT%."""
    if value is None:
        return None
    node, at, percent = value.partition("@")
    try:
        part = float(percent.removesuffix("%")) / 100 if at else HALF
    except ValueError:
        part = -1.0
    if not node or not 0.0 <= part <= 1.0:
        raise click.BadParameter(f"{value!r} does not say whom, and when: write n2, or n2@30%")
    return node, part


@click.command()
@click.argument("name", type=click.Choice(["digits"]), default="digits")
@click.option("--nodes", type=click.IntRange(1, 64), help="How many agents.  [default: one per speed]")
@click.option(
    "--speed", "speeds", metavar="S,S,…", callback=_speeds, default="1,1,2,4", show_default=True, help="Their speeds."
)
@click.option(
    "--mode",
    type=click.Choice(["rounds", "gossip"]),
    default="rounds",
    show_default=True,
    help="Learn in rounds with a barrier, or by gossip without.",
)
@click.option(
    "--kill",
    metavar="NODE[@PERCENT]",
    callback=_kill,
    help="kill -9 a node when half the tasks are done, or another part of them: n2@30%.",
)
@click.option("--data", "dataset", type=click.Choice(["digits", "mnist"]), default="digits", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the idx files of --data mnist lie.")
@click.option(
    "--rule", type=click.Choice(list(RULES)), default="contract-net", show_default=True, help="Who gets a task."
)
@click.option(
    "--protocol",
    type=click.Choice([one.value for one in Dividing]),
    default=Dividing.AUTO.value,
    show_default=True,
    help="How tasks that wait together are divided: by prices, by calls, or by prices where that is worth it.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--keys", type=click.Path(path_type=Path, file_okay=False), help="Guard it with these keys, for a try.")
@options.as_json
def demo(
    name: str,
    nodes: int | None,
    speeds: tuple[float, ...],
    mode: str,
    kill: tuple[str, float] | None,
    dataset: str,
    data_dir: Path | None,
    rule: str,
    protocol: str,
    seed: int,
    keys: Path | None,
    as_json: bool,
) -> None:
    """Local agents of unequal speed learn to read handwritten digits."""
    from ..demos import demonstration
    from ..demos.closing import Screen
    from ..demos.training import Mode

    if nodes is not None and nodes != len(speeds):
        if len(speeds) != 4 or speeds != (1.0, 1.0, 2.0, 4.0):
            raise Problem(f"--nodes {nodes} and {len(speeds)} speeds do not fit together", Exit.USAGE)
        speeds = tuple((1.0, 1.0, 2.0, 4.0)[place % 4] for place in range(nodes))
    if dataset == "mnist" and data_dir is None:
        raise Problem("--data mnist needs --data-dir, the folder with its four idx files", Exit.USAGE)
    wanted = demonstration.Options(
        speeds,
        Mode(mode),
        dataset,
        str(data_dir) if data_dir else None,
        demonstration.Kill(*kill) if kill else None,
        rule,
        protocol,
        seed,
        keys=keys,
    )
    with Screen(wanted, quiet=as_json) as screen:
        report = run(demonstration.demonstrate(wanted, screen.progress))
    screen.close(report, as_json)
