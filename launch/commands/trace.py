"""`parley trace`: a run as a trace for Perfetto or Chrome."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options


@click.command()
@options.run_folder
@options.output("stdout")
def trace(folder: Path | None, output: Path | None) -> None:
    """A run as a Chrome trace: a track per slot, an arrow from each award to its start.

    RUN is the folder of a run, such as runs/last. What is written opens in https://ui.perfetto.dev and chrome://tracing.
    """
    from ..analysis import command

    command.trace(folder, output)
