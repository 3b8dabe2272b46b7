"""A file of tasks: what a line may say, what is wrong with one, and that any size of it is read in little memory."""

from __future__ import annotations

import asyncio
import json
import os
import tracemalloc
from pathlib import Path

import pytest

from parley.agents.payload import Handed, hand_on, pack, unpack
from parley.launch.lines import LINE_BYTES_MAX, PIECE_BYTES, Lines
from parley.launch.problems import Problem
from parley.launch.submission import Submission
from parley.launch.task_file import filled, submission, submissions
from parley.launch.task_options import Terms
from parley.protocols.requests import Follow

FLAGS = Terms()


def read(path: Path | str, terms: Terms = FLAGS) -> list[Submission]:
    async def every() -> list[Submission]:
        file = Lines(str(path))
        try:
            return [one async for one in submissions(file, terms, Follow.NOTHING)]
        finally:
            file.close()

    return asyncio.run(every())


def test_a_line_says_what_it_is_and_on_which_terms() -> None:
    line = {
        "kind": "train:shard", "args": {"shard": 3}, "id": "s3", "work": 1.5, "need": ["gpu", "vram=8GiB"],
        "only": ["site=lab"], "prefer": "gpu:5s", "priority": 2, "reward": 5, "deadline_s": 60, "timeout_s": 30,
        "after": ["s1", "s2"], "replicas": 2, "bytes": 1_000_000, "at_most_once": True,
        "attempts": 5, "about": {"metres": 3, "shelf": "A7"},
    }  # fmt: skip
    said = submission(json.dumps(line).encode(), FLAGS)
    assert said == Submission(
        "train:shard", {"shard": 3}, label="s3", work=1.5, need=("gpu", "vram=8GiB"),
        only=("site=lab",), prefer=("gpu:5s",),
        priority=2, reward=5.0, deadline_s=60.0, timeout_s=30.0, after=("s1", "s2"), replicas=2,
        about={"metres": 3.0, "shelf": "A7", "bytes": 1e6}, at_most_once=True, attempts=5,
    )  # fmt: skip
    first, second = said.submits()
    assert (first.label, second.label, first.after) == ("s3.1", "s3.2", ("s1", "s2"))


def test_a_gang_is_members_anywhere_and_slots_are_of_one_node() -> None:
    gang = submission(b'{"kind": "echo", "args": {}, "gang": 3, "need": ["slots=2"]}', FLAGS)
    assert gang == Submission("echo", {}, gang=3, need=("slots=2",))
    [submit] = gang.submits()
    assert (submit.task.gang, submit.task.slots) == (3, 2)
    assert submission(b'{"kind": "echo", "args": {}}', Terms(gang=4)).gang == 4


def test_what_a_line_does_not_say_the_flags_do() -> None:
    flags = Terms(need=("gpu",), priority=3, attempts=7, timeout_s=5.0, waits=True, about=(("metres", 3.0),))
    plain, own = (
        submission(line, flags)
        for line in (
            b'{"kind": "echo", "args": []}',
            b'{"kind": "echo", "args": [], "need": "arm", "priority": 0, "about": {}}',
        )
    )
    assert (plain.need, plain.priority, plain.attempts, plain.timeout_s, plain.waits) == (("gpu",), 3, 7, 5.0, True)
    assert plain.about == {"metres": 3.0}
    assert (own.need, own.priority, own.about) == (("arm",), 0, {})


def test_the_result_of_another_task_is_handed_on() -> None:
    said = submission(b'{"kind": "echo", "args": {"sum": [1, {"$result": "a"}], "$result": 2}}', FLAGS)
    [submit] = said.submits()
    assert submit.after == ("a",)
    assert unpack(hand_on(submit.payload, {"a": pack(41)})) == {"sum": [1, 41], "$result": 2}
    named = filled({"$result": "a"})
    assert isinstance(named, Handed)
    assert named.name == "a"


BAD = [
    ("no JSON", b'{"kind": "echo",}', r"no JSON: trailing comma in object"),
    ("a list", b"[1, 2]", r"a task is an object, as \{.*\}, not a list"),
    ("no kind", b'{"args": {}}', r"kind is missing"),
    ("no args", b'{"kind": "echo"}', r"args is missing"),
    ("args that are a number", b'{"kind": "echo", "args": 1}', r"args is an object or a list, not a whole number"),
    (
        "a key that is nearly one",
        b'{"kind": "echo", "args": {}, "prority": 1}',
        r"no key 'prority': did you mean priority",
    ),
    (
        "a key that is none",
        b'{"kind": "echo", "args": {}, "zzz": 1}',
        r"no key 'zzz': the keys are kind, args, id, work",
    ),
    ("a kind that is no text", b'{"kind": 1, "args": {}}', r"kind is text, not a whole number"),
    ("an empty kind", b'{"kind": "", "args": {}}', r"a kind has 1 to 128 characters"),
    ("half a priority", b'{"kind": "echo", "args": {}, "priority": 1.5}', r"priority is a whole number, not a number"),
    (
        "too high a priority",
        b'{"kind": "echo", "args": {}, "priority": 1001}',
        r"priority is a whole number from -1000",
    ),
    ("work below zero", b'{"kind": "echo", "args": {}, "work": -1}', r"work is from 0"),
    ("no time at all", b'{"kind": "echo", "args": {}, "timeout_s": 0}', r"timeout_s is above 0"),
    ("a need that is none", b'{"kind": "echo", "args": {}, "need": ["vram<8GiB"]}', r"'vram<8GiB' is no need"),
    ("needs with a number", b'{"kind": "echo", "args": {}, "need": [1]}', r"need\[0\] is text, not a whole number"),
    ("a label with a space", b'{"kind": "echo", "args": {}, "id": "a b"}', r"'a b' is no label"),
    ("a gang of none", b'{"kind": "echo", "args": {}, "gang": 0}', r"gang is a whole number from 1 to 256, not 0"),
    ("bytes below zero", b'{"kind": "echo", "args": {}, "bytes": -1}', r"bytes is 0 or more, not -1"),
    ("no replicas", b'{"kind": "echo", "args": {}, "replicas": 0}', r"replicas is a whole number from 1 to 64"),
    ("not UTF-8", b'{"kind": "\xff", "args": {}}', r"not UTF-8"),
    ("too deep", b'{"kind": "echo", "args": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", r"nested too deep"),
]


@pytest.mark.parametrize(("line", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_line_is_one_sentence_with_its_number(line: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b'{"kind": "echo", "args": {}}\n\n' + line + b'\n{"kind": "echo", "args": {}}\n')
    with pytest.raises(Problem, match=rf"^line 3 of {path}: .*{sentence}") as problem:
        read(path)
    assert problem.value.code == 2
    assert "\n" not in str(problem.value)


def test_what_comes_before_a_bad_line_has_been_read(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b'{"kind": "echo", "args": [1]}\n{"kind": "echo", "args": [2]}\nnonsense\n')

    async def some() -> list[object]:
        found: list[object] = []
        tasks = submissions(Lines(str(path)), FLAGS, Follow.NOTHING)
        found += [(await anext(tasks)).arguments, (await anext(tasks)).arguments]
        with pytest.raises(Problem, match="line 3"):
            await anext(tasks)
        return found

    assert asyncio.run(some()) == [[1], [2]]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_lines_may_end_as_they_like(end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b'{"kind": "a", "args": []}\r\n{"kind": "b", "args": []}' + end)
    assert [one.kind for one in read(path)] == ["a", "b"]


def test_a_line_longer_than_a_piece_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    text = "x" * (3 * PIECE_BYTES)
    path.write_text(json.dumps({"kind": "echo", "args": [text]}) + "\n" + json.dumps({"kind": "b", "args": []}))
    assert [one.arguments for one in read(path)] == [[text], []]


def test_a_line_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(Problem, match=rf"line 1 of /dev/zero has more than {LINE_BYTES_MAX:,} bytes"):
        read("/dev/zero")


@pytest.mark.parametrize(("path", "sentence"), [("/nowhere/x", "no such file"), ("/", "is a directory")])
def test_what_cannot_be_read_is_one_sentence(path: str, sentence: str) -> None:
    with pytest.raises(Problem, match=f"^{path} cannot be read: {sentence}") as problem:
        read(path)
    assert problem.value.code == 2


def test_a_slow_pipe_holds_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    async def talk() -> list[str]:
        writer = os.open(path, os.O_RDWR)
        file = Lines(str(path))
        kinds: list[str] = []
        turns = asyncio.Event()
        asyncio.get_running_loop().call_soon(turns.set)
        found = submissions(file, FLAGS, Follow.NOTHING)
        reading = asyncio.ensure_future(anext(found))
        await turns.wait()  # the loop runs although nothing has been written
        os.write(writer, b'{"kind": "a", "args": []}\n{"kind"')
        kinds.append((await reading).kind)
        os.write(writer, b': "b", "args": []}\n')
        kinds.append((await anext(found)).kind)
        os.close(writer)
        assert [one async for one in found] == []
        return kinds

    assert asyncio.run(talk()) == ["a", "b"]


def test_a_large_file_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    with path.open("w") as file:
        for number in range(20_000):
            file.write(f'{{"kind": "sleep", "args": {{"seconds": 0}}, "id": "t{number}"}}\n')

    async def count() -> int:
        number = 0
        async for _ in submissions(Lines(str(path)), FLAGS, Follow.NOTHING):
            number += 1
        return number

    tracemalloc.start()
    try:
        assert asyncio.run(count()) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()
