"""The Agent: routing on its own; then whole fleets of real agents on virtual time, with loss, doubling and deaths."""

from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest
from simulated_agents import START_S, Fleet

from parley.agents.agent import EVENTS, MESSAGES, Agent
from parley.agents.resources import Resources
from parley.protocols.award_rules import RULES
from parley.protocols.contract_events import (
    AuctionAwarded,
    TaskCommitted,
    TaskEnded,
    TaskLost,
    TaskReassigned,
    TaskStarted,
)
from parley.protocols.core import Effect, Event, Local, Outcome, PeerDown, PeerError, Publish, Run, Send, State, Task
from parley.protocols.objective import prefix_bound
from parley.protocols.performatives import CallForProposals, Completed, Finished
from parley.protocols.requests import Result, Submit
from parley.protocols.swim_words import Contact, Members, PeerState, Report
from parley.transport.faults import Faults

SPEEDS = (1.0, 1.0, 2.0, 4.0)
ROUGH = Faults(loss=0.1, duplication=0.1, delay_s=(0.0005, 0.01))


def lone() -> Agent:
    return Agent(Contact("n1", 1, "a", "b"), Resources(), 0.0)


def woken(agent: Agent, now: float) -> list[Effect]:
    """All that it does at this time."""
    effects: list[Effect] = []
    while agent.deadline is not None and agent.deadline <= now:
        effects += agent.wake(now)
    return effects


def works(count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(0.0, 1.0) for _ in range(count)]


def tasks(count: int, seed: int, prefix: str = "t") -> list[Task]:
    return [Task(f"{prefix}{number}", "work", work) for number, work in enumerate(works(count, seed))]


# --- alone -----------------------------------------------------------------------------------------------------------


def test_a_lone_agent_does_a_task_in_one_turn_and_a_result() -> None:
    agent = lone()
    taken = agent.receive(Submit(Task("t", "echo", 0.0), b""), "client", 1.0)
    assert [effect for effect in taken if isinstance(effect, Run)] == []
    turn = woken(agent, 1.0)
    assert CallForProposals in [type(effect.message) for effect in turn if isinstance(effect, Publish)]
    assert [effect.task.id for effect in turn if isinstance(effect, Run)] == ["t"]
    agent.receive(Finished("t", 1, None, b"value", seconds=0.5), "n1", 1.5)
    [result] = [effect for effect in woken(agent, 1.5) if isinstance(effect, Send)]
    assert result.to == "client"
    assert isinstance(result.message, Result)
    assert result.message.outcome.value == b"value"


def test_what_a_node_tells_itself_is_refused_from_the_wire() -> None:
    agent = lone()
    for message in (Finished("t", 1), PeerDown("n2")):
        with pytest.raises(PeerError, match="only this node may tell itself"):
            agent.receive(message, "n2", 1.0)
    assert not any(issubclass(message, Local) for message in MESSAGES)


def test_a_message_no_role_speaks_is_a_peers_error() -> None:
    with pytest.raises(PeerError, match="which an agent is not told"):
        lone().receive(Result(Outcome("t", State.DONE)), "n2", 1.0)


def test_it_wakes_for_the_earliest_of_its_roles() -> None:
    agent = lone()
    assert agent.deadline == 0.0
    said = agent.wake(0.0)
    assert Report in [type(effect.message) for effect in said if isinstance(effect, Publish)]
    assert agent.deadline is not None
    assert agent.deadline > 0.0


def test_every_event_it_can_tell_is_in_its_table() -> None:
    fleet = Fleet(SPEEDS, {"n1": tasks(10, 0)})
    fleet.run(60.0)
    assert {type(event) for _, _, event in fleet.wire.events} <= set(EVENTS)
    assert all(issubclass(event, Event) for event in EVENTS)
    assert Completed not in MESSAGES


# --- a fleet ---------------------------------------------------------------------------------------------------------


def check_all_done_once(fleet: Fleet) -> None:
    for client in fleet.clients.values():
        assert Counter(outcome.task for outcome in client.outcomes) == Counter(task.id for task in client._tasks)
        assert {outcome.state for outcome in client.outcomes} <= {State.DONE}
    committed = Counter(event.task for _, _, event in fleet.events(TaskCommitted) if isinstance(event, TaskCommitted))
    assert set(committed.values()) == {1}
    assert not fleet.wire.garbage


def test_all_meet_through_one() -> None:
    fleet = Fleet(SPEEDS, {})
    fleet.wire.run(until=2.0)
    for agent in fleet.agents.values():
        assert [contact.node for contact, _ in agent.membership.members] == fleet.names
        assert all(agent.membership.ready(name) for name in fleet.names)


def test_every_task_is_done_once_and_every_node_works() -> None:
    fleet = Fleet(SPEEDS, {"n1": tasks(60, 1)})
    fleet.run(120.0)
    check_all_done_once(fleet)
    assert {node for _, node, _ in fleet.events(TaskStarted)} == set(fleet.names)


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_doubling_lose_nothing(seed: int) -> None:
    fleet = Fleet(SPEEDS, {"n1": tasks(40, seed, "a"), "n3": tasks(40, seed + 100, "b")}, seed=seed, faults=ROUGH)
    fleet.run(240.0)
    check_all_done_once(fleet)


@pytest.mark.parametrize("seed", range(5))
def test_a_dead_nodes_work_is_done_by_others(seed: int) -> None:
    fleet = Fleet(SPEEDS, {"n1": tasks(40, seed)}, seed=seed)
    fleet.wire.run(until=START_S + 3.0)
    fleet.wire.kill("n4")
    fleet.run(240.0)
    check_all_done_once(fleet)
    [lost] = {event.peer for _, _, event in fleet.events(TaskLost) if isinstance(event, TaskLost)}
    assert lost == "n4"
    assert fleet.events(TaskReassigned)
    deaths = [time for time, _, event in fleet.events(PeerState) if isinstance(event, PeerState) and event.peer == "n4"]
    assert max(deaths) < START_S + 3.0 + 4.0


def test_a_node_that_comes_back_is_given_work_again() -> None:
    fleet = Fleet(SPEEDS, {"n1": tasks(80, 3)})
    fleet.wire.run(until=START_S + 3.0)
    fleet.wire.kill("n4")
    fleet.wire.run(until=START_S + 8.0)
    fleet.start("n4", incarnation=2)
    fleet.run(240.0)
    check_all_done_once(fleet)
    assert max(time for time, node, _ in fleet.events(TaskStarted) if node == "n4") > START_S + 8.0


@pytest.mark.parametrize(("count", "seeds"), [(24, 7), (400, 1)])
def test_late_binding_ends_near_the_bound(count: int, seeds: int) -> None:
    ratios = []
    for seed in range(seeds):
        fleet = Fleet(SPEEDS, {"n1": tasks(count, seed)}, seed=seed)
        fleet.run(2000.0)
        check_all_done_once(fleet)
        bound = prefix_bound(works(count, seed), SPEEDS)
        ratios.append((max(fleet.clients["n1"].ended_at) - START_S) / bound)
    assert statistics.median(ratios) < 1.05


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_ends_every_task(rule: str) -> None:
    fleet = Fleet(SPEEDS, {"n1": tasks(40, 4)}, rule=RULES[rule])
    fleet.run(240.0)
    check_all_done_once(fleet)
    rules = {event.rule for _, _, event in fleet.events(AuctionAwarded) if isinstance(event, AuctionAwarded)}
    assert rules == {rule}


def test_a_slot_is_never_given_twice() -> None:
    fleet = Fleet((1.0, 2.0), {"n1": tasks(30, 5)}, slots=2)
    fleet.run(240.0)
    check_all_done_once(fleet)
    running: Counter[str] = Counter()
    for _, node, event in fleet.wire.events:
        running[node] += isinstance(event, TaskStarted)
        running[node] -= isinstance(event, TaskEnded)
        assert 0 <= running[node] <= 2


def test_the_same_seed_gives_the_same_run() -> None:
    def fingerprint(seed: int) -> int:
        fleet = Fleet(SPEEDS, {"n1": tasks(20, 1), "n2": tasks(20, 2, "u")}, seed=seed, faults=ROUGH)
        fleet.run(100.0)
        return fleet.wire.fingerprint

    assert fingerprint(1) == fingerprint(1)
    assert fingerprint(1) != fingerprint(2)


@pytest.mark.parametrize(
    ("kind", "told"), [("pkg.mod:func", "pkg.mod:func"), ("command", "command (`parley up --allow command` does)")]
)
def test_a_kind_that_nobody_offers_is_told_at_once(kind: str, told: str) -> None:
    fleet = Fleet(SPEEDS, {"n1": [Task("t", kind)]})
    fleet.run(30.0)
    [outcome] = fleet.clients["n1"].outcomes
    assert outcome.state is State.UNPLACED
    assert outcome.error == f"0/4 nodes can run this: 4 do not offer the kind {told}"
    assert fleet.wire.now < START_S + 0.1


def test_members_are_learnt_from_whoever_is_asked() -> None:
    agent = lone()
    told = agent.receive(Members((Contact("n2", 5, "x", "y"), Contact("n3", 7, "v", "w"))), "n2", 0.5)
    assert sorted(effect.to for effect in told if isinstance(effect, Send)) == ["n2", "n3"]
