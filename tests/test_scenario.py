"""Scenarios: the same seed draws the same one, and together they have everything."""

from __future__ import annotations

import functools

import pytest

from parley.launch.scenario import FAULTS_UNTIL_S, PROFILES, TASKS_UNTIL_S, Profile, Scenario, draw
from parley.transport.faults import RESTART_S, Way

SEEDS = range(300)


@functools.cache
def drawn(profile: Profile) -> list[Scenario]:
    return [draw(seed, 7, 12, profile) for seed in SEEDS]


def test_the_same_seed_draws_the_same_scenario() -> None:
    assert drawn("harsh")[:30] == [draw(seed, 7, 12, "harsh") for seed in range(30)]
    assert len({repr(scenario.faults) for scenario in drawn("harsh")}) == len(SEEDS)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_holds_of_each(profile: Profile) -> None:
    for scenario in drawn(profile):
        faults = scenario.faults
        assert len(scenario.nodes) == 7
        assert len({handed.task.id for handed in scenario.tasks}) == 12
        assert all(handed.at <= TASKS_UNTIL_S and handed.entry in scenario.nodes for handed in scenario.tasks)
        assert faults.over_at <= FAULTS_UNTIL_S[profile] + 2 * RESTART_S
        assert len({crash.node for crash in faults.crashes}) == len(faults.crashes) <= 3
        assert all(crash.copied_at <= crash.at for crash in faults.crashes)
        for cut in faults.cuts:
            assert 0.0 < cut.at < cut.until
            assert cut.bridge not in cut.side


def test_without_faults_there_are_none() -> None:
    assert all(scenario.faults.over_at == 0.0 == scenario.dying for scenario in drawn("none"))


def test_together_they_have_every_fault_and_each_lacks_some() -> None:
    scenarios = drawn("default")
    faults = [scenario.faults for scenario in scenarios]
    cuts = [cut for one in faults for cut in one.cuts]
    crashes = [crash for one in faults for crash in one.crashes]
    kinds = {
        "loss": [one.loss > 0 for one in faults],
        "duplication": [one.duplication > 0 for one in faults],
        "late": [one.late > 0 for one in faults],
        "cuts": [bool(one.cuts) for one in faults],
        "crashes": [bool(one.crashes) for one in faults],
        "pauses": [bool(one.pauses) for one in faults],
        "drift": [bool(one.drift) for one in faults],
        "full": [any(trouble.full for trouble in one.troubles) for one in faults],
        "broken": [any(not trouble.full for trouble in one.troubles) for one in faults],
        "dying": [scenario.dying > 0 for scenario in scenarios],
        "cancelled": [any(handed.cancel_at for handed in scenario.tasks) for scenario in scenarios],
    }
    for kind, there in kinds.items():
        assert 20 < sum(there) < len(SEEDS), kind
    assert {cut.way for cut in cuts} == set(Way)
    assert {len(cut.side) > 2 for cut in cuts} == {cut.bridge is None for cut in cuts} == {True, False}
    assert {cut.flap_s > 0 for cut in cuts} == {True, False}
    assert {crash.back_at is None for crash in crashes} == {crash.noticed for crash in crashes} == {True, False}
    assert len({crash.left for crash in crashes}) == 4
