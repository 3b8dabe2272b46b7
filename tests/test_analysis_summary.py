"""The numbers at the end of a run."""

import json
from pathlib import Path

import pytest
from test_analysis_run import award, submit, write_run

from parley.launch.analysis.run import RunError
from parley.launch.analysis.summary import Attempt, Share, summarise


def start(at: float, task: str, node: str, epoch: int = 1) -> str:
    return f'{at} {node} task.start {{"task":"{task}","kind":"sleep","epoch":{epoch}}}'


def end(at: float, task: str, node: str, seconds: float, epoch: int = 1, reason: str | None = None) -> str:
    fields = {"task": task, "epoch": epoch, "seconds": seconds, "reason": reason, "detail": ""}
    return f"{at} {node} task.end {json.dumps(fields)}"


def commit(at: float, task: str, epoch: int = 1, state: str = "done", node: str = "n1") -> str:
    fields = {"task": task, "epoch": epoch, "state": state, "peer": "n2", "attempts": epoch, "detail": ""}
    return f"{at} {node} task.commit {json.dumps(fields)}"


def reassign(at: float, task: str, reason: str) -> str:
    return f'{at} n1 task.reassign {{"task":"{task}","epoch":2,"peer":"n3","reason":"{reason}"}}'


STOPPED = [f'9 {node} node.stop {{"reason":"SIGTERM"}}' for node in ("n1", "n3")]


def test_what_a_client_was_told_is_not_lost_with_the_end_of_a_log(tmp_path: Path) -> None:
    story = [submit(0, "A"), award(0.5, "A"), start(1, "A", "n2"), end(2, "A", "n2", 1.0), submit(2, "B"), *STOPPED]
    run = write_run(tmp_path, story)
    lost, heard = summarise(run), summarise(run, {"A", "C"})
    assert (lost.tasks, lost.done, lost.lost, lost.attempts) == (2, 0, 2, ())
    assert (heard.tasks, heard.done, heard.lost, heard.attempts) == (3, 2, 1, (Attempt("A", 1, "n2", 1.0),))


def test_a_run_with_a_killed_node(tmp_path: Path) -> None:
    story = [submit(0, "A"), submit(0, "B"), submit(0, "C"), award(0.5, "A")]
    story += [start(1, "A", "n2"), start(1.25, "B", "n3")]
    story += [end(2, "B", "n3", 0.75), commit(2, "B"), reassign(3, "A", "vanished"), reassign(3, "C", "busy")]
    story += [start(3, "A", "n3", 2), end(4.5, "A", "n3", 1.5, 2), commit(4.75, "A", 2)]
    story += [start(5, "C", "n3", 2), end(6, "C", "n3", 1.0, 2, "error"), commit(6, "C", 2, "failed"), *STOPPED]
    summary = summarise(write_run(tmp_path, story))
    assert (summary.tasks, summary.done, summary.failed, summary.unplaced) == (3, 2, 1, 0)
    assert (summary.lost, summary.committed_twice, summary.reassigned) == (0, 0, 1)
    assert summary.makespan_s == 5.0
    assert summary.nodes == {"n1": Share(0, 0.0), "n2": Share(0, 0.0), "n3": Share(2, 2.25)}
    assert summary.attempts == (Attempt("B", 1, "n3", 0.75), Attempt("A", 2, "n3", 1.5))
    assert summary.unfinished == ("n2",)
    assert summary.notes == ()


def test_what_must_not_happen_is_counted(tmp_path: Path) -> None:
    story = [submit(0, "A"), submit(0, "B"), commit(1, "A"), commit(2, "A", 2, node="n3"), *STOPPED]
    summary = summarise(write_run(tmp_path, story))
    assert (summary.tasks, summary.done, summary.lost, summary.committed_twice) == (2, 1, 1, 1)


def test_an_attempt_that_was_fenced_is_work_done_but_not_the_one_that_counts(tmp_path: Path) -> None:
    story = [submit(0, "A"), start(1, "A", "n2"), start(2, "A", "n3", 2)]
    story += [end(3, "A", "n3", 1.0, 2), commit(3, "A", 2), end(4, "A", "n2", 3.0, 1), *STOPPED]
    summary = summarise(write_run(tmp_path, story))
    assert summary.attempts == (Attempt("A", 2, "n3", 1.0),)
    assert (summary.nodes["n2"], summary.nodes["n3"]) == (Share(1, 3.0), Share(1, 1.0))


def test_a_run_in_which_nothing_started(tmp_path: Path) -> None:
    summary = summarise(write_run(tmp_path, [submit(0, "A")]))
    assert (summary.makespan_s, summary.lost, summary.attempts) == (0.0, 1, ())
    with pytest.raises(RunError):
        summarise(tmp_path / "absent")
