"""Real failures with work under way, in short: what was acknowledged is done, once, whoever is killed."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from parley.launch.bench import recovery
from parley.launch.bench.recovery import Figure, Told, measure, table
from parley.launch.bench.starts import Start, Starts

GOOD = Told("winner", 200, 0, 0, 0, [Figure("all done, beyond the work left", 0.5, "s", 2.5)], [])


@pytest.mark.parametrize("case", ["winner", "entry"])
async def test_nothing_is_lost_and_nothing_is_run_again(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "TASKS", 40)
    told = await measure(case)
    assert told.is_good, told
    assert {figure.name for figure in told.figures} > {"starts beyond one per task"}


def test_a_case_is_good_if_every_promise_was_kept() -> None:
    assert GOOD.is_good
    for name, bad in (("lost", 1), ("committed_twice", 1), ("run_again", 1), ("broken", ["n2 cannot say"])):
        assert not msgspec.structs.replace(GOOD, **{name: bad}).is_good


def test_a_time_over_its_limit_is_told_and_breaks_no_promise() -> None:
    slow = msgspec.structs.replace(GOOD, figures=[Figure("all done, beyond the work left", 9.5, "s", 2.5)])
    assert slow.is_good
    assert "OVER" in "\n".join(table([GOOD, slow]))
    assert "OVER" not in "\n".join(table([GOOD]))


def test_what_was_begun_again() -> None:
    starts = Starts(
        of={
            "once": [Start(1.0, "n1", 0)],
            "again": [Start(1.0, "n1", 0), Start(3.0, "n2", 1)],
            "late": [Start(1.0, "n1", 0), Start(5.0, "n2", 1)],
            "same": [Start(1.0, "n1", 0), Start(1.5, "n1", 0)],
        },
        done={"once": 2.0, "again": 4.0, "late": 4.0},
    )
    assert starts.after_commit() == {"late"}
    assert starts.more_than_once({"once", "again"}) == {"again"}
    assert starts.total() == 7


def test_an_unknown_case_is_refused() -> None:
    assert CliRunner().invoke(recovery.recovery, ["--only", "nonsense"]).exit_code == 2
