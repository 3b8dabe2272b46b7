"""A run as a Chrome trace, as ui.perfetto.dev and chrome://tracing open: a track per slot, an arrow per award.

    process = node      thread "slot 1" = its attempts      thread "awards" = what it awarded, as initiator
    an arrow goes from each award to the start of its attempt, wherever that is; counters show what waits

Times are microseconds since the first line of the run. Format: "Trace Event Format" (Google, 2016), the JSON object
form; nothing of it is made up: X slices, s and f flows, i instants, C counters, M names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .timeline import Timeline

AWARDS = 1
"""The thread of what a node awards; its slots are the threads behind it."""
AWARD_US = 50.0
"""An award takes no time, but an arrow begins at a slice."""
FAILED_COLOR, DONE_COLOR, LOST_COLOR = "terrible", "good", "bad"


def events(line: Timeline) -> Iterator[dict[str, object]]:
    """The trace events, one after the other."""
    processes = {name: number for number, name in enumerate(line.nodes, 1)}
    for name, process in processes.items():
        node = line.nodes[name]
        told = f"{name} (speed {node.speed:g})"
        yield _named("process_name", process, 0, told)
        yield _named("thread_name", process, AWARDS, "awards")
        slots = max((attempt.slot for attempt in line.attempts if attempt.node == name), default=node.slots - 1) + 1
        for slot in range(max(slots, node.slots)):
            yield _named("thread_name", process, AWARDS + 1 + slot, f"slot {slot + 1}")
        for at, running, waiting, queued_s in node.loads:
            counts = {"running": running, "waiting": waiting, "queued_s": queued_s}
            yield {"ph": "C", "name": "load", "pid": process, "ts": _us(at), "args": counts}
        if node.killed_s is not None:
            mark = {"ph": "i", "s": "p", "name": "killed", "pid": process, "tid": AWARDS, "ts": _us(node.killed_s)}
            yield mark
    spans = [((one.node, one.slot), _us(one.start_s), max(_us(one.end_s - one.start_s), 1.0)) for one in line.attempts]
    begun = {(one.task, one.epoch, one.node): one.start_s for one in line.attempts}
    arrows = {
        key for one in line.awards if begun.get(key := (one.task, one.epoch, one.winner), -1.0) >= one.at_s
    }  # clocks of two machines may differ, and an arrow does not go back
    for attempt, length in zip(line.attempts, _lengths(spans), strict=True):
        process, thread = processes[attempt.node], AWARDS + 1 + attempt.slot
        args = {"task": attempt.task, "epoch": attempt.epoch, "ended": attempt.reason or "done"}
        place: dict[str, object] = {"pid": process, "tid": thread, "ts": _us(attempt.start_s)}
        color = DONE_COLOR if not attempt.reason else LOST_COLOR if attempt.reason == "cut" else FAILED_COLOR
        name = f"{attempt.kind.rpartition(':')[2]} {attempt.task}"
        yield {"ph": "X", "cat": "run", "name": name, **place, "dur": length, "cname": color, "args": args}
        if (attempt.task, attempt.epoch, attempt.node) in arrows and not attempt.rank:
            yield {**_arrow("f", attempt.task, attempt.epoch), "bp": "e", **place}
    spans = [((one.initiator, AWARDS), _us(one.at_s), AWARD_US) for one in line.awards]
    for award, length in zip(line.awards, _lengths(spans), strict=True):
        place = {"pid": processes[award.initiator], "tid": AWARDS, "ts": _us(award.at_s)}
        args = {
            "task": award.task,
            "epoch": award.epoch,
            "winner": award.winner,
            "cost_s": award.cost,
            "rule": award.rule,
        }
        if award.margin is not None:
            args |= {"runner_up": award.runner_up, "margin_s": award.margin}
        name = f"{award.task} to {award.winner}"
        yield {"ph": "X", "cat": "award", "name": name, **place, "dur": length, "args": args}
        if (award.task, award.epoch, award.winner) in arrows:
            yield {**_arrow("s", award.task, award.epoch), **place}
    for change in line.changes:
        place = {"pid": processes[change.observer], "tid": AWARDS, "ts": _us(change.at_s)}
        name = f"{change.peer} counts as {change.state}"
        yield {"ph": "i", "s": "t", "cat": "members", "name": name, **place, "args": {"reason": change.reason}}


def _named(what: str, process: int, thread: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _arrow(phase: str, task: str, epoch: int) -> dict[str, object]:
    return {"ph": phase, "cat": "award", "name": "award", "id": f"{task}/{epoch}"}


def _lengths(spans: Sequence[tuple[tuple[str, int], float, float]]) -> list[float]:
    """How long to draw slices of which the track, the begin and the length are these, in the order in which they begin:
    no longer than until the next one begins, since those of one track may not overlap."""
    lengths: list[float] = []
    behind: dict[tuple[str, int], tuple[float, float]] = {}  # by track: the next begin, and the next one later than it
    for track, begin, length in reversed(spans):
        following, after = behind.get(track, (math.inf, math.inf))
        until = following if following > begin else after
        behind[track] = begin, until
        lengths.append(round(min(length, until - begin), 1))
    return lengths[::-1]


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)
