"""Which agents run on this machine: each leaves a small file while it listens, and commands find the newest that lives.

The files stand under `$XDG_RUNTIME_DIR/parley`, or in a folder of this user's own under the temporary one; a file whose
process is gone is passed over.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from .fleet import Listening


def folder() -> Path:
    """Where the files stand; made if need be, for this user only."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    place = Path(runtime) / "parley" if runtime else Path(tempfile.gettempdir()) / f"parley-{os.getuid()}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


@contextlib.contextmanager
def announced(entry: Listening) -> Iterator[None]:
    """The file stands while the agent does."""
    path = folder() / f"{entry.pid}.json"
    path.write_bytes(msgspec.json.encode(entry))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def newest() -> Listening | None:
    """The agent started last among those that live."""
    for path in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=Listening)
        except (OSError, msgspec.MsgspecError):
            continue
        if psutil.pid_exists(entry.pid):
            return entry
        path.unlink(missing_ok=True)
    return None
