"""What a node must not forget: one SQLite file, one writer thread, and nothing told before it is on disk.

    loop                      writer thread                  file
      | write(17, records) ---->|                              |
      | write(18, records) ---->|  (is busy with 16)           |
      |                         | BEGIN, 17 and 18, COMMIT --->|  one fsync for all that had come
      |<----------- durable(18) |                              |

Group commit without a window: the writer commits whatever lies there when it is idle; under load batches grow by
themselves. Journal and database are SQLite's (WAL, synchronous=FULL): a torn tail is found by its checksums and left
out, whole transactions stay. An entry replaces what stands under its type and key, an erased one leaves its page to
those to come; so the file is as large as what is held, and not as long as its history.

Each type of entry has a table, with rows in the order in which they came: what is written together lies together, and
a transaction writes few pages. (Keys are random; a tree in their order made it write a page for nearly every record.)
Where each key stands is known in memory.

A journal has a nonce, made with the file: a node that has lost its journal is another holder, and what the old one has
promised dies with it. The same holds for a copy, which may be older than what its node has promised since. It is known
by the number of its file, which it has written into itself; a second name of the file keeps that number from becoming
another's. It also keeps the node's last incarnation, so that none is lived twice, whatever the clock does.

Invariant: `durable(n)` is told after everything up to n is on disk, and never before; a full disk delays it, and says
so; a failed fsync ends the journal, since nobody knows then what is on disk (Rebello et al. 2020).
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ..protocols.commitment_words import ENTRIES, Entry
from ..protocols.core import Record

FILE = "journal.db"
LINK = f"{FILE}.self"
"""The second name."""
VERSION = 3
NONCE_BYTES = 5
BATCH_MAX = 10_000
"""Records in one transaction."""
RETRY_S = 0.25
"""A full disk is tried again so often."""
ROWS_MAX = 256
"""In one statement."""
CELLS_MAX = 2 * ROWS_MAX
VACUUM_PAGES = 1_000
"""So many free pages are given back to the file system when the writer is idle."""
IDLE_S = 1.0

Row = TypeVar("Row")
_encode = msgspec.msgpack.Encoder().encode
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
"""What a disk without room answers to a write. The transaction is rolled back, and nothing is lost."""


class JournalError(Exception):
    """One sentence for the person who started the node."""


class Journal:
    """The journal in `folder`, made if there is none. `entries` are what former lives recorded.

    Raises JournalError if it is another's, damaged, of another version, or cannot be made.
    """

    def __init__(self, folder: Path, *, bytes_max: int | None = None) -> None:
        self.path = folder / FILE
        self.fresh = False
        """There was none, or a copy: this node begins as a new one."""
        self.copied = False
        self._queue: queue.SimpleQueue[tuple[int, Sequence[Record]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._durable: Callable[[int], None] = lambda number: None
        self._trouble: Callable[[str | None, bool], None] = lambda sentence, for_good: None
        self._full = False
        self._dropped = False
        self._rows: dict[type[msgspec.Struct], dict[str, int]] = {kind: {} for kind in ENTRIES}
        self._last_row = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self.path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=16
            )
            self._open(bytes_max)
            self.entries = self._read()
        except (OSError, sqlite3.Error, msgspec.MsgspecError, JournalError) as error:
            if hasattr(self, "_database"):
                self._database.close()
            raise JournalError(self._sentence(error)) from None

    def _open(self, bytes_max: int | None) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("PRAGMA journal_size_limit=16777216")
        if bytes_max is not None:
            (page_bytes,) = run("PRAGMA page_size").fetchone()
            run(f"PRAGMA max_page_count={max(bytes_max // page_bytes, 1)}")
        run("BEGIN IMMEDIATE")
        run("CREATE TABLE IF NOT EXISTS node (version INTEGER, nonce TEXT, incarnation INTEGER, file INTEGER)")
        known = run("SELECT * FROM node").fetchone()
        if known is not None and known[0] != VERSION:
            raise JournalError(f"the journal {self.path} is of version {known[0]}, and this Parley writes {VERSION}")
        _, nonce, last, file = known or (VERSION, "", 0, 0)
        self.copied = known is not None and file != self._number()
        self.fresh = known is None or self.copied
        if self.fresh:
            self._link()
            nonce = secrets.token_hex(NONCE_BYTES)
            for kind in ENTRIES:
                run(f"DROP TABLE IF EXISTS {kind.__name__}")
        for kind in ENTRIES:
            run(f"CREATE TABLE IF NOT EXISTS {kind.__name__} (row INTEGER PRIMARY KEY, entry BLOB NOT NULL)")
        self.nonce: str = nonce
        self.incarnation: int = max(time.time_ns() // 1_000, last + 1)
        run("DELETE FROM node")
        run("INSERT INTO node VALUES (?, ?, ?, ?)", (VERSION, self.nonce, self.incarnation, self._number()))
        run("COMMIT")

    def _number(self) -> int:
        """Of the file, and how many names it has, in one."""
        status = self.path.stat()
        return ((status.st_ino << 2) + min(status.st_nlink, 3)) & (2**63 - 1)

    def _link(self) -> None:
        link = self.path.with_name(LINK)
        with contextlib.suppress(OSError):  # where files have one name only, the number alone must do
            link.unlink(missing_ok=True)
            os.link(self.path, link)

    def _read(self) -> list[Entry]:
        entries: list[Entry] = []
        for kind in ENTRIES:
            rows = self._rows[kind]
            for row, encoded in self._database.execute(f"SELECT row, entry FROM {kind.__name__}"):
                entry = msgspec.msgpack.decode(encoded, type=kind)
                rows[entry.key] = row
                entries.append(entry)
        self._last_row = max([max(rows.values(), default=0) for rows in self._rows.values()])
        return entries

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, JournalError):
            return str(error)
        if isinstance(error, OSError):
            return f"the journal {self.path} cannot be made: {error.strerror}"
        if isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_BUSY:
            return f"the journal {self.path} is in use: another agent of this name runs here"
        if isinstance(error, sqlite3.Error) and _code(error) in _FULL:
            return f"there is no room for the journal {self.path}: {error}"
        return f"the journal {self.path} is damaged ({error}): move it away, and this node begins as a new one"

    def start(self, durable: Callable[[int], None], trouble: Callable[[str | None, bool], None]) -> None:
        """From now on records are written. Both are called by the writer thread: `durable` with the number of the last
        write that is on disk; `trouble` with a sentence while the disk is full, with None when it is not any more, and
        with True if this is the end of the journal."""
        self._durable = durable
        self._trouble = trouble
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, number: int, records: Sequence[Record]) -> None:
        """Have these on disk; `number` rises from write to write."""
        self._queue.put((number, records))

    def close(self) -> None:
        """What was written is on disk, or never will be."""
        if self._thread is not None:
            self._dropped = self._full
            self._queue.put(None)
            self._thread.join()
        self._database.close()

    # -- the writer thread

    def _run(self) -> None:
        try:
            for number, records in self._batches():
                while not self._commit(records):
                    if self._dropped:
                        return
                    time.sleep(RETRY_S)
                self._durable(number)
        except sqlite3.Error as error:
            self._trouble(f"the journal {self.path} failed: {error}", True)

    def _batches(self) -> Iterator[tuple[int, list[Record]]]:
        """All that lies there, until the end."""
        while True:
            try:
                write = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                self._give_back()
                continue
            if write is None:
                return
            number, records = write[0], list(write[1])
            while len(records) < BATCH_MAX:
                try:
                    write = self._queue.get_nowait()
                except queue.Empty:
                    break
                if write is None:
                    yield number, records
                    return
                number = write[0]
                records += write[1]
            yield number, records

    def _commit(self, records: Sequence[Record]) -> bool:
        """All of them, or none. False: the disk is full. Raises sqlite3.Error on anything else."""
        run = self._database.execute
        try:
            last: dict[type[msgspec.Struct], dict[str, msgspec.Struct | None]] = {}
            for record in records:
                entries = last.get(record.kind)
                if entries is None:
                    entries = last[record.kind] = {}
                entries[record.key] = record.entry
            run("BEGIN IMMEDIATE")
            for kind, entries in last.items():
                rows = self._rows[kind]
                for cells in _batched(self._cells(rows, entries), CELLS_MAX):
                    places = ", ".join(["(?, ?)"] * (len(cells) // 2))
                    run(f"INSERT OR REPLACE INTO {kind.__name__} VALUES {places}", cells)
                erased = [rows[key] for key, entry in entries.items() if entry is None and key in rows]
                for gone in _batched(erased, ROWS_MAX):
                    run(f"DELETE FROM {kind.__name__} WHERE row IN ({', '.join('?' * len(gone))})", gone)
            run("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    run("ROLLBACK")
            if _code(error) not in _FULL:
                raise
            if not self._full:
                self._full = True
                self._trouble(f"the disk of the journal {self.path} is full: no new work is taken", False)
            return False
        for kind, entries in last.items():
            for key in [key for key, entry in entries.items() if entry is None]:
                self._rows[kind].pop(key, None)
        if self._full:
            self._full = False
            self._trouble(None, False)
        return True

    def _cells(self, rows: dict[str, int], entries: dict[str, msgspec.Struct | None]) -> list[int | bytes]:
        """Of each entry, where it stands, or is to stand, and its bytes: one after the other."""
        cells: list[int | bytes] = []
        for key, entry in entries.items():
            if entry is None:
                continue
            row = rows.get(key)
            if row is None:
                self._last_row += 1
                row = rows[key] = self._last_row
            cells.append(row)
            cells.append(_encode(entry))
        return cells

    def _give_back(self) -> None:
        """Free pages go back to the file system, a few at a time."""
        try:
            (free,) = self._database.execute("PRAGMA freelist_count").fetchone()
            if free > VACUUM_PAGES:
                self._database.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
        except sqlite3.Error as error:
            if _code(error) not in _FULL:
                raise


def _batched(rows: Sequence[Row], at_once: int) -> Iterator[Sequence[Row]]:
    """So many at a time. Each statement waits for the interpreter's lock once, however many rows it writes."""
    return (rows[start : start + at_once] for start in range(0, len(rows), at_once))


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)
