"""Every command of the README is run, in its order, as its three machines: desk, hall and lab at 127.0.0.2 to .4.

What the README calls 192.168.1.10:4100 is whatever address the agent on that machine has got, and what it calls
desk:KEY the key that it has made. Loopback needs no keys, so PARLEY_KEYS asks for them here. `make` targets are asked
whether they exist; `make test` cannot well run here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from local_fleets import PARLEY

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MACHINES = {
    "desk": ("192.168.1.10", "127.0.0.2"),
    "hall": ("192.168.1.11", "127.0.0.3"),
    "lab": ("192.168.1.12", "127.0.0.4"),
}
"""Where the README has them, and where they are here."""
CODES = {"parley doctor": (0, 1)}
"""What may come out instead of 0: a machine on which tests run may well have something wrong."""
START_S, COMMAND_S = 30.0, 60.0


def console_lines() -> list[tuple[str, str]]:
    """Machine and command, of all blocks in order."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [re.fullmatch(r"(\w+)\$ (.+)", line) for block in blocks for line in block.splitlines()]
    return [(line[1], line[2]) for line in lines if line is not None and line[2].startswith(("parley", "kill"))]


class Machines:
    """Three agents that are processes of their own, each with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.addresses: dict[str, str] = {}
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.keys: dict[str, str] = {}
        for name in MACHINES:
            (home / name).mkdir()

    def words(self, command: str) -> list[str]:
        """As the shell would split it, with the addresses that the agents have got; no person pulls a plug here, so the
        long task need not be that long."""
        command = command.replace('"seconds": 60', '"seconds": 8')
        for name, (ours, _) in MACHINES.items():
            command = command.replace(f"tcp://{ours}:4100", self.addresses.get(name, f"tcp://{ours}:4100"))
            command = command.replace(f"{name}:KEY", self.keys.get(name, ""))
        return shlex.split(command)

    def environment(self, machine: str) -> dict[str, str]:
        here = self.home / machine
        own = {name: word for name, word in os.environ.items() if not name.startswith(("PARLEY_", "XDG_"))}
        keys = str(here / ".config" / "parley" / "keys")
        path = f"{here}:{os.environ['PATH']}"
        return {**own, "HOME": str(here), "XDG_RUNTIME_DIR": str(here), "PATH": path, "PARLEY_KEYS": keys}

    def up(self, machine: str, command: str) -> None:
        shutil.copy(self.home / "tasks.jsonl", self.home / machine)
        bound = command.replace(f"{MACHINES[machine][0]}:4100", f"{MACHINES[machine][1]}:0")
        agent = subprocess.Popen(
            [*PARLEY, *self.words(bound)[1:], "--json"],
            stdout=subprocess.PIPE,
            env=self.environment(machine),
            cwd=self.home / machine,
        )
        self.agents[machine] = agent
        assert agent.stdout is not None
        self.addresses[machine] = json.loads(agent.stdout.readline())["address"]

    def run(self, machine: str, command: str) -> subprocess.CompletedProcess[str]:
        if command.startswith("kill -9"):
            self.agents[machine].kill()
            self.agents[machine].wait()
            return subprocess.CompletedProcess(command, 0, "", "")
        ended = subprocess.run(
            [*PARLEY, *self.words(command)[1:]],
            capture_output=True,
            text=True,
            env=self.environment(machine),
            cwd=self.home / machine,
            timeout=COMMAND_S,
            check=False,
        )
        if command.startswith("parley keys new"):
            self.keys[machine] = ended.stdout.strip()
        return ended

    def end(self) -> None:
        for agent in self.agents.values():
            agent.send_signal(signal.SIGTERM)
            try:
                agent.wait(10)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()
            assert agent.stdout is not None
            agent.stdout.close()


@contextmanager
def machines(home: Path) -> Iterator[Machines]:
    [block] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    (home / "tasks.jsonl").write_text(block)
    three = Machines(home)
    try:
        yield three
    finally:
        three.end()


def test_every_command_does_what_the_story_says(tmp_path: Path) -> None:
    said: dict[str, str] = {}
    with machines(tmp_path) as three:
        for machine, command in console_lines():
            if command.startswith("parley up"):
                three.up(machine, command)
                continue
            ended = three.run(machine, command)
            assert ended.returncode in CODES.get(command, (0,)), f"{command}: {ended.stdout}{ended.stderr}"
            assert "Traceback" not in ended.stderr
            said[command] = said.get(command, "") + ended.stdout
    nodes = said["parley nodes"]
    assert [nodes.count(name) >= 2 for name in MACHINES] == [True] * 3
    assert "dead" in nodes
    assert said["parley run --need gpu --need vram=6GiB -- python3 -c 'print(\"trained\")'"] == "trained\n"
    why = " ".join(said["parley why last"].split())
    assert "awarded again, to hall" in why
    assert re.search(r"\(award 1 to lab\): (vanished|lease),", why), why  # whichever was noticed first
    assert "committed: done" in why
    assert "COMMANDS" not in said["parley completion bash"]
    assert "complete" in said["parley completion bash"]


def test_the_blocks_of_python_run(tmp_path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        ended = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, timeout=COMMAND_S, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines() == re.findall(r"# prints: (.*)", block)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^ +make (\w+)|`make (\w+)", README, re.MULTILINE))))
def test_make_targets_exist(target: tuple[str, str]) -> None:
    assert re.search(rf"^{target[0] or target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
