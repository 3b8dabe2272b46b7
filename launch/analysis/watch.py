"""The fleet as one agent sees it, drawn anew every moment: nodes and their load, what waits and why, the last awards.

    an agent: nodes, tasks -> Scene (what has changed since the last look) -> lines -> a terminal, or frame after frame

On a terminal the frame fills its own screen, which is gone afterwards; on a pipe, or a terminal that cannot move its
cursor, every frame is printed whole. If the agent goes, the next one that it has told of is asked. Looking costs the
agent something where it has many tasks: a look takes at most a tenth of the time, or the next one comes later.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import click
import msgspec

from ...protocols.core import ENDED, State
from ...protocols.requests import NodeLine, TaskLine
from ...protocols.swim_words import LIVING
from .. import plain
from ..client import Connection
from ..desk import addresses_of
from ..problems import AgentUnreachable
from ..tables import NodeTold, TaskTold, node_told, state_told, task_told
from .words import clean, duration

BAR = 20
AWARDS_SHOWN = 8
WAITING_SHOWN = 10
LOOK_PART = 0.1
TASKS_TOLD_MAX = 1_000
"""Of so many tasks a frame in JSON tells; it counts them all."""
TINTS = {"alive": "green", "suspect": "yellow", "dead": "red", "left": "bright_black", "draining": "yellow"}


class Frame(msgspec.Struct, frozen=True):
    """A line of `parley watch --jsonl`. `states` counts all tasks, `waiting` are those that nobody runs yet."""

    agent: str
    nodes: list[NodeTold]
    states: dict[str, int]
    waiting: list[TaskTold]
    awards: list[Awarded]


class Awarded(msgspec.Struct, frozen=True):
    """A task that was seen to be on a node, for the first time or anew, so many seconds after watching began."""

    at_s: float
    task: str
    kind: str
    node: str
    epoch: int


class Scene:
    """What is seen, and what was new in it."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.nodes: Sequence[NodeLine] = ()
        self.tasks: Sequence[TaskLine] = ()
        self.awards: deque[Awarded] = deque(maxlen=AWARDS_SHOWN)
        self._seen: dict[str, int] = {}  # the epoch in which a task was seen on a node

    def look(self, nodes: Sequence[NodeLine], tasks: Sequence[TaskLine], at_s: float) -> None:
        self.nodes, self.tasks = nodes, tasks
        for line in tasks:
            if line.node is not None and self._seen.get(line.task) != line.epoch:
                self.awards.append(Awarded(at_s, line.task, line.kind, line.node, line.epoch))
        self._seen = {line.task: line.epoch for line in tasks if line.node is not None}

    @property
    def waiting(self) -> list[TaskLine]:
        """What nobody runs yet."""
        return [line for line in self.tasks if line.state not in ENDED and line.state is not State.RUNNING]

    def told(self) -> Frame:
        return Frame(
            self.agent,
            [node_told(line) for line in self.nodes],
            dict(Counter(str(line.state) for line in self.tasks)),
            [task_told(line) for line in self.waiting[:TASKS_TOLD_MAX]],
            list(self.awards),
        )

    def lines(self, width: int, height: int | None = None) -> list[list[tuple[str, str]]]:
        """Each a row of texts and their tints, as wide and as many as there is room for."""
        living = sum(line.state in LIVING for line in self.nodes)
        counts = Counter(str(line.state) for line in self.tasks)
        told = ", ".join(f"{number:,} {state}" for state, number in counts.most_common()) or "no tasks"
        rows = [[(f"{living} of {len(self.nodes)} nodes", "bold"), (f"  {told}  by {clean(self.agent)}", "")], []]
        rows += self._node_rows()
        waiting = self.waiting
        shown = [line.task for line in waiting[:WAITING_SHOWN]] + [one.task for one in self.awards]
        wide = max(map(len, shown), default=0)
        if waiting:
            rows += [[], [("Waiting", "bold"), (f" {len(waiting):,}", "")]]
            rows += [
                [
                    (f"  {line.task:<{wide}}  ", "cyan"),
                    (f"{_kind(line.kind):<14} {line.state:<8} {clean(line.reason)}", ""),
                ]
                for line in waiting[:WAITING_SHOWN]
            ]
            if len(waiting) > WAITING_SHOWN:
                rows.append([(f"  and {len(waiting) - WAITING_SHOWN:,} more", "")])
        if self.awards:
            rows += [[], [("Last awards", "bold")]]
            rows += [
                [
                    (f"  {one.task:<{wide}}  ", "cyan"),
                    (f"{_kind(one.kind):<14} to {clean(one.node)}", ""),
                    (f"  award {one.epoch}" if one.epoch > 1 else "", "red"),
                ]
                for one in reversed(self.awards)
            ]
        if height is not None and len(rows) > height:
            rows = [*rows[: height - 1], [(f"{len(rows) - height + 1} more lines: a higher window shows them", "")]]
        return [_cut(row, width) for row in rows]

    def _node_rows(self) -> list[list[tuple[str, str]]]:
        names = max([len(clean(line.node)) for line in self.nodes] + [4])
        rows = []
        for line in self.nodes:
            state = state_told(line)
            tint = TINTS.get(state, "")
            there = line.state in LIVING
            share = min(line.told.running / max(line.slots, 1), 1.0) if there else 0.0
            bar = "█" * round(share * BAR) + "░" * (BAR - round(share * BAR))
            load = f"{line.told.running} of {line.slots}, {line.told.waiting} wait"
            queued = f", {duration(line.told.queued_s)}" if line.told.queued_s else ""
            lag = f"  late by {duration(line.told.lag_s)}" if line.told.lag_s > 0.1 else ""
            texts = [(f"{clean(line.node):<{names}}  ", "bold"), (f"{state:<8}", tint), (f" ×{line.speed:<5g} ", "")]
            if there:
                texts += [(bar, "blue"), (f"  {load}{queued}{lag}", "")]
            rows.append(texts)
        return rows


def _kind(kind: str) -> str:
    return clean(kind.rpartition(":")[2])[:14]


def _cut(row: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """What does not fit is cut, and seen to be."""
    left, cut = width, []
    for text, tint in row:
        if len(text) > left:
            cut.append((text[: max(left - 1, 0)] + "…", tint))
            break
        cut.append((text, tint))
        left -= len(text)
    return cut


async def scenes(agents: Sequence[str], interval_s: float) -> AsyncGenerator[Scene]:
    """A scene at a time, the same one each time; ends never. Raises Problem if no agent answers any more."""
    addresses = list(addresses_of(agents))
    scene = Scene(addresses[0])
    begun = time.monotonic()
    while True:
        async with await Connection.connect(addresses) as agent:
            try:
                while True:
                    looked = time.monotonic()
                    nodes = await agent.nodes()
                    tasks = await agent.tasks(["all"])
                    scene.look(nodes, tasks, looked - begun)
                    yield scene
                    here = [line.address for line in nodes if line.state in LIVING]
                    addresses = list(dict.fromkeys([*addresses, *here]))
                    took = time.monotonic() - looked
                    await asyncio.sleep(max(interval_s - took, took * (1 / LOOK_PART - 1)))
            except AgentUnreachable:
                if len(addresses) == 1:
                    raise
        addresses = [*addresses[1:], addresses[0]]
        scene.agent = addresses[0]


async def watch(agents: Sequence[str], interval_s: float, once: bool, as_jsonl: bool) -> None:
    """Draw until interrupted, or one frame. Raises Problem."""
    moving = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not as_jsonl and not once
    async with aclosing(scenes(agents, interval_s)) as seen:
        if moving:
            await _on_a_screen(seen)
            return
        first = True
        async for scene in seen:
            if as_jsonl:
                click.echo(plain.line(scene.told()))
            else:
                width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
                text = "\n".join("".join(text for text, _ in row).rstrip() for row in scene.lines(width))
                click.echo(text if first else f"\n{text}")
            first = False
            if once:
                return


async def _on_a_screen(seen: AsyncIterator[Scene]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async for scene in seen:
            rows = [Text.assemble(*row) for row in scene.lines(console.width, console.height)]
            live.update(Text("\n").join(rows), refresh=True)
