"""The blocks of Python in the documentation run, each as a program of its own, and print what they say they print.

    print(1 + 1)  # prints: 2

A page is here because it is in PAGES; those whose block is a server, or has a test of its own elsewhere, are not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("python.md", "bidder.md", "executor.md")
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


def test_every_page_with_python_is_run_somewhere() -> None:
    with_python = {page.name for page in DOCS.glob("*.md") if blocks(page.name)}
    assert with_python <= {*PAGES, *ELSEWHERE}


def test_links_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name}: {link}"
