"""`parley doctor`: each thing that can be wrong is found, in words, with what to do; a sound place is left in peace."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from local_fleets import agent, at_home, parley
from openai_server import running
from test_commands_up import LIMIT_S, line_of, pair

from parley.launch import config, discovery, doctor, doctor_agents, machine
from parley.launch.discovery import Entry, announced
from parley.launch.findings import Finding, State
from parley.protocols.requests import NodeLine
from parley.protocols.swim_words import Presence, Status


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is set and nobody runs."""
    for name in [name for name in os.environ if name.startswith("PARLEY_")]:
        monkeypatch.delenv(name)
    for name, value in at_home(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def the(check: str, findings: list[Finding]) -> Finding:
    """The one finding of this check."""
    [found] = [finding for finding in findings if finding.check == check]
    return found


# --- as a person runs it ---------------------------------------------------------------------------------------------


def test_a_sound_place_ends_with_0(place: Path) -> None:
    with agent("--name=n1", home=place):
        told = parley("doctor", cwd=place, env=at_home(place))
        assert (told.returncode, told.stderr) == (0, "")
        checks = {line.split()[1] for line in told.stdout.splitlines()}
        here = {"python", "libraries", "machine", "files", "folders", "sockets", "settings", "agents", "fleet"}
        assert checks >= here
        assert "wrong" not in told.stdout
        findings = json.loads(parley("doctor", "--json", cwd=place, env=at_home(place)).stdout)
    assert all(set(finding) == {"check", "state", "found", "do"} for finding in findings)
    assert next(finding["found"] for finding in findings if finding["check"] == "fleet").endswith(
        "answers; 1 of 1 nodes are ready for work"
    )


def test_nobody_running_is_no_fault(place: Path) -> None:
    told = parley("doctor", "--json", cwd=place, env=at_home(place))
    assert told.returncode == 0
    assert {"check": "agents", "state": "note", "found": "no agent runs here; `parley up` starts one", "do": ""} in (
        json.loads(told.stdout)
    )


def test_what_is_wrong_comes_with_what_to_do_and_ends_with_1(place: Path) -> None:
    (place / "parley.toml").write_text('agent = "tcp://127.0.0.1:9"\n')
    (place / "config/parley").mkdir(parents=True)
    (place / "config/parley/config.toml").write_text("[up]\nslotz = 2")
    told = parley("doctor", cwd=place, env=at_home(place))
    assert (told.returncode, told.stderr) == (1, "parley: 2 things are wrong here\n")
    lines = told.stdout.splitlines()
    wrong = [(line, lines[number + 1]) for number, line in enumerate(lines) if line.startswith("wrong")]
    assert [" ".join(part.split()) for pair in wrong for part in pair] == [
        "wrong settings ~/config/parley/config.toml: there is no setting up.slotz: did you mean up.slots?",
        "-> mend it; `parley config check` looks again",
        "wrong fleet no agent answers at tcp://127.0.0.1:9",
        "-> start it, look at the network between, or name another",
    ]


def test_an_address_that_is_none_is_said_before_anything_is_looked_at(place: Path) -> None:
    told = parley("doctor", "--agent=here", cwd=place, env=at_home(place))
    assert (told.returncode, told.stdout) == (2, "")
    assert "'here' is no address" in told.stderr


# --- Python and the machine ------------------------------------------------------------------------------------------


def test_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert the("python", doctor.check_python()).state is State.OK
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert the("python", doctor.check_python()).do == "use Python 3.11 or newer"


def test_what_it_asks_for_is_what_its_package_says() -> None:
    wanted = doctor.requirements()
    assert ("msgspec", "0.19", "") in wanted
    assert ("aiohttp", "3.10", "http") in wanted
    assert ("pytest", "8", "dev") in wanted


def test_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "msgspec" in the("libraries", doctor.check_libraries()).found
    wanted = [("click", "999.1", ""), ("nosuch", "1.0", ""), ("numpy", "", ""), ("gone", "1", "http")]
    monkeypatch.setattr(doctor, "requirements", lambda: wanted)
    there, old, missing = doctor.check_libraries()
    assert there.found == f"parley {metadata.version('parley')}, numpy {metadata.version('numpy')}"
    assert (old.state, old.do) == (State.WRONG, "pip install 'click>=999.1'")
    assert old.found == f"click {metadata.version('click')} is too old"
    assert (missing.found, missing.do) == ("nosuch is missing", "pip install 'nosuch>=1.0'")


def test_versions_are_numbers() -> None:
    assert doctor._numbers("1.10.0rc1") > doctor._numbers("1.9")
    assert doctor._numbers("") < doctor._numbers("0.1")


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [("aiohttp", "3", "http"), ("nosuch", "1", "plot"), ("pytest", "8", "dev"), ("click", "8", "")]
    monkeypatch.setattr(doctor, "requirements", lambda: wanted)
    assert [finding.found for finding in doctor.check_extras()] == [
        f"http: aiohttp {metadata.version('aiohttp')}",
        "plot is not installed; pip install 'parley[plot]' adds it",
    ]
    assert [finding.state for finding in doctor.check_extras()] == [State.OK, State.NOTE], "an extra need not be there"


def test_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 10 * 2**30)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    told = the("machine", doctor.check_machine())
    assert told.found == "2 of 8 cores and 10 GiB of memory, of which a node offers 9 GiB"
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert the("machine", doctor.check_machine()).found.startswith("2 cores and")


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "files_max", lambda: 256)
    told = the("files", doctor.check_files())
    assert (told.state, told.found) == (State.WRONG, "only 256 files may be open at a time")
    assert told.do == "ulimit -n 4096"
    monkeypatch.setattr(machine, "files_max", lambda: None)
    assert the("files", doctor.check_files()).state is State.OK


def test_the_clock() -> None:
    assert the("clock", doctor.check_clock(1.0, 1.0)).state is State.OK
    told = the("clock", doctor.check_clock(3601.0, 1.0))
    assert (told.state, told.found) == (State.WRONG, "the clock was set by +3600.0 s just now")


def test_a_clock_that_stands_in_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    class Past(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Past:
            return cls(1970, 1, 2, tzinfo=UTC)

    monkeypatch.setattr("parley.launch.doctor.datetime", Past)
    told = the("clock", doctor.check_clock(1.0, 1.0))
    assert told.found == "it is 1970-01-02 00:00 UTC by the clock, which is before parley was installed"
    assert told.do


# --- folders and sockets ---------------------------------------------------------------------------------------------


def test_folders(place: Path) -> None:
    runtime, state = doctor.check_folders()
    assert runtime.found == f"{place}/parley can be written"
    assert state.found.startswith(f"{place}/state/parley can be made; the disk is ")
    assert not (place / "state").exists(), "it is only looked at"


def test_folders_that_cannot_be_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "parley").mkdir()
    (place / "parley").chmod(0o777)
    (place / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "file/below"))
    runtime, state = doctor.check_folders()
    assert runtime.state is state.state is State.WRONG
    assert (runtime.found, runtime.do) == (
        f"the folder {place}/parley is somebody else's",
        "set XDG_RUNTIME_DIR to one of your own",
    )
    assert state.found == f"{place}/file cannot be written: not a directory"
    assert state.do == "set XDG_STATE_HOME, or give `up` a --folder"


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=100 * 2**30, used=99 * 2**30, free=5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    told = the("disk", doctor.check_folders())
    assert told.state is State.WRONG
    assert told.found.endswith("the disk is 100 % full, 5 MiB are left")


def test_nobody_may_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert the("sockets", doctor.check_sockets()).state is State.OK

    def bind(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    told = the("sockets", doctor.check_sockets())
    assert (told.state, told.found) == (State.WRONG, "nobody can listen at 127.0.0.1: permission denied")


def test_a_check_that_cannot_be_made_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_files() -> list[Finding]:
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "check_files", check_files)
    told = the("files", asyncio.run(doctor.examine(())))
    assert (told.state, told.found) == (State.WRONG, "it cannot be looked at: no such thing")


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, [none] = doctor.check_settings()
    assert (none.state, none.found) == (State.OK, "there are none, neither in files nor in the environment")
    config.HERE.write_text("[up]\nslots = 2\nseed = 3")
    monkeypatch.setenv("PARLEY_UP_SPEED", "2")
    monkeypatch.setenv("PARLEY_UP_SPED", "2")
    settings, [file, typo, variables] = doctor.check_settings()
    assert file.found == "./parley.toml: up.slots, up.seed set"
    assert (typo.state, typo.found) == (
        State.WRONG,
        "PARLEY_UP_SPED: there is no such setting: did you mean PARLEY_UP_SPEED?",
    )
    assert variables.found == "the environment sets PARLEY_UP_SPEED"
    assert settings.values == {"up.slots": 2, "up.seed": 3}


# --- agents and their fleet ------------------------------------------------------------------------------------------


async def test_an_agent_of_another_version_is_to_be_started_anew(place: Path) -> None:
    with announced(Entry("n1", "tcp://127.0.0.1:9", 77, "0.0.9")):
        told = the("agents", await doctor_agents.check_agents())
    assert told.state is State.WRONG
    assert told.found == (
        f"n1 (process 77) at tcp://127.0.0.1:9 is of version 0.0.9, and this is {metadata.version('parley')}"
    )
    assert told.do == "end it, and start it anew: kill 77"


async def test_an_agent_that_lives_and_does_not_answer(place: Path) -> None:
    with announced(Entry("n1", "tcp://127.0.0.1:9", os.getpid(), metadata.version("parley"))):
        told = the("agents", await doctor_agents.check_agents())
    assert told.found.endswith("at tcp://127.0.0.1:9 lives, and does not answer")


async def test_an_agent_that_is_stopped(place: Path) -> None:
    with agent("--name=n1", home=place) as one:
        one.process.send_signal(signal.SIGSTOP)
        told = the("agents", await doctor_agents.check_agents())
        one.process.send_signal(signal.SIGCONT)
    assert (told.found, told.do) == (
        f"n1 (process {one.process.pid}) at {one.address} is stopped",
        f"let it go on: kill -CONT {one.process.pid}",
    )


async def test_a_dead_peer_is_wrong_and_one_that_has_left_is_not(place: Path) -> None:
    async with pair(place) as (one, two, client):
        sound = the("fleet", await doctor_agents.check_fleet((one.address,)))
        assert (sound.state, sound.found) == (
            State.OK,
            f"the agent at {one.address} answers; 2 of 2 nodes are ready for work",
        )
        assert [finding.state for finding in await doctor_agents.check_agents()] == [State.OK]
        two.process.kill()
        async with asyncio.timeout(LIMIT_S):
            while (await line_of(client, "n2")).state is not Presence.DEAD:
                await asyncio.sleep(0.02)
        _, dead = await doctor_agents.check_fleet((one.address,))
    assert (dead.state, dead.found) == (State.WRONG, f"n2 at {two.address} is dead: silent, and given up")


class Seen(NamedTuple):
    state: Presence
    ready: bool = True
    draining: bool = False


@pytest.mark.parametrize(
    ("seen", "state", "sentence"),
    [
        (Seen(Presence.ALIVE), None, ""),
        (Seen(Presence.SUSPECT), State.WRONG, "n2 at tcp://h:1 is suspect: silent for a while"),
        (Seen(Presence.DEAD), State.WRONG, "n2 at tcp://h:1 is dead: silent, and given up"),
        (Seen(Presence.LEFT), State.NOTE, "n2 at tcp://h:1 has left"),
        (
            Seen(Presence.ALIVE, ready=False),
            State.WRONG,
            "n2 at tcp://h:1 is alive, and does not hear what is announced here",
        ),
        (Seen(Presence.ALIVE, draining=True), State.NOTE, "n2 at tcp://h:1 is about to leave: 3 running there"),
    ],
)
def test_how_a_peer_looks(seen: Seen, state: State | None, sentence: str) -> None:
    line = NodeLine("n2", 1, seen.state, seen.ready, "tcp://h:1", 1, 1.0, Status(running=3, draining=seen.draining))
    told = doctor_agents._peer(line)
    assert (told.state if told else None, told.found if told else "") == (state, sentence)
    assert told is None or bool(told.do) == (state is State.WRONG)


async def test_a_host_that_is_none(place: Path) -> None:
    told = the("fleet", await doctor_agents.check_fleet(("tcp://no.such.host.invalid:1",)))
    assert (told.state, told.do) == (State.WRONG, "name another with --agent, PARLEY_AGENT or in a file")


async def test_without_an_agent_named_the_newest_here_is_asked(place: Path) -> None:
    assert await doctor_agents.check_fleet(()) == []
    with announced(Entry("n1", "tcp://127.0.0.1:9", os.getpid())):
        assert the("fleet", await doctor_agents.check_fleet(())).found == "no agent answers at tcp://127.0.0.1:9"


# --- model servers ---------------------------------------------------------------------------------------------------


async def test_model_servers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server:
        config.HERE.write_text(f'[up]\nhttp = ["{server.url}"]')
        told = the("servers", await doctor.examine(()))
        assert (told.state, told.found) == (State.OK, f"{server.url} has tiny")
        server.models = []
        told = the("servers", await doctor.examine(()))
        assert (told.state, told.found) == (State.WRONG, f"{server.url} answers, and has no models")
    told = the("servers", await doctor.examine(()))
    assert told.state is State.WRONG
    assert "does not answer: connection refused" in told.found
    monkeypatch.setenv("PARLEY_UP_HTTP", "http://8.8.8.8")
    told = the("servers", await doctor.examine(()))
    assert "neither this machine nor in this network" in told.found


def test_nothing_takes_long(place: Path) -> None:
    """Three agents that are there and silent are asked at once, and no longer than need be."""
    with announced(Entry("n1", "tcp://127.0.0.1:9", os.getpid(), metadata.version("parley"))):
        began = time.monotonic()
        asyncio.run(doctor.examine(("tcp://127.0.0.1:9", "tcp://127.0.0.1:10")))
        assert time.monotonic() - began < 2 * doctor_agents.ANSWER_S + 2 * doctor_agents.ANSWER_S + 5.0


@pytest.fixture(autouse=True)
def nobody_left(place: Path) -> Iterator[None]:
    yield
    assert discovery.living() == []
