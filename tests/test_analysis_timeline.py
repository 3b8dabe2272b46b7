"""What happened when, and the trace made of it: attempts, slots, who was killed, arrows from award to start."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from simulated_runs import simulated_run, tasks_of
from test_analysis_run import award, submit, write_run

from parley.launch.analysis import command
from parley.launch.analysis.figures import figures
from parley.launch.analysis.timeline import CUT, Timeline, timeline
from parley.launch.analysis.trace import events
from parley.transport.faults import Crash, Faults

NODE = '{"incarnation":1,"address":"tcp://h:1","slots":%d,"speed":2.0,"version":"0","pid":1}'
LOAD = '{"slots":2,"running":1,"waiting":1,"queued_s":0.5}'
START = '{"task":"%s","kind":"pkg:work","epoch":%d}'
END = '{"task":"%s","epoch":%d,"seconds":1.0,"reason":%s,"detail":""}'
COMMIT = '{"task":"%s","epoch":%d,"state":"%s","peer":"%s","attempts":%d,"detail":""}'
KILLED = [
    f"0 n1 node.start {NODE % 1}",
    f"0 n2 node.start {NODE % 2}",
    submit(1, "A1"),
    submit(1, "B1"),
    award(2, "A1"),
    award(2, "B1"),
    f"3 n2 task.start {START % ('A1', 1)}",
    f"3 n2 task.start {START % ('B1', 1)}",
    f"4 n2 node.load {LOAD}",
    f"5 n2 task.end {END % ('A1', 1, 'null')}",
    f"5.5 n1 task.commit {COMMIT % ('A1', 1, 'done', 'n2', 1)}",
    '6 n1 peer.state {"peer":"n2","state":"suspect","address":"","reason":"its connection dropped"}',
    '7 n1 peer.state {"peer":"n2","state":"dead","address":"","reason":"not refuted"}',
    '7 n1 task.lost {"task":"B1","epoch":1,"peer":"n2","reason":"vanished"}',
    award(7, "B1", "n1", 2),
    f"7.5 n1 task.start {START % ('B1', 2)}",
    f"9 n1 task.end {END % ('B1', 2, 'null')}",
    f"9 n1 task.commit {COMMIT % ('B1', 2, 'done', 'n1', 2)}",
    '10 n1 node.stop {"reason":"stopped"}',
]


@pytest.fixture
def killed(tmp_path: Path) -> Timeline:
    return timeline(write_run(tmp_path, KILLED))


def test_what_a_killed_node_had_ends_when_somebody_noticed(killed: Timeline) -> None:
    assert [(a.task, a.node, a.slot, a.start_s, a.end_s, a.reason) for a in killed.attempts] == [
        ("A1", "n2", 0, 3.0, 5.0, ""),
        ("B1", "n2", 1, 3.0, 6.0, CUT),
        ("B1", "n1", 0, 7.5, 9.0, ""),
    ]
    assert (killed.nodes["n2"].killed_s, killed.nodes["n1"].killed_s) == (6.0, None)
    assert (killed.nodes["n1"].stopped_s, killed.span_s) == (10.0, 10.0)
    assert killed.nodes["n2"].loads == [(4.0, 1, 1, 0.5)]


def test_tasks_are_told_as_they_ended(killed: Timeline) -> None:
    told = killed.tasks["B1"]
    assert (told.state, told.node, told.epoch, told.attempts, told.lost) == ("done", "n1", 2, 2, 1)
    assert (told.submitted_s, told.ended_s, told.kind) == (1.0, 9.0, "sleep")
    assert [attempt.node for attempt in killed.committed] == ["n2", "n1"]


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([submit(0, "A1")], "open"),
        ([submit(0, "A1"), award(1, "A1")], "awarded"),
        ([submit(0, "A1"), award(1, "A1"), f"2 n2 task.start {START % ('A1', 1)}"], "running"),
        ([f"2 n2 task.start {START % ('A1', 1)}"], "unknown"),
        (
            [
                f"1 n1 task.commit {COMMIT % ('A1', 1, 'failed', 'n2', 1)}",
                f"2 n2 task.commit {COMMIT % ('A1', 2, 'done', 'n1', 1)}",
            ],
            "failed",
        ),
    ],
)
def test_a_run_that_is_not_over(lines: list[str], state: str, tmp_path: Path) -> None:
    assert timeline(write_run(tmp_path, lines)).tasks["A1"].state == state


def test_a_node_that_was_started_again_ends_what_it_had(tmp_path: Path) -> None:
    story = [
        f"0 n2 node.start {NODE % 1}",
        f"1 n2 task.start {START % ('A1', 1)}",
        f"2 n2 node.load {LOAD}",
        f"9 n2 node.start {NODE % 1}",
        f"10 n2 task.start {START % ('B1', 1)}",
        f"11 n2 task.end {END % ('B1', 1, 'null')}",
    ]
    line = timeline(write_run(tmp_path, story))
    assert [(a.start_s, a.end_s, a.reason, a.slot) for a in line.attempts] == [(1.0, 2.0, CUT, 0), (10.0, 11.0, "", 0)]
    assert line.nodes["n2"].starts_s == [0.0, 9.0]


def test_what_was_sent_is_the_sum_of_all_lives(tmp_path: Path) -> None:
    sent = '{"slots":1,"running":0,"waiting":0,"queued_s":0,"messages":%d,"bytes":%d}'
    story = [
        f"0 n1 node.start {NODE % 1}",
        submit(0, "A1"),
        f"1 n1 node.load {sent % (2, 1_000)}",
        f"2 n1 node.load {sent % (6, 3_000)}",
        f"3 n1 task.start {START % ('A1', 1)}",
        f"4 n1 task.end {END % ('A1', 1, 'null')}",
        f"4 n1 task.commit {COMMIT % ('A1', 1, 'done', 'n1', 1)}",
        f"9 n1 node.start {NODE % 1}",
        f"10 n1 node.load {sent % (1, 500)}",
    ]
    told = {figure.name: figure.value for figure in figures(timeline(write_run(tmp_path, story)))}
    assert (told["messages per task"], told["bytes per task"]) == (7.0, 3_500.0)


def test_the_trace_has_a_track_per_slot_and_arrows_from_award_to_start(killed: Timeline) -> None:
    told = list(events(killed))
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in told if e["ph"] == "M" and e["name"] == "thread_name"}  # type: ignore[index]
    assert names == {(1, 1): "awards", (1, 2): "slot 1", (2, 1): "awards", (2, 2): "slot 1", (2, 3): "slot 2"}
    runs = [(e["name"], e["pid"], e["tid"], e["ts"], e["dur"]) for e in told if e["ph"] == "X" and e["cat"] == "run"]
    assert ("work A1", 2, 2, 3e6, 2e6) in runs
    assert len(runs) == 3
    begun = {e["id"]: (e["pid"], e["tid"], e["ts"]) for e in told if e["ph"] == "s"}
    ended = {e["id"]: (e["pid"], e["tid"], e["ts"]) for e in told if e["ph"] == "f"}
    assert begun.keys() == ended.keys() == {"A1/1", "B1/1", "B1/2"}
    assert begun["B1/2"] == (1, 1, 7e6)
    assert ended["B1/2"] == (1, 2, 7.5e6)
    slices = {(e["pid"], e["tid"], e["ts"]) for e in told if e["ph"] == "X"}
    assert slices >= {*begun.values(), *ended.values()}, "a viewer binds an arrow to the slice it stands in"
    assert [e["ts"] for e in told if e["name"] == "killed"] == [6e6]


NEEDED = {
    "X": {"name", "cat", "pid", "tid", "ts", "dur"},
    "i": {"name", "pid", "tid", "ts", "s"},
    "C": {"name", "pid", "ts", "args"},
    "M": {"name", "pid", "tid", "args"},
    "s": {"name", "cat", "id", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "pid", "tid", "ts", "bp"},
}
"""What the Trace Event Format asks of each phase."""


def well_formed(told: Any) -> None:
    """By the rules of the format, and by those of its viewers: slices of a track nest, arrows stand in slices, tracks
    have names, counters count."""
    names = {(e["name"], e["pid"], e["tid"]) for e in told if e["ph"] == "M"}
    slices: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in told:
        assert NEEDED[event["ph"]] <= event.keys(), event
        assert event.get("ts", 0.0) >= 0.0
        assert ("process_name", event["pid"], 0) in names
        if event["ph"] in "Xifs":
            assert ("thread_name", event["pid"], event["tid"]) in names
        if event["ph"] == "X":
            begin_ns, length_ns = round(event["ts"] * 1000), round(event["dur"] * 1000)
            slices.setdefault((event["pid"], event["tid"]), []).append((begin_ns, begin_ns + length_ns))
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())
    for spans in slices.values():
        ends: list[int] = []
        for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while ends and ends[-1] <= begin:
                ends.pop()
            assert not ends or end <= ends[-1], "two slices of one track overlap"
            ends.append(end)
    arrows = {phase: {e["id"]: e for e in told if e["ph"] == phase} for phase in "sf"}
    assert arrows["s"].keys() == arrows["f"].keys()
    for number, begun in arrows["s"].items():
        ended = arrows["f"][number]
        assert begun["ts"] <= ended["ts"]
        assert (begun["cat"], begun["name"]) == (ended["cat"], ended["name"])
        for one in (begun, ended):
            spans, at_ns = slices[one["pid"], one["tid"]], round(one["ts"] * 1000)
            assert any(begin <= at_ns <= end for begin, end in spans), "an arrow that stands in no slice"


def test_the_trace_keeps_the_rules_of_its_format(killed: Timeline, tmp_path: Path) -> None:
    faults = Faults(loss=0.05, crashes=(Crash("n4", 1.25, noticed=True),))
    tasks = {"n1": tasks_of(60), "n2": tasks_of(30, prefix="u")}
    busy = timeline(simulated_run(tmp_path / "busy", tasks=tasks, faults=faults))
    for line in (killed, busy):
        well_formed(list(events(line)))
    assert sum(e["ph"] == "f" for e in events(busy)) > 80


def test_no_arrow_goes_back_in_time_and_none_begins_nowhere(tmp_path: Path) -> None:
    early = f"1 n2 task.start {START % ('A1', 1)}"  # its clock is late
    unknown = f"3 n2 task.start {START % ('B1', 1)}"  # its award is in no log
    story = [f"0 n1 node.start {NODE % 1}", submit(0, "A1"), early, award(2, "A1"), unknown]
    told: Any = list(events(timeline(write_run(tmp_path, story))))
    well_formed(told)
    assert [e for e in told if e["ph"] in "sf"] == []


def test_the_command_writes_json_to_a_file_or_to_stdout(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = write_run(tmp_path / "run", KILLED)
    command.trace(run, tmp_path / "trace.json")
    written = (tmp_path / "trace.json").read_bytes()
    assert len(msgspec.json.decode(written)["traceEvents"]) == len(list(events(timeline(run))))


def test_what_was_given_up_before_anybody_doubted_its_node_ended_then(tmp_path: Path) -> None:
    story = [line.replace("7 n1 task.lost", "5.8 n1 task.lost") for line in KILLED]
    line = timeline(write_run(tmp_path, sorted(story, key=lambda one: float(one.split()[0]))))
    assert [attempt.end_s for attempt in line.attempts if attempt.reason == CUT] == [pytest.approx(5.8)]
    assert line.nodes["n2"].killed_s == pytest.approx(5.8)


def test_nodes_stand_in_the_order_that_people_count_in(tmp_path: Path) -> None:
    names = ["n10", "n2", "a", "n1", "lab-3b", "lab-3"]
    stop = '0 %s node.stop {"reason":"stopped"}'
    line = timeline(write_run(tmp_path, [stop % name for name in names]))
    assert list(line.nodes) == ["a", "lab-3", "lab-3b", "n1", "n2", "n10"]


def test_a_clock_that_was_set_back_makes_no_time_negative(tmp_path: Path) -> None:
    story = [f"9 n2 task.start {START % ('A1', 1)}", f"5 n2 task.end {END % ('A1', 1, 'null')}"]
    [attempt] = timeline(write_run(tmp_path, story)).attempts
    assert attempt.end_s == attempt.start_s
