"""A desk's batch on real agents: divided by prices, while nodes die, are slow, refuse, and words are lost."""

from __future__ import annotations

import math
import statistics

import pytest
from batch_fleet import CALLS, GOSSIP, PRICES, BatchFleet, Matrix, unrelated
from simulated_agents import START_S

from parley.launch.bench.instances import generated
from parley.launch.bench.sessions import play
from parley.launch.scenario import draw
from parley.launch.simulate import run
from parley.protocols.batch_words import PROTOCOL, BatchDivided, BatchMoved, BatchOpened, Mode, TradeMet
from parley.protocols.batches import Policy, spread_of
from parley.protocols.contract_events import AuctionAwarded, TaskCommitted, TaskLost, TaskStarted
from parley.protocols.core import Dividing, State
from parley.protocols.swim_words import PeerState, Presence
from parley.transport.faults import Faults

UNTIL_S = 4000.0


def names(tasks: int, first: int = 0) -> list[str]:
    return [f"t{task}" for task in range(first, first + tasks)]


def done(fleet: BatchFleet, entry: str = "n1") -> float:
    """Seconds until all of the client's tasks were done, each once."""
    fleet.run(UNTIL_S)
    client = fleet.client(entry)
    assert not client.refused
    assert [outcome.state for outcome in client.outcomes] == [State.DONE] * len(client._tasks)
    assert len({outcome.task for outcome in client.outcomes}) == len(client._tasks)
    return max(client.ended_at) - START_S


def divided(fleet: BatchFleet) -> list[BatchDivided]:
    return [event for _, _, event in fleet.events(BatchDivided) if isinstance(event, BatchDivided)]


def by_prices(fleet: BatchFleet) -> int:
    awards = [event for _, _, event in fleet.events(AuctionAwarded) if isinstance(event, AuctionAwarded)]
    return sum(award.rule == PROTOCOL for award in awards)


@pytest.mark.parametrize("policy", [PRICES, GOSSIP], ids=["rounds", "gossip"])
def test_on_unrelated_nodes_prices_divide_better_than_calls_and_say_how_well(policy: Policy) -> None:
    matrix = unrelated(4, 80, 3)
    called = done(BatchFleet(matrix, {"n1": names(80)}, CALLS))
    fleet = BatchFleet(matrix, {"n1": names(80)}, policy)
    took = done(fleet)
    told = divided(fleet)
    assert {event.value for event in told} == {told[0].value}
    assert len(told) == 4
    assert len({event.shares for event in told}) == 1
    certificate = told[0].certificate
    assert certificate is not None
    assert certificate < 0.05
    assert by_prices(fleet) > 60
    assert took < 0.95 * called
    assert took < 1.05 * told[0].value + 1.0
    assert not fleet.wire.garbage


def test_nodes_of_several_slots_are_filled_slot_by_slot() -> None:
    matrix = unrelated(3, 60, 4)
    fleet = BatchFleet(matrix, {"n1": names(60)}, PRICES, slots=2)
    took = done(fleet)
    told = divided(fleet)[0]
    assert told.bound <= told.value
    assert took < 1.06 * told.value + 1.0
    assert took < done(BatchFleet(matrix, {"n1": names(60)}, CALLS, slots=2))


def test_a_member_that_dies_in_the_session_or_after_it_loses_nothing() -> None:
    for after_s in (0.25, 6.0):
        fleet = BatchFleet(unrelated(4, 60, 5), {"n1": names(60)}, PRICES)
        fleet.wire.at(START_S + after_s, lambda fleet=fleet: fleet.wire.kill("n3"))  # type: ignore[misc]
        done(fleet)
        assert divided(fleet)
        starts = [event.task for _, node, event in fleet.events(TaskStarted) if isinstance(event, TaskStarted)]
        assert len(starts) <= 60 + 2  # what n3 had, and no more, was done again
        if after_s > 1.0:
            assert any(isinstance(event, BatchMoved) for _, _, event in fleet.events(BatchMoved))
            opened = [event for _, _, event in fleet.events(BatchOpened) if isinstance(event, BatchOpened)]
            assert opened[-1].again
            assert "n3" not in opened[-1].members


def test_a_desk_that_dies_in_its_session_holds_nobody_up() -> None:
    """It is closed as soon as the death is known, not when it would be given up; and the others divide their own."""
    matrix = unrelated(4, 100, 6)
    fleet = BatchFleet(matrix, {"n1": names(60), "n2": names(40, 60)}, PRICES)
    fleet.client("n2")._at = START_S + 15.0
    others = ("n2", "n3", "n4")
    in_it: list[str] = []

    def kill() -> None:
        in_it.extend(name for name in others if fleet.agents[name].sessions._sessions)
        fleet.wire.kill("n1")

    fleet.wire.at(START_S + 0.25, kill)
    fleet.wire.run(until=START_S + 12.0)
    assert in_it == list(others)
    assert not divided(fleet)
    for name in others:
        assert not fleet.agents[name].sessions._sessions
        assert fleet.agents[name].sessions.deadline is None
        assert not fleet.agents[name].participant.load()[0], "what it ran for the dead desk is given up"
    fleet.wire.run(until=UNTIL_S, while_=lambda: len(fleet.client("n2").outcomes) < 40)
    assert {outcome.state for outcome in fleet.client("n2").outcomes} == {State.DONE}
    assert len({outcome.task for outcome in fleet.client("n2").outcomes}) == 40
    [*_, opened] = [event for _, _, event in fleet.events(BatchOpened) if isinstance(event, BatchOpened)]
    assert opened.members == others
    told = divided(fleet)
    assert len({event.shares for event in told}) == 1
    assert len(told) == len(others)


def test_two_desks_at_once_count_each_others_work() -> None:
    matrix = unrelated(4, 100, 7)
    fleet = BatchFleet(matrix, {"n1": names(50), "n2": names(50, 50)}, PRICES)
    done(fleet)
    assert len(fleet.client("n2").outcomes) == 50
    assert {event.peer for event in divided(fleet)} == {"n1", "n2"}


def test_a_member_that_refuses_all_gets_nothing_and_what_all_refuse_is_called_for() -> None:
    matrix: dict[str, dict[str, float | None]] = {node: dict(costs) for node, costs in unrelated(4, 60, 8).items()}
    matrix["n2"] = dict.fromkeys(matrix["n2"])
    for costs in matrix.values():
        costs["t7"] = None
    fleet = BatchFleet(matrix, {"n1": names(60)}, Policy(Dividing.PRICES))
    fleet.run(UNTIL_S)
    states = {outcome.task: outcome.state for outcome in fleet.client("n1").outcomes}
    assert states.pop("t7") is State.UNPLACED
    assert set(states.values()) == {State.DONE}
    assert len(states) == 59
    assert divided(fleet)
    assert not any(node == "n2" for _, node, _ in fleet.events(TaskStarted))


@pytest.mark.parametrize("mode", list(Mode))
def test_lost_words_change_little_and_no_award_is_begun_by_two(mode: Mode) -> None:
    policy, faults = Policy(Dividing.PRICES, mode), Faults(loss=0.1, duplication=0.1)
    for seed in range(2):
        fleet = BatchFleet(unrelated(4, 60, 9), {"n1": names(60)}, policy, seed=seed, faults=faults)
        done(fleet)
        told = divided(fleet)
        assert len(told) == 4
        assert len({event.shares for event in told}) == 1
        for event in told:
            assert event.certificate is not None
            assert event.certificate < 0.08
        began = [(one.task, one.epoch) for _, _, one in fleet.events(TaskStarted) if isinstance(one, TaskStarted)]
        assert len(set(began)) == len(began)
        committed = [one.task for _, _, one in fleet.events(TaskCommitted) if isinstance(one, TaskCommitted)]
        assert sorted(committed) == sorted(names(60))


def test_a_fifth_of_all_frames_lost_costs_a_fleet_no_task_no_attempt_no_session_and_little_time() -> None:
    """Nobody is taken for dead, no lease runs out, every batch has its session, with all nodes in it."""
    ratios = []
    for seed in range(5):
        matrix = unrelated(4, 80, seed)
        whole = done(BatchFleet(matrix, {"n1": names(80)}, PRICES, seed=seed))
        fleet = BatchFleet(matrix, {"n1": names(80)}, PRICES, seed=seed, faults=Faults(loss=0.2))
        ratios.append(done(fleet) / whole)
        assert not fleet.events(TaskLost)
        assert len(fleet.events(TaskStarted)) == 80
        assert {event.state for _, _, event in fleet.events(PeerState) if isinstance(event, PeerState)}.isdisjoint(
            {Presence.DEAD, Presence.LEFT}
        )
        assert len(divided(fleet)) == 4
    assert statistics.median(ratios) < 1.03
    assert max(ratios) < 1.25


@pytest.mark.parametrize("mode", list(Mode))
def test_a_fifth_of_all_words_lost_changes_a_division_by_a_point_at_most(mode: Mode) -> None:
    instance = generated("hcsp:48x4:u_i_hihi:1")
    whole, lossy = (play(instance, "prices", mode, 0, loss=loss).division for loss in (0.0, 0.2))
    assert lossy.value <= whole.value * 1.01
    assert mode is Mode.GOSSIP or (lossy.value, lossy.bound) == (whole.value, whole.bound)


def test_a_node_slower_than_it_said_is_relieved_by_trade() -> None:
    took = {}
    for trade in (True, False):
        fleet = BatchFleet(unrelated(4, 80, 10), {"n1": names(80)}, Policy(trade=trade))
        fleet.takes["n2"] = 3.0
        took[trade] = done(fleet)
        if trade:
            met = [event for _, _, event in fleet.events(TradeMet) if isinstance(event, TradeMet)]
            assert met
            assert all(max(event.after_s) < max(event.before_s) for event in met)
        else:
            assert not fleet.events(TradeMet)
    assert took[True] < 0.8 * took[False]


def test_no_session_is_opened_where_it_cannot_help() -> None:
    proportional: Matrix = {f"n{node}": {f"t{task}": (1 + task % 7) / node for task in range(80)} for node in (1, 2, 4)}
    related = {f"n{place}": costs for place, costs in enumerate(proportional.values(), 1)}
    fleet = BatchFleet(related, {"n1": names(80)}, PRICES)
    done(fleet)
    assert not fleet.events(BatchOpened)
    short = BatchFleet(unrelated(4, 80, 11, seconds=0.01), {"n1": names(80)}, PRICES)
    done(short)
    assert not short.events(BatchOpened)
    few = BatchFleet(unrelated(4, 8, 11), {"n1": names(8)}, PRICES)
    done(few)
    assert not few.events(BatchOpened)


def test_spread_is_what_is_left_of_times_that_are_not_proportional() -> None:
    assert spread_of([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 6.0}]) == pytest.approx(0.0, abs=1e-12)
    assert spread_of([{"a": 1.0, "b": 4.0}, {"a": 4.0, "b": 1.0}]) == pytest.approx(math.log(2.0))
    assert spread_of([{"a": 1.0}, {"a": 1.0, "b": 2.0}]) == math.inf
    assert spread_of([]) == 0.0


@pytest.mark.parametrize("profile", ["default", "harsh"])
def test_in_the_simulator_batches_keep_every_invariant(profile: str) -> None:
    """Whoever dies, the desk included: another agent sees the batch through."""
    ran = 0
    for seed in range(400):
        scenario = draw(seed, 5, 10, profile)  # type: ignore[arg-type]
        if scenario.policy.dividing is Dividing.PRICES:
            ran += 1
            assert run(scenario).violation is None, f"seed {seed}"
        if ran == 8:
            break
    assert ran == 8
