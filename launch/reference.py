"""The pages of the documentation that are made from the program: every command, every setting, every event of the log.

    commands.md   what `parley NAME --help` prints       settings.md   what may stand in a file or in the environment
    log.md        the types of agents/ and protocols/    protocols.md  its diagrams, from the tables of `diagrams.py`

So they cannot be wrong for long: a test fails where a page is not what this module writes, and `make docs` writes them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import inspect

from ..agents.events import VOCABULARY, Header
from . import config
from .cli import COMMANDS, parley
from .diagrams import DIAGRAMS, mermaid

WIDTH = 100
SETTINGS: dict[str, Any] = {"help_option_names": parley.context_settings["help_option_names"]}
DOCS = Path(__file__).resolve().parent.parent / "docs"
VARIABLES = {
    "PARLEY_HTTP_KEY": "The key for a model server (`parley up --http`). A secret: it stands in no file.",
    "PARLEY_TASK": "In the environment of a command, or function, that a node runs: the task's id.",
    "PARLEY_EPOCH": "The same: the number of the attempt.",
    "PARLEY_GANG": "In the environment of a member of a gang: the id of the whole; PARLEY_TASK is the member's own.",
    "PARLEY_RANK": "The same: which member it is, from 0.",
    "PARLEY_SIZE": "The same: how many there are.",
    "PARLEY_LOCAL_RANK": "The same: which it is of those on its node, from 0.",
    "PARLEY_PEERS": "The same: the host of each member, by rank, with commas between; rank 0's is the first.",
    "PARLEY_NODES": "The same: the node of each member, by rank.",
    "NO_COLOR": "Set to anything: no colours.",
}


def pages() -> dict[str, str]:
    """All pages that are made, by the names of their files."""
    return {
        "commands.md": "".join(commands()),
        "settings.md": "".join(settings()),
        "log.md": "".join(log()),
        "protocols.md": drawn((DOCS / "protocols.md").read_text("utf-8")),
    }


# --- commands --------------------------------------------------------------------------------------------------------

COMMANDS_HEAD = """\
# Every command

As `parley COMMAND --help` prints it. Made by `make docs`; see `launch/reference.py`.

| command | does |
|---|---|
"""
COMMANDS_TAIL = """
Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 unplaced, 4 no agent reachable,
5 log invalid, 124 timeout, 129, 130 and 143 signals; `run` ends with the command's own.
"""


def commands() -> Iterator[str]:
    yield COMMANDS_HEAD
    for name, told in COMMANDS.items():
        yield f"| [`parley {name}`](#parley-{name}) | {told} |\n"
    yield COMMANDS_TAIL
    group = click.Context(parley, info_name="parley", terminal_width=WIDTH, max_content_width=WIDTH, **SETTINGS)
    for name in COMMANDS:
        command = parley.get_command(group, name)
        assert command is not None
        yield from _command(group, name, command)


def _command(parent: click.Context, name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, parent, name)
    yield f"\n## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for other, one in command.commands.items():
            yield from _command(context, other, one)


# --- settings --------------------------------------------------------------------------------------------------------


SETTINGS_HEAD = """\
# Settings

A setting is a flag that need not be typed. Made by `make docs`; see `launch/reference.py`.

    flag  >  PARLEY_* environment  >  ./parley.toml  >  ~/.config/parley/config.toml  >  the flag's own default

`parley config show --origin` tells which hold here and where each comes from; `parley config check` finds what is wrong
with a file. An unknown key is an error.

```toml
agent = ["tcp://192.168.1.10:4100"]

[up]
slots = 2
have = ["vram=8GiB"]
```

| in a file | variable | what |
|---|---|---|
"""


def settings() -> Iterator[str]:
    yield SETTINGS_HEAD
    for key, option in config.flags().items():
        yield f"| `{key}` | `{option.envvar}` | {_cell(option.help or '')} |\n"
    yield "\n## Other variables\n\n| variable | what |\n|---|---|\n"
    for name, told in VARIABLES.items():
        yield f"| `{name}` | {told} |\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


# --- the log ---------------------------------------------------------------------------------------------------------


LOG_HEAD = """\
# The log

One JSON object per line and event, one file per node. Made by `make docs` from the types that write it;
[log.schema.json](log.schema.json) is the same as JSON Schema. How to ask it: [Asking the logs](asking.md).

## Every line

"""


def log() -> Iterator[str]:
    yield LOG_HEAD + _doc(Header) + "\n" + _fields(Header)
    structs: dict[str, type[msgspec.Struct]] = {}
    group = ""
    for event in sorted(VOCABULARY, key=lambda one: one.name):
        head = event.name.partition(".")[0]
        if head != group:
            group = head
            yield f"\n## {group}\n"
        level = "" if event.level == "info" else f" *({event.level})*"
        yield f"\n### {event.name}{level}\n\n{_doc(event)}\n{_fields(event)}"
        for field in msgspec.structs.fields(event):
            structs |= {one.__name__: one for one in _inside(inspect.type_info(field.type))}
    yield "\n## Parts of events\n"
    for name, struct in sorted(structs.items()):
        yield f"\n### {name}\n\n{_doc(struct)}\n{_fields(struct)}"


def _doc(kind: type[msgspec.Struct]) -> str:
    text = getdoc(kind) or ""
    inherited = any(text == getdoc(base) for base in kind.__mro__[1:-1] if base.__doc__)
    return "" if inherited or not text else text + "\n"


def _fields(kind: type[msgspec.Struct]) -> str:
    rows = [
        f"| `{field.encode_name}` | {_words(inspect.type_info(field.type))} |\n"
        for field in msgspec.structs.fields(kind)
    ]
    return "\n| field | |\n|---|---|\n".lstrip("\n") + "".join(rows) if rows else ""


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.UnionType(types=types):
            named = [one for one in types if not isinstance(one, inspect.NoneType)]
            null = len(named) < len(types)
            return " or ".join(map(_words, named)) + (", or null" if null else "")
        case inspect.EnumType(cls=enum):
            return "one of " + ", ".join(f"`{member.value}`" for member in enum)
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(f"`{value}`" for value in values)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return f"list of {_words(item)}"
        case inspect.TupleType(item_types=items):
            return f"list of {', '.join(map(_words, items))}"
        case inspect.DictType(key_type=key, value_type=value):
            return f"object: {_words(key)} to {_words(value)}"
        case inspect.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
    plain = {
        "IntType": "integer", "FloatType": "number", "StrType": "text", "BoolType": "true or false",
        "DateTimeType": "time, UTC",
    }  # fmt: skip
    return plain[type(kind).__name__]


def _inside(kind: inspect.Type) -> Iterator[type[msgspec.Struct]]:
    match kind:
        case inspect.StructType(cls=cls):
            yield cls
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            for one in types:
                yield from _inside(one)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            yield from _inside(item)


# --- diagrams --------------------------------------------------------------------------------------------------------


def drawn(page: str) -> str:
    """The page with its diagrams as the tables are now: each stands behind a comment that names its table."""

    def draw(found: re.Match[str]) -> str:
        return f"<!-- drawn from: {found[1]} -->\n```mermaid\n{mermaid(DIAGRAMS[found[1]])}```\n"

    return re.sub(r"<!-- drawn from: (\w+) -->\n(?:```mermaid\n.*?```\n)?", draw, page, flags=re.DOTALL)


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, "utf-8")
        sys.stdout.write(f"docs/{name}\n")
