"""What those who live say of tasks that were acknowledged: each is asked for the outcome of every one.

    verdict = await ask(tasks, {"n2": "tcp://...", "n3": "tcp://..."}, 60.0)
    verdict.lost        nobody could say how it ended: the promise is broken
    verdict.unsure      somebody could not
    verdict.twice       two of them tell different outcomes: the promise is broken

Each is asked by a client of its own, which knows no other agent; the same outcome is the same state, of the same node
and epoch, with the same value, to the byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ...protocols.core import Outcome, TaskId
from ..client import Connection
from ..problems import Problem

CONNECT_S = 30.0
ASKED_AT_ONCE = 64


@dataclass
class Verdict:
    """`outcomes` as told by one of those that know; `unsure` has for each task those that do not."""

    outcomes: dict[TaskId, Outcome] = field(default_factory=dict)
    lost: set[TaskId] = field(default_factory=set)
    unsure: dict[TaskId, list[str]] = field(default_factory=dict)
    twice: set[TaskId] = field(default_factory=set)


async def ask(
    tasks: Collection[TaskId],
    agents: Mapping[str, str],
    patience_s: float,
    known: Mapping[TaskId, Outcome] = MappingProxyType({}),
) -> Verdict:
    """All tasks of all these agents, by name and address; an answer may take so long. `known`: what clients were told
    before. Raises AgentUnreachable."""
    verdict = Verdict()
    for name, address in agents.items():
        for task, outcome in (await _told(tasks, address, patience_s)).items():
            if outcome is None:
                verdict.unsure.setdefault(task, []).append(name)
                continue
            first = known.get(task) or verdict.outcomes.get(task, outcome)
            verdict.outcomes.setdefault(task, outcome)
            if _same(outcome) != _same(first):
                verdict.twice.add(task)
    verdict.lost = set(tasks) - verdict.outcomes.keys()
    return verdict


async def _told(tasks: Collection[TaskId], address: str, patience_s: float) -> dict[TaskId, Outcome | None]:
    at_once = asyncio.Semaphore(ASKED_AT_ONCE)

    async with await Connection.connect([address], CONNECT_S) as client:

        async def one(task: TaskId) -> Outcome | None:
            async with at_once:
                try:
                    return await asyncio.wait_for(client.result(task), patience_s)
                except (TimeoutError, Problem):
                    return None

        return dict(zip(tasks, await asyncio.gather(*map(one, tasks)), strict=True))


def _same(outcome: Outcome) -> tuple[object, ...]:
    return outcome.state, outcome.node, outcome.epoch, outcome.value
