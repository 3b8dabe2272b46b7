"""A node's store of blobs: a folder that is bounded, and what is known of it.

The store knows what lies in its folder and what was used last. Where room is needed the least recently used goes,
except what is pinned: what an open task needs and a kept result names. What the node's workers put into the folder
themselves is taken in when they say so (`adopt`), and looked for now and then: a worker may die before it says so.

    promise(blob)  room for what is on its way; one sentence if there is none      (blob_shell.py)
    add(blob)      it is here, and counts
    adopt(blobs)   others have put it here

Invariant: what is counted and what is promised is at most `bytes_max` together. It may be used from several threads.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from ..protocols.core import BlobHint, Reference
from .blob_folder import BlobFolder
from .payload import Blob

BLOBS_BYTES_MAX = 16 * 1024**3
"""What a node keeps of large values, unless it is told otherwise."""
LOOK_EVERY_S = 60.0
"""So often the folder is looked through for what nobody has told of."""


class BlobStore:
    """The blobs below `root`. `keepers` say what must stay.

    `alone`: no other agent uses the folder, so what lies unfinished in it is nobody's. Raises OSError.
    """

    def __init__(self, root: Path, *, bytes_max: int = BLOBS_BYTES_MAX, alone: bool = True) -> None:
        self.folder = BlobFolder(root)
        self.bytes_max = bytes_max
        self.keepers: list[Callable[[Reference], bool]] = []
        self.bytes = 0
        self._lock = threading.RLock()
        self._here: OrderedDict[Reference, None] = OrderedDict()  # the least recently used first
        self._hints: Counter[BlobHint] = Counter()
        self._promised = 0
        self._looked_at = time.monotonic()
        self.folder.make()
        self.folder.tidy(alone=alone)
        self._look()

    def holds(self, blob: Reference) -> bool:
        """All its bytes lie here, as far as is known without reading them."""
        with self._lock:
            if blob not in self._here:
                return False
            if self.folder.has(blob_of(blob)):
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
        with self._lock:
            for blob in blobs:
                if self.holds(blob):
                    continue
                if not self.folder.has(blob_of(blob)):
                    return "a large value that it was to leave behind is not there"
                if refusal := self._make_room(blob.size):
                    self.folder.remove(blob_of(blob))
                    return refusal
                self.add(blob)
        return ""

    def promise(self, blob: Reference) -> str:
        """Room for it, until `unpromise`; one sentence if there is none."""
        with self._lock:
            refusal = self._make_room(blob.size)
            if not refusal:
                self._promised += blob.size
            return refusal

    def unpromise(self, blob: Reference) -> None:
        with self._lock:
            self._promised -= blob.size

    def add(self, blob: Reference) -> None:
        """It lies here now."""
        with self._lock:
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
            if not any(pinned(blob) for pinned in self.keepers):
                self._forget(blob)
                self.folder.remove(blob_of(blob))  # whoever has mapped it keeps it
        if self.bytes + size > free:
            return f"no room for a large value: {self.bytes_max:,} bytes are full of what open tasks and results need"
        return ""

    def _look(self) -> None:
        """Through the folder: workers that died have left blobs there, and unfinished ones."""
        self._looked_at = time.monotonic()
        self.folder.tidy()
        for blob in self.folder.blobs():
            if reference(blob) not in self._here:
                self.add(reference(blob))


def unwritable(error: OSError) -> str:
    """For people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of this node is full: there is no room for a large value"
    return f"a large value cannot be kept on this node: {error.strerror or error}"


def blob_of(reference: Reference) -> Blob:
    """What files call it."""
    return Blob(reference.hash, reference.size)


def reference(blob: Blob) -> Reference:
    """What the protocols call it."""
    return Reference(blob.hash, blob.size)


def references(blobs: Iterable[Blob]) -> tuple[Reference, ...]:
    return tuple(map(reference, blobs))
