"""The tables that the documentation's diagrams are drawn from, against fleets under faults: nothing moves otherwise."""

from __future__ import annotations

import doctest
import enum
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from simulated_agents import Fleet
from simulated_runs import tasks_of

from parley.launch import diagrams
from parley.launch.diagrams import MEMBER, PERMISSION, STAGE, TASK, Table
from parley.protocols.award_rules import RULES
from parley.protocols.contract import Contract
from parley.protocols.contract_events import AuctionAwarded, TaskCommitted, TaskLost, TaskStarted
from parley.protocols.core import Conditions, Event, Task
from parley.protocols.opener import _Opening
from parley.protocols.service import TaskSubmitted
from parley.protocols.swim_words import PeerState
from parley.transport.faults import Crash, Cut, Faults

SEEDS = 6
UNRUNNABLE = [Task("x1", "nobody-offers-this", 1.0), Task("x2", "work", 1.0, terms=Conditions(needs=("gpu",)))]
Moves = Counter[tuple[str, str]]


def noting(moves: Moves, told: object, name: str, value: object) -> None:
    """In the place of __setattr__."""
    if name == "stage" and isinstance(value, enum.Enum):
        before = getattr(told, "stage", None)
        if before is not value:
            moves[before.name.lower() if before else "", value.name.lower()] += 1
    object.__setattr__(told, name, value)


def fleet(seed: int) -> Fleet:
    crashes = (Crash("n4", 1.25), Crash("n2", 1.4, noticed=True))
    cuts = (Cut(2.0, 6.0, frozenset({"n1"})),) if seed % 2 else ()
    tasks = {"n1": [*tasks_of(24), *UNRUNNABLE], "n3": tasks_of(12, prefix="u", rewards=True)}
    faults = Faults(loss=0.05, late=0.03, crashes=crashes, cuts=cuts)
    rule = RULES[list(RULES)[seed]]
    return Fleet((1.0, 1.0, 2.0, 4.0), dict(tasks), seed=seed, slots=1 + seed % 2, faults=faults, rule=rule)


@pytest.fixture(scope="module")
def moves() -> dict[str, Moves]:
    """All that was seen to move, by table."""
    seen: dict[str, Moves] = {name: Counter() for name in diagrams.DIAGRAMS}
    with pytest.MonkeyPatch.context() as patch:
        for kind, name in ((Contract, "stage"), (_Opening, "permission")):
            note: Callable[..., None] = partial(noting, seen[name])
            patch.setattr(kind, "__setattr__", lambda told, *what, note=note: note(told, *what), raising=False)
        for seed in range(SEEDS):
            run = fleet(seed)
            run.wire.run(until=20.0)
            members: dict[tuple[str, str], str] = {}
            states: dict[str, str] = {}
            for _, node, event in run.wire.events:
                if isinstance(event, PeerState):
                    before = members.get((node, event.peer), "")
                    seen["member"][before, event.state] += 1
                    members[node, event.peer] = event.state
                elif (state := state_after(event, states)) is not None:
                    task = str(getattr(event, "task", ""))
                    before = states.get(task, "")
                    if before != state:
                        seen["task"][before, state] += 1
                    states[task] = state
    return seen


def state_after(event: Event, states: dict[str, str]) -> str | None:
    """What the log tells of a task; nothing more after its end."""
    if states.get(str(getattr(event, "task", ""))) in ("done", "failed", "unplaced", "cancelled", "unknown"):
        return None
    match event:
        case TaskSubmitted() | TaskLost():
            return "open"
        case AuctionAwarded():
            return "awarded"
        case TaskStarted():
            return "running"
        case TaskCommitted():
            return str(event.state)
    return None


@pytest.mark.parametrize(
    ("name", "table", "core"),
    [
        ("task", TASK, {("", "open"), ("open", "awarded"), ("awarded", "running"), ("running", "done")}),
        ("stage", STAGE, {("uncalled", "called"), ("called", "priced"), ("priced", "awarded"), ("awarded", "ended")}),
        ("permission", PERMISSION, {("", "holding"), ("holding", "owned"), ("", "preparing"), ("preparing", "owned")}),
        ("member", MEMBER, {("", "alive"), ("alive", "suspect"), ("suspect", "dead"), ("suspect", "alive")}),
    ],
)
def test_nothing_moves_but_as_the_table_says(
    name: str, table: Table, core: set[tuple[str, str]], moves: dict[str, Moves]
) -> None:
    drawn = {(start, to) for start, to, _ in table}
    assert set(moves[name]) <= drawn, set(moves[name]) - drawn
    assert core <= set(moves[name])
    assert len(drawn) == len(table), "a move stands there once"


def test_the_example_in_the_source() -> None:
    assert doctest.testmod(diagrams).failed == 0
