"""A batch as its nodes see it: each opens with its column, what every task would cost here; all columns make a table.

    n1 -> all   Opening(costs[0..tasks), demands, capacity)         said once; from then on tasks are numbers
    n2 -> all   Opening(...)

Two questions can be asked of a table. Without capacities: which division ends soonest (the makespan of unrelated nodes,
R||Cmax; Pinedo, Scheduling, ch. 5)? A node's load is the sum of its costs. With capacities: which division costs least
in total, if no node's demands may exceed its capacity (generalised assignment; Martello and Toth 1990, ch. 7)?

A node may have work already: per slot, the seconds until it is free (`ready`). Of a node with k slots, a task takes the
k-th part of what all of them can do, so loads are means over slots; when the last task there ends is worked out slot by
slot, the longest first. What a node refuses costs REFUSED there; who has no time before the others have done everything
counts as refusing everything, and what everybody refuses costs nothing anywhere, for nobody will do it.

Invariants: all numbers of a column are finite, loads are not negative; every column of a table has the same length; a
node without a task of the batch has a load of 0, however busy it is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from .core import NodeId, PeerError, ProtocolError

TASKS_MAX = 4096
COST_MAX = 1e15
REFUSED = 1e12
"""What a task costs where it is refused."""
SLOTS_MAX = 64

Numbers: TypeAlias = NDArray[np.float64]
Owners: TypeAlias = NDArray[np.intp]
"""(tasks,): the row of the table that each task goes to."""
Packed: TypeAlias = Annotated[bytes, Meta(max_length=8 * TASKS_MAX)]
"""Numbers as little-endian doubles, one after the other."""


class Opening(msgspec.Struct, frozen=True, array_like=True, tag="opening", gc=False):
    """A node's column. `demands` are empty and `capacity` is None where only the time counts; then `ready` has, per
    slot, the seconds until it is free."""

    costs: Packed
    demands: Packed = b""
    capacity: Annotated[float, Meta(ge=0.0, le=COST_MAX)] | None = None
    ready: Annotated[tuple[Annotated[float, Meta(ge=0.0, le=COST_MAX)], ...], Meta(max_length=SLOTS_MAX)] = (0.0,)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """`costs` (tasks,) here; with a capacity also `demands` (tasks,), what each task takes of it here. `ready`: per
    slot, the seconds until it is free."""

    costs: Numbers
    demands: Numbers | None = None
    capacity: float | None = None
    ready: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if (self.demands is None) != (self.capacity is None):
            raise ProtocolError("demands and capacity go together")
        if not self.ready or (self.capacity is not None and self.ready != (0.0,)):
            raise ProtocolError("a node has at least one slot, and with a capacity only the demands are its load")

    @property
    def sizes(self) -> Numbers:
        """What counts as load: the demands where there are any, else the costs."""
        return self.costs if self.demands is None else self.demands

    def opening(self) -> Opening:
        demands = b"" if self.demands is None else _pack(self.demands)
        return Opening(_pack(self.costs), demands, self.capacity, self.ready)


def column(opening: Opening) -> Column:
    """The column that a peer has opened. Raises PeerError where it makes no sense."""
    costs = _unpack(opening.costs)
    demands = _unpack(opening.demands) if opening.demands else None
    if (demands is None) != (opening.capacity is None) or (demands is not None and demands.shape != costs.shape):
        raise PeerError("a column needs as many demands as costs, and a capacity with them")
    sizes = costs if demands is None else demands
    if not costs.size or not (sizes >= 0).all():
        raise PeerError("a column needs at least one task, and no load may be negative")
    if not opening.ready or (demands is not None and opening.ready != (0.0,)):
        raise PeerError("a column needs at least one slot, and with a capacity only its demands are a load")
    return Column(costs, demands, opening.capacity, opening.ready)


def _pack(numbers: Numbers) -> bytes:
    return numbers.astype("<f8").tobytes()


def _unpack(packed: bytes) -> Numbers:
    if len(packed) % 8:
        raise PeerError("a column must be whole doubles")
    numbers = np.frombuffer(packed, "<f8").astype(np.float64)
    if not (np.abs(numbers) <= COST_MAX).all():
        raise PeerError(f"what a column holds must be finite, and at most {COST_MAX:g}")
    return numbers


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The columns of all who take part, in the order of their ids: arrays (nodes, tasks)."""

    nodes: tuple[NodeId, ...]
    costs: Numbers
    sizes: Numbers
    """What a task adds to a load: its demand, or the part of its costs that one of all slots is."""
    capacities: Numbers | None
    """(nodes,), or None: then the sizes are the costs, and the question is the makespan."""
    ready: tuple[tuple[float, ...], ...] = ()
    """Per node and slot, ascending: the seconds until it is free; (): nobody has anything to do."""
    refused: NDArray[np.bool_] | None = None
    """(nodes, tasks); None: nobody refuses anything."""
    bases: Numbers | None = None
    """(nodes,) of loads before the batch, as far as they matter; None: nobody has any."""
    floor: float = 0.0
    """With `ready`: no division ends sooner, for some task would not end sooner anywhere."""
    sure: Numbers | None = None
    """(nodes,): the part of these loads that delays every division, or it ends after `floor` anyway."""

    @property
    def tasks(self) -> int:
        return int(self.costs.shape[1])

    def base(self, row: int) -> float:
        """The load of this node before the batch: the mean over its slots."""
        return float(self.bases[row]) if self.bases is not None else 0.0

    def shares(self, owners: Owners) -> list[float]:
        """The exactly rounded sum of each node's sizes."""
        sizes = self.sizes[owners, np.arange(self.tasks)]
        return [math.fsum(sizes[owners == row]) for row in range(len(self.nodes))]

    def loads(self, owners: Owners) -> list[float]:
        """The same with what each node has to do already; 0 where it gets nothing."""
        shares = self.shares(owners)
        return shares if self.bases is None else [self.with_base(row, share) for row, share in enumerate(shares)]

    def with_base(self, row: int, share: float) -> float:
        """Its load with this share of the batch."""
        return share + self.base(row) if share > 0.0 else 0.0

    def total(self, owners: Owners) -> float:
        """What all tasks cost together."""
        return math.fsum(self.costs[owners, np.arange(self.tasks)])

    def overload(self, loads: Sequence[float]) -> float:
        """The sum of what exceeds capacities, each in parts of its capacity; 0: feasible."""
        if self.capacities is None:
            return 0.0
        over = [max(0.0, load - limit) / max(limit, 1.0) for load, limit in zip(loads, self.capacities, strict=True)]
        return math.fsum(over)

    def makespan(self, owners: Owners) -> float:
        """Seconds until the last task of the batch is done, if each node does its own longest first."""
        if all(len(slots) == 1 for slots in self.ready):
            return max(self.loads(owners))
        costs = self.costs[owners, np.arange(self.tasks)]
        return max(_listed(slots, costs[owners == row]) for row, slots in enumerate(self.ready))

    def value(self, owners: Owners) -> tuple[float, float]:
        """(overload, objective): the objective is the makespan, or the total cost; lower is better."""
        if self.capacities is None:
            return 0.0, self.makespan(owners)
        return self.overload(self.loads(owners)), self.total(owners)


def _listed(slots: Sequence[float], costs: Numbers) -> float:
    """When the last of these tasks ends on slots that are free at these times; 0 where there is none."""
    ready = list(slots)
    heapq.heapify(ready)
    end = 0.0
    for seconds in sorted(costs[costs > 0.0].tolist(), reverse=True):
        end = max(end, ready[0] + seconds)
        heapq.heapreplace(ready, ready[0] + seconds)
    return end


def table(columns: Mapping[NodeId, Column]) -> Table:
    """Of the columns that fit the first of them: a node whose column does not is as if it had none."""
    first = columns[min(columns)]
    nodes = tuple(
        node
        for node in sorted(columns)
        if columns[node].costs.shape == first.costs.shape
        and (columns[node].capacity is None) == (first.capacity is None)
    )
    fitting = [columns[node] for node in nodes]
    costs = np.stack([each.costs for each in fitting])
    sizes = np.stack([each.sizes for each in fitting])
    limits = [each.capacity for each in fitting if each.capacity is not None]
    if limits:
        return Table(nodes, costs, sizes, np.asarray(limits, np.float64))
    ready = tuple(tuple(sorted(each.ready)) for each in fitting)
    if all(slots == (0.0,) for slots in ready) and not (costs >= REFUSED).any():
        return Table(nodes, costs, sizes, None)
    return _busy(nodes, costs, ready)


def _busy(nodes: tuple[NodeId, ...], costs: Numbers, ready: tuple[tuple[float, ...], ...]) -> Table:
    """The table of nodes with slots, work and refusals of their own."""
    refused = costs >= REFUSED
    nobody = refused.all(axis=0)
    costs = np.where(nobody, 0.0, costs)
    refused = refused & ~nobody
    latest = _latest(costs, ready)
    late = np.asarray([slots[0] >= latest for slots in ready], dtype=np.bool_)
    if not late.all():
        refused = refused | (late[:, None] & ~nobody)
    costs = np.where(refused, REFUSED, costs)
    shares = np.asarray([float(len(slots)) for slots in ready])
    ends = np.where(costs > 0.0, costs + np.asarray([slots[0] for slots in ready])[:, None], 0.0)
    floor = float(ends.min(axis=0).max())
    bases, sure = (
        np.asarray([math.fsum(min(at, limit) for at in slots) / len(slots) for slots in ready])
        for limit in (latest, floor)
    )
    return Table(nodes, costs, costs / shares[:, None], None, ready, refused, bases, floor, sure)


def _latest(costs: Numbers, ready: tuple[tuple[float, ...], ...]) -> float:
    """What the makespan need not exceed: each task, the longest first, goes where it would end soonest. A slot that is
    free no sooner has no part in any best division."""
    slots = [list(each) for each in ready]
    free = np.asarray([each[0] for each in slots])
    latest = 0.0
    for task in np.argsort(-costs.min(axis=0), kind="stable"):
        if not costs[:, task].any():
            continue
        ends = free + costs[:, task]
        row = int(ends.argmin())
        latest = max(latest, float(ends[row]))
        heapq.heapreplace(slots[row], float(ends[row]))
        free[row] = slots[row][0]
    return latest
