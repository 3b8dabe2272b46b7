"""Everything happens to a few agents at work, in short: nothing acknowledged is lost, nothing is committed twice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from parley.launch.bench.apart import Apart
from parley.launch.bench.chaos import Report, chaos, table
from parley.launch.bench.survivors import ask
from parley.launch.client import Connection
from parley.protocols.core import State

GOOD = Report(
    seconds=10.0,
    agents=5,
    faults={"kill": 3, "stop": 1},
    left_out="",
    clients=6,
    handed_in=3,
    acknowledged=2,
    refused=0,
    unheard=1,
    states={"done": 2},
    starts=3,
    begun_after=0,
    lost=0,
    committed_twice=0,
    started_twice=0,
    unsure=0,
    wrong=[],
)


@pytest.mark.timeout(300)
async def test_a_short_chaos(tmp_path: Path) -> None:
    report = await chaos(4, tasks=30, faults=12, seed=2, folder=tmp_path, every_s=0.25)
    assert report.is_good, "\n".join(table(report))
    assert sum(report.faults.values()) == 12
    assert report.acknowledged >= 10
    assert sum(report.states.values()) >= report.acknowledged


def test_whatever_was_promised_and_not_kept_is_told() -> None:
    assert GOOD.is_good
    for name, bad in (
        ("lost", 1),
        ("committed_twice", 1),
        ("started_twice", 1),
        ("wrong", ["4T9K is lost"]),
    ):
        assert not msgspec.structs.replace(GOOD, **{name: bad}).is_good
    assert "4T9K is lost" in table(msgspec.structs.replace(GOOD, wrong=["4T9K is lost"]))
    assert "no network was cut: no root" in table(msgspec.structs.replace(GOOD, left_out="no root"))


async def test_the_living_are_asked_and_what_nobody_knows_is_lost(tmp_path: Path) -> None:
    agents = Apart(tmp_path)
    try:
        await agents.start(["n1", "n2"])
        async with await Connection.connect([agents.address("n1")]) as client:
            await client.ready(2, 30.0)
            outcome = await client.submit("echo", [1])
        living = {name: agents.address(name) for name in agents.living}
        verdict = await ask([outcome.task, "never"], living, 10.0)
        assert verdict.outcomes == {outcome.task: outcome}
        assert (verdict.lost, verdict.twice) == ({"never"}, set())
        assert verdict.unsure == {"never": ["n1", "n2"]}
        other = msgspec.structs.replace(outcome, state=State.FAILED)
        assert (await ask([outcome.task], living, 10.0, {outcome.task: other})).twice == {outcome.task}
    finally:
        await agents.stop()
