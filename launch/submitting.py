"""`parley submit`: one task, or a file of them, from the command line to an agent.

    ids on stdout as they are taken; with --jsonl objects; with --json one value at the end
    --wait: until all have ended, with the exit code of `parley wait`

A file that turns bad in the middle ends it there: what was handed in before stays, its ids are told, then the sentence.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Sequence

import click
import msgspec

from ..protocols.core import Outcome, State
from ..protocols.requests import Follow
from . import plain
from .bar import Bar
from .client import Connection
from .desk import connected
from .handing_in import HandingIn
from .lines import Lines
from .outcomes import result_line, told, verdict
from .problems import Problem
from .submission import Submission
from .task_file import submissions
from .task_options import Terms

SHOW_EVERY = 50
"""So many tasks go by before the bar moves."""


class Form(enum.Enum):
    """Of what stands on stdout."""

    IDS = "one id a line"
    JSONL = "one object a line: a task taken, or, if that is waited for, how one ended"
    JSON = "one value at the end"


class Taken(msgspec.Struct, frozen=True):
    """A task that the agent has taken."""

    task: str


class Summary(msgspec.Struct, frozen=True):
    """What `submit --file --json` prints: how many were taken, and, if that was waited for, how they ended."""

    taken: int
    states: dict[State, int]


async def submit_one(agents: Sequence[str], submission: Submission, waits: bool, form: Form) -> None:
    """Raises Problem where it was not taken, or, if that is waited for, is not done."""
    taken: list[str] = []
    ended: list[Outcome] = []

    def take(task: str) -> None:
        taken.append(task)
        if not waits or form is Form.IDS:
            _show_taken(task, form)

    async with connected(agents) as agent:
        row = HandingIn(agent, take, ended.append if waits else None)
        await row.add(submission)
        await row.finish()
    results = [result_line(outcome) for outcome in sorted(ended, key=lambda outcome: outcome.task)]
    if form is Form.JSON:
        click.echo(plain.line(Taken(taken[0]) if not waits else results if submission.replicas > 1 else results[0]))
    elif form is Form.JSONL:
        for result in results:
            click.echo(plain.line(result))
    _judge(row)


async def submit_file(agents: Sequence[str], path: str, terms: Terms, waits: bool, form: Form) -> None:
    """Raises Problem where a line is no task or one was not taken, or, if that is waited for, one is not done."""
    file = Lines(path)
    try:
        async with connected(agents) as agent:
            with Bar(file.name, file.size) as bar:
                run = _FileRun(agent, file, waits, form, bar)
                problem = await run.hand_in(submissions(file, terms, run.follow))
    finally:
        file.close()
    if form is Form.JSON:
        click.echo(plain.line(Summary(run.row.taken, dict(run.row.states))))
    if problem is not None:
        raise problem
    _judge(run.row)


class _FileRun:
    """A file on its way to an agent."""

    def __init__(self, agent: Connection, file: Lines, waits: bool, form: Form, bar: Bar) -> None:
        self.row = HandingIn(agent, self._taken, self._ended if waits else None)
        self.follow = Follow.RESULT if waits else Follow.NOTHING
        self._file = file
        self._waits = waits
        self._form = form
        self._bar = bar
        self._all_read = False

    async def hand_in(self, tasks: AsyncIterator[Submission]) -> Problem | None:
        """All of them, and, if that is wanted, until they have ended; why it is not all."""
        try:
            problem = await self._read(tasks)
            if problem is None:
                await self.row.finish()
        except asyncio.CancelledError:
            self._bar.say(f"{self.row.taken:,} tasks were taken and go on; `parley cancel` gives tasks up")
            raise
        return problem

    async def _read(self, tasks: AsyncIterator[Submission]) -> Problem | None:
        problem: Problem | None = None
        try:
            async for submission in tasks:
                await self.row.add(submission, f"line {self._file.number} of {self._file.name}")
        except Problem as error:
            problem = error
        try:
            await self.row.answered()
        except Problem as error:
            problem = problem or error
        self._all_read = True
        return problem

    def _taken(self, task: str) -> None:
        if not self._waits or self._form is Form.IDS:
            _show_taken(task, self._form)
        if self.row.taken % SHOW_EVERY == 0:
            self._show()

    def _ended(self, outcome: Outcome) -> None:
        if self._form is Form.JSONL:
            click.echo(plain.line(result_line(outcome)))
        total = self.row.states.total()
        if total % SHOW_EVERY == 0 or total == self.row.taken:
            self._show()

    def _show(self) -> None:
        ended = self.row.states.total()
        if self._all_read:
            self._bar.at(ended, told(self.row.states), self.row.taken)
        else:
            self._bar.at(self._file.read, f"{self.row.taken:,} taken" + (f", {ended:,} ended" if ended else ""))


def _show_taken(task: str, form: Form) -> None:
    if form is not Form.JSON:
        click.echo(plain.line(Taken(task)) if form is Form.JSONL else task)


def _judge(row: HandingIn) -> None:
    problem = verdict(row.states, row.first_error)
    if problem is not None:
        raise problem
