"""The blocks of Python in the documentation run, each as a program of its own, and print what they say they print.

    print(1 + 1)  # prints: 2

A page is here because it is in PAGES; those whose block is a server, or has a test of its own elsewhere, are not.
So do the console blocks of the pages in CONSOLES, one after the other in one empty home:

    $ parley keys show --keys desk       ends with 0, and says at least what stands below it (spaces do not count)
    $ parley up --name n1  # runs        goes on until the page ends
    $ parley nodes  # exits: 4
    desk:KEY, ADDRESS                    whatever was said where the page first says so

And the shell blocks of asking.md run one after the other, line by line, on a run that lies in runs/last.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from local_fleets import PARLEY, at_home
from simulated_runs import simulated_run, tasks_of

from parley.transport.faults import Crash, Faults

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("python.md", "bidder.md", "executor.md")
CONSOLES = ("safety.md", "first.md")
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
        lines = without_lag(said.splitlines())
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


def without_lag(lines: list[str]) -> list[str]:
    """A table of nodes on a machine that is busy tells how late they are: no page can know."""
    if not lines or " LAG " not in lines[0]:
        return lines
    start, end = lines[0].index("QUEUED") + len("QUEUED"), lines[0].index("LAG") + len("LAG")
    return [line[:start] + line[end:] for line in lines]


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


RECIPES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", (DOCS / "asking.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if not line.startswith("#")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/last, and a `parley` that is this one."""
    folder = tmp_path_factory.mktemp("recipes")
    faults = Faults(crashes=(Crash("n4", 1.25, noticed=True),))
    simulated_run(folder / "runs/last", tasks={"n1": tasks_of(40)}, faults=faults)
    (folder / "bin").mkdir()
    shim = folder / "bin/parley"
    shim.write_text(f'#!/bin/sh\nexec {shlex.join(PARLEY)} "$@"\n')
    shim.chmod(0o755)
    return folder


@pytest.mark.parametrize("line", RECIPES, ids=lambda line: line[:70])
def test_a_recipe_answers(line: str, place: Path) -> None:
    if "jq" in line and shutil.which("jq") is None:
        pytest.skip("jq is not on this machine")
    env = {**at_home(place), "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    command = ["bash", "-c", f"set -o pipefail; {line}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=env, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() or "-o trace.json" in line


def test_every_page_with_python_is_run_somewhere() -> None:
    with_python = {page.name for page in DOCS.glob("*.md") if blocks(page.name)}
    assert with_python <= {*PAGES, *ELSEWHERE}


def anchors(page: Path) -> set[str]:
    """What its headings are called in links, as GitHub does it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_links_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")]:
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
            to = page.parent / link if link else page
            assert to.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(to), f"{page.name}: {link}#{anchor}"
