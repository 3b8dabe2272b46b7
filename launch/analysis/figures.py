"""A run in figures, by the field's own functions: what was reached, how good it could have been, what it cost.

    loads L_i      seconds of committed attempts on node i          works w_j = seconds of task j times its node's speed
    makespan       from the first start to the last end             bound: no allocation of these works ends sooner
    weighted       Σ over the calls of max(Σ_i t_i, C): seconds of the tasks that were called together, of which none
                   counts less than C, what it takes on average from a call to its first award

Each figure says what it is in words and as a formula; the functions are those of `protocols/objective.py`. Seconds are
those of the nodes' own logs; what an attempt took is what its executor says, as in the summary of a demonstration.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from ...protocols import objective
from .timeline import Attempt, Change, Timeline

LEAST_SPEED = 1e-9
"""A log may hold anything."""
SPREAD_S = 10.0
"""So long news of a member may take to be the same news."""


class Figure(msgspec.Struct, frozen=True):
    """One number; `unit` is "s", "B", "" (a ratio), "%" or a thing that is counted."""

    name: str
    value: float
    unit: str
    formula: str
    words: str


class Knew(msgspec.Struct, frozen=True):
    """How soon a change was known: `first_s` when, `all_s` later the last of so many observers."""

    peer: str
    state: str
    first_s: float
    all_s: float
    observers: int
    reason: str


def span(line: Timeline) -> tuple[float, float]:
    """When the first attempt started and the last one ended."""
    if not line.attempts:
        return 0.0, line.span_s
    return line.attempts[0].start_s, max(attempt.end_s for attempt in line.attempts)


def busy(line: Timeline, attempts: list[Attempt]) -> dict[str, float]:
    """Seconds of these attempts, by node."""
    seconds = dict.fromkeys(line.nodes, 0.0)
    for attempt in attempts:
        seconds[attempt.node] += attempt.seconds
    return seconds


def bound_s(line: Timeline, committed: list[Attempt]) -> float | None:
    """No allocation of the works that were done, on the slots there were, ends sooner; None: there were none."""
    speeds = [max(node.speed, LEAST_SPEED) for node in line.nodes.values() for _ in range(node.slots)]
    works = [attempt.seconds * line.nodes[attempt.node].speed for attempt in committed]
    return objective.prefix_bound(works, speeds) if any(works) else None


def figures(line: Timeline) -> list[Figure]:
    """All that can be said of this run in numbers; fewer of one in which nothing was done."""
    committed = line.committed
    bound = bound_s(line, committed)
    if bound is None:
        return []
    begun, ended = span(line)
    loads = list(busy(line, committed).values())
    durations = [attempt.seconds for attempt in committed]
    delays = _delays(line, committed)
    spans = max(ended - begun, 1e-9)
    slots = sum(node.slots for node in line.nodes.values())
    told = [
        Figure("makespan", ended - begun, "s", "C = max end − min start", "from the first start to the last end"),
        Figure(
            "lower bound", bound, "s", "max over k of Σ k largest wⱼ / Σ k largest speeds", "no allocation ends sooner"
        ),
        Figure("ratio", (ended - begun) / bound, "", "makespan / bound", "1 cannot be beaten"),
        Figure("average load", objective.average_load(loads), "s", "Σ Lᵢ / m", "busy seconds of a node, on average"),
        Figure("imbalance", objective.imbalance(loads), "", "max Lᵢ / mean Lᵢ", "1: all nodes are busy alike"),
        Figure("fairness", objective.fairness(loads), "", "(Σ Lᵢ)² / (m Σ Lᵢ²)", "Jain's index; 1: all are busy alike"),
        Figure(
            "utilisation",
            100 * min(1.0, sum(loads) / (slots * spans)),
            "%",
            "Σ Lᵢ / (slots · C)",
            "of the time in slots",
        ),
        Figure(
            "completion time",
            objective.completion_time(durations, delays),
            "s",
            "Σ (durationⱼ + delayⱼ)",
            "run times of all tasks, and their time from submission to start",
        ),
        Figure(
            "weighted objective",
            _weighted(line, committed),
            "s",
            "Σ max(Σ wᵢtᵢ, C)",
            "over the calls; wᵢ = 1, C the mean time from a call to its first award",
        ),
    ]
    return [*told, *_traffic(line)]


def _delays(line: Timeline, committed: list[Attempt]) -> list[float]:
    """From submission to the start of the attempt that counts."""
    delays = []
    for attempt in committed:
        submitted = line.tasks[attempt.task].submitted_s
        delays.append(max(attempt.start_s - submitted, 0.0) if submitted is not None else 0.0)
    return delays


def _weighted(line: Timeline, committed: list[Attempt]) -> float:
    called = {(award.task, award.epoch): award.auction for award in line.awards}
    places = {node: place for place, node in enumerate(line.nodes)}
    steps: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * len(places))
    for attempt in committed:
        auction = called.get((attempt.task, attempt.epoch), "")
        steps[auction][places[attempt.node]] += attempt.seconds
    first: dict[str, float] = {}
    for award in line.awards:
        first.setdefault(award.auction, award.at_s)
    waits = [max(at - line.opened[auction], 0.0) for auction, at in first.items() if auction in line.opened]
    threshold = sum(waits) / len(waits) if waits else 0.0
    return objective.weighted_objective(list(steps.values()), [1.0] * len(places), threshold)


def _traffic(line: Timeline) -> list[Figure]:
    """What was said for it: all that nodes have sent, and each line of an auction, which is one word of it."""
    tasks = max(len(line.tasks), 1)
    counts = line.counts
    messages, sent_bytes = map(sum, zip(*[life for node in line.nodes.values() for life in node.sent], strict=True))
    sent = "by agents to agents and clients, in this run as a whole, membership and commitment included"
    return [
        Figure("messages per task", messages / tasks, "", "messages / tasks", sent),
        Figure("bytes per task", sent_bytes / tasks, "B", "bytes / tasks", sent),
        Figure("calls per task", counts["auction.open"] / tasks, "", "calls / tasks", "one call may hold many tasks"),
        Figure("bids per task", counts["bid.submit"] / tasks, "", "bids / tasks", "renewed ones included"),
        Figure("declines per task", counts["bid.decline"] / tasks, "", "declines / tasks", "in the bidders' logs"),
        Figure(
            "awards per task", counts["auction.award"] / tasks, "", "awards / tasks", "1: nothing was lost or declined"
        ),
    ]


def knew(line: Timeline) -> list[Knew]:
    """Each change of a member as it spread. What is thought of it later than that, or anew, is another change."""
    spreading: dict[tuple[str, str], list[Change]] = {}
    told: list[Knew] = []
    for change in line.changes:
        key = (change.peer, change.state)
        alike = spreading.setdefault(key, [])
        anew = any(one.observer == change.observer for one in alike)
        if anew or (alike and change.at_s - alike[0].at_s > SPREAD_S):
            told.append(_spread(alike))
            spreading[key] = [change]
        else:
            alike.append(change)
    told += map(_spread, spreading.values())
    return sorted(told, key=lambda one: one.first_s)


def _spread(alike: list[Change]) -> Knew:
    first, last = alike[0], alike[-1]
    observers = len({change.observer for change in alike})
    return Knew(first.peer, first.state, first.at_s, last.at_s - first.at_s, observers, first.reason)
