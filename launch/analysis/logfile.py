"""One node's log, read as it lies: line by line, only the head of each, and whatever is damaged is counted, not fatal.

A log may be one of a node that was killed (its last line is torn), of a disk that was full (lines are missing), of a
newer Parley (unknown events and fields), or of a node that was started again (`seq` begins anew). All that stays
readable; `notes` tells what was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from ...agents.log_lines import CHUNK_BYTES, LINE_BYTES_MAX, lines_with


class Head(msgspec.Struct, frozen=True, gc=False):
    """What has to be known of every line; the rest of it is decoded when somebody wants it."""

    event: str
    node: str
    seq: int
    hlc: int
    mono: float
    ts: datetime
    task: str | None = None
    tasks: tuple[str, ...] = ()
    invitees: tuple[str, ...] = ()


class Gap(msgspec.Struct, frozen=True):
    """Lines that are missing before line `line` of `file`: their `seq` would be `first` to `last`."""

    file: str
    line: int
    first: int
    last: int


decode_head = msgspec.json.Decoder(Head).decode


class LogFile:
    """The log of one node. The counts are those of the last time that `heads` was read to its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = 0
        self.missing = 0
        self.torn = False
        self.failure: str | None = None
        self.gaps: list[Gap] = []  # where lines are missing
        self._open_end = False  # the line just read has no end

    @property
    def node(self) -> str:
        """By the name of the file."""
        return self.path.stem

    def lines(self) -> Iterator[bytes]:
        """Every line without its end, the empty ones left out."""
        return filter(None, self._lines())

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        try:
            with self.path.open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK_BYTES):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from lines
                    if len(rest) > LINE_BYTES_MAX:
                        yield rest
                        rest = b""
        except OSError as error:
            self.failure = error.strerror
        if rest:
            self._open_end = True
            yield rest

    def lines_with(self, *words: bytes) -> Iterator[bytes]:
        """The lines that have one of these in them."""
        return lines_with(self.path, *words)

    def heads(self) -> Iterator[tuple[Head, bytes]]:
        """Every line that is an event, with its head."""
        return ((head, line) for _, head, line in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Head, bytes]]:
        """The same, with the number of each line in the file, from 1."""
        self.unreadable = self.missing = before = 0
        self.torn, self.failure, self._open_end = False, None, False
        self.gaps = []
        for number, line in enumerate(self._lines(), 1):
            if not line:
                continue
            try:
                head = decode_head(line)
            except (msgspec.MsgspecError, RecursionError):
                self.unreadable += 1
                self.torn = self._open_end
                continue
            seq = head.seq
            if seq != before + 1:
                after = before if seq > before else 0  # not after `before`: a new writer
                self.missing += seq - 1 - after
                if seq > after + 1:
                    self.gaps.append(Gap(self.path.name, number, after + 1, seq - 1))
            before = seq
            yield number, head, line

    @property
    def notes(self) -> list[str]:
        """What is wrong with this log, one sentence each."""
        name = self.path.name
        notes = []
        if self.failure:
            notes.append(f"{name} cannot be read to its end: {self.failure}")
        if self.torn:
            notes.append(f"{name} ends within a line: its node was killed, or writes still")
        unreadable = self.unreadable - self.torn
        if unreadable > 0:
            notes.append(f"{name}: {_count(unreadable, 'line')} cannot be read")
        if self.missing:
            notes.append(f"{name}: {_count(self.missing, 'line')} missing")
        return notes


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
