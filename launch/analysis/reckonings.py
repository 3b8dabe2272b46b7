"""The checks of `verify` for objective functions: told what the node had told its own log, a reckoning says the same.

    task.submit, auction.open, auction.award, task.commit ... of one life of a node -> Reckoning -> metric.objective

The line follows at once on the one that it came of, so one event is held back: what the nodes had, slots and speeds, is
taken from the line, and compared with what each has said of itself when it started.
"""

from __future__ import annotations

import math

import msgspec

from ...agents.node_events import NodeStarted
from ...protocols.core import Event
from ...protocols.load import SLOTS_MAX
from ...protocols.reckoning import ObjectiveReached, Reckoning
from .divisions import CLOSE
from .evidence import Evidence, Place

CANNOT = "objectives that were not recomputed: lines of their node are missing before"


class Reckoned:
    """What one node's log comes to, line by line."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._begin()

    def _begin(self) -> None:
        self._nodes: ObjectiveReached | None = None
        self._reckoning = Reckoning(
            lambda: [(one.node, one.slots, one.speed) for one in self._nodes.nodes] if self._nodes is not None else []
        )
        self._held: tuple[Event, float] | None = None

    def tell(self, place: Place, event: Event, mono: float, whole: bool) -> None:
        """The next line, which was written at this moment; `whole`: none is missing before it."""
        match event:
            case NodeStarted():
                self._begin()
            case ObjectiveReached():
                possible = all(1 <= one.slots <= SLOTS_MAX for one in event.nodes)
                reached = self._next(None, event if possible else None)
                if not possible:
                    self._evidence.differs(place, "nodes", "slots that no node has", f"1 to {SLOTS_MAX} of each")
                elif whole:
                    self._compare(place, event, reached)
                else:
                    self._evidence.cannot(CANNOT)
            case _ if type(event) in Reckoning.LISTENS:
                self._next((event, mono), None)

    def _next(self, held: tuple[Event, float] | None, line: ObjectiveReached | None) -> ObjectiveReached | None:
        """What follows from the event before this one, if this is the `line` that tells of it."""
        before, self._held, self._nodes = self._held, held, line
        try:
            return self._reckoning.tell(*before) if before is not None else None
        except (ValueError, OverflowError):  # of numbers that no node has written
            self._begin()
            return None

    def _compare(self, place: Place, logged: ObjectiveReached, reached: ObjectiveReached | None) -> None:
        if reached is None:
            self._evidence.differs(place, "event", logged.name, "none: not all that was handed in here had ended")
            return
        for field, (value, recomputed) in {**_numbers(logged, reached), **_shares(logged, reached)}.items():
            if not math.isclose(value, recomputed, rel_tol=CLOSE):
                self._evidence.differs(place, field, value, recomputed)


def _numbers(logged: ObjectiveReached, reached: ObjectiveReached) -> dict[str, tuple[float, float]]:
    told = msgspec.structs.asdict(logged)
    return {field: (value, getattr(reached, field)) for field, value in told.items() if field != "nodes"}


def _shares(logged: ObjectiveReached, reached: ObjectiveReached) -> dict[str, tuple[float, float]]:
    """By node; what a line does not have is not a number."""
    did = {one.node: one for one in logged.nodes}
    told: dict[str, tuple[float, float]] = {}
    for one in reached.nodes:
        for field in ("done", "busy_s"):
            value = getattr(did[one.node], field) if one.node in did else math.nan
            told[f"nodes[{one.node}].{field}"] = value, getattr(one, field)
    return told


def check_capacity(evidence: Evidence, place: Place, event: Event) -> bool:
    """The nodes have what they said they had when they started."""
    assert isinstance(event, ObjectiveReached)
    for one in event.nodes:
        started = evidence.capacity.get(one.node)
        if started is not None and (one.slots, one.speed) not in started:
            has = " or ".join([f"{slots} of speed {speed:g}" for slots, speed in sorted(started)])
            evidence.differs(place, f"nodes[{one.node}].slots", f"{one.slots} of speed {one.speed:g}", has)
    return True
