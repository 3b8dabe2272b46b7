"""N local agent processes: start them, watch them, kill them, stop them.

The first is started on an ephemeral port and says where it listens; the others join it. Each is a process of its own,
`python -P -m parley up`, never a fork, so an unguarded script or a notebook may start a fleet. They are tied to the
process that started them: when it goes, however it goes, they go.

    fleet = await LocalFleet.start(["n1", "n2"], speeds=[1.0, 4.0])
    fleet.address -> "tcp://127.0.0.1:40213"
    fleet.kill("n2")
    await fleet.stop()

They share one machine: each has its part of the cores and of the memory, unless its own flags say otherwise. They run
commands, as whoever starts them might do himself. No settings of files or of the environment reach them. They stay on
the loopback and need no keys; `flags` may give them some.

Invariant: however `start` and `stop` end, every process has ended or is tied to this one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from . import machine
from .problems import Problem

START_S = 20.0
STOP_S = 5.0
"""So long they get to leave in peace."""
NODES_MAX = 64
OWN_SETTINGS = ("PARLEY_UP_", "PARLEY_KEYS")
"""What the environment says of agents of one's own does not hold for these."""


class Listening(msgspec.Struct, frozen=True):
    """The line that `parley up --json` prints when it listens."""

    node: str
    address: str
    pid: int


class LocalFleet:
    """Local agents, by name. Make it with `start`."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.agents: dict[str, Listening] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._within: tuple[str, ...] = ()

    @classmethod
    async def start(
        cls,
        names: Sequence[str],
        *,
        speeds: Sequence[float] | None = None,
        slots: int = 1,
        allow: Sequence[str] = (),
        code: Sequence[Path] = (),
        rule: str = "contract-net",
        level: str = "info",
        seed: int = 0,
        run: Path | None = None,
        bind: str = "tcp://127.0.0.1:0",
        flags: Sequence[str] = (),
        flags_of: Mapping[str, Sequence[str]] = MappingProxyType({}),
        within: Sequence[str] = (),
    ) -> LocalFleet:
        """Start one agent per name; all listen when this returns. Raises Problem, with nothing left running.

        `flags` are more flags of `parley up` for every agent, such as --tag, `flags_of` for the one of that name;
        `allow` is what they run besides commands. `within` is a command that runs them, such as `ip netns exec NAME`.
        """
        speeds = speeds if speeds is not None else [1.0] * len(names)
        if len(speeds) != len(names) or len(set(names)) != len(names):
            raise Problem("a fleet needs one speed per node, and a name of its own for each")
        if not 1 <= len(names) <= NODES_MAX:
            raise Problem(f"a local fleet has 1 to {NODES_MAX} nodes")
        if strangers := sorted(set(flags_of) - set(names)):
            raise Problem(f"there is no node {strangers[0]} in this fleet: the nodes are {', '.join(names)}")
        fleet = cls(run or new_run())
        fleet._within = tuple(within)
        shared = [f"--slots={slots}", f"--fastest={max(speeds)}", f"--rule={rule}", f"--log-level={level}"]
        shared += [f"--bind={bind}", f"--folder={fleet.run}", "--with-parent", "--json"]
        shared += [f"--have={name}={amount!r}" for name, amount in machine.capacity(len(names)).items()]
        shared += [f"--allow={kind}" for kind in ("command", *allow)] + [f"--code={folder}" for folder in code]
        shared += flags
        try:
            for place, name in enumerate(names):
                join = [f"--join={fleet.address}"] if place else []
                own = [*join, f"--speed={speeds[place]}", f"--seed={seed + place}", *flags_of.get(name, ())]
                await fleet._launch(name, [*shared, *own])
                if not place:
                    await fleet._listening(name)
            await asyncio.gather(*(fleet._listening(name) for name in names[1:]))
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    async def __aenter__(self) -> LocalFleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """Of the first agent."""
        return next(iter(self.agents.values())).address

    @property
    def alive(self) -> list[str]:
        return [name for name, process in self._processes.items() if process.returncode is None]

    def kill(self, name: str) -> None:
        """kill -9: no farewell."""
        self._processes[name].kill()

    async def stop(self) -> None:
        """Let all go at once, and kill those that do not, or have nothing yet to leave. Large values go with them."""
        living = {name: self._processes[name] for name in self.alive}
        for name, process in living.items():
            if name not in self.agents:
                process.kill()  # whom it is to join is leaving: it would ask until it gives up
            elif process.stdin is not None:
                process.stdin.close()  # what ties them to us: they leave, as they do when we die
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(*(process.wait() for process in living.values()))
        except TimeoutError:
            pass
        finally:
            for process in living.values():
                if process.returncode is None:
                    process.kill()
        await asyncio.gather(*(process.wait() for process in living.values()))
        await asyncio.to_thread(shutil.rmtree, self.run / "blobs", ignore_errors=True)  # their logs stay

    async def _launch(self, name: str, options: Sequence[str]) -> None:
        self._processes[name] = await asyncio.create_subprocess_exec(
            *(*self._within, sys.executable, "-P", "-m", "parley", "--no-config", "up", f"--name={name}", *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)},
        )

    async def _listening(self, name: str) -> None:
        process = self._processes[name]
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_S)
            self.agents[name] = msgspec.json.decode(line, type=Listening)
        except (TimeoutError, msgspec.DecodeError):
            raise Problem(f"the agent {name} did not start; its last words stand above") from None


def new_run(folder: Path = Path("runs")) -> Path:
    """A new run folder, `<utc>-<4 chars>`, and the link `last` to it. Raises Problem if it cannot be made."""
    run = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
    try:
        run.mkdir(parents=True)
        link = folder / f".last-{run.name}"
        link.symlink_to(run.name)
        os.replace(link, folder / "last")
    except OSError as error:
        raise Problem(f"cannot make the run folder {run}: {error.strerror}") from None
    return run.absolute()
