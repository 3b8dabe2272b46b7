"""How a soak, or a chaos, is run and told: logs in a folder that stays or goes, the last lines, and the exit code."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import msgspec

WRONG_TOLD_MAX = 20


@contextmanager
def logs_in(folder: Path | None) -> Iterator[Path]:
    """This folder, which stays; without one a folder that goes."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as passing:
        yield Path(passing)


def teller(as_json: bool) -> Callable[[str], None]:
    """Who is told how it goes on: nobody where one JSON value is all that is wanted."""
    return (lambda line: None) if as_json else click.echo


def first_of(wrong: Sequence[str]) -> list[str]:
    """What was wrong, after an empty line; of many the first."""
    more = len(wrong) - WRONG_TOLD_MAX
    return ["", *wrong[:WRONG_TOLD_MAX], *([f"and {more} more"] if more > 0 else [])]


def close(report: msgspec.Struct, lines: Sequence[str], as_json: bool, is_good: bool) -> NoReturn:
    """The last word: for people or for scripts, and 1 if a promise was not kept."""
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(lines))
    sys.exit(not is_good)
