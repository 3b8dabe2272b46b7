"""Hundreds of seeds hold, the same seed is the same run in any process, and every planted bug is caught."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from planted_bugs import BUGS, SEEDS_MAX

from parley.launch import simulate
from parley.launch.scenario import Handed, Profile, Scenario, draw
from parley.protocols.contract_net import Initiator
from parley.protocols.core import ProtocolError, State, Task
from parley.transport.faults import Crash, Faults

SEEDS_TOGETHER = 25


@pytest.mark.parametrize(
    ("profile", "first"),
    [
        pytest.param(profile, first, id=f"{profile} from {first}")
        for profile, seeds in (("none", 50), ("default", 100), ("harsh", 75))
        for first in range(1, seeds, SEEDS_TOGETHER)
    ],
)
def test_every_invariant_holds(profile: Profile, first: int) -> None:
    ran = [simulate.run(draw(seed, 7, 12, profile)) for seed in range(first, first + SEEDS_TOGETHER)]
    assert [(one.seed, one.violation) for one in ran if one.violation is not None] == []
    assert sum(one.acked for one in ran) > 6 * SEEDS_TOGETHER


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sought from where it has shown, and then, as a change may have moved it, through all SEEDS_MAX."""
    bug = BUGS[name]
    bug.plant(monkeypatch)
    for seed in range(bug.first, bug.first + SEEDS_MAX):
        violation = simulate.run(draw(seed, 7, 12, bug.profile)).violation
        if violation is not None:
            assert violation.invariant in bug.invariants, f"seed {seed}: {violation}"
            return
    pytest.fail(f"{name} breaks no invariant in {SEEDS_MAX} seeds")


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 12
    caught = {invariant for bug in BUGS.values() for invariant in bug.invariants}
    assert caught >= {"S1", "S2", "S3", "S6", "S7", "S9", "S11", "S13", "A1", "G1", "G2", "T1"}
    assert caught >= {"M1", "M2", "M3", "L1", "L2", "L4"}


def traced(hash_seed: int, path: Path) -> bytes:
    """In a process of its own, whose sets have an order of their own."""
    command = [sys.executable, "-P", "-m", "parley", "simulate", "--seeds=3", "--faults=harsh", f"--trace={path}"]
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": str(hash_seed)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return path.read_bytes()


def test_the_same_seed_leaves_the_same_trace_in_any_process(tmp_path: Path) -> None:
    first = traced(1, tmp_path / "first")
    assert first == traced(2, tmp_path / "again")
    assert first.count(b"\n") > 3_000
    assert b"AuctionAwarded" in first


def test_another_seed_is_another_run() -> None:
    one, again, other = (simulate.run(draw(seed, 5, 6, "default")) for seed in (1, 1, 2))
    assert one == again
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(("nodes", "tasks"), [(1, 3), (2, 0), (3, 40)])
def test_small_fleets_and_many_tasks(nodes: int, tasks: int) -> None:
    for seed in range(3):
        assert simulate.run(draw(seed, nodes, tasks, "default")).violation is None


def by_hand(*tasks: Handed, faults: Faults | None = None) -> Scenario:
    template = draw(1, 3, 0, "none")
    return Scenario(1, template.nodes, tasks, faults or Faults(), template.slowness)


def test_what_an_agent_that_dies_has_taken_is_not_owed() -> None:
    """Until a task has holders, it dies with the one agent that knows it."""
    dying = Faults(crashes=(Crash("n1", 2.0),))
    long, other = Handed(Task("long", "work", 60.0), "n1", 1.0), Handed(Task("other", "work", 0.1), "n2", 1.0)
    world = simulate.World(by_hand(long, other, faults=dying))
    world.run()
    assert world.owed() == world.told() == ["other"]
    assert world.clients["n1"].acked.keys() == {"long"}


def test_a_node_that_comes_back_is_handed_tasks_again() -> None:
    back = Faults(crashes=(Crash("n1", 1.0, 2.0, noticed=True),))
    handed = [Handed(Task(f"t{number}", "work", 0.1), "n1", 3.0 + number) for number in range(3)]
    world = simulate.World(by_hand(*handed, faults=back))
    world.run()
    assert world.agents["n1"].membership.contact.incarnation == 2
    assert {"t1", "t2"} <= set(world.owed()), "the first finds out that its agent has another life"


def test_a_cancelled_task_has_that_end() -> None:
    world = simulate.World(by_hand(Handed(Task("t", "work", 60.0), "n1", 1.0, cancel_at=3.0)))
    world.run()
    assert world.clients["n1"].outcomes["t"].state is State.CANCELLED


def test_an_agent_that_breaks_its_own_rules_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Initiator, *_: object, **__: object) -> None:
        raise ProtocolError("this cannot be")

    monkeypatch.setattr(Initiator, "call", broken)
    violation = simulate.run(draw(1, 3, 1, "none")).violation
    assert violation is not None
    assert violation.invariant == "crash"
    assert "ProtocolError in broken" in violation.sentence
    assert violation.sentence.endswith(": this cannot be")
