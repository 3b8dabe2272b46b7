"""Arrivals over time: traces, their load, and the contract net that asks all or few."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from test_bench_instances import DATA, data

from parley.launch.bench import online
from parley.launch.bench.online import Trace, quantile, read
from parley.launch.problems import Problem
from parley.protocols.award_rules import RULES

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def test_a_trace_is_read_in_order_of_arrival(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(
        HEAD + "2023-11-16 18:15:47.5,1000,10\n2023-11-16 18:15:46.2500000,0,100\n2023-11-17 00:00:00,2,0\n"
    )
    trace = read(file)
    assert trace.arrivals[:2] == (0.0, 1.25)
    assert trace.works == pytest.approx((2.0, 0.7, 0.001))
    assert len(read(file, 2).works) == 2
    assert online.is_trace(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "line 2: a trace has the columns"),
        (HEAD + "yesterday,1,2\n", "line 2"),
        (HEAD + "2023-11-16 18:15:47,1,2\n2023-11-16 18:15:48,x,2\n", "line 3"),
        (HEAD, "no requests"),
        (HEAD + "2023-11-16 18:15:47,0,0\n", "no requests"),
    ],
)
def test_what_is_no_trace_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(Problem, match=said):
        read(tmp_path / "t.csv")


def test_the_load_is_that_of_all_nodes_together() -> None:
    trace = Trace("t", (0.0, 1.0, 4.0), (3.0, 3.0, 6.0)).scaled(0.5, (1.0, 3.0))
    assert math.fsum(trace.works) / trace.arrivals[-1] == pytest.approx(0.5 * 4.0)
    assert trace.arrivals[1] == pytest.approx(trace.arrivals[2] / 4)


def test_few_probes_cost_little_and_say_less() -> None:
    works = tuple(0.5 + (number * 37 % 11) / 5 for number in range(250))
    trace = Trace("own", tuple(float(number) for number in range(250)), works)
    lines = online.runs(trace, ["contract-net"], [1, 3], 0.7, online.SPEEDS, [1], lambda line: None)
    assert [(line.probes, line.tasks, line.view) for line in lines] == [(0, 250, None), (1, 250, None), (3, 250, None)]
    everybody, one, few = lines
    assert everybody.ratio == 1.0
    assert few.mean_s < 1.4 * everybody.mean_s < one.mean_s
    assert few.messages < 0.8 * everybody.messages
    assert everybody.p50_s <= everybody.mean_s <= everybody.p99_s
    again = online.play(trace.scaled(0.7, online.SPEEDS), RULES["contract-net"], online.SPEEDS, 3, 1)
    assert again.mean_s == few.mean_s


def test_quantiles() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], part) for part in (0.0, 0.5, 0.51, 1.0)] == [1.0, 2.0, 3.0, 4.0]


@data
def test_the_public_trace() -> None:
    trace = read(DATA / "azure-llm-2023" / "AzureLLMInferenceTrace_conv.csv")
    assert len(trace.works) == 19366
    assert trace.works[0] == pytest.approx(0.0005 * 374 + 0.020 * 44)


def test_messages_per_task_do_not_grow_with_the_fleet() -> None:
    """With partial views: each node knows and asks a few."""
    small, large = (
        online.runs(online.generated(text), ["contract-net"], [3], 0.7, (), [0], lambda line: None)[0]
        for text in ("arrivals:20x8:1", "arrivals:50x8:1")
    )
    assert (small.nodes, small.tasks, small.view) == (20, 160, 16)
    assert (large.nodes, large.tasks, large.probes) == (50, 400, 3)
    assert large.messages_per_task < 1.1 * small.messages_per_task
    assert large.bytes_per_task < 1.1 * small.bytes_per_task
    assert small.ratio is None
    assert small.ms_per_task > 0.0
    assert online.generated("arrivals:20x8:1") == online.generated("arrivals:20x8:1")
    with pytest.raises(Problem, match="write arrivals:NODESxTASKS"):
        online.generated("arrivals:0x5")
