"""`make bench`: what the README claims, measured here and now. Every speed is a ratio within this one run."""

from __future__ import annotations

import asyncio
import sys

import click
import msgspec

from . import footprint, makespans, negotiations

PARTS = ("footprint", "negotiations", "makespans")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
def bench(parts: tuple[str, ...], as_json: bool) -> None:
    """Measure all of it, or only these PARTS."""
    results: dict[str, object] = {}
    for part in parts or PARTS:
        results[part] = asyncio.run(
            {"footprint": _footprint, "negotiations": _negotiations, "makespans": _makespans}[part](as_json)
        )
    if as_json:
        click.echo(msgspec.json.encode(results))


async def _footprint(quiet: bool) -> footprint.Line:
    line = await footprint.measure()
    if not quiet:
        click.echo(f"4 agents, from nothing to the first result   {line.first_result_s:8.3f} s    (at most 1.5)")
        click.echo(f"memory of an idle agent, its own             {line.idle_agent_mb:8.1f} MB   (at most 40)")
        click.echo(f"`parley why last`, the whole process         {line.why_s:8.3f} s    (at most 0.3)")
    return line


async def _negotiations(quiet: bool) -> list[negotiations.Line]:
    lines = []
    for nodes in (4, 16):
        for in_flight in (1, 32):
            line = await negotiations.measure(nodes, in_flight)
            lines.append(line)
            if not quiet:
                click.echo(
                    f"negotiations, {nodes:>2} agents, {in_flight:>2} in flight       {line.ours_per_s:8.0f} /s   "
                    f"bare sockets {line.bare_per_s:8.0f} /s   ratio {line.ratio:.2f}   (at least 0.4)"
                )
    return lines


async def _makespans(quiet: bool) -> list[makespans.Line]:
    lines = []
    for tasks, most in ((24, 1.10), (400, 1.05)):
        line = await makespans.measure(tasks)
        lines.append(line)
        if not quiet:
            click.echo(
                f"makespan over bound, {tasks:>3} lognormal tasks     {line.ours:8.3f}      "
                f"worst {line.ours_worst:.3f}   blind pull {line.blind_pull:.3f}   (at most {most:.2f})"
            )
    return lines


if __name__ == "__main__":
    bench(prog_name="make bench", args=sys.argv[1:])
