"""Lines, cut and counted."""

from __future__ import annotations

from parley.agents.executors.lines import DROPPED, LINE_BYTES_MAX, LINES_MAX, Lines


def test_lines_come_as_they_are_completed() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\n\nthree") == ["two", ""]
    assert lines.end() == ["three"]
    assert lines.end() == []


def test_lines_are_cut() -> None:
    lines = Lines()
    assert lines.feed(b"x" * 5 * LINE_BYTES_MAX) == []
    assert lines.feed(b"x\n\xff\n") == ["x" * LINE_BYTES_MAX, "\ufffd"]
    assert lines.feed(b"y" * 5 * LINE_BYTES_MAX + b"\nz\n") == ["y" * LINE_BYTES_MAX, "z"]


def test_lines_are_counted_and_the_next_attempt_is_heard() -> None:
    lines = Lines()
    assert lines.feed(b".\n" * 2 * LINES_MAX) == ["."] * LINES_MAX + [DROPPED]
    assert lines.feed(b"more\n") == lines.end() == []
    lines.begin()
    assert lines.feed(b"heard\n") == ["heard"]
    assert lines.feed(b".\n" * (LINES_MAX - 1)) == ["."] * (LINES_MAX - 1)
    assert lines.feed(b"unfinished") == []
    assert lines.end() == [DROPPED]
