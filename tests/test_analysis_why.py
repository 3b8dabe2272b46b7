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
from parley.protocols.core import State
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
