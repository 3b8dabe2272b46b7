"""`parley trace`: a run as a trace for Perfetto or Chrome."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options


@click.command()
@options.run_folder
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to.  [default: stdout]",
)
def trace(folder: Path | None, output: Path | None) -> None:
    """A run as a Chrome trace: a track per slot, an arrow from each award to its start.

    RUN is the folder of a run, such as runs/last. What is written opens in https://ui.perfetto.dev and chrome://tracing.
    """
    from ..analysis import command

    command.trace(folder, output)
