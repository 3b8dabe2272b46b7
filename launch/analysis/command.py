"""`parley why`: the card of a task, or the same as JSON.

What is imported here decides how soon the answer stands on the screen; nothing heavy does.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click
import msgspec

from .card import render
from .run import open_run
from .why import why as find_out

WIDTH_MAX = 120
"""A card is not easier to read on a wider screen."""


def why(folder: Path, task: str, as_json: bool) -> None:
    """Print why `task` ran where it ran in the run in `folder`. Raises RunError."""
    answer = find_out(open_run(folder), task)
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    click.echo(render(answer, color, min(shutil.get_terminal_size().columns, WIDTH_MAX)))
