"""The large values of this process: what it hands in, and what results refer to. One folder, made when it is needed,
gone when the process ends.

    lift(arguments, SPOOL)        what is large in them lies in the folder and travels from there
    unpack(outcome.value, SPOOL)  what is large in it is mapped, or read, from there
    read_blob, save_blob          what a result only refers to, such as a file that a command has kept

Invariants: all connections of the process share it, each with its own pins; it is bounded by BLOBS_BYTES_MAX and by
half of what is free on its disk; a forked child has one of its own.
"""

from __future__ import annotations

import atexit
import mmap
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from ..agents.blob_folder import BlobError, is_gone
from ..agents.blobs import BLOBS_BYTES_MAX, BlobStore
from ..agents.payload import Blob
from .problems import Problem

PREFIX = "parley-values-"

_lock = threading.Lock()
_store: BlobStore | None = None
_owner = 0
"""The process whose `_store` is."""


def store() -> BlobStore:
    """The one of this process. Raises OSError if its folder cannot be made."""
    global _store, _owner
    with _lock:
        if _store is None or _owner != os.getpid():
            parent = Path(tempfile.gettempdir())
            _tidy(parent)
            root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
            _store = BlobStore(root, bytes_max=min(BLOBS_BYTES_MAX, shutil.disk_usage(root).free // 2))
            _owner = os.getpid()
            atexit.register(_remove, root, _owner)
        return _store


def _remove(root: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(root, ignore_errors=True)


def _tidy(parent: Path) -> None:
    """Takes away what processes have left that were killed."""
    for left in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if left.stat().st_uid == os.getuid() and is_gone(left.name.removeprefix(PREFIX).partition("-")[0]):
                shutil.rmtree(left, ignore_errors=True)


def _after_fork() -> None:
    """The lock may have been held by a thread that is not here."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


class _Spool:
    """A `payload.Store`: that of this process, made when something is large."""

    def put(self, data: bytes | memoryview) -> Blob:
        return store().folder.put(data)

    def put_file(self, source: Path) -> Blob:
        return store().folder.put_file(source)

    def read(self, blob: Blob) -> bytes:
        return store().folder.read(blob)

    def map(self, blob: Blob) -> mmap.mmap:
        return store().folder.map(blob)


SPOOL = _Spool()


def read_blob(blob: Blob) -> bytes:
    """What a result of this process refers to. Raises Problem if it is not here any more."""
    try:
        return store().folder.read(blob)
    except (BlobError, OSError) as error:
        raise Problem(f"{error}; ask for the result again") from None


def save_blob(blob: Blob, path: str | os.PathLike[str]) -> None:
    """The same, into a file, in place of what is there. Raises Problem."""
    target = Path(path)
    fresh = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        store().folder.copy(blob, fresh)
        os.replace(fresh, target)
    except BlobError as error:
        raise Problem(f"{error}; ask for the result again") from None
    except OSError as error:
        raise Problem(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
