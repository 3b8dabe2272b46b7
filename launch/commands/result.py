"""`parley result`: what became of a task."""

from __future__ import annotations

import click

from ...protocols.core import Outcome, State
from .. import options, units
from ..running import run


@click.command()
@click.argument("task", type=options.TaskName(), metavar="ID")
@click.option("--timeout", "timeout_s", type=units.Duration(), help="Wait no longer than this: then exit 124.")
@options.agents
@options.as_json
def result(task: str, timeout_s: float | None, agents: tuple[str, ...], as_json: bool) -> None:
    """The value of a task, as JSON, as soon as it has ended.

    ID is an id, the beginning of one, a name that you gave it, or `last`. Bytes are base64 text, arrays are lists.
    """
    from .. import desk, plain
    from ..outcomes import failure, result_line

    async def ask() -> Outcome:
        async with desk.connected(agents) as agent:
            return await desk.result(agent, task, timeout_s)

    outcome = run(ask())
    told = result_line(outcome)
    if as_json:
        click.echo(plain.line(told))
    elif outcome.state is State.DONE:
        click.echo(plain.line(told.value))
    if outcome.state is not State.DONE:
        raise failure(outcome, f"task {outcome.task} is {outcome.state}: {outcome.error}")
