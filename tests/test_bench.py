"""The benchmark measures what it says, and the soak sees what is wrong: short forms over real processes, and the judges
alone."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from parley.launch.bench import bare, bulk, curve, latency, throughput
from parley.launch.bench.growth import MEMORY_SLACK_MB, Growth, Series
from parley.launch.bench.holdings import Holding, held_by
from parley.launch.bench.negotiations import bare_fleet
from parley.launch.bench.soak import Report, soak, table
from parley.launch.bench.soak_clients import Ledger
from parley.launch.bench.soak_tasks import WEIGHTS, Errand, Known, draw
from parley.launch.submission import Submission
from parley.protocols.core import State

# --- the judges


def test_half_and_ninety_nine_of_a_hundred() -> None:
    seconds = [number / 1000 for number in range(1, 201)]
    random.Random(1).shuffle(seconds)
    assert latency.times(seconds) == latency.Times(100.0, 198.0)
    assert latency.times([0.5]) == latency.Times(500.0, 500.0)


def test_what_a_process_holds() -> None:
    before = held_by(os.getpid())
    assert before is not None
    assert before.peak_mb >= before.memory_mb > 5
    readable, writable = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=readable)
    try:
        after = held_by(os.getpid())
        assert after is not None
        assert (after.descriptors, after.children) == (before.descriptors + 2, before.children + 1)
    finally:
        os.close(readable)
        os.close(writable)
        child.wait(20)
    assert held_by(child.pid) is None


def seen(holdings: list[Holding]) -> Series:
    series = Series()
    for second, held in enumerate(holdings):
        series.add(float(second), held)
    return series


def of(memory_mb: float = 50.0, descriptors: int = 40, children: int = 2) -> Holding:
    return Holding(memory_mb, memory_mb, descriptors, children)


def test_what_stays_the_same_does_not_grow() -> None:
    rng = random.Random(1)
    noisy = seen([of(50.0 + rng.random(), 40 + rng.randrange(5), rng.randrange(3)) for _ in range(300)])
    assert not noisy.growth(0, 0, 0, 0).is_growth


def test_only_the_second_half_counts() -> None:
    warming = seen([of(memory_mb=min(40.0 + second, 90.0)) for second in range(200)])
    assert warming.growth(0, 0, 0, 0).memory_grew_mb == 0.0


def test_one_large_moment_does_not_decide() -> None:
    assert not seen([*([of()] * 199), of(memory_mb=80.0, descriptors=90)]).growth(0, 0, 0, 0).is_growth


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(lambda second: of(memory_mb=50.0 + 0.1 * second), id="memory"),
        pytest.param(lambda second: of(descriptors=40 + second // 15), id="descriptors"),
        pytest.param(lambda second: of(children=second // 30), id="processes"),
    ],
)
def test_what_rises_steadily_grows(leak: object) -> None:
    assert callable(leak)
    assert seen([leak(second) for second in range(200)]).growth(0, 0, 0, 0).is_growth


def test_what_comes_back_is_no_growth() -> None:
    """A peer was killed, and is there again with its connections."""
    series = seen([of(descriptors=40 if 90 <= second < 160 else 60) for second in range(200)])
    assert series.growth(0, 0, 0, 0).descriptors_grew == 0.0
    higher = seen([of(descriptors=40 if second < 150 else 60) for second in range(200)])
    assert higher.growth(0, 0, 0, 0).is_growth


def test_what_is_remembered_on_purpose_is_no_growth() -> None:
    series = seen([of(memory_mb=50.0 + 0.1 * second) for second in range(200)])
    growth = series.growth(ended=2_000, held=2_000, awards=2_000, bids=3_000)
    assert growth.remembered_mb == 8.0  # 4.0 and 1.5, 1.6, 0.9
    assert growth.memory_grew_mb == pytest.approx(9.9, abs=0.05)
    assert not growth.is_growth
    assert series.growth(int(1e3 * (9.9 - MEMORY_SLACK_MB) / 2) - 100, 0, 0, 0).is_growth


def test_who_was_never_seen_is_not_judged() -> None:
    with pytest.raises(ValueError, match="nothing was seen"):
        Series().growth(0, 0, 0, 0)


def test_the_ledger_sees_a_wrong_end_a_wrong_value_and_a_second_end() -> None:
    ledger = Ledger()
    for task in ("right", "wrong", "other"):
        ledger.hand_in(task, "n1", Errand(Submission("echo", [1]), value=[1], has_value=True))
    ledger.end("right", State.DONE, [1], "")
    assert ledger.wrong == []
    ledger.end("wrong", State.FAILED, ..., "it broke")
    ledger.end("other", State.DONE, [2], "")
    ledger.end("right", State.DONE, [1], "")
    assert ledger.wrong == [
        "wrong (echo) is failed, not done: it broke",
        "other (echo) has the value [2], not [1]",
        "right has ended twice: done",
    ]
    assert ledger.open == {}


GOOD = Report(
    seconds=10.0,
    clients=1,
    handed_in=1,
    states={"done": 1},
    restarts=0,
    lost=0,
    committed_twice=0,
    started_twice=0,
    reassigned=0,
    wrong=[],
    agents={"n1": Growth(50.0, 0.0, 0.0, 40, 0.0, 2, 0.0)},
)


def test_a_soak_is_good_if_all_is() -> None:
    assert GOOD.is_good
    for name, bad in (
        ("lost", 1),
        ("committed_twice", 1),
        ("started_twice", 1),
        ("wrong", ["n1 (echo) is failed, not done: it broke"]),
        ("agents", {"n1": Growth(50.0, 9.0, 1.0, 40, 0.0, 2, 0.0)}),
    ):
        assert not msgspec.structs.replace(GOOD, **{name: bad}).is_good
    shown = "\n".join(table(msgspec.structs.replace(GOOD, agents={"n1": Growth(50.0, 9.0, 1.0, 40, 0.0, 2, 0.0)})))
    assert "grows" in shown


# --- random errands


def test_errands_are_drawn_by_the_seed_alone() -> None:
    mine, same, other = (
        [repr(draw(rng, [])) for _ in range(50)] for rng in (random.Random(1), random.Random(1), random.Random(2))
    )
    assert mine == same
    assert mine != other


def test_all_that_is_drawn_can_be_handed_in() -> None:
    rng = random.Random(3)
    errands = [draw(rng, [Known("parent", 1)]) for _ in range(2_000)]
    kinds = Counter(errand.submission.kind.rpartition(":")[2] for errand in errands)
    assert kinds.keys() == {"echo", "sleep", "work", "command", "add", "fail", "print_lines", "nap"}
    assert frozenset[State]().union(*(errand.ends for errand in errands)) == {
        State.DONE,
        State.FAILED,
        State.CANCELLED,
        State.UNPLACED,
        State.UNKNOWN,
    }
    for errand in errands:
        assert len(errand.submission.submits()) == errand.submission.replicas
        assert (errand.give_up_s is not None) == (State.CANCELLED in errand.ends)
    assert sum(WEIGHTS.values()) == 100


def test_who_knows_no_earlier_task_is_given_another_errand() -> None:
    rng = random.Random(4)
    for _ in range(500):
        [submit] = draw(rng, []).submission.submits()[:1]
        assert not submit.after or submit.after[0].startswith("none")


# --- over real processes


async def test_bare_sockets_answer_requests_and_negotiate() -> None:
    async with bare_fleet(3) as router:
        client = bare.Client(router)
        await asyncio.wait_for(client.ready(), 30)
        await asyncio.wait_for(client.end(20, bare.REQUEST), 30)
        await asyncio.wait_for(client.end(20), 30)
        assert client.ended == 40
        client.close()


async def test_one_no_op_takes_longer_than_a_bare_request() -> None:
    line = await latency.measure(samples=30, repeats=1)
    assert line.ratio > 1
    assert 0 < line.bare_request.p50_ms <= line.bare_request.p99_ms
    assert line.bare_request.p50_ms < line.ours.p50_ms <= line.ours.p99_ms


async def test_a_few_hundred_at_once() -> None:
    line = await throughput.measure(tasks=300, repeats=1)
    assert line.tasks == 300
    assert line.ours_per_s > 0
    assert line.ratio == pytest.approx(line.ours_per_s / line.bare_per_s, abs=1e-3)


async def test_the_same_fleet_without_keys_and_with_them() -> None:
    line = await curve.measure(samples=20, tasks=100, bulks=3, repeats=1)
    assert min(line.plain.latency.p50_ms, line.keyed.latency.p50_ms) > 0
    assert min(line.plain.bulk_mb_per_s, line.keyed.bulk_mb_per_s) > 0
    assert line.throughput_ratio == round(line.plain.tasks_per_s / line.keyed.tasks_per_s, 2)


async def test_a_file_of_tasks_through_the_real_command() -> None:
    line = await bulk.measure(tasks=500, repeats=1)
    assert line.peak_mb.keys() == {"submit", "wait", "n1", "n2", "n3", "n4"}
    assert all(5 < peak_mb < 300 for peak_mb in line.peak_mb.values())
    assert 0 < line.handed_in_s < line.done_s


async def test_a_short_soak(tmp_path: Path) -> None:
    """All kinds of work, clients and agents that come and go: nothing is lost, nothing grows. With this seed one is
    killed at once, so that even on a busy machine it is back before the end."""
    told: list[str] = []
    report = await soak(4, 10.0, seed=7, folder=tmp_path, per_s=20.0, tell=told.append)
    assert report.is_good, "\n".join(table(report))
    assert report.restarts >= 1
    assert report.states.keys() >= {"done", "failed", "cancelled"}
    assert sum(report.states.values()) == report.handed_in > 100
    assert report.agents.keys() == {"n1", "n2", "n3"}


def test_an_unknown_part_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "parley.launch.bench", "nonsense"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "latency" in ended.stderr
