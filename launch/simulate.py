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
from functools import partial
from random import Random

from ..agents.agent import MESSAGES, Agent
from ..agents.executors.simulated import attempt
from ..agents.simulated_journal import SYNC_S, SimulatedJournal
from ..protocols.commitment_words import majority
from ..protocols.core import Local, NodeId, Record, Run, TaskId
from ..protocols.gate import Recorded
from ..protocols.holders import holder_id
from ..protocols.performatives import Finished, Reason
from ..protocols.swim_words import Contact, Disconnected, Subscribed
from ..transport.codec import Codec
from ..transport.disk import DiskError
from ..transport.faults import RESTART_S, Crash, Left
from ..transport.simulated import SimulatedFleet
from .invariants import Invariants
from .liveness import GO_OVER_S, Rest, limit_s, quiet_from, settled_at
from .scenario import CLIENTS_FROM_S, Handed, Scenario, client_of
from .simulated_client import Client, alias_of
from .violation import Violation

LOOK_EVERY_S = 0.25
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
    fingerprint: int


def life_after(former: int) -> int:
    """The incarnation of a node that is started anew: nodes take the time, which rises too."""
    return former + 1


class World:
    """The fleet of a scenario, its clients, and who watches them."""

    def __init__(self, scenario: Scenario, trace: Callable[[str], None] | None = None) -> None:
        self.scenario = scenario
        self.agents: dict[NodeId, Agent] = {}
        self.invariants = Invariants(scenario.nodes, self.agents, scenario.faults.pauses)
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
        self._syncs = Random(f"{scenario.seed}/syncs")
        self._rest = Rest(self.fleet, self.agents, self.invariants, scenario)
        for name in scenario.nodes:
            self._start(name)
        self.fleet.at(scenario.faults.over_at, self._help_the_lonely)
        self.clients = {entry: self._client(entry) for entry in scenario.entries}
        for entry in self.clients:
            self.fleet.at(CLIENTS_FROM_S, partial(self._connect, entry))

    # --- clients -------------------------------------------------------------------------------------------------

    def _client(self, entry: NodeId) -> Client:
        def dial(agent: NodeId) -> None:
            self.fleet.at(self.fleet.now, partial(self._connect, entry))

        def life(agent: NodeId) -> int | None:
            return self.fleet.links(client_of(entry)).knows(agent)

        return Client(entry, self._handed_to(entry), list(self.scenario.nodes), dial, life)

    def _handed_to(self, entry: NodeId) -> list[Handed]:
        return [handed for handed in self.scenario.tasks if handed.entry == entry]

    def _connect(self, entry: NodeId) -> None:
        """A connection is a life of its own: what was on its way by the former is lost."""
        name, client = client_of(entry), self.clients[entry]
        if name in self.fleet.alive():
            self.fleet.kill(name)
        client.dialled(self.fleet.now)
        links = self.fleet.add(name, client, incarnation=client.connections)
        links.open(alias_of(client.agent), client.agent, self.fleet.now)

    # --- nodes ---------------------------------------------------------------------------------------------------

    def _start(self, name: NodeId) -> None:
        """A node is started, or started anew, with a list of those through whom it may join; again a little later if
        its disk does not take a journal."""
        if name in self.fleet.alive():
            return
        resources, fleet = self.scenario.nodes[name], self.fleet
        former = self.agents.get(name)
        life = 1 if former is None else life_after(former.membership.contact.incarnation)
        try:
            journal = SimulatedJournal(fleet.disks[name], str(life))
        except DiskError:
            fleet.at(fleet.now + RESTART_S, partial(self._start, name))
            return
        holder, now = holder_id(name, journal.nonce), fleet.clock(name)
        self.invariants.promises.read(fleet.now, name, holder, journal.entries)
        address = alias_of(name)
        contact = Contact(name, life, address, f"{address}!", resources.slots, resources.speed, holder)
        agent = self.agents[name] = Agent(
            contact,
            resources,
            now,
            seed=self.scenario.seed,
            entries=journal.entries,
            recording=True,
            holders=self.scenario.holders,
            policy=self.scenario.policy,
        )
        fleet.add(name, agent, self._executor(name), life, journal)
        self._begin_journal(name, agent, journal)
        self._join(name, list(self.scenario.nodes)[: None if former is not None else JOIN_MAX])

    def _join(self, name: NodeId, listed: Sequence[NodeId]) -> None:
        fleet, now = self.fleet, self.fleet.clock(name)
        for other in listed:
            if other != name:
                fleet.links(name).open(alias_of(other), other, now)
                fleet.perform(name, self.agents[name].join(alias_of(other), now))

    def _help_the_lonely(self) -> None:
        """Where all that a node was to join through have died before they answered, a person names others."""
        for name in self.fleet.alive():
            if name in self.agents and len(self.agents[name].membership.members) == 1:
                self._join(name, list(self.scenario.nodes))

    def _begin_journal(self, name: NodeId, agent: Agent, journal: SimulatedJournal) -> None:
        fleet, promises, holder = self.fleet, self.invariants.promises, agent.commitment.node

        def durable(number: int, records: Sequence[Record]) -> None:
            promises.durable(fleet.now, name, holder, records)
            fleet.tell(name, Recorded(number), name)

        def trouble(sentence: str | None, for_good: bool) -> None:
            if for_good:  # nobody knows what is on disk: the node stops, as `runtime.py` does, and is started anew
                left = self._syncs.choice((Left.ALL, Left.SYNCED))
                fleet.fail(Crash(name, fleet.now, fleet.now + RESTART_S, noticed=True, left=left))
            else:
                fleet.perform(name, agent.refuse(sentence or "", fleet.clock(name)))

        journal.start(partial(fleet.later, name), lambda: self._syncs.uniform(*SYNC_S), durable, trouble)

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
        scenario, fleet, rest = self.scenario, self.fleet, self._rest
        quiet, limit = quiet_from(scenario), limit_s(scenario)
        settled = settled_at(scenario.faults)
        while True:
            fleet.run(until=fleet.now + LOOK_EVERY_S)
            rest.look()
            if fleet.now < quiet:
                continue
            stranded = self.stranded()
            rest.look_at_work(stranded)
            unfinished = rest.unfinished(self.owed(stranded), self.told(), not stranded)
            late = fleet.now > settled
            unsettled = rest.unsettled() if unfinished is None or late else None  # looked at where it matters
            if unsettled is not None and late:
                raise unsettled
            if unfinished is not None and fleet.now > limit + (GO_OVER_S if unfinished.invariant == "L2" else 0.0):
                raise unfinished
            if unsettled is None and unfinished is None:
                break
        rest.judge(faultless=not scenario.faults.over_at and not scenario.dying)

    def stranded(self) -> set[TaskId]:
        """What a majority of its holders, first or last, or of their journals, has been lost of: it waits for them."""
        agents, alive, promises = self.agents, set(self.fleet.alive()), self.invariants.promises
        living = {agent.commitment.node for name, agent in agents.items() if name in alive}
        return {
            task
            for client in self.clients.values()
            for task, submit in client.submits.items()
            for holders in (submit.holders, promises.moved_to(task))
            if holders and len(living.intersection(holders)) < majority(len(holders))
        }

    def owed(self, stranded: set[TaskId]) -> list[TaskId]:
        """What was handed in, was not refused, and has holders."""
        return [
            handed.task.id
            for handed in self.scenario.tasks
            if handed.task.id not in self.clients[handed.entry].refused and handed.task.id not in stranded
        ]

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
        fleet.fingerprint,
    )
