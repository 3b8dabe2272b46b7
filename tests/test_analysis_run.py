"""Reading a run: whole, damaged, foreign, absent. `write_run` here tells a story to real logs; other tests use it."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from parley.agents.events import VOCABULARY, EventLog
from parley.launch.analysis.logfile import LogFile
from parley.launch.analysis.run import Run, RunError, open_run
from parley.transport.clock import HybridClock

TYPES = {event.name: event for event in VOCABULARY}
BEGIN = 1_760_000_000.0
HEAD = b'"node":"n1","hlc":9,"mono":1,"ts":"2025-01-01T00:00:00Z","task":"A1"'


def write_run(folder: Path, story: Iterable[str]) -> Path:
    """Lines `seconds node event {fields}`, in order of time, become one log per node, with the logs' real writer."""
    now = 0.0
    logs: dict[str, EventLog] = {}

    def wall() -> float:
        return BEGIN + now

    clock = HybridClock(wall)  # one for all, as if every line were caused by the one before
    for line in story:
        if line.startswith("#") or not line.strip():
            continue
        at, node, word, fields = line.split(maxsplit=3)
        now = float(at)
        if node not in logs:
            logs[node] = EventLog(folder / f"{node}.jsonl", run="a run", node=node, clock=clock, wall=wall)
        logs[node].write(msgspec.json.decode(fields, type=TYPES[word]), 100.0 + now)
    for log in logs.values():
        log.close()
    return folder


def submit(at: float, task: str, node: str = "n1") -> str:
    fields = {"task": task, "kind": "sleep", "work": 1.0, "payload_bytes": 0, "peer": "c"}
    return f"{at} {node} task.submit {json.dumps(fields)}"


def award(at: float, task: str, winner: str = "n2", epoch: int = 1) -> str:
    bid = {"node": winner, "cost": 1.0, "terms": {"run": 1.0}, "free": 1, "speed": 1.0}
    fields = {
        "auction": "n1.0.1",
        "task": task,
        "epoch": epoch,
        "winner": winner,
        "cost": 1.0,
        "runner_up": None,
        "margin": None,
        "rule": "contract-net",
        "seed": 1,
        "bids": [bid],
        "declines": [],
        "silent": [],
    }
    return f"{at} n1 auction.award {json.dumps(fields)}"


def read(run: Run) -> list[str]:
    return [head.event for head, _ in run.heads()]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_whole_run_has_nothing_to_note(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path, [submit(0, "AB1"), award(1, "AB1"), '2 n2 node.stop {"reason":"SIGTERM"}']))
    assert read(run) == ["task.submit", "auction.award", "node.stop"]
    assert run.notes == []


def test_a_task_is_named_by_its_id_or_a_unique_beginning_of_it_or_last(tmp_path: Path) -> None:
    story = [submit(0, "AB"), submit(1, "ABC1"), submit(2, "ABC2"), submit(3, "XYZ")]
    story += [award(4, "ABC2"), award(5, "ABC1")]
    run = open_run(write_run(tmp_path, story))
    assert run.find("AB") == "AB"
    assert run.find("X") == "XYZ"
    assert run.find("last") == "XYZ"
    with pytest.raises(RunError, match="2 tasks begin with ABC: ABC1, ABC2; give more of the id"):
        run.find("ABC")
    with pytest.raises(RunError, match=r"no task in .* begins with Q: it knows AB, ABC1, ABC2, XYZ"):
        run.find("Q")


def test_an_ambiguous_id_names_only_a_few(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path, [submit(i, f"T{i:02}") for i in range(20)]))
    with pytest.raises(RunError, match="20 tasks begin with T: T00, T01, T02, T03 and 16 more"):
        run.find("T")


def test_where_no_task_was_handed_in_the_last_is_the_one_that_was_awarded_last(tmp_path: Path) -> None:
    awards = [award(4, "ABC2"), award(5, "ABC1")]
    assert open_run(write_run(tmp_path / "awards", awards)).find("last") == "ABC1"
    loads = ['0 n1 node.stop {"reason":"stopped"}']
    with pytest.raises(RunError, match="no task was handed in or awarded"):
        open_run(write_run(tmp_path / "loads", loads)).find("last")


def test_only_the_lines_about_a_task_are_told(tmp_path: Path) -> None:
    peer = '2 n1 peer.state {"peer":"n2","state":"dead","address":"","reason":"silent"}'
    run = open_run(write_run(tmp_path, [submit(0, "A1"), submit(1, "A12"), peer, award(3, "A1")]))
    assert [line.head.event for line in run.about("A1")] == ["task.submit", "peer.state", "auction.award"]


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (b'{"event":"task.st', "n1.jsonl ends within a line: its node was killed, or writes still"),
        (b"\x00\xff\xfe garbage\n", "n1.jsonl: 1 line cannot be read"),
        (b"[]\n{}\n\n\n", "n1.jsonl: 2 lines cannot be read"),
        (b"[" * 100_000 + b"\n", "n1.jsonl: 1 line cannot be read"),
        (b'{"event":"a","seq":9,' + HEAD + b"}\n", "n1.jsonl: 7 lines missing"),
    ],
)
def test_damage_is_told_and_the_rest_is_read(tmp_path: Path, damage: bytes, note: str) -> None:
    write_run(tmp_path, [submit(0, "A1")])
    append(tmp_path / "n1.jsonl", damage)
    run = open_run(tmp_path)
    assert run.find("A1") == "A1"
    assert run.notes == [note]
    assert len(list(run.about("A1"))) == 1


def test_what_a_newer_parley_writes_is_skipped(tmp_path: Path) -> None:
    write_run(tmp_path, [submit(0, "A1")])
    for newer in (
        b'{"event":"task.fly","seq":2,"height":3,',
        b'{"event":"task.start","seq":3,"epoch":1,"kind":"k","mood":{"x":[1]},',
        b'{"event":"task.lost","seq":4,"epoch":1,"peer":"n2","reason":"bored",',
    ):
        append(tmp_path / "n1.jsonl", newer + HEAD + b"}\n")
    run = open_run(tmp_path)
    assert len(read(run)) == 4
    assert [line.head.event for line in run.about("A1")] == ["task.submit", "task.start"]
    assert run.notes == []


def test_a_node_that_was_started_again_has_lost_no_lines(tmp_path: Path) -> None:
    write_run(tmp_path, [submit(0, "A1"), submit(1, "A2")])
    write_run(tmp_path, [submit(2, "A3"), submit(3, "A4")])
    run = open_run(tmp_path)
    assert len(read(run)) == 4
    assert run.notes == []


def test_a_node_without_a_log_is_noted(tmp_path: Path) -> None:
    opened = '0 n1 auction.open {"auction":"a","tasks":["A1"],"invitees":["n1","n2","n3"],"reply_by_s":0.25}'
    run = open_run(write_run(tmp_path, [opened, submit(1, "A1", "n3")]))
    read(run)
    assert run.notes == ["no log here of n2"]


def test_a_line_longer_than_a_chunk_is_read(tmp_path: Path) -> None:
    dropped = json.dumps({"reason": "x" * 3_000_000})
    run = open_run(write_run(tmp_path, [f"0 n1 msg.drop {dropped}", submit(1, "A1")]))
    assert read(run) == ["msg.drop", "task.submit"]


def test_one_log_is_a_run_too(tmp_path: Path) -> None:
    assert open_run(write_run(tmp_path, [submit(0, "A1")]) / "n1.jsonl").find("A") == "A1"


def test_agents_with_a_folder_each_are_read_together(tmp_path: Path) -> None:
    for name in ("desk", "lab"):
        write_run(tmp_path / name, [submit(0, "A1")])
        (tmp_path / name / "n1.jsonl").rename(tmp_path / name / f"{name}.jsonl")
    (tmp_path / "lab" / "tasks.jsonl").write_text("not a log\n")
    assert [file.node for file in open_run(tmp_path).files] == ["desk", "lab"]


def test_what_is_no_run_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no run in .*nowhere"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match="there is no log"):
        open_run(tmp_path)
    (tmp_path / "picture.png").write_bytes(bytes(range(256)) * 1000)
    with pytest.raises(RunError, match="not one event of Parley"):
        open_run(tmp_path / "picture.png").find("last")
    (tmp_path / "n1.jsonl").write_bytes(b"")
    with pytest.raises(RunError, match="not one event of Parley"):
        open_run(tmp_path).find("last")


def test_a_link_that_leads_nowhere_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "last").symlink_to("gone")
    with pytest.raises(RunError, match="there is no run in"):
        open_run(tmp_path / "last")


@pytest.mark.parametrize("chunk", [1, 7, 64, 4096])
def test_lines_are_found_many_at_a_time_as_one_by_one(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.launch.analysis.logfile.CHUNK_BYTES", chunk)
    story = [submit(i, f"T{i % 7}") if i % 3 else award(i, f"T{i % 5}") for i in range(40)]
    [path] = list(write_run(tmp_path, story).glob("*.jsonl"))
    append(path, b'\n\n{"task":"T3","torn')
    log = LogFile(path)
    for words in ([b'"T3"'], [b'"T3"', b"auction.award"], [b"nowhere"], [b"\x00"]):
        assert list(log.lines_with(*words)) == [line for line in log.lines() if any(word in line for word in words)]
