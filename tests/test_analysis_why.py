"""Why a task ran where it ran: transcripts (the story above the line, the card below), and what they do not show.

To write the cards anew after a change that is meant: delete what stands below the line, and run this test once.
"""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from test_analysis_run import award, submit, write_run

from parley.launch.analysis import command, words
from parley.launch.analysis.card import render
from parley.launch.analysis.run import open_run
from parley.launch.analysis.why import Why, why
from parley.protocols.award_rules import RULES
from parley.protocols.batch_words import PROTOCOL
from parley.protocols.core import State
from parley.protocols.gangs import GANG
from parley.protocols.performatives import Reason

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("why_*.txt"))
LINE = "-" * 80 + "\n"


def explain(folder: Path, story: str, task: str = "last") -> Why:
    return why(open_run(write_run(folder / "run", story.splitlines())), task)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_card_is_as_in_the_transcript(path: Path, tmp_path: Path) -> None:
    story, _, expected = path.read_text("utf-8").partition(LINE)
    card = render(explain(tmp_path, story), color=False, width=80) + "\n"
    if not expected:
        path.write_text(story + LINE + card, "utf-8")
    assert card == expected
    assert all(len(line) <= 80 and line == line.rstrip() for line in card.splitlines())


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_colour_only_adds_colour_and_every_width_is_kept(path: Path, width: int, tmp_path: Path) -> None:
    answer = explain(tmp_path, path.read_text("utf-8").partition(LINE)[0])
    plain, colored = render(answer, False, width), render(answer, True, width)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain
    assert all(len(line) <= max(width, 40) for line in plain.splitlines())


def test_the_json_is_what_scripts_rely_on(tmp_path: Path) -> None:
    path = next(path for path in TRANSCRIPTS if path.stem == "why_killed")
    answer = msgspec.json.decode(msgspec.json.encode(explain(tmp_path, path.read_text("utf-8").partition(LINE)[0])))
    assert answer["task"] == "9RM3C7EXW1A0"
    assert (answer["state"], answer["node"]) == ("done", "n1")
    first, second = answer["awards"]
    assert {"epoch", "winner", "cost", "runner_up", "margin", "rule", "bids", "declines", "silent"} <= first.keys()
    assert [(bid["node"], bid["cost"]) for bid in first["bids"]] == [("n2", 1.0005), ("n1", 2.0)]
    assert first["bids"][0]["terms"] == {"queue": 0.0, "run": 1.0, "transfer": 0.0005}
    assert first["declines"] == [{"node": "n3", "reason": "kind", "detail": "do not offer the kind sleep"}]
    assert (first["silent"], first["runner_up"], first["margin"]) == (["n4"], "n1", 0.9995)
    assert (second["epoch"], second["winner"], second["runner_up"]) == (2, "n1", None)
    assert [step["event"] for step in answer["history"]][-1] == "task.commit"
    assert [step["at_s"] for step in answer["history"]] == sorted(step["at_s"] for step in answer["history"])


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], State.OPEN),
        ([award(1, "A1")], State.AWARDED),
        ([award(1, "A1"), '2 n2 task.start {"task":"A1","kind":"sleep","epoch":1}'], State.RUNNING),
        ([award(1, "A1"), '2 n1 task.lost {"task":"A1","epoch":1,"peer":"n2","reason":"busy"}'], State.OPEN),
        ([award(1, "A1", "n2", 2), '2 n1 task.lost {"task":"A1","epoch":1,"peer":"n2","reason":"died"}'], "awarded"),
        (
            ['1 n1 task.commit {"task":"A1","epoch":1,"state":"failed","peer":"n2","attempts":1,"detail":"no"}',
             '2 n2 task.start {"task":"A1","kind":"sleep","epoch":0}'],
            State.FAILED,
        ),
        (['1 n1 task.commit {"task":"A1","epoch":1,"state":"cancelled","peer":"n2","attempts":1,"detail":"enough"}'],
         "cancelled after 1.00 s: enough"),
        (['1 n1 task.commit {"task":"A1","epoch":1,"state":"unknown","peer":"n2","attempts":1,"detail":"n2 is gone"}'],
         "unknown after 1.00 s: n2 is gone"),
    ],
)  # fmt: skip
def test_where_a_task_stands(lines: list[str], state: str, tmp_path: Path) -> None:
    answer = explain(tmp_path, "\n".join([submit(0, "A1"), *lines]), "A1")
    assert answer.state == state.split()[0]
    assert f"  {state}" in render(answer, color=False)


def test_a_task_of_which_only_a_bidder_knows_is_in_an_unknown_state(tmp_path: Path) -> None:
    answer = explain(tmp_path, '0 n2 task.end {"task":"A1","epoch":1,"seconds":1,"reason":null,"detail":""}', "A1")
    assert answer.state == "unknown"
    assert "unknown: the log of the node that called for it is not here" in render(answer, color=False)


@pytest.mark.parametrize(
    ("reason", "line", "said"),
    [
        ("vanished", "", "whether it started there, no line here tells"),
        ("lease", "", "whether it started there, no line here tells"),
        ("vanished", '1 n2 task.accept {"task":"A1","epoch":1,"peer":"n1","waiting":true}', "; not started there"),
        ("busy", "", "; not started there"),
        ("vanished", '1 n2 task.start {"task":"A1","kind":"sleep","epoch":1}', "; started there 1.00 s before"),
    ],
)
def test_a_node_of_which_no_line_is_here_is_not_said_to_have_done_nothing(
    reason: str, line: str, said: str, tmp_path: Path
) -> None:
    lost = f'2 n1 task.lost {{"task":"A1","epoch":1,"peer":"n2","reason":"{reason}"}}'
    story = "\n".join(filter(None, [submit(0, "A1"), award(0, "A1"), line, lost]))
    assert said in " ".join(render(explain(tmp_path, story, "A1"), color=False).split())


def test_a_task_that_nobody_bids_for_shows_who_declined(tmp_path: Path) -> None:
    decline = '{"node":"n%d","reason":"kind","detail":"do not offer the kind sleep"}'
    declines = ",".join(decline % i for i in range(1, 4))
    failed = '1 n1 auction.fail {"auction":"a","task":"A1","declines":[%s],"silent":["n9"]}' % declines  # noqa: UP031
    error = "0/3 nodes can run this: 3 do not offer the kind sleep"
    end = f'2 n1 task.commit {{"task":"A1","epoch":0,"state":"unplaced","peer":null,"attempts":0,"detail":"{error}"}}'
    card = render(explain(tmp_path, "\n".join([submit(0, "A1"), failed, end]), "A1"), color=False)
    assert f"unplaced after 2.00 s: {error}" in card
    assert "declined  n1, n2, n3  kind: do not offer the kind sleep" in card
    assert "silent  n9" in card


def test_a_large_fleet_still_fits_on_one_screen(tmp_path: Path) -> None:
    names = [f"node-{i:03}" for i in range(300)]
    bids = [{"node": n, "cost": 1 + i, "terms": {"run": 1 + i}, "free": 1, "speed": 1} for i, n in enumerate(names)]
    lines = [submit(0, "A1")]
    for epoch in range(1, 41):
        fields = msgspec.json.decode(award(0, "A1").split(maxsplit=3)[3])
        fields |= {"epoch": epoch, "bids": bids, "winner": names[-1], "silent": names, "cost": 300}
        fields |= {"runner_up": names[0], "margin": -299.0, "rule": "random"}
        lines.append(f"{epoch} n1 auction.award {msgspec.json.encode(fields).decode()}")
        lines.append(f'{epoch} n1 task.lost {{"task":"A1","epoch":{epoch},"peer":"{names[-1]}","reason":"died"}}')
    card = render(explain(tmp_path, "\n".join(lines), "A1"), color=False)
    assert len(card.splitlines()) < 110
    assert "Awards 1 to 37 came to nothing" in card
    assert "and 289 more bids" in card
    assert "▶ node-299" in card
    assert "node-299 wins, though node-000 would have cost 299 s less" in card


def test_many_terms_keep_their_bars(tmp_path: Path) -> None:
    terms = {f"term{i}": 1.0 for i in range(12)}
    fields = msgspec.json.decode(award(0, "A1").split(maxsplit=3)[3])
    fields["bids"][0] |= {"terms": terms, "cost": 12.0}
    card = render(explain(tmp_path, f"0 n1 auction.award {msgspec.json.encode(fields).decode()}", "A1"), color=False)
    assert "▒ term0  ▓ term1" in card
    assert "▒▒▒▒" in card


def test_nothing_in_a_log_can_command_the_terminal(tmp_path: Path) -> None:
    evil = "boom\\u001b[2J\\u0007\\r\\nTraceback"
    end = f'1 n2 task.end {{"task":"A1","epoch":1,"seconds":1,"reason":"error","detail":"{evil}"}}'
    card = render(explain(tmp_path, "\n".join([submit(0, "A1"), end]), "A1"), color=False)
    assert all(sign.isprintable() for line in card.splitlines() for sign in line)
    assert "the task itself failed: boom [2J" in card


def test_clocks_that_differ_do_not_make_time_run_backwards(tmp_path: Path) -> None:
    line = (
        b'{"ts":"2025-01-01T00:00:0%d.0Z","mono":1,"hlc":%d,"level":"info","v":1,"run":"r","seq":1,"node":"n%d",'
        b'"event":"task.start","task":"A1","kind":"k","epoch":1}\n'
    )
    for number, second in enumerate((5, 2, 6), 1):
        (tmp_path / f"n{number}.jsonl").write_bytes(line % (second, number, number))
    history = why(open_run(tmp_path), "A1").history
    assert [(step.node, step.at_s) for step in history] == [("n1", 0.0), ("n2", 0.0), ("n3", 1.0)]


def test_every_reason_and_rule_has_words() -> None:
    assert words.REASONS.keys() == set(Reason)
    assert words.RULES.keys() == {*RULES, PROTOCOL, GANG}
    assert words.rule_words("of a newer parley") == "of a newer parley"


def test_the_command_prints_the_card_or_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, [submit(0, "A1"), award(1, "A1")])
    command.why(tmp_path, "last", (), False)
    assert capsys.readouterr().out.startswith("Task A1  sleep\n")
    command.why(tmp_path, "A", (), True)
    assert msgspec.json.decode(capsys.readouterr().out, type=Why).task == "A1"


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, parley.launch.analysis.command, parley.launch.analysis.summary; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "zmq", "structlog", "rich", "asyncio", "msgpack", "psutil"}.isdisjoint(done.stdout.split())


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    answer = explain(tmp_path, '3 n2 task.start {"task":"A1","kind":"sleep","epoch":2}', "A1")
    assert "award 2 of it is not in these logs" in answer.notes
    assert "how it was handed in is not in these logs" in answer.notes
