"""What a process holds: memory, file descriptors, processes that it has started."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import psutil

MB = 1e6
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Holding(msgspec.Struct, frozen=True):
    """`memory_mb` is resident, `peak_mb` the most that it ever was, as far as the system tells."""

    memory_mb: float
    peak_mb: float
    descriptors: int
    children: int


def held_by(pid: int) -> Holding | None:
    """None: it has ended."""
    try:
        process = psutil.Process(pid)
        memory_mb = process.memory_info().rss / MB
        descriptors, children = process.num_fds(), len(process.children(recursive=True))
        return Holding(memory_mb, max(_peak_mb(pid), memory_mb), descriptors, children)
    except psutil.Error:
        return None


def _peak_mb(pid: int) -> float:
    """0 where the system does not tell: then what was seen counts."""
    try:
        told = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(told[1]) * 1024 / MB if told else 0.0
