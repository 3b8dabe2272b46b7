"""`parley submit`: hand tasks in."""

from __future__ import annotations

from typing import Any

import click

from .. import options, task_options
from ..problems import Exit, Problem
from ..running import run


@click.command()
@click.argument("kind", required=False)
@click.option("--args", "arguments", metavar="JSON", help="An object or a list; @FILE to read it, @- for stdin.")
@click.option("--file", "path", metavar="FILE", help="Many tasks, one JSON object a line; - for stdin.")
@task_options.flags()
@click.option("--wait", "until_ended", is_flag=True, help="Wait until all have ended; exit as `parley wait` does.")
@click.option(
    "--jsonl", "as_jsonl", is_flag=True, help="One JSON object a line; with --wait: the results, as they come."
)
@options.agents
@options.as_json
def submit(
    kind: str | None,
    arguments: str | None,
    path: str | None,
    until_ended: bool,
    as_jsonl: bool,
    agents: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Hand tasks in, and print the id of each, one a line, as it is taken.

    Either one of KIND, or all that stand in a file of any size. A line of it says at least {"kind": …, "args": …}; also
    id (your own name for it), work, need, only, prefer, priority, reward, deadline_s, timeout_s, attempts, after,
    replicas, gang, about, bytes, at_most_once, protocol. The flags say what a line does not.
    """
    from ...protocols.requests import Follow
    from .. import desk
    from ..submitting import Form, submit_file, submit_one

    terms = task_options.Terms(**flags)
    form = Form.JSON if as_json else Form.JSONL if as_jsonl else Form.IDS
    if as_json and as_jsonl:
        raise Problem("--json is one value and --jsonl one a line: choose one of them", Exit.USAGE)
    if path is not None:
        if kind is not None or arguments is not None:
            raise Problem("either KIND with --args, or --file, whose lines say the kind", Exit.USAGE)
        if terms.label:
            raise Problem("--name is for one task; in a file, each line may have an id", Exit.USAGE)
        run(submit_file(agents, path, terms, until_ended, form))
        return
    if kind is None:
        raise Problem("hand in what? Name a KIND, or say --file with a task a line", Exit.USAGE)
    follow = Follow.RESULT if until_ended else Follow.NOTHING
    submission = terms.submission(kind, desk.parse(arguments if arguments is not None else "{}"), follow)
    run(submit_one(agents, submission, until_ended, form))
