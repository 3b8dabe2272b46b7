"""What may go wrong in a simulated fleet, all of it in one object that is fixed before the run begins.

The vocabulary is the field's: fail-stop and crash-recovery (Schlichting and Schneider 1983), network partitions that
are not clean (Alfatafta et al., "Toward a generic fault tolerance technique for partial network partitioning", OSDI
2020), and storage that loses what was never, or wrongly, synced (`disk.py`).

    wire    loss, duplication, delay_s; a few frames come `late`, after those that were sent long after them
    Cut     frames that cross a border do not arrive: between two sides, out of one, into one, with or without a
            bridge that reaches both, all the time or flapping
    Crash   a node dies silently or noticed; for good, or until it is started anew, with what its disk still has
    Pause   a node is told nothing for a while and wakes as if no time had passed
    drift   its clock runs faster or slower than everybody's
    Trouble its disk is full, or cannot sync, for a while

| what people call it | here |
|---|---|
| partition into halves | `Cut(side=half)` |
| one node alone | `Cut(side={node})` |
| one-way | `Cut(side=..., way=Way.OUT)` |
| deaf: it sends and does not hear | `Cut(side={node}, way=Way.IN)` |
| bridge | `Cut(side=half, bridge=node)` |
| flapping | `Cut(side=..., flap_s=0.3)` |

Invariant: after `until` nothing here acts any more, but those who died for good stay dead and clocks go on drifting.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ..protocols.core import NodeId

RESTART_S = 0.5
"""A node that its disk has stopped is started anew so much later, and again until the disk takes a journal."""


class Way(enum.Enum):
    """Which frames a cut stops: all that cross its border, those that leave its side, or those that enter it."""

    BOTH = enum.auto()
    OUT = enum.auto()
    IN = enum.auto()


@dataclass(frozen=True, slots=True)
class Cut:
    """From `at` to `until`, frames between `side` and everybody else are lost.

    `bridge` is reached by all and reaches all. With `flap_s`, the cut is there for so long, then away for so long, and
    so on.
    """

    at: float
    until: float
    side: frozenset[NodeId]
    way: Way = Way.BOTH
    bridge: NodeId | None = None
    flap_s: float = 0.0

    def blocks(self, sender: NodeId, to: NodeId, now: float) -> bool:
        leaves = sender in self.side
        if leaves == (to in self.side) or self.bridge in (sender, to):
            return False
        if (self.way is Way.OUT and not leaves) or (self.way is Way.IN and leaves):
            return False
        return not (self.flap_s and (now - self.at) // self.flap_s % 2)


class Left(enum.Enum):
    """What a crash leaves on a disk, beside what was synced."""

    ALL = enum.auto()  # the process died and the machine did not: all that was ever written
    SYNCED = enum.auto()  # the tail that was not synced is lost
    TORN = enum.auto()  # of that tail a part is there, and its last record is torn
    COPY = enum.auto()  # not even that: the disk was replaced by a copy made at `Crash.copied_at`


@dataclass(frozen=True, slots=True)
class Crash:
    """A node dies, and is started anew at `back_at` (None: never). `noticed`: its peers see their connections drop."""

    node: NodeId
    at: float
    back_at: float | None = None
    noticed: bool = False
    left: Left = Left.SYNCED
    copied_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A node stands still: what comes waits, and is heard when it goes on."""

    node: NodeId
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A disk is full (nothing can be written), or its syncs fail."""

    node: NodeId
    at: float
    until: float
    full: bool


@dataclass(frozen=True, slots=True)
class Faults:
    """All of it. Probabilities are per frame; each delay is drawn evenly from its range, in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s: tuple[float, float] = (0.0005, 0.0015)
    late: float = 0.0
    late_s: tuple[float, float] = (0.1, 2.0)
    cuts: tuple[Cut, ...] = ()
    crashes: tuple[Crash, ...] = ()
    pauses: tuple[Pause, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    drift: dict[NodeId, float] = field(default_factory=dict)
    """How many seconds a node's clock counts in one."""
    until: float = float("inf")
    """From then on the wire loses, doubles and holds back nothing."""

    @property
    def over_at(self) -> float:
        """When the last of it is over."""
        times = [cut.until for cut in self.cuts] + [pause.until for pause in self.pauses]
        times += [max(crash.at, crash.back_at or 0.0) for crash in self.crashes]
        times += [trouble.until + 2 * RESTART_S for trouble in self.troubles]
        rough = self.loss or self.duplication or self.late
        return max([*times, self.until] if rough else times, default=0.0)
