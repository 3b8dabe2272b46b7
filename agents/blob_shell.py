"""The shell of a carrier: reads and writes the blobs of a store, in a thread, so that the loop never waits for a disk.

    carrier                         BlobShell                              one thread
      | ReadPart, WritePart ---------> | queued in order ------------------> | reads; writes and hashes
      | <------ PartRead, PartWritten  | <---------------------------------- |
      |                                | before the first part: room for the whole, or one sentence

Invariants: a blob is here as soon as, and no sooner than, all its bytes are here and hashed; every ReadPart has one
PartRead, every WritePart one PartWritten, unless it was given up; whatever the disk does, nothing is raised.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..protocols.blobs import PART_BYTES, CheckBlob, DropParts, PartRead, PartWritten, ReadPart, WritePart
from ..protocols.core import Effect, Message, Reference
from .blob_folder import BlobFolder
from .blobs import BlobStore, blob_of, reference, unwritable
from .payload import Blob

CHECK_EVERY_S = 60.0
"""A blob that was found good is not hashed again for others so soon."""
CHECKED_MAX = 1024

T = TypeVar("T")


class _Partial:
    """A blob on its way in. Its file and its hash are the thread's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hashed = hashlib.sha256()
        self.file: BinaryIO | None = None
        self.dropped = False

    def write(self, folder: BlobFolder, blob: Blob, offset: int, data: bytes) -> PartWritten | None:
        """In the thread. None: it was given up meanwhile."""
        if self.dropped:
            return None
        end = offset + len(data)
        try:
            if self.file is None:
                self.file = self.path.open("xb")
            self.file.write(data)
            self.hashed.update(data)
            if end < blob.size:
                return PartWritten(reference(blob), end)
            self.file.close()
            if self.hashed.digest() != blob.hash:
                self.drop()
                return PartWritten(reference(blob), end, spoilt=True)
            folder.take(self.path, blob)
            return PartWritten(reference(blob), end)
        except OSError as error:
            self.drop()
            return PartWritten(reference(blob), end, error=unwritable(error))

    def drop(self) -> None:
        """In the thread."""
        self.dropped = True
        if self.file is not None:
            self.file.close()
        self.path.unlink(missing_ok=True)


class BlobShell:
    """Of one carrier, on one loop. `tell` hears how reading and writing went."""

    def __init__(self, store: BlobStore, tell: Callable[[Message], None]) -> None:
        self.tell = tell
        self._store = store
        self._partial: dict[Reference, _Partial] = {}
        self._checked: OrderedDict[Reference, float] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None

    def perform(self, effect: Effect) -> None:
        """ReadPart, WritePart, DropParts or CheckBlob. On the loop."""
        match effect:
            case ReadPart(blob, offset, to):
                self._later(lambda: self._part(blob, offset), lambda data: self.tell(PartRead(to, blob, offset, data)))
            case WritePart(blob, offset, data):
                self._write(blob, offset, data)
            case DropParts(blob):
                self._drop(blob)
            case CheckBlob(blob):
                self._check(blob)

    def _part(self, blob: Reference, offset: int) -> bytes | None:
        """In the thread."""
        try:
            return self._store.folder.part(blob_of(blob), offset, PART_BYTES)
        except OSError:
            return None

    def _write(self, blob: Reference, offset: int, data: bytes) -> None:
        if offset == 0:
            self._drop(blob)
            if refusal := self._store.promise(blob):
                asyncio.get_running_loop().call_soon(self.tell, PartWritten(blob, len(data), error=refusal))
                return
            self._partial[blob] = _Partial(self._store.folder.fresh())
        partial = self._partial.get(blob)
        if partial is not None:  # else it could not be written, and that was told

            def written(message: PartWritten | None) -> None:
                if message is not None:
                    self._written(partial, message)

            self._later(lambda: partial.write(self._store.folder, blob_of(blob), offset, data), written)

    def _written(self, partial: _Partial, message: PartWritten) -> None:
        blob = message.blob
        failed, whole = message.spoilt or message.error, message.end == message.blob.size
        current = self._partial.get(blob) is partial
        if current and (failed or whole):
            del self._partial[blob]
            self._store.unpromise(blob)
        if whole and not failed:
            self._store.add(blob)
        if current:
            self.tell(message)

    def _drop(self, blob: Reference) -> None:
        partial = self._partial.pop(blob, None)
        if partial is not None:
            self._store.unpromise(blob)
            partial.dropped = True  # what is queued before it is not written any more
            self._later(partial.drop)

    def _check(self, blob: Reference) -> None:
        now = time.monotonic()
        if now - self._checked.get(blob, -CHECK_EVERY_S) < CHECK_EVERY_S:
            return
        self._checked[blob] = now
        if len(self._checked) > CHECKED_MAX:
            self._checked.popitem(last=False)
        self._later(lambda: self._store.folder.check(blob_of(blob)))  # if it is thrown away, `holds` will notice

    def _later(self, work: Callable[[], T], then: Callable[[T], None] | None = None) -> None:
        """In the thread, behind what was begun before; `then` is told on the loop."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "blobs")
        done: asyncio.Future[T] = asyncio.get_running_loop().run_in_executor(self._thread, work)

        def told(done: asyncio.Future[T]) -> None:
            if done.cancelled():
                return
            if isinstance(error := done.exception(), OSError):
                print(f"parley: {unwritable(error)}", file=sys.stderr, flush=True)
            elif then is not None:
                then(done.result())
            else:
                done.result()

        done.add_done_callback(told)

    def close(self) -> None:
        """Nothing more is told; what lies unfinished is taken away."""
        self.tell = lambda message: None
        if self._thread is not None:
            for blob, partial in self._partial.items():
                self._store.unpromise(blob)
                partial.dropped = True
                self._thread.submit(partial.drop)
            self._partial.clear()
            self._thread.shutdown()
            self._thread = None
