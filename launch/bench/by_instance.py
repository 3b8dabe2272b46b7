"""Runs in tables with a row per instance and protocol: means over the seeds, and the mean of all below."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from . import online, workflows
from .allocations import Line
from .comparison import Line as AnyLine
from .families import geometric_mean

if TYPE_CHECKING:
    from rich.table import Table


def as_tables(lines: Sequence[AnyLine]) -> Iterable[Table]:
    """One for each kind of what was run."""
    divisions = [line for line in lines if isinstance(line, Line)]
    if divisions:
        yield _divisions(divisions)
    arrivals = [line for line in lines if isinstance(line, online.Line)]
    if arrivals:
        yield _arrivals(arrivals)
    placed = [line for line in lines if isinstance(line, workflows.Line)]
    if placed:
        yield _workflows(placed)


def _table(names: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table

    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for title in names:
        drawn.add_column(title)
    for title in numbers:
        drawn.add_column(title, justify="right")
    return drawn


def mean(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return math.fsum(known) / len(known) if known else None


def _told(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


# --- divisions


def _divisions(lines: Sequence[Line]) -> Table:
    drawn = _table(
        ("instance", "protocol", "mode"),
        ("value", "certificate", "of reference", "feasible", "rounds", "messages", "per task", "MB", "s"),
    )
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.instance, _protocol(line), line.mode), []).append(line)
    for key, group in groups.items():
        drawn.add_row(*key, *_cells(group))
    for protocol, mode in dict.fromkeys((_protocol(line), line.mode) for line in lines):
        group = [line for line in lines if (_protocol(line), line.mode) == (protocol, mode)]
        if len({line.instance for line in group}) > 1:
            _, *rest = _cells(group)
            drawn.add_row("mean", protocol, mode, "", *rest, style="bold")
    return drawn


def _protocol(line: Line) -> str:
    """With the topology, where that is a choice."""
    return line.protocol if line.diameter is None else f"{line.protocol}, {line.topology}"


def _cells(group: Sequence[Line]) -> list[str]:
    share = mean(line.certificate_pct for line in group)
    size = mean(line.bytes for line in group)
    return [
        _told(mean(line.value for line in group), ",.1f"),
        "-" if share is None else f"{share:.2f} %",
        _told(mean(line.ratio for line in group), ".4f"),
        f"{sum(line.feasible for line in group)}/{len(group)}",
        _told(mean(line.rounds for line in group), ".0f"),
        _told(mean(line.messages for line in group), ",.0f"),
        _told(mean(line.messages_per_task for line in group), ".1f"),
        _told(None if size is None else size / 1e6, ".1f"),
        _told(mean(line.seconds for line in group), ".1f"),
    ]


# --- arrivals and workflows


def _arrivals(lines: Sequence[online.Line]) -> Table:
    drawn = _table(
        ("trace", "protocol"), ("probes", "load", "mean s", "median s", "99 % s", "of asking all", "per task", "s")
    )
    groups: dict[tuple[str, str, int, float], list[online.Line]] = {}
    for line in lines:
        groups.setdefault((line.instance, line.protocol, line.probes, line.load), []).append(line)
    for (instance, protocol, probes, load), group in groups.items():
        drawn.add_row(
            instance,
            protocol,
            str(probes) if probes else "all",
            f"{100 * load:.0f} %",
            _told(mean(line.mean_s for line in group), ".3f"),
            _told(mean(line.p50_s for line in group), ".3f"),
            _told(mean(line.p99_s for line in group), ".3f"),
            _told(mean(line.ratio for line in group), ".3f"),
            _told(mean(line.messages_per_task for line in group), ".1f"),
            _told(mean(line.seconds for line in group), ".1f"),
        )
    return drawn


def _workflows(lines: Sequence[workflows.Line]) -> Table:
    drawn = _table(("workflow", "protocol"), ("tasks", "makespan s", "HEFT s", "of HEFT", "per task", "s"))
    groups: dict[tuple[str, str], list[workflows.Line]] = {}
    for line in lines:
        groups.setdefault((line.instance, line.protocol), []).append(line)
    for (instance, protocol), group in groups.items():
        drawn.add_row(
            instance,
            protocol,
            str(group[0].tasks),
            _told(mean(line.value for line in group), ",.2f"),
            _told(group[0].reference, ",.2f"),
            _told(mean(line.ratio for line in group), ".3f"),
            _told(mean(line.messages_per_task for line in group), ".1f"),
            _told(mean(line.seconds for line in group), ".1f"),
        )
    for protocol in dict.fromkeys(line.protocol for line in lines):
        ratios = [line.ratio for line in lines if line.protocol == protocol]
        if len(ratios) > 1:
            drawn.add_row(
                "geometric mean", protocol, "", "", "", f"{geometric_mean(ratios):.3f}", "", "", style="bold"
            )
    return drawn
