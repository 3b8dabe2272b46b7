"""How long will this task take here? Learnt, kind by kind, from how long its like has taken here.

The idea: a task's nominal time on this node is its work over the node's speed (one second of work where nobody
knows). What was observed differs from it by a factor that belongs to the kind: the estimator keeps the mean of
log(observed / nominal), so that twice as long and half as long cancel out, and old observations fade exponentially
(Hunter 1986, the exponentially weighted moving average). The first three are weighed alike (1/n), so that the very
first, which often pays for imports and caches, is soon corrected.

    predict(task)     -> 2.0 s     nominal, cold
    observe(task, 6.0)
    predict(task)     -> 6.0 s     the kind is three times slower here than its tasks say

Invariant: no clocks and no randomness, the same observations give the same predictions; a prediction is positive and
finite; at most KINDS_MAX kinds are remembered, the least recently used is forgotten.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ..protocols.core import Task

WEIGHT = 0.3
"""What the newest observation counts against all earlier ones."""
KINDS_MAX = 1024
FADING = 0.98
"""What is left of the deviation from the nominal time after one prediction without an observation."""
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
    """Of one kind: how many observations, and the mean of log(observed / nominal)."""

    __slots__ = ("count", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0


class Estimator:
    """Run times on one node of a given speed.

    `prior` tells the factor of a kind that has never been observed here (what the rest of the fleet has learnt, say).
    """

    def __init__(self, speed: float, prior: Callable[[str], float] | None = None) -> None:
        if not speed > 0.0:
            raise ValueError(f"a node's speed must be above zero, not {speed}")
        self._speed = speed
        self._prior = prior
        self._kinds: OrderedDict[str, _Learnt] = OrderedDict()  # the least recently used first

    def predict(self, task: Task) -> float:
        """Expected seconds of one attempt at the task on this node."""
        learnt = self._kinds.get(task.kind)
        if learnt is None:
            return _bounded(self._nominal(task) * self.evidence(task.kind).factor)
        self._kinds.move_to_end(task.kind)
        if task.work is not None:
            learnt.mean *= FADING
        return _bounded(self._nominal(task) * math.exp(learnt.mean))

    def observe(self, task: Task, seconds: float) -> None:
        """An attempt at the task held a slot for so many seconds and succeeded."""
        learnt = self._kinds.pop(task.kind, None) or _Learnt()
        learnt.count += 1
        weight = max(WEIGHT, 1.0 / (learnt.count + (task.work is not None)))
        learnt.mean += weight * (math.log(_bounded(seconds) / self._nominal(task)) - learnt.mean)
        self._kinds[task.kind] = learnt
        if len(self._kinds) > KINDS_MAX:
            self._kinds.popitem(last=False)

    def evidence(self, kind: str) -> Evidence:
        """What a prediction for this kind rests on."""
        if kind in self._kinds:
            learnt = self._kinds[kind]
            return Evidence(learnt.count, math.exp(learnt.mean))
        return Evidence(0, self._prior(kind) if self._prior else 1.0)

    def _nominal(self, task: Task) -> float:
        return _bounded((WORK_UNKNOWN_S if task.work is None else task.work) / self._speed)


def _bounded(seconds: float) -> float:
    return min(max(seconds, SECONDS_MIN), SECONDS_MAX)
