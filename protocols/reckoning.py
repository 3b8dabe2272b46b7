"""How good was it? When all that was handed in at a node has ended, the objective functions of it, for the log.

    task.submit ... auction.open, auction.award ... task.commit     what this node tells the log anyway
                       | told, one by one
                    Reckoning ---- nothing is open any more ----> metric.objective

It is told events and nothing else. So whoever has the log can tell another one the same, in the same order, at the same
moments, and comes to the same numbers: `verify` does. A task whose epoch is fenced here is another agent's from then
on, and one that has ended by itself is not judged: it takes two to be shared out.

The classic functions, and their sources, stand in `objective.py`. The completion time Σ_j (duration_j + delay_j), where
both together are what task j took from being handed in to its end, is the area below the number of open tasks
(J. Little, A Proof for the Queuing Formula L = λW, Operations Research 9, 1961): no task's beginning need be kept.

Invariant: what is kept grows with the tasks that are open and with the calls for them, and is let go of with the last.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec

from . import objective
from .batch_words import BatchOpened
from .commitment_events import EpochFenced
from .contract_events import AuctionAwarded, AuctionOpened, TaskCommitted
from .core import Event, NodeId, State, TaskId
from .service import TaskSubmitted

TASKS_MIN = 2
CALLS_MAX = 1_024
"""So many calls are remembered that no award has followed yet; of older ones none will."""


class NodeShare(msgspec.Struct, frozen=True, gc=False):
    """What a node has, and how much of the work it did: so many tasks, so many seconds in its slots."""

    node: NodeId
    slots: int
    speed: float
    done: int
    busy_s: float


class ObjectiveReached(Event, frozen=True, kw_only=True):
    """All that was handed in here has ended: so many tasks, of which so many are done, and how good that was.

    `makespan_s` is from the first that was handed in to the last end, and no allocation of what is done to these nodes
    would have taken less than `bound_s` of work. Loads are busy seconds, by node. `completion_s` is, summed over the
    tasks, the time from being handed in to the end; `weighted_s` the seconds of work of each call, of which none counts
    less than `call_s`, the mean time from a call to its first award.
    """

    name: ClassVar[str] = "metric.objective"
    ended: int
    done: int
    nodes: tuple[NodeShare, ...]
    makespan_s: float
    bound_s: float
    average_load_s: float
    imbalance: float
    fairness: float
    completion_s: float
    weighted_s: float
    call_s: float


Capacity = Callable[[], Iterable[tuple[NodeId, int, float]]]
"""Every node that there is, its slots and its speed."""


class Reckoning:
    """Of one node; `capacity` is asked when all has ended."""

    LISTENS: ClassVar[frozenset[type[Event]]] = frozenset(
        {TaskSubmitted, AuctionOpened, BatchOpened, AuctionAwarded, TaskCommitted, EpochFenced}
    )
    """Whatever else happens changes nothing."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._open: set[TaskId] = set()
        self._begin()

    def _begin(self) -> None:
        self._since = self._last = 0.0
        self._area = 0.0
        self._handed_in = 0
        self._busy: dict[NodeId, array[float]] = {}  # seconds of each task that is done, by node
        self._called: OrderedDict[str, float] = OrderedDict()  # when, of calls without an award
        self._waits: list[float] = []  # from each call to its first award
        self._awarded: dict[TaskId, str] = {}  # in which call
        self._steps: dict[str, float] = {}  # seconds of work, by call

    def tell(self, event: Event, now: float) -> ObjectiveReached | None:
        """An event of this node, and what follows from it."""
        if type(event) is TaskSubmitted:
            self._submitted(event.task, now)
        elif type(event) is AuctionAwarded:
            if event.task in self._open:
                if (called := self._called.pop(event.auction, None)) is not None:
                    self._waits.append(now - called)
                self._awarded[event.task] = event.auction
        elif type(event) is TaskCommitted:
            if event.task in self._open:
                self._committed(event)
                return self._left(event.task, now)
        elif type(event) is AuctionOpened:
            self._has_called(event.auction, now)
        elif type(event) is BatchOpened:
            self._has_called(event.session, now)
        elif type(event) is EpochFenced and event.task in self._open:
            self._handed_in -= 1
            return self._left(event.task, now)
        return None

    def _has_called(self, call: str, now: float) -> None:
        if self._open:
            self._called[call] = now
            if len(self._called) > CALLS_MAX:
                self._called.popitem(last=False)

    def _submitted(self, task: TaskId, now: float) -> None:
        if not self._open:
            self._begin()
            self._since = self._last = now
        self._pass(now)
        self._open.add(task)
        self._handed_in += 1

    def _pass(self, now: float) -> None:
        self._area += len(self._open) * (now - self._last)
        self._last = now

    def _committed(self, end: TaskCommitted) -> None:
        if end.state is not State.DONE or end.peer is None:
            return
        self._busy.setdefault(end.peer, array("d")).append(end.seconds)
        if (call := self._awarded.get(end.task)) is not None:
            self._steps[call] = self._steps.get(call, 0.0) + end.seconds

    def _left(self, task: TaskId, now: float) -> ObjectiveReached | None:
        """It is open no more."""
        self._pass(now)
        self._open.discard(task)
        self._awarded.pop(task, None)
        if self._open:
            return None
        reached = self._reached()
        self._begin()
        return reached

    def _reached(self) -> ObjectiveReached | None:
        """The numbers; None where there is nothing to judge."""
        has = {node: (slots, speed) for node, slots, speed in self._capacity()}
        has |= {node: (1, 1.0) for node in self._busy if node not in has}
        nodes = tuple(
            [
                NodeShare(node, slots, speed, len(spent), math.fsum(spent))
                for node, (slots, speed) in sorted(has.items())
                for spent in [self._busy.get(node, ())]
            ]
        )
        done = sum([node.done for node in nodes])
        loads = [node.busy_s for node in nodes]
        if done < TASKS_MIN or not any(loads):
            return None
        works = [spent * has[node][1] for node, each in self._busy.items() for spent in each]
        call_s = math.fsum(self._waits) / len(self._waits) if self._waits else 0.0
        steps = [[spent] for spent in self._steps.values()]
        return ObjectiveReached(
            ended=self._handed_in,
            done=done,
            nodes=nodes,
            makespan_s=self._last - self._since,
            bound_s=objective.prefix_bound(works, [node.speed for node in nodes for _ in range(node.slots)]),
            average_load_s=objective.average_load(loads),
            imbalance=objective.imbalance(loads),
            fairness=objective.fairness(loads),
            completion_s=self._area,
            weighted_s=objective.weighted_objective(steps, [1.0], call_s) if steps else 0.0,
            call_s=call_s,
        )


EVENTS: tuple[type[Event], ...] = (ObjectiveReached,)
