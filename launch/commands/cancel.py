"""`parley cancel`: give tasks up."""

from __future__ import annotations

import click

from ...protocols.requests import Cancelled
from .. import options, units
from ..running import run


@click.command()
@click.argument("tasks", nargs=-1, type=options.TaskName(), metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that this agent has been given.")
@click.option(
    "--timeout", "timeout_s", type=units.Duration(), default=60.0, help="Wait no longer for their end.  [default: 60s]"
)
@options.agents
@options.as_json
def cancel(tasks: tuple[str, ...], every: bool, timeout_s: float, agents: tuple[str, ...], as_json: bool) -> None:
    """Give tasks up, and wait until what runs of them has stopped.

    ID is an id, the beginning of one, a name that you gave it, or `last`.
    """
    from .. import desk, plain

    which = desk.some_or_all("cancel", tasks, every)

    async def ask() -> Cancelled:
        async with desk.connected(agents) as agent:
            return await desk.cancel(agent, which, timeout_s)

    told = run(ask())
    if as_json:
        click.echo(plain.line({"cancelled": told.cancelled, "ended": told.ended}))
    else:
        click.echo(f"{told.cancelled:,} cancelled, {told.ended:,} had ended before", err=True)
