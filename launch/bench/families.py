"""All runs in one table: a row per family of instances, a column per protocol, and a picture of the same.

What a cell says is how many times the reference its runs reach on average: 1 is the reference, more is worse. The
reference is the optimum or the best known value; where nobody knows those, the bound of the prices, and without prices
the best that any of the runs has reached; for arrivals the mean latency of the contract net that asks all; for
workflows HEFT's makespan. Profits are turned around. A run that breaks a capacity, or leaves a task out, reaches
nothing: how many do not is told beside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..problems import Exit, Problem
from . import online, workflows
from .allocations import Line
from .comparison import Line as AnyLine

if TYPE_CHECKING:
    from rich.table import Table

_CONSISTENCY = {"c": "consistent", "i": "inconsistent", "s": "semi-consistent"}
_BRAUN = re.compile(r"(?:hcsp:(\w+):)?u_([cis])_(?:hi|lo)(?:hi|lo)")
_GAP = re.compile(r"(gap(?:\d+|[a-d]))(?:-\d+)?")
_GENERATED_GAP = re.compile(r"gap:(\w+):([a-d])")


def family(line: AnyLine) -> str:
    """Which of the known ones its instance belongs to; else its own name."""
    if isinstance(line, online.Line):
        return f"arrivals, {100 * line.load:.0f} % load"
    if isinstance(line, workflows.Line):
        return "workflows"
    if match := _BRAUN.match(line.instance):
        return f"HCSP {match[1] or '512x16'}, {_CONSISTENCY[match[2]]}"
    if match := _GENERATED_GAP.match(line.instance):
        return f"GAP {match[1]}, type {match[2]}"
    if match := _GAP.fullmatch(line.instance):
        return "GAP 1-12" if match[1][3:].isdecimal() else f"GAP {match[1][3:]}"
    return "assignment" if line.instance.startswith("assign") else line.instance


def method(line: AnyLine) -> str:
    """Its protocol, with whatever sets it apart from other runs of the same."""
    if isinstance(line, online.Line):
        return f"{line.protocol}, {line.probes} probes" if line.probes else line.protocol
    if isinstance(line, workflows.Line) or line.mode == "rounds":
        return line.protocol
    return f"{line.protocol}, {line.mode}"


def scores(lines: Sequence[AnyLine]) -> list[float | None]:
    """Of each run, how many times its reference it reaches; None: there is no reference, or it is not feasible."""
    bounds: dict[str, float] = {}
    reached: dict[str, float] = {}
    for line in lines:
        if not isinstance(line, Line):
            continue
        tighter, better = (max, min) if line.sense == "min" else (min, max)
        if line.protocol == "prices" and line.bound is not None:
            bounds[line.instance] = tighter(bounds.get(line.instance, line.bound), line.bound)
        if line.feasible and line.value is not None:
            reached[line.instance] = better(reached.get(line.instance, line.value), line.value)
    asked_all = {
        (line.instance, line.load, line.seed): line.mean_s
        for line in lines
        if isinstance(line, online.Line) and line.protocol == "contract-net" and not line.probes
    }
    found: list[float | None] = []
    for line in lines:
        if isinstance(line, online.Line):
            base = asked_all.get((line.instance, line.load, line.seed))
            found.append(line.mean_s / base if base else line.ratio)
        elif isinstance(line, workflows.Line):
            found.append(line.ratio)
        else:
            known = line.reference if line.reference is not None else bounds.get(line.instance)
            reference = known if known is not None else reached.get(line.instance)
            if not line.feasible or not line.value or not reference:
                found.append(None)
            else:
                found.append(line.value / reference if line.sense == "min" else reference / line.value)
    return found


def grid(lines: Sequence[AnyLine]) -> tuple[list[str], list[str], dict[tuple[str, str], list[float | None]]]:
    """Families, methods, and the scores of each pair that was run."""
    cells: dict[tuple[str, str], list[float | None]] = {}
    for line, score in zip(lines, scores(lines), strict=True):
        cells.setdefault((family(line), method(line)), []).append(score)
    rows, columns = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    return rows, columns, cells


def cell(found: Sequence[float | None]) -> str:
    """The geometric mean, and how many were feasible if not all were."""
    known = [score for score in found if score is not None and score > 0.0]
    mean = f"{geometric_mean(known):.3f}" if known else "-"
    return mean if len(known) == len(found) else f"{mean} ({len(known)}/{len(found)})"


def geometric_mean(known: Sequence[float]) -> float:
    return math.exp(math.fsum(math.log(score) for score in known) / len(known))


def as_table(lines: Sequence[AnyLine]) -> Table:
    from rich.table import Table

    rows, columns, cells = grid(lines)
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    drawn.add_column("instances", no_wrap=True)
    for column in columns:
        drawn.add_column(column, justify="right")
    for row in rows:
        drawn.add_row(row, *(cell(cells[row, column]) if (row, column) in cells else "" for column in columns))
    return drawn


def as_markdown(lines: Sequence[AnyLine]) -> str:
    """The same as a table of a README."""
    rows, columns, cells = grid(lines)
    told = [f"| instances | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        texts = (cell(cells[row, column]) if (row, column) in cells else "" for column in columns)
        told.append(f"| {row} | {' | '.join(texts)} |")
    return "\n".join(told)


# --- a picture


def check_plot(path: Path) -> None:
    """Before anything is run: can it be drawn, and written there? Raises Problem."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise Problem("--plot needs matplotlib: install parley[plot]", Exit.USAGE) from None
    known = (".png", ".svg", ".pdf")
    if path.suffix not in known:
        raise Problem(f"{path} tells no kind of picture: end it with {', '.join(known)}", Exit.USAGE)
    if not path.parent.is_dir():
        raise Problem(f"{path} cannot be written: there is no folder {path.parent}", Exit.USAGE)


def plot(lines: Sequence[AnyLine], path: Path) -> None:
    """Bars: how far above the reference each method is, per family. Raises Problem where it cannot be written."""
    from matplotlib.figure import Figure

    rows, columns, cells = grid(lines)
    if all(score is None for found in cells.values() for score in found):
        raise Problem(f"there is nothing to draw into {path}: no run has reached a value that counts")
    figure = Figure(figsize=(2.0 + 1.6 * max(len(rows), 2), 4.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(columns)
    for place, column in enumerate(columns):
        known = [[score for score in cells.get((row, column), []) if score is not None and score > 0.0] for row in rows]
        at = [number + place * width for number, found in enumerate(known) if found]
        means = [geometric_mean(found) for found in known if found]
        if means:  # where nothing of a method counts, the tables say so
            axes.bar(at, means, width, label=column, color=f"C{place}")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xlim(-width, len(rows) - 0.2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_ylabel("times the reference (less is better)")
    axes.set_xticks([number + 0.4 - width / 2 for number in range(len(rows))], rows, rotation=20, ha="right")
    figure.legend(fontsize="small", ncols=3, loc="outside upper center")  # above the axes, where no bar is
    try:
        figure.savefig(path)
    except OSError as error:
        raise Problem(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
