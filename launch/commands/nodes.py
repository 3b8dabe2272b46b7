"""`parley nodes`: the fleet as one agent sees it."""

from __future__ import annotations

import click

from .. import options
from ..running import run


@click.command()
@options.agents
@options.as_json
def nodes(agents: tuple[str, ...], as_json: bool) -> None:
    """The fleet as one agent sees it."""
    from .. import desk

    desk.show_nodes(run(desk.nodes(desk.find(agents))), as_json)
