"""`parley keys` and --keys as a person types them; agents, processes of their own, that let in whom they are told."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import warm_commands
from local_fleets import PARLEY, Agent, agent, at_home, parley

from parley.transport.security import Ring

OWN = ("config", "parley", "keys")


class Machine:
    """A home with keys of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.keys = home.joinpath(*OWN)

    def parley(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return warm_commands.run(words, cwd=self.home, env=at_home(self.home, env))

    def new(self, name: str) -> str:
        made = self.parley("keys", "new", f"--name={name}")
        assert (made.returncode, made.stderr) == (0, "")
        return made.stdout.strip()

    def allow(self, *entries: str) -> None:
        assert self.parley("keys", "allow", *entries).returncode == 0


@pytest.fixture
def two(tmp_path: Path) -> tuple[Machine, Machine]:
    """desk and hall, who let each other in."""
    desk, hall = Machine(tmp_path / "desk"), Machine(tmp_path / "hall")
    ours, theirs = desk.new("desk"), hall.new("hall")
    desk.allow(theirs)
    hall.allow(ours)
    return desk, hall


def test_a_key_is_made_shown_and_let_in(tmp_path: Path) -> None:
    desk, hall = Machine(tmp_path / "desk"), Machine(tmp_path / "hall")
    ours, theirs = desk.new("desk"), hall.new("hall")
    assert desk.parley("keys", "show").stdout == f"{ours}\n"
    assert (desk.keys / "secret").stat().st_mode & 0o777 == 0o600
    assert desk.keys.stat().st_mode & 0o777 == 0o700
    assert Ring.read(desk.keys).entry.name == "desk"
    desk.allow(theirs)
    desk.allow(theirs)
    assert desk.parley("keys", "show").stdout == f"{ours}\nlets in {theirs}\n"
    told = json.loads(desk.parley("keys", "show", "--json").stdout)
    assert told == {"own": ours, "allowed": [theirs], "folder": str(desk.keys)}
    elsewhere = tmp_path / "elsewhere"
    for words, env in ((["--keys", str(elsewhere)], {}), ([], {"PARLEY_KEYS": str(elsewhere)})):
        assert desk.parley("keys", "show", *words, **env).returncode == 2
    assert desk.parley("keys", "new", "--name=other", f"--keys={elsewhere}").returncode == 0
    assert desk.parley("keys", "show", PARLEY_KEYS=str(elsewhere)).stdout.startswith("other:")
    (desk.home / "parley.toml").write_text(f'keys = "{elsewhere}"\n')
    assert desk.parley("keys", "show").stdout.startswith("other:")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["keys", "show"], 2, "there is no key in .*: make one with `parley keys new`"),
        (["keys", "allow", "desk"], 2, "'desk' is no key: write NAME:KEY"),
        (["keys", "allow"], 2, "Missing argument 'NAME:KEY"),
        (["keys", "new", "--name=a b"], 2, "is no name for a node"),
        (["keys", "new", "--keys=/proc/none"], 1, "no key can be written into /proc/none"),
        (["up", "--name=n1", "--keys=nowhere"], 2, "there is no key in nowhere"),
        (["up", "--name=n1", "--keys=nowhere", "--insecure"], 2, "leave one out"),
        (["nodes", "--keys=nowhere", "--agent=tcp://127.0.0.1:9"], 2, "there is no key in nowhere"),
        (
            ["up", "--name=n1", "--bind=tcp://192.0.2.1:0"],
            2,
            "anybody there could hand work in: make a key with `parley",
        ),
        (["up", "--name=n1", "--bind=tcp://*:0", "--advertise=tcp://h:0"], 2, "parley keys new.* or say --insecure"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    ended = Machine(tmp_path / "home").parley(*words)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("parley: ")
    assert re.search(said, ended.stderr), ended.stderr


def test_a_node_bears_its_keys_name_beyond_this_machine(tmp_path: Path) -> None:
    desk = Machine(tmp_path / "desk")
    desk.new("desk")
    ended = desk.parley("up", "--name=hall", "--bind=tcp://192.0.2.1:0")
    assert (ended.returncode, "others know this key as desk: say --name desk" in ended.stderr) == (2, True)


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    desk = Machine(tmp_path / "desk")
    desk.new("desk")
    (desk.keys / "secret").chmod(0o644)
    for words in (["up", "--name=desk"], ["nodes", "--agent=tcp://127.0.0.1:9"], ["keys", "show"]):
        ended = desk.parley(*words, PARLEY_KEYS=str(desk.keys))
        assert ended.returncode == 2
        assert "others can read" in ended.stderr
        assert "chmod 600" in ended.stderr


def test_two_machines_work_together_and_a_third_is_kept_out(two: tuple[Machine, Machine], tmp_path: Path) -> None:
    desk, hall = two
    stranger = Machine(tmp_path / "stranger")
    stranger.new("stranger")
    stranger.allow(desk.parley("keys", "show").stdout.splitlines()[0])
    with (
        agent("--name=desk", f"--keys={desk.keys}", home=desk.home) as first,
        agent("--name=hall", f"--keys={hall.keys}", f"--join={first.address}", "--tag=there", home=hall.home),
    ):
        done = desk.parley("submit", "echo", "--args=[7]", "--need=there", "--wait", "--json")
        assert json.loads(done.stdout)["node"] == "hall", done.stderr
        names = [line["node"] for line in json.loads(hall.parley("nodes", "--json").stdout)]
        assert names == ["desk", "hall"]
        from_here = stranger.parley("nodes", f"--agent={first.address}", f"--keys={stranger.keys}")
        assert (from_here.returncode, "our key is not allowed there" in from_here.stderr) == (4, True)
        without = stranger.parley("nodes", f"--agent={first.address}")
        assert (without.returncode, "one side has keys and the other has none" in without.stderr) == (4, True)
        joined = stranger.parley("up", "--name=stranger", f"--join={first.address}", f"--keys={stranger.keys}")
        assert (joined.returncode, "our key is not allowed there" in joined.stderr) == (4, True)
        desk.allow(stranger.parley("keys", "show").stdout.splitlines()[0])  # no restart
        let_in = stranger.parley("nodes", "--json", f"--agent={first.address}", f"--keys={stranger.keys}")
        assert len(json.loads(let_in.stdout)) == 2


def test_a_task_finds_the_keys_of_its_node(two: tuple[Machine, Machine]) -> None:
    """What runs on a guarded node may hand tasks in itself."""
    desk, _ = two
    with agent("--name=desk", f"--keys={desk.keys}", "--allow=command", "--slots=2", home=desk.home):
        ended = desk.parley("run", "--", *PARLEY, "submit", "echo", "--args=[1]", "--wait", "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["value"] == [1]


def answers(machine: Machine, one: Agent) -> bool:
    told = machine.parley("nodes", "--json", f"--agent={one.address}")
    return told.returncode == 0 and json.loads(told.stdout)[0]["state"] == "alive"


# --- whoever only wants to do harm -----------------------------------------------------------------------------------


def dial(one: Agent) -> socket.socket:
    host, port = one.address.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)), timeout=20.0)


GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
HALVES = {
    "not a byte": b"",
    "one byte": b"\xff",
    "half a greeting": GREETING[:30],
    "a greeting, and no more": GREETING,
    "a handshake that never ends": GREETING + b"\x04\xff",
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": bytes(range(256)) * 40,
}


def test_slow_and_half_open_connections_hold_up_nobody(two: tuple[Machine, Machine]) -> None:
    """One agent with keys, and one without."""
    desk, hall = two
    with (
        agent("--name=desk", f"--keys={desk.keys}", home=desk.home) as keyed,
        agent("--name=n", home=hall.home) as plain,
    ):
        own = ((desk, keyed), (hall, plain))
        before = {one.name: descriptors(one) for _, one in own}
        flood: list[socket.socket] = []
        try:
            for _, one in own:
                for said in HALVES.values():
                    for _ in range(40):
                        flood.append(dial(one))
                        flood[-1].sendall(said)
            assert [answers(machine, one) for machine, one in own] == [True, True]
            for silent in (flood[0], flood[len(flood) // 2]):
                while silent.recv(4096):
                    pass  # it greets, and hangs up when the handshake is not done in time
            assert [answers(machine, one) for machine, one in own] == [True, True]
        finally:
            for each in flood:
                each.close()
        give_up = time.monotonic() + 20.0
        while any(descriptors(one) > before[one.name] for _, one in own):
            assert time.monotonic() < give_up, "what was dialled is let go"
            time.sleep(0.05)
        assert [one.end(signal.SIGTERM)[0] for _, one in own] == [0, 0]


def descriptors(one: Agent) -> int:
    return len(os.listdir(f"/proc/{one.process.pid}/fd"))


MORE = b"\x01\x00"
"""A frame without a byte, and more to come."""
_READY = b"\x05READY" + b"\x0bSocket-Type" + b"\0\0\0\x06DEALER" + b"\x08Identity" + b"\0\0\0\0"
READY = bytes([4, len(_READY)]) + _READY


def test_a_message_of_400_000_frames_is_read_away(two: tuple[Machine, Machine]) -> None:
    desk, _ = two
    with agent("--name=desk", home=desk.home) as one, dial(one) as raw:
        raw.sendall(GREETING + READY)
        said = b""
        while b"Socket-Type" not in said[len(GREETING) :]:  # before its handshake is done, it takes nothing
            said += raw.recv(4096)
        raw.sendall(MORE * 400_000 + b"\x00\x01x")
        raw.sendall(b"\x00\x01x" * 10)  # its sender is not heard any more
        log = desk.home / "state" / "parley" / "desk" / "desk.jsonl"
        give_up = time.monotonic() + 20.0
        while "too many frames" not in log.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert answers(desk, one)
        assert "frames; 2 are usual" not in log.read_text()
        assert one.end(signal.SIGTERM)[0] == 0


def test_commands_here_need_no_flag(two: tuple[Machine, Machine]) -> None:
    """Commands find an agent of this machine with its keys, without a flag; a plain one without, whatever there is."""
    desk, _ = two
    with agent("--name=desk", f"--keys={desk.keys}", home=desk.home):
        assert parley("nodes", env=at_home(desk.home)).returncode == 0
    with agent("--name=desk", home=desk.home):
        assert parley("nodes", env=at_home(desk.home, {"PARLEY_KEYS": str(desk.keys)})).returncode == 0
