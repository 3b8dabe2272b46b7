"""The measurement of detection, in short: a real kill, a real cut, and nobody dead who lives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from parley.launch.bench import halves, watched
from parley.launch.bench.detection import calm, cut, detection, kills
from parley.launch.bench.watched import Watched
from parley.launch.problems import Problem
from parley.protocols.suspicion import least_s


async def test_a_kill_is_noticed_by_all() -> None:
    [noticed] = await kills(3, 1)
    assert 0.0 < noticed.suspected_s < noticed.first_s <= noticed.all_s
    assert noticed.first_s - noticed.suspected_s > least_s(2) * 0.9


async def test_whoever_is_left_alone_thinks_of_nobody_as_dead() -> None:
    found = await calm(3, 1, 2.0)
    assert found.deaths == 0


async def test_a_cut_heals() -> None:
    found = await cut(4, 5.0)
    assert found.deaths == found.views
    assert found.agreed_s > 0.0


@pytest.mark.skipif(bool(halves.why_not()), reason=halves.why_not() or "there are halves")
def test_halves_leave_nothing_behind() -> None:
    with halves.halves() as two:
        reached = [*two.within(0), "python3", "-c", REACH, two.address(1)]
        server = subprocess.Popen([*two.within(1), "python3", "-c", SERVE, two.address(1)], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"bound\n"
            assert subprocess.run(reached, check=False).returncode == 0
            two.pull()
            assert subprocess.run(reached, check=False).returncode == 1
            two.plug()
            assert subprocess.run(reached, check=False).returncode == 0
        finally:
            server.kill()
            server.communicate()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert two._prefix not in left


SERVE = """
import socket, sys
with socket.socket() as server:
    server.bind((sys.argv[1], 4100))
    server.listen()
    print("bound", flush=True)
    while True:
        server.accept()[0].close()
"""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 4100), 0.5).close()
except OSError:
    sys.exit(1)
"""


async def test_what_is_never_seen_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOOK_EVERY_S", 0.01)
    with pytest.raises(Problem, match="do not see what they should"):
        await Watched(tmp_path).until(lambda: False, 0.05)


def test_what_cannot_be_measured_is_refused() -> None:
    refused = CliRunner().invoke(detection, ["--nodes", "1"])
    assert refused.exit_code == 2
