"""What takes a node up: attempts that run, attempts that wait, what is left beside them; and the load that it tells.

    wait(a)          a stands last in the row; each initiator has a queue of its own in it, of so many seconds
    start_next(now)  the first of the row, if its slots and all else that it takes are free: it runs
    leave(a)         what it held is free again, or its place in the row
    lead(a)          a gang is led from here: that takes nothing, its members do
    load(to, now)    per slot, the seconds until all that was accepted is done; and what waits for this initiator

Invariant: what runs takes no more than the node has, of slots and of all else; whoever waits is served in the order of
arrival, so nobody overtakes the one that needs much.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from .core import SLOTS, AuctionId, NodeId, Task, TaskId
from .load import NEXT_S, RUN_S_MIN, Load, hold
from .performatives import Award

OVERRUN = 0.1
"""What a task that runs longer than expected is taken to need still: this part of what it has taken so far."""
LEASE_S_MIN = 0.01
"""A shorter lease is not renewed in time: it would keep this node busy with nothing else."""


class Attempt:
    """One awarded attempt, waiting or running."""

    __slots__ = (
        "auction", "begun", "blobs", "epoch", "follow", "here", "initiator", "lease_s", "members", "overdue",
        "patient_until", "payload", "run_s", "slots", "started", "task", "warrant",
    )  # fmt: skip

    def __init__(self, award: Award, initiator: NodeId, run_s: float, patient_until: float) -> None:
        self.auction: AuctionId = award.auction
        self.task = award.task
        self.epoch = award.epoch
        self.lease_s = max(award.lease_s, LEASE_S_MIN)
        self.payload = award.payload
        self.follow = award.follow
        self.blobs = award.blobs
        self.warrant = award.warrant
        self.members = award.members  # of a gang, which is led from here
        self.begun = True  # False: its holders are asked whether it may begin: once at most, or after we slept
        self.here = not award.blobs  # all that its payload refers to is here
        self.initiator = initiator
        self.run_s = run_s
        self.slots = award.task.slots
        self.patient_until = patient_until  # so long it waits
        self.started: float | None = None  # None: it waits
        self.overdue = False  # others have waited for its end in vain

    @property
    def outlives(self) -> bool:
        """Others than its initiator hold it."""
        return self.warrant is not None and len(self.warrant.holders) > 1

    def remaining_s(self, now: float) -> float:
        """Seconds it is expected to hold its slot still; never zero."""
        taken = now - (now if self.started is None else self.started)
        return max(self.run_s - taken, taken if self.overdue else OVERRUN * taken, RUN_S_MIN)


class _Queue:
    """What one initiator's tasks wait for here: how many, how long together."""

    __slots__ = ("tasks", "work_s")

    def __init__(self) -> None:
        self.tasks = 0
        self.work_s = 0.0

    def add(self, tasks: int, work_s: float) -> None:
        self.tasks += tasks
        self.work_s = max(self.work_s + work_s, 0.0) if self.tasks else 0.0


class Occupancy:
    """Of one node. `amounts` is what it has of anything that tasks take while they run, beside `slots`."""

    def __init__(self, slots: int, speed: float, amounts: Mapping[str, float]) -> None:
        self._slots = slots
        self._speed = speed
        self._amounts = {**amounts, SLOTS: float(slots)}
        self._left = dict(self._amounts)  # of them, beside what runs
        self._queues: dict[NodeId, _Queue] = {}  # of those that wait, per initiator
        self.running: dict[TaskId, Attempt] = {}
        self.waiting: OrderedDict[TaskId, Attempt] = OrderedDict()
        self.leading: dict[TaskId, Attempt] = {}

    @property
    def free_slots(self) -> float:
        return self._left[SLOTS]

    @property
    def counts(self) -> tuple[int, int, float]:
        """How many attempts run, how many wait, and the seconds of work that wait."""
        return len(self.running), len(self.waiting), sum([queue.work_s for queue in self._queues.values()])

    def fits(self, task: Task) -> bool:
        """All it takes is free."""
        return all(self._left.get(name, 0.0) >= amount for name, amount in task.takes)

    def seats(self, task: Task) -> int:
        """So many such could run at once, if nothing else did."""
        return int(min([self._amounts.get(name, 0.0) // amount for name, amount in task.takes if amount], default=0.0))

    def wait(self, attempt: Attempt) -> None:
        """It stands last in the row."""
        self.waiting[attempt.task.id] = attempt
        self._queues.setdefault(attempt.initiator, _Queue()).add(1, attempt.run_s)

    def start_next(self, now: float) -> Attempt | None:
        """The first of the row, which runs from now on; None: there is none, or it needs more than is free."""
        if not self.waiting or self._left[SLOTS] <= 0.0:
            return None
        attempt = self.waiting[next(iter(self.waiting))]
        if not self.fits(attempt.task):
            return None  # in the order of arrival: nobody overtakes the one that needs much
        self._leave_queue(attempt)
        self._take(attempt.task, 1)
        attempt.started = now
        self.running[attempt.task.id] = attempt
        return attempt

    def lead(self, attempt: Attempt, now: float) -> None:
        """It begins at once, whatever else runs."""
        attempt.started = now
        self.leading[attempt.task.id] = attempt

    def rename(self, attempt: Attempt, task: Task) -> None:
        """What a place that has its slot is for is known now; it takes no more and no less."""
        del self.running[attempt.task.id]
        attempt.task = task
        self.running[task.id] = attempt

    def overrun(self, now: float) -> None:
        """Others have waited in vain for what runs longer than it was expected to."""
        for running in self.running.values():
            running.overdue = running.started is not None and now - running.started > running.run_s

    def leave(self, attempt: Attempt) -> None:
        """It has ended, or was given up."""
        if attempt.started is None:
            self._leave_queue(attempt)
        elif attempt.members:
            del self.leading[attempt.task.id]
        else:
            del self.running[attempt.task.id]
            self._take(attempt.task, -1)

    def _leave_queue(self, attempt: Attempt) -> None:
        del self.waiting[attempt.task.id]
        queue = self._queues[attempt.initiator]
        queue.add(-1, -attempt.run_s)
        if not queue.tasks:
            del self._queues[attempt.initiator]

    def _take(self, task: Task, times: int) -> None:
        for name, amount in task.takes:
            self._left[name] = self._left.get(name, 0.0) - times * amount
        if times < 0 and not self.running:
            self._left = dict(self._amounts)  # no rounding error outlives the work

    def resources_s(self, task: Task, now: float) -> float:
        """Seconds until so much is free beside what runs and waits before it."""
        left = dict(self._left)
        held = sorted(self.running.values(), key=lambda attempt: attempt.remaining_s(now))
        needed = task.takes
        seconds = 0.0
        for attempt in held:
            if all(left.get(name, 0.0) >= amount for name, amount in needed):
                return seconds
            seconds = attempt.remaining_s(now)
            for name, amount in attempt.task.takes:
                left[name] = left.get(name, 0.0) + amount
        return seconds

    def load(self, to: NodeId, now: float) -> Load:
        """As this initiator is told it."""
        if not self.running:
            return Load((0.0,) * self._slots, 0, 0.0, self._speed)
        ready = [attempt.remaining_s(now) for attempt in self.running.values() for _ in range(attempt.slots)]
        ready += [0.0] * (self._slots - len(ready))
        if len(self.waiting) > 2 * self._slots:  # many tiny ones: spread evenly
            share = sum([queue.work_s for queue in self._queues.values()]) / self._slots
            ready = [slot + share for slot in ready]
        else:
            for attempt in self.waiting.values():
                hold(ready, attempt.slots, attempt.run_s)
        ready.sort()
        queue = self._queues.get(to)
        waiting, waiting_s = (queue.tasks, queue.work_s) if queue else (0, 0.0)
        if not self._left[SLOTS] and all(attempt.overdue for attempt in self.running.values()):
            waiting, waiting_s = max(waiting, self._slots), max(waiting_s, NEXT_S * self._slots)  # no room for a next
        return Load(tuple(ready), waiting, waiting_s, self._speed)
