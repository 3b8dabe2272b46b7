"""When could a node start it? What a node tells of its load, and what may be concluded from it later.

A participant puts its `Load` on everything it says. The initiator keeps an `Account` per participant: the last load
told, and the awards made since that the load does not count yet. From both follows an `Outlook`: per slot, the seconds
until it is free. An outlook decides the rule of *late binding*: a task is transferred only to a node that is free now
or next.

    Load(ready_s=(0.4,)) at t=0     awards 7, 8 unheard: 0.2 s, 0.1 s     Outlook at t=0.3: ready in 0.4 s

Invariant: a slot that was told busy counts as busy until its node says otherwise, however long ago its work should have
ended; so a slow node is never flooded.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from .core import Count, Seconds, Speed

SLOTS_MAX = 64
WAITING_MAX = 4_096
"""How many accepted tasks a participant keeps waiting."""
NEXT_S = 0.020
"""A slot takes further tasks ahead while its queue is shorter than this: tiny tasks do not wait for a message each."""
RUN_S_MIN = 1e-4
"""No task counts as shorter: starting one costs that much."""
OVERDUE_S = 1e-6
"""What a slot that should be free by now still counts as needing, until its node has said that it is free."""

FADE_S = 1.0
"""What was told so long ago counts a third, and the rest is what was usual."""
LEARNT = 0.2
"""So much of the difference each load told adds to what is usual."""


class Load(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What a participant tells of itself.

    `ready_s`: per slot, ascending, the seconds until it has done all that is accepted (0: free now);
    `waiting` of the receiver's tasks, of `waiting_s` seconds together, are accepted but not started: others' do not
    count, so that each initiator may have its next task wait here, and a node serves them in turn. `speed` is the
    node's weight.
    """

    ready_s: Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=SLOTS_MAX)]
    waiting: Count
    waiting_s: Seconds
    speed: Speed


class Outlook:
    """A node's queue as far as it is known, and as a plan fills it.

    >>> outlook = Outlook([0.0], 0, 0.0)
    >>> outlook.room(5.0), outlook.take(5.0), outlook.room(1.0), outlook.take(1.0), outlook.room(1.0)
    (True, 0.0, True, 5.0, False)
    """

    __slots__ = ("_ready", "free", "slots", "speed", "waiting", "waiting_s")

    def __init__(self, ready_s: Iterable[float], waiting: int, waiting_s: float, speed: float = 1.0) -> None:
        self._ready = list(ready_s)
        self.slots = len(self._ready)
        self.free = self._ready.count(0.0) - waiting
        """Free slots, less the tasks that wait for one."""
        self.waiting = waiting
        self.waiting_s = waiting_s
        self.speed = speed
        heapq.heapify(self._ready)

    @property
    def slots_ready_s(self) -> tuple[float, ...]:
        """Per slot, in no order."""
        return tuple(self._ready)

    @property
    def ready_s(self) -> float:
        """Seconds until the next task could start."""
        return self._ready[0]

    def room(self, run_s: float) -> bool:
        """Would a task of `run_s` seconds start now or next?"""
        if self._ready[0] == 0.0 or self.waiting < self.slots:
            return True
        return self.waiting_s + max(run_s, RUN_S_MIN) <= NEXT_S * self.slots and self.waiting < WAITING_MAX

    @property
    def full(self) -> bool:
        """Not even the shortest task has room."""
        return not self.room(0.0)

    def take(self, run_s: float) -> float:
        """Put a task of `run_s` seconds into the queue; the seconds until it would start."""
        run_s = max(run_s, RUN_S_MIN)
        ready = self._ready[0]
        heapq.heapreplace(self._ready, ready + run_s)
        self.free -= 1
        if ready > 0.0:
            self.waiting += 1
            self.waiting_s += run_s
        return ready


class Prospect(NamedTuple):
    """What is expected of a node: seconds until a task would be done there, and its speed."""

    end_s: float
    speed: float


UNHEARD = Prospect(0.0, 1.0)
"""Who has told nothing counts as free, so that it is tried."""


class Account:
    """What an initiator knows of one participant's queue."""

    __slots__ = ("_load", "_told", "_unheard", "_usual_s")

    def __init__(self) -> None:
        self._load: Load | None = None
        self._told = 0.0
        self._usual_s = 0.0  # its queue, over all that was told
        self._unheard: deque[tuple[int, float]] = deque()  # (number, run_s) of awards its load does not count yet

    @property
    def known(self) -> bool:
        return self._load is not None

    @property
    def speed(self) -> float:
        assert self._load is not None
        return self._load.speed

    @property
    def slots(self) -> int:
        """How many it has told of; 1, if nothing."""
        return len(self._load.ready_s) if self._load is not None else 1

    @property
    def unheard(self) -> bool:
        """Awards are on their way that its load does not count yet."""
        return bool(self._unheard)

    def award(self, number: int, run_s: float) -> None:
        """One more award goes there; numbers rise."""
        self._unheard.append((number, run_s))

    def forget(self, number: int) -> None:
        """That award came to nothing, and may never have arrived."""
        if self._unheard and self._unheard[-1][0] >= number:
            self._unheard = deque(award for award in self._unheard if award[0] != number)

    def tell(self, load: Load, heard: int, now: float) -> None:
        """Its load, which counts our awards up to `heard`."""
        self._load, self._told = load, now
        self._usual_s += LEARNT * (load.ready_s[0] - self._usual_s)
        while self._unheard and self._unheard[0][0] <= heard:
            self._unheard.popleft()

    def prospect(self, work: float, now: float) -> Prospect:
        """Of so much work, in seconds at speed 1."""
        if self._load is None:
            return UNHEARD
        fresh = math.exp(-(now - self._told) / FADE_S)
        ready_s = fresh * self.outlook(now).ready_s + (1.0 - fresh) * self._usual_s
        return Prospect(ready_s + work / self._load.speed, self._load.speed)

    def outlook(self, now: float) -> Outlook:
        """Its queue at `now`: the load told, aged, with the awards it has not heard of put in."""
        assert self._load is not None
        age = now - self._told
        outlook = Outlook(
            [max(ready - age, OVERDUE_S) if ready > 0.0 else 0.0 for ready in self._load.ready_s],
            self._load.waiting,
            self._load.waiting_s,
            self._load.speed,
        )
        for _, run_s in self._unheard:
            outlook.take(run_s)
        return outlook


def hold(ready: list[float], slots: int, run_s: float) -> None:
    """`ready`: seconds until each slot of a node is free. The first that are hold so many together, for so long."""
    gang = heapq.nsmallest(slots, range(len(ready)), key=ready.__getitem__)
    end = ready[gang[-1]] + run_s
    for slot in gang:
        ready[slot] = end
