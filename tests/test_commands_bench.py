"""`parley bench`: its JSON, its table, its sentences; and what it finds on public instances, where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_bench_instances import DATA, data

from parley.launch.cli import parley
from parley.launch.problems import Problem

FIELDS = {
    "instance", "protocol", "mode", "on", "seed", "value", "bound", "certificate_pct", "reference", "ratio",
    "feasible", "rounds", "messages", "bytes", "seconds",
}  # fmt: skip


def bench(*words: str) -> Result:
    return CliRunner().invoke(parley, ["--no-config", "bench", *words])


def lines(*words: str) -> list[dict[str, object]]:
    ended = bench(*words, "--json")
    assert ended.exit_code == 0, ended.exception
    told: list[dict[str, object]] = json.loads(ended.stdout)
    return told


def test_every_protocol_in_every_mode() -> None:
    names = "prices,contract-net,batched,most-free,longest-heaviest,random"
    told = lines("hcsp:16x4:u_i_lolo:1", "gap:3x9:a:2", "--protocol", names, "--mode=rounds,gossip", "--seeds=1")
    assert len(told) == 24
    for line in told:
        assert set(line) >= FIELDS
        assert line["on"] == "simulated"
        assert isinstance(line["messages"], int)
        assert line["messages"] > 0
    best: dict[object, float] = {}
    for line in told:
        if line["feasible"]:
            assert isinstance(line["value"], float)
            best[line["instance"]] = min(best.get(line["instance"], float("inf")), line["value"])
    ours = [line for line in told if line["protocol"] == "prices" and line["mode"] == "rounds"]
    assert all(line["value"] == pytest.approx(best[line["instance"]], rel=0.05) for line in ours)


def test_profits_are_told_as_profits(tmp_path: Path) -> None:
    (tmp_path / "gap7.txt").write_text("1\n2 3\n9 1 1\n1 9 9\n1 1 1\n1 1 1\n2 2\n")
    [line] = lines(str(tmp_path / "gap7.txt"), "--seeds=1")
    assert (line["value"], line["bound"], line["feasible"], line["certificate_pct"]) == (27.0, 27.0, True, 0.0)


def test_a_seed_says_it_all() -> None:
    first, again, other = (
        lines("hcsp:30x4:u_s_hihi:5", "--seeds=1"),
        lines("hcsp:30x4:u_s_hihi:5", "--seeds=1"),
        lines("hcsp:30x4:u_s_hihi:5", "--seeds=1", "--first-seed=7"),
    )
    for told in (first, again, other):
        told[0].pop("seconds")
    assert first == again
    assert other[0]["seed"] == 7


def test_the_table() -> None:
    ended = bench("hcsp:12x3:u_c_lolo:1", "hcsp:12x3:u_c_lolo:2", "--protocol=batched", "--seeds=2")
    assert ended.exit_code == 0
    assert [line.split()[:3] for line in ended.stdout.splitlines()[1:]] == [
        ["hcsp:12x3:u_c_lolo:1", "batched", "rounds"],
        ["hcsp:12x3:u_c_lolo:2", "batched", "rounds"],
        ["mean", "batched", "rounds"],
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hcsp:9x3:u_c_lolo", "--protocol=pricse"], "'pricse' is no protocol: did you mean prices"),
        (["hcsp:9x3:u_c_lolo", "--mode=round"], "'round' is no mode: did you mean rounds"),
        (["hcsp:9x3:u_c_lolo", "--protocol=,"], "name at least one protocol"),
        (["/nowhere"], "/nowhere cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence(words: list[str], said: str) -> None:
    ended = bench(*words)
    assert isinstance(ended.exception, Problem)
    assert said in str(ended.exception)
    assert ended.exception.code == 2


@data
def test_generalised_assignments_are_feasible_and_near_the_optimum() -> None:
    told = lines(str(DATA / "gap" / "gap1.txt"), "--seeds=1")
    assert all(line["feasible"] for line in told)
    gaps = [abs(1.0 - float(str(line["ratio"]))) for line in told]
    assert sum(gaps) / len(gaps) < 0.015
    assert all(100.0 * gap <= float(str(line["certificate_pct"])) + 1e-9 for gap, line in zip(gaps, told, strict=True))
