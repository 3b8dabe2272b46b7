"""What every measurement needs: a fleet of real agents in a folder that goes with it, and a client of the first."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ..client import Connection
from ..fleet import LocalFleet

READY_S = 30.0
PLAIN = ("--holders=1", "--no-journal")
"""Nothing is held by others or written down: what that costs is measured by `durability`."""


@asynccontextmanager
async def fleet_of(
    nodes: int, *, speeds: Sequence[float] | None = None, rule: str = "contract-net", flags: Sequence[str] = PLAIN
) -> AsyncIterator[tuple[LocalFleet, Connection]]:
    """So many agents, all ready for work; `flags` are more flags of `parley up`."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"n{number}" for number in range(1, nodes + 1)]
        async with (
            await LocalFleet.start(names, speeds=speeds, rule=rule, run=Path(folder), flags=flags) as fleet,
            await Connection.connect([fleet.address]) as client,
        ):
            await client.ready(nodes, READY_S)
            yield fleet, client
