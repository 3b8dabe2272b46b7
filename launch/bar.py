"""How far it is, on stderr: for people at a terminal, and for nobody else.

with Bar("handed in", total=120_000) as bar:
    bar.at(4_000, "4,000 taken")
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def at_terminal() -> bool:
    """Somebody sees what goes to stderr."""
    return sys.stderr.isatty()


class Bar:
    """Nothing at all where stderr is no terminal; gone when it is closed. `total` None: nobody knows."""

    def __init__(self, what: str, total: float | None) -> None:
        self._progress: Progress | None = None
        if at_terminal():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn(what), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
            self._progress = Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # else what is printed goes where it was sent
                redirect_stderr=False,
            )
            self._row = self._progress.add_task("", total=total, note="")

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def at(self, done: float, note: str, total: float | None = None) -> None:
        """So far; a new total, if there is one."""
        if self._progress is not None:
            self._progress.update(self._row, completed=done, note=note, total=total)

    def say(self, sentence: str) -> None:
        """A line of its own, above the bar; a hint, so for people only."""
        if self._progress is not None:
            self._progress.console.print(sentence, markup=False, highlight=False)
