"""`parley plan`: who would get a task, in a dry auction; how a file of them would be divided, in a dry division."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import click

from .. import options, task_options
from ..problems import Exit, Problem
from ..running import run

WIDTH_MAX = 120
IS_COMMAND = "parley.launch.commands.plan"


class _Plan(click.Command):
    """Notes whether its words stand behind a `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[IS_COMMAND] = "--" in args
        return super().parse_args(ctx, args)


@click.command(cls=_Plan)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="KIND | -- COMMAND...")
@click.option("--args", "arguments", metavar="JSON", help="Of KIND: an object or a list; @FILE to read it.")
@click.option("--file", "path", metavar="FILE", help="How all tasks of this file would be divided; - for stdin.")
@task_options.flags()
@options.agents
@options.as_json
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    arguments: str | None,
    path: str | None,
    agents: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Who would get a task, and why: all nodes are asked for a price, and nobody gets it.

    Either KIND with --args, as `parley submit` has them, or -- and a command, as `parley run` has it. With --file, all
    nodes divide its tasks among themselves, and none is handed in: what each would get, when all would be done, and how
    far that is from the optimum at most.
    """
    terms = task_options.Terms(**flags)
    if terms.gang is not None:
        raise Problem("a plan is made for one task on one node; a gang goes where its slots come free", Exit.USAGE)
    if path is not None:
        if words or arguments is not None:
            raise Problem("either a task, or --file, whose lines say the tasks", Exit.USAGE)
        _plan_file(agents, path, terms, as_json)
        return
    if not words:
        raise click.MissingParameter(param_hint="'KIND | -- COMMAND...'", param_type="argument")
    from .. import plain, planning
    from ..desk import parse

    if ctx.meta[IS_COMMAND]:
        if arguments is not None:
            raise Problem("--args is for a KIND; a command has its own after the --", Exit.USAGE)
        submission = terms.submission("command", {"argv": list(words)})
    elif len(words) > 1:
        raise Problem(f"one KIND, or -- before a command: parley plan -- {' '.join(words)}", Exit.USAGE)
    else:
        submission = terms.submission(words[0], parse(arguments if arguments is not None else "{}"))
    task, planned = run(planning.plan(agents, submission))
    sentence = planning.unplaced(planned)
    if as_json:
        click.echo(plain.line(planning.plan_told(task, planned)))
    elif sentence is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = min(shutil.get_terminal_size().columns, WIDTH_MAX)
        click.echo(planning.card(task, planned, color, width))
    if sentence is not None:
        raise Problem(sentence, Exit.UNPLACED)


def _plan_file(agents: tuple[str, ...], path: str, terms: task_options.Terms, as_json: bool) -> None:
    from .. import dry_division, plain

    division, sentence = run(dry_division.plan_file(agents, path, terms))
    click.echo(plain.line(division) if as_json else dry_division.drawn(division))
    if sentence is not None:
        raise Problem(sentence, Exit.UNPLACED)
