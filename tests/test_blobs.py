"""A node's store of blobs: bounded, pinned, found again after a restart; parts are believed at the last one."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parley.agents import blobs as module
from parley.agents.blob_folder import BlobFolder
from parley.agents.blob_shell import BlobShell
from parley.agents.blobs import BlobStore, references
from parley.agents.payload import Blob
from parley.protocols.blobs import (
    PART_BYTES,
    CheckBlob,
    DropParts,
    PartRead,
    PartWritten,
    ReadPart,
    WritePart,
)
from parley.protocols.core import Effect, Message, Reference

DATA = os.urandom(2 * PART_BYTES + 100)


def reference(data: bytes) -> Reference:
    return Reference(hashlib.sha256(data).digest(), len(data))


class Desk:
    """A store, and what it has told."""

    def __init__(self, root: Path, bytes_max: int = 10**9) -> None:
        self.told: asyncio.Queue[Message] = asyncio.Queue()
        self.pinned: set[Reference] = set()
        self.store = BlobStore(root, bytes_max=bytes_max)
        self.store.keepers.append(self.pinned.__contains__)
        self.shell = BlobShell(self.store, self.told.put_nowait)

    async def do(self, effect: Effect) -> Message:
        self.shell.perform(effect)
        return await asyncio.wait_for(self.told.get(), 10)

    async def write(self, data: bytes, blob: Reference | None = None) -> Message:
        """All parts of it; the last word."""
        blob = blob or reference(data)
        message: Message | None = None
        for offset in range(0, max(len(data), 1), PART_BYTES):
            message = await self.do(WritePart(blob, offset, data[offset : offset + PART_BYTES]))
        assert message is not None
        return message

    def put(self, data: bytes) -> Reference:
        """As a worker does."""
        [blob] = references([self.store.folder.put(data)])
        assert self.store.adopt([blob]) == ""
        return blob


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


async def test_parts_become_a_blob_at_the_last_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    blob = reference(DATA)
    for offset in (0, PART_BYTES):
        part = DATA[offset : offset + PART_BYTES]
        assert await desk.do(WritePart(blob, offset, part)) == PartWritten(blob, offset + PART_BYTES)
        assert not desk.store.holds(blob)
    assert await desk.do(WritePart(blob, 2 * PART_BYTES, DATA[2 * PART_BYTES :])) == PartWritten(blob, len(DATA))
    assert desk.store.holds(blob)
    assert desk.store.knows(blob.hint)
    assert desk.store.bytes == len(DATA)
    for offset in (0, PART_BYTES, 2 * PART_BYTES):
        part = DATA[offset : offset + PART_BYTES]
        assert await desk.do(ReadPart(blob, offset, "n2")) == PartRead("n2", blob, offset, part)
    desk.shell.close()


async def test_an_empty_blob_is_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert await desk.write(b"") == PartWritten(reference(b""), 0)
    assert desk.store.holds(reference(b""))
    desk.shell.close()


async def test_what_hashes_to_something_else_is_spoilt_and_leaves_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    told = await desk.write(b"x" + DATA[1:], reference(DATA))
    assert told == PartWritten(reference(DATA), len(DATA), spoilt=True)
    assert not desk.store.holds(reference(DATA))
    assert files(tmp_path) == []
    assert await desk.write(DATA) == PartWritten(reference(DATA), len(DATA)), "it may come again"
    desk.shell.close()


async def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bytes_max=len(DATA))
    blob = reference(DATA)
    await desk.do(WritePart(blob, 0, DATA[:PART_BYTES]))
    desk.shell.perform(WritePart(blob, PART_BYTES, DATA[PART_BYTES : 2 * PART_BYTES]))
    desk.shell.perform(DropParts(blob))
    assert await desk.write(DATA) == PartWritten(blob, len(DATA)), "and its room is free again"
    assert files(tmp_path) == [desk.store.folder.path(Blob(blob.hash, blob.size))]
    desk.shell.close()


async def test_the_least_recently_used_makes_room_and_what_is_pinned_does_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bytes_max=3000)
    one, two, three = (desk.put(bytes([n]) * 1000) for n in range(3))
    desk.pinned.add(two)
    assert desk.store.holds(one), "and it was used just now"
    four = desk.put(b"4" * 1000)
    assert [desk.store.holds(blob) for blob in (one, two, three, four)] == [True, True, False, True]
    await desk.write(b"5" * 2000)
    assert [desk.store.holds(blob) for blob in (one, two, four)] == [False, True, False]
    assert desk.store.bytes == 3000
    assert sum(path.stat().st_size for path in files(tmp_path)) == 3000
    assert not desk.store.knows(one.hint)
    desk.shell.close()


async def test_a_full_store_refuses_in_one_sentence(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bytes_max=3000)
    desk.pinned.add(desk.put(b"x" * 2000))
    told = await desk.write(b"y" * 1001)
    assert isinstance(told, PartWritten)
    assert told.error == "no room for a large value: 3,000 bytes are full of what open tasks and results need"
    told = await desk.write(b"y" * 3001)
    assert isinstance(told, PartWritten)
    assert "3,001 bytes are more than this node keeps" in told.error
    theirs = desk.store.folder.put(b"z" * 1001)
    assert "no room" in desk.store.adopt(references([theirs]))
    assert not desk.store.folder.has(theirs)
    desk.shell.close()


async def test_what_is_on_its_way_has_its_room(tmp_path: Path) -> None:
    desk = Desk(tmp_path, bytes_max=len(DATA) + 100)
    blob = reference(DATA)
    await desk.do(WritePart(blob, 0, DATA[:PART_BYTES]))
    told = await desk.write(b"x" * 101)
    assert isinstance(told, PartWritten)
    assert "no room" in told.error
    await desk.do(WritePart(blob, PART_BYTES, DATA[PART_BYTES : 2 * PART_BYTES]))
    assert await desk.do(WritePart(blob, 2 * PART_BYTES, DATA[2 * PART_BYTES :])) == PartWritten(blob, len(DATA))
    desk.shell.close()


async def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None: ...

    opened: Callable[..., Full] = lambda path, mode: Full()  # noqa: E731
    monkeypatch.setattr(Path, "open", opened)
    told = await desk.write(DATA[:10])
    assert isinstance(told, PartWritten)
    assert told.error == "the disk of this node is full: there is no room for a large value"
    desk.shell.close()


async def test_a_restart_finds_what_was_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    old, new = desk.put(b"old" * 100), desk.put(b"new" * 100)
    os.utime(desk.store.folder.path(Blob(old.hash, old.size)), (1, 1))
    await desk.do(WritePart(reference(DATA), 0, DATA[:PART_BYTES]))
    again = Desk(tmp_path, bytes_max=700)
    assert again.store.holds(old)
    assert again.store.bytes == 600
    assert len(files(tmp_path)) == 2, "what was unfinished is gone"
    again.shell.close()
    third = Desk(tmp_path, bytes_max=700)
    third.put(b"more" * 100)
    assert [third.store.holds(blob) for blob in (old, new)] == [False, True], "the older of the two went"
    third.shell.close()
    desk.shell.close()


async def test_a_spoilt_blob_is_thrown_away_when_it_is_doubted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    good, bad = desk.put(DATA), desk.put(DATA[:-1])
    path = desk.store.folder.path(Blob(bad.hash, bad.size))
    path.write_bytes(b"!" + path.read_bytes()[1:])
    assert desk.store.holds(bad), "nobody has looked yet"
    for blob in (good, bad):
        desk.shell.perform(CheckBlob(blob))
    assert await desk.do(ReadPart(bad, 0, "n2")) == PartRead("n2", bad, 0, None), "read behind the check"
    assert not desk.store.holds(bad)
    assert not desk.store.knows(bad.hint)
    assert desk.store.holds(good)
    desk.shell.close()


async def test_what_workers_left_without_a_word_is_found_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, bytes_max=3000)
    orphan = desk.store.folder.put(b"x" * 2000)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    desk.put(b"y" * 1001)
    assert not desk.store.folder.has(orphan)
    assert desk.store.bytes == 1001
    desk.shell.close()


async def test_what_is_not_there_cannot_be_adopted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert "is not there" in desk.store.adopt([reference(DATA)])
    there = desk.store.folder.put(DATA)
    assert "is not there" in desk.store.adopt([Reference(there.hash, 5)])
    desk.shell.close()


def test_the_folder_belongs_to_its_user_alone(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    assert store.folder.root.stat().st_mode & 0o077 == 0
    assert isinstance(store.folder, BlobFolder)
