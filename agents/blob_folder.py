"""A folder of blobs: files named by the hash of what is in them, shared by an agent and the workers it starts.

    FOLDER/ab/abcdef...    whole blobs; never changed, only taken away
    FOLDER/new/PID.RANDOM  on their way in: written, hashed, and then renamed to their name
    FOLDER/work/...        private folders of commands

Nobody believes a file because it lies there: whoever takes bytes out hashes them, and a file that is not what its name
says is thrown away and never used. A mapped file is private and copied where it is written to (`map`), so nobody can
change a blob by using it.

Invariants: a name is made of 32 bytes and nothing else, never of text that somebody sent; what has a name was hashed by
whoever gave it; a process that dies in the middle leaves a file in `new` only. Standard library and msgpack only, like
`payload`: workers must start quickly.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .payload import Blob

CHUNK_BYTES = 1024 * 1024
BIGGEST_IN_MEMORY_BYTES = 1 << 31
"""Text and bytes that a value holds, and not merely refers to, are read into memory: not more than this."""


class BlobError(Exception):
    """A blob is not here, or spoilt; the text is one sentence. Somebody else may have it."""


class BlobFolder:
    """The files below `root`. Every method blocks; OSError where the system says no."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._new = root / "new"

    def make(self) -> None:
        """Make the folder, for this user alone."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._new.mkdir(exist_ok=True)

    def path(self, blob: Blob) -> Path:
        if type(blob.hash) is not bytes or len(blob.hash) != hashlib.sha256().digest_size:
            raise BlobError("a blob is named by a hash of 32 bytes")
        name = blob.hash.hex()
        return self.root / name[:2] / name

    def has(self, blob: Blob) -> bool:
        """Is there a file of this name and size?"""
        try:
            return self.path(blob).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    # --- in ----------------------------------------------------------------------------------------------------------

    def put(self, data: bytes | memoryview) -> Blob:
        """Keep these bytes, if they are not kept already."""
        view = memoryview(data).cast("B")
        digest = hashlib.sha256(view).digest()
        blob = Blob(digest, view.nbytes)
        if not self._touch(blob):
            fresh = self.fresh()
            try:
                with fresh.open("wb") as file:
                    for begin in range(0, view.nbytes, CHUNK_BYTES):
                        file.write(view[begin : begin + CHUNK_BYTES])
                self.take(fresh, blob)
            finally:
                fresh.unlink(missing_ok=True)
        return blob

    def put_file(self, source: Path) -> Blob:
        """Keep a copy of what is in this file now."""
        fresh = self.fresh()
        try:
            hashed, size = hashlib.sha256(), 0
            with source.open("rb") as read, fresh.open("wb") as write:
                for chunk in _chunks(read.fileno()):
                    hashed.update(chunk)
                    size += len(chunk)
                    write.write(chunk)
            blob = Blob(hashed.digest(), size)
            if not self._touch(blob):
                self.take(fresh, blob)
        finally:
            fresh.unlink(missing_ok=True)
        return blob

    def move_in(self, source: Path) -> Blob:
        """Keep this regular file, which nobody writes to any more and which lies on the same file system."""
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            hashed, size = hashlib.sha256(), 0
            for chunk in _chunks(descriptor):
                hashed.update(chunk)
                size += len(chunk)
        finally:
            os.close(descriptor)
        blob = Blob(hashed.digest(), size)
        if not self._touch(blob):
            self.take(source, blob)
        return blob

    def fresh(self) -> Path:
        """A name in `new` that is nobody else's; the file is made by whoever writes it."""
        self._new.mkdir(parents=True, exist_ok=True)
        return self._new / f"{os.getpid()}.{os.urandom(8).hex()}"

    def take(self, fresh: Path, blob: Blob) -> None:
        """This file, whose hash is the blob's, gets its name."""
        path = self.path(blob)
        path.parent.mkdir(exist_ok=True)
        os.chmod(fresh, 0o600)
        os.replace(fresh, path)

    def _touch(self, blob: Blob) -> bool:
        """It is here already, and was used just now."""
        if not self.has(blob):
            return False
        with suppress(OSError):
            os.utime(self.path(blob))
        return True

    # --- out ---------------------------------------------------------------------------------------------------------

    def read(self, blob: Blob) -> bytes:
        """What it says. Raises BlobError."""
        if blob.size > BIGGEST_IN_MEMORY_BYTES:
            raise BlobError(f"{blob.size:,} bytes are too many for memory: send them as a file or an array")
        descriptor = self._open(blob)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(blob.size + 1)
        if len(data) != blob.size or hashlib.sha256(data).digest() != blob.hash:
            raise self._spoilt(blob)
        return data

    def map(self, blob: Blob) -> mmap.mmap:
        """Its bytes without reading them: writable, and what is written stays with the writer. Raises BlobError."""
        descriptor = self._open(blob)
        try:
            self._verify(blob, descriptor)
            return mmap.mmap(descriptor, blob.size, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)

    def copy(self, blob: Blob, to: Path) -> None:
        """Into a new file, which may be written to. Raises BlobError."""
        descriptor = self._open(blob)
        try:
            hashed, size = hashlib.sha256(), 0
            with to.open("xb") as write:
                for chunk in _chunks(descriptor):
                    hashed.update(chunk)
                    size += len(chunk)
                    write.write(chunk)
            if size != blob.size or hashed.digest() != blob.hash:
                to.unlink()
                raise self._spoilt(blob)
        finally:
            os.close(descriptor)

    def open(self, blob: Blob) -> int:
        """A descriptor to read it from, hashed. Raises BlobError."""
        descriptor = self._open(blob)
        try:
            self._verify(blob, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def part(self, blob: Blob, offset: int, size: int) -> bytes | None:
        """A part of it, as it lies there; None: it does not, or not in this size."""
        try:
            descriptor = self._open(blob)
        except BlobError:
            return None
        try:
            data = os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)
        return data if len(data) == min(size, blob.size - offset) else None

    def check(self, blob: Blob) -> bool:
        """Hash it; if it is not what its name says it is thrown away."""
        try:
            os.close(self.open(blob))
        except BlobError:
            return False
        return True

    def _open(self, blob: Blob) -> int:
        try:
            descriptor = os.open(self.path(blob), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobError(f"a large value, {blob}, is not here") from None
        if os.fstat(descriptor).st_size != blob.size:
            os.close(descriptor)
            raise self._spoilt(blob)
        return descriptor

    def _verify(self, blob: Blob, descriptor: int) -> None:
        hashed = hashlib.sha256()
        for chunk in _chunks(descriptor):
            hashed.update(chunk)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if hashed.digest() != blob.hash:
            raise self._spoilt(blob)

    def _spoilt(self, blob: Blob) -> BlobError:
        """It is thrown away, if the file is to blame and not the size that somebody gave it."""
        path = self.path(blob)
        with suppress(OSError):
            hashed = hashlib.sha256()
            with path.open("rb") as file:
                for chunk in _chunks(file.fileno()):
                    hashed.update(chunk)
            if hashed.digest() != blob.hash:
                path.unlink()
        return BlobError(f"a large value, {blob}, lay here and was spoilt: it is thrown away")

    # --- looking after it --------------------------------------------------------------------------------------------

    def remove(self, blob: Blob) -> None:
        """Whoever has mapped or opened it keeps it."""
        self.path(blob).unlink(missing_ok=True)

    def blobs(self) -> list[Blob]:
        """All files that have the name of one, the least recently used first."""
        found: list[tuple[float, Blob]] = []
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError):
                for entry in os.scandir(folder):
                    blob = _named(entry)
                    if blob is not None:
                        found.append((entry.stat().st_mtime, blob))
        return [blob for _, blob in sorted(found, key=lambda one: one[0])]

    def tidy(self, *, alone: bool = False) -> None:
        """Takes away what processes that are gone have begun and not finished; all of it where we are `alone`."""
        for path in self._new.glob("*"):
            if alone or is_gone(path.name.partition(".")[0]):
                path.unlink(missing_ok=True)
        for path in (self.root / "work").glob("*") if alone else ():
            shutil.rmtree(path, ignore_errors=True)

    def work(self) -> Path:
        """A new private folder on the same file system. Whoever asks takes it away again."""
        parent = self.root / "work"
        parent.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(dir=parent))


def _chunks(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK_BYTES):
        yield chunk


def _named(entry: os.DirEntry[str]) -> Blob | None:
    name = entry.name
    if len(name) != 64 or set(name) - set("0123456789abcdef") or not entry.is_file(follow_symlinks=False):
        return None
    return Blob(bytes.fromhex(name), entry.stat().st_size)


def is_gone(pid: str) -> bool:
    """No process of ours has this number."""
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
