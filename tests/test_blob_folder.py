"""A folder of blobs: what is put in comes out, what is spoilt never does, and no name leads out of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from parley.agents.blob_folder import BlobError, BlobFolder
from parley.agents.payload import Blob

DATA = os.urandom(3_000_000)
BLOB = Blob(hashlib.sha256(DATA).digest(), len(DATA))


@pytest.fixture
def folder(tmp_path: Path) -> BlobFolder:
    made = BlobFolder(tmp_path / "blobs")
    made.make()
    return made


def files(folder: BlobFolder) -> list[Path]:
    return [path for path in folder.root.rglob("*") if path.is_file()]


def test_what_is_put_comes_out_every_way(folder: BlobFolder, tmp_path: Path) -> None:
    assert folder.put(DATA) == BLOB
    assert folder.has(BLOB)
    assert folder.read(BLOB) == DATA
    assert folder.map(BLOB)[:] == DATA
    folder.copy(BLOB, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    with os.fdopen(folder.open(BLOB), "rb") as file:
        assert file.read() == DATA
    assert folder.part(BLOB, 1_000_000, 10) == DATA[1_000_000:1_000_010]
    assert folder.part(BLOB, len(DATA) - 3, 10) == DATA[-3:]
    assert folder.blobs() == [BLOB]


def test_the_same_bytes_are_kept_once_and_privately(folder: BlobFolder) -> None:
    folder.put(DATA)
    [path] = files(folder)
    before = path.stat().st_ino
    folder.put(np.frombuffer(DATA, "u1").data)
    assert files(folder) == [path]
    assert path.stat().st_ino == before
    assert path.stat().st_mode & 0o077 == 0
    assert path.name == BLOB.hash.hex()


def test_files_are_copied_or_moved_in(folder: BlobFolder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    assert folder.put_file(source) == BLOB
    assert source.read_bytes() == DATA
    inside = folder.work() / "result"
    inside.write_bytes(DATA[:10])
    small = folder.move_in(inside)
    assert not inside.exists()
    assert folder.read(small) == DATA[:10]


def test_an_empty_blob_is_a_blob(folder: BlobFolder, tmp_path: Path) -> None:
    empty = folder.put(b"")
    assert folder.read(empty) == b""
    folder.copy(empty, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_a_mapped_blob_is_written_to_by_nobody_else(folder: BlobFolder) -> None:
    folder.put(DATA)
    mapped = folder.map(BLOB)
    mapped[:4] = b"mine"
    assert folder.read(BLOB) == DATA
    assert folder.map(BLOB)[:4] == DATA[:4]
    folder.remove(BLOB)
    assert mapped[:8] == b"mine" + DATA[4:8], "it outlives its file"


@pytest.mark.parametrize("way", ["read", "map", "copy", "open", "check"])
def test_a_spoilt_file_is_noticed_never_used_and_thrown_away(folder: BlobFolder, tmp_path: Path, way: str) -> None:
    folder.put(DATA)
    [path] = files(folder)
    with path.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"!")
    if way == "check":
        assert not folder.check(BLOB)
    elif way == "copy":
        with pytest.raises(BlobError, match="spoilt"):
            folder.copy(BLOB, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
    else:
        with pytest.raises(BlobError, match="spoilt"):
            getattr(folder, way)(BLOB)
    assert files(folder) == []


def test_a_cut_file_is_noticed(folder: BlobFolder) -> None:
    folder.put(DATA)
    [path] = files(folder)
    os.truncate(path, 100)
    assert not folder.has(BLOB)
    assert folder.part(BLOB, 0, 10) is None
    with pytest.raises(BlobError):
        folder.read(BLOB)
    assert folder.put(DATA) == BLOB
    assert folder.read(BLOB) == DATA


def test_a_wrong_size_in_a_name_spoils_nothing(folder: BlobFolder) -> None:
    """Somebody names a blob that is here with a size that it does not have."""
    folder.put(DATA)
    lie = Blob(BLOB.hash, 5)
    assert not folder.has(lie)
    assert folder.part(lie, 0, 5) is None
    with pytest.raises(BlobError):
        folder.read(lie)
    assert folder.read(BLOB) == DATA


@pytest.mark.parametrize("name", [b"", b"../../../../etc/passwd" + bytes(10), bytes(31), "a" * 32, b"/" * 33])
def test_no_name_leads_out_of_it(folder: BlobFolder, name: bytes) -> None:
    odd = Blob(name, 10)
    if isinstance(name, bytes) and len(name) == 32:
        assert folder.path(odd).parent.parent == folder.root
        return
    for use in (folder.path, folder.has, folder.read, folder.map, folder.remove):
        with pytest.raises(BlobError, match="32 bytes"):
            use(odd)


def test_a_link_in_the_place_of_a_blob_is_not_followed(folder: BlobFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    path = folder.path(BLOB)
    path.parent.mkdir()
    path.symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        folder.read(BLOB)
    assert folder.blobs() == []
    with pytest.raises(OSError, match="symbolic"):
        folder.move_in(path)


def test_what_others_left_unfinished_is_tidied(folder: BlobFolder) -> None:
    mine = folder.fresh()
    mine.write_bytes(b"half")
    theirs = mine.with_name("999999999.abc")
    theirs.write_bytes(b"half")
    folder.tidy()
    assert files(folder) == [mine]
    work = folder.work()
    (work / "file").write_bytes(b"x")
    folder.tidy(alone=True)
    assert files(folder) == []
    assert not work.exists()


def test_strange_files_are_no_blobs(folder: BlobFolder) -> None:
    (folder.root / "ab").mkdir()
    for name in ("ab", "AB" * 32, "ab" * 33, "..", "gg" * 32):
        if name != "..":
            (folder.root / "ab" / name).write_bytes(b"x")
    assert folder.blobs() == []
