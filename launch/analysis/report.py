"""A run as one HTML file, self-contained: opened from disk it needs no network and no server.

    logs -> Timeline -> columns (every task, every attempt, as arrays) ----\\
         -> the most telling tasks -> their whole stories, as `why` has them -> gzip, base64 -> page/report.html

`page/` holds the page, its style and its script as they are written; here they are only put together. Base64 is also
what keeps a label such as `</script>` from being anything but a label. A hundred thousand tasks stay usable: columns
are small when compressed, and full cards are made for CARDS_MAX tasks only: those that were lost or failed, waited
longest or were won by a hair, and others spread evenly between them. The rest show who won, and by how much over whom.

Times in the columns are ticks: whole numbers of TICKS_PER_S a second since the first line of the run.
"""

from __future__ import annotations

import base64
import gzip
import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...protocols.core import State
from .figures import busy, figures, knew, span
from .run import open_run
from .timeline import GONE, AwardTold, Timeline, timeline
from .why import Why, told
from .words import REASONS, RULES

REPORT_NAME = "report.html"
"""Of the file beside the logs."""
TICKS_PER_S = 10_000
CARDS_MAX = 2_000
COLUMNS_MAX = 240
"""Of the bid matrix; where there are more awards, neighbours share a column."""
CHANGES_MAX = TRADES_MAX = 4_000
KNEW_MAX = 200
LOADS_MAX = 600
"""Moments of a node's load; more are thinned out."""
PAGE = Path(__file__).parent / "page"
SCRIPTS = ("base.js", "gantt.js", "charts.js", "tasks.js", "card.js", "main.js")


def report(path: Path, cards_max: int = CARDS_MAX) -> bytes:
    """The whole page of the run in this folder, as UTF-8. Raises RunError."""
    line = timeline(path)
    page = columns(line)
    cards = stories(path, telling(line, cards_max))
    name = Path(line.path).resolve().name
    parts = {
        "title": html.escape(f"Parley {name}"),
        "style": (PAGE / "report.css").read_text("utf-8"),
        "script": "\n".join((PAGE / script).read_text("utf-8") for script in SCRIPTS),
        "data": _packed(page),
        "cards": _packed(cards),
    }
    text = (PAGE / "report.html").read_text("utf-8")
    for part, content in parts.items():
        text = text.replace(f"<!--{part}-->", content, 1)
    return text.encode()


def _packed(value: object) -> str:
    return base64.b64encode(gzip.compress(msgspec.json.encode(value), 6, mtime=0)).decode()


# --- what is told of every task --------------------------------------------------------------------------------------


def columns(line: Timeline) -> dict[str, object]:
    """All the page knows but the cards."""
    nodes = {name: place for place, name in enumerate(line.nodes)}
    names = _Words(line.nodes)  # and whoever else is told of, though no log of it is here
    kinds = _Words()
    reasons = _Words()
    errors = _Words()
    tasks = sorted(line.tasks.values(), key=lambda task: (_or(task.submitted_s, 0.0), task.place))
    places = {task.task: place for place, task in enumerate(tasks)}
    last = {award.task: award for award in line.awards}
    awards = [last.get(task.task) for task in tasks]
    begun, ended = span(line)
    spread = sorted(knew(line), key=lambda one: (one.state not in GONE, one.first_s))
    name = Path(line.path).resolve().name
    return {
        "run": name,
        "path": line.path,
        "began": datetime.fromtimestamp(line.began, UTC).isoformat(timespec="seconds"),
        "ticks_per_s": TICKS_PER_S,
        "span": _ticks(line.span_s),
        "work": [_ticks(begun), _ticks(ended)],
        "lines": line.lines,
        "notes": line.notes,
        "nodes": _nodes(line),
        "figures": figures(line),
        "batches": line.batches,
        "knew": spread[:KNEW_MAX],
        "knew_in_all": len(spread),
        "changes": [
            [_ticks(one.at_s), nodes.get(one.observer, -1), one.peer, one.state, one.reason]
            for one in line.changes[:CHANGES_MAX]
        ],
        "trades": [
            [_ticks(one.at_s), places[one.task], nodes.get(one.origin, -1), nodes.get(one.to, -1)]
            for one in line.trades[:TRADES_MAX]
            if one.task in places
        ],
        "tasks": {
            "id": [task.task for task in tasks],
            "kind": [kinds.place(task.kind) for task in tasks],
            "state": [str(task.state) for task in tasks],
            "node": [names.place(task.node) if task.node else -1 for task in tasks],
            "submitted": [_ticks(task.submitted_s) for task in tasks],
            "ended": [_ticks(task.ended_s) for task in tasks],
            "epoch": [task.epoch for task in tasks],
            "attempts": [task.attempts for task in tasks],
            "lost": [task.lost for task in tasks],
            "error": [errors.place(task.error) for task in tasks],
            "cost": [_ticks(award.cost if award else None) for award in awards],
            "second": [names.place(award.runner_up) if award and award.runner_up else -1 for award in awards],
            "margin": [_ticks(award.margin if award else None) for award in awards],
        },
        "attempts": {
            "task": [places[attempt.task] for attempt in line.attempts],
            "node": [nodes[attempt.node] for attempt in line.attempts],
            "slot": [attempt.slot for attempt in line.attempts],
            "start": [_ticks(attempt.start_s) for attempt in line.attempts],
            "length": [_ticks(attempt.end_s - attempt.start_s) for attempt in line.attempts],
            "epoch": [attempt.epoch for attempt in line.attempts],
            "reason": [reasons.place(attempt.reason) for attempt in line.attempts],
        },
        "matrix": _matrix(line.awards, list(line.nodes), places),
        "names": names.words,
        "kinds": kinds.words,
        "reasons": reasons.words,
        "errors": errors.words,
        "words": {"reasons": REASONS, "rules": RULES},
    }


class _Words:
    """Each word once; it is told by its place."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.words = list(words)
        self._places = {word: place for place, word in enumerate(self.words)}

    def place(self, word: str) -> int:
        place = self._places.get(word)
        if place is None:
            place = self._places[word] = len(self.words)
            self.words.append(word)
        return place


def _ticks(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * TICKS_PER_S)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _nodes(line: Timeline) -> list[dict[str, object]]:
    committed = line.committed
    seconds = busy(line, committed)
    done: dict[str, int] = dict.fromkeys(line.nodes, 0)
    slots: dict[str, int] = {name: node.slots for name, node in line.nodes.items()}
    for attempt in committed:
        done[attempt.node] += 1
    for attempt in line.attempts:
        slots[attempt.node] = max(slots[attempt.node], attempt.slot + 1)
    return [
        {
            "name": name,
            "slots": slots[name],
            "speed": node.speed,
            "starts": [_ticks(at) for at in node.starts_s],
            "first": _ticks(node.first_s),
            "stopped": _ticks(node.stopped_s),
            "killed": _ticks(node.killed_s),
            "last": _ticks(node.last_s),
            "busy_s": seconds[name],
            "done": done[name],
            "loads": [[_ticks(at), running, waiting, queued] for at, running, waiting, queued in _thin(node.loads)],
        }
        for name, node in line.nodes.items()
    ]


def _thin(loads: Sequence[tuple[float, int, int, float]]) -> Sequence[tuple[float, int, int, float]]:
    return loads[:: -(-len(loads) // LOADS_MAX)] if len(loads) > LOADS_MAX else loads


def _matrix(awards: Sequence[AwardTold], nodes: list[str], places: dict[str, int]) -> dict[str, object]:
    """Per column some awards that follow each other: for each node how dear its bids were against the best, on average,
    in hundredths (null: it bid for none of them), and of how many of them it is the winner."""
    per_column = max(-(-len(awards) // COLUMNS_MAX), 1)
    starts, tasks, relative, wins = [], [], [], []
    for first in range(0, len(awards), per_column):
        group = awards[first : first + per_column]
        starts.append(_ticks(group[0].at_s))
        tasks.append(places[group[0].task])
        relative.append([_relative(group, node) for node in nodes])
        wins.append([sum(award.winner == node for award in group) for node in nodes])
    return {"per_column": per_column, "at": starts, "task": tasks, "relative": relative, "wins": wins}


def _relative(awards: Iterable[AwardTold], node: str) -> int | None:
    ratios = [
        award.bids[node] / best if (best := min(award.bids.values())) > 0.0 else 1.0
        for award in awards
        if node in award.bids
    ]
    return round(100 * min(sum(ratios) / len(ratios), 1e6)) if ratios else None


# --- the most telling tasks ------------------------------------------------------------------------------------------


def telling(line: Timeline, most: int) -> list[str]:
    """Whose whole stories are worth their bytes, at most so many; all of them where they are no more."""
    tasks = list(line.tasks.values())
    if len(tasks) <= most:
        return [task.task for task in tasks]
    margins = {award.task: award.margin for award in line.awards if award.margin is not None}
    unlucky = [task.task for task in tasks if task.lost or task.state != State.DONE or task.attempts > 1]
    slowest = sorted(tasks, key=lambda task: _or(task.submitted_s, 0.0) - _or(task.ended_s, line.span_s))
    closest = sorted(margins, key=lambda task: (margins[task] or 0.0, task))
    share = most // 4
    chosen = dict.fromkeys(unlucky[: 2 * share])
    chosen.update(dict.fromkeys(task.task for task in slowest[:share]))
    chosen.update(dict.fromkeys(closest[: share // 2]))
    chosen.update(dict.fromkeys(closest[-(share // 2) :] if share > 1 else ()))
    rest = [task.task for task in tasks if task.task not in chosen]
    wanted = most - len(chosen)
    if wanted > 0:
        chosen.update(dict.fromkeys(rest[:: -(-len(rest) // wanted)]))
    return list(chosen)[:most]


def stories(path: Path, tasks: Sequence[str]) -> dict[str, Why]:
    """The stories of these tasks, with what is the same in all of them left out."""
    found = open_run(path).about_each(tasks)
    return {task: msgspec.structs.replace(told(task, lines, ""), notes=()) for task, lines in found.items()}
