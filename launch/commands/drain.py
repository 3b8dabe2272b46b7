"""`parley drain`: let a node end what it has, and leave."""

from __future__ import annotations

import sys

import click

from .. import options
from ..running import run
from ..units import Duration


@click.command()
@click.argument("node", required=False)
@options.agents
@click.option("--timeout", "timeout_s", type=Duration(positive=True), help="Wait no longer; the node goes on leaving.")
@click.option("--no-wait", is_flag=True, help="Tell it, and do not wait until it has left.")
@options.as_json
def drain(node: str | None, agents: tuple[str, ...], timeout_s: float | None, no_wait: bool, as_json: bool) -> None:
    """Let a node end what it has, and leave.

    NODE is its name; without it, the agent that is talked to is meant. It takes nothing more, ends what runs there and
    what was handed in there, gives back what waits there, and leaves.
    """
    import msgspec

    from .. import draining

    screen = Screen(quiet=as_json)
    drained = run(draining.drain(agents, node, wait=not no_wait, timeout_s=timeout_s, on_progress=screen.progress))
    if as_json:
        click.echo(msgspec.json.encode(drained))
    elif drained.left:
        click.echo(f"{drained.node} has left")
    else:
        click.echo(f"{drained.node} ends what it has, and leaves: {draining.told(drained)}")


class Screen:
    """Says how much is left, whenever that has changed, to a person who watches."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._said = ""

    def progress(self, node: str, running: int, open_tasks: int | None) -> None:
        line = f"{node}: {running} running" + (f", {open_tasks} handed in and not ended" if open_tasks else "")
        if not self._quiet and line != self._said:
            self._said = line
            click.echo(line, err=True)
