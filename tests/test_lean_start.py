"""Commands start at once: what a command does not need is not imported, and completion needs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from local_fleets import at_home

HEAVY = {"numpy", "zmq", "structlog", "psutil", "rich", "aiohttp", "msgpack"}
SCRIPT = """
import sys
from parley.launch.cli import main

sys.argv = ["parley", *sys.argv[1:]]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def imported(home: Path, *arguments: str, env: dict[str, str] | None = None) -> set[str]:
    """The modules that a command has loaded when it has ended."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *arguments],
        cwd=home,
        env=at_home(home, env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return set(ended.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["up", "-h"], ["why", "-h"], ["completion", "zsh"], ["config", "show"]], ids=" ".join
)
def test_help_and_settings_need_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    modules = imported(tmp_path, *arguments)
    assert "parley.launch.cli" in modules
    assert not HEAVY & modules
    assert "asyncio" not in modules
    assert "tomllib" not in modules, "there is no file"


def test_a_file_is_read_by_those_who_need_it_only(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text("[up]\nslots = 2")
    assert "tomllib" in imported(tmp_path, "up", "-h")
    assert "tomllib" not in imported(tmp_path, "report", "-h")
    assert "parley.launch.commands.up" not in imported(tmp_path, "report", "-h")


def test_without_settings_no_command_loads_the_flags_of_another(tmp_path: Path) -> None:
    assert "parley.launch.commands.up" not in imported(tmp_path, "nodes")
    assert "parley.protocols.auctions" not in imported(tmp_path, "up", "-h")


def test_why_reads_logs_without_sockets(tmp_path: Path) -> None:
    assert not (HEAVY - {"rich"}) & imported(tmp_path, "why", "last")


def test_completion(tmp_path: Path) -> None:
    env = {"COMP_WORDS": "parley dr", "COMP_CWORD": "1", "_PARLEY_COMPLETE": "bash_complete"}
    modules = imported(tmp_path, env=env)
    assert "parley.launch.cli" in modules
    assert not HEAVY & modules
