"""One holder's register: its table, line by line."""

from __future__ import annotations

from parley.protocols.commitment_words import (
    Choice,
    Decided,
    Fence,
    Held,
    Learnt,
    Moved,
    Promise,
    Spec,
    Vote,
    Why,
)
from parley.protocols.core import Outcome, State, Task
from parley.protocols.epochs import Epoch
from parley.protocols.register import Register

E0, E1, E2 = Epoch(0, "n1", 1), Epoch(1, "n2", 1), Epoch(2, "n3", 1)
SPEC = Spec(Task("T", "k"), b"", ("n1", "n2", "n3"))
DONE = Choice(Outcome("T", State.DONE, b"a"))
ELSE = Choice(Outcome("T", State.DONE, b"b"))


def register(spec: Spec = SPEC) -> Register:
    made = Register(spec, 0, E0)
    made.changed = False
    return made


def test_what_is_here_already_stands_by_its_promise() -> None:
    assert register().hold() == Held("T", 0, E0)


def test_a_later_epoch_is_promised_with_what_was_accepted() -> None:
    held = register()
    assert held.commit(E0, DONE) == Vote("T", 0, E0)
    assert held.prepare(E1, Why.ORPHAN, 0.0, 1.0) == Promise("T", 0, E1, E1, (E0, DONE), False)
    assert held.changed
    held.changed = False
    assert held.prepare(E1, Why.ORPHAN, 0.0, 1.0) == Promise("T", 0, E1, E1, (E0, DONE), False)  # again
    assert not held.changed


def test_an_earlier_epoch_is_fenced() -> None:
    held = register()
    held.prepare(E2, Why.ORPHAN, 0.0, 1.0)
    assert held.prepare(E1, Why.ORPHAN, 0.0, 1.0) == Fence("T", 0, E1, E2)
    assert held.commit(E1, DONE) == Fence("T", 0, E1, E2)
    assert held.accepted is None


def test_a_winner_under_its_lease_is_left_alone_but_for_a_cancel() -> None:
    held = register()
    held.renewed_at = 10.0
    assert held.prepare(E1, Why.ORPHAN, 10.9, 1.0) is None
    assert held.promised == E0
    assert isinstance(held.prepare(E1, Why.CANCEL, 10.9, 1.0), Promise)
    assert isinstance(held.prepare(E2, Why.ORPHAN, 11.1, 1.0), Promise)


def test_every_hop_of_the_promised_epoch_may_be_committed() -> None:
    held = register()
    assert held.commit(E0.next_hop, DONE) == Vote("T", 0, E0.next_hop)
    assert held.commit(E0, ELSE) == Fence("T", 0, E0, E0.next_hop)


def test_what_is_decided_is_the_answer_to_everything() -> None:
    held = register()
    assert held.learn(DONE) == Learnt("T", 0)
    decided = Decided("T", 0, DONE)
    assert held.hold() == decided
    assert held.prepare(E2, Why.CANCEL, 0.0, 1.0) == decided
    assert held.commit(E2, ELSE) == decided
    assert held.start(E2) == decided
    assert held.learn(DONE) == Learnt("T", 0)
    assert held.choice == DONE


def test_the_only_holder_decides_by_its_vote() -> None:
    held = register(Spec(SPEC.task, b"", ("n1",)))
    assert held.commit(E0, DONE) == Decided("T", 0, DONE)
    assert held.changed


def test_a_move_fences_nobody_but_makes_them_wait() -> None:
    held = register()
    promise = held.prepare(E1, Why.MOVE, 0.0, 1.0)
    assert promise == Promise("T", 0, E1, E0, None, False)  # its floor is the epoch that was not for a move
    assert held.commit(E0, DONE) is None  # neither a vote nor a fence: it is to ask again
    assert held.refusal(E0) is None
    held.commit(E1, Choice(moved=Moved(("n1", "n2", "n4"), E0)))
    assert held.prepare(E2, Why.ORPHAN, 9.0, 1.0) != promise
    assert held.commit(E0, DONE) == Fence("T", 0, E0, E2)


def test_a_start_is_voted_on_and_told_to_whoever_asks_later() -> None:
    held = register()
    assert held.start(E0) == Vote("T", 0, E0, start=True)
    assert held.prepare(E1, Why.ORPHAN, 9.0, 1.0) == Promise("T", 0, E1, E1, None, True)
    assert held.start(E0) == Fence("T", 0, E0, E1)


def test_as_it_was_recorded_it_comes_back() -> None:
    held = register()
    held.start(E0)
    held.commit(E0, DONE)
    held.prepare(E1, Why.MOVE, 9.0, 1.0)
    again = Register.restored(SPEC, 0, held.entry)
    assert again.entry == held.entry
    assert not again.changed
