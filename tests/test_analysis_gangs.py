"""What the logs tell of gangs: verify recomputes where members go and finds what is changed; why tells who was asked,
who kept slots, who let them go, and who the members are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simulated_runs import simulated_run

from parley.launch.analysis.card import render
from parley.launch.analysis.run import open_run
from parley.launch.analysis.timeline import timeline
from parley.launch.analysis.verify import verify
from parley.launch.analysis.why import why
from parley.protocols.core import Conditions, NodeId, Task
from parley.transport.faults import Crash, Faults


def gang(name: str, size: int, work: float = 1.0) -> Task:
    return Task(name, "work", work, terms=Conditions(gang=size))


TASKS: dict[NodeId, list[Task]] = {
    "n1": [gang("g1", 5), *[Task(f"s{number}", "work", 0.3) for number in range(6)]],
    "n2": [gang("g2", 4, 0.5), gang("g3", 2, 0.5)],
    "n3": [gang("large", 9)],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated_run(tmp_path_factory.mktemp("run"), speeds=(1.0, 1.0, 1.0, 1.0), tasks=TASKS, slots=2)


def test_a_sound_run_is_sound(run: Path) -> None:
    verdict = verify(run)
    assert verdict.sound
    assert not verdict.notes
    events = {head.event for head, _ in open_run(run).heads()}
    assert {"gang.reserve", "reserve.hold", "member.start", "member.end"} <= events


def _where(line: dict[str, Any]) -> None:
    line["places"][0]["members"] += 1


def _when(line: dict[str, Any]) -> None:
    for place in line["places"]:
        place["ready_s"] = [90.0] * len(place["ready_s"]) if place["members"] else place["ready_s"]


def _cost(line: dict[str, Any]) -> None:
    line["places"][0]["own_s"] += 0.001


def _kept(line: dict[str, Any]) -> None:
    line["members"] += 1


def _rank(line: dict[str, Any]) -> None:
    line["rank"] += 7


def _members(line: dict[str, Any]) -> None:
    line["members"] = line["members"][1:] + line["members"][:1]


def _leader(line: dict[str, Any]) -> None:
    line["winner"] = next(node for node in line["members"] if node != line["winner"])


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("gang.reserve", _where),
        ("gang.reserve", _when),
        ("gang.reserve", _cost),
        ("reserve.hold", _kept),
        ("member.start", _rank),
        ("auction.award", _members),
        ("auction.award", _leader),
    ],
)
def test_what_is_changed_is_found(run: Path, event: str, change: Callable[[dict[str, Any]], None]) -> None:
    for path in sorted(run.glob("*.jsonl")):
        lines = path.read_bytes().splitlines(keepends=True)
        for number, text in enumerate(lines):
            line = json.loads(text)
            if line["event"] != event or (event == "auction.award" and len(set(line["members"])) < 2):
                continue
            change(line)
            path.write_bytes(b"".join([*lines[:number], json.dumps(line).encode() + b"\n", *lines[number + 1 :]]))
            differences = verify(run).differences
            path.write_bytes(b"".join(lines))
            assert differences
            return
    pytest.fail(f"there is no {event}")


def test_why_tells_who_was_asked_who_kept_slots_and_who_the_members_are(run: Path) -> None:
    told = why(open_run(run), "g1")
    [award] = told.awards
    assert (award.rule, len(award.members), award.winner) == ("gang", 5, award.members[0])
    texts = [step.text for step in told.history]
    assert any(text.startswith("called: n1, n2, n3, n4 asked") for text in texts)
    assert any(text.startswith("reserves slots for its 5 members, one node after the other: n") for text in texts)
    kept = [step.node for step in told.history if step.event == "reserve.hold"]
    assert sorted(kept) == sorted(set(award.members))
    assert kept == sorted(kept), "in the order of their names"
    assert [f"rank {rank} started (award 1)" in texts for rank in range(5)] == [True] * 5
    card = render(told, color=False, width=110)
    assert "a gang of 5 on 3 nodes; n" in card
    assert "members  n" in card
    assert "gang: members at once, where all could end soonest, on the fewest nodes" in card
    large = why(open_run(run), "large")
    assert large.error == "0/4 nodes can run this: 4 have room for 8 of its 9 members together"
    assert "room for 8 of its 9 members together" in render(large, color=False, width=110)


def test_members_are_what_takes_slots_in_the_pictures(run: Path) -> None:
    drawn = timeline(run)
    ranks = sorted((attempt.rank or 0) for attempt in drawn.attempts if attempt.task == "g1")
    assert ranks == [0, 1, 2, 3, 4]
    assert {attempt.slot for attempt in drawn.attempts} == {0, 1}
    assert len([attempt for attempt in drawn.committed if attempt.task == "g1"]) == 5
    assert len([attempt for attempt in drawn.committed if attempt.task == "s0"]) == 1


def test_a_run_with_a_death_in_it_is_sound_and_why_says_what_came_of_it(tmp_path: Path) -> None:
    faults = Faults(crashes=(Crash("n4", 2.0),))
    tasks: dict[NodeId, list[Task]] = {"n1": [gang("g", 6, 3.0)]}
    run = simulated_run(tmp_path, speeds=(1.0, 1.0, 1.0, 1.5), tasks=tasks, slots=2, faults=faults)
    assert not verify(run).differences
    told = why(open_run(run), "g")
    assert [len(award.members) for award in told.awards] == [6, 6]
    assert told.awards[0].lost is not None
    assert "n4" in told.awards[0].members
    assert "n4" not in told.awards[1].members
    ends = [step.text.rpartition(": ")[2] for step in told.history if step.event == "member.end"]
    assert len([text for text in ends if text != "done"]) == 4, "the others of the first award were stopped"
