"""How long will this task take here? Learnt, kind by kind, from how long its like has taken here.

The idea: a task's nominal time on this node is its work over the node's speed (one second of work where nobody knows).
What was observed differs from it by a factor that belongs to the kind: the estimator keeps the mean of log(observed /
nominal), so that twice as long and half as long cancel out, and old observations fade exponentially (Hunter 1986, the
exponentially weighted moving average). The first few are weighed alike, so that the very first, which often pays for
caches, is soon corrected; where the work is known, the nominal time counts as one of them.

A kind that was never run here is taken to be as the other nodes tell, and a little better, so that it is tried: the
median of their factors times OPTIMISM. A node whose estimate is too high wins nothing, and would never learn better: so
an estimate above that, and not renewed, fades towards it (towards the nominal time where nobody tells, and the work is
known). The node bids lower and lower, until it is tried again. One that is too low wins, and is soon put right.

    estimate(task, 0.0)         -> 2.0 s     nominal, cold
    observe(task, 18.0, 18.0)
    estimate(task, 18.0)        -> 6.0 s     geometrically half-way
    estimate(task, 60.0)        -> 2.0 s     nobody wanted it at that price

A kind may be too coarse: all commands are of the kind `command`. So tasks may say what they are like ("like" in their
`about`), and are then told apart by that.

Invariant: no clocks (`now` is an argument, in seconds) and no randomness, the same calls give the same estimates; an
estimate is positive and finite; at most KINDS_MAX kinds are remembered, the longest unobserved is forgotten.
"""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict

from ..protocols.core import NodeId, Task
from ..protocols.performatives import Basis
from ..protocols.swim_words import ESTIMATES_TOLD_MAX, Estimate

WEIGHT = 0.3
"""What the newest observation counts against all earlier ones."""
KINDS_MAX = 1024
PATIENCE_S = 1.0
"""An estimate begins to fade when it has not been renewed for so long."""
FADE_S = 10.0
"""In this time its distance to what it fades to falls to 1/e."""
OPTIMISM = 0.9
WORK_UNKNOWN_S = 1.0
"""The work of a task that does not tell it: seconds at speed 1."""
SECONDS_MIN = 1e-6
"""What is shorter is taken for this: a clock may well say zero."""
SECONDS_MAX = 1e9
LIKE_CHARS_MAX = 256


class _Learnt:
    """Of one kind: how many observations, the mean of log(observed / nominal), the last one, and when it came."""

    __slots__ = ("at", "count", "factor", "mean", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.factor = 1.0
        self.seconds = 0.0
        self.at = 0.0


class Estimator:
    """Run times on one node of a given speed."""

    def __init__(self, speed: float) -> None:
        if not speed > 0.0:
            raise ValueError(f"a node's speed must be above zero, not {speed}")
        self._speed = speed
        self.learnt = 0
        """So often it was told something that may change its estimates."""
        self._kinds: OrderedDict[str, _Learnt] = OrderedDict()  # the longest unobserved first
        self._told: dict[NodeId, dict[str, float]] = {}  # factors, by what tasks are like
        self._expected: dict[str, float | None] = {}  # by them, in logs; None: nobody tells one

    def estimate(self, task: Task, now: float) -> tuple[float, Basis | None]:
        """Expected seconds of one attempt here, and from what; None: from nothing but the task's own words."""
        like = _like(task)
        learnt = self._kinds.get(like)
        nominal = self._nominal(task)
        if learnt is None:
            expected = self._by_others(like)
            if expected is None:
                return nominal, None
            factor = math.exp(expected)
            return _bounded(nominal * factor), Basis(0, factor)
        factor = learnt.factor
        if now - learnt.at > PATIENCE_S:
            factor = math.exp(self._faded(learnt, like, task, now))
        return _bounded(nominal * factor), Basis(learnt.count, factor)

    def observe(self, task: Task, seconds: float, now: float) -> None:
        """An attempt at the task held a slot for so many seconds and succeeded."""
        self.learnt += 1
        like = _like(task)
        learnt = self._kinds.pop(like, None) or _Learnt()
        learnt.count += 1
        weight = max(WEIGHT, 1.0 / (learnt.count + (task.work is not None)))
        learnt.mean += weight * (math.log(_bounded(seconds) / self._nominal(task)) - learnt.mean)
        learnt.factor = math.exp(learnt.mean)
        learnt.seconds = min(seconds, SECONDS_MAX)
        learnt.at = now
        self._kinds[like] = learnt
        if len(self._kinds) > KINDS_MAX:
            self._kinds.popitem(last=False)

    def told(self, node: NodeId, estimates: tuple[Estimate, ...]) -> None:
        """What another node has learnt, instead of all it has told before; nothing at all: it is gone."""
        factors = {one.kind: math.log(one.factor) for one in estimates}
        if self._told.get(node, {}) == factors:
            return
        self.learnt += 1
        self._told[node] = factors
        if not factors:
            del self._told[node]
        self._expected.clear()

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """What was learnt here, as other nodes are told it: the kinds that were observed last, the newest first."""
        newest = list(reversed(self._kinds.items()))[:ESTIMATES_TOLD_MAX]
        return tuple([Estimate(like, learnt.count, learnt.factor, learnt.seconds) for like, learnt in newest])

    def _faded(self, learnt: _Learnt, like: str, task: Task, now: float) -> float:
        """The log of its factor, closer to what it fades to, if that is lower."""
        aim = self._by_others(like)
        if aim is None:
            aim = 0.0 if task.work is not None else learnt.mean
        above = max(0.0, learnt.mean - aim)
        return learnt.mean - above * (1.0 - math.exp((learnt.at + PATIENCE_S - now) / FADE_S))

    def _by_others(self, like: str) -> float | None:
        """The log of what to expect by what others tell: their median factor, and a little better."""
        if like not in self._expected:
            if len(self._expected) > KINDS_MAX:
                self._expected.clear()
            factors = [told[like] for told in self._told.values() if like in told]
            self._expected[like] = statistics.median(factors) + math.log(OPTIMISM) if factors else None
        return self._expected[like]

    def _nominal(self, task: Task) -> float:
        return _bounded((WORK_UNKNOWN_S if task.work is None else task.work) / self._speed)


def _like(task: Task) -> str:
    """By what its like is known."""
    if task.terms is not None:
        for name, fact in task.terms.about:
            if name == "like":
                return f"{task.kind} {fact}"[:LIKE_CHARS_MAX]
    return task.kind


def _bounded(seconds: float) -> float:
    if seconds < SECONDS_MIN:
        return SECONDS_MIN
    return seconds if seconds < SECONDS_MAX else SECONDS_MAX
