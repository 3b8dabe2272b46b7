"""The demonstration, as `make demo` runs it: real processes, real learning, a real kill."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from local_fleets import parley

from parley.launch.analysis.summary import Divided
from parley.launch.analysis.verify import verify
from parley.launch.demos.closing import divided

KEYS = [
    "accuracy", "tasks", "done", "lost", "committed_twice", "reassigned", "makespan_s", "bound_s", "ratio", "seconds",
    "nodes", "run",
]  # fmt: skip


@pytest.mark.parametrize(("mode", "kill"), [("rounds", "n4@50%"), ("gossip", "n2@50%")])
def test_four_agents_learn_to_read_and_one_dies(mode: str, kill: str, tmp_path: Path) -> None:
    ended = parley("demo", "--json", f"--mode={mode}", f"--kill={kill}", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    report = json.loads(ended.stdout)
    assert list(report) == KEYS
    assert report["accuracy"] >= 0.95
    assert (report["tasks"], report["done"]) == (72, 72)
    assert (report["lost"], report["committed_twice"]) == (0, 0)
    assert list(report["nodes"]) == ["n1", "n2", "n3", "n4"]
    assert all(share["tasks"] for share in report["nodes"].values())
    assert report["makespan_s"] >= report["bound_s"] > 0
    check_why(Path(report["run"]), tmp_path)
    check_awards(Path(report["run"]))
    assert (Path(report["run"]) / "report.html").stat().st_size > 50_000


MNIST = Path(__file__).resolve().parents[2] / "shared/data/mnist"


@pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST files are not beside the checkout")
@pytest.mark.skipif("PARLEY_LONG" not in os.environ, reason="takes a minute: `make mnist` runs it")
def test_four_agents_learn_mnist(tmp_path: Path) -> None:
    ended = parley(
        "demo", "--json", "--data=mnist", f"--data-dir={MNIST}", "--mode=gossip", cwd=tmp_path, timeout_s=110
    )
    report = json.loads(ended.stdout)
    assert report["accuracy"] >= 0.97
    assert (report["done"], report["lost"], report["committed_twice"]) == (160, 0, 0)


def check_awards(run: Path) -> None:
    verdict = verify(run)
    assert verdict.sound, verdict.differences
    assert verdict.awards >= 72


def check_why(run: Path, cwd: Path) -> None:
    """`why last` of this run is what its award says."""
    answer = json.loads(parley("why", "last", "--json", cwd=cwd).stdout)
    assert answer["state"] == "done"
    award = answer["awards"][-1]
    costs = {bid["node"]: bid["cost"] for bid in award["bids"]}
    assert award["cost"] == costs[award["winner"]] == min(costs.values())
    for bid in award["bids"]:
        assert sum(bid["terms"].values()) == pytest.approx(bid["cost"])
    logged = [json.loads(line) for line in (run / "n1.jsonl").read_text().splitlines() if '"auction.award"' in line]
    assert answer["task"] == logged[-1]["task"]
    assert award["winner"] == logged[-1]["winner"]


def test_the_summary_says_what_to_type_next(tmp_path: Path) -> None:
    ended = parley("demo", "--speed=2,1", cwd=tmp_path)
    assert ended.returncode == 0
    assert re.search(r"accuracy +9\d\.\d%", ended.stdout)
    assert "72 of 72 done, 0 lost, 0 committed twice" in ended.stdout
    assert re.search(r"makespan .* times the lower bound of \S+ s: within \S+ % of the optimum\n", ended.stdout)
    [command] = re.findall(r"^  parley (why .*)$", ended.stdout, re.MULTILINE)
    card = parley(*command.split(), cwd=tmp_path)
    assert card.returncode == 0
    assert "wins" in card.stdout
    [page] = re.findall(r"^Look at it:\n  .* (\S+report\.html)$", ended.stdout, re.MULTILINE)
    assert (tmp_path / page).read_text().startswith("<!doctype html>")
    check_awards((tmp_path / page).parent)


def test_batches_are_told_with_the_certificate_of_the_worst() -> None:
    one, other = (Divided("n1", 20, 4, 90, 8.0, 8.0 / (1 + part), part) for part in (0.02, 0.0058))
    assert divided([other]) == "20 tasks divided by prices, within 0.58 % of the optimum"
    assert divided([one, other]) == "40 tasks in 2 batches divided by prices, each within 2 % of the optimum"
