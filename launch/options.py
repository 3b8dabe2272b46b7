"""Flags that several commands share, each written once.

@click.command()
@options.agents
@options.as_json
def nodes(agents: tuple[str, ...], as_json: bool) -> None: ...
"""

from __future__ import annotations

import click

agents = click.option(
    "--agent",
    "agents",
    multiple=True,
    envvar="PARLEY_AGENT",
    metavar="ADDRESS",
    help="The agent to talk to; may be repeated, one that is dead is passed over.  [default: the newest one here]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
