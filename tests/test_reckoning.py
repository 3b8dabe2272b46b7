"""A reckoning is told what a node tells its log, and says how good it was when nothing is open any more."""

from __future__ import annotations

import pytest

from parley.protocols import objective
from parley.protocols.commitment_events import EpochFenced
from parley.protocols.contract_events import AuctionAwarded, AuctionOpened, TaskCommitted
from parley.protocols.core import Event, State
from parley.protocols.reckoning import CALLS_MAX, ObjectiveReached, Reckoning
from parley.protocols.service import TaskSubmitted

FLEET = [("n1", 1, 1.0), ("n2", 2, 4.0), ("n3", 1, 1.0)]


def submitted(task: str) -> Event:
    return TaskSubmitted(task=task, kind="work", work=None, payload_bytes=0, peer="c")


def called(call: str, *tasks: str) -> Event:
    return AuctionOpened(auction=call, tasks=tasks, invitees=("n1", "n2"), reply_by_s=0.25)


def awarded(call: str, task: str, winner: str, epoch: int = 1) -> Event:
    return AuctionAwarded(
        auction=call, task=task, epoch=epoch, winner=winner, cost=1.0, runner_up=None, margin=None, rule="contract-net",
        seed=0, bids=(), declines=(), silent=(),
    )  # fmt: skip


def committed(task: str, peer: str | None, seconds: float, state: State = State.DONE) -> Event:
    return TaskCommitted(task=task, epoch=1, state=state, peer=peer, attempts=1, detail="", seconds=seconds)


def told(*story: tuple[float, Event], fleet: list[tuple[str, int, float]] = FLEET) -> list[ObjectiveReached]:
    reckoning = Reckoning(lambda: fleet)
    return [reached for at, event in story if (reached := reckoning.tell(event, at)) is not None]


def test_three_tasks_by_hand() -> None:
    [reached] = told(
        (10.0, submitted("a")),
        (10.0, submitted("b")),
        (10.5, submitted("c")),
        (11.0, called("x", "a", "b")),
        (11.25, awarded("x", "a", "n2")),
        (11.5, awarded("x", "b", "n1")),
        (12.0, called("y", "c")),
        (12.75, awarded("y", "c", "n2")),
        (13.0, committed("a", "n2", 1.0)),
        (14.0, committed("c", "n2", 0.5)),
        (16.0, committed("b", "n1", 4.0)),
    )
    assert (reached.ended, reached.done) == (3, 3)
    shares = [(one.node, one.done, one.busy_s) for one in reached.nodes]
    assert shares == [("n1", 1, 4.0), ("n2", 2, 1.5), ("n3", 0, 0.0)]
    assert reached.makespan_s == 6.0
    assert reached.completion_s == (13.0 - 10.0) + (16.0 - 10.0) + (14.0 - 10.5)
    assert reached.average_load_s == objective.average_load([4.0, 1.5, 0.0])
    assert reached.imbalance == objective.imbalance([4.0, 1.5, 0.0])
    assert reached.fairness == objective.fairness([4.0, 1.5, 0.0])
    # works of 4, 4 and 2 s at speed 1, on slots of speed 4, 4, 1 and 1: three tasks use three slots at most
    assert reached.bound_s == objective.prefix_bound([4.0, 4.0, 2.0], [4.0, 4.0, 1.0, 1.0]) == 10.0 / 9.0
    assert reached.call_s == (0.25 + 0.75) / 2
    assert reached.weighted_s == 5.0 + 0.5
    assert reached.makespan_s >= reached.bound_s


def test_each_time_that_nothing_is_open_any_more_it_begins_anew() -> None:
    story = [
        (at + offset, event)
        for at in (0.0, 100.0)
        for offset, event in (
            (0.0, submitted(f"a{at}")),
            (0.0, submitted(f"b{at}")),
            (1.0, committed(f"a{at}", "n1", 1.0)),
            (2.0, committed(f"b{at}", "n1", 1.0)),
        )
    ]
    first, second = told(*story)
    assert (first.makespan_s, first.completion_s) == (second.makespan_s, second.completion_s) == (2.0, 3.0)


def test_what_is_not_done_took_its_time_but_is_no_load() -> None:
    [reached] = told(
        (0.0, submitted("a")), (0.0, submitted("b")), (0.0, submitted("c")), (0.0, submitted("d")),
        (1.0, committed("a", "n1", 1.0)),
        (2.0, committed("b", "n3", 1.5)),
        (3.0, committed("c", "n2", 2.0, State.FAILED)),
        (3.0, committed("d", None, 0.0, State.UNPLACED)),
    )  # fmt: skip
    assert (reached.ended, reached.done) == (4, 2)
    assert [one.busy_s for one in reached.nodes] == [1.0, 0.0, 1.5]
    assert reached.completion_s == 1.0 + 2.0 + 3.0 + 3.0


@pytest.mark.parametrize(
    "story",
    [
        [(0.0, submitted("a")), (1.0, committed("a", "n1", 1.0))],
        [(0.0, submitted("a")), (0.0, submitted("b")), (1.0, committed("a", "n1", 1.0))],
        [(0.0, submitted("a")), (0.0, submitted("b")), (1.0, committed("a", "n1", 0)), (1.0, committed("b", "n1", 0))],
        [(0.0, committed("a", "n1", 1.0)), (1.0, committed("b", "n1", 1.0))],
    ],
    ids=["one alone", "one is open", "no time was spent", "handed in elsewhere"],
)
def test_where_there_is_nothing_to_judge_nothing_is_said(story: list[tuple[float, Event]]) -> None:
    assert told(*story) == []


def test_a_task_that_is_fenced_is_another_agents() -> None:
    [reached] = told(
        (0.0, submitted("a")),
        (0.0, submitted("b")),
        (0.0, submitted("c")),
        (1.0, committed("a", "n1", 1.0)),
        (2.0, committed("b", "n1", 1.0)),
        (4.0, EpochFenced(task="c", epoch=1)),
        (9.0, committed("c", "n1", 1.0)),
    )
    assert (reached.ended, reached.done, reached.makespan_s) == (2, 2, 4.0)


def test_a_node_that_nobody_knows_any_more_counts_for_what_it_did() -> None:
    ends = ((1.0, committed("a", "n9", 1.0)), (1.0, committed("b", "n1", 1.0)))
    [reached] = told((0.0, submitted("a")), (0.0, submitted("b")), *ends, fleet=[("n1", 1, 1.0)])
    assert [(one.node, one.busy_s) for one in reached.nodes] == [("n1", 1.0), ("n9", 1.0)]


def test_calls_without_an_award_are_forgotten() -> None:
    reckoning = Reckoning(lambda: FLEET)
    reckoning.tell(submitted("a"), 0.0)
    reckoning.tell(submitted("b"), 0.0)
    for number in range(CALLS_MAX + 1):
        reckoning.tell(called(f"x{number}", "a"), 1.0)
    reckoning.tell(awarded("x0", "a", "n1"), 5.0)
    reckoning.tell(awarded(f"x{CALLS_MAX}", "b", "n1"), 5.0)
    reckoning.tell(committed("a", "n1", 1.0), 6.0)
    reached = reckoning.tell(committed("b", "n1", 1.0), 6.0)
    assert reached is not None
    assert reached.call_s == 4.0
