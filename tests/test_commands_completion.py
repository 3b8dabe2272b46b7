"""Completion as the shells ask for it: commands, flags, values; and bash itself, with the script that is printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm_commands
from local_fleets import agent, at_home, parley

from parley.launch.cli import COMMANDS


def completed(line: str, home: Path) -> list[str]:
    """What bash is told for this line, the cursor at its end."""
    words = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_PARLEY_COMPLETE": "bash_complete"}
    said = warm_commands.run([], cwd=home, env=at_home(home, env))
    assert said.stderr == ""
    return [item.partition(",")[2] for item in said.stdout.splitlines() if item]


@pytest.mark.parametrize(
    ("line", "items"),
    [
        ("parley dr", ["drain"]),
        ("parley --no", ["--no-config"]),
        ("parley up --sl", ["--slots"]),
        ("parley up --log-level ", ["debug", "info", "warning"]),
        ("parley up --allow c", ["command"]),
        ("parley up --drain-timeout 30", ["30s", "30m", "30h"]),
        ("parley config ", ["check", "show"]),
        ("parley config show --or", ["--origin"]),
        ("parley drain n1 --no", ["--no-wait"]),
        ("parley completion ", ["bash", "zsh", "fish"]),
        ("parley logs --event task.s", ["task.start", "task.submit"]),
        ("parley ve", ["verify"]),
        ("parley nosuch --x", []),
    ],
)
def test_what_is_completed(line: str, items: list[str], tmp_path: Path) -> None:
    assert completed(line, tmp_path) == items


def test_all_commands_are_completed(tmp_path: Path) -> None:
    assert completed("parley ", tmp_path) == list(COMMANDS)


def test_a_file_that_is_wrong_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text("[up]\nslotz = 2")
    assert completed("parley up --sl", tmp_path) == ["--slots"]


def test_agents_of_this_machine_are_completed(tmp_path: Path) -> None:
    with agent("--name=n1", home=tmp_path) as one:
        assert completed("parley nodes --agent ", tmp_path) == [one.address]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(shell: str) -> None:
    printed = parley("completion", shell)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert f"_PARLEY_COMPLETE={shell}_complete" in printed.stdout


def test_the_help_says_how_to_install_it() -> None:
    said = parley("completion", "--help").stdout
    assert "echo 'eval \"$(parley completion bash)\"' >> ~/.bashrc" in said
    assert "~/.config/fish/completions/parley.fish" in said


def test_a_shell_that_is_none() -> None:
    refused = parley("completion", "tcsh")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in refused.stderr


BASH = """
eval "$(parley completion bash)"
COMP_WORDS=(parley up --sl)
COMP_CWORD=2
_parley_completion parley --sl up
printf '%s\\n' "${COMPREPLY[@]}"
complete -p parley
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself(tmp_path: Path) -> None:
    """The script that is printed is evaluated, and its function asked as bash does when Tab is pressed."""
    program = tmp_path / "bin/parley"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m parley "$@"\n')
    program.chmod(0o755)
    env = at_home(tmp_path, {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"})
    said = subprocess.run(
        ["bash", "--norc", "-c", BASH], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.stderr == ""
    assert said.stdout.splitlines() == ["--slots", "complete -o nosort -F _parley_completion parley"]
