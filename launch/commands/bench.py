"""`parley bench`: protocols side by side on public instances and on generated ones."""

from __future__ import annotations

import sys

import click

from .. import options
from ..problems import Exit, Problem, did_you_mean

SEEDS_MAX = 1000
WIDTH = 160
"""Of the table where there is no terminal."""


def _listed(text: str, known: tuple[str, ...], what: str) -> list[str]:
    """The words of a list with commas, all of them known."""
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words:
        if word not in known:
            raise Problem(f"{word!r} is no {what}{did_you_mean(word, known)}; there are {', '.join(known)}", Exit.USAGE)
    if not words:
        raise Problem(f"name at least one {what} of {', '.join(known)}", Exit.USAGE)
    return words


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="FILE | FOLDER | GENERATOR...")
@click.option("--protocol", default="prices", show_default=True, metavar="NAME,...", help="What to compare.")
@click.option("--mode", default="rounds", show_default=True, metavar="rounds,gossip", help="How agents keep step.")
@click.option("--on", type=click.Choice(["simulated"]), default="simulated", show_default=True, help="Where they run.")
@click.option("--seeds", type=click.IntRange(1, SEEDS_MAX), default=3, show_default=True, help="Runs of each.")
@click.option("--first-seed", type=click.IntRange(0, 10**9), default=0, show_default=True)
@click.option("--loss", type=click.FloatRange(0.0, 0.9), default=0.0, show_default=True, help="Part of frames lost.")
@click.option("--trade/--no-trade", default=True, help="Trade after prices have cleared.  [default: trade]")
@click.option("--sense", type=click.Choice(["min", "max"]), help="Costs or profits, where a name does not tell.")
@options.as_json
def bench(
    places: tuple[str, ...],
    protocol: str,
    mode: str,
    on: str,
    seeds: int,
    first_seed: int,
    loss: float,
    trade: bool,
    sense: str | None,
    as_json: bool,
) -> None:
    """Protocols side by side: value, bound, certificate, rounds, messages, bytes.

    Files are Braun/HCSP or OR-Library's (generalised) assignment; a generator is written hcsp:512x16:u_c_hihi:7 or
    gap:10x50:c:7. Every node is an agent that knows its own column of the table only.
    """
    from .. import plain
    from ..bench import allocations, instances, sessions

    protocols = _listed(protocol, sessions.PROTOCOLS, "protocol")
    modes = _listed(mode, sessions.MODES, "mode")
    found = instances.instances(places, sense)
    chosen = range(first_seed, first_seed + seeds)
    lines: list[allocations.Line] = []
    for told in allocations.runs(found, protocols, modes, chosen, loss=loss, trade=trade):
        lines.append(told)
        if sys.stderr.isatty():
            click.echo(f"\r{len(lines)}/{len(found) * len(protocols) * len(modes) * seeds} runs", err=True, nl=False)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        click.echo(plain.line(lines))
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else WIDTH).print(allocations.as_table(lines))
