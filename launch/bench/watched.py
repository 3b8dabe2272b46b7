"""A fleet of real agents that is watched by its logs alone: who thinks what of whom, and since when.

Each agent is a local fleet of its own, so that it can go and come back alone. All of them run on this machine, whose
monotonic clock stands in every line of every log; so what one process did and another one noticed are compared exactly.

    fleet = await Watched.start(8, folder)
    at = fleet.kill("n3")                       # kill -9, and when
    await fleet.until(lambda: all(view.state is DEAD for view in fleet.views("n3")), 10.0)
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ...protocols.swim_words import PeerState, Presence
from ..fleet import LocalFleet
from ..problems import Problem

LOOK_EVERY_S = 0.1
STARTED_AT_ONCE = 2
MEET_S = 60.0


class Line(msgspec.Struct, frozen=True):
    """What is read of a line of the log."""

    event: str
    mono: float
    node: str
    peer: str = ""
    state: str = ""


class View(NamedTuple):
    """That `node` thought so of `peer` from then on."""

    node: str
    peer: str
    state: Presence
    since: float


class Watched:
    """Make it with `start`. `changes` are all views that there ever were, as they were read."""

    def __init__(self, folder: Path) -> None:
        self.changes: list[View] = []
        self._folder = folder
        self._agents: dict[str, LocalFleet] = {}
        self._read: dict[Path, int] = {}
        self._views: dict[tuple[str, str], View] = {}

    @classmethod
    async def start(
        cls, nodes: int, folder: Path, *, within: Callable[[str], tuple[Sequence[str], str]] | None = None
    ) -> Watched:
        """So many agents, who all see each other. `within`: under which command, and at which address, each runs."""
        fleet = cls(folder)
        names = [f"n{number}" for number in range(1, nodes + 1)]
        try:
            await fleet.add(names[0], within)
            for place in range(1, nodes, STARTED_AT_ONCE):
                await asyncio.gather(*(fleet.add(name, within) for name in names[place : place + STARTED_AT_ONCE]))
            await fleet.until(fleet.whole, MEET_S)
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    async def add(self, name: str, within: Callable[[str], tuple[Sequence[str], str]] | None = None) -> None:
        """One more, or one that comes back."""
        entry = next((agent.address for other, agent in self._agents.items() if other != name and agent.alive), None)
        command, bind = within(name) if within is not None else ((), "tcp://127.0.0.1:0")
        flags = ["--insecure", *(("--join", entry) if entry is not None else ())]  # nobody else is in these networks
        self._agents[name] = await LocalFleet.start([name], run=self._folder, flags=flags, bind=bind, within=command)

    async def stop(self) -> None:
        self.signal(self.living, signal.SIGCONT)
        await asyncio.gather(*(agent.stop() for agent in self._agents.values()))

    @property
    def living(self) -> list[str]:
        return sorted(name for name, agent in self._agents.items() if agent.alive)

    def kill(self, name: str) -> float:
        """kill -9; the monotonic time at which it was done."""
        self._agents[name].kill(name)
        return time.monotonic()

    def signal(self, names: Sequence[str], number: signal.Signals) -> float:
        for name in names:
            os.kill(self._agents[name].agents[name].pid, number)
        return time.monotonic()

    # -- what the logs say

    def views(self, peer: str) -> list[View]:
        """What the living think of one."""
        return [view for view in self._views.values() if view.peer == peer and view.node in self.living]

    def whole(self) -> bool:
        """All who live see all who live, and nobody is suspect."""
        living = self.living
        seen = {(view.node, view.peer) for view in self._views.values() if view.state is Presence.ALIVE}
        return all((node, peer) in seen for node in living for peer in living if node != peer)

    async def until(self, holds: Callable[[], bool], limit_s: float) -> None:
        """Read on until this holds. Raises Problem."""
        end = time.monotonic() + limit_s
        self.look()
        while not holds():
            if time.monotonic() > end:
                raise Problem(f"the agents do not see what they should after {limit_s:g} s")
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Read what the logs have gained."""
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in self._lines(path):
                if line.event == PeerState.name:
                    view = View(line.node, line.peer, Presence(line.state), line.mono)
                    self._views[view.node, view.peer] = view
                    self.changes.append(view)
                elif line.event == "node.start":
                    self._views = {pair: view for pair, view in self._views.items() if pair[0] != line.node}

    def _lines(self, path: Path) -> Iterator[Line]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            for raw in file:
                if raw.endswith(b"\n"):
                    self._read[path] = self._read.get(path, 0) + len(raw)
                    yield msgspec.json.decode(raw, type=Line)
