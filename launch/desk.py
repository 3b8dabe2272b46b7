"""What is asked of an agent about tasks that it has: wait for them, their results, give them up.

    async with connected(["tcp://127.0.0.1:4100"]) as agent:
        await wait(agent, ["all"], timeout_s=30.0)

Invariant: whatever is waited for has a limit that its caller names (None: none), and a wait that was too long says
where the tasks stand.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ..protocols.core import ENDED, Outcome, State
from ..protocols.requests import WHICH_MAX, Cancelled, Progress
from . import discovery
from .client import Connection
from .outcomes import together, told
from .problems import AgentUnreachable, Exit, Problem
from .task_file import filled

ALL = "all"
STDIN = "@-"
ARGUMENT_BYTES_MAX = 32 * 1024 * 1024


def addresses_of(named: Sequence[str] = ()) -> tuple[str, ...]:
    """The agents to talk to: those named, else those of PARLEY_AGENT, else the newest one of this machine.

    Raises AgentUnreachable if there is none.
    """
    if named:
        return tuple(named)
    if told := os.environ.get("PARLEY_AGENT", "").replace(",", " ").split():
        return tuple(told)
    entry = discovery.newest()
    if entry is None:
        raise AgentUnreachable("no agent runs here: start one with `parley up --name n1`, or name one with --agent")
    return (entry.address,)


@asynccontextmanager
async def connected(agents: Sequence[str]) -> AsyncIterator[Connection]:
    """A connection to the first of these that answers; none named: to the newest of this machine."""
    async with await Connection.connect(addresses_of(agents)) as agent:
        yield agent


def parse(arguments: str) -> object:
    """The arguments of a task as a flag tells them: JSON, or @FILE, or @- for stdin."""
    text = _read(arguments) if arguments.startswith("@") else arguments.encode("utf-8", "surrogateescape")
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Problem(f"--args is no JSON: {str(error).removeprefix('JSON is malformed: ')}", Exit.USAGE) from None
    except UnicodeDecodeError:
        raise Problem("--args is no JSON: it is not UTF-8", Exit.USAGE) from None
    except RecursionError:
        raise Problem("--args is no JSON that can be read: it is nested too deep", Exit.USAGE) from None
    if not isinstance(value, (dict, list)):
        raise Problem("--args must be a JSON object (named arguments) or a list", Exit.USAGE)
    return filled(value)


def _read(name: str) -> bytes:
    path = Path("/dev/stdin" if name == STDIN else name[1:])
    try:
        with path.open("rb") as file:
            text = file.read(ARGUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise Problem(f"--args: {path} cannot be read: {(error.strerror or '').lower()}", Exit.USAGE) from None
    if len(text) > ARGUMENT_BYTES_MAX:
        raise Problem(f"--args: {path} has more than {ARGUMENT_BYTES_MAX:,} bytes", Exit.USAGE)
    return text


def some_or_all(verb: str, tasks: Sequence[str], every: bool) -> Sequence[str]:
    """What is meant by names or --all, of which exactly one is said. Raises Problem."""
    if tasks and every:
        raise Problem("either names, or --all, which is every task", Exit.USAGE)
    if not tasks and not every:
        raise Problem(f"{verb} what? Name tasks, or say --all", Exit.USAGE)
    return [ALL] if every else tasks


async def wait(
    agent: Connection,
    which: Sequence[str],
    timeout_s: float | None,
    on_progress: Callable[[Counter[State]], None] = lambda states: None,
) -> tuple[Counter[State], str]:
    """Until all of these have ended: how many ended how, and the sentence of the first that is not done.

    Raises Problem when they have not ended in time, or one of them is not known.
    """
    parts = [which[start : start + WHICH_MAX] for start in range(0, len(which), WHICH_MAX)]
    states: list[dict[State, int]] = [{} for _ in parts]
    errors = [""] * len(parts)

    async def one(place: int) -> None:
        def note(progress: Progress) -> None:
            states[place] = dict(progress.states)
            errors[place] = progress.first_error
            on_progress(together(states))

        await agent.wait(parts[place], note)

    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            for place in range(len(parts)):
                group.create_task(one(place))
    except TimeoutError:
        counts = together(states)
        missing = sum(number for state, number in counts.items() if state not in ENDED)
        stand = f": {told(counts)}" if counts else ""
        of = f"{missing:,} of {counts.total():,} tasks have" if missing != 1 or counts.total() > 1 else "the task has"
        raise Problem(f"{of} not ended within {timeout_s:g} s{stand}", Exit.TIMEOUT) from None
    except ExceptionGroup as group_error:
        raise _first(group_error) from None
    return together(states), next(filter(None, errors), "")


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Of several that say the same, one."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


async def result(agent: Connection, task: str, timeout_s: float | None) -> Outcome:
    """How it ended, as soon as it has. Raises Problem, and says where it stands, when that is not in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await agent.result(task)
    except TimeoutError:
        [line] = await agent.tasks([task])
        reason = f", {line.reason}" if line.reason else ""
        raise Problem(
            f"task {line.task} has not ended within {timeout_s:g} s: {line.state}{reason}", Exit.TIMEOUT
        ) from None


async def cancel(agent: Connection, which: Sequence[str], timeout_s: float | None) -> Cancelled:
    """Give these up; when they have stopped, how many were cancelled, and how many had ended before."""
    cancelled = ended = 0
    try:
        async with asyncio.timeout(timeout_s):
            for start in range(0, len(which), WHICH_MAX):
                answer = await agent.cancel(which[start : start + WHICH_MAX])
                cancelled += answer.cancelled
                ended += answer.ended
    except TimeoutError:
        raise Problem(f"they have not all stopped within {timeout_s:g} s; `parley tasks` tells", Exit.TIMEOUT) from None
    return Cancelled(0, cancelled, ended)
