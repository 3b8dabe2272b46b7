"""Runs scenarios on the simulated fleet: the real agents, their clients, and the invariants that watch them.

    scenario.draw(seed) -> World: agents join, clients hand tasks in and cancel some, faults come and go
                             | step by step, watched by invariants.Invariants
                             | until liveness.Rest sees that all has ended, or time is up
                           Ran(seed, violation or None, counts)

A violation is a bug in the product or in the invariant: it is told with its seed, and the seed replays it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from ..agents.agent import MESSAGES, Agent
from ..agents.executors.simulated import attempt
from ..protocols.core import Effect, Local, Message, NodeId, Outcome, Run, Send, TaskId
from ..protocols.performatives import Finished, Reason
from ..protocols.requests import CancelTasks, Result, Submit, Submitted
from ..protocols.swim_words import Contact, Disconnected, Subscribed
from ..transport.codec import Codec
from ..transport.simulated import SimulatedFleet
from .invariants import Invariants, Violation
from .liveness import SETTLE_S, Rest, limit_s, quiet_from
from .scenario import Handed, Scenario, client_of

LOOK_EVERY_S = 0.5
JOIN_MAX = 2
"""The addresses in the list that all nodes of a fleet are started with; who comes back has the whole list."""

_CODEC = Codec(MESSAGES)


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one scenario."""

    seed: int
    violation: Violation | None
    acked: int
    executions: int
    messages: int
    steps: int
    virtual_s: float
    fingerprint: int


class Client:
    """Hands tasks to one agent, each at its time, cancels some, and keeps what it is told."""

    def __init__(self, entry: NodeId, handed: Sequence[Handed]) -> None:
        self._entry = entry
        submits: list[tuple[float, Message]] = [(one.at, Submit(one.task, b"")) for one in handed]
        cancels: list[tuple[float, Message]] = [
            (one.cancel_at, CancelTasks(number, (one.task.id,)))
            for number, one in enumerate(handed, 1)
            if one.cancel_at is not None
        ]
        self._planned = sorted([*submits, *cancels], key=lambda planned: -planned[0])  # the next one is last
        self.acked: dict[TaskId, float] = {}
        self.outcomes: dict[TaskId, Outcome] = {}

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Submitted(task):
                self.acked[task] = now
            case Result(outcome):
                self.outcomes[outcome.task] = outcome
        return ()

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        while self._planned and self._planned[-1][0] <= now:
            effects.append(Send(self._entry, self._planned.pop()[1]))
        return effects

    @property
    def deadline(self) -> float | None:
        return self._planned[-1][0] if self._planned else None


def life_after(former: int) -> int:
    """The incarnation of a node that is started anew: nodes take the time, which rises too."""
    return former + 1


class World:
    """The fleet of a scenario, its clients, and who watches them."""

    def __init__(self, scenario: Scenario, trace: Callable[[str], None] | None = None) -> None:
        self.scenario = scenario
        self.agents: dict[NodeId, Agent] = {}
        self.invariants = Invariants(scenario.nodes, self.agents)
        self.fleet = SimulatedFleet(
            scenario.seed,
            scenario.faults,
            _CODEC,
            subscribed=lambda peer: [Subscribed(peer)],
            disconnected=lambda peer: [Disconnected(peer)],
            reborn=self._start,
            witness=self.invariants,
            trace=trace,
        )
        self._work = Random(f"{scenario.seed}/work")
        self._rest = Rest(self.fleet, self.agents, self.invariants, len(scenario.tasks))
        for name in scenario.nodes:
            self._start(name)
        self.clients = {entry: Client(entry, self._handed_to(entry)) for entry in scenario.entries}
        for entry, client in self.clients.items():
            self.fleet.add(client_of(entry), client)
            self.fleet.mesh([client_of(entry), entry])

    def _handed_to(self, entry: NodeId) -> list[Handed]:
        return [handed for handed in self.scenario.tasks if handed.entry == entry]

    def _start(self, name: NodeId) -> None:
        """A node is started, or started anew, with a list of those through whom it may join."""
        resources = self.scenario.nodes[name]
        former = self.agents.get(name)
        life = 1 if former is None else life_after(former.membership.contact.incarnation)
        contact = Contact(name, life, f"sim://{name}", f"sim://{name}!", resources.slots, resources.speed)
        agent = self.agents[name] = Agent(contact, resources, self.fleet.clock(name), seed=self.scenario.seed)
        links = self.fleet.add(name, agent, self._executor(name), life)
        listed = list(self.scenario.nodes)[: None if former is not None else JOIN_MAX]
        for other in listed:
            if other != name:
                links.open(f"sim://{other}", other, self.fleet.clock(name))
                self.fleet.perform(name, agent.join(f"sim://{other}", self.fleet.clock(name)))

    def _executor(self, name: NodeId) -> Callable[[Run, float], tuple[float, Local]]:
        speed = self.scenario.nodes[name].speed / self.scenario.slowness[name]

        def execute(run: Run, now: float) -> tuple[float, Local]:
            finished = attempt(run.task, run.epoch, run.payload, speed)
            if self._work.random() < self.scenario.dying:
                seconds = finished.seconds * self._work.random()
                died = Finished(run.task.id, run.epoch, Reason.DIED, error="its worker died", seconds=seconds)
                return seconds, died
            return finished.seconds, finished

        return execute

    # --- running -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until all has ended and all know who lives. Raises Violation, or whatever an agent raises."""
        scenario, fleet = self.scenario, self.fleet
        quiet, limit = quiet_from(scenario), limit_s(scenario)
        settled = scenario.faults.over_at + SETTLE_S
        while True:
            fleet.run(until=fleet.now + LOOK_EVERY_S)
            self._rest.look()
            if fleet.now < quiet:
                continue
            self._rest.look_at_work()
            unfinished = self._rest.unfinished(self.owed(), self.told())
            if unfinished is None and fleet.now >= settled:
                break
            if unfinished is not None and fleet.now > limit:
                raise unfinished
        self._rest.judge(faultless=not scenario.faults.over_at and not scenario.dying)

    def owed(self) -> list[TaskId]:
        """What was handed to an agent that never died, or was acknowledged by its last life."""
        tasks: list[TaskId] = []
        last = {crash.node: crash.back_at for crash in self.scenario.faults.crashes}
        for handed in self.scenario.tasks:
            back_at = last.get(handed.entry, 0.0)
            acked_at = self.clients[handed.entry].acked.get(handed.task.id, -1.0)
            if handed.entry not in last or (back_at is not None and acked_at > back_at):
                tasks.append(handed.task.id)
        return tasks

    def told(self) -> list[TaskId]:
        """Whose end a client knows."""
        return [task for client in self.clients.values() for task in client.outcomes]


def run(scenario: Scenario, trace: Callable[[str], None] | None = None) -> Ran:
    """One scenario, from its beginning to its end, or to the first violation."""
    world = World(scenario, trace)
    violation: Violation | None = None
    try:
        world.run()
    except Violation as found:
        violation = found
    except Exception as error:  # an agent misused itself: whatever it is, the seed replays it
        place = traceback.extract_tb(error.__traceback__)[-1]
        violation = Violation("crash", f"{type(error).__name__} in {place.name}, line {place.lineno}: {error}")
    fleet = world.fleet
    acked = sum(len(client.acked) for client in world.clients.values())
    return Ran(
        scenario.seed,
        violation,
        acked,
        world.invariants.executions,
        fleet.messages,
        fleet.steps,
        fleet.now,
        fleet.fingerprint,
    )
