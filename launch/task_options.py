"""The flags that say on which terms a task is handed in: shared by `run`, `submit` and `plan`.

    @click.command()
    @task_options.flags()
    def submit(kind: str, **flags: Any) -> None:
        terms = Terms(**flags)
        terms.submission(kind, arguments)

Numbers are in base units once they are read: seconds, bytes. What they may be is checked by `Submission`, which files
of tasks and Python fill in as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import click

from ..protocols.core import GANG_MAX, Dividing
from ..protocols.requests import Follow
from . import units
from .submission import ATTEMPTS_MAX, PRIORITY_MAX, REPLICAS_MAX, Submission

TIMEOUT_S = 3_600.0
"""So long an attempt may take where nobody says otherwise."""
FOR_EVER_S = units.SECONDS_MAX

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Terms:
    """What the flags said; None, () and "" where they said nothing."""

    work: float | None = None
    need: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    priority: int = 0
    reward: float = 0.0
    deadline_s: float | None = None
    timeout_s: float = TIMEOUT_S
    attempts: int = 3
    after: tuple[str, ...] = ()
    replicas: int = 1
    gang: int | None = None
    at_most_once: bool = False
    protocol: str = Dividing.AUTO
    about: tuple[tuple[str, float | str], ...] = ()
    label: str = ""
    waits: bool = False

    def submission(self, kind: str, arguments: object, follow: Follow = Follow.RESULT) -> Submission:
        """Raises TaskRefused."""
        return Submission(
            kind,
            arguments,
            work=self.work,
            need=self.need,
            only=self.only,
            prefer=self.prefer,
            priority=self.priority,
            reward=self.reward,
            deadline_s=self.deadline_s,
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            after=self.after,
            replicas=self.replicas,
            gang=self.gang,
            at_most_once=self.at_most_once,
            protocol=self.protocol,
            about=dict(self.about),
            label=self.label,
            waits=self.waits,
            follow=follow,
        )


class _Checked(units.Need):
    """A need, a tag to choose from, or a preference: found wrong at its flag, and handed on as it was written."""

    reads: ClassVar[dict[str, Callable[[str], object]]] = {
        "need": units.need,
        "tag": units.tag,
        "preference": units.preference,
    }

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            self.reads[self.name](value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


def flags(*, timeout_s: float = TIMEOUT_S, many: bool = True) -> Callable[[F], F]:
    """All of them; `many`: also replicas and gangs."""
    forever = timeout_s >= FOR_EVER_S
    priorities = click.IntRange(-PRIORITY_MAX, PRIORITY_MAX)
    options = [
        click.option("--need", type=_Checked("need"), multiple=True, help="What its node must have: gpu, vram=8GiB."),
        click.option("--only", type=_Checked("tag"), multiple=True, help="Only where this tag is, or another --only."),
        click.option(
            "--prefer",
            type=_Checked("preference"),
            multiple=True,
            metavar="TAG:TIME",
            help="Where this tag is not, it counts as so much later: site=lab:30s.",
        ),
        click.option("--work", type=units.Duration(), help="How long it takes on a node of speed 1, if you know it."),
        click.option(
            "--about",
            type=units.Fact(),
            multiple=True,
            metavar="NAME=VALUE",
            help="What bidders may know of it: metres=3.",
        ),
        click.option("--priority", type=priorities, default=0, help="Higher goes first."),
        click.option(
            "--reward",
            type=click.FloatRange(0, 1e18),
            default=0.0,
            help="Goes first at the same priority; the most that is paid, if its agent pays.",
        ),
        click.option(
            "--deadline", "deadline_s", type=units.Duration(positive=True), help="After so long it is too late."
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=units.Duration(positive=True),
            default=timeout_s,
            help=f"So long one attempt may take.  [default: {'for ever' if forever else f'{timeout_s / 3600:g}h'}]",
        ),
        click.option(
            "--attempts",
            type=click.IntRange(1, ATTEMPTS_MAX),
            default=3,
            show_default=True,
            help="How often it is tried if it dies or takes too long; the loss of its node does not count.",
        ),
        click.option("--after", multiple=True, metavar="TASK", help="Not before this task (id or label) is done."),
        click.option("--at-most-once", is_flag=True, help="Never start it twice; then its end may remain unknown."),
        click.option("--name", "--label", "label", default="", metavar="LABEL", help="Your own name for it."),
        click.option(
            "--wait-for-node/--no-wait-for-node",
            "waits",
            default=False,
            help="If no node can run it, wait until one can.  [default: it ends as unplaced]",
        ),
    ]
    if many:
        number = click.IntRange(1, REPLICAS_MAX)
        options.append(click.option("--replicas", type=number, default=1, help="So many, each on a node of its own."))
        options.append(
            click.option(
                "--gang",
                type=click.IntRange(1, GANG_MAX),
                metavar="K",
                help="So many members at once, each on a slot of its own, of whatever nodes; or none.",
            )
        )
        options.append(
            click.option(
                "--protocol",
                type=click.Choice([one.value for one in Dividing]),
                default=Dividing.AUTO.value,
                help="How it is divided with others that wait: by prices, by calls.  [default: as its agent does]",
            )
        )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
