"""What documentation is made from the program is as the program says; nothing that a person may meet is left out."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from parley.agents.events import VOCABULARY
from parley.launch import config, reference
from parley.launch.cli import COMMANDS, parley

DOCS = Path(__file__).resolve().parent.parent / "docs"


def text(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


CLICK = "8.5"
"""By which the pages were made; another one may lay help out otherwise."""


@pytest.mark.parametrize("page", ["commands.md", "settings.md", "log.md", "protocols.md"])
def test_a_made_page_is_what_the_program_says(page: str) -> None:
    installed = version("click")
    if page == "commands.md" and not installed.startswith(f"{CLICK}."):
        pytest.skip(f"help looks as click {CLICK} lays it out, and this is click {installed}")
    assert text(page) == reference.pages()[page], "make docs"


def test_every_command_is_documented() -> None:
    assert set(re.findall(r"^## parley (\w+)$", text("commands.md"), re.MULTILINE)) == set(COMMANDS)
    for name in COMMANDS:
        command = parley.get_command(click.Context(parley), name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert max(option.opts, key=len) in text("commands.md")


def test_every_setting_is_documented() -> None:
    page = text("settings.md")
    for key, option in config.flags().items():
        assert f"`{key}`" in page
        assert f"`{option.envvar}`" in page
        assert re.fullmatch(r"PARLEY_[A-Z_]+", str(option.envvar))
    for name in config.NO_SETTINGS:
        assert f"`{name}`" in page


def test_every_event_is_documented() -> None:
    assert set(re.findall(r"^### ([a-z]+\.[a-z]+)", text("log.md"), re.MULTILINE)) == {one.name for one in VOCABULARY}


def test_every_page_is_in_the_list_of_pages() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", text("README.md")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


LINES = [
    pytest.param(line, id=f"{page.name}: {line[:60]}")
    for page in sorted(DOCS.glob("*.md"))
    if page.name not in ("commands.md", "settings.md", "house.md")
    for line in re.findall(
        r"^(?:    |\$ )?(?:\w+\$ |\$ )?(parley [a-z]\S*(?: .*)?)$", page.read_text("utf-8"), re.MULTILINE
    )
]


@pytest.mark.parametrize("line", LINES)
def test_a_command_in_the_documentation_has_the_flags_it_is_given(line: str) -> None:
    try:
        words = shlex.split(line.split(" | ")[0].split(" > ")[0], comments=True)[1:]
    except ValueError:  # what was cut stood within quotes: its flags stand before them
        words = line.split("'")[0].split()[1:]
    command = parley.get_command(click.Context(parley), words[0])
    assert command is not None, line
    rest = words[1:]
    if isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    parent = click.Context(parley, info_name="parley", **parley.context_settings)
    context = click.Context(command, parent, words[0], resilient_parsing=True)
    command.parse_args(context, rest)  # an unknown flag raises


def test_there_are_commands_in_the_documentation() -> None:
    assert len(LINES) > 60
