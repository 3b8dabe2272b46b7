"""Which agents run on this machine: each leaves a small file while it listens, and commands find the newest that lives.

    an agent   : write, lock, rename into place ... unlink when it leaves
    a command  : read; a file that nobody holds locked is a dead agent's, and is taken away

The files stand under `$XDG_RUNTIME_DIR/parley`, or in a folder of this user's own under the temporary one.

Invariant: only what this user has written is believed, and an entry is living exactly as long as its process: the
system lets the lock go however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .problems import Problem


class Entry(msgspec.Struct, frozen=True):
    """An agent of this machine; `address` is where the machine itself reaches it, `keys` its folder of them, if any."""

    node: str
    address: str
    pid: int
    version: str = ""
    keys: str = ""


def folder() -> Path:
    """Where the files stand, or would."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(runtime) / "parley" if runtime else Path(tempfile.gettempdir()) / f"parley-{os.getuid()}"


def made() -> Path:
    """The folder, for this user only. Raises Problem if it cannot be had, or is somebody else's."""
    place = folder()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(place):
            raise Problem(f"the folder {place} is somebody else's: set XDG_RUNTIME_DIR to one of your own")
        if not os.access(place, os.W_OK | os.X_OK):
            raise Problem(f"the folder {place} cannot be written: set XDG_RUNTIME_DIR to one that can")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Problem(f"the folder {place} cannot be made: {reason}; set XDG_RUNTIME_DIR to one of your own") from None
    return place


def _is_ours(place: Path) -> bool:
    """Nobody else may write there."""
    status = place.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


@contextlib.contextmanager
def announced(entry: Entry) -> Iterator[None]:
    """The file stands while the agent does. Raises Problem."""
    path = made() / f"{entry.pid}.json"
    held = _written(path, msgspec.json.encode(entry))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(held)


def _written(path: Path, text: bytes) -> int:
    """The file, locked before anybody sees it. Raises Problem."""
    unfinished = path.with_suffix(".new")
    try:
        held = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        os.write(held, text)
        os.replace(unfinished, path)
    except OSError as error:
        raise Problem(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
    return held


def living() -> list[Entry]:
    """The agents of this machine, the one started last first."""
    place = folder()
    try:
        paths = list(place.glob("*.json")) if _is_ours(place) else []
    except OSError:
        return []
    found = [(_written_at(path), entry) for path in paths if (entry := _read(path)) is not None]
    return [entry for _, entry in sorted(found, key=lambda one: one[0], reverse=True)]


def _written_at(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def newest() -> Entry | None:
    """The agent started last among those that live."""
    return next(iter(living()), None)


def _read(path: Path) -> Entry | None:
    """The entry, if its agent lives; the file of a dead one is taken away."""
    with contextlib.suppress(OSError, msgspec.MsgspecError), path.open("rb") as file:
        entry = msgspec.json.decode(file.read(), type=Entry)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return entry
        path.unlink(missing_ok=True)
    return None
