"""Many seeds are a sum, however they are spread; and each that breaks something can be run again."""

from __future__ import annotations

import shlex

import pytest
from planted_bugs import BUGS

from parley.launch import seeds as many
from parley.launch.problems import Problem
from parley.launch.seeds import Seeds, run, run_in_processes

FEW = Seeds(5, 5, nodes=3, tasks=3, faults="default")


def test_processes_add_up_to_the_same() -> None:
    alone, together = run(FEW), run_in_processes(FEW, 2)
    alone.seconds = together.seconds = 1.0
    assert alone == together
    assert alone.seeds == 5
    assert alone.acked > 5


def test_more_processes_than_seeds() -> None:
    assert run_in_processes(Seeds(1, 1, nodes=1, tasks=1, faults="none"), 3).seeds == 1


def test_a_process_that_fails_is_one_sentence() -> None:
    with pytest.raises(Problem, match="one of the processes failed"):
        run_in_processes(Seeds(1, 2, nodes=0, tasks=1, faults="none"), 2)


def test_a_violation_names_the_command_that_shows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS["double start"].plant(monkeypatch)
    wanted = Seeds(1, 2, nodes=3, tasks=3, faults="none")
    told = run(wanted).told(wanted)
    assert list(told) == [
        "seeds",
        "acked",
        "violations",
        "executions_per_task",
        "messages_per_task",
        "events_per_s",
        "seconds",
    ]
    assert told["violations"] == [
        {
            "invariant": "S3",
            "seed": seed,
            "replay": f"parley simulate --seeds 1 --first-seed {seed} --nodes 3 --tasks 3 --faults none",
        }
        for seed in (1, 2)
    ]
    again = shlex.split(wanted.replay(2))[1:]
    assert again == Seeds(2, 1, nodes=3, tasks=3, faults="none").words()


def test_every_seed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    so_far: list[int] = []
    lines: list[str] = []
    run(FEW, trace=lines.append, on_seed=lambda total: so_far.append(total.seeds))
    assert so_far == [1, 2, 3, 4, 5]
    assert [line for line in lines if line.startswith("seed ")] == [f"seed {seed}" for seed in range(5, 10)]
    assert many.Sum().told(FEW)["executions_per_task"] == 0.0
