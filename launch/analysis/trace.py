"""A run as a Chrome trace, as ui.perfetto.dev and chrome://tracing open: a track per slot, an arrow per award.

    process = node      thread "slot 1" = its attempts      thread "awards" = what it awarded, as initiator
    an arrow goes from each award to the start of its attempt, wherever that is; counters show what waits

Times are microseconds since the first line of the run. Format: "Trace Event Format" (Google, 2016), the JSON object
form; nothing of it is made up: X slices, s and f flows, i instants, C counters, M names.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    started: set[tuple[str, int, str]] = set()
    for attempt in line.attempts:
        started.add((attempt.task, attempt.epoch, attempt.node))
        process, thread = processes[attempt.node], AWARDS + 1 + attempt.slot
        args = {"task": attempt.task, "epoch": attempt.epoch, "ended": attempt.reason or "done"}
        place: dict[str, object] = {"pid": process, "tid": thread, "ts": _us(attempt.start_s)}
        color = DONE_COLOR if not attempt.reason else LOST_COLOR if attempt.reason == "cut" else FAILED_COLOR
        length = {"dur": max(_us(attempt.end_s - attempt.start_s), 1.0)}
        kind = attempt.kind.rpartition(":")[2]
        yield {
            "ph": "X",
            "cat": "run",
            "name": f"{kind} {attempt.task}",
            **place,
            **length,
            "cname": color,
            "args": args,
        }
        yield {"ph": "f", "bp": "e", "cat": "award", "name": "award", "id": f"{attempt.task}/{attempt.epoch}", **place}
    for award in line.awards:
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
        yield {"ph": "X", "cat": "award", "name": name, **place, "dur": AWARD_US, "args": args}
        if (award.task, award.epoch, award.winner) in started:
            yield {"ph": "s", "cat": "award", "name": "award", "id": f"{award.task}/{award.epoch}", **place}
    for change in line.changes:
        place = {"pid": processes[change.observer], "tid": AWARDS, "ts": _us(change.at_s)}
        name = f"{change.peer} counts as {change.state}"
        yield {"ph": "i", "s": "t", "cat": "members", "name": name, **place, "args": {"reason": change.reason}}


def _named(what: str, process: int, thread: int, name: str) -> dict[str, object]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)
