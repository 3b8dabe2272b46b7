"""`parley bench`: its JSON, its table, its sentences; and what it finds on public instances, where they are."""

from __future__ import annotations

import json
import subprocess
import sys
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
        (["gap:5x30:z:1"], "gap:5x30:z:1 cannot be read: no such file or directory; a generator is written like"),
        (["hcsp:9x3:u_c_lolo", "--protocol=prices", "--topology=ring"], "prices lets all hear all: --topology is for"),
        (["hcsp:9x3:u_c_lolo", "--protocol=cbba", "--topology=star"], "'star' is no topology: write full, ring"),
        (["hcsp:9x3:u_c_lolo", "--protocol=assignment"], "assignment: hcsp:9x3:u_c_lolo is no assignment"),
        (["gap:3x9:a:1", "--protocol=cbba"], "cbba: gap:3x9:a:1 has capacities"),
        (["assign:0"], "assign:0: write assign:N:SEED"),
        (["workflow:5x9"], "workflow:5x9: write workflow:TASKSxWIDTH:SEED"),
        (["hcsp:9x3:u_c_lolo", "--on=processes", "--protocol=cbba"], "cbba runs on the simulated fleet"),
        (["hcsp:9x3:u_c_lolo", "--probes=few"], "--probes few: write how many are asked"),
        (["hcsp:9x3:u_c_lolo", "--speed=1,0"], "--speed 1,0: write a speed above 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(words: list[str], said: str) -> None:
    ended = bench(*words)
    assert isinstance(ended.exception, Problem)
    assert said in str(ended.exception)
    assert ended.exception.code == 2


def test_a_node_whose_parent_has_gone_leaves_without_a_word() -> None:
    module = [sys.executable, "-P", "-m", "parley.launch.bench.session_host"]
    ended = subprocess.run(module, input="", capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


WIDE = {"tasks": [{"id": f"t{number}", "parents": []} for number in range(6)]}


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A folder with one of each kind, and what is none."""
    (tmp_path / "LICENSE").write_text("words")
    (tmp_path / "a.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        + "".join(f"2023-11-16 18:15:{second:02}.5,100,{10 + second}\n" for second in range(60))
    )
    runs = {"tasks": [{"id": f"t{number}", "runtimeInSeconds": 1.0 + number} for number in range(6)]}
    (tmp_path / "w.json").write_text(json.dumps({"workflow": {"specification": WIDE, "execution": runs}}))
    (tmp_path / "assign4.txt").write_text("4\n" + "5 1 9 2\n2 9 4 4\n8 8 1 7\n3 2 6 5\n")
    return tmp_path


def test_everything_side_by_side(places: Path) -> None:
    told = lines(str(places), "--protocol=all", "--seed=3", "--probes=2", "--speed=1,2,4")
    by = {(str(line["instance"]), str(line["protocol"]), line.get("probes", 0)): line for line in told}
    assert all(line["seed"] == 3 for line in told)
    assert {protocol for instance, protocol, _ in by if instance == "assign4"} == {
        "prices", "contract-net", "batched", "most-free", "longest-heaviest", "random", "assignment", "cbba",
    }  # fmt: skip
    exact = by["assign4", "assignment", 0]
    assert (exact["value"], exact["detected"], exact["topology"]) == (7.0, True, "full")
    [tendered] = lines(str(places / "assign4.txt"), "--protocol=assignment", "--no-scaling", "--seed=3")
    assert (tendered["value"], tendered["bound"], tendered["certificate_pct"], tendered["told"]) == (7.0, 7.0, 0.0, 4.0)
    assert by["a", "contract-net", 0]["ratio"] == 1.0
    assert by["w", "contract-net", 0]["reference"] == by["w", "random", 0]["reference"]


def test_the_table_of_families(places: Path) -> None:
    words = [str(places), "gap:3x9:a:2", "--protocol=all", "--seed=0", "--probes=2", "--speed=1,2,4", "--topology=full"]
    ended = bench(*words, "--by=markdown")
    assert ended.exit_code == 0, ended.exception
    head, rule, *rows = ended.stdout.splitlines()
    assert head.startswith("| instances | prices | contract-net | batched | most-free |")
    assert head.count("|") == rule.count("|")
    assert [row.split(" | ")[0] for row in rows] == [
        "| assignment", "| GAP 3x9, type a", "| arrivals, 70 % load", "| workflows",
    ]  # fmt: skip
    assert all(row.count("|") == head.count("|") for row in rows)
    table = bench(*words, "--by=family").stdout
    assert all(row.split(" | ")[0][2:] in table for row in rows)


def test_consensus_on_a_topology_that_loses_words(places: Path) -> None:
    words = [str(places / "assign4.txt"), "--protocol=cbba", "--seed=1"]
    [ring] = lines(*words, "--topology=ring", "--loss=0.5")
    assert (ring["topology"], ring["loss"], ring["diameter"], ring["detected"]) == ("ring", 0.5, 2, True)
    assert ring["feasible"]
    [at_once] = lines(*words, "--topology=ring", "--loss=0.2", "--mode=gossip")
    assert at_once["detected"]


@pytest.mark.parametrize(
    ("protocol", "mode", "loss"), [("prices", "rounds", 0.0), ("batched", "gossip", 0.0), ("batched", "rounds", 0.3)]
)
def test_between_processes_it_is_as_on_the_simulated_fleet(protocol: str, mode: str, loss: float) -> None:
    words = ["hcsp:10x3:u_i_lolo:1", "--seed=1", f"--protocol={protocol}", f"--mode={mode}"]
    [simulated], [real] = lines(*words), lines(*words, "--on=processes", f"--loss={loss}")
    assert real["loss"] == loss
    assert (real["on"], simulated["on"]) == ("processes", "simulated")
    assert isinstance(real["deliveries"], int)
    assert real["deliveries"] >= 2 * 10
    assert (real["value"], real["bound"]) == (simulated["value"], simulated["bound"])
    assert mode == "gossip" or real["rounds"] == simulated["rounds"]
    assert real["feasible"]


def test_a_generator_is_named_as_it_was_written() -> None:
    assert "assign:12:5 " in bench("assign:12:5", "--protocol=random", "--seed=0").output.replace("\n", " ")


def test_a_flag_that_is_given_again_adds_to_what_was_said() -> None:
    words = ("--protocol=random", "--protocol=batched,random", "--mode=gossip", "--mode=rounds", "--seed=0")
    told = lines("hcsp:9x3:u_c_lolo:1", *words)
    assert [(line["protocol"], line["mode"]) for line in told] == [
        ("random", "gossip"), ("random", "rounds"), ("batched", "gossip"), ("batched", "rounds"),
    ]  # fmt: skip


def test_without_prices_the_best_run_is_the_reference() -> None:
    words = ("hcsp:30x4:u_i_hihi:1", "--protocol=batched,random", "--seed=0", "--by=markdown")
    [row] = bench(*words).stdout.splitlines()[2:]
    _, best, worse = row.strip(" |").split(" | ")
    assert (best, float(worse) > 1.5) == ("1.000", True)


def test_where_nothing_counts_there_is_no_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ended = bench("gap:3x12:c:1", "--protocol=batched", "--seed=0", f"--plot={tmp_path / 'p.svg'}")
    assert "there is nothing to draw" in str(ended.exception)
    assert not (tmp_path / "p.svg").exists()


def test_a_picture(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["hcsp:9x3:u_c_lolo", "--protocol=batched,random", "--seed=0"]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = bench(*words, f"--plot={places / 'p.png'}")
    assert "--plot needs matplotlib: install parley[plot]" in str(ended.exception)
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    for name, said in (("p.txt", "tells no kind of picture"), ("no/p.png", "there is no folder")):
        assert said in str(bench(*words, f"--plot={places / name}").exception)
    assert bench(*words, f"--plot={places / 'p.svg'}").exit_code == 0
    assert "<svg" in (places / "p.svg").read_text()


@data
def test_generalised_assignments_are_feasible_and_near_the_optimum() -> None:
    told = lines(str(DATA / "gap" / "gap1.txt"), "--seeds=1")
    assert all(line["feasible"] for line in told)
    gaps = [abs(1.0 - float(str(line["ratio"]))) for line in told]
    assert sum(gaps) / len(gaps) < 0.015
    assert all(100.0 * gap <= float(str(line["certificate_pct"])) + 1e-9 for gap, line in zip(gaps, told, strict=True))
