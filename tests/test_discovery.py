"""The files by which agents of this machine are found: there exactly as long as their process lives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from parley.launch import discovery
from parley.launch.discovery import Entry, announced
from parley.launch.problems import Problem

N1 = Entry("n1", "tcp://127.0.0.1:1", 101, "0.1.0")
N2 = Entry("n2", "tcp://127.0.0.1:2", 102, "0.1.0")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "parley"


def test_nobody_runs_here(place: Path) -> None:
    assert discovery.living() == []
    assert discovery.newest() is None
    assert not place.exists(), "whoever only looks makes no folder"


def test_the_newest_comes_first(place: Path) -> None:
    with announced(N1):
        with announced(N2):
            os.utime(place / "101.json", ns=(0, 0))
            assert discovery.living() == [N2, N1]
            os.utime(place / "102.json", ns=(0, -1))
            assert discovery.newest() == N1
        assert discovery.living() == [N1]
    assert list(place.iterdir()) == []


def test_one_that_was_killed_is_not_found_and_its_file_is_taken_away(place: Path) -> None:
    script = """
        import sys
        from parley.launch.discovery import Entry, announced

        with announced(Entry("n1", "tcp://127.0.0.1:1", 101)):
            print("listening", flush=True)
            sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        assert [entry.node for entry in discovery.living()] == ["n1"]
        assert [entry.node for entry in discovery.living()] == ["n1"], "looking does no harm"
    finally:
        process.kill()
        process.communicate()
    assert (place / "101.json").exists()
    assert discovery.living() == []
    assert not (place / "101.json").exists()


def test_its_workers_do_not_outlive_it_there(place: Path) -> None:
    """A process that the agent started, and that is still there, does not count as the agent."""
    with announced(N1):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert discovery.living() == []
    finally:
        child.communicate()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"node": 1}', b"\xff"])
def test_a_file_that_is_none_of_ours_is_passed_over(text: bytes, place: Path) -> None:
    with announced(N1):
        (place / "9.json").write_bytes(text)
        (place / "8.json").symlink_to("nowhere")
        assert discovery.living() == [N1]


def test_a_folder_that_others_may_write_is_not_believed(place: Path) -> None:
    with announced(N1):
        place.chmod(0o777)
        assert discovery.living() == []
        with pytest.raises(Problem, match="is somebody else's: set XDG_RUNTIME_DIR to one of your own"):
            discovery.made()


def test_a_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    with pytest.raises(Problem, match="the folder /dev/null/parley cannot be made: not a directory"):
        discovery.made()
    assert discovery.living() == []


def test_without_a_runtime_folder_it_is_one_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert discovery.folder().name == f"parley-{os.getuid()}"
