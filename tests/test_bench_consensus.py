"""The benchmark of assignments and bundles, on instances of its own: what it reads and records, and its command."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from consensus_world import cheapest

from parley.launch.bench.consensus import assignment_costs, bench, run_auction, run_bundles, run_makespan, run_times

COSTS = [[random.Random(row).randint(1, 40) for _ in range(6)] for row in range(6)]
TIMES = np.array([[random.Random(f"{node} {task}").uniform(1.0, 9.0) for task in range(15)] for node in range(5)])


def test_what_is_no_instance() -> None:
    assert assignment_costs("2\n 1 2\n3 4") == [[1, 2], [3, 4]]
    assert run_times("2 3 0\n1 2 3 4 5 6").tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    for text in ("", "2 1 2 3", "0"):
        with pytest.raises(ValueError, match="are not an assignment"):
            assignment_costs(text)
        with pytest.raises(ValueError, match="are not run times"):
            run_times(text)


def test_records() -> None:
    exact = run_auction("own", COSTS)
    assert (exact.value, exact.reference, exact.ratio) == (cheapest(COSTS), None, None)
    assert run_auction("own", COSTS, scaling=False).value <= exact.value + 6
    for graph, loss, asynchronous in (("full", 0.0, False), ("ring", 0.5, False), ("4-regular", 0.2, True)):
        record = run_bundles("own", COSTS, 3, graph=graph, loss=loss, asynchronous=asynchronous)
        assert record.detected
        assert record.conflict_free
        assert record.placed == 6
        assert record.value >= exact.value
        assert record.converged <= record.rounds
    record = run_makespan("own", TIMES, 3)
    assert record.detected
    assert record.conflict_free
    assert TIMES.min(axis=0).sum() / 5 <= record.value <= TIMES.max(axis=0).sum()


def test_the_command(tmp_path: Path) -> None:
    instance = tmp_path / "own.txt"
    instance.write_text("2 1 9 9 1")
    done = CliRunner().invoke(bench, ["auction", str(instance)])
    assert done.exit_code == 0
    assert "value 2 " in done.output
    missing = CliRunner().invoke(bench, ["bundles", "nothing.txt"])
    assert missing.exit_code == 2
    assert "there is no instance nothing.txt" in missing.output
