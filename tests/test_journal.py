"""The journal on real files: what was told durable survives kill -9, a torn tail, a full disk; no file grows on."""

from __future__ import annotations

import queue
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parley.agents.journal import FILE, Journal, JournalError
from parley.protocols.commitment_words import Choice, Entry, KeptEntry, RegisterEntry, Spec, SpecEntry, TombEntry
from parley.protocols.core import Outcome, Record, State, Task
from parley.protocols.epochs import Epoch

WAIT_S = 30.0
EPOCH = Epoch(3, "n2", 7, 1)


def put(entry: Entry) -> Record:
    return Record(type(entry), entry.key, entry)


def tomb(number: int) -> Record:
    return put(TombEntry(f"T{number}"))


class Told:
    """What the writer thread says."""

    def __init__(self, journal: Journal) -> None:
        self.durable: queue.Queue[int] = queue.Queue()
        self.trouble: queue.Queue[tuple[str | None, bool]] = queue.Queue()
        journal.start(self.durable.put, lambda sentence, for_good: self.trouble.put((sentence, for_good)))

    def until(self, number: int) -> None:
        while self.durable.get(timeout=WAIT_S) < number:
            pass


def names(folder: Path) -> set[str]:
    journal = Journal(folder)
    journal.close()
    return {entry.key for entry in journal.entries}


def test_a_copy_is_another_journal(tmp_path: Path) -> None:
    """It may be older than what its node has promised since: nothing of it counts."""
    folder = tmp_path / "n1"
    journal = Journal(folder)
    told = Told(journal)
    journal.write(1, [tomb(1)])
    told.until(1)
    journal.close()
    copy = tmp_path / "copy.db"
    shutil.copy(folder / FILE, copy)
    again = Journal(folder)
    assert (again.fresh, again.copied, again.nonce) == (False, False, journal.nonce)
    again.close()
    (folder / FILE).unlink()
    shutil.copy(copy, folder / FILE)
    restored = Journal(folder)
    assert (restored.fresh, restored.copied, restored.entries) == (True, True, [])
    assert restored.nonce != journal.nonce
    assert restored.incarnation > again.incarnation
    restored.close()
    assert not names(folder), "and it is a journal of its own from now on"
    moved = folder.rename(tmp_path / "n2")
    known = Journal(moved)
    assert (known.fresh, known.nonce) == (False, restored.nonce), "to move it is not to copy it"
    known.close()


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    entries: list[Entry] = [
        SpecEntry(Spec(Task("T1", "k"), b"payload", ("n1", "n2", "n3")), 2),
        RegisterEntry("T1", EPOCH, Epoch(0, "n1", 1), (EPOCH, Choice(Outcome("T1", State.DONE, b"value"))), True),
        KeptEntry("T2", 0, Choice(Outcome("T2", State.FAILED, error="no"))),
        TombEntry("T3"),
    ]
    journal = Journal(tmp_path)
    assert journal.fresh
    told = Told(journal)
    journal.write(1, [put(entry) for entry in entries])
    told.until(1)
    journal.close()
    again = Journal(tmp_path)
    assert not again.fresh
    assert again.nonce == journal.nonce
    assert sorted(again.entries, key=repr) == sorted(entries, key=repr)
    again.close()


def test_the_last_of_a_key_counts_and_what_is_erased_is_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told = Told(journal)
    journal.write(1, [put(RegisterEntry("T1", EPOCH, EPOCH)), tomb(1), tomb(2)])
    journal.write(2, [put(RegisterEntry("T1", EPOCH, EPOCH, None, True)), Record(TombEntry, "T1", None)])
    told.until(2)
    journal.close()
    again = Journal(tmp_path)
    again.close()
    assert sorted(again.entries, key=repr) == [RegisterEntry("T1", EPOCH, EPOCH, None, True), TombEntry("T2")]


def test_no_incarnation_is_lived_twice_whatever_the_clock_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Journal(tmp_path)
    first.close()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    second = Journal(tmp_path)
    second.close()
    assert second.incarnation == first.incarnation + 1


def test_a_lost_journal_is_another_holder(tmp_path: Path) -> None:
    first = Journal(tmp_path / "a")
    first.close()
    second = Journal(tmp_path / "b")
    second.close()
    assert first.nonce != second.nonce


def test_what_comes_while_the_writer_is_busy_shares_one_commit(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(1, 501):  # all of it lies there before the writer begins
        journal.write(number, [tomb(number)])
    told = Told(journal)
    assert told.durable.get(timeout=WAIT_S) == 500
    journal.close()
    assert len(names(tmp_path)) == 500


WRITER = """
import sys
from pathlib import Path
from parley.agents.journal import Journal
from parley.protocols.commitment_words import TombEntry
from parley.protocols.core import Record
journal = Journal(Path(sys.argv[1]))
journal.start(lambda number: print(number, flush=True), lambda sentence, for_good: print(sentence, file=sys.stderr))
for number in range(1, 1_000_000):
    journal.write(number, [Record(TombEntry, f"T{number}", TombEntry(f"T{number}"))])
    if number % 20 == 0:
        sys.stdin.readline()
"""


def test_what_was_told_durable_survives_kill_9_in_mid_write(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    durable = 0
    try:
        while durable < 400:
            process.stdin.write("\n")
            process.stdin.flush()
            durable = int(process.stdout.readline())
        process.stdin.write("\n" * 1_000)
        process.stdin.flush()
    finally:
        process.kill()
        rest = process.stdout.read().split()
        process.wait()
    durable = max([durable, *[int(number) for number in rest]])
    survived = names(tmp_path)
    assert {f"T{number}" for number in range(1, durable + 1)} <= survived
    assert survived == {f"T{number}" for number in range(1, len(survived) + 1)}  # and no hole behind it


def test_a_torn_tail_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told = Told(journal)
    for number in range(1, 21):
        journal.write(number, [tomb(number)])
        told.until(number)
    main, wal = (tmp_path / FILE).read_bytes(), (tmp_path / f"{FILE}-wal").read_bytes()
    journal.close()
    (tmp_path / FILE).write_bytes(main)  # in its place: a copy is not believed
    (tmp_path / f"{FILE}-wal").write_bytes(wal[: len(wal) - 2_000] + b"\xff" * 1_000)
    survived = names(tmp_path)
    assert survived == {f"T{number}" for number in range(1, len(survived) + 1)}
    assert 0 < len(survived) < 20


def test_a_full_disk_delays_and_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path, bytes_max=200_000)
    told = Told(journal)
    blob = Spec(Task("big", "k"), b"x" * 150_000, ("n1",))
    journal.write(1, [put(SpecEntry(blob, 0))])
    told.until(1)
    other = Spec(Task("other", "k"), b"x" * 150_000, ("n1",))
    journal.write(2, [Record(TombEntry, "x", TombEntry("x")), put(SpecEntry(other, 0))])
    sentence, for_good = told.trouble.get(timeout=WAIT_S)
    assert sentence is not None
    assert "full" in sentence
    assert not for_good
    assert told.durable.empty()
    journal._database.execute(f"PRAGMA max_page_count={2**30}")  # somebody has made room
    told.until(2)
    assert told.trouble.get(timeout=WAIT_S) == (None, False)
    journal.close()
    assert names(tmp_path) == {"big", "other", "x"}


LIMITED = """
import queue, sys
from pathlib import Path
from parley.agents.journal import Journal
from parley.protocols.commitment_words import Spec, SpecEntry
from parley.protocols.core import Record, Task
journal = Journal(Path(sys.argv[1]))
told, durable = queue.Queue(), queue.Queue()
journal.start(durable.put, lambda sentence, for_good: told.put((sentence, for_good)))
for number in range(100):
    entry = SpecEntry(Spec(Task(f"T{number}", "k"), b"x" * 100_000, ("n1",)), 0)
    journal.write(number, [Record(SpecEntry, entry.key, entry)])
    while number == 4 and durable.get(timeout=30) < 4:
        pass
print(*told.get(timeout=30))
journal.close()
"""


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    command = [sys.executable, "-P", "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "is full: no new work is taken False" in done.stdout
    assert 5 <= len(names(tmp_path)) < 100


def test_a_month_of_tasks_leaves_a_file_as_large_as_what_is_held(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told = Told(journal)
    sizes: list[int] = []
    for round_ in range(40):
        records: list[Record] = []
        for number in range(100):
            task = f"T{round_}-{number}"
            spec = SpecEntry(Spec(Task(task, "k"), b"x" * 2_000, ("n1",)), 0)
            records += [put(spec), put(RegisterEntry(task, EPOCH, EPOCH))]
            records += [Record(SpecEntry, task, None), Record(RegisterEntry, task, None)]
        journal.write(2 * round_ + 1, records[::4] + records[1::4])
        journal.write(2 * round_ + 2, records[2::4] + records[3::4])
        told.until(2 * round_ + 2)
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    journal.close()
    assert max(sizes) < 16_000_000
    assert sizes[-1] <= 1.2 * max(sizes[10:20])
    assert names(tmp_path) == set()


def test_of_two_agents_one_has_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="another agent of this name"):
        Journal(tmp_path)
    journal.close()


def test_what_is_no_journal_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    with pytest.raises(JournalError, match="move it away"):
        Journal(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be made"):
        Journal(tmp_path / "file")


def test_a_journal_of_another_version_is_left_alone(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    database = sqlite3.connect(tmp_path / FILE)
    database.execute("UPDATE node SET version = 99")
    database.commit()
    database.close()
    with pytest.raises(JournalError, match="version 99"):
        Journal(tmp_path)
