"""Agents to which everything happens: one fault after another, each of which ends by itself.

    kill       kill -9; it comes back with its journal
    stop       SIGSTOP, and SIGCONT later
    leave      it goes at once, and comes back
    drain      it is told to end what it has (SIGTERM), goes, and comes back
    cut        the network in two halves, for a while; clients see one of them
    garbage    a stranger says nonsense at its port
    client     a client is gone from one moment to the next
    death      kill -9 of one agent, once, which never comes back

With three holders a task stands one death for good; whoever else goes comes back. Half of them are well at any time.

Invariant: after `heal` all but the dead one listen and see one network.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import zmq

from ..problems import Problem
from .apart import Apart, Equipment
from .halves import Halves
from .soak_fleet import equipment

AWAY_S = (0.3, 3.0)
ASLEEP_S = (0.1, 4.0)
CUT_S = (0.5, 4.0)
HOLDERS = 3
"""So many stay: a task that is handed in to fewer has one holder, and nobody promises that it outlives that one."""
DRAIN_S = 5.0
STARTS_MAX = 10
"""So often one is started that finds nobody to join: all that it was told of may sleep, or be cut off."""
AGAIN_S = 1.0
GARBAGE_BYTES = 100_000
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
"""What a ZMTP peer says first."""
WEIGHTS = {"kill": 30, "stop": 20, "leave": 10, "drain": 8, "cut": 5, "garbage": 15, "client": 12}


class ChaosFleet:
    """Make it, then `start`. `happened` counts the faults; `halves` are the network's, if it can be cut."""

    def __init__(
        self, agents: int, folder: Path, rng: random.Random, halves: Halves | None, client_dies: Callable[[], None]
    ) -> None:
        self.names = [f"n{number}" for number in range(1, agents + 1)]
        self.happened: Counter[str] = Counter()
        self.dead = ""
        self._rng = rng
        self._halves = halves
        self._client_dies = client_dies
        self._well = set(self.names)
        self._is_cut = False
        self._under_way: set[asyncio.Task[None]] = set()
        self._agents = Apart(folder, self._equipment)

    async def start(self) -> None:
        await self._agents.start(self.names)

    async def stop(self) -> None:
        for fault in self._under_way:
            fault.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._halves is not None and self._is_cut:
            self._halves.plug()
        await self._agents.stop()

    async def heal(self) -> None:
        """Until whatever happens is over. Raises what went wrong with the faults themselves."""
        await asyncio.gather(*self._under_way)

    def addresses(self) -> dict[str, str]:
        """Of those that are well, by name."""
        return {name: self._agents.address(name) for name in sorted(self._well)}

    def strike(self) -> None:
        """One more fault."""
        kinds = [kind for kind in WEIGHTS if self._may(kind)]
        [kind] = self._rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])
        self.happened[kind] += 1
        match kind:
            case "cut":
                self._begin(self._cut(self._rng.uniform(*CUT_S)))
            case "client":
                self._client_dies()
            case "garbage":
                self._begin(_garbage(self._agents.address(self._one()), self._rng))
            case _:
                name = self._one()
                self._well.discard(name)
                away_s = self._rng.uniform(*(ASLEEP_S if kind == "stop" else AWAY_S))
                self._begin(self._asleep(name, away_s) if kind == "stop" else self._away(name, kind, away_s))

    def die(self) -> None:
        """One is dead for good."""
        self.dead = self._one()
        self.happened["death"] += 1
        self._well.discard(self.dead)
        self._agents.kill(self.dead)

    def _may(self, kind: str) -> bool:
        match kind:
            case "cut":
                return self._halves is not None and not self._is_cut
            case "client" | "garbage":
                return True
        return len(self._well) > max(len(self.names) // 2, HOLDERS)

    def _one(self) -> str:
        return self._rng.choice(sorted(self._well))

    def _begin(self, fault: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(fault)
        self._under_way.add(task)
        task.add_done_callback(lambda ended: self._under_way.discard(ended) if not _failed(ended) else None)

    async def _asleep(self, name: str, seconds: float) -> None:
        self._agents.signal([name], signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._agents.signal([name], signal.SIGCONT)
        self._well.add(name)

    async def _away(self, name: str, how: str, seconds: float) -> None:
        if how == "kill":
            self._agents.kill(name)
        elif how == "drain":
            self._agents.signal([name], signal.SIGTERM)
            await self._agents.gone(name, DRAIN_S)
        await self._agents.end(name)
        await asyncio.sleep(seconds)
        for attempt in range(STARTS_MAX):
            try:
                await self._agents.add(name)
            except Problem:
                if attempt == STARTS_MAX - 1:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                break
        self._well.add(name)

    async def _cut(self, seconds: float) -> None:
        assert self._halves is not None
        self._is_cut = True
        self._halves.pull()
        await asyncio.sleep(seconds)
        self._halves.plug()
        self._is_cut = False

    def _equipment(self, name: str) -> Equipment:
        number = self.names.index(name)
        own = equipment(number)
        if self._halves is None:
            return own
        return Equipment(
            own.speed,
            own.slots,
            own.allow,
            own.seed,
            (*own.flags, "--insecure"),  # nobody else is in these networks
            f"tcp://{self._halves.address(number % 2)}:0",
            tuple(self._halves.within(number % 2)),
        )


def _failed(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is not None


async def _garbage(address: str, rng: random.Random) -> None:
    """Bytes that are no ZMTP, bytes that begin like it, or frames of ZMTP that are no message of ours."""
    shape, noise = rng.randrange(3), rng.randbytes(rng.randrange(1, GARBAGE_BYTES))
    if shape == 2:
        frames = [noise[place::4][: rng.randrange(1, 2_000)] for place in range(rng.randrange(1, 5))]
        await asyncio.to_thread(_say_frames, address, frames)
    else:
        await asyncio.to_thread(_say_bytes, address, GREETING + noise if shape else noise)


def _say_bytes(address: str, noise: bytes) -> None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 1.0) as line:
            line.sendall(noise)
    except OSError:
        pass  # it has hung up, as it should, or is on the other side of a cut


def _say_frames(address: str, frames: Sequence[bytes]) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as line:
        line.linger = 200
        line.setsockopt(zmq.ROUTING_ID, os.urandom(16))
        line.connect(address)
        line.send_multipart(frames)
