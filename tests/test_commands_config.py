"""`parley config` as a person types it, and what files do to the other commands."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest
import warm_commands
from local_fleets import at_home


def run(home: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return warm_commands.run(arguments, cwd=home, env=at_home(home, env))


def own(home: Path, text: str) -> None:
    (home / "config/parley").mkdir(parents=True)
    (home / "config/parley/config.toml").write_text(text)


def test_show_is_a_file_of_its_own(tmp_path: Path) -> None:
    own(tmp_path, '[up]\nslots = 2\nhave = ["vram=8GiB"]')
    shown = run(tmp_path, "config", "show", env={"PARLEY_AGENT": "tcp://a:1 tcp://b:2"})
    assert (shown.returncode, shown.stderr) == (0, "")
    settings = tomllib.loads(shown.stdout)
    assert settings["agent"] == ["tcp://a:1", "tcp://b:2"]
    assert (settings["up"]["slots"], settings["up"]["have"], settings["up"]["speed"]) == (2, ["vram=8GiB"], 1.0)
    assert "# up.folder is not set\n" in shown.stdout
    assert json.loads(run(tmp_path, "config", "show", "--json").stdout)["up"]["slots"] == 2
    (tmp_path / "parley.toml").write_text(shown.stdout)
    again = run(tmp_path, "config", "show")
    assert again.stdout == shown.stdout


def test_show_tells_where_a_setting_comes_from(tmp_path: Path) -> None:
    own(tmp_path, "[up]\nslots = 2")
    (tmp_path / "parley.toml").write_text("[up]\nseed = 3")
    env = {"PARLEY_UP_SPEED": "4"}
    lines = run(tmp_path, "config", "show", "--origin", env=env).stdout.splitlines()
    origins = {line.split(" = ")[0]: line.split("  # ")[1] for line in lines if not line.startswith("#")}
    assert origins["up.slots"] == "~/config/parley/config.toml"
    assert origins["up.seed"] == "./parley.toml"
    assert (origins["up.speed"], origins["up.rule"]) == ("PARLEY_UP_SPEED", "default")
    told = json.loads(run(tmp_path, "config", "show", "--origin", "--json", env=env).stdout)
    assert told["up"]["seed"] == {"value": 3, "origin": "file", "place": "./parley.toml"}
    assert told["up"]["speed"] == {"value": 4.0, "origin": "environment", "place": "PARLEY_UP_SPEED"}
    assert told["up"]["folder"] == {"value": None, "origin": "default", "place": None}


def test_check_says_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    assert run(tmp_path, "config", "check").stdout == "there is no file with settings here: nothing is wrong\n"
    own(tmp_path, "[up]\nslots = 2")
    (tmp_path / "parley.toml").write_text('[up]\nslotz = 2\nspeed = "fast"')
    checked = run(tmp_path, "config", "check", env={"PARLEY_UP_SLOTS": "none"})
    assert checked.returncode == 2
    assert checked.stdout.splitlines() == [
        "~/config/parley/config.toml: nothing is wrong",
        "./parley.toml: there is no setting up.slotz: did you mean up.slots?",
        './parley.toml: up.speed must be a number, not the text "fast"',
        "PARLEY_UP_SLOTS: 'none' is no whole number",
    ]
    assert checked.stderr == "parley: 3 settings are wrong\n"
    told = json.loads(run(tmp_path, "config", "check", "--json").stdout)
    assert [(fault["place"], fault["key"]) for fault in told["faults"]] == [
        ("./parley.toml", "up.slotz"),
        ("./parley.toml", "up.speed"),
    ]


def test_check_of_files_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text("wrong = true")
    (tmp_path / "other.toml").write_text("[up]\nslots = 2")
    sound = run(tmp_path, "config", "check", "other.toml", env={"PARLEY_UP_SLOTS": "none"})
    assert (sound.returncode, sound.stdout, sound.stderr) == (0, "other.toml: nothing is wrong\n", "")
    missing = run(tmp_path, "config", "check", "nowhere.toml")
    assert missing.returncode == 2
    assert "File 'nowhere.toml' does not exist" in missing.stderr


@pytest.mark.parametrize("arguments", [["nodes"], ["up"], ["drain"], ["config", "show"]], ids=" ".join)
def test_a_file_that_is_wrong_stops_whoever_needs_it(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text("[up]\nslotz = 2")
    stopped = run(tmp_path, *arguments)
    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert stopped.stderr == "parley: ./parley.toml: there is no setting up.slotz: did you mean up.slots?\n"


def test_a_file_that_is_wrong_stops_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text("[up]\nslotz = 2")
    assert run(tmp_path, "up", "--help").stdout.startswith("Usage: parley up")
    assert run(tmp_path, "completion", "zsh").returncode == 0
    assert run(tmp_path, "--help").returncode == 0
    assert run(tmp_path, "--no-config", "nodes").returncode == 4, "nobody is there, and that is all"
    assert "slotz" not in run(tmp_path, "report").stderr


def test_a_variable_that_is_wrong_is_named(tmp_path: Path) -> None:
    stopped = run(tmp_path, "up", env={"PARLEY_UP_SLOTS": "0"})
    assert stopped.returncode == 2
    assert stopped.stderr.startswith("parley: PARLEY_UP_SLOTS: 0 is not in the range 1<=x<=64")
    typed = run(tmp_path, "up", "--slots=0", env={"PARLEY_UP_SLOTS": "2"})
    assert "Invalid value for '--slots': 0 is not" in typed.stderr


def test_the_help_tells_the_default_that_holds_here(tmp_path: Path) -> None:
    (tmp_path / "parley.toml").write_text('[up]\nbind = "tcp://127.0.0.1:4100"')
    assert "[default: tcp://127.0.0.1:4100]" in " ".join(run(tmp_path, "up", "-h").stdout.split())
