"""The commands as a person types them: what goes wrong is one sentence and an exit code, and harms nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from local_fleets import PARLEY, parley

ONE_SENTENCE = re.compile(r"parley: [^\n]+\n")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one agent; it is unharmed after all that the tests here have done to it."""
    folder = tmp_path_factory.mktemp("agent")
    process = subprocess.Popen(
        [*PARLEY, "up", "--name=n1", f"--folder={folder}", "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
    )
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["address"]
    yield address
    echoed = parley("submit", "echo", "--args", '{"still": "here"}', "--agent", address)
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()
    assert json.loads(echoed.stdout) == {"still": "here"}
    assert not list((folder / "parley").glob("*.json"))


BAD: list[tuple[str, list[str], int, str]] = [
    ("an unknown command", ["frobnicate"], 2, r"No such command 'frobnicate'"),
    ("an unknown flag", ["submit", "echo", "--wrok=1"], 2, r"No such option '?--wrok'?.*--work"),
    ("a missing argument", ["submit"], 2, r"Missing argument 'KIND'"),
    ("arguments that are no JSON", ["submit", "echo", "--args={bad"], 2, r"--args is no JSON"),
    ("arguments that are a number", ["submit", "echo", "--args=1"], 2, r"must be a JSON object .* or a list"),
    ("an unknown kind", ["submit", "pkg.mod:func", "--agent=AGENT"], 3, r"0/1 nodes can run this: 1 does not offer"),
    ("an empty kind", ["submit", "", "--agent=AGENT"], 2, r"a kind has 1 to 128 characters"),
    ("a negative sleep", ["submit", "sleep", '--args={"seconds": -1}', "--agent=AGENT"], 1, r"sleep takes"),
    ("no agent there", ["submit", "echo", "--agent=tcp://127.0.0.1:9"], 4, r"no agent answers at tcp://127.0.0.1:9"),
    ("no agent here", ["nodes"], 4, r"no agent runs here: start one with `parley up"),
    ("an address that is none", ["nodes", "--agent=here"], 2, r"'here' is no address: write tcp://host:port"),
    ("a port out of range", ["up", "--name=n2", "--bind=tcp://127.0.0.1:70000"], 2, r"no usable port"),
    ("a port in use", ["up", "--name=n2", "--bind=AGENT"], 2, r"in use|cannot be bound|taken"),
    ("a name with a space", ["up", "--name=n 2"], 2, r"'n 2' is no name for a node"),
    ("no one to join", ["up", "--name=n2", "--join=tcp://127.0.0.1:9"], 4, r"no agent answers"),
    ("no slots", ["up", "--name=n2", "--slots=0"], 2, r"0 is not in the range"),
    ("an unknown rule", ["up", "--name=n2", "--rule=best"], 2, r"'best' is not one of"),
    ("a folder that is a file", ["up", "--name=n2", "--folder=/dev/null/x"], 1, r"/dev/null/x"),
    ("code that is not there", ["up", "--name=n2", "--code=/nowhere"], 2, r"'/nowhere' does not exist"),
    ("speeds that are none", ["demo", "--speed=1,fast"], 2, r"'1,fast' is no list of speeds"),
    ("speeds below zero", ["demo", "--speed=1,-1"], 2, r"is no list of speeds"),
    ("nodes that do not fit", ["demo", "--nodes=3", "--speed=1,2"], 2, r"--nodes 3 and 2 speeds do not fit"),
    ("a kill of nobody", ["demo", "--kill=50%"], 2, r"says neither whom nor when"),
    ("a kill of a stranger", ["demo", "--kill=n9@50%"], 2, r"there is no node n9 to kill"),
    ("a kill of the desk", ["demo", "--kill=n1@50%"], 2, r"n1 takes the submissions"),
    ("data without a folder", ["demo", "--data=mnist"], 2, r"--data mnist needs --data-dir"),
    ("data that is not there", ["demo", "--data=mnist", "--data-dir=/nowhere"], 2, r"/nowhere"),
    ("no run here", ["why"], 1, r"runs/last"),
    ("a run that is none", ["why", "--run=EMPTY"], 1, r"no log|holds no"),
    ("a task of no run", ["why", "zzz", "--run=EMPTY"], 1, r"no log|holds no"),
]


@pytest.mark.parametrize(("arguments", "code", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_is_one_sentence(arguments: list[str], code: int, sentence: str, agent: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    given = [word.replace("AGENT", agent).replace("EMPTY", str(tmp_path / "empty")) for word in arguments]
    ended = parley(*given, cwd=tmp_path, env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)})
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ONE_SENTENCE.fullmatch(ended.stderr), ended.stderr
    assert re.search(sentence, ended.stderr), ended.stderr


def test_an_oversized_argument_never_leaves(agent: str, tmp_path: Path) -> None:
    from parley.launch.submission import Submission, TaskRefused
    from parley.protocols.core import PAYLOAD_BYTES_MAX

    Submission("echo", ["x" * (PAYLOAD_BYTES_MAX - 100)]).submits()
    with pytest.raises(TaskRefused, match="4,194,304 is the most, so put it where the nodes can read it") as refusal:
        Submission("echo", ["x" * PAYLOAD_BYTES_MAX]).submits()
    assert refusal.value.code == 2


def test_a_task_by_hand(agent: str) -> None:
    ended = parley("submit", "echo", "--args", '[1, null, {"a": 2.5}]', "--agent", agent, "--json")
    outcome = json.loads(ended.stdout)
    assert outcome["value"] == [1, None, {"a": 2.5}]
    assert (outcome["state"], outcome["node"], outcome["attempts"]) == ("done", "n1", 1)
    assert ended.stderr == ""


def test_the_fleet_as_a_table_and_as_json(agent: str) -> None:
    lines = parley("nodes", "--agent", agent).stdout.splitlines()
    assert lines[0].split() == ["NODE", "STATE", "SPEED", "SLOTS", "ADDRESS"]
    assert lines[1].split() == ["n1", "alive", "1", "1", agent]
    [node] = json.loads(parley("nodes", "--json", "--agent", agent).stdout)
    assert node == {"node": "n1", "state": "alive", "address": agent, "speed": 1.0, "slots": 1}


def test_a_dead_agent_is_passed_over(agent: str) -> None:
    ended = parley("nodes", "--agent", "tcp://127.0.0.1:9", "--agent", agent)
    assert ended.returncode == 0


def test_the_agent_of_this_machine_is_found(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [*PARLEY, "up", "--name=here", f"--folder={tmp_path}", "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        assert parley("submit", "echo", "--args", '["found"]', env=environment).stdout == '["found"]\n'
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert parley("nodes", env=environment).returncode == 4
    assert not psutil.pid_exists(process.pid)


def test_help_names_every_command() -> None:
    said = parley("--help").stdout
    for command in ("demo", "up", "submit", "nodes", "why"):
        assert re.search(rf"^  {command} ", said, re.MULTILINE)


def test_a_reader_that_leaves_is_no_traceback() -> None:
    ended = subprocess.run(
        ["bash", "-c", f"{' '.join(PARLEY)} demo --help | true"], capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
