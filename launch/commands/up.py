"""`parley up`: this node's agent, in the foreground.

Each of its flags may stand in a file, in the table [up], and in the environment, as PARLEY_UP_FLAG (`config.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ...protocols.award_rules import RULES
from ...protocols.batch_words import Mode
from ...protocols.commitment_words import HOLDERS_MAX
from ...protocols.core import Dividing
from ...protocols.probing import USUAL
from .. import machine, options
from ..units import Duration, Have, Number, Tag

TAGS_MAX = 64
AMOUNTS_MAX = 14
"""Of its own: cores and memory come to them, and 16 can be told."""
C = TypeVar("C", bound=Callable[..., Any])


def _flag(name: str, *names: str, **how: Any) -> Callable[[C], C]:
    """A flag that is a setting, too."""
    variable = f"PARLEY_UP_{name.split('/')[0].removeprefix('--').replace('-', '_').upper()}"
    return click.option(name, *names, envvar=variable, **how)


def _at_most(limit: int) -> Callable[[click.Context, click.Parameter, tuple[Any, ...]], tuple[Any, ...]]:
    def count(ctx: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(values) > limit:
            raise click.BadParameter(f"{len(values)} are too many: {limit} is the most", ctx, param)
        return values

    return count


def _odd(ctx: click.Context, param: click.Parameter, value: int) -> int:
    """No half of the holders of a task may stand against the other (`protocols/holders.py`)."""
    if value % 2 == 0:
        raise click.BadParameter(f"{value} is even: say 1, 3 or 5", ctx, param)
    return value


@click.command()
@_flag(
    "--name",
    type=options.NodeName(),
    default=machine.host_name,
    show_default="this machine's name",
    help="This node's name, unique in its fleet.",
)
@_flag(
    "--join",
    type=options.Address(),
    multiple=True,
    metavar="ADDRESS",
    help="Any living agent of the fleet; repeatable.",
)
@_flag(
    "--bind",
    type=options.Address(),
    metavar="ADDRESS",
    default="tcp://127.0.0.1:0",
    show_default=True,
    help="tcp://HOST:PORT or ipc://PATH. Port 0: any that is free.",
)
@options.keys
@_flag("--insecure", is_flag=True, help="Listen beyond this machine without keys: whoever reaches it may hand work in.")
@_flag(
    "--advertise",
    type=options.Address(),
    metavar="ADDRESS",
    help="What others are to dial, where it is not what is bound: behind NAT, or bound to 0.0.0.0.",
)
@_flag("--slots", type=click.IntRange(1, 64), default=1, show_default=True, help="Tasks run at a time.")
@_flag("--speed", type=Number(0, 1e6, min_open=True), default=1.0, show_default=True, help="Beside the others' speeds.")
@click.option("--fastest", type=Number(0, 1e6, min_open=True), hidden=True)
@_flag(
    "--tag",
    "tags",
    type=Tag(),
    multiple=True,
    metavar="WORD",
    callback=_at_most(TAGS_MAX),
    help="What it is or has, as gpu or site=lab; repeatable.",
)
@_flag(
    "--have",
    "haves",
    type=Have(),
    multiple=True,
    metavar="NAME=AMOUNT",
    callback=_at_most(AMOUNTS_MAX),
    help="How much it has of something, as vram=8GiB; repeatable.  [default: its cores and 0.9 of its memory]",
)
@_flag(
    "--allow",
    type=options.Allowed(),
    multiple=True,
    metavar="PKG.MOD:FUNC",
    help="A function that it runs; pkg.mod:* for all of a module; the word command for any command. Repeatable.",
)
@_flag(
    "--code",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder with your own modules; repeatable.",
)
@_flag(
    "--http",
    multiple=True,
    metavar="URL",
    help="A model server, as http://127.0.0.1:11434; its key goes into PARLEY_HTTP_KEY. Repeatable.",
)
@_flag(
    "--valuation",
    type=options.Module(),
    metavar="PKG.MOD[:FUNC]",
    help="Your own bidders, or a price for all kinds.",
)
@_flag(
    "--executor",
    "executors",
    type=options.Member(),
    multiple=True,
    metavar="PKG.MOD:CLASS",
    help="Your own executor; repeatable.",
)
@_flag("--rule", type=click.Choice(list(RULES)), default="contract-net", show_default=True, help="How it awards.")
@_flag(
    "--protocol",
    "dividing",
    type=click.Choice([one.value for one in Dividing]),
    default=Dividing.AUTO.value,
    show_default=True,
    help="How many tasks that wait together are divided: by prices, by the contract net, or as is worth it.",
)
@_flag(
    "--mode",
    type=click.Choice([one.value for one in Mode]),
    default=Mode.ROUNDS.value,
    show_default=True,
    help="How nodes settle prices: in synchronous rounds, or by gossip.",
)
@_flag(
    "--trade/--no-trade",
    default=True,
    show_default=True,
    help="Divide anew what has not started, when nodes come, go, run dry or are slower than they said.",
)
@_flag(
    "--probes",
    type=click.IntRange(0, 64),
    default=USUAL,
    show_default=True,
    help="Ask so many nodes about a task, those that should be best and now and then another. 0: all.",
)
@_flag("--folder", type=click.Path(path_type=Path), help="For its log.  [default: ~/.local/state/parley/NAME]")
@_flag(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="Its log has events of this level and above.",
)
@_flag(
    "--holders",
    type=click.IntRange(1, HOLDERS_MAX),
    callback=_odd,
    default=3,
    show_default=True,
    help="So many nodes hold each task handed in here, as far as there are so many: 1, 3 or 5.",
)
@_flag(
    "--journal/--no-journal",
    default=True,
    show_default=True,
    help="Keep what it promises in its folder, so that it survives a crash.",
)
@_flag("--seed", type=int, default=0, show_default=True, help="Of all that it decides at random.")
@_flag(
    "--drain-timeout",
    "drain_s",
    type=Duration(),
    default="30s",
    show_default=True,
    help="So long a signal lets it end what it has; the rest is given back.",
)
@click.option("--with-parent", is_flag=True, hidden=True, help="Ends when its stdin does.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON when it listens.")
def up(**flags: Any) -> None:
    """Run this node's agent, in the foreground.

    SIGTERM and Ctrl-C let it end what it has, and leave; a second one makes it leave at once.
    """
    from ..running import run
    from ..up import Settings, serve

    run(serve(Settings(**flags)))
