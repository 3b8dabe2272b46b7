"""Lines of a log that name a task: found in large files and torn ones, and no more of them than an answer may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.agents import log_lines
from parley.agents.log_lines import lines_with, search
from parley.protocols.retelling import LINES_BYTES_MAX, LINES_MAX


def of(task: str, number: int = 0, more: str = "") -> bytes:
    return b'{"event":"task.start","task":"%s","seq":%d%s}' % (task.encode(), number, more.encode())


PEER = b'{"event":"peer.state","peer":"n2","state":"dead"}'


def written(folder: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path = folder / "n1.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    return path


@pytest.mark.parametrize("chunk", [7, 64, 1024 * 1024])
def test_lines_are_found_wherever_a_chunk_ends(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "CHUNK_BYTES", chunk)
    path = written(tmp_path, of("a", 1), of("b", 2), of("a", 3), of("ab", 4), of("a", 5), end=b"")
    assert list(lines_with(path, b'"a"')) == [of("a", 1), of("a", 3), of("a", 5)]
    assert list(lines_with(path, b'"a"', b'"b"')) == [of("a", 1), of("b", 2), of("a", 3), of("a", 5)]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert list(lines_with(tmp_path / "none", b"x")) == []
    assert search(tmp_path / "none", "a") == ((), 0)


def test_who_came_and_went_meanwhile_is_told_too(tmp_path: Path) -> None:
    path = written(tmp_path, PEER, of("a", 1), of("b", 2), PEER, of("a", 3), PEER)
    assert search(path, "a") == ((of("a", 1), PEER, of("a", 3)), 0)


def test_of_many_lines_the_first_and_the_last_are_told(tmp_path: Path) -> None:
    lines = [of("a", number) for number in range(LINES_MAX + 10)]
    told, left_out = search(written(tmp_path, *lines), "a")
    assert left_out == 10
    assert told == (*lines[: LINES_MAX // 2], *lines[-LINES_MAX // 2 :])


def test_of_long_lines_no_more_bytes_are_told_than_an_answer_holds(tmp_path: Path) -> None:
    lines = [of("a", number, ',"x":"' + "x" * 100_000 + '"') for number in range(40)]
    told, left_out = search(written(tmp_path, *lines), "a")
    assert (told[0], told[-1]) == (lines[0], lines[-1])
    assert sum(map(len, told)) <= LINES_BYTES_MAX
    assert len(told) + left_out == 40
    huge = of("a", 1, ',"x":"' + "x" * LINES_BYTES_MAX + '"')
    assert search(written(tmp_path, of("a", 0), huge, of("a", 2)), "a") == ((of("a", 0), of("a", 2)), 1)
