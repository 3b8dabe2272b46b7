"""A node's store of blobs: a folder that is bounded, and the shell of its carrier, which reads and writes it.

    carrier                         BlobStore                              one thread
      | ReadPart, WritePart ---------> | queued in order ------------------> | reads; writes and hashes
      | <------ PartRead, PartWritten  | <---------------------------------- |
      |                                | before the first part: room for the whole, or one sentence

The store knows what lies in its folder and what was used last. Where room is needed the least recently used goes,
except what is pinned: what an open task needs and a kept result names. What the node's workers put into the folder
themselves is taken in when they say so (`adopt`), and looked for now and then: a worker may die before it says so.

Invariants: what is counted and what is promised to blobs on their way is at most `bytes_max` together; a blob is here
as soon as, and no sooner than, all its bytes are here and hashed; nothing here blocks the loop for long.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..protocols.blobs import (
    PART_BYTES,
    CheckBlob,
    DropParts,
    PartRead,
    PartWritten,
    ReadPart,
    WritePart,
)
from ..protocols.core import BlobHint, Effect, Message, Reference
from .blob_folder import BlobFolder
from .payload import Blob

BLOBS_BYTES_MAX = 16 * 1024**3
"""What a node keeps of large values, unless it is told otherwise."""
LOOK_EVERY_S = 60.0
"""So often the folder is looked through for what nobody has told of."""
CHECK_EVERY_S = 60.0
"""A blob that was found good is not hashed again for others so soon."""
CHECKED_MAX = 1024
FILE_EFFECTS = (ReadPart, WritePart, DropParts, CheckBlob)
"""What the store performs."""

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
                return PartWritten(_reference(blob), end)
            self.file.close()
            if self.hashed.digest() != blob.hash:
                self.drop()
                return PartWritten(_reference(blob), end, spoilt=True)
            folder.take(self.path, blob)
            return PartWritten(_reference(blob), end)
        except OSError as error:
            self.drop()
            return PartWritten(_reference(blob), end, error=unwritable(error))

    def drop(self) -> None:
        """In the thread."""
        self.dropped = True
        if self.file is not None:
            self.file.close()
        self.path.unlink(missing_ok=True)


class BlobStore:
    """The blobs of one node, below `root`. `pinned` says what must stay, `tell` hears how reading and writing went.

    `alone`: no other agent uses the folder, so what lies unfinished in it is nobody's. Raises OSError.
    """

    def __init__(
        self,
        root: Path,
        *,
        bytes_max: int = BLOBS_BYTES_MAX,
        pinned: Callable[[Reference], bool] = lambda blob: False,
        tell: Callable[[Message], None] = lambda message: None,
        alone: bool = True,
    ) -> None:
        self.folder = BlobFolder(root)
        self.bytes_max = bytes_max
        self.pinned = pinned
        self.tell = tell
        self.bytes = 0
        self._here: OrderedDict[Reference, None] = OrderedDict()  # the least recently used first
        self._hints: Counter[BlobHint] = Counter()
        self._partial: dict[Reference, _Partial] = {}
        self._promised = 0
        self._checked: OrderedDict[Reference, float] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None
        self._looked_at = time.monotonic()
        self.folder.make()
        self.folder.tidy(alone=alone)
        self._look()

    # --- what is here ------------------------------------------------------------------------------------------------

    def holds(self, blob: Reference) -> bool:
        """All its bytes lie here, as far as is known without reading them."""
        if blob not in self._here:
            return False
        if self.folder.has(_blob(blob)):
            self._here.move_to_end(blob)
            return True
        self._forget(blob)  # whoever found it spoilt has thrown it away
        return False

    def knows(self, hint: BlobHint) -> bool:
        """A blob that begins so lies here: enough to price a task."""
        return hint in self._hints

    def adopt(self, blobs: Iterable[Reference]) -> str:
        """What was put into the folder by others is counted. One sentence if there is no room for it, or it is not
        there."""
        for blob in blobs:
            if self.holds(blob):
                continue
            if not self.folder.has(_blob(blob)):
                return "a large value that it was to leave behind is not there"
            if refusal := self._make_room(blob.size):
                self.folder.remove(_blob(blob))
                return refusal
            self._add(blob)
        return ""

    def remove(self, blob: Reference) -> None:
        """Whoever has mapped it keeps it."""
        if blob in self._here:
            self._forget(blob)
            self.folder.remove(_blob(blob))

    def _add(self, blob: Reference) -> None:
        if blob not in self._here:
            self.bytes += blob.size
            self._hints[blob.hint] += 1
        self._here[blob] = None
        self._here.move_to_end(blob)

    def _forget(self, blob: Reference) -> None:
        del self._here[blob]
        self.bytes -= blob.size
        self._hints[blob.hint] -= 1
        if not self._hints[blob.hint]:
            del self._hints[blob.hint]

    def _make_room(self, size: int) -> str:
        """For so many bytes more; one sentence if that cannot be."""
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._look()
        free = self.bytes_max - self._promised
        if size > self.bytes_max:
            return f"{size:,} bytes are more than this node keeps of large values, which is {self.bytes_max:,}"
        for blob in list(self._here) if self.bytes + size > free else ():
            if self.bytes + size <= free:
                break
            if not self.pinned(blob):
                self.remove(blob)
        if self.bytes + size > free:
            return f"no room for a large value: {self.bytes_max:,} bytes are full of what open tasks and results need"
        return ""

    def _look(self) -> None:
        """Through the folder: workers that died have left blobs there, and unfinished ones."""
        self._looked_at = time.monotonic()
        self.folder.tidy()
        for blob in self.folder.blobs():
            if _reference(blob) not in self._here:
                self._add(_reference(blob))

    # --- the carrier's shell -----------------------------------------------------------------------------------------

    def perform(self, effect: Effect) -> None:
        """One of FILE_EFFECTS. On the loop."""
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
            return self.folder.part(_blob(blob), offset, PART_BYTES)
        except OSError:
            return None

    def _write(self, blob: Reference, offset: int, data: bytes) -> None:
        if offset == 0:
            self._drop(blob)
            if refusal := self._make_room(blob.size):
                asyncio.get_running_loop().call_soon(self.tell, PartWritten(blob, len(data), error=refusal))
                return
            self._promised += blob.size
            self._partial[blob] = _Partial(self.folder.fresh())
        partial = self._partial.get(blob)
        if partial is not None:  # else it could not be written, and that was told

            def written(message: PartWritten | None) -> None:
                if message is not None:
                    self._written(partial, message)

            self._later(lambda: partial.write(self.folder, _blob(blob), offset, data), written)

    def _written(self, partial: _Partial, message: PartWritten) -> None:
        blob = message.blob
        failed, whole = message.spoilt or message.error, message.end == message.blob.size
        current = self._partial.get(blob) is partial
        if current and (failed or whole):
            del self._partial[blob]
            self._promised -= blob.size
        if whole and not failed:
            self._add(blob)
        if current:
            self.tell(message)

    def _drop(self, blob: Reference) -> None:
        partial = self._partial.pop(blob, None)
        if partial is not None:
            self._promised -= blob.size
            partial.dropped = True  # what is queued before it is not written any more
            self._later(partial.drop)

    def _check(self, blob: Reference) -> None:
        now = time.monotonic()
        if now - self._checked.get(blob, -CHECK_EVERY_S) < CHECK_EVERY_S:
            return
        self._checked[blob] = now
        if len(self._checked) > CHECKED_MAX:
            self._checked.popitem(last=False)
        self._later(lambda: self.folder.check(_blob(blob)))  # what is thrown away is missed when it is asked for

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
            for partial in self._partial.values():
                self._thread.submit(partial.drop)
            self._thread.shutdown()
            self._thread = None
        self._partial.clear()


def unwritable(error: OSError) -> str:
    """For people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of this node is full: there is no room for a large value"
    return f"a large value cannot be kept on this node: {error.strerror or error}"


def _blob(blob: Reference) -> Blob:
    return Blob(blob.hash, blob.size)


def _reference(blob: Blob) -> Reference:
    return Reference(blob.hash, blob.size)


def references(blobs: Iterable[Blob]) -> tuple[Reference, ...]:
    """What the protocols call them."""
    return tuple([_reference(blob) for blob in blobs])
