"""`parley logs`: the lines of all nodes as one log, in order, filtered, followed."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from .. import options


def _events(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The events that begin so, and their groups."""
    from ..analysis.run import KNOWN

    names = sorted({event.name for event in KNOWN} | {event.name.partition(".")[0] for event in KNOWN})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command()
@options.run_folder
@click.option(
    "--task", default="", metavar="ID", help="Only lines that name this task; the beginning of its id will do."
)
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only what this node logged; may be repeated.")
@click.option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME",
    shell_complete=_events,
    help="Only these: an event, a group of them such as task, or a pattern such as 'task.[el]*'; may be repeated.",
)
@click.option("-n", "--last", type=click.IntRange(0), metavar="N", help="Only the last N of them.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="The lines as they lie in the files, for scripts.")
def logs(
    folder: Path | None,
    task: str,
    nodes: tuple[str, ...],
    events: tuple[str, ...],
    last: int | None,
    follow: bool,
    as_jsonl: bool,
) -> None:
    """The logs of all nodes as one, causes before effects.

    RUN is the folder of a run, such as runs/last, or one log.
    """
    from ..analysis import command
    from ..analysis.logs import Wanted, named

    command.logs(folder, Wanted(nodes, named(events), task), last, follow, as_jsonl)
