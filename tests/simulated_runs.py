"""Runs of the simulated fleet as logs on disk, written by the logs' real writer on virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from simulated_agents import Fleet
from test_analysis_run import BEGIN

from parley.agents.events import EventLog
from parley.agents.node_events import NodeStarted, NodeStopped
from parley.protocols.award_rules import CONTRACT_NET, Rule
from parley.protocols.core import Conditions, NodeId, Task
from parley.transport.clock import HybridClock
from parley.transport.faults import Faults


def tasks_of(number: int, *, rewards: bool = False, prefix: str = "t") -> list[Task]:
    """Tasks of several lengths, some with a priority, with reserve prices if asked."""
    return [
        Task(
            f"{prefix}{place:04}",
            "work",
            0.05 * (1 + place % 5),
            terms=Conditions(priority=int(place % 3 == 0), reward=5.0 if rewards else 0.0),
        )
        for place in range(number)
    ]


def simulated_run(
    folder: Path,
    *,
    speeds: Sequence[float] = (1.0, 1.0, 2.0, 4.0),
    tasks: Mapping[NodeId, Sequence[Task]] | None = None,
    rule: Rule = CONTRACT_NET,
    slots: int = 1,
    faults: Faults | None = None,
    until: float = 60.0,
) -> Path:
    """A fleet does its tasks; `folder` holds a log of each node, as a real one would. A node that dies never stops."""
    fleet = Fleet(speeds, dict(tasks) if tasks else {"n1": tasks_of(24)}, rule=rule, slots=slots, faults=faults)
    fleet.run(until)
    return written(fleet, folder, slots)


def written(fleet: Fleet, folder: Path, slots: int = 1) -> Path:
    """What the agents of this fleet have told, as logs."""
    now = 0.0

    def wall() -> float:
        return BEGIN + now

    clock = HybridClock(wall)
    logs = {
        name: EventLog(folder / f"{name}.jsonl", run="simulated", node=name, clock=clock, wall=wall)
        for name in fleet.names
    }
    for name, speed in fleet.speeds.items():
        start = NodeStarted(
            incarnation=1, address=f"tcp://{name}:1", slots=slots, speed=speed, version="0.1.0", pid=1
        )  # fmt: skip
        logs[name].write(start, 0.0)
    for now, node, event in fleet.wire.events:
        if node in logs:
            logs[node].write(event, now)
    for name in fleet.wire.alive():
        if name in logs:
            logs[name].write(NodeStopped(reason="stopped"), now)
    for log in logs.values():
        log.close()
    return folder
