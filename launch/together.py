"""What must hold of gangs whatever goes wrong: their part of `invariants.py`.

| name | what holds | seen at |
|---|---|---|
| K1 | a gang runs all or none: soon after one member is lost, or has not started, no other runs | twice a second |
| K2 | a gang is awarded when each of its nodes has said that it keeps the slots of its members | `auction.award` |
| K3 | a member runs where its seat says, once in its epoch | `Run` |

K1 allows for TOGETHER_S: a term (LED_S twice: until the leader knows, and until whoever is cut off from it
stops), a beat, and what messages take. A node that sleeps stops nothing, so the time starts anew when it wakes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..protocols.contract_events import AuctionAwarded
from ..protocols.core import AuctionId, NodeId, Run, Seat, TaskId
from ..protocols.epochs import Epoch
from ..protocols.gang_words import TERM_S, MemberEnded, ReserveHeld
from ..transport.faults import Pause
from .violation import Violation

TOGETHER_S = TERM_S + 1.0

class _Gang:
    """What is known of one attempt of a gang."""

    __slots__ = ("apart_since", "begun", "done", "running", "size")

    def __init__(self, seat: Seat) -> None:
        self.size = len(seat.nodes)
        self.running: dict[int, NodeId] = {}
        self.begun: set[int] = set()
        self.done: set[int] = set()
        self.apart_since: float | None = None

    @property
    def apart(self) -> bool:
        """Some run, and others neither run nor are done."""
        return bool(self.running) and len(self.running) + len(self.done) < self.size


class Together:
    """All gangs of a run."""

    def __init__(self, pauses: Sequence[Pause] = ()) -> None:
        self._pauses = pauses
        self._gangs: dict[tuple[TaskId, Epoch], _Gang] = {}
        self._seats: dict[tuple[NodeId, TaskId, int], _Gang] = {}  # the last of which this ran there: node, member
        self._kept: dict[tuple[TaskId, AuctionId, NodeId], int] = {}

    def reserved(self, node: NodeId, event: ReserveHeld) -> None:
        self._kept[event.task, event.auction, node] = event.members

    def awarded(self, event: AuctionAwarded) -> None:
        """K2."""
        for node in dict.fromkeys(event.members):
            kept, wanted = self._kept.get((event.task, event.auction, node), 0), event.members.count(node)
            if kept != wanted:
                raise Violation("K2", f"{event.task} is awarded with {wanted} members on {node}, which keeps {kept}")

    def ran(self, node: NodeId, run: Run, seat: Seat, epoch: Epoch) -> None:
        """K3."""
        if seat.nodes[seat.rank] != node:
            raise Violation("K3", f"rank {seat.rank} of {seat.gang} runs on {node}, and not on {seat.nodes[seat.rank]}")
        gang = self._gangs.setdefault((seat.gang, epoch), _Gang(seat))
        if seat.rank in gang.begun:
            raise Violation("K3", f"rank {seat.rank} of {seat.gang} runs a second time in {epoch}")
        gang.begun.add(seat.rank)
        gang.running[seat.rank] = node
        self._seats[node, run.task.id, run.epoch] = gang

    def ended(self, node: NodeId, run: Run, seat: Seat) -> None:
        """It runs no longer, for whatever reason."""
        self._seats[node, run.task.id, run.epoch].running.pop(seat.rank, None)

    def done(self, node: NodeId, event: MemberEnded) -> None:
        """It has ended by itself."""
        if event.reason is None:
            self._seats[node, f"{event.task}~{event.rank}", event.epoch].done.add(event.rank)

    def look(self, now: float) -> None:
        """K1."""
        for (task, epoch), gang in self._gangs.items():
            asleep = any(
                pause.at <= now <= pause.until for pause in self._pauses if pause.node in gang.running.values()
            )
            if not gang.apart or asleep:
                gang.apart_since = None
            elif gang.apart_since is None:
                gang.apart_since = now
            elif now - gang.apart_since > TOGETHER_S:
                left = sorted(set(range(gang.size)) - gang.done - gang.running.keys())
                raise Violation("K1", f"of {task}, {epoch}, {sorted(gang.running)} run, and {left} do not")
