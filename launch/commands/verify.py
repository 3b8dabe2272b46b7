"""`parley verify`: is what the logs say true?"""

from __future__ import annotations

from pathlib import Path

import click

from .. import options


@click.command()
@options.run_folder
@options.as_json
def verify(folder: Path | None, as_json: bool) -> None:
    """Recompute every award from the logs: exit code 5 if a number differs, or a line is missing.

    RUN is the folder of a run, such as runs/last.
    """
    from ..analysis import command

    command.verify(folder, as_json)
