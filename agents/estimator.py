"""How long will this task take here? Learnt, kind by kind, from how long its like has taken here.

The idea: a task's nominal time on this node is its work over the node's speed (one second of work where nobody knows).
What was observed differs from it by a factor that belongs to the kind: the estimator keeps the mean of log(observed /
nominal), so that twice as long and half as long cancel out, and old observations fade exponentially (Hunter 1986, the
exponentially weighted moving average). The first few are weighed alike, so that the very first, which often pays for
caches, is soon corrected; where the work is known, the nominal time counts as one of them.

A node whose estimate is too high wins nothing, and would never learn better. So where the work is known an estimate
that is not renewed fades with time towards the nominal one: the node bids lower and lower, until it is tried again.

    predict(task, 0.0)         -> 2.0 s     nominal, cold
    observe(task, 18.0, 18.0)
    predict(task, 18.0)        -> 6.0 s     geometrically half-way
    predict(task, 60.0)        -> 2.0 s     nobody wanted it at that price

Invariant: no clocks (`now` is an argument, in seconds) and no randomness, the same calls give the same predictions; a
prediction is positive and finite; at most KINDS_MAX kinds are remembered, the longest unobserved is forgotten.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

from ..protocols.core import Task

WEIGHT = 0.3
"""What the newest observation counts against all earlier ones."""
KINDS_MAX = 1024
PATIENCE_S = 1.0
"""An estimate begins to fade when it has not been renewed for so long."""
FADE_S = 10.0
"""In this time the deviation from the nominal time falls to 1/e."""
WORK_UNKNOWN_S = 1.0
"""The work of a task that does not tell it: seconds at speed 1."""
SECONDS_MIN = 1e-6
"""What is shorter is taken for this: a clock may well say zero."""
SECONDS_MAX = 1e9


class Evidence(NamedTuple):
    """What is known of a kind: how many observations, and the factor between nominal and observed seconds."""

    observations: int
    factor: float


class _Learnt:
    """Of one kind: how many observations, the mean of log(observed / nominal), and when it was renewed."""

    __slots__ = ("at", "count", "factor", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.factor = 1.0
        self.at = 0.0


class Estimator:
    """Run times on one node of a given speed."""

    def __init__(self, speed: float) -> None:
        if not speed > 0.0:
            raise ValueError(f"a node's speed must be above zero, not {speed}")
        self._speed = speed
        self._kinds: OrderedDict[str, _Learnt] = OrderedDict()  # the longest unobserved first

    def predict(self, task: Task, now: float) -> float:
        """Expected seconds of one attempt at the task on this node."""
        learnt = self._kinds.get(task.kind)
        nominal = self._nominal(task)
        if learnt is None:
            return nominal
        factor = learnt.factor
        if task.work is not None and now - learnt.at > PATIENCE_S:
            factor = math.exp(learnt.mean * math.exp((learnt.at + PATIENCE_S - now) / FADE_S))
        return _bounded(nominal * factor)

    def observe(self, task: Task, seconds: float, now: float) -> None:
        """An attempt at the task held a slot for so many seconds and succeeded."""
        learnt = self._kinds.pop(task.kind, None) or _Learnt()
        learnt.count += 1
        weight = max(WEIGHT, 1.0 / (learnt.count + (task.work is not None)))
        learnt.mean += weight * (math.log(_bounded(seconds) / self._nominal(task)) - learnt.mean)
        learnt.factor = math.exp(learnt.mean)
        learnt.at = now
        self._kinds[task.kind] = learnt
        if len(self._kinds) > KINDS_MAX:
            self._kinds.popitem(last=False)

    def evidence(self, kind: str) -> Evidence:
        """What a prediction for this kind rests on."""
        learnt = self._kinds.get(kind)
        return Evidence(0, 1.0) if learnt is None else Evidence(learnt.count, learnt.factor)

    def _nominal(self, task: Task) -> float:
        return _bounded((WORK_UNKNOWN_S if task.work is None else task.work) / self._speed)


def _bounded(seconds: float) -> float:
    if seconds < SECONDS_MIN:
        return SECONDS_MIN
    return seconds if seconds < SECONDS_MAX else SECONDS_MAX
