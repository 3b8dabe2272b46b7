"""Workflows: what is read, ranks and HEFT by hand, and the same tasks placed by bids."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from test_bench_instances import DATA, data

from parley.launch.bench.workflows import Workflow, generated, heft, lower_bound, play, ranks, read, runs
from parley.launch.problems import Problem
from parley.protocols.award_rules import RULES
from parley.protocols.distances import LATENCY_S, LINK_BYTES_PER_S

MIB = 1 << 20
DIAMOND = Workflow("diamond", (2.0, 4.0, 8.0, 2.0), ({}, {0: MIB}, {0: MIB}, {1: MIB, 2: MIB}))


def file_of(tmp_path: Path, tasks: list[dict[str, object]], seconds: dict[str, float]) -> Path:
    files = [{"id": "data", "sizeInBytes": 1000}, {"id": "other", "sizeInBytes": 5}]
    execution = {"tasks": [{"id": name, "runtimeInSeconds": run} for name, run in seconds.items()]}
    written = tmp_path / "w.json"
    written.write_text(
        json.dumps({"workflow": {"specification": {"tasks": tasks, "files": files}, "execution": execution}})
    )
    return written


def task(name: str, parents: list[str], inputs: list[str] = [], outputs: list[str] = []) -> dict[str, object]:  # noqa: B006
    return {"id": name, "parents": parents, "inputFiles": inputs, "outputFiles": outputs}


def test_parents_come_first_with_what_they_have_made(tmp_path: Path) -> None:
    tasks = [task("b", ["a"], ["data", "other"]), task("a", [], ["other"], ["data"]), task("c", ["a"])]
    found = read(file_of(tmp_path, tasks, {"a": 1.0, "b": 2.0, "c": 0.0}))
    assert found.works == (1.0, 2.0, 1e-3)
    assert found.parents == ({}, {0: 1000}, {0: 0})
    assert found.children == [{1: 1000, 2: 0}, {}, {}]


def test_what_is_no_workflow_is_one_sentence(tmp_path: Path) -> None:
    circle = [task("a", ["b"]), task("b", ["a"])]
    for tasks, seconds in ((circle, {"a": 1.0, "b": 1.0}), ([task("a", ["x"])], {"a": 1.0}), ([task("a", [])], {})):
        with pytest.raises(Problem, match="no workflow"):
            read(file_of(tmp_path, tasks, seconds))
    with pytest.raises(Problem, match="1 to"):
        read(file_of(tmp_path, [], {}))
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(Problem, match="no workflow"):
        read(tmp_path / "x.json")
    with pytest.raises(Problem, match="cannot be read"):
        read(tmp_path / "nowhere.json")


def test_a_generated_workflow_has_layers_and_its_seed_says_it_all() -> None:
    found = generated("workflow:25x10:3")
    assert found == generated("workflow:25x10:3") != generated("workflow:25x10:4")
    assert not any(found.parents[:10])
    for task, parents in enumerate(found.parents[10:], 10):
        assert 1 <= len(parents) <= 3
        assert {parent // 10 for parent in parents} == {task // 10 - 1}


def test_ranks_and_heft_by_hand() -> None:
    move = LATENCY_S + MIB / LINK_BYTES_PER_S
    assert ranks(DIAMOND, (1.0, 1.0)) == pytest.approx([12.0 + move, 6.0 + move / 2, 10.0 + move / 2, 2.0])
    assert heft(DIAMOND, (1.0,)) == 16.0
    assert heft(DIAMOND, (1.0, 1.0)) == pytest.approx(12.0)
    assert lower_bound(DIAMOND, (1.0, 1.0)) == 12.0
    gap = Workflow("gap", (4.0, 1.0, 1.0), ({}, {0: 400 * MIB}, {}))
    assert heft(gap, (1.0,)) == 6.0


def test_bids_follow_the_data_and_the_ranks() -> None:
    one = play(DIAMOND, RULES["contract-net"], (1.0, 1.0), 0)
    assert one.reference == pytest.approx(12.0)
    assert 1.0 <= one.ratio < 1.01
    heavy = Workflow("heavy", (1.0, 1.0), ({}, {0: 5000 * MIB}))
    assert play(heavy, RULES["contract-net"], (1.0, 4.0, 1.0), 0).value == pytest.approx(0.5, abs=0.05)
    wide = Workflow("wide", (1.0, *(2.0,) * 80, 1.0), ({}, *({0: MIB},) * 80, dict.fromkeys(range(1, 81), MIB)))
    lines = runs(wide, ["contract-net", "random"], (1.0, 2.0, 4.0), [0])
    assert [line.protocol for line in lines] == ["contract-net", "random"]
    assert lines[0].bound <= lines[0].value < 1.05 * lines[0].reference
    assert lines[0].value <= lines[1].value


@data
def test_public_workflows() -> None:
    speeds = (1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0)
    ratios = []
    for name in ("blast-chameleon-small-001", "montage-chameleon-2mass-005d-001"):
        ratios.append(play(read(DATA / "wfinstances" / f"{name}.json"), RULES["contract-net"], speeds, 0).ratio)
    assert math.prod(ratios) ** 0.5 < 1.05
