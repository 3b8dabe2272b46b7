"""`parley`: the commands, each a few lines over the modules beside this one.

Data goes to stdout; progress, hints and what went wrong to stderr, and progress only to a terminal. Whatever a person
did wrong is one sentence and an exit code (`problems.py`). Heavy modules are imported by the command that uses them:
`parley why` must start at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from ..protocols.award_rules import RULES
from .problems import Exit, Problem

T = TypeVar("T")


def main() -> None:
    """The entry point: every error becomes one sentence on stderr and an exit code."""
    try:
        parley.main(standalone_mode=False, prog_name="parley")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(Exit.USAGE)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "parley"
        _complain(f"{error.format_message().rstrip('.')}; `{command} --help` tells what there is", error.exit_code)
    except Problem as problem:
        _complain(str(problem), problem.code)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read us has gone, e.g. `| head`
        sys.exit(Exit.FAILURE)


def _complain(sentence: str, code: int) -> None:
    click.echo(f"parley: {sentence.rstrip('.')}", err=True)
    sys.exit(code)


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


def _speeds(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Comma-separated positive numbers."""
    try:
        speeds = tuple(float(part) for part in value.split(","))
    except ValueError:
        speeds = ()
    if not speeds or not all(0 < speed <= 1e6 for speed in speeds):
        raise click.BadParameter(f"{value!r} is no list of speeds: write positive numbers such as 1,1,2,4")
    return speeds


def _kill(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, float] | None:
    """NODE@PERCENT%."""
    if value is None:
        return None
    node, _, percent = value.partition("@")
    try:
        part = float(percent.removesuffix("%")) / 100
    except ValueError:
        part = -1.0
    if not node or not 0.0 <= part <= 1.0:
        raise click.BadParameter(f"{value!r} says neither whom nor when: write a node and a part, such as n2@50%")
    return node, part


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="parley")
def parley() -> None:
    """Agents on unequal nodes share out work by bargaining."""


@parley.command()
@click.argument("name", type=click.Choice(["digits"]), default="digits")
@click.option("--nodes", type=click.IntRange(1, 64), help="How many agents.  [default: one per speed]")
@click.option(
    "--speed", "speeds", metavar="S,S,…", callback=_speeds, default="1,1,2,4", show_default=True, help="Their speeds."
)
@click.option(
    "--mode",
    type=click.Choice(["rounds", "gossip"]),
    default="rounds",
    show_default=True,
    help="Learn in rounds with a barrier, or by gossip without.",
)
@click.option(
    "--kill", metavar="NODE@PERCENT", callback=_kill, help="kill -9 a node when this part of the tasks is done: n2@50%."
)
@click.option("--data", "dataset", type=click.Choice(["digits", "mnist"]), default="digits", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the idx files of --data mnist lie.")
@click.option(
    "--rule", type=click.Choice(list(RULES)), default="contract-net", show_default=True, help="Who gets a task."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
def demo(
    name: str,
    nodes: int | None,
    speeds: tuple[float, ...],
    mode: str,
    kill: tuple[str, float] | None,
    dataset: str,
    data_dir: Path | None,
    rule: str,
    seed: int,
    as_json: bool,
) -> None:
    """Local agents of unequal speed learn to read handwritten digits."""
    from .demos import demonstration
    from .demos.closing import Screen
    from .demos.training import Mode

    if nodes is not None and nodes != len(speeds):
        if len(speeds) != 4 or speeds != (1.0, 1.0, 2.0, 4.0):
            raise Problem(f"--nodes {nodes} and {len(speeds)} speeds do not fit together", Exit.USAGE)
        speeds = tuple((1.0, 1.0, 2.0, 4.0)[place % 4] for place in range(nodes))
    if dataset == "mnist" and data_dir is None:
        raise Problem("--data mnist needs --data-dir, the folder with its four idx files", Exit.USAGE)
    options = demonstration.Options(
        speeds,
        Mode(mode),
        dataset,
        str(data_dir) if data_dir else None,
        demonstration.Kill(*kill) if kill else None,
        rule,
        seed,
    )
    with Screen(options, quiet=as_json) as screen:
        report = _run(demonstration.demonstrate(options, screen.progress))
    screen.close(report, as_json)


@parley.command()
@click.option("--name", required=True, help="This node's name, unique in its fleet.")
@click.option("--join", multiple=True, metavar="ADDRESS", help="Any living agent of the fleet; may be repeated.")
@click.option("--bind", default="tcp://127.0.0.1:0", show_default=True, help="tcp://HOST:PORT or ipc://PATH.")
@click.option("--slots", type=click.IntRange(1, 64), default=1, show_default=True, help="Tasks run at a time.")
@click.option("--speed", type=click.FloatRange(0, 1e6, min_open=True), default=1.0, show_default=True)
@click.option("--fastest", type=click.FloatRange(0, 1e6, min_open=True), hidden=True)
@click.option("--allow", multiple=True, metavar="PKG.MOD:FUNC", help="A function this node runs; pkg.mod:* for all.")
@click.option(
    "--code",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder with your own modules.",
)
@click.option(
    "--rule", type=click.Choice(list(RULES)), default="contract-net", show_default=True, help="How it awards."
)
@click.option("--folder", type=click.Path(path_type=Path), help="For its log.  [default: ~/.local/state/parley/NAME]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--with-parent", is_flag=True, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON when it listens.")
def up(**options: Any) -> None:
    """Run this node's agent, in the foreground."""
    from .up import Settings, serve

    settings = Settings(**options)
    _run(serve(settings))


@parley.command()
@click.argument("kind")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="The arguments: an object or a list.")
@click.option("--work", type=click.FloatRange(0, 1e9), help="Seconds on a node of speed 1, if you know it.")
@click.option("--timeout", type=click.FloatRange(0, 1e9, min_open=True), default=3600.0, help="Seconds per attempt.")
@click.option("--agent", "agents", multiple=True, envvar="PARLEY_AGENT", metavar="ADDRESS")
@click.option("--json", "as_json", is_flag=True, help="The whole outcome as JSON.")
def submit(
    kind: str, arguments: str, work: float | None, timeout: float, agents: tuple[str, ...], as_json: bool
) -> None:
    """Hand a task in, wait, and print its value."""
    from . import desk

    parsed = desk.parse(arguments)
    desk.show(_run(desk.submit(desk.find(agents), kind, parsed, work, timeout)), as_json)


@parley.command()
@click.option("--agent", "agents", multiple=True, envvar="PARLEY_AGENT", metavar="ADDRESS")
@click.option("--json", "as_json", is_flag=True)
def nodes(agents: tuple[str, ...], as_json: bool) -> None:
    """The fleet as one agent sees it."""
    from . import desk

    desk.show_nodes(_run(desk.nodes(desk.find(agents))), as_json)


@parley.command()
@click.argument("task", default="last")
@click.option("--run", "folder", type=click.Path(path_type=Path), default=Path("runs/last"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def why(task: str, folder: Path, as_json: bool) -> None:
    """Who bid what for TASK, who declined, who won, and by how much.

    TASK is an id, the beginning of one, or `last`.
    """
    from .analysis import command

    command.why(folder, task, as_json)
