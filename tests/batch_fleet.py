"""Real agents on the simulated wire, on which every task takes a time of its own on every node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from simulated_agents import Client, Fleet

from parley.agents.agent import Agent
from parley.agents.resources import Resources
from parley.protocols.batch_words import Mode
from parley.protocols.batches import NEVER, Policy
from parley.protocols.core import Local, NodeId, Run, Task
from parley.protocols.participant import Asked, Pricing, Valuation
from parley.protocols.performatives import Finished, Reason
from parley.protocols.swim_words import Contact, Members
from parley.transport.faults import Faults

Matrix = Mapping[NodeId, Mapping[str, float | None]]
"""Seconds of each task on each node; None: it is refused there."""


def unrelated(nodes: int, tasks: int, seed: int, seconds: float = 2.0) -> Matrix:
    """Braun's inconsistent matrices: a time for each task, and a factor for each task on each node."""
    rng = Random(seed)
    works = [rng.uniform(0.2, 1.8) * seconds for _ in range(tasks)]
    return {
        f"n{node}": {f"t{task}": work * rng.uniform(0.25, 4.0) for task, work in enumerate(works)}
        for node in range(1, nodes + 1)
    }


class BatchFleet(Fleet):
    """Agents n1, n2, … that price by a matrix; `takes` may make a node slower or faster than it says."""

    def __init__(
        self,
        matrix: Matrix,
        handed: Mapping[NodeId, Sequence[str]],
        policy: Policy,
        *,
        seed: int = 0,
        faults: Faults | None = None,
        slots: int = 1,
    ) -> None:
        self.matrix = matrix
        self.policy = policy
        self.takes = dict.fromkeys(matrix, 1.0)
        means = {
            name: _mean([column[name] for column in matrix.values()]) for name in next(iter(matrix.values()))
        }
        tasks = {entry: [Task(name, "work", means[name]) for name in names] for entry, names in handed.items()}
        super().__init__([1.0] * len(matrix), tasks, seed=seed, faults=faults, slots=slots)

    def start(self, name: NodeId, incarnation: int) -> None:
        contact = Contact(name, incarnation, f"sim://{name}", f"sim://{name}!", self._slots, 1.0)
        resources = Resources(self._slots, 1.0, 1.0)
        agent = Agent(contact, resources, self.wire.now, own=lambda usual: self._value(name), policy=self.policy)
        entry = next((other for other in self.agents if other != name and other in self.wire.alive()), None)
        self.agents[name] = agent

        def execute(run: Run, now: float) -> tuple[float, Local]:
            seconds = (self.matrix[name][run.task.id] or 0.0) * self.takes[name]
            return seconds, Finished(run.task.id, run.epoch, None, b"done", seconds=seconds)

        self.wire.add(name, agent, execute, incarnation)
        if entry is not None:
            self.wire.tell(name, Members((self.agents[entry].membership.contact,)), entry)

    def _value(self, name: NodeId) -> Valuation:
        def value(asked: Asked, now: float) -> Pricing:
            seconds = self.matrix[name][asked.task.id]
            if seconds is None:
                return Pricing(decline=Reason.UNWILLING, detail="do not want it")
            return Pricing((("run", seconds),))

        return value

    def client(self, entry: NodeId) -> Client:
        return self.clients[entry]


def _mean(costs: Sequence[float | None]) -> float:
    told = [cost for cost in costs if cost is not None]
    return sum(told) / len(told) if told else 1.0


PRICES = Policy()
GOSSIP = Policy(mode=Mode.GOSSIP)
CALLS = NEVER
