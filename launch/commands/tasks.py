"""`parley tasks`: the tasks of an agent, and why each stands where it stands."""

from __future__ import annotations

from pathlib import Path

import click

from ...protocols.core import State
from .. import options
from ..problems import Problem
from ..running import run


@click.command()
@click.argument("tasks", nargs=-1, type=options.TaskName(), metavar="[ID]...")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    help="Only these; may be repeated.",
)
@click.option("--jsonl", "as_jsonl", is_flag=True, help="One JSON object a line.")
@options.run("Those of a run, by its logs, instead of an agent's.")
@options.agents
@options.as_json
def tasks(
    tasks: tuple[str, ...],
    states: tuple[str, ...],
    as_jsonl: bool,
    folder: Path | None,
    agents: tuple[str, ...],
    as_json: bool,
) -> None:
    """The tasks of an agent, all of them or those named, and why each stands where it stands.

    ID is an id, the beginning of one, a name that you gave it, or `last`. With --run, which asks no agent, it is an id
    or the beginning of one.
    """
    from ...protocols.requests import TaskLine
    from .. import plain, tables
    from ..desk import ALL, connected

    async def ask() -> list[TaskLine]:
        async with connected(agents) as agent:
            return await agent.tasks(tasks or [ALL])

    def logged(path: Path) -> list[TaskLine]:
        from ..analysis.command import tell_notes
        from ..analysis.tally import tally
        from ..places import logs_of

        told, notes = tally(logs_of(path))
        tell_notes(notes)
        for name in tasks:
            if not any(line.task.startswith(name) for line in told):
                raise Problem(f"no task in {path} begins with {name}")
        return [line for line in told if not tasks or line.task.startswith(tasks)]

    told = run(ask()) if folder is None else logged(folder)
    lines = [line for line in told if not states or line.state in states]
    if as_json:
        click.echo(plain.line([tables.task_told(line) for line in lines]))
    elif as_jsonl:
        for line in lines:
            click.echo(plain.line(tables.task_told(line)))
    else:
        click.echo(tables.tasks_table(lines))
