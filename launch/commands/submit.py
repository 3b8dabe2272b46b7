"""`parley submit`: hand a task in, wait, and print its value."""

from __future__ import annotations

import click

from .. import options
from ..running import run


@click.command()
@click.argument("kind")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="The arguments: an object or a list.")
@click.option("--work", type=click.FloatRange(0, 1e9), help="Seconds on a node of speed 1, if you know it.")
@click.option("--timeout", type=click.FloatRange(0, 1e9, min_open=True), default=3600.0, help="Seconds per attempt.")
@options.agents
@options.as_json
def submit(
    kind: str, arguments: str, work: float | None, timeout: float, agents: tuple[str, ...], as_json: bool
) -> None:
    """Hand a task in, wait, and print its value."""
    from .. import desk

    parsed = desk.parse(arguments)
    desk.show(run(desk.submit(desk.find(agents), kind, parsed, work, timeout)), as_json)
