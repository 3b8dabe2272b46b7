"""`parley watch`: the fleet, live in the terminal."""

from __future__ import annotations

import sys

import click

from .. import options, units
from ..problems import Exit


@click.command()
@click.option(
    "--interval",
    "interval_s",
    type=units.Duration(positive=True),
    default=1.0,
    help="How long between two looks.  [default: 1s]",
)
@click.option("--once", is_flag=True, help="One frame, and end.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="One JSON object a frame.")
@options.agents
def watch(interval_s: float, once: bool, as_jsonl: bool, agents: tuple[str, ...]) -> None:
    """The fleet, live: nodes and their load, what waits and why, the last awards. Ctrl-C ends it."""
    from ..analysis.watch import watch as draw
    from ..running import run

    try:
        run(draw(agents, interval_s, once, as_jsonl))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
