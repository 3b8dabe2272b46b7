"""`parley run`: any command, where it ends first."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from .. import options, running, task_options
from ..problems import Exit, Problem


def _environment(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """K=V, or K alone for what it is here."""
    env: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not name or "\0" in text:
            raise click.BadParameter(f"{text!r} sets no variable: write NAME=VALUE, or NAME for what it is here")
        if not sign and name not in os.environ:
            raise click.BadParameter(f"{name} is not set here: write {name}=VALUE")
        env[name] = value if sign else os.environ[name]
    return env


def _files(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, Path]:
    """PATH, or PATH=NAME for another name there: the files by what they are called there."""
    from ...agents.executors.work_folder import is_file_name

    files: dict[str, Path] = {}
    for text in given:
        path, sign, name = text.rpartition("=")
        if not sign or Path(text).is_file():
            path, name = text, Path(text).name
        if not Path(path).is_file():
            raise click.BadParameter(f"{path} is no file that can be handed on")
        if not is_file_name(name):
            raise click.BadParameter(f"{name!r} is no name in the command's folder: write {path}=NAME, as data/x.csv")
        if name in files:
            raise click.BadParameter(f"two files would be called {name}: write {path}=NAME")
        files[name] = Path(path)
    return files


def _kept(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    from ...agents.executors.work_folder import is_file_name

    for name in given:
        if not is_file_name(name):
            raise click.BadParameter(f"{name!r} is no name in the command's folder: write it as out/model.bin")
    return given


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
@click.option("--cwd", metavar="DIR", help="The folder to run it in, on its node.")
@click.option("--env", multiple=True, metavar="K=V", callback=_environment, help="Also K alone: what it is here.")
@click.option(
    "--file", "files", multiple=True, metavar="PATH[=NAME]", callback=_files,
    help="Put this file into the command's own folder; repeatable.",
)  # fmt: skip
@click.option(
    "--keep",
    multiple=True,
    metavar="NAME",
    callback=_kept,
    help="Bring this file back from there, to the same name here, if it ends well; repeatable.",
)
@click.option("--stdin", "feeds", is_flag=True, help="Hand our own stdin, a file or a pipe, to the command.")
@task_options.flags(timeout_s=task_options.FOR_EVER_S, many=False)
@options.agents
@options.as_json
def run(
    command: tuple[str, ...],
    cwd: str | None,
    env: dict[str, str],
    files: dict[str, Path],
    keep: tuple[str, ...],
    feeds: bool,
    agents: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Run any command where it ends first, as if it ran here.

    What it writes is shown as it comes, its exit code is ours, and Ctrl-C stops it wherever it runs. It runs on nodes
    whose owners allow it (`parley up --allow command`), and never through a shell: say `sh -c '…'` for one. With --json
    what it writes goes to stderr, and its result to stdout.
    """
    from ...agents.payload import File
    from ...protocols.requests import Follow
    from .. import plain
    from ..remote import OwnError, bring_back, run_command, run_line

    terms = task_options.Terms(**flags)
    arguments: dict[str, object] = {"argv": list(command)}
    if cwd is not None:
        arguments["cwd"] = cwd
    if env:
        arguments["env"] = env
    if (files or keep) and cwd is not None:
        raise Problem("a command with --file or --keep runs in a folder of its own, so leave --cwd away", Exit.USAGE)
    if files:
        arguments["files"] = {name: File(path) for name, path in files.items()}
    if keep:
        arguments["keep"] = list(keep)
    if feeds:
        arguments["stdin"] = _own_stdin()
    try:
        ended = running.run(run_command(agents, terms.submission("command", arguments, Follow.OUTPUT), quiet=as_json))
        bring_back(ended)
    except (Problem, KeyboardInterrupt) as error:
        if as_json:
            code = error.code if isinstance(error, Problem) else Exit.INTERRUPTED
            click.echo(plain.line(OwnError(str(error) or "interrupted", code)))
        raise
    if as_json:
        click.echo(plain.line(run_line(ended)))
    if ended.sentence is not None:
        click.echo(f"parley: {ended.sentence}", err=True)
    sys.exit(ended.exit)


def _own_stdin() -> bytes:
    """All of it. Raises Problem."""
    from ...protocols.core import PAYLOAD_BYTES_MAX

    if sys.stdin.isatty():
        raise Problem(
            "--stdin hands on a file or a pipe, and stdin is a terminal: write < FILE, or | before", Exit.USAGE
        )
    data = sys.stdin.buffer.read(PAYLOAD_BYTES_MAX + 1)
    if len(data) > PAYLOAD_BYTES_MAX:
        most = f"{PAYLOAD_BYTES_MAX:,} bytes are the most"
        raise Problem(f"stdin is too long to be handed on: {most}, so put it where the nodes can read it", Exit.USAGE)
    return data
