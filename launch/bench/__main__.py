"""`make bench`: what the README claims, measured here and now. Every speed is a ratio within this one run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import click
import msgspec

from . import bulk, curve, footprint, latency, makespans, negotiations, recovery, throughput


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


async def _latency(quiet: bool) -> latency.Line:
    line = await latency.measure()
    if not quiet:
        for name, least, times in (
            ("one no-op, from submit to result", "   (at most 3 and 10)", line.ours),
            ("  the same exchange over bare sockets", "", line.bare_exchange),
            ("  a bare request and its reply", f"   ratio {line.ratio:.1f}", line.bare_request),
        ):
            click.echo(f"{name:<45}{times.p50_ms:8.3f} ms   99 of 100 {times.p99_ms:7.3f} ms{least}")
    return line


async def _throughput(quiet: bool) -> throughput.Line:
    line = await throughput.measure()
    if not quiet:
        click.echo(
            f"no-ops, 4 agents, {line.tasks:,} at once            {line.ours_per_s:8.0f} /s   "
            f"bare sockets {line.bare_per_s:8.0f} /s   ratio {line.ratio:.2f}   (at least 3,000 /s)"
        )
    return line


async def _bulk(quiet: bool) -> bulk.Line:
    line = await bulk.measure()
    if not quiet:
        click.echo(
            f"{line.tasks:,} tasks in one file, until all are done {line.done_s:8.1f} s     "
            f"handed in after {line.handed_in_s:.1f} s"
        )
        memory = "   ".join(f"{name} {peak_mb:.0f}" for name, peak_mb in line.peak_mb.items())
        click.echo(f"  memory at most, of each process in MB      {memory}   (at most 300)")
    return line


async def _curve(quiet: bool) -> curve.Line:
    line = await curve.measure()
    if not quiet:
        plain, keyed = line.plain, line.keyed
        for name, unit, before, after, ratio in (
            ("one no-op, from submit to result", "ms", plain.latency.p50_ms, keyed.latency.p50_ms, line.latency_ratio),
            ("no-ops at once", "/s", plain.tasks_per_s, keyed.tasks_per_s, line.throughput_ratio),
            ("200 kB there and back", "MB/s", plain.bulk_mb_per_s, keyed.bulk_mb_per_s, line.bulk_ratio),
            ("processor time of all of it", "s", plain.processor_s, keyed.processor_s, line.processor_ratio),
        ):
            told = f"plain {before:9.2f} {unit:<5} with keys {after:9.2f} {unit:<5} {ratio:.2f} times as much"
            click.echo(f"{name:<45}{told}")
    return line


async def _recovery(quiet: bool) -> list[recovery.Told]:
    return await recovery.measured(tuple(recovery.CASES), 1, quiet)


PARTS: dict[str, Callable[[bool], Awaitable[object]]] = {
    "footprint": _footprint,
    "latency": _latency,
    "negotiations": _negotiations,
    "throughput": _throughput,
    "makespans": _makespans,
    "bulk": _bulk,
    "curve": _curve,
    "recovery": _recovery,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
def bench(parts: tuple[str, ...], as_json: bool) -> None:
    """Measure all of it, or only these PARTS."""
    results: dict[str, object] = {}
    for part in parts or PARTS:
        results[part] = asyncio.run(_measured(part, as_json))
    if as_json:
        click.echo(msgspec.json.encode(results))


async def _measured(part: str, quiet: bool) -> object:
    return await PARTS[part](quiet)


if __name__ == "__main__":
    bench(prog_name="make bench", args=sys.argv[1:])
