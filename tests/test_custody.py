"""Whoever holds a task has what it refers to before it says so; whoever votes for an outcome, too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
from local_fleets import fleet_of

from parley.agents.payload import Blob, File
from parley.launch import spool
from parley.launch.analysis.summary import summarise
from parley.launch.client import Connection
from parley.launch.outcomes import result
from parley.launch.submission import Submission
from parley.protocols.blobs import Gather, Gathered, Release
from parley.protocols.carrier import Carrier
from parley.protocols.commitment import Commitment
from parley.protocols.commitment_words import (
    Choice,
    Commit,
    Hold,
    KeptEntry,
    Learn,
    Pledge,
    Spec,
    Talk,
    Vote,
    Word,
)
from parley.protocols.core import Effect, Outcome, PeerUp, Record, Reference, Send, State, Task
from parley.protocols.epochs import Epoch

END_S = 60.0
E0 = Epoch(0, "a", 1)
PAYS, MAKES, OTHER = Reference(b"1" * 32, 1_000), Reference(b"2" * 32, 2_000), Reference(b"3" * 32, 3_000)
SPEC = Spec(Task("t", "x"), b"", ("a", "b", "c"), (PAYS,))
DONE = Choice(Outcome("t", State.DONE, b"", node="c", blobs=(MAKES,)))


class Holder:
    """b, which holds what a gives it to hold; `here` is what lies there."""

    def __init__(self, *here: Reference, kept_bytes_max: int = 10_000, entries: Sequence[object] = ()) -> None:
        self.here = set(here)
        self.carrier = Carrier("b", self.here.__contains__)
        self.commitment = Commitment(
            "b", 1, random.Random(1), 0.0, entries, carrier=self.carrier, kept_bytes_max=kept_bytes_max  # type: ignore[arg-type]
        )
        self.records: list[Record] = []
        self.gathers: list[Gather] = []
        for peer in ("a", "c"):
            self.told(self.commitment.receive(PeerUp(peer), "b", 0.0))

    def hears(self, *words: Word, sender: str = "a") -> list[Word]:
        """What it says to that."""
        return self.told(self.commitment.receive(Pledge(words, sender, "b"), sender, 0.0))  # type: ignore[arg-type]

    def gathers_all(self, error: str = "") -> list[Word]:
        """What it has asked for is here now, or will not be."""
        said: list[Word] = []
        while self.gathers:
            gather = self.gathers.pop()
            if not error:
                self.here.update(gather.blobs)
            said += self.told(self.commitment.receive(Gathered(gather.key, error), "b", 0.0))
        return said

    def told(self, effects: Sequence[Effect]) -> list[Word]:
        said: list[Word] = []
        for effect in [*effects, *self.commitment.wake(0.0)]:
            match effect:
                case Send("b", Gather() as gather):
                    self.gathers.append(gather)
                case Send("b", Release(key)):
                    self.carrier.release(key)
                case Send(_, Pledge(words) | Talk(words)):
                    said += words
                case Record():
                    self.records.append(effect)
        return said


def kinds(words: Sequence[Word]) -> list[str]:
    return [type(word).__name__ for word in words]


def test_a_task_is_held_when_what_it_refers_to_is_here() -> None:
    b = Holder()
    assert b.hears(Hold(SPEC, E0)) == []
    assert [(gather.blobs, gather.sources) for gather in b.gathers] == [((PAYS,), ("a", "c"))]
    assert not b.records
    assert b.hears(Hold(SPEC, E0)) == [], "asked again"
    assert len(b.gathers) == 1, "it is fetched once"
    assert kinds(b.gathers_all()) == ["Held"]
    assert b.carrier.pinned(PAYS)
    assert kinds(b.hears(Hold(SPEC, E0))) == ["Held"], "at once, as it is here"


def test_what_cannot_be_had_is_not_promised_but_may_be_asked_again() -> None:
    b = Holder()
    b.hears(Hold(SPEC, E0))
    assert b.gathers_all("nobody has it") == []
    assert not b.records
    b.hears(Hold(SPEC, E0))
    assert kinds(b.gathers_all()) == ["Held"]


def test_a_vote_is_given_when_the_outcome_is_here_with_all_it_refers_to() -> None:
    b = Holder(PAYS)
    b.hears(Hold(SPEC, E0))
    assert b.hears(Commit("t", 0, E0, DONE), sender="c") == []
    assert b.gathers[0].sources == ("c",)
    assert b.gathers_all() == [Vote("t", 0, E0)]
    assert b.carrier.pinned(PAYS)
    assert b.carrier.pinned(MAKES)


def test_what_is_learnt_is_known_at_once_and_fetched_without_anybody_waiting() -> None:
    b = Holder(PAYS)
    b.hears(Hold(SPEC, E0))
    assert kinds(b.hears(Learn("t", 0, DONE))) == ["Learnt"]
    assert [(gather.blobs, gather.sources) for gather in b.gathers] == [((MAKES,), ("a", "c"))]
    assert b.gathers_all("nobody has it any more") == []


def test_what_is_kept_follows_the_records_in_the_next_life_too() -> None:
    b = Holder(PAYS, MAKES)
    b.hears(Hold(SPEC, E0))
    again = Holder(PAYS, entries=[record.entry for record in b.records])
    assert again.carrier.pinned(PAYS)
    kept = KeptEntry("t", 0, DONE)
    ended = Holder(MAKES, entries=[kept])
    assert ended.carrier.pinned(MAKES)
    ended.commitment.holder.kept.forget("t")
    assert not ended.carrier.pinned(MAKES)


def test_only_so_much_of_ends_is_kept_and_the_oldest_go() -> None:
    entries = [
        KeptEntry(name, 0, Choice(msgspec.structs.replace(DONE.outcome, task=name, blobs=(blob,))))  # type: ignore[type-var]
        for name, blob in (("t1", PAYS), ("t2", MAKES), ("t3", OTHER))
    ]
    b = Holder(PAYS, MAKES, OTHER, kept_bytes_max=5_000, entries=entries)
    assert [b.carrier.pinned(blob) for blob in (PAYS, MAKES, OTHER)] == [False, True, True]


def test_what_has_no_large_values_is_heard_at_once() -> None:
    b = Holder()
    assert kinds(b.hears(Hold(msgspec.structs.replace(SPEC, blobs=()), E0))) == ["Held"]
    assert not b.gathers


# --- over real processes ---------------------------------------------------------------------------------------------


async def test_a_large_task_and_its_large_result_outlive_whoever_took_it_and_whoever_did_it(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.write_bytes(random.Random(1).randbytes(3_000_000))
    twice = ["sh", "-c", "sleep 0.5; cat data data > both"]
    arguments = {"argv": twice, "files": {"data": File(source)}, "keep": ["both"]}
    async with fleet_of(5, tmp_path / "run", allow=["command"]) as (made, client):
        [submit] = Submission("command", arguments, label="large").submits()
        handle = client.hand_in(submit)
        await asyncio.wait_for(handle.taken, END_S)
        made.kill("n1")
        async with await Connection.connect([made.agents["n2"].address]) as other:
            await asyncio.wait_for(other.wait([handle.task]), END_S)
            winner = (await other.result(handle.task)).node
            assert winner is not None
            if winner != "n2":
                made.kill(winner)
        asked = next(name for name in made.alive if name != winner)
        async with await Connection.connect([made.agents[asked].address]) as last:
            outcome = await asyncio.wait_for(last.result(handle.task), END_S)
            [kept] = result(outcome)["files"].values()  # type: ignore[index]
            assert isinstance(kept, Blob)
            assert spool.read_blob(kept) == source.read_bytes() * 2
        assert await asyncio.wait_for(handle.outcome, END_S) == outcome, "its own client has gone over as well"
    assert summarise(tmp_path / "run").committed_twice == 0
