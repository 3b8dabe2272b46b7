"""A session between real processes: one per node, over ZeroMQ, each told its own column only (session_host.py).

The parent starts them, tells each where the others are, lets all begin, and hears from each what it has come to. It
takes no part in the session. Whatever happens, all are ended by their process ids before it returns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TypeVar

import msgspec

from ...protocols.batch import Division
from ...protocols.core import NodeId, ProtocolError
from ..problems import Problem
from .instances import Instance
from .session_host import LINE_BYTES_MAX, Here, Setup, Told
from .sessions import Played, names_of

NODES_MAX = 64
START_S = 60.0
"""So long all may take to start and to find each other."""
SESSION_S_MAX = 1800.0
END_S = 5.0

T = TypeVar("T")


def play(instance: Instance, protocol: str, mode: str, seed: int, *, loss: float = 0.0, trade: bool = True) -> Played:
    """`seconds` of what is played are those of the session, from its beginning to its last end, on this machine. Raises
    Problem where a process fails, ProtocolError where they have not come to one result."""
    if len(instance.costs) > NODES_MAX:
        raise Problem(f"{instance.name} has {len(instance.costs)} nodes: as processes there may be {NODES_MAX}")
    told = asyncio.run(_play(instance, protocol, mode, seed, loss, trade))
    first = told[0]
    if any(other.tasks != first.tasks or other.value != first.value or other.bound != first.bound for other in told):
        raise ProtocolError(f"{protocol} by {mode} on {instance.name}: the processes have not come to one result")
    nothing = float("inf")
    division = Division(
        {node: tuple(tasks) for node, tasks in first.tasks.items()},
        nothing if first.value is None else first.value,
        first.overload,
        -nothing if first.bound is None else first.bound,
    )
    return Played(
        division,
        max(each.rounds for each in told),
        sum(each.messages for each in told),
        sum(each.deliveries for each in told),
        sum(each.bytes for each in told),
        max(each.seconds for each in told),
    )


async def _play(
    instance: Instance, protocol: str, mode: str, seed: int, loss: float, trade: bool
) -> list[Told]:
    names = names_of(len(instance.costs))
    hosts: dict[NodeId, _Process] = {}
    try:
        for row, name in enumerate(names):
            own = instance.column(row)
            setup = Setup(
                tuple(names), row, own.costs.tolist(), None if own.demands is None else own.demands.tolist(),
                own.capacity, protocol, mode, seed, trade, loss,
            )  # fmt: skip
            hosts[name] = await _Process.start(name)
            hosts[name].tell(setup)
        by = time.monotonic() + START_S
        peers = {name: await host.hear(Here, by) for name, host in hosts.items()}
        for host in hosts.values():
            host.tell(peers)
        for host in hosts.values():
            await host.hear(str, by)
        for host in hosts.values():
            host.tell("begin")
        by = time.monotonic() + SESSION_S_MAX
        return [await host.hear(Told, by) for host in hosts.values()]
    finally:
        await asyncio.gather(*(host.end() for host in hosts.values()))


class _Process:
    """One host."""

    def __init__(self, name: NodeId, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    @classmethod
    async def start(cls, name: NodeId) -> _Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "parley.launch.bench.session_host"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        return cls(name, process)

    def tell(self, what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(what) + b"\n")

    async def hear(self, kind: type[T], by: float) -> T:
        """Its next line. Raises Problem if there is none by then."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(max(by - time.monotonic(), 0.0)):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise Problem(f"the process of {self._name} has not answered in time") from None
        if not line:
            raise Problem(
                f"the process of {self._name} has ended before its time, with code {await self._process.wait()}"
            )
        return msgspec.json.decode(line, type=kind)

    async def end(self) -> None:
        """Close its input, which it takes for the end; kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
