"""A fleet of this program's own: what may be said of it, and its agents' lives.

    OwnFleet(4, speeds=[1, 1, 2, 4])
        .connect() -> Connection       the first starts the agents and waits until all are ready
        .kill("n2")                    kill -9
        .end()                         no process is left

Its nodes are this very machine and this very user, so they may run what this program may run: unless told otherwise,
any function that can be imported here, and any command. They import from where this program does.

Invariant: when `end` returns, or `connect` raises, no agent is left; if this process is killed, they end by themselves.
"""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from ..client import Connection
from ..fleet import LocalFleet
from ..problems import Exit, Problem

ANYTHING = ("*:*", "command")
"""Every function by its name, and commands."""
READY_S = 30.0
CONNECT_S = 3.0


class FleetOptions(TypedDict, total=False):
    """What may be said of a local fleet.

    `speeds`: of each node, relative to the others (default: all alike). `slots`: how many tasks each runs at a time.
    `allow`: which functions and kinds, full names or patterns (default: ANYTHING). `code`: folders that functions are
    imported from (default: those of this program). `run`: the folder of its logs (default: a new one under `runs`).
    `flags`: more flags of `parley up` for every node; `flags_of`: for the one of that name.
    """

    speeds: Sequence[float]
    slots: int
    allow: Sequence[str]
    code: Sequence[str | Path]
    run: str | Path
    flags: Sequence[str]
    flags_of: Mapping[str, Sequence[str]]


class OwnFleet:
    """`nodes`: how many, named n1, n2, ...; or their names."""

    def __init__(self, nodes: int | Sequence[str], **options: Unpack[FleetOptions]) -> None:
        if unknown := sorted(set(options) - FleetOptions.__annotations__.keys()):
            known = ", ".join(FleetOptions.__annotations__)
            raise Problem(f"a fleet has no option {unknown[0]}: the options are {known}", Exit.USAGE)
        self.names = [f"n{place}" for place in range(1, nodes + 1)] if isinstance(nodes, int) else list(nodes)
        self._options = options
        self._local: LocalFleet | None = None

    @property
    def run(self) -> Path:
        """Where its logs lie."""
        return self._started.run

    @property
    def alive(self) -> list[str]:
        """The names of the nodes whose processes run."""
        return self._started.alive

    def kill(self, name: str) -> None:
        """kill -9: no farewell. Raises Problem for a name that no node has."""
        if name not in self.names:
            raise Problem(f"there is no node {name} in this fleet: the nodes are {', '.join(self.names)}", Exit.USAGE)
        if name in self.alive:
            self._started.kill(name)

    async def connect(self) -> Connection:
        """To the first agent that lives. Raises Problem if the fleet cannot be started."""
        if self._local is not None:
            return await self._connect(self._local)
        local = await self._start()
        try:
            connection = await self._connect(local)
            await connection.ready(len(self.names), READY_S)
        except BaseException:
            await local.stop()
            raise
        self._local = local
        return connection

    async def end(self) -> None:
        if self._local is not None:
            await self._local.stop()

    @property
    def _started(self) -> LocalFleet:
        assert self._local is not None
        return self._local

    async def _start(self) -> LocalFleet:
        options = self._options
        code = options.get("code")
        run = options.get("run")
        return await LocalFleet.start(
            self.names,
            speeds=options.get("speeds"),
            slots=options.get("slots", 1),
            allow=options.get("allow", ANYTHING),
            code=importable_folders() if code is None else [Path(folder) for folder in code],
            run=None if run is None else Path(run),
            flags=options.get("flags", ()),
            flags_of=options.get("flags_of", {}),
        )

    async def _connect(self, local: LocalFleet) -> Connection:
        addresses = [local.agents[name].address for name in local.alive]
        return await Connection.connect(addresses or [local.address], CONNECT_S)


def importable_folders() -> list[Path]:
    """Where this program imports from, apart from where every Python does."""
    everybodys = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    everybodys |= {path / "lib-dynload" for path in everybodys} | {Path(site.getusersitepackages())}
    folders = dict.fromkeys(Path(entry).absolute() for entry in sys.path)
    return [folder for folder in folders if folder.is_dir() and folder not in everybodys]
