"""The blocks of Python in the documentation run, each as a program of its own, and print what they say they print.

    print(1 + 1)  # prints: 2

A page is here because it is in PAGES; those whose block is a server, or has a test of its own elsewhere, are not.
So do the console blocks of the pages in CONSOLES, one after the other in one empty home:

    $ parley keys show --keys desk       ends with 0, and says at least what stands below it (spaces do not count)
    $ parley up --name n1  # runs        goes on until the page ends
    $ parley nodes  # exits: 4
    desk:KEY, ADDRESS                    whatever was said where the page first says so
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from local_fleets import PARLEY, at_home

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("python.md", "bidder.md", "executor.md")
CONSOLES = ("safety.md",)
ELSEWHERE = {"http.md", "large.md", "house.md"}
LIMIT_S = 60.0


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


CASES = [pytest.param(block, id=f"{page}-{place}") for page in PAGES for place, block in enumerate(blocks(page), 1)]


@pytest.mark.parametrize("block", CASES)
def test_a_block_prints_what_it_says(block: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == re.findall(r"# prints: (.*)", block)


class Console:
    """Commands of a page, and what they say."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.known: dict[str, str] = {}
        self.open = ExitStack()

    def run(self, line: str, expected: list[str]) -> None:
        command, _, remark = line.partition("  # ")
        words = [*PARLEY, *shlex.split(self._filled(command))[1:]]
        if remark == "runs":
            said = self._begin(words)
        else:
            home = self.home
            ended = subprocess.run(
                words, capture_output=True, text=True, env=at_home(home), cwd=home, timeout=LIMIT_S, check=False
            )
            assert ended.returncode == int(remark.removeprefix("exits: ") or 0), f"{line}: {ended.stdout}{ended.stderr}"
            said = ended.stdout + ended.stderr
        lines = said.splitlines()
        assert len(lines) >= len(expected), f"{line}: {said}"
        for wanted, got in zip(expected, lines, strict=False):
            self._compare(line, wanted, got)

    def _begin(self, words: list[str]) -> str:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=at_home(self.home), cwd=self.home)
        self.open.callback(process.communicate)
        self.open.callback(process.terminate)
        assert process.stdout is not None
        return process.stdout.readline()

    def _compare(self, line: str, wanted: str, got: str) -> None:
        """What is not known yet is learnt."""
        pattern = " ".join(map(re.escape, self._filled(wanted).split()))
        pattern = re.sub(r"(\w+):KEY", r"(?P<\1>\1:[a-z2-7]{52})", pattern)
        if "ADDRESS" not in got:
            pattern = pattern.replace("ADDRESS", r"(?P<ADDRESS>tcp://\S+)")
        told = re.fullmatch(pattern, " ".join(got.split()))
        assert told is not None, f"{line} says {got!r}, not {wanted!r}"
        self.known |= {name if name == "ADDRESS" else f"{name}:KEY": word for name, word in told.groupdict().items()}

    def _filled(self, text: str) -> str:
        for name, word in self.known.items():
            if name != "ADDRESS" or not text.startswith("NODE"):
                text = text.replace(name, word)
        return text


def sessions(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each command, and the lines below it."""
    for block in re.findall(r"```console\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *said = part.splitlines()
            yield command, said


@pytest.mark.parametrize("page", CONSOLES)
def test_a_console_says_what_it_says(page: str, tmp_path: Path) -> None:
    console = Console(tmp_path)
    with console.open:
        for command, said in sessions(page):
            console.run(command, said)


def test_every_page_with_python_is_run_somewhere() -> None:
    with_python = {page.name for page in DOCS.glob("*.md") if blocks(page.name)}
    assert with_python <= {*PAGES, *ELSEWHERE}


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"
