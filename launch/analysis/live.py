"""A story whose lines lie on several machines: what the agents of a fleet have logged of a task, beside the logs here.

    why NAME -> the logs of this machine -> not all of it is there
             -> an agent -> the whole id, and who is in the fleet -> each of them -> its own lines about the task
             -> all lines together, once each, as if they had lain here

Any agent knows the task by the name that its owner gave it, too. Who is dead, or does not answer, is named; where
nobody has a line, what the agent itself says of the task is told. An agent that does not know it is of another fleet,
and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ...protocols.requests import NodeLine, TaskLine
from ...protocols.retelling import LinesTold
from ...protocols.swim_words import LIVING
from ..client import Connection
from ..desk import addresses_of, connected
from ..problems import Problem
from ..running import run
from .logfile import decode_head
from .run import Line, RunError, open_run, understand
from .why import UNKNOWN, Why, told
from .words import listed

ASK_S = 2.0
"""So long a node has to answer."""
AT_ONCE = 32
"""So many nodes are asked side by side."""


class Asked(msgspec.Struct, frozen=True):
    """What a fleet says of a task: its agent's word, and of each node its lines (None: it does not answer)."""

    line: TaskLine
    address: str
    nodes: tuple[tuple[NodeLine, LinesTold | None], ...]


def ask(agents: Sequence[str], task: str, logs: Path) -> Why:
    """The story by what the fleet of the first of these agents that answers (none named: the newest of this machine)
    has told, and by the logs in this folder. Raises Problem if nobody answers, or it does not know the task."""
    return joined(run(gathered(addresses_of(agents), task)), logs)


async def gathered(agents: Sequence[str], task: str) -> Asked:
    """What the fleet of the first of these agents that answers says of a task. Raises Problem as `ask` does."""
    async with connected(agents) as agent:
        line, *_ = await agent.tasks([task])
        nodes, address = await agent.nodes(), agent.address
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(node: NodeLine) -> LinesTold | None:
        if node.state not in LIVING:
            return None
        try:
            async with gate, asyncio.timeout(ASK_S), await Connection.connect([node.address], ASK_S) as peer:
                return await peer.lines(line.task)
        except (TimeoutError, Problem):
            return None

    answers = await asyncio.gather(*map(one, nodes))
    return Asked(line, address, tuple(zip(nodes, answers, strict=True)))


def joined(asked: Asked, logs: Path) -> Why:
    """The story by what the fleet has told and by the logs in this folder, if they have anything of it."""
    here, files, damage = _here(logs, asked.line.task)
    there = [line for _, answer in asked.nodes if answer is not None for line in _understood(answer.lines)]
    lines = {(line.head.node, line.head.hlc, line.head.seq): line for line in [*there, *here]}.values()
    if not lines:
        return from_agent(asked.line, asked.address)
    named = {node for line in lines for node in line.head.invitees}
    where = str(logs) if here else f"the agents of {asked.address}"
    answer = told(asked.line.task, lines, where, [*damage, *_notes(asked, named, files)])
    if answer.state != UNKNOWN:
        return answer
    line = asked.line
    return msgspec.structs.replace(answer, state=str(line.state), node=line.node, error=line.reason)


def _here(logs: Path, task: str) -> tuple[list[Line], set[str], list[str]]:
    """What this machine's own logs have of it, whose they are, and what is wrong with them; of other runs nothing."""
    try:
        run = open_run(logs)
        run.find(task)
    except RunError:
        return [], set(), []
    return list(run.about(task)), {file.node for file in run.files}, run.damage


def _understood(lines: Iterable[bytes]) -> list[Line]:
    """What an agent has told is read like any log: what cannot be read is left out."""
    found = []
    for line in lines:
        try:
            head = decode_head(line)
        except (msgspec.MsgspecError, RecursionError):
            continue
        if (event := understand(head, line)) is not None:
            found.append(Line(head, event))
    return found


def _notes(asked: Asked, named: set[str], files: set[str]) -> list[str]:
    """Who has told something, and whose lines are missing."""
    told_by = [node.node for node, answer in asked.nodes if answer is not None and answer.lines]
    afar = [node for node in told_by if node not in files]
    notes = [f"told by {listed(afar)}, of which no log is here"] if afar else []
    known = {node.node for node, _ in asked.nodes}
    for node, answer in asked.nodes:
        if answer is None and node.node in named - files:
            why = f"is {node.state}" if node.state not in LIVING else f"does not answer at {node.address}"
            notes.append(f"no log here of {node.node}, which {why}")
        elif answer is not None and answer.left_out:
            notes.append(f"{node.node} has {answer.left_out:,} more lines about it than it has told")
    gone = sorted(named - files - known)
    return [*notes, *([f"no log here of {listed(gone)}, in the fleet no more"] if gone else [])]


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
        notes=(f"the agent at {address} says so{tries}; no agent that answers, and no log here, has a line about it",),
    )
