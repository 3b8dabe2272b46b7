"""The logs of all nodes as one: order, filters, following, and what damaged logs do to it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from local_fleets import parley
from test_analysis_run import HEAD, append, award, submit, write_run

from parley.launch.analysis.logs import Wanted, follow, for_people, logs, named
from parley.launch.analysis.run import RunError

STORY = [
    submit(0, "A1"),
    submit(1, "B1"),
    award(2, "A1"),
    '3 n2 task.start {"task":"A1","kind":"sleep","epoch":1}',
    '4 n1 peer.state {"peer":"n2","state":"dead","address":"","reason":"silent, too long"}',
    '5 n1 task.lost {"task":"A1","epoch":1,"peer":"n2","reason":"vanished"}',
    '6 n2 node.stop {"reason":"SIGTERM"}',
]


def told(folder: Path, wanted: Wanted, last: int | None = None) -> list[str]:
    lines: list[bytes] = []
    assert logs(folder, wanted, last, lines.append) == []
    return [f"{line['node']} {line['event']}" for line in map(json.loads, lines)]


def plain(text: str, tint: str) -> str:
    return text


def test_lines_of_all_nodes_come_in_the_order_of_their_causes(tmp_path: Path) -> None:
    write_run(tmp_path, STORY)
    assert told(tmp_path, Wanted()) == [
        "n1 task.submit", "n1 task.submit", "n1 auction.award", "n2 task.start", "n1 peer.state", "n1 task.lost",
        "n2 node.stop",
    ]  # fmt: skip
    assert told(tmp_path, Wanted(), last=2) == ["n1 task.lost", "n2 node.stop"]
    assert told(tmp_path, Wanted(), last=0) == []


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        (Wanted(nodes=("n2",)), ["n2 task.start", "n2 node.stop"]),
        (Wanted(events=named(["task"])), ["n1 task.submit", "n1 task.submit", "n2 task.start", "n1 task.lost"]),
        (Wanted(events=("task.[el]*", "node.stop")), ["n1 task.lost", "n2 node.stop"]),
        (Wanted(task="A"), ["n1 task.submit", "n1 auction.award", "n2 task.start", "n1 task.lost"]),
        (Wanted(task="A1", nodes=("n2",)), ["n2 task.start"]),
        (Wanted(task="last"), ["n1 task.submit"]),
    ],
)
def test_only_what_is_wanted_is_told(wanted: Wanted, events: list[str], tmp_path: Path) -> None:
    write_run(tmp_path, STORY)
    assert told(tmp_path, wanted) == events


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Wanted(events=("task.strat",)), "no event is called 'task.strat': did you mean task.start?"),
        (Wanted(nodes=("n9",)), "no log here of n9: there are those of n1, n2"),
        (Wanted(task="Q"), "begins with Q"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(wanted: Wanted, sentence: str, tmp_path: Path) -> None:
    write_run(tmp_path, STORY)
    with pytest.raises(RunError, match=sentence.replace("?", r"\?")):
        told(tmp_path, wanted)


def test_a_log_whose_clock_was_set_back_keeps_its_own_order(tmp_path: Path) -> None:
    head = '{"ts":"2025-01-01T00:00:00Z","mono":1,"level":"info","v":1,"run":"r",'
    line = head + '"hlc":%d,"node":"%s","seq":%d,"event":"%s"}\n'
    (tmp_path / "n1.jsonl").write_text(
        line % (10, "n1", 1, "a.1") + line % (5, "n1", 2, "a.2") + line % (20, "n1", 3, "a.3")
    )
    (tmp_path / "n2.jsonl").write_text(line % (7, "n2", 1, "b.1") + line % (15, "n2", 2, "b.2"))
    assert told(tmp_path, Wanted()) == ["n2 b.1", "n1 a.1", "n1 a.2", "n2 b.2", "n1 a.3"]


def test_damage_is_noted_and_the_rest_is_told(tmp_path: Path) -> None:
    write_run(tmp_path, STORY)
    append(tmp_path / "n1.jsonl", b"\xff\x00 nonsense\n" + b'{"event":"task.e')
    lines: list[bytes] = []
    notes = logs(tmp_path, Wanted(), None, lines.append)
    assert len(lines) == len(STORY)
    assert notes == [
        "n1.jsonl ends within a line: its node was killed, or writes still",
        "n1.jsonl: 1 line cannot be read",
    ]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, r"there is no log \(NAME.jsonl\) in .*: is it a run's folder, as runs/last is\?"),
        (bytes(range(256)) * 500, r"there is not one event of Parley in .*: is it the run you mean\?"),
        (b"", r"there is not one event of Parley in .*: is it the run you mean\?"),
        (b'{"ts":"2025-', r"there is not one event of Parley in .*: is it the run you mean\?"),
    ],
)
def test_what_is_no_log_is_one_sentence(data: bytes | None, sentence: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "n1.jsonl").write_bytes(data)
    with pytest.raises(RunError, match=sentence):
        told(tmp_path, Wanted())


class Enough(Exception):
    """The test has seen what it wanted."""


def test_following_tells_what_is_written_in_old_files_and_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, STORY[:2])
    seen: list[bytes] = []
    later = [
        lambda: append(tmp_path / "n1.jsonl", b'{"event":"task.start","seq":9,' + HEAD + b'}\n{"event":"task'),
        lambda: append(tmp_path / "n1.jsonl", b'.end","seq":10,' + HEAD + b"}\n"),
        lambda: append(tmp_path / "n7.jsonl", b'{"event":"node.stop","seq":1,' + HEAD + b"}\n"),
    ]

    def sleep(_seconds: float) -> None:
        if not later:
            raise Enough
        later.pop(0)()

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(Enough):
        follow(tmp_path, Wanted(), 1, seen.append)
    assert [json.loads(line)["event"] for line in seen] == ["task.submit", "task.start", "task.end", "node.stop"]
    assert json.loads(seen[0])["task"] == "B1"


def test_a_line_for_people_is_on_one_line_and_commands_no_terminal(tmp_path: Path) -> None:
    write_run(tmp_path, STORY)
    lines: list[bytes] = []
    logs(tmp_path, Wanted(events=("task.lost", "peer.state", "auction.award")), None, lines.append)
    shown = [for_people(line, plain).split("  ", 1)[1] for line in lines]
    assert shown[1] == 'n1         peer.state     peer=n2 state=dead address="" reason="silent, too long"'
    assert shown[2] == "n1        !task.lost      task=A1 epoch=1 peer=n2 reason=vanished"
    assert "silent=[]" in shown[0]
    evil = for_people(b'{"ts":"2025-01-01T00:00:00Z","node":"n\\u001b[2J","event":"x","detail":"a\\nb\\u0007"}', plain)
    assert all(sign.isprintable() for sign in evil)


def test_the_command_prints_lines_and_tells_notes_on_stderr(tmp_path: Path) -> None:
    write_run(tmp_path, STORY)
    append(tmp_path / "n2.jsonl", b"{")
    done = parley("logs", str(tmp_path), "--event", "task.start", "--jsonl")
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["task.start"]
    assert done.stderr == "note: n2.jsonl ends within a line: its node was killed, or writes still\n"


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, parley.launch.analysis.logs, parley.launch.analysis.timeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "zmq", "structlog", "rich", "asyncio", "msgpack"}.isdisjoint(done.stdout.split())
