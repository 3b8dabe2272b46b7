"""Flags that several commands share, each written once; and what a flag's text may be, besides `units.py`.

@click.command()
@options.agents
@options.as_json
def nodes(agents: tuple[str, ...], as_json: bool) -> None: ...

What is checked here is checked wherever the value comes from: a flag, the environment or a file (`config.py`). It is
the form only; whether a host or a module is there shows when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import click
from click.shell_completion import CompletionItem

from .problems import did_you_mean

if TYPE_CHECKING:
    ParamType: TypeAlias = click.ParamType[Any]
else:
    ParamType = click.ParamType  # older clicks know no type argument

C = TypeVar("C", bound=Callable[..., Any])
COMMAND = "command"
"""The word in --allow that lets a node run any command."""
_NAMES = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


class _Form(ParamType):
    """A text of a certain form."""

    form: ClassVar[re.Pattern[str]]
    complaint: ClassVar[str]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not self.form.fullmatch(text):
            self.fail(f"{text!r} {self.complaint}", param, ctx)
        return text


class NodeName(_Form):
    """What a node is called."""

    name = "name"
    form = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
    complaint = "is no name for a node: use letters, digits, . _ and -, 64 at most"


class TaskName(_Form):
    """What names a task in a question; an agent does not understand any other (`protocols/requests.py`, Handle)."""

    name = "id"
    form = re.compile(r"[!-~]{1,64}")
    complaint = "names no task: say its id, the beginning of one, the name that you gave it, or last"


class Address(_Form):
    """Where an agent listens. Hosts are looked up when it is used."""

    name = "address"
    form = re.compile(r"tcp://\S+|ipc://\S+")
    complaint = "is no address: write tcp://host:port or ipc://path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from . import discovery

        living = discovery.living()
        return [
            CompletionItem(entry.address, help=entry.node) for entry in living if entry.address.startswith(incomplete)
        ]


class Module(_Form):
    """A module of the owner's own, or something in it."""

    name = "pkg.mod[:name]"
    form = re.compile(rf"{_NAMES}(?::{_NAMES})?")
    complaint = "names no module of Python: write pkg.mod or pkg.mod:name"


class Member(_Form):
    """Something in a module of the owner's own."""

    name = "pkg.mod:name"
    form = re.compile(rf"{_NAMES}:{_NAMES}")
    complaint = "names nothing in a module of Python: write pkg.mod:Name"


class Allowed(_Form):
    """What a node runs: a function, all of a module's, all of all modules', or any command."""

    name = "pkg.mod:func"
    form = re.compile(rf"{COMMAND}|\*:\*|{_NAMES}:(?:\*|{_NAMES})")
    complaint = f"cannot be allowed: write pkg.mod:func, pkg.mod:* or the word {COMMAND}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if ":" not in text and text != COMMAND and (meant := did_you_mean(text, [COMMAND])):
            self.fail(f"{text!r} cannot be allowed{meant}", param, ctx)
        return super().convert(text, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(COMMAND)] if COMMAND.startswith(incomplete) else []


def _use_keys(ctx: click.Context, param: click.Parameter, folder: Path | None) -> None:
    """The one folder holds for all that this process says; what is only looked at (`config.py`) holds for nothing."""
    if not ctx.resilient_parsing:
        from . import keys

        keys.use(folder)


keys = click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PARLEY_KEYS",
    metavar="DIR",
    expose_value=False,
    callback=_use_keys,
    help="The folder of this machine's key and of those it lets in (`parley keys`).",
)
_agents = click.option(
    "--agent",
    "agents",
    multiple=True,
    type=Address(),
    envvar="PARLEY_AGENT",
    metavar="ADDRESS",
    help="The agent to talk to; may be repeated, one that is dead is passed over.  [default: the newest one here]",
)


def agents(command: C) -> C:
    """Which agent a command talks to, and with which keys."""
    return _agents(keys(command))


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")

run_folder = click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[RUN]")
"""Where the logs lie; without it the newest of this machine (`places.newest_logs`)."""


def run(help: str) -> Callable[[C], C]:
    """The same for commands that take other arguments."""
    return click.option("--run", "folder", type=click.Path(path_type=Path), metavar="FOLDER", help=help)


def output(default: str) -> Callable[[C], C]:
    """A file to write to; `default` is said of where it goes without."""
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option("-o", "--output", type=kind, metavar="FILE", help=f"Where to.  [default: {default}]")
