"""What a living agent says of a task of which no log here tells: its state, its node, and why it stands there.

    why NAME -> the logs of this machine -> not there -> the agent -> its id -> the logs once more -> what it says

So `why` also knows the names that people give tasks, and on a machine that only hands tasks in it says at least where
they are and whose log has the rest.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...protocols.requests import TaskLine
from .. import keys
from ..desk import connected, find
from ..problems import Problem
from ..running import run
from .run import RunError, open_run
from .why import Why
from .why import why as find_out


def ask(agents: Sequence[str], task: str, logs: Path) -> Why | None:
    """The story of the task, or what an agent says of it; None if none answers, or it does not know either. `agents`
    empty: the newest of this machine."""
    if folder := os.environ.get("PARLEY_KEYS"):
        keys.use(Path(folder))

    async def told() -> TaskLine | None:
        async with connected(agents) as agent:
            return next(iter(await agent.tasks([task])), None)

    try:
        line = run(told())
        address = find(agents)[0]
    except Problem:
        return None
    if line is None:
        return None
    try:
        return find_out(open_run(logs), line.task)
    except RunError:
        return from_agent(line, address)


def from_agent(line: TaskLine, address: str) -> Why:
    """What it says, as a story without logs."""
    tries = f", in attempt {line.attempts}" if line.attempts > 1 else ""
    return Why(
        task=line.task,
        state=str(line.state),
        node=line.node,
        error=line.reason,
        submitted=None,
        awards=(),
        unbid=(),
        history=(),
        run="",
        notes=(
            f"the agent at {address} says so{tries}; no log that tells of it is on this machine: "
            "ask `parley why` on the machine of the agent that took it, or with --run for its logs",
        ),
    )
