"""A journal on a simulated disk: told when it is there, read again as it was left, and another's if it is a copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from parley.agents.simulated_journal import RETRY_S, SimulatedJournal
from parley.protocols.commitment_words import TombEntry
from parley.protocols.core import Record
from parley.transport.disk import Disk, DiskError
from parley.transport.faults import Left

SYNC_S = 0.002


class Desk:
    """A journal, and what it tells. `pass_time` lets everything happen that is due by then."""

    def __init__(self, disk: Disk, nonce: str = "1") -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.durable: list[int] = []
        self.trouble: list[tuple[str | None, bool]] = []
        self.journal = SimulatedJournal(disk, nonce)

        def told(number: int, records: Sequence[Record]) -> None:
            self.durable.append(number)

        self.journal.start(self.later, lambda: SYNC_S, told, lambda *what: self.trouble.append(what))

    def later(self, after_s: float, happen: Callable[[], None]) -> None:
        self.due.append((self.now + after_s, happen))

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.due and min(self.due, key=lambda one: one[0])[0] <= until:
            next_ = min(self.due, key=lambda one: one[0])
            self.due.remove(next_)
            self.now = next_[0]
            next_[1]()
        self.now = until


def tomb(task: str, entry: bool = True) -> Record:
    return Record(TombEntry, task, TombEntry(task) if entry else None)


def tasks(journal: SimulatedJournal) -> list[str]:
    return [entry.key for entry in journal.entries]


def crashed(disk: Disk, left: Left) -> SimulatedJournal:
    disk.crash(left, Random(1))
    return SimulatedJournal(disk, "2")


def test_what_comes_while_a_sync_is_due_is_synced_with_it() -> None:
    desk = Desk(Disk())
    desk.journal.write(1, [tomb("t1")])
    desk.journal.write(3, [tomb("t2"), tomb("t3")])
    assert desk.durable == []
    desk.pass_time(SYNC_S)
    assert desk.durable == [3]


@pytest.mark.parametrize(
    ("left", "there"), [(Left.SYNCED, ["t1"]), (Left.ALL, ["t2", "t3"]), (Left.TORN, ["t1"]), (Left.COPY, [])]
)
def test_a_crash_leaves_what_was_synced_and_perhaps_more(left: Left, there: list[str]) -> None:
    """A write is there as a whole, or not at all."""
    disk = Disk()
    desk = Desk(disk)
    disk.copy()
    desk.journal.write(1, [tomb("t1")])
    desk.pass_time(SYNC_S)
    desk.journal.write(4, [tomb("t2"), tomb("t3"), tomb("t1", entry=False)])
    again = crashed(disk, left)
    assert tasks(again) == there
    assert (again.nonce, again.fresh) == (("2", True) if left is Left.COPY else ("1", False))
    assert tasks(SimulatedJournal(disk, "3")) == there, "what was read once is there for good"


def test_a_full_disk_holds_up_all_that_comes_until_there_is_room() -> None:
    disk = Disk()
    desk = Desk(disk)
    disk.full = True
    desk.journal.write(1, [tomb("t1")])
    desk.journal.write(2, [tomb("t2")])
    desk.pass_time(2 * RETRY_S)
    assert desk.durable == []
    assert desk.trouble == [("the disk of the journal is full: no new work is taken", False)]
    disk.full = False
    desk.pass_time(RETRY_S + SYNC_S)
    assert desk.durable == [2]
    assert desk.trouble[1:] == [(None, False)]


def test_after_a_sync_that_failed_nothing_is_told_any_more() -> None:
    disk = Disk()
    desk = Desk(disk)
    disk.broken = True
    desk.journal.write(1, [tomb("t1")])
    desk.pass_time(SYNC_S)
    disk.broken = False
    desk.pass_time(1.0)
    assert desk.durable == []
    assert desk.trouble == [("the journal failed: the disk could not sync", True)]


def test_a_disk_that_takes_nothing_is_no_place_for_a_journal() -> None:
    disk = Disk()
    disk.full = True
    with pytest.raises(DiskError):
        SimulatedJournal(disk, "1")
