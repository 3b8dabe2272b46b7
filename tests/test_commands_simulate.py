"""`parley simulate` as it is typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from planted_bugs import BUGS

from parley.launch import cli

FEW = ["simulate", "--seeds=2", "--nodes=3", "--tasks=3"]


def typed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["parley", "--no-config", *words])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(FEW, monkeypatch) == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 seeds, 6 tasks acknowledged, in ")
    assert said.out.endswith("every invariant held\n")
    assert said.err == ""


def test_for_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed([*FEW, "--json", "--faults=none"], monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seeds"], told["acked"], told["violations"]) == (2, 6, [])
    assert told["executions_per_task"] <= 1.0
    assert min(told["messages_per_task"], told["events_per_s"], told["seconds"]) > 0.0


def test_a_violation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    BUGS["double start"].plant(monkeypatch)
    assert typed([*FEW, "--json"], monkeypatch) == 1
    said = capsys.readouterr()
    replay = "parley simulate --seeds 1 --first-seed 1 --nodes 3 --tasks 3 --faults default"
    assert json.loads(said.out)["violations"][0] == {"invariant": "S3", "seed": 1, "replay": replay}
    assert said.err.startswith("seed 1: S3: t")
    assert replay in said.err
    assert said.err.endswith("parley: 2 seeds of 2 broke an invariant\n")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--seeds=0"], 2, "0 is not in the range"),
        (["--faults=some"], 2, "'some' is not one of 'none', 'default', 'harsh'"),
        (["--nodes=0"], 2, "0 is not in the range"),
        (["--trace=x", "--jobs=2"], 2, "--trace follows one process"),
        (["--first-seed=99999999999999999999"], 2, "99999999999999999999 is not in the range 0<=x<="),
        (["--seeds=2", "--tasks=1", "--trace=/dev/full"], 1, "/dev/full cannot be written: no space left on device"),
        (["--trace=/nowhere/x"], 2, "/nowhere/x cannot be written: no such file or directory; choose another"),
    ],
)
def test_what_is_bad_is_one_sentence(
    words: list[str], code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(["simulate", *words], monkeypatch) == code
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_trace_is_what_happens_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed([*FEW, "--seeds=1", f"--trace={tmp_path / 'trace'}"], monkeypatch) == 0
    lines = (tmp_path / "trace").read_text().splitlines()
    assert lines[0] == "seed 1"
    times = [float(line.split()[0]) for line in lines[1:]]
    assert times == sorted(times)
    assert any("n1 is born" in line for line in lines)
