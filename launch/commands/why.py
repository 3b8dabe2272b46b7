"""`parley why`: who bid what for a task, and why it ran where it ran."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options


@click.command()
@click.argument("task", default="last", type=options.TaskName(), metavar="[TASK]")
@options.run("The logs.  [default: the newest of this machine]")
@options.agents
@options.as_json
def why(task: str, folder: Path | None, agents: tuple[str, ...], as_json: bool) -> None:
    """Who bid what for a task, who declined, who won, and by how much.

    TASK is an id, the beginning of one, or `last` (handed in last). What the logs of this machine lack is asked of an
    agent, and of all its fleet; then it may also be a name that you gave it. With --run nobody is asked.
    """
    from ..analysis import command

    command.why(folder, task, agents, as_json)
