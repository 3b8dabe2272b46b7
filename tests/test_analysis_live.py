"""A story whose lines lie on several machines: put together from what their agents tell, and what is missing named."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

from local_fleets import agent, at_home, parley
from test_analysis_run import award, submit, write_run
from test_commands_up import sleep

from parley.launch.analysis.card import render
from parley.launch.analysis.live import Asked, joined
from parley.launch.client import Connection
from parley.protocols.core import State
from parley.protocols.requests import NodeLine, TaskLine
from parley.protocols.retelling import LinesTold
from parley.protocols.swim_words import Presence

LINE = TaskLine("A1", "mine", "sleep", State.RUNNING, "runs on n2", "n2", 2, 2)
STORY = [
    submit(0, "A1"),
    '1 n1 auction.open {"auction":"a","tasks":["A1"],"invitees":["n1","n2","n3","n4"],"reply_by_s":0.25}',
    award(2, "A1"),
    '3 n2 task.start {"task":"A1","kind":"sleep","epoch":1}',
    '4 n1 task.commit {"task":"A1","epoch":1,"state":"done","peer":"n2","attempts":1,"detail":""}',
]


def node(name: str, state: Presence = Presence.ALIVE) -> NodeLine:
    return NodeLine(name, 1, state, True, f"tcp://{name}:1", 1, 1.0)


def lines_of(folder: Path, name: str) -> tuple[bytes, ...]:
    return tuple((folder / f"{name}.jsonl").read_bytes().splitlines())


def asked(*answers: tuple[NodeLine, LinesTold | None]) -> Asked:
    return Asked(LINE, "tcp://n1:1", answers)


def test_lines_of_all_machines_make_one_story_each_told_once(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", STORY)
    here = tmp_path / "here"
    here.mkdir()
    (here / "n1.jsonl").write_bytes((whole / "n1.jsonl").read_bytes())
    answer = joined(
        asked(
            (node("n1"), LinesTold(1, lines_of(whole, "n1"), 0)),
            (node("n2"), LinesTold(1, (*lines_of(whole, "n2"), b"no line", b'{"event":"of.tomorrow"}'), 5)),
            (node("n3", Presence.DEAD), None),
        ),
        here,
    )
    assert [step.text for step in answer.history][-2:] == ["started (award 1)", "committed: done"]
    assert len(answer.history) == len(STORY)
    assert (answer.state, answer.node) == ("done", "n2")
    assert answer.notes == (
        "told by n2, of which no log is here",
        "n2 has 5 more lines about it than it has told",
        "no log here of n3, which is dead",
        "no log here of n4, in the fleet no more",
    )


def test_without_a_log_here_the_agents_tell_all(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", STORY)
    answers = [(node(name), LinesTold(1, lines_of(whole, name), 0)) for name in ("n1", "n2")]
    answer = joined(asked(*answers, (node("n3"), None), (node("n4"), LinesTold(1, (), 0))), tmp_path / "nothing")
    assert answer.state == "done"
    assert answer.run == "the agents of tcp://n1:1"
    assert answer.notes == (
        "told by n1, n2, of which no log is here",
        "no log here of n3, which does not answer at tcp://n3:1",
    )


def test_where_its_caller_does_not_answer_the_agent_says_where_it_stands(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", STORY[3:4])
    answer = joined(asked((node("n2"), LinesTold(1, lines_of(whole, "n2"), 0))), tmp_path / "nothing")
    assert (answer.state, answer.node) == ("running", "n2")
    start = STORY[3].replace("task.start", "task.accept").replace('"kind":"sleep"', '"peer":"n1","waiting":false')
    whole = write_run(tmp_path / "accepted", [start])
    answer = joined(asked((node("n2"), LinesTold(1, lines_of(whole, "n2"), 0))), tmp_path / "nothing")
    assert (answer.state, answer.node, answer.error) == ("running", "n2", "runs on n2")


def test_where_nobody_has_a_line_the_agents_word_is_a_card_too(tmp_path: Path) -> None:
    card = render(joined(asked((node("n1"), LinesTold(1, (), 0)), (node("n2"), None)), tmp_path), color=False)
    said = "Task A1\n  running on n2: runs on n2\n\nNotes\n  the agent at tcp://n1:1 says so, in attempt 2;"
    assert card.startswith(said)
    assert "History" not in card


async def test_on_a_live_fleet_any_machine_tells_the_whole_story(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("one", "two", "client")]
    for home in homes:
        home.mkdir()
    one, two, client = homes

    def why(home: Path, task: str, env: dict[str, str] | None = None, flags: Sequence[str] = ()) -> dict[str, object]:
        told = parley("why", task, "--json", *flags, cwd=home, env=at_home(home, env))
        assert told.returncode == 0, told.stderr
        return dict(json.loads(told.stdout))

    with agent("--name=n1", home=one) as n1, agent("--name=n2", "--speed=4", f"--join={n1.address}", home=two) as n2:
        async with await Connection.connect([n1.address]) as connection:
            await connection.ready(2, 20.0)
            handle = connection.hand_in(sleep(0.1, label="mine"))
            assert (await handle.outcome).node == "n2"
        stories = [
            why(one, "last"),
            why(two, handle.task[:6]),
            why(client, "mine", {"PARLEY_AGENT": n2.address}),
            why(client, "mine", flags=[f"--agent={n2.address}"]),
        ]
        for story in stories:
            events = [step["event"] for step in story["history"]]  # type: ignore[attr-defined]
            assert {"task.submit", "auction.award", "task.start", "task.end", "task.commit"} <= set(events)
            assert (story["task"], story["state"], story["node"]) == (handle.task, "done", "n2")
        assert [story["history"] for story in stories] == [stories[0]["history"]] * 4
        nobody = parley("why", "mine", "--agent=tcp://127.0.0.1:9", cwd=client, env=at_home(client))
        assert (nobody.returncode, nobody.stdout) == (4, "")
        n2.end(signal.SIGKILL)
        story = why(one, handle.task)
        assert (story["state"], len(story["awards"])) == ("done", 1)  # type: ignore[arg-type]
        assert any(note.startswith("no log here of n2, which ") for note in story["notes"])  # type: ignore[attr-defined]
