"""Agents that come and go alone: each is a local fleet of its own, and joins some that live.

    agents = Apart(folder, equipment)          equipment("n3") -> with what n3 is started, each time
    await agents.start(["n1", "n2", "n3"])
    agents.kill("n3"); await agents.end("n3"); await agents.add("n3")     again with its log and its journal

Invariant: whatever was started is ended by `stop`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..fleet import LocalFleet

STARTED_AT_ONCE = 3
LOOK_EVERY_S = 0.05
JOINED_MAX = 4
"""So many are named to one that joins: some of them may sleep."""


@dataclass(frozen=True)
class Equipment:
    """Of one agent: as `LocalFleet.start` has it."""

    speed: float = 1.0
    slots: int = 1
    allow: tuple[str, ...] = ()
    seed: int = 0
    flags: tuple[str, ...] = ()
    bind: str = "tcp://127.0.0.1:0"
    within: tuple[str, ...] = ()


class Apart:
    """All of them write into one folder, which is a run."""

    def __init__(self, folder: Path, equipment: Callable[[str], Equipment] = lambda name: Equipment()) -> None:
        self.folder = folder
        self._equipment = equipment
        self._agents: dict[str, LocalFleet] = {}

    async def start(self, names: Sequence[str]) -> None:
        """The first of them, then the rest; all listen when this returns. Raises Problem, with nothing left running."""
        try:
            await self.add(names[0])
            for place in range(1, len(names), STARTED_AT_ONCE):
                await asyncio.gather(*map(self.add, names[place : place + STARTED_AT_ONCE]))
        except BaseException:
            await self.stop()
            raise

    async def add(self, name: str) -> None:
        """One more, or one that comes back."""
        others = [agent.address for other, agent in self._agents.items() if other != name and agent.alive]
        own = self._equipment(name)
        self._agents[name] = await LocalFleet.start(
            [name],
            speeds=[own.speed],
            slots=own.slots,
            allow=own.allow,
            seed=own.seed,
            run=self.folder,
            bind=own.bind,
            flags=[*own.flags, *(f"--join={address}" for address in others[:JOINED_MAX])],
            within=own.within,
        )

    async def gone(self, name: str, timeout_s: float) -> None:
        """Until its process has ended by itself, or so long."""
        end = time.monotonic() + timeout_s
        while self._agents[name].alive and time.monotonic() < end:
            await asyncio.sleep(LOOK_EVERY_S)

    async def end(self, name: str) -> None:
        """Let it go at once, if it lives."""
        await self._agents[name].stop()

    async def stop(self) -> None:
        """All of them, also those that sleep."""
        self.signal(self.living, signal.SIGCONT)
        await asyncio.gather(*(agent.stop() for agent in self._agents.values()))

    @property
    def living(self) -> list[str]:
        """By name, those whose process has not ended."""
        return sorted(name for name, agent in self._agents.items() if agent.alive)

    def address(self, name: str) -> str:
        return self._agents[name].address

    def pid(self, name: str) -> int:
        return self._agents[name].agents[name].pid

    def kill(self, name: str) -> None:
        """kill -9: no farewell."""
        self._agents[name].kill(name)

    def signal(self, names: Sequence[str], number: signal.Signals) -> None:
        for name in names:
            os.kill(self.pid(name), number)
