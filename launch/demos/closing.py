"""What a person sees of the demonstration: a live line while it learns, a summary when it is done, and the report."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import click
import msgspec

from ..analysis.report import REPORT_NAME
from ..analysis.report import report as make_report
from ..analysis.summary import Divided
from ..analysis.words import within
from ..problems import Problem
from .demonstration import Options, Progress, Report

BAR = 24


class Screen:
    """Progress on stderr, if that is a terminal; the summary on stdout."""

    def __init__(self, options: Options, quiet: bool) -> None:
        self._options = options
        self._live = sys.stderr.isatty() and not quiet
        self._counts = dict.fromkeys(options.names, 0)

    def __enter__(self) -> Screen:
        if self._live:
            from rich.console import Console
            from rich.live import Live

            self._display = Live(console=Console(stderr=True), refresh_per_second=10, transient=True)
            self._display.start()
            self._display.update(f"starting {len(self._counts)} agents …")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._display.stop()

    def progress(self, progress: Progress) -> None:
        """One more task is done."""
        self._counts[progress.node] += 1
        if not self._live:
            return
        from rich.table import Table

        done = f"{progress.done}/{progress.total} tasks"
        accuracy = "" if progress.accuracy is None else f"   accuracy {progress.accuracy:.1%}"
        table = Table.grid(padding=(0, 1))
        table.add_row("learning", f"{_bar(progress.done / progress.total)} {done}{accuracy}")
        for name, speed in zip(self._options.names, self._options.speeds, strict=True):
            state = "  killed" if name == progress.killed else ""
            count = self._counts[name]
            table.add_row(name, f"{_bar(count / progress.total)} {count} tasks, speed {speed:g}{state}")
        self._display.update(table)

    def close(self, report: Report, as_json: bool) -> None:
        """The last word; the run's page is written beside its logs."""
        page = write_page(Path(report.run))
        click.echo(msgspec.json.encode(report) if as_json else summary(report, self._options, page))


def write_page(run: Path) -> Path | None:
    """The report of this run; None where it cannot be written, which takes nothing from what was done."""
    page = run / REPORT_NAME
    try:
        page.write_bytes(make_report(run))
    except (OSError, Problem) as error:
        click.echo(f"parley: no report of this run: {error}", err=True)
        return None
    return page


def summary(report: Report, options: Options, page: Path | None = None) -> str:
    """The closing summary, for people."""
    nodes = len(report.nodes)
    again = f", {report.reassigned} awarded again" if report.reassigned else ""
    if options.kill:
        again += f" after {options.kill.node} was killed"
    run = os.path.relpath(report.run)
    lines = [
        f"{nodes} agents learned to read handwritten digits by bargaining, in {report.seconds:.1f} s.",
        "",
        f"  accuracy   {report.accuracy:.1%} of digits never seen before ({options.dataset}, {options.mode})",
        f"  tasks      {report.done} of {report.tasks} done, {report.lost} lost, "
        f"{report.committed_twice} committed twice{again}",
        f"  makespan   {report.makespan_s:.2f} s, {report.ratio:.2f} times the lower bound of {report.bound_s:.2f} s: "
        + within(report.ratio - 1.0),
        *([f"  batches    {divided(report.batches)}"] if report.batches else []),
        "",
        "  node       speed  tasks   busy",
    ]
    busiest = max(share.busy_s for share in report.nodes.values()) or 1.0
    for (name, share), speed in zip(report.nodes.items(), options.speeds, strict=True):
        lines.append(
            f"  {name:<10} {speed:>5g} {share.tasks:>6} {share.busy_s:>5.1f} s  {_bar(share.busy_s / busiest)}"
        )
    lines += [
        "",
        f"The run lies in {run}. Ask it why:",
        f"  {_parley()} why last --run {run}",
    ]
    if page is not None:
        lines += ["Look at it:", f"  {opening(os.path.relpath(page))}"]
    return "\n".join(lines)


def divided(batches: Sequence[Divided]) -> str:
    """How well these were divided, in words; of several, how well the worst."""
    proofs = [batch.certificate for batch in batches if batch.certificate is not None]
    proof = f", {'each ' if len(proofs) > 1 else ''}{within(max(proofs))}" if proofs else ""
    tasks = sum([batch.tasks for batch in batches])
    of = "" if len(batches) == 1 else f" in {len(batches)} batches"
    return f"{tasks} tasks{of} divided by prices{proof}"


def opening(page: str) -> str:
    """The command that opens this file in a browser, here."""
    command = "open" if sys.platform == "darwin" else "xdg-open"
    if shutil.which(command):
        return f"{command} {shlex.quote(page)}"
    return f"python3 -m webbrowser {shlex.quote(page)}"


def _parley() -> str:
    """How to call this very program from here."""
    here = sys.argv[0]
    if shutil.which("parley") or Path(here).name != "parley":
        return "parley"
    return os.path.relpath(here)


def _bar(part: float) -> str:
    full = round(part * BAR)
    return "█" * full + "░" * (BAR - full)
