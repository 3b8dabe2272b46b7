"""Probing: who is asked when only few are."""

from __future__ import annotations

from collections import Counter

from simulated_agents import START_S, Fleet

from parley.agents.agent import Agent
from parley.agents.executors.simulated import attempt
from parley.agents.resources import Resources
from parley.protocols.contract_events import AuctionAwarded, AuctionOpened, TaskCommitted
from parley.protocols.core import Local, NodeId, Run, State, Task
from parley.protocols.load import FADE_S, LEARNT, UNHEARD, Account, Load, Prospect
from parley.protocols.probing import NEWS, Probes
from parley.protocols.swim_words import Contact, Members
from parley.transport.faults import Faults

NODES = [f"n{number}" for number in range(6)]


def test_where_it_should_end_soonest_by_what_was_heard_last() -> None:
    ends = {node: float(number) for number, node in enumerate(NODES)}
    probes = Probes(2, "0")
    chosen = [probes.choose(NODES, 1, lambda node: Prospect(ends[node], 1.0)) for _ in range(800)]
    counts = Counter(node for nodes in chosen for node in nodes)
    assert counts["n0"] == 800
    assert 600 < counts["n1"] < 800 * (1.0 - 0.5 / NEWS)
    assert all(counts[node] for node in NODES), "everybody is asked now and then"


def test_who_was_never_heard_is_tried_and_equals_are_drawn() -> None:
    probes = Probes(1, "0")
    heard = {"n0": Prospect(0.5, 8.0)}
    first = Counter(probes.choose(NODES, 1, lambda node: heard.get(node, UNHEARD))[0] for _ in range(200))
    assert first["n0"] < 200 / NEWS
    assert all(first[node] > 10 for node in NODES[1:])


def test_few_nodes_are_all_asked_and_a_seed_says_it_all() -> None:
    assert Probes(9, "0").choose(NODES, 1, lambda node: UNHEARD) == NODES
    chosen = [[Probes(3, seed).choose(NODES, 1, lambda node: UNHEARD)] for seed in ("a", "a", "b", "c", "d")]
    assert chosen[0] == chosen[1]
    assert chosen[0] in chosen[1:]
    assert any(other != chosen[0] for other in chosen[2:])


def test_a_batch_asks_as_many_times_more() -> None:
    assert len(Probes(2, "0").choose(NODES, 2, lambda node: UNHEARD)) == 4
    assert Probes(2, "0").choose(NODES, 3, lambda node: UNHEARD) is NODES


def test_what_was_told_long_ago_gives_way_to_what_was_usual() -> None:
    account = Account()
    assert account.prospect(1.0, 0.0) == UNHEARD
    account.tell(Load((4.0,), 0, 0.0, 2.0), 0, 0.0)
    assert account.prospect(6.0, 0.0) == Prospect(4.0 + 3.0, 2.0)
    usual = LEARNT * 4.0
    assert abs(account.prospect(0.0, 100 * FADE_S).end_s - usual) < 1e-6
    assert usual < account.prospect(0.0, FADE_S).end_s < 4.0


# --- in a fleet ------------------------------------------------------------------------------------------------------


class Few(Fleet):
    """Agents of which each asks three."""

    def start(self, name: NodeId, incarnation: int) -> None:
        speed = self.speeds[name]
        contact = Contact(name, incarnation, f"sim://{name}", f"sim://{name}!", self._slots, speed)
        entry = next(iter(self.agents), None)
        agent = Agent(contact, Resources(self._slots, speed, speed), self.wire.now, probes=Probes(3, name))
        self.agents[name] = agent

        def execute(run: Run, now: float) -> tuple[float, Local]:
            finished = attempt(run.task, run.epoch, run.payload, speed)
            return finished.seconds, finished

        self.wire.add(name, agent, execute, incarnation)
        if entry is not None:
            self.wire.tell(name, Members((self.agents[entry].membership.contact,)), entry)


def fleet_of(tasks: int, seed: int = 0, faults: Faults | None = None) -> Few:
    handed = [Task(f"t{number}", "work", 1.0 + number % 3) for number in range(tasks)]
    fleet = Few([1.0, 1.0, 2.0, 2.0] * 3, {"n1": handed}, seed=seed, faults=faults)
    fleet.run(START_S + 200.0)
    outcomes = fleet.clients["n1"].outcomes
    assert Counter(outcome.task for outcome in outcomes) == Counter(task.id for task in handed)
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    return fleet


def test_one_task_asks_few_and_a_burst_is_spread_over_all() -> None:
    one = fleet_of(1)
    [opened] = [event for _, _, event in one.events(AuctionOpened) if isinstance(event, AuctionOpened)]
    assert len(opened.invitees) == 3
    many = fleet_of(48)
    awards = [event for _, _, event in many.events(AuctionAwarded) if isinstance(event, AuctionAwarded)]
    assert {award.winner for award in awards} == set(many.names)
    assert many.wire.now - START_S < 1.25 * 48 * 2.0 / 18.0


def test_what_is_lost_on_the_way_to_few_loses_and_doubles_nothing() -> None:
    for seed in range(4):
        fleet = fleet_of(20, seed, Faults(loss=0.1, duplication=0.1, delay_s=(0.0005, 0.01)))
        committed = [event for _, _, event in fleet.events(TaskCommitted) if isinstance(event, TaskCommitted)]
        assert Counter(event.task for event in committed) == Counter({f"t{number}": 1 for number in range(20)})
