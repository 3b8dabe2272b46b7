"""`parley nodes`: the fleet as one agent sees it."""

from __future__ import annotations

import click

from .. import options
from ..running import run


@click.command()
@options.agents
@options.as_json
def nodes(agents: tuple[str, ...], as_json: bool) -> None:
    """The fleet as one agent sees it: who is there, how busy, with what, and how fast at which kind of task."""
    from ...protocols.requests import NodeLine
    from .. import plain, tables
    from ..desk import connected

    async def ask() -> tuple[NodeLine, ...]:
        async with connected(agents) as agent:
            return await agent.nodes()

    lines = run(ask())
    click.echo(plain.line([tables.node_told(line) for line in lines]) if as_json else tables.nodes_table(lines))
