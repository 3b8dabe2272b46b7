"""The agents of a soak: unequal, looked at all the time, and some of them killed or sent away, and started again.

    n1 ... n4         take tasks in; they stay, since a task goes with the agent that took it in
    n5 ... n12        stay as well
    n13 ... n16       now and then one is killed, or leaves in peace, and comes back a little later

Each joins any that lives, so that it can go and come alone (`apart.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from . import soak_functions
from .apart import Apart, Equipment
from .growth import Series
from .holdings import held_by
from .soak_tasks import AMOUNT

SPEEDS = (1.0, 1.0, 2.0, 4.0)
AWAY_S = (0.5, 3.0)
SETTLE_S = 1.0
"""So long it takes until all are connected to one that has come."""


class SoakFleet:
    """Make it with `start`. `series` is what was seen of each agent that stays; `restarts` how often one came back."""

    def __init__(self, agents: int, folder: Path) -> None:
        self.names = [f"n{number}" for number in range(1, agents + 1)]
        quarter = max(agents // 4, 1)
        self.desks = self.names[: max(quarter, 2)]
        self.victims = self.names[-quarter:]
        self.series: dict[str, Series] = {name: Series() for name in self.names if name not in self.victims}
        self.restarts = 0
        self._complete_since: float | None = 0.0  # since when all are there; None: one is away
        self._agents = Apart(folder, self._equipment)

    @classmethod
    async def start(cls, agents: int, folder: Path) -> SoakFleet:
        """All of them listen when this returns."""
        fleet = cls(agents, folder)
        await fleet._agents.start(fleet.names)
        return fleet

    async def stop(self) -> None:
        await self._agents.stop()

    def address(self, name: str) -> str:
        return self._agents.address(name)

    async def trouble(self, rng: random.Random, every_s: float) -> None:
        """Now and then one goes and comes back; until it is cancelled."""
        while True:
            await asyncio.sleep(rng.expovariate(1.0 / every_s))
            name = rng.choice(self.victims)
            self._complete_since = None
            if rng.random() < 0.5:
                self._agents.kill(name)
            await self._agents.end(name)
            await asyncio.sleep(rng.uniform(*AWAY_S))
            await self._agents.add(name)
            self.restarts += 1
            self._complete_since = time.monotonic()

    async def look(self, every_s: float) -> None:
        """At all that stay; until it is cancelled. Not while one is away: it takes connections with it."""
        while True:
            await asyncio.sleep(every_s)
            if self._complete_since is None or time.monotonic() - self._complete_since < SETTLE_S:
                continue
            for name, series in self.series.items():
                held = await asyncio.to_thread(held_by, self._agents.pid(name))
                if held is not None:
                    series.add(time.monotonic(), held)

    def _equipment(self, name: str) -> Equipment:
        return equipment(self.names.index(name))


def equipment(number: int) -> Equipment:
    """Of the agent of this number, from 0: every one is at one of two sites, every third has a gpu."""
    own = [f"--tag=site={'ab'[number % 2]}"]
    if number % 3 == 0:
        own += ["--tag=gpu", f"--have={AMOUNT}=8GiB"]
    return Equipment(
        speed=SPEEDS[number % len(SPEEDS)],
        slots=1 + number % 2,
        allow=(f"{soak_functions.MODULE}:*",),
        seed=number,
        flags=tuple(own),
    )
