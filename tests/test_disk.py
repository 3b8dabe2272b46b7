"""What a disk keeps: by hand, and by many random lives of one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.transport.disk import Disk, DiskError, parse
from parley.transport.faults import Left


def crashed(disk: Disk, left: Left, seed: int = 1) -> list[bytes]:
    disk.crash(left, Random(seed))
    return disk.records()


def written(*records: bytes) -> Disk:
    """All but the last are synced."""
    disk = Disk()
    for record in records[:-1]:
        disk.append(record)
    disk.sync()
    disk.append(records[-1])
    return disk


def test_what_was_synced_is_there_and_what_was_not_is_gone() -> None:
    assert written(b"a", b"b", b"c").records() == [b"a", b"b", b"c"]
    assert crashed(written(b"a", b"b", b"c"), Left.SYNCED) == [b"a", b"b"]
    assert crashed(written(b"a", b"b", b"c"), Left.ALL) == [b"a", b"b", b"c"]


def test_a_torn_record_is_none_and_is_replaced() -> None:
    disk = written(b"a", b"long enough to be torn")
    assert crashed(disk, Left.TORN, seed=2) == [b"a"]
    disk.append(b"behind the torn one")
    disk.sync()
    assert disk.records() == [b"a"], "whoever appends behind a torn record loses it"
    disk.replace([b"a"])
    disk.append(b"c")
    disk.sync()
    assert crashed(disk, Left.SYNCED) == [b"a", b"c"]


def test_a_sync_that_failed_is_not_made_good_by_one_that_succeeds() -> None:
    disk = written(b"a", b"b")
    disk.broken = True
    with pytest.raises(DiskError):
        disk.sync()
    disk.broken = False
    disk.append(b"c")
    disk.sync()
    assert disk.records() == [b"a", b"b", b"c"], "the process sees what it wrote"
    assert crashed(disk, Left.SYNCED) == [b"a"], "and nothing behind the hole is left"


def test_a_full_disk_takes_nothing_and_keeps_what_it_has() -> None:
    disk = written(b"a", b"b")
    disk.full = True
    with pytest.raises(DiskError):
        disk.append(b"c")
    with pytest.raises(DiskError):
        disk.replace([b"d"])
    disk.sync()
    assert crashed(disk, Left.SYNCED) == [b"a", b"b"]


def test_an_old_copy_is_put_back() -> None:
    disk = written(b"a", b"b")
    disk.copy()
    disk.sync()
    assert disk.records() == [b"a", b"b"]
    assert crashed(disk, Left.COPY) == [b"a"]


def test_what_is_no_record() -> None:
    with pytest.raises(ValueError, match="1 to"):
        Disk().append(b"")
    assert parse(bytes(100)) == []
    assert parse(b"\x01") == []


@given(
    steps=st.lists(st.one_of(st.binary(min_size=1, max_size=20), st.just(None)), max_size=30),
    left=st.sampled_from([Left.ALL, Left.SYNCED, Left.TORN]),
    seed=st.integers(0, 1000),
)
def test_a_crash_leaves_the_beginning_and_all_that_was_synced(steps: list[bytes | None], left: Left, seed: int) -> None:
    disk = Disk()
    appended: list[bytes] = []
    synced = 0
    for record in steps:
        if record is None:
            disk.sync()
            synced = len(appended)
        else:
            disk.append(record)
            appended.append(record)
    found = crashed(disk, left, seed)
    assert found == appended[: len(found)]
    assert len(found) >= synced
    assert len(found) == len(appended) or left is not Left.ALL
