"""What this machine has for us: cores, memory, open files, a name.

    cores  : the cores this process may run on (its affinity), not those that are soldered in
    memory : the smaller of what is built in and what the control group allows; a container sees the host's
    files  : how many may be open at a time

A node offers its cores and `MEMORY_PART` of its memory unless its owner says otherwise (`--have`).

Invariant: nothing here fails; what cannot be told is None, and then nothing is offered of it.
"""

from __future__ import annotations

import os
import re
import resource
import socket
from pathlib import Path

MEMORY_PART = 0.9
"""Of the memory, what tasks may have: the rest is the agent's and the system's."""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def cores() -> int:
    """On how many cores this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """How much memory this process may fill."""
    import psutil

    total = int(psutil.virtual_memory().total)
    allowed = group_memory_bytes()
    return total if allowed is None else min(total, allowed)


def group_memory_bytes(groups: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> int | None:
    """The least that this process's control group, or one above it, allows; None: nobody limits it.

    Both hierarchies are read: a line `0::/path` is of the second, `N:memory:/path` of the first. In a container the
    path may be the host's; then its own groups stand at the root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            limits += _limits(groups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(groups / "memory", path, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """From the group itself up to the root; "max" is no number."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    found = []
    for depth in range(len(parts), -1, -1):
        try:
            text = root.joinpath(*parts[:depth], name).read_text().strip()
        except OSError:
            continue
        if text.isascii() and text.isdigit():
            found.append(int(text))
    return found


def capacity(shares: int = 1) -> dict[str, float]:
    """What one of so many nodes on this machine has, unless its owner says otherwise: cores, and bytes of memory."""
    return {"cpu": cores() / shares, "memory": float(int(MEMORY_PART * memory_bytes() / shares))}


def files_max() -> int | None:
    """How many files this process may have open at a time; None: any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def host_name() -> str:
    """This machine's name, as the name of a node: up to the first dot, other characters become "-"."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname().partition(".")[0])
    return name.lstrip("_-")[:64] or "node"
