"""A journal on the disk of a simulated node: what `journal.py` keeps in SQLite, with the same promises.

    node                      journal                        disk (`transport/disk.py`)
      | write(17, records) ---->| append ------------------->|   in the page cache: a crash may lose it, or a part
      | write(18, records) ---->| append ------------------->|
      |                         | SYNC_S later: sync ------->|   both are durable now
      |<----------- durable(18) |
      |                         | append: no room            |   trouble(a sentence): tried again every RETRY_S, and
      |<-- trouble(None) -------|                            |   what comes meanwhile waits behind it
      |                         | sync fails                 |   trouble(a sentence, for good): nobody knows now what
      |                         |                            |   is on disk, and the node stops

One write is one record of the disk, so that it is there as a whole or not at all, as a transaction is. The first record
says whose journal this is: its nonce, and the number of the disk that it was begun on. One that lies on another disk is
a copy, which may be older than what its node has promised since: the node begins as a new holder.

Invariant: `durable(n)` is told when everything up to n is on disk, and never before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from ..protocols.commitment_words import ENTRIES, Entry
from ..protocols.core import Record
from ..transport.disk import Disk, DiskError

RETRY_S = 0.25
SYNC_S = (0.0002, 0.004)
"""A sync takes so long."""

_KINDS: dict[str, type[Entry]] = {kind.__name__: kind for kind in ENTRIES}
_Line = tuple[str, str, msgspec.Raw]
_ERASED = msgspec.msgpack.encode(None)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Line]).decode


class _Head(msgspec.Struct, frozen=True, array_like=True):
    nonce: str
    disk: int


class SimulatedJournal:
    """The journal on `disk`, begun with `nonce` if there is none, or if it is a copy. `entries` are what former lives
    recorded.

    Raises DiskError if the disk has no room, or fails.
    """

    def __init__(self, disk: Disk, nonce: str) -> None:
        self._disk = disk
        self._waiting: deque[tuple[int, Sequence[Record], bytes]] = deque()  # for room on the disk
        self._written: list[Record] = []
        self._number = 0
        self._syncs = False
        head, lines = _read(disk)
        self.fresh = head is None
        """There was none, or a copy: this node begins as a new one."""
        self.nonce = nonce if head is None else head.nonce
        self.entries: list[Entry] = []
        for (kind, _), entry in lines.items():
            self.entries.append(msgspec.msgpack.decode(entry, type=_KINDS[kind]))
        kept: list[_Line] = [(kind, key, entry) for (kind, key), entry in lines.items()]
        disk.replace([_encode(_Head(self.nonce, disk.number)), *([_encode(kept)] if kept else [])])

    def start(
        self,
        later: Callable[[float, Callable[[], None]], None],
        sync_s: Callable[[], float],
        durable: Callable[[int, Sequence[Record]], None],
        trouble: Callable[[str | None, bool], None],
    ) -> None:
        """From now on records are written. `later(after_s, happen)` is the node's clock, `sync_s` how long the next
        sync takes; `durable` is told with what is on disk now, `trouble` as `journal.py` tells it."""
        self._later = later
        self._sync_s = sync_s
        self._durable = durable
        self._trouble = trouble

    def write(self, number: int, records: Sequence[Record]) -> None:
        lines = [(record.kind.__name__, record.key, record.entry) for record in records]
        write = (number, records, _encode(lines))
        if self._waiting:
            self._waiting.append(write)
        elif not self._append(write):
            self._waiting.append(write)
            self._trouble("the disk of the journal is full: no new work is taken", False)
            self._later(RETRY_S, self._retry)

    def _append(self, write: tuple[int, Sequence[Record], bytes]) -> bool:
        number, records, data = write
        try:
            self._disk.append(data)
        except DiskError:
            return False
        self._number = number
        self._written += records
        if not self._syncs:
            self._syncs = True
            self._later(self._sync_s(), self._sync)
        return True

    def _retry(self) -> None:
        while self._waiting and self._append(self._waiting[0]):
            self._waiting.popleft()
        if self._waiting:
            self._later(RETRY_S, self._retry)
        else:
            self._trouble(None, False)

    def _sync(self) -> None:
        try:
            self._disk.sync()
        except DiskError as error:
            self._trouble(f"the journal failed: {error}", True)
            return
        self._syncs = False
        written, self._written = self._written, []
        self._durable(self._number, written)


def _read(disk: Disk) -> tuple[_Head | None, dict[tuple[str, str], msgspec.Raw]]:
    """Whose journal lies there, and the last entry of each kind and key."""
    records = disk.records()
    if not records:
        return None, {}
    head = msgspec.msgpack.decode(records[0], type=_Head)
    if head.disk != disk.number:
        return None, {}
    last: dict[tuple[str, str], msgspec.Raw] = {}
    for record in records[1:]:
        for kind, key, entry in _decode(record):
            if bytes(entry) == _ERASED:
                last.pop((kind, key), None)
            else:
                last[kind, key] = entry
    return head, dict(sorted(last.items()))
