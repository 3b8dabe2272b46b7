"""`parley up`: this node's agent, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...protocols.award_rules import RULES
from ..running import run


@click.command()
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
    from ..up import Settings, serve

    run(serve(Settings(**options)))
