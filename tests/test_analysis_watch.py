"""The live view: what a frame shows, what is new in it, and going over to another agent."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from local_fleets import PARLEY, agent, at_home

from parley.launch.analysis.watch import Scene, scenes
from parley.launch.problems import AgentUnreachable
from parley.launch.tables import nodes_table
from parley.protocols.core import State
from parley.protocols.requests import NodeLine, TaskLine
from parley.protocols.swim_words import Presence, Status


def node(name: str, state: Presence = Presence.ALIVE, running: int = 0, slots: int = 2, **told: object) -> NodeLine:
    status = Status(running=running, **told)  # type: ignore[arg-type]
    return NodeLine(name, 1, state, True, f"tcp://{name}:1", slots, 2.0, status)


def task(name: str, state: State, on: str | None = None, epoch: int = 0, reason: str = "") -> TaskLine:
    return TaskLine(name, "", "pkg.mod:work", state, reason, on, epoch, epoch)


def text(scene: Scene, width: int = 100, height: int | None = None) -> list[str]:
    return ["".join(words for words, _ in row).rstrip() for row in scene.lines(width, height)]


def test_the_table_of_nodes_tells_nothing_of_the_work_of_those_that_are_gone() -> None:
    gone = [node(state, state, running=1, queued_s=2.0, lag_s=0.5) for state in (Presence.DEAD, Presence.LEFT)]
    shown = nodes_table([node("n1", running=1, queued_s=2.0, lag_s=0.5), *gone]).splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["n1", "alive", "2", "2", "1", "2.00", "s", "500", "ms", "tcp://n1:1"],
        ["dead", "dead", "2", "2", "tcp://dead:1"],
        ["left", "left", "2", "2", "tcp://left:1"],
    ]


@pytest.mark.parametrize("state", [Presence.LEFT, Presence.DEAD, Presence.SUSPECT])
def test_who_was_about_to_leave_and_is_silent_since_is_not_still_about_to_leave(state: Presence) -> None:
    line = node("n3", state, draining=True)
    scene = Scene("tcp://n1:1")
    scene.look([line], [], 0.0)
    assert text(scene)[2].split()[:2] == nodes_table([line]).splitlines()[1].split()[:2] == ["n3", str(state)]


def test_a_frame_shows_nodes_load_what_waits_and_the_last_awards() -> None:
    scene = Scene("tcp://n1:1")
    nodes = [
        node("n1", running=1, waiting=3, queued_s=1.5),
        node("n2", Presence.DEAD),
        node("n3", running=2, draining=True, lag_s=0.5),
    ]
    tasks = [
        task("t1", State.RUNNING, "n1", 1),
        task("t2", State.OPEN, reason="0/3 nodes can run this: 3 lack capability gpu"),
        task("t3", State.DONE, "n3", 2),
    ]
    scene.look(nodes, tasks, 0.0)
    assert text(scene) == [
        "2 of 3 nodes  1 running, 1 open, 1 done  by tcp://n1:1",
        "",
        "n1    alive    ×2     ██████████░░░░░░░░░░  1 of 2, 3 wait, 1.50 s",
        "n2    dead     ×2",
        "n3    draining ×2     ████████████████████  2 of 2, 0 wait  late by 500 ms",
        "",
        "Waiting 1",
        "  t2  work           open     0/3 nodes can run this: 3 lack capability gpu",
        "",
        "Last awards",
        "  t3  work           to n3  award 2",
        "  t1  work           to n1",
    ]


def test_ids_of_any_length_stand_in_one_column() -> None:
    scene = Scene("tcp://n1:1")
    tasks = [task("t1/12", State.RUNNING, "n1", 1), task("t2", State.RUNNING, "n1", 1), task("t3", State.OPEN)]
    scene.look([node("n1")], tasks, 0.0)
    rows = [row for row in text(scene) if row.startswith("  t")]
    assert [row.split()[0] for row in rows] == ["t3", "t2", "t1/12"]
    assert {row.index("work") for row in rows} == {len("  t1/12  ")}


def test_an_award_is_told_once_and_again_with_a_new_epoch() -> None:
    scene = Scene("a")
    scene.look([node("n1")], [task("t1", State.RUNNING, "n1", 1)], 0.0)
    scene.look([node("n1")], [task("t1", State.RUNNING, "n1", 1)], 1.0)
    scene.look([node("n1")], [task("t1", State.RUNNING, "n2", 2)], 2.0)
    assert [(one.node, one.epoch, one.at_s) for one in scene.awards] == [("n1", 1, 0.0), ("n2", 2, 2.0)]


@pytest.mark.parametrize(("width", "height"), [(40, 8), (20, 3), (100, 60)])
def test_a_frame_fits_its_window(width: int, height: int) -> None:
    scene = Scene("tcp://somewhere.far.away.example:4100")
    nodes = [node(f"node-{place}\x1b[2J") for place in range(30)]
    scene.look(nodes, [task(f"t{place}", State.OPEN, reason="because " * 30) for place in range(50)], 0.0)
    shown = text(scene, width, height)
    assert len(shown) <= height
    assert all(len(line) <= width for line in shown)
    assert all(sign.isprintable() for line in shown for sign in line)


class FakeAgent:
    """Answers so often, then is gone."""

    def __init__(self, address: str, answers: int) -> None:
        self.address, self.left = address, answers

    async def __aenter__(self) -> FakeAgent:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def nodes(self) -> Sequence[NodeLine]:
        if not self.left:
            raise AgentUnreachable("gone")
        self.left -= 1
        return [node("n1"), node("n2")]

    async def tasks(self, which: Sequence[str]) -> Sequence[TaskLine]:
        return []


async def test_when_the_agent_goes_another_one_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[list[str]] = []

    async def connect(addresses: Sequence[str]) -> FakeAgent:
        dialled.append(list(addresses))
        return FakeAgent(addresses[0], 2)

    monkeypatch.setattr("parley.launch.client.Connection.connect", connect)
    seen = []
    async with aclosing(scenes(["tcp://n1:1"], 0.0)) as frames:
        async for scene in frames:
            seen.append(scene.agent)
            if len(seen) == 5:
                break
    assert dialled == [["tcp://n1:1"], ["tcp://n2:1", "tcp://n1:1"], ["tcp://n1:1", "tcp://n2:1"]]
    assert seen == ["tcp://n1:1"] * 2 + ["tcp://n2:1"] * 2 + ["tcp://n1:1"]


def test_on_a_terminal_it_fills_a_screen_of_its_own_and_ctrl_c_gives_the_old_one_back(tmp_path: Path) -> None:
    env = {**at_home(tmp_path), "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "20"}
    with agent("--name=n1", home=tmp_path):
        ours, theirs = pty.openpty()
        watching = subprocess.Popen(
            [*PARLEY, "watch", "--interval=50ms"], stdin=theirs, stdout=theirs, stderr=theirs, env=env
        )
        os.close(theirs)
        shown = b""
        while b"1 of 1 nodes" not in shown:
            shown += os.read(ours, 65536)
        watching.send_signal(signal.SIGINT)
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            pass  # the other end is closed
        os.close(ours)
        assert watching.wait() == 130
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1
    assert b"\x1b[?25h" in shown, "the cursor is back"
    after = shown[shown.index(b"\x1b[?1049l") :].decode()
    assert re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", after).strip() == ""
