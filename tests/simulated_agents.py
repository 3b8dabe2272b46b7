"""Real agents on the simulated wire, and a client that hands tasks in and keeps what it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from parley.agents.agent import MESSAGES, Agent
from parley.agents.executors.simulated import attempt
from parley.agents.resources import Resources
from parley.protocols.award_rules import CONTRACT_NET, Rule
from parley.protocols.core import Effect, Event, Local, Message, NodeId, Outcome, Run, Send, Task
from parley.protocols.requests import Refused, Result, Submit
from parley.protocols.swim_words import Contact, Members, Subscribed
from parley.transport.codec import Codec
from parley.transport.faults import Faults
from parley.transport.simulated import SimulatedFleet

START_S = 1.0
"""When the client hands its tasks in: the agents have met by then."""


class Client:
    """Hands its tasks to one agent at START_S."""

    def __init__(self, entry: NodeId, tasks: Sequence[Task]) -> None:
        self._entry = entry
        self._tasks = tasks
        self._at: float | None = START_S
        self.outcomes: list[Outcome] = []
        self.ended_at: list[float] = []
        self.refused: list[str] = []

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Result(outcome):
                self.outcomes.append(outcome)
                self.ended_at.append(now)
            case Refused(_, error):
                self.refused.append(error)
        return ()

    def wake(self, now: float) -> Sequence[Effect]:
        self._at = None
        return [Send(self._entry, Submit(task, bytes(task.payload_bytes))) for task in self._tasks]

    @property
    def deadline(self) -> float | None:
        return self._at


class Fleet:
    """Agents n1, n2, … of these speeds, all joined through n1, with a client of each of `entries`."""

    def __init__(
        self,
        speeds: Sequence[float],
        tasks: Mapping[NodeId, Sequence[Task]],
        *,
        seed: int = 0,
        faults: Faults | None = None,
        rule: Rule = CONTRACT_NET,
        slots: int = 1,
    ) -> None:
        self.wire = SimulatedFleet(
            seed, faults or Faults(), Codec(MESSAGES), subscribed=lambda peer: [Subscribed(peer)]
        )
        self.names = [f"n{number}" for number in range(1, len(speeds) + 1)]
        self.agents: dict[NodeId, Agent] = {}
        self.speeds = dict(zip(self.names, speeds, strict=True))
        self.slowness = dict.fromkeys(self.names, 1.0)
        """How many times as long as it should each node takes at present."""
        self._slots = slots
        self._rule = rule
        for name in self.names:
            self.start(name, incarnation=1)
        self.clients = {entry: Client(entry, handed) for entry, handed in tasks.items()}
        for entry, client in self.clients.items():
            self.wire.add(f"client-{entry}", client)
            self.wire.mesh([f"client-{entry}", entry])

    def start(self, name: NodeId, incarnation: int) -> None:
        """A node is born, and joins through the first agent that lives."""
        speed = self.speeds[name]
        contact = Contact(name, incarnation, f"sim://{name}", f"sim://{name}!", self._slots, speed)
        agent = Agent(contact, Resources(self._slots, speed, speed), self.wire.now, rule=self._rule)
        entry = next((other for other in self.agents if other != name and other in self.wire.alive()), None)
        self.agents[name] = agent

        def execute(run: Run, now: float) -> tuple[float, Local]:
            finished = attempt(run.task, run.epoch, run.payload, speed)
            seconds = finished.seconds * self.slowness[name]
            return seconds, msgspec.structs.replace(finished, seconds=seconds)

        self.wire.add(name, agent, execute, incarnation)
        if entry is not None:
            self.wire.tell(name, Members((self.agents[entry].membership.contact,)), entry)

    def run(self, until: float) -> None:
        """Until every client has all its outcomes, or this time has come."""
        waiting = [client for client in self.clients.values() if client._tasks]
        self.wire.run(until=until, while_=lambda: any(len(client.outcomes) < len(client._tasks) for client in waiting))

    def events(self, kind: type[Event]) -> list[tuple[float, NodeId, Event]]:
        return [line for line in self.wire.events if isinstance(line[2], kind)]
