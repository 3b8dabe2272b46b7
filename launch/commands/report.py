"""`parley report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options


@click.command()
@options.run_folder
@options.output("report.html beside the logs")
def report(folder: Path | None, output: Path | None) -> None:
    """A run as one HTML file, to be opened from disk: who did what when, who bid what, and a card for every task.

    RUN is the folder of a run, such as runs/last. The file needs no network and no server; its path goes to stdout.
    """
    from ..analysis import command

    command.report(folder, output)
