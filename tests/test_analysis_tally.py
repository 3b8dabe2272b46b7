"""All tasks of a run by its logs, as `parley tasks --run` shows them; and a log of any length made from a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_fleets import parley
from simulated_runs import simulated_run, tasks_of
from test_analysis_run import append, award, submit, write_run
from test_analysis_timeline import COMMIT, KILLED, START

from parley.launch.analysis.run import RunError, open_run
from parley.launch.analysis.summary import summarise
from parley.launch.analysis.tally import tally
from parley.launch.analysis.verify import verify
from parley.launch.bench.biglog import repeat

LOST = '{"task":"A1","epoch":1,"peer":"n2","reason":"vanished"}'


@pytest.mark.parametrize(
    ("lines", "state", "reason"),
    [
        ([submit(0, "A1")], "open", "its call comes when those before it are placed"),
        ([submit(0, "A1"), award(1, "A1")], "awarded", "awarded to n2, when the logs end"),
        ([submit(0, "A1"), award(1, "A1"), f"2 n2 task.start {START % ('A1', 1)}"], "running", "runs on n2, when"),
        ([submit(0, "A1"), award(1, "A1"), f"3 n1 task.lost {LOST}"], "open", "lost on n2 (vanished), to be awarded"),
        (
            [submit(0, "A1"), '1 n1 auction.fail {"auction":"a","task":"A1","declines":[],"silent":[]}'],
            "open",
            "nobody has bid for it",
        ),
        (
            [
                f"1 n1 task.commit {COMMIT % ('A1', 1, 'failed', 'n2', 1)}",
                f"2 n2 task.commit {COMMIT % ('A1', 2, 'done', 'n1', 2)}",
                award(3, "A1", epoch=3),
            ],
            "failed",
            "",
        ),
        ([f"0 n2 task.lost {LOST.replace('A1', 'B1')}", submit(1, "A1")], "open", "its call"),
    ],
)
def test_where_a_task_stands(lines: list[str], state: str, reason: str, tmp_path: Path) -> None:
    told, _ = tally(write_run(tmp_path, lines))
    [line] = [line for line in told if line.task == "A1"]
    assert line.state == state
    assert line.reason.startswith(reason)


def test_a_run_with_a_death(tmp_path: Path) -> None:
    told, notes = tally(write_run(tmp_path, KILLED))
    assert [(line.task, line.kind, line.state, line.node, line.epoch, line.attempts) for line in told] == [
        ("A1", "sleep", "done", "n2", 1, 1),
        ("B1", "sleep", "done", "n1", 2, 2),
    ]
    assert notes == []


def test_the_command(tmp_path: Path) -> None:
    append(write_run(tmp_path, KILLED) / "n1.jsonl", b"{")
    words = ["tasks", f"--run={tmp_path}", "--json"]
    done = parley(*words, "B")
    [line] = json.loads(done.stdout)
    assert (line["task"], line["state"], line["node"], line["attempts"]) == ("B1", "done", "n1", 2)
    assert done.stderr == "note: n1.jsonl ends within a line: its node was killed, or writes still\n"
    none = parley(*words, "--state=failed")
    assert json.loads(none.stdout) == []
    other = parley(*words, "B", "zzzz")
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr.endswith(f"parley: no task in {tmp_path} begins with zzzz\n")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no log"):
        tally(tmp_path)


def test_a_real_run_is_repeated_to_any_length(tmp_path: Path) -> None:
    run = simulated_run(tmp_path / "run", tasks={"n1": tasks_of(20)})
    one = summarise(run)
    (tmp_path / "big").mkdir()
    lines = sum(1 for _ in open_run(run).heads())
    assert repeat(run, tmp_path / "big", 3 * lines - 1) == 3 * lines
    big = summarise(tmp_path / "big")
    assert (big.tasks, big.done, big.lost) == (3 * one.tasks, 3 * one.done, 0)
    assert verify(tmp_path / "big").sound
