"""A disk in memory that keeps what was synced, and may lose everything else.

A file of records, each framed by its length and checksum, as a log is. What the process reads back is its own view;
what survives a crash is another one, and the two differ by what was appended and not synced, or synced in vain.

    append(a)  sync()  append(b)          crash(Left.SYNCED)    -> a
    view: a b   durable: a                crash(Left.TORN)      -> a, and the beginning of b: records() ends before it
    sync fails                            crash later           -> a, and a hole where b should be: records() ends there

The last line is what file systems do (Rebello et al., "Can applications recover from fsync failures?", USENIX ATC
2020): after a failed fsync the pages count as clean, later syncs succeed, and what they did not write is gone. So
whoever could not sync must not go on.

Invariants: what was appended before a sync that succeeded survives every crash but `Left.COPY`, provided no sync before
it failed; `records` tells whole records only, in the order in which they were appended, and none after a gap.
"""

from __future__ import annotations

import struct
import zlib
from random import Random

from .faults import Left

_HEADER = struct.Struct("<II")
RECORD_BYTES_MAX = 64 * 1024 * 1024


class DiskError(Exception):
    """The disk is full, or could not sync: one sentence."""


def _frame(record: bytes) -> bytes:
    return _HEADER.pack(len(record), zlib.crc32(record)) + record


def parse(data: bytes | bytearray) -> list[bytes]:
    """The whole records at the beginning, up to the first that is torn, spoilt or a hole."""
    records: list[bytes] = []
    at = 0
    while at + _HEADER.size <= len(data):
        size, checksum = _HEADER.unpack_from(data, at)
        record = bytes(data[at + _HEADER.size : at + _HEADER.size + size])
        if size == 0 or len(record) < size or zlib.crc32(record) != checksum:
            break
        records.append(record)
        at += _HEADER.size + size
    return records


class Disk:
    """`full` and `broken` are the faults of the moment: nothing can be written, no sync succeeds."""

    def __init__(self) -> None:
        self.full = False
        self.broken = False
        self._view = bytearray()
        self._durable = bytearray()
        self._unsynced: list[bytes] = []  # what a sync would add to what is durable
        self._copy = b""
        self.number = 0
        """Which disk this is: another one after it was replaced by a copy, as a restored file has another inode."""

    def append(self, record: bytes) -> None:
        """Write one record, of at least one byte. Raises DiskError; then nothing of it is written."""
        if not 0 < len(record) <= RECORD_BYTES_MAX:
            raise ValueError(f"a record has 1 to {RECORD_BYTES_MAX} bytes, not {len(record)}")
        if self.full:
            raise DiskError("no space is left on the disk")
        frame = _frame(record)
        self._view += frame
        self._unsynced.append(frame)

    def sync(self) -> None:
        """Make durable what was appended. Raises DiskError; then it may be lost, and a later sync does not help."""
        if self.broken:
            self._unsynced = [bytes(len(frame)) for frame in self._unsynced]  # the pages count as clean
            raise DiskError("the disk could not sync")
        for frame in self._unsynced:
            self._durable += frame
        self._unsynced = []

    def replace(self, records: list[bytes]) -> None:
        """Put these in place of all there is, durably, all or nothing (a new file, synced and renamed)."""
        if self.full or self.broken:
            raise DiskError("the new file could not be written")
        self._durable = bytearray(b"".join(map(_frame, records)))
        self._view = bytearray(self._durable)
        self._unsynced = []

    def records(self) -> list[bytes]:
        """What can be read now."""
        return parse(self._view)

    def copy(self) -> None:
        """A copy of what is durable is put aside."""
        self._copy = bytes(self._durable)

    def crash(self, left: Left, random: Random) -> None:
        """The process is gone; what it will find when it comes back. A torn end stays until it is replaced."""
        unsynced = b"".join(self._unsynced)
        match left:
            case Left.ALL:
                self._durable = bytearray(self._view)
            case Left.TORN:
                self._durable += unsynced[: random.randrange(len(unsynced))] if unsynced else b""
            case Left.COPY:
                self._durable = bytearray(self._copy)
                self.number += 1
        self._view = bytearray(self._durable)
        self._unsynced = []
