"""A fleet of real agents that is watched by its logs alone: who thinks what of whom, and since when.

Each agent can go and come back alone (`apart.py`). All of them run on this machine, whose monotonic clock stands in
every line of every log; so what one process did and another one noticed are compared exactly.

    fleet = await Watched.start(8, folder)
    at = fleet.kill("n3")                       # kill -9, and when
    await fleet.until(lambda: all(view.state is DEAD for view in fleet.views("n3")), 10.0)
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from ...protocols.swim_words import PeerState, Presence
from ..problems import Problem
from .apart import Apart, Equipment

LOOK_EVERY_S = 0.1
MEET_S = 60.0


Within: TypeAlias = Callable[[str], tuple[Sequence[str], str]]


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

    def __init__(self, folder: Path, within: Within | None = None) -> None:
        self.changes: list[View] = []
        self._folder = folder
        self._within = within
        self._agents = Apart(folder, self._equipment)
        self._read: dict[Path, int] = {}
        self._views: dict[tuple[str, str], View] = {}

    @classmethod
    async def start(cls, nodes: int, folder: Path, *, within: Within | None = None) -> Watched:
        """So many agents, who all see each other. `within`: under which command, and at which address, each runs."""
        fleet = cls(folder, within)
        await fleet._agents.start([f"n{number}" for number in range(1, nodes + 1)])
        try:
            await fleet.until(fleet.whole, MEET_S)
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    def _equipment(self, name: str) -> Equipment:
        command, bind = self._within(name) if self._within is not None else ((), "tcp://127.0.0.1:0")
        return Equipment(flags=("--insecure",), bind=bind, within=tuple(command))  # nobody else is in these networks

    async def add(self, name: str) -> None:
        """One more, or one that comes back."""
        await self._agents.add(name)

    async def stop(self) -> None:
        await self._agents.stop()

    @property
    def living(self) -> list[str]:
        return self._agents.living

    def kill(self, name: str) -> float:
        """kill -9; the monotonic time at which it was done."""
        self._agents.kill(name)
        return time.monotonic()

    def signal(self, names: Sequence[str], number: signal.Signals) -> float:
        self._agents.signal(names, number)
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
