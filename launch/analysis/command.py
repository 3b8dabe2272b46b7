"""What the commands that read logs print: each of them in a few lines over the modules beside this one.

What is imported here decides how soon the answer of `parley why` stands on the screen; nothing heavy does.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from ...protocols.core import ENDED
from .. import discovery
from ..places import logs_of
from ..problems import Exit, Problem
from .card import render
from .run import RunError, open_run
from .why import Why
from .why import why as find_out
from .words import clean

if TYPE_CHECKING:
    from .logs import Wanted
    from .verify import Verdict

WIDTH_MAX = 120
"""A card is not easier to read on a wider screen."""

DIFFERENCES_SHOWN = 20
UNWRITTEN_S = 0.2
"""An agent writes its log that much later, at most."""


def why(folder: Path | None, task: str, agents: Sequence[str], as_json: bool) -> None:
    """Print why `task` ran where it ran, by the logs in `folder`; where none is named and those of this machine do not
    tell all of it, by what the agents say too. Raises RunError, Problem."""
    path = logs_of(folder)
    answer: Why | None = None
    unknown: RunError | None = None
    try:
        answer = find_out(open_run(path), task)
        if answer.state not in ENDED and _being_written(path):
            time.sleep(UNWRITTEN_S)  # what has just happened is in the logs a moment later
            answer = find_out(open_run(path), task)
    except RunError as error:
        unknown = error
    if folder is None and (agents or discovery.newest() is not None) and (answer is None or answer.notes):
        from .live import ask

        try:
            answer = ask(agents, task if answer is None else answer.task, path)
        except Problem:
            if agents and answer is None:
                raise
    if answer is None:
        assert unknown is not None
        raise unknown
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    click.echo(render(answer, _colored(), min(shutil.get_terminal_size().columns, WIDTH_MAX)))


def _being_written(path: Path) -> bool:
    """Is it the log of a node that lives?"""
    try:
        return any(time.time() - file.path.stat().st_mtime < 1.0 for file in open_run(path).files)
    except OSError:
        return False


def logs(folder: Path | None, wanted: Wanted, last: int | None, follow: bool, as_jsonl: bool) -> None:
    """Print the lines that are wanted. Raises RunError."""
    from .logs import follow as go_on
    from .logs import for_people
    from .logs import logs as read

    colored = _colored() and not as_jsonl

    def paint(text: str, tint: str) -> str:
        return f"\x1b[{tint}m{text}\x1b[0m" if colored else text

    out = sys.stdout.buffer

    def tell(line: bytes) -> None:
        out.write((line if as_jsonl else for_people(line, paint).encode("utf-8", "replace")) + b"\n")
        if follow:
            out.flush()

    path = logs_of(folder)
    if follow:
        try:
            go_on(path, wanted, last, tell)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)
    notes = read(path, wanted, last, tell)
    out.flush()
    tell_notes(notes)


def trace(folder: Path | None, output: Path | None) -> None:
    """Write the run as a Chrome trace. Raises RunError."""
    from .timeline import timeline
    from .trace import events

    told = timeline(logs_of(folder))
    with _to(output) as file:
        first = True
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[')
        for event in events(told):
            file.write((b"\n" if first else b",\n") + msgspec.json.encode(event))
            first = False
        file.write(b"\n]}\n")
    tell_notes(told.notes)


def report(folder: Path | None, output: Path | None) -> None:
    """Write the page of the run, and say where. Raises RunError, Problem."""
    from .report import REPORT_NAME
    from .report import report as page

    path = logs_of(folder)
    text = page(path)
    target = output or (path if path.is_dir() else path.parent) / REPORT_NAME
    with _to(target) as file:
        file.write(text)
    click.echo(target)


def verify(folder: Path | None, as_json: bool) -> None:
    """Print what was recomputed and what differs; exit code 5 if the logs are not as they were written. Raises
    RunError."""
    from .verify import verify as recompute

    path = logs_of(folder)
    verdict = recompute(path)
    if as_json:
        click.echo(msgspec.json.encode(verdict))
    else:
        click.echo(_verdict_told(path, verdict))
    if not verdict.sound:
        sys.exit(Exit.LOG_INVALID)


def _verdict_told(path: Path, verdict: Verdict) -> str:
    lines = [
        f"{one.file}:{one.line}: {one.field} is {_value(one.logged)}, recomputed {_value(one.recomputed)}"
        for one in verdict.differences[:DIFFERENCES_SHOWN]
    ]
    more = len(verdict.differences) - len(lines)
    lines += [f"and {more:,} more differences"] if more else []
    for gap in verdict.gaps[:DIFFERENCES_SHOWN]:
        which = f"line {gap.first} is" if gap.first == gap.last else f"lines {gap.first} to {gap.last} are"
        lines.append(f"{gap.file}:{gap.line}: {which} missing before it (by seq)")
    lines += [f"note: {note}" for note in verdict.notes]
    of = f"of {verdict.events:,} events in {path}"
    found = f"{verdict.checked:,} {of} recomputed, {verdict.awards:,} awards among them"
    ends = (
        "all as logged"
        if verdict.sound
        else f"{len(verdict.differences):,} differ, {len(verdict.gaps):,} {'gap' if len(verdict.gaps) == 1 else 'gaps'}"
    )
    return "\n".join(map(clean, [*lines, f"{found}: {ends}"]))


def _value(value: object) -> str:
    return msgspec.json.encode(value).decode()


@contextmanager
def _to(output: Path | None) -> Iterator[IO[bytes]]:
    """The file, or stdout. Raises Problem."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with output.open("wb") as file:
            yield file
    except OSError as error:
        raise Problem(f"{output} cannot be written: {(error.strerror or str(error)).lower()}", Exit.USAGE) from None


def tell_notes(notes: list[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
