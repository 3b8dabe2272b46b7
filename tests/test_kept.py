"""Whoever dies, how a task has ended can be asked for: outcomes go to whoever takes a dead holder's place."""

from __future__ import annotations

import msgspec

from parley.protocols.commitment_words import Choice, Entry, Keep, KeptEntry, TombEntry, Word
from parley.protocols.core import NodeId, Outcome, State
from parley.protocols.holders import replaced
from parley.protocols.kept import COPIES_AT_ONCE, COPY_EVERY_S, Kept

HOLDERS = ("n1#a", "n2#b", "n3#c")
FLEET = {*HOLDERS, "n4#d", "n5#e"}


def entry(task: str, holders: tuple[NodeId, ...] = HOLDERS) -> KeptEntry:
    return KeptEntry(task, 0, Choice(Outcome(task, State.DONE, b"value")), "kind", "label", holders)


class Desk:
    """One holder, and what it says and records."""

    def __init__(self, node: NodeId) -> None:
        self.said: list[tuple[NodeId, Word]] = []
        self.written: list[Entry] = []
        self.erased: list[str] = []
        self.living, self.dead = set(FLEET), set[NodeId]()
        self.kept = Kept(
            node,
            self.living,
            self.dead,
            lambda to, word: self.said.append((to, word)),
            self.written.append,
            lambda kind, key: self.erased.append(key),
        )

    def lacks(self, dead: NodeId, *others: NodeId) -> None:
        """These have been dead for long."""
        for node in (dead, *others):
            self.living.discard(node)
            self.dead.add(node)
            self.kept.replace(node, 0.0)

    def all_copied(self) -> float:
        """Seconds until nothing is left to copy."""
        now = 0.0
        while (at := self.kept.deadline) is not None:
            now = at
            self.kept.wake(at)
        return now


def after(dead: NodeId, task: str) -> tuple[NodeId, ...]:
    return tuple(replaced(task, HOLDERS, [dead], FLEET - {dead}))


def test_the_first_holder_that_lives_passes_it_on_and_all_know_who_keeps_it_now() -> None:
    for dead, first in (("n1#a", "n2#b"), ("n2#b", "n1#a"), ("n3#c", "n1#a")):
        new = after(dead, "T")
        [taker] = set(new) - set(HOLDERS)
        for node in set(HOLDERS) - {dead}:
            desk = Desk(node)
            desk.kept.keep(entry("T"), 0.0)
            desk.lacks(dead)
            desk.all_copied()
            copy = Keep("T", 0, entry("T").choice, "kind", "label", new)
            assert desk.said == ([(taker, copy)] if node == first else [])
            assert desk.kept.get("T") == desk.written[-1] == entry("T", new)


def test_who_dies_before_it_has_it_is_replaced_again() -> None:
    desk = Desk("n1#a")
    desk.kept.keep(entry("T"), 0.0)
    for dead in ("n3#c", "n4#d", "n5#e"):
        if dead not in desk.kept.get("T").holders:  # type: ignore[union-attr]
            continue
        desk.lacks(dead)
        desk.all_copied()
    kept = desk.kept.get("T")
    assert kept is not None
    assert set(kept.holders) & desk.living == set(kept.holders) - {"n3#c", "n4#d", "n5#e"}
    assert {"n1#a", "n2#b"} <= set(kept.holders)


def test_many_are_copied_a_few_at_a_time() -> None:
    desk = Desk("n1#a")
    tasks = [f"T{number}" for number in range(5 * COPIES_AT_ONCE)]
    for task in tasks:
        desk.kept.keep(entry(task), 0.0)
    desk.lacks("n3#c")
    desk.kept.wake(0.0)
    assert len(desk.said) == COPIES_AT_ONCE
    assert desk.kept.deadline == COPY_EVERY_S
    assert round(desk.all_copied() / COPY_EVERY_S) == 4
    assert sorted(word.task for _, word in desk.said if isinstance(word, Keep)) == sorted(tasks)


def test_what_is_settled_only_after_a_holder_has_died_is_copied_too() -> None:
    desk = Desk("n1#a")
    desk.lacks("n3#c")
    desk.kept.keep(entry("T"), 5.0)
    desk.all_copied()
    assert [word.task for _, word in desk.said if isinstance(word, Keep)] == ["T"]
    desk.living.add("n3#c")
    desk.dead.discard("n3#c")
    desk.kept.keep(entry("U"), 6.0)
    assert desk.kept.deadline is None


def test_where_nobody_is_left_to_take_it_nothing_is_said() -> None:
    desk = Desk("n1#a")
    desk.kept.keep(entry("T"), 0.0)
    desk.lacks("n3#c", "n4#d", "n5#e")
    desk.all_copied()
    assert not desk.said
    assert desk.kept.get("T") == entry("T")


def test_what_is_forgotten_or_was_not_held_by_the_dead_is_not_copied() -> None:
    desk = Desk("n1#a")
    desk.kept.keep(entry("T"), 0.0)
    desk.kept.keep(entry("U", ("n1#a", "n2#b", "n4#d")), 0.0)
    desk.lacks("n3#c")
    desk.kept.forget("T")
    desk.all_copied()
    assert not desk.said
    assert desk.kept.buried("T")
    assert TombEntry("T") in desk.written


def test_the_same_holders_are_kept_once() -> None:
    desk = Desk("n1#a")
    for task in ("T", "U"):
        desk.kept.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(entry(task)), type=KeptEntry), 0.0)
    one, other = desk.kept.get("T"), desk.kept.get("U")
    assert one is not None
    assert other is not None
    assert one.holders is other.holders
