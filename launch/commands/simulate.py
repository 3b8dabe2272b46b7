"""`parley simulate`: agents on virtual time, everything going wrong, and what must hold all the same."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from .. import options
from ..problems import Exit, Problem

if TYPE_CHECKING:
    from ..scenario import Profile
    from ..seeds import Seeds, Sum

BROKEN_SHOWN_MAX = 10
SEEDS_MAX = 10**9
SEED_MAX = 10**15
"""What logs and messages of a scenario can tell."""


@click.command()
@click.option("--seeds", type=click.IntRange(1, SEEDS_MAX), default=100, show_default=True, help="How many scenarios.")
@click.option(
    "--first-seed",
    type=click.IntRange(0, SEED_MAX),
    default=1,
    show_default=True,
    help="They are numbered from here.",
)
@click.option("--nodes", type=click.IntRange(1, 64), default=7, show_default=True, help="Agents in each.")
@click.option("--tasks", type=click.IntRange(0, 10_000), default=12, show_default=True, help="Tasks in each.")
@click.option(
    "--faults",
    type=click.Choice(["none", "default", "harsh"]),
    default="default",
    show_default=True,
    help="What goes wrong: messages, links, nodes, clocks, disks.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes to spread them over."
)
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write everything that happens there.")
@click.option("--sum", "as_sum", is_flag=True, hidden=True, help="Of --jobs: the bare counts, as JSON.")
@options.as_json
def simulate(
    seeds: int,
    first_seed: int,
    nodes: int,
    tasks: int,
    faults: Profile,
    jobs: int,
    trace: Path | None,
    as_sum: bool,
    as_json: bool,
) -> None:
    """Agents on virtual time, where everything goes wrong that can, and what must hold all the same.

    Each seed is a scenario: a fleet, tasks, faults. After every step the invariants are looked at. Whatever breaks one
    is told with its seed, which replays it; the exit code is then 1.
    """
    from .. import seeds as many
    from ..plain import line

    wanted = many.Seeds(first_seed, seeds, nodes, tasks, faults)
    if jobs > 1 and trace is not None:
        raise Problem("--trace follows one process: leave --jobs away", Exit.USAGE)
    total = many.run_in_processes(wanted, jobs) if jobs > 1 else _run(wanted, trace)
    if as_sum:
        click.echo(line(total))
        return
    click.echo(line(total.told(wanted)) if as_json else told(total))
    for one in total.broken[:BROKEN_SHOWN_MAX]:
        click.echo(f"seed {one.seed}: {one.invariant}: {one.sentence}\n  {wanted.replay(one.seed)}", err=True)
    if total.broken:
        raise Problem(f"{_count(len(total.broken), 'seed')} of {total.seeds} broke an invariant")


def _run(seeds: Seeds, trace: Path | None) -> Sum:
    """In this process, with a bar for whoever watches."""
    from .. import seeds as many
    from ..bar import Bar

    with ExitStack() as open_:
        file = None if trace is None else open_.enter_context(_Trace(trace))
        bar = open_.enter_context(Bar("seeds", seeds.count))

        def on_seed(so_far: Sum) -> None:
            bar.at(so_far.seeds, f"{len(so_far.broken)} broke an invariant")
            if file is not None:
                file.check()

        return many.run(seeds, trace=None if file is None else file.write, on_seed=on_seed)


class _Trace:
    """The file of --trace. What cannot be written is no fault of the seed that is written about: it is told between two
    seeds. Raises Problem."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._error: OSError | None = None
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise self._problem(error, Exit.USAGE) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.close()

    def write(self, line: str) -> None:
        if self._error is None:
            try:
                self._file.write(f"{line}\n")
            except OSError as error:
                self._error = error

    def check(self) -> None:
        """All that was written so far is in the file."""
        try:
            self._file.flush()
        except OSError as error:
            self._error = self._error or error
        if self._error is not None:
            raise self._problem(self._error)

    def _problem(self, error: OSError, code: Exit = Exit.FAILURE) -> Problem:
        why = (error.strerror or "").lower()
        return Problem(f"{self._path} cannot be written: {why}; choose another file", code)


def told(total: Sum) -> str:
    """For people."""
    tasks = max(total.acked, 1)
    return "\n".join(
        (
            f"{_count(total.seeds, 'seed')}, {_count(total.acked, 'task')} acknowledged, in {total.seconds:.1f} s",
            f"{total.executions / tasks:.3f} executions and {total.messages / tasks:.1f} messages a task",
            f"{total.steps / max(total.seconds, 1e-9):,.0f} events a second",
            f"{_count(len(total.broken), 'seed')} broke an invariant" if total.broken else "every invariant held",
        )
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
