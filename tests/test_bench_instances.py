"""Instances: each public format, what is no instance, generators, and the public files where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from parley.launch.bench import comparison
from parley.launch.bench.instances import Instance, read
from parley.launch.problems import Problem
from parley.protocols.columns import table

DATA = Path(os.environ.get("PARLEY_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public instances are not at {DATA}")


def instances(places: list[str]) -> list[Instance]:
    return comparison.find(places).instances


def test_braun(tmp_path: Path) -> None:
    file = tmp_path / "u_x.0"
    file.write_text("3 2 0\n1 2\n3 4\n5 6\n")
    (tmp_path / "u_x.0_CPR_7,5.sol").write_text("1 0 1")
    (tmp_path / "u_x.0_MS_7,25.sol").write_text("1 0 1")
    [instance] = read(file)
    assert instance.costs.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert (instance.capacities, instance.reference) == (None, 7.25)
    file.write_text("3 2\n1 2\n3 4\n5 6\n")
    assert read(file)[0].costs.shape == (2, 3)


def test_generalised_assignment(tmp_path: Path) -> None:
    problem = "2 3\n1 2 3\n4 5 6\n7 8 9\n1 1 1\n10 11\n"
    for name, sign in (("gap7", -1), ("gapb", 1), ("gap13", 1)):
        file = tmp_path / f"{name}.txt"
        file.write_text("2\n" + problem * 2)
        first, second = read(file)
        assert (first.name, second.name) == (f"{name}-1", f"{name}-2")
        assert (first.sign, first.costs.tolist()) == (
            sign,
            [[sign, 2 * sign, 3 * sign], [4 * sign, 5 * sign, 6 * sign]],
        )
        assert first.demands is not None
        assert first.capacities is not None
        assert (first.demands.tolist(), first.capacities.tolist()) == ([[7, 8, 9], [1, 1, 1]], [10, 11])
    assert read(tmp_path / "gapb.txt", "max")[0].sign == -1


def test_assignment(tmp_path: Path) -> None:
    file = tmp_path / "assign2.txt"
    file.write_text("2\n5 1\n2 9\n")
    [instance] = read(file)
    assert instance.capacities is not None
    assert (instance.costs.tolist(), instance.capacities.tolist()) == ([[5, 1], [2, 9]], [1, 1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "numbers only"),
        ("1 2 nan", "finite"),
        ("3 2 0 1 2 3", "neither"),
        ("2 2 3 1", "neither"),
        ("", "finite"),
        ("1 2000 0 " + "1 " * 2000, "at most"),
    ],
)
def test_what_is_no_instance_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(Problem, match=said):
        read(tmp_path / "x")


def test_folders_and_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no such file"):
        instances([str(tmp_path / "nowhere")])
    (tmp_path / "LICENSE").write_text("words")
    with pytest.raises(Problem, match="holds no instance"):
        instances([str(tmp_path)])
    (tmp_path / "one").write_text("1 1 0 5")
    assert [instance.name for instance in instances([str(tmp_path)])] == ["one"]


@pytest.mark.parametrize("kind", ["u_c_hihi", "u_i_lolo", "u_s_hilo"])
def test_generated_run_times(kind: str) -> None:
    [instance] = instances([f"hcsp:20x6:{kind}:3"])
    assert instance.costs.shape == (6, 20)
    assert instance.costs.tolist() == instances([f"hcsp:20x6:{kind}:3"])[0].costs.tolist()
    assert instance.costs.tolist() != instances([f"hcsp:20x6:{kind}:4"])[0].costs.tolist()
    ordered = np.diff(instance.costs, axis=0) >= 0
    assert bool(ordered.all()) == (kind == "u_c_hihi")
    if kind == "u_s_hilo":
        assert (np.diff(instance.costs[::2], axis=0) >= 0).all()


@pytest.mark.parametrize("kind", ["a", "b", "c", "d"])
def test_generated_assignments(kind: str) -> None:
    [instance] = instances([f"gap:4x20:{kind}:1"])
    assert instance.costs.shape == (4, 20)
    assert table({f"n{row}": instance.column(row) for row in range(4)}).capacities is not None


@pytest.mark.parametrize(
    "text", ["hcsp:20x0:u_c_hihi:1", "gap:4x20:u_c_hihi:1", "hcsp:20x4:a:1", "hcsp:9999x4:u_c_lolo"]
)
def test_generators_that_make_no_sense(text: str) -> None:
    with pytest.raises(Problem, match="write hcsp:"):
        instances([text])


@data
def test_the_public_files_are_read_with_their_references() -> None:
    braun = instances([str(DATA / "hcsp" / "512x16")])
    assert len(braun) == 12
    assert all(instance.costs.shape == (16, 512) and instance.reference for instance in braun)
    assert {instance.name: instance.reference for instance in braun}["u_c_hihi.0"] == 7358942.8
    gap = instances([str(DATA / "gap")])
    assert len(gap) == 42
    assert all(instance.reference for instance in gap)
    assert [instance.reference for instance in instances([str(DATA / "assign")])] == [305.0, 1176.0]
