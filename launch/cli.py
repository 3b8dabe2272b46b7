"""`parley`: the group of all commands, and what becomes of an error.

Data goes to stdout; progress, hints and what went wrong to stderr, and progress only to a terminal. Whatever a person
did wrong is one sentence and an exit code (`problems.py`).

The group knows the commands by name and by their one sentence; a command's module is imported when it is called, or
when its own help is asked for. So `parley why` and `parley --help` start at once. What files say (`config.py`) becomes
the defaults of the command that is called, below the flags that are typed and the environment.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from . import commands
from .problems import Exit, Problem, did_you_mean, in_our_words

COMMANDS = {
    "demo": "Local agents of unequal speed learn to read handwritten digits.",
    "up": "Run this node's agent, in the foreground.",
    "run": "Run any command where it ends first.",
    "submit": "Hand tasks in.",
    "wait": "Wait until tasks have ended.",
    "result": "What became of a task.",
    "cancel": "Give tasks up.",
    "nodes": "The fleet as one agent sees it.",
    "tasks": "The tasks of an agent, and why each stands where it stands.",
    "watch": "The fleet, live: nodes and their load, what waits and why, the last awards.",
    "why": "Who bid what for a task, who declined, who won, and by how much.",
    "report": "A run as one HTML file, opened from disk.",
    "verify": "Recompute every award from the logs.",
    "logs": "The logs of all nodes as one, causes before effects.",
    "trace": "A run as a Chrome trace: a track per slot, an arrow from each award to its start.",
    "plan": "Who would get a task: a dry auction.",
    "simulate": "Agents on virtual time, everything going wrong, and what must hold all the same.",
    "bench": "Protocols side by side on public instances.",
    "drain": "Let a node end what it runs, and leave.",
    "config": "The settings, and where each comes from.",
    "keys": "Who gets in: this machine's key, and whose it lets in.",
    "doctor": "What is wrong here.",
    "completion": "A script that completes `parley` in your shell.",
}
UNCONFIGURED = frozenset({"config", "doctor", "completion"})
"""These work beside a file that is wrong: two of them tell what is wrong with it."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Why what a command tells cannot be written where its owner wants it."""


class Commands(click.Group):
    """All commands, by name; each is imported when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"{commands.__name__}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing and not ctx.params["no_config"]:
            self._configure(ctx, command, rest)
        return name, command, rest

    def _configure(self, ctx: click.Context, command: click.Command, args: list[str]) -> None:
        """The files' settings become defaults of this command. Its help is told whatever is wrong with them."""
        from . import config

        if command.name in UNCONFIGURED:
            return
        try:
            ctx.default_map = {str(command.name): config.defaults_of(command)}
        except Problem:
            if not {"-h", "--help"}.intersection(args):
                raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=told) for name, told in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="parley")
@click.option("--no-config", is_flag=True, help="Read no file with settings.")
def parley(no_config: bool) -> None:
    """Agents on unequal nodes share out work by bargaining."""


def main() -> None:
    """The entry point: every error becomes one sentence on stderr and an exit code."""
    try:
        parley.main(standalone_mode=False, prog_name="parley")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(Exit.USAGE)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "parley"
        _complain(f"{_sentence(error)}; `{command} --help` tells what there is", error.exit_code)
    except Problem as problem:
        _complain(str(problem), problem.code)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        _mute()  # whoever read us has gone, e.g. `| head`
        sys.exit(Exit.FAILURE)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _mute()
        where = f"{error.filename} cannot be written" if error.filename else "what is to be told cannot be written"
        _complain(f"{where}: {(error.strerror or '').lower()}", Exit.FAILURE)


def _mute() -> None:
    """What lies in the buffer of stdout goes nowhere, instead of failing once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _sentence(error: click.UsageError) -> str:
    """What click says; of a value that stands in the environment, where it stands."""
    if isinstance(error, click.BadParameter) and error.ctx is not None and error.param is not None:
        source = error.ctx.get_parameter_source(str(error.param.name))
        if source is ParameterSource.ENVIRONMENT:
            return f"{error.param.envvar}: {in_our_words(error.message)}"
    return in_our_words(error.format_message())


def _complain(sentence: str, code: int) -> None:
    click.echo(f"parley: {sentence.rstrip('.')}", err=True)
    sys.exit(code)
