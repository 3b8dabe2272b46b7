"""`parley wait`: until tasks have ended."""

from __future__ import annotations

from collections import Counter

import click

from ...protocols.core import ENDED, State
from .. import options, units
from ..running import run


@click.command()
@click.argument("tasks", nargs=-1, type=options.TaskName(), metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that this agent has been given so far.")
@click.option("--timeout", "timeout_s", type=units.Duration(), help="No longer than this: then the exit code is 124.")
@options.agents
@options.as_json
def wait(tasks: tuple[str, ...], every: bool, timeout_s: float | None, agents: tuple[str, ...], as_json: bool) -> None:
    """Wait until tasks have ended: exit 0 if all are done, 1 if one failed, 3 if one found no node, 124 if it is late.

    ID is an id, the beginning of one, a name that you gave it, or `last`.
    """
    from .. import desk, plain
    from ..bar import Bar
    from ..outcomes import told, verdict

    which = desk.some_or_all("wait for", tasks, every)

    async def until() -> tuple[Counter[State], str]:
        with Bar("waiting", None) as bar:

            def show(states: Counter[State]) -> None:
                ended = sum(number for state, number in states.items() if state in ENDED)
                bar.at(ended, told(states), states.total())

            async with desk.connected(agents) as agent:
                return await desk.wait(agent, which, timeout_s, show)

    states, first_error = run(until())
    if as_json:
        click.echo(plain.line({"tasks": states.total(), "states": dict(states)}))
    if problem := verdict(states, first_error):
        raise problem
