"""A batch as its nodes see it: each opens with its column, what every task would cost here; all columns make a table.

    n1 -> all   Opening(costs[0..tasks), demands, capacity)         said once; from then on tasks are numbers
    n2 -> all   Opening(...)

Two questions can be asked of a table. Without capacities: which division ends soonest (the makespan of unrelated nodes,
R||Cmax; Pinedo, Scheduling, ch. 5)? A node's load is the sum of its costs. With capacities: which division costs least
in total, if no node's demands may exceed its capacity (generalised assignment; Martello and Toth 1990, ch. 7)?

Invariants: all numbers of a column are finite, loads are not negative; every column of a table has the same length.
"""

from __future__ import annotations

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

Numbers: TypeAlias = NDArray[np.float64]
Owners: TypeAlias = NDArray[np.intp]
"""(tasks,): the row of the table that each task goes to."""
Packed: TypeAlias = Annotated[bytes, Meta(max_length=8 * TASKS_MAX)]
"""Numbers as little-endian doubles, one after the other."""


class Opening(msgspec.Struct, frozen=True, array_like=True, tag="opening", gc=False):
    """A node's column. `demands` are empty and `capacity` is None where only the time counts."""

    costs: Packed
    demands: Packed = b""
    capacity: Annotated[float, Meta(ge=0.0, le=COST_MAX)] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """`costs` (tasks,) here; with a capacity also `demands` (tasks,), what each task takes of it here."""

    costs: Numbers
    demands: Numbers | None = None
    capacity: float | None = None

    def __post_init__(self) -> None:
        if (self.demands is None) != (self.capacity is None):
            raise ProtocolError("demands and capacity go together")

    @property
    def sizes(self) -> Numbers:
        """What counts as load: the demands where there are any, else the costs."""
        return self.costs if self.demands is None else self.demands

    def opening(self) -> Opening:
        demands = b"" if self.demands is None else _pack(self.demands)
        return Opening(_pack(self.costs), demands, self.capacity)


def column(opening: Opening) -> Column:
    """The column that a peer has opened. Raises PeerError where it makes no sense."""
    costs = _unpack(opening.costs)
    demands = _unpack(opening.demands) if opening.demands else None
    if (demands is None) != (opening.capacity is None) or (demands is not None and demands.shape != costs.shape):
        raise PeerError("a column needs as many demands as costs, and a capacity with them")
    sizes = costs if demands is None else demands
    if not costs.size or not (sizes >= 0).all():
        raise PeerError("a column needs at least one task, and no load may be negative")
    return Column(costs, demands, opening.capacity)


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
    capacities: Numbers | None
    """(nodes,), or None: then the sizes are the costs, and the question is the makespan."""

    @property
    def tasks(self) -> int:
        return int(self.costs.shape[1])

    def loads(self, owners: Owners) -> list[float]:
        """The exactly rounded sum of each node's sizes."""
        sizes = self.sizes[owners, np.arange(self.tasks)]
        return [math.fsum(sizes[owners == row]) for row in range(len(self.nodes))]

    def total(self, owners: Owners) -> float:
        """What all tasks cost together."""
        return math.fsum(self.costs[owners, np.arange(self.tasks)])

    def overload(self, loads: Sequence[float]) -> float:
        """The sum of what exceeds capacities, each in parts of its capacity; 0: feasible."""
        if self.capacities is None:
            return 0.0
        over = [max(0.0, load - limit) / max(limit, 1.0) for load, limit in zip(loads, self.capacities, strict=True)]
        return math.fsum(over)

    def value(self, owners: Owners) -> tuple[float, float]:
        """(overload, objective): the objective is the makespan, or the total cost; lower is better."""
        loads = self.loads(owners)
        return self.overload(loads), max(loads) if self.capacities is None else self.total(owners)


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
    return Table(nodes, costs, sizes, np.asarray(limits, np.float64) if limits else None)
