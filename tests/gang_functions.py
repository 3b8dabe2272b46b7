"""What members of gangs run in the tests."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

LOOK_S = 0.01


def seat() -> dict[str, str]:
    """Who a member is, by its environment."""
    return {name: value for name, value in os.environ.items() if name.startswith("PARLEY_")}


def sum_of_ranks(folder: str) -> int:
    """Rank 0 listens, says in a file where, and tells all others the sum of what they tell it. It cannot end unless all
    run at once."""
    rank, size = int(os.environ["PARLEY_RANK"]), int(os.environ["PARLEY_SIZE"])
    host, said = os.environ["PARLEY_PEERS"].split(",")[0], Path(folder, f"port of {os.environ['PARLEY_EPOCH']}")
    if rank:
        while not said.exists():
            time.sleep(LOOK_S)
        with socket.create_connection((host, int(said.read_text()))) as line:
            line.sendall(bytes([rank]))
            return line.recv(1)[0]
    with socket.create_server((host, 0)) as door:
        part = said.with_suffix(".part")
        part.write_text(str(door.getsockname()[1]))
        part.rename(said)
        lines = [door.accept()[0] for _ in range(size - 1)]
        total = sum(line.recv(1)[0] for line in lines)
        for line in lines:
            line.sendall(bytes([total]))
            line.close()
        return total


def hangs_at_first(folder: str) -> int:
    """The first attempt never ends; each member says in a file that it has begun."""
    Path(folder, f"{os.environ['PARLEY_EPOCH']} {os.environ['PARLEY_RANK']} {os.getpid()}").touch()
    if not list(Path(folder).glob("again")):
        signal.pause()
    return int(os.environ["PARLEY_RANK"])


def large(megabytes: int) -> bytes:
    """Of its rank, so much."""
    return bytes([int(os.environ["PARLEY_RANK"])]) * (megabytes * 1024 * 1024)
