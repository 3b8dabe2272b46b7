"""An opener, alone and with its proposer: what it asks, what it may do with a majority, what silence gives it."""

from __future__ import annotations

import random

import pytest

from parley.protocols.commitment_words import (
    Choice,
    Chosen,
    Commit,
    Decided,
    Fence,
    Gone,
    Held,
    HeldFast,
    Hold,
    Learn,
    Learnt,
    Moved,
    Overruled,
    Permitted,
    Prepare,
    Promise,
    Settled,
    Spec,
    Unheld,
    Vote,
    Watching,
    Why,
    Word,
)
from parley.protocols.core import Local, NodeId, Outcome, State, Task
from parley.protocols.epochs import Epoch
from parley.protocols.opener import STUCK_S, Opener
from parley.protocols.patience import LEAST_S
from parley.protocols.proposer import Proposer

HOLDERS = ("n1", "n2", "n3")
SPEC = Spec(Task("T", "k"), b"payload", HOLDERS)
E0, E1 = Epoch(0, "n1", 7), Epoch(1, "n1", 7)
OTHER = Epoch(0, "n2", 3)
DONE = Choice(Outcome("T", State.DONE, b"a"))
CANCELLED = Outcome("T", State.CANCELLED)


class Desk:
    """An opener and a proposer, and what they have said and told since it was looked at last."""

    def __init__(self) -> None:
        self.words: list[tuple[NodeId, Word]] = []
        self.locals: list[Local] = []
        self.moves: list[Moved] = []
        self.heirs: tuple[NodeId, ...] = HOLDERS
        self.proposer = Proposer(
            "n1",
            lambda to, word: self.words.append((to, word)),
            lambda message: self.locals.append(message),
            lambda task, move, moved, now: self.moves.append(moved),
        )
        self.opener = Opener(
            "n1",
            7,
            random.Random(1),
            lambda to, word: self.words.append((to, word)),
            lambda message: self.locals.append(message),
            self.proposer,
            heirs=lambda spec: self.heirs,
        )

    def said(self) -> list[tuple[NodeId, Word]]:
        words, self.words = self.words, []
        return words

    def told(self) -> list[Local]:
        told, self.locals = self.locals, []
        return told

    def hear(self, word: Word, *senders: NodeId) -> None:
        for sender in senders:
            role = self.proposer if isinstance(word, (Vote, Learnt)) else self.opener
            role.ears[type(word)](word, sender, 0.0)

    def owns(self) -> None:
        """It is held, promised, and may be awarded."""
        self.opener.open(SPEC, 0.0)
        self.hear(Held("T", 0, E0), *HOLDERS)
        self.said(), self.told()


def test_a_task_is_acknowledged_when_a_majority_holds_it_and_awarded_when_it_promises() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    assert desk.said() == [(holder, Hold(SPEC, E0)) for holder in HOLDERS]
    desk.hear(Held("T", 0, E0), "n1")
    assert desk.told() == []
    assert desk.opener.award("T") is None
    desk.hear(Held("T", 0, E0), "n1")  # twice is once
    assert desk.told() == []
    desk.hear(Held("T", 0, E0), "n3")
    assert desk.told() == [HeldFast("T"), Permitted(SPEC, E0, 0)]
    assert desk.opener.award("T") == (E0, 0)
    assert desk.opener.award("T") is None  # one winner per epoch


def test_a_majority_that_promised_another_acknowledges_and_permits_nothing() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.hear(Held("T", 0, OTHER), "n2", "n3")
    assert desk.told() == [HeldFast("T"), Overruled("T", E0)]
    assert "T" not in desk.opener  # another stands by it


def test_a_stranger_is_no_holder() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.hear(Held("T", 0, E0), "n4", "n5")
    assert desk.told() == []


def test_what_was_given_back_is_awarded_in_the_next_hop_and_silence_gives_nothing_back() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.award("T")
    assert not desk.opener.given_back("T", E1)
    assert desk.opener.given_back("T", E0)
    assert desk.opener.award("T") == (E0.next_hop, 0)
    desk.opener.lost("T", 1.0)
    later = E0.next_hop.later("n1", 7)
    assert desk.said() == [(holder, Prepare("T", 0, later, Why.ORPHAN)) for holder in HOLDERS]
    assert desk.opener.award("T") is None
    assert not desk.opener.given_back("T", E0.next_hop)


def test_what_was_accepted_is_proposed_whatever_is_wanted() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.award("T")
    desk.opener.end(CANCELLED, 1.0)  # its winner does not answer: a later epoch first
    assert desk.said()[0] == ("n1", Prepare("T", 0, E1, Why.CANCEL))
    desk.hear(Promise("T", 0, E1, E1, None, False), "n1")
    desk.hear(Promise("T", 0, E1, E1, (E0, DONE), False), "n3")
    assert desk.said() == [(holder, Commit("T", 0, E1, DONE)) for holder in HOLDERS]
    desk.hear(Vote("T", 0, E1), "n1", "n3")
    assert desk.told() == []  # its holder here will say so
    assert desk.said() == [("n1", Learn("T", 0, DONE))]  # the owner, whose client waits
    desk.hear(Vote("T", 0, E1), "n2")
    assert desk.said() == [(holder, Settled("T", 0, E1)) for holder in HOLDERS]


def test_whoever_has_not_voted_is_taught_when_it_is_time() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.end(CANCELLED, 1.0)
    desk.hear(Vote("T", 0, E0), "n1", "n3")
    assert desk.said()[-1] == ("n1", Learn("T", 0, Choice(CANCELLED)))
    desk.hear(Learnt("T", 0), "n1")
    desk.proposer.wake(9.0)
    assert desk.said() == [(holder, Learn("T", 0, Choice(CANCELLED))) for holder in ("n2", "n3")]
    desk.hear(Learnt("T", 0), "n2", "n3")
    assert desk.said() == [(holder, Settled("T", 0)) for holder in HOLDERS]


def test_an_end_that_is_wanted_is_proposed_at_once_if_nobody_works_at_it() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.end(CANCELLED, 1.0)
    assert desk.said() == [(holder, Commit("T", 0, E0, Choice(CANCELLED))) for holder in HOLDERS]
    assert desk.opener.award("T") is None


def test_what_was_begun_and_is_to_be_done_once_ends_unknown() -> None:
    desk = Desk()
    desk.opener.prepare(SPEC, 0, OTHER, Why.ORPHAN, 0.0)
    epoch = OTHER.later("n1", 7)
    desk.said()
    desk.hear(Promise("T", 0, epoch, epoch, None, False), "n1")
    desk.hear(Promise("T", 0, epoch, epoch, None, True), "n2")
    commit = desk.said()[0][1]
    assert isinstance(commit, Commit)
    assert commit.choice.outcome is not None
    assert commit.choice.outcome.state is State.UNKNOWN


def test_a_holder_that_never_heard_of_it_is_asked_to_hold_it_in_that_epoch() -> None:
    desk = Desk()
    desk.opener.prepare(SPEC, 0, OTHER, Why.ORPHAN, 0.0)
    epoch = OTHER.later("n1", 7)
    desk.said()
    desk.hear(Unheld("T", 0), "n3")
    assert desk.said() == [("n3", Hold(SPEC, epoch))]
    desk.hear(Held("T", 0, epoch), "n3")
    desk.hear(Promise("T", 0, epoch, epoch, None, False), "n1")
    assert desk.told() == [Permitted(SPEC, epoch, 0)]


def test_a_move_keeps_the_latest_promise_that_was_none_and_is_told_who_is_to_install_it() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.award("T")
    desk.heirs = ("n1", "n4", "n3")
    desk.opener.prepare(SPEC, 0, E0, Why.MOVE, 1.0)
    assert desk.opener.award("T") is None
    desk.said()
    desk.hear(Promise("T", 0, E1, E0, None, False), "n1", "n3")
    moved = Moved(("n1", "n4", "n3"), E0)
    assert desk.said()[0] == ("n1", Commit("T", 0, E1, Choice(moved=moved)))
    desk.hear(Vote("T", 0, E1), "n1", "n3")
    assert desk.moves == [moved]
    desk.opener.moved(SPEC, 0, moved, 2.0)
    there = Spec(SPEC.task, SPEC.payload, moved.holders)
    assert desk.said() == [(holder, Hold(there, E0, 1)) for holder in moved.holders]
    assert desk.opener.given_back("T", E0)  # the award stood all the while
    assert desk.opener.award("T") == (E0.next_hop, 1)


def test_who_only_tells_new_holders_of_a_move_does_not_stand_by_the_task() -> None:
    """Else all would wait for it, and it for a holder that is dead."""
    desk = Desk()
    desk.opener.moved(SPEC, 0, Moved(("n1", "n4", "n3"), OTHER), 0.0)
    assert {type(word) for _, word in desk.said()} == {Hold, Decided}
    assert "T" not in desk.opener
    desk.opener.wake(0.25)
    assert desk.said() == []


def test_who_comes_back_while_a_move_is_asked_for_stays_a_holder() -> None:
    """Else the task might move to nodes that have died meanwhile."""
    desk = Desk()
    desk.heirs = ("n4", "n2", "n3")
    desk.opener.prepare(SPEC, 0, E0, Why.MOVE, 1.0)
    desk.heirs = HOLDERS
    desk.said()
    desk.hear(Promise("T", 0, E1, E0, None, False), "n1", "n2")
    assert desk.said()[0] == ("n1", Commit("T", 0, E1, Choice(moved=Moved(HOLDERS, E0))))


def test_a_move_that_is_fenced_by_few_is_asked_for_in_a_later_epoch() -> None:
    desk = Desk()
    desk.opener.prepare(SPEC, 0, E0, Why.MOVE, 0.0)
    desk.said()
    desk.hear(Fence("T", 0, E1, Epoch(9, "n3", 1)), "n3")
    desk.opener.wake(9.0)
    assert {word.epoch for _, word in desk.said() if isinstance(word, Prepare)} == {Epoch(10, "n1", 7)}


def test_what_is_wanted_of_a_task_while_it_moves_is_wanted_at_its_new_holders() -> None:
    """Its winner falls silent when the move is proposed already."""
    desk = Desk()
    desk.owns()
    desk.opener.award("T")
    desk.heirs = ("n1", "n4", "n3")
    desk.opener.prepare(SPEC, 0, E0, Why.MOVE, 1.0)
    desk.hear(Promise("T", 0, E1, E0, None, False), "n1", "n3")
    desk.opener.lost("T", 2.0)
    desk.said()
    desk.hear(Vote("T", 0, E1), "n1", "n3")
    [moved] = desk.moves
    desk.opener.moved(SPEC, 0, moved, 2.1)
    there, later = Spec(SPEC.task, SPEC.payload, moved.holders), Epoch(3, "n1", 7)
    assert desk.said() == [(holder, Prepare("T", 1, later, Why.ORPHAN)) for holder in moved.holders]
    desk.hear(Unheld("T", 1), "n4")
    assert desk.said() == [("n4", Hold(there, later, 1))]
    desk.hear(Promise("T", 1, later, later, None, False), "n1", "n4")
    assert desk.told() == [Permitted(there, later, 1)]


@pytest.mark.parametrize(("holder", "asked"), [("n3", True), ("n1", False), ("n9", False)])
def test_a_holder_that_comes_back_is_asked_unless_it_has_answered(holder: str, asked: bool) -> None:
    """However seldom it was asked at last."""
    desk = Desk()
    desk.opener.prepare(SPEC, 0, E0, Why.ORPHAN, 0.0)
    desk.proposer.propose("U", 0, HOLDERS, E0, DONE, 0.0)
    desk.hear(Promise("T", 0, E1, E0, None, False), "n1")
    desk.hear(Vote("U", 0, E0), "n1")
    for now in (2.0, 6.0, 14.0, 30.0):  # 30 s: asked again 4 s later at the earliest
        desk.opener.wake(now)
        desk.proposer.wake(now)
    desk.said()
    desk.opener.returned(holder, 30.1)
    desk.proposer.returned(holder, 30.1)
    desk.opener.wake(30.1)
    desk.proposer.wake(30.1)
    said = {type(word) for to, word in desk.said() if to == "n3"} - {Watching}
    assert said == ({Prepare, Commit} if asked else set())


def test_an_end_that_is_wanted_is_soon_tried_again_where_another_has_a_later_epoch() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.award("T")
    desk.opener.end(CANCELLED, 0.0)
    desk.said()
    desk.hear(Fence("T", 0, E1, Epoch(9, "n3", 1)), "n3")
    desk.opener.wake(LEAST_S)
    assert {word for _, word in desk.said() if isinstance(word, Prepare)} == {
        Prepare("T", 0, Epoch(10, "n1", 7), Why.CANCEL)
    }


def test_a_holder_that_has_lost_a_task_is_given_it_again_also_while_a_winner_has_it() -> None:
    """It died before it had it on disk; the winner, which needs its vote, has no task to give."""
    desk = Desk()
    desk.owns()
    desk.opener.award("T")
    desk.opener.given_back("T", E0)
    desk.hear(Unheld("T", 0), "n3")
    assert desk.said() == [("n3", Hold(SPEC, E0))]


def test_what_is_proposed_and_never_voted_for_is_proposed_in_a_later_epoch() -> None:
    """Two of its holders have promised it a move, and do not vote; whoever was to move it is dead."""
    desk = Desk()
    desk.owns()
    desk.opener.end(CANCELLED, 0.0)
    assert [word for _, word in desk.said()] == [Commit("T", 0, E0, Choice(CANCELLED))] * 3
    desk.hear(Vote("T", 0, E0), "n1")
    desk.opener.wake(STUCK_S)
    assert desk.said()[-3:] == [(holder, Prepare("T", 0, E1, Why.CANCEL)) for holder in HOLDERS]
    desk.hear(Promise("T", 0, E1, E1, (E0, Choice(CANCELLED)), False), "n1")
    desk.hear(Promise("T", 0, E1, E1, None, False), "n2")
    assert [word for _, word in desk.said()] == [Commit("T", 0, E1, Choice(CANCELLED))] * 3
    desk.hear(Vote("T", 0, E1), "n1", "n2")
    assert not desk.proposer.busy


def test_a_holder_that_votes_for_its_own_replacement_is_told_where_the_task_went() -> None:
    desk = Desk()
    moved = Choice(moved=Moved(("n1", "n4", "n3"), E0))
    desk.proposer.propose("T", 0, HOLDERS, E1, moved, 0.0)
    desk.said()
    desk.hear(Vote("T", 0, E1), "n2", "n3")
    assert desk.said() == [("n2", Learn("T", 0, moved))]


@pytest.mark.parametrize("choice", [Choice(moved=Moved(("n4", "n2", "n3"), E0)), DONE])
def test_what_an_opener_hears_of_a_task_is_told_to_what_holds_it_here(choice: Choice) -> None:
    """It may be a holder of former days, which nobody else would tell."""
    elsewhere = Spec(SPEC.task, SPEC.payload, ("n2", "n3", "n4"))
    desk = Desk()
    desk.opener.prepare(elsewhere, 0, E0, Why.ORPHAN, 0.0)
    desk.said()
    desk.hear(Decided("T", 0, choice), "n2")
    assert [word for to, word in desk.said() if to == "n1"] == [Learn("T", 0, choice)]


def test_who_is_fenced_by_too_many_gives_way() -> None:
    desk = Desk()
    desk.opener.prepare(SPEC, 0, E0, Why.ORPHAN, 0.0)
    late = Epoch(9, "n3", 1)
    desk.hear(Fence("T", 0, E1, late), "n2")
    assert desk.told() == []
    desk.hear(Fence("T", 0, E1, late), "n3")
    assert desk.told() == [Overruled("T", E1)]
    assert "T" not in desk.opener


def test_who_wants_an_end_and_is_fenced_lets_others_go_first_for_a_moment() -> None:
    """They may want the same: two who ask anew at once fence each other for ever."""
    desk = Desk()
    desk.owns()
    desk.opener.end(Outcome("T", State.CANCELLED), 1.0)
    desk.said(), desk.told()
    desk.opener.overruled("T", E0, 1.0)
    assert desk.said() == []
    assert desk.opener.deadline is not None
    desk.opener.wake(1.0 + LEAST_S)
    later = E0.later("n1", 7)
    asked = [(to, word) for to, word in desk.said() if isinstance(word, Prepare)]
    assert asked == [(holder, Prepare("T", 0, later, Why.CANCEL)) for holder in HOLDERS]


def test_what_waits_to_be_awarded_is_given_up_when_too_many_have_promised_another() -> None:
    """Else it would be awarded in vain, when its turn comes; what is awarded is its winner's to give up."""
    late = Epoch(9, "n3", 1)
    waits, awarded = Desk(), Desk()
    for desk in (waits, awarded):
        desk.owns()
    awarded.opener.award("T")
    for desk in (waits, awarded):
        desk.hear(Fence("T", 0, OTHER, late), "n2", "n3")  # not ours
        desk.hear(Fence("T", 0, E0, late), "n2", "n2")
        assert "T" in desk.opener
        desk.hear(Fence("T", 0, E0, late), "n3")
    assert waits.told() == [Overruled("T", E0)]
    assert "T" not in waits.opener
    assert awarded.told() == []
    assert "T" in awarded.opener


@pytest.mark.parametrize("by_us", [True, False], ids=["moved by us", "moved by another"])
@pytest.mark.parametrize("overtaken", [True, False])
def test_what_waits_to_be_awarded_and_moves_goes_on_unless_a_later_epoch_counts_there(
    by_us: bool, overtaken: bool
) -> None:
    """Its owner was away, others have opened it meanwhile, and it has moved since."""
    desk = Desk()
    desk.owns()
    desk.opener.prepare(SPEC, 0, E0, Why.MOVE, 0.0)
    later = Epoch(5, "n2", 3)
    moved = Moved(("n1", "n2", "n4"), later if overtaken else E0)
    if by_us:
        desk.opener.moved(SPEC, 0, moved, 0.0)
    else:
        desk.hear(Decided("T", 0, Choice(moved=moved)), "n2")
    there = Spec(SPEC.task, SPEC.payload, moved.holders)
    assert desk.told() == ([Overruled("T", E0)] if overtaken else [Permitted(there, E0, 1)])
    assert ("T" in desk.opener) is not overtaken


def test_what_is_forgotten_has_ended() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.hear(Gone("T"), "n2")
    assert desk.told() == [Chosen("T", None)]


def test_one_word_a_quarter_lease_tells_each_holder_that_all_its_tasks_are_seen_to() -> None:
    desk = Desk()
    desk.owns()
    desk.opener.open(Spec(Task("U", "k"), b"", HOLDERS), 0.0)
    desk.said()
    assert desk.opener.deadline == 0.25
    desk.opener.wake(0.25)
    assert desk.said() == [(holder, Watching(7)) for holder in HOLDERS]


def test_a_proposal_is_asked_again_less_and_less_often_of_those_who_have_not_answered() -> None:
    desk = Desk()
    desk.proposer.propose("T", 0, HOLDERS, E0, DONE, 0.0)
    desk.said()
    desk.hear(Vote("T", 0, E0), "n2")
    assert desk.proposer.deadline == 0.5
    desk.proposer.wake(0.5)
    assert desk.said() == [(holder, Commit("T", 0, E0, DONE)) for holder in ("n1", "n3")]
    assert desk.proposer.deadline == 1.5


def test_what_no_majority_promises_for_a_lease_is_stalled_also_where_it_is_asked_anew() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    assert not desk.opener.stalled("T", 0.5)
    desk.opener.prepare(SPEC, 0, E0, Why.ORPHAN, 0.9)
    assert desk.opener.stalled("T", 1.1)
    desk.hear(Promise("T", 0, E1, E0, None, False), *HOLDERS[:2])
    assert not desk.opener.stalled("T", 9.0)
    desk.opener.prepare(SPEC, 0, E1, Why.MOVE, 9.0)
    assert not desk.opener.stalled("T", 9.5)
    assert desk.opener.stalled("T", 10.5)
    assert desk.opener.stalled("unknown", 0.0)


def test_a_move_that_is_being_asked_for_is_not_asked_for_in_another_epoch() -> None:
    desk = Desk()
    for _ in range(3):
        desk.opener.prepare(SPEC, 0, E0, Why.MOVE, 0.0)
    assert {word.epoch for _, word in desk.words if isinstance(word, Prepare)} == {E1}


def test_what_is_asked_of_holders_in_vain_is_given_up_when_others_know_it() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    assert desk.opener.in_vain("T", "n2", ended=False) is None  # one of those asked, who will answer
    assert desk.opener.in_vain("T", "n4", ended=False) == E0
    assert "T" not in desk.opener
    desk.opener.open(SPEC, 0.0)
    assert desk.opener.in_vain("T", "n2", ended=True) == E0
    desk.opener.open(SPEC, 0.0)
    desk.hear(Held("T", 0, E0), *HOLDERS[:2])
    assert desk.opener.in_vain("T", "n4", ended=False) is None  # a majority holds it


def test_who_asks_holders_to_keep_what_has_moved_lets_go_of_it() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.hear(Decided("T", 0, Choice(moved=Moved(("n2", "n3", "n4"), Epoch(0, "n2", 7)))), "n2")
    assert "T" not in desk.opener
    assert desk.told() == [HeldFast("T"), Overruled("T", E0)]


def test_an_end_that_is_wanted_is_wanted_where_the_task_has_moved() -> None:
    """Seed 1275: it was cancelled before a majority held it, moved, and waited for ever to be awarded."""
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.opener.end(CANCELLED, 0.0)
    desk.said()
    desk.hear(Decided("T", 0, Choice(moved=Moved(("n2", "n3", "n4"), E0))), "n2")
    [asked, *_] = [word for _, word in desk.said() if isinstance(word, Prepare)]
    assert asked.why is Why.CANCEL
    desk.hear(Promise("T", 1, asked.epoch, E0, None, False), "n2", "n3")
    assert ("n4", Commit("T", 1, asked.epoch, Choice(CANCELLED))) in desk.said()


def test_who_is_counted_on_where_its_task_has_moved_sees_to_it_there() -> None:
    """They promised its epoch, and wait for it as long as it lives."""
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.said()
    desk.hear(Decided("T", 0, Choice(moved=Moved(("n2", "n3", "n4"), E0))), "n2")
    assert desk.told() == [HeldFast("T")]
    asked = [(to, word.epoch > E0) for to, word in desk.said() if isinstance(word, Prepare) and word.move == 1]
    assert asked == [("n2", True), ("n3", True), ("n4", True)]


def test_what_an_opener_is_told_all_learn_that_it_has_asked() -> None:
    """Its own holder was away when the others learnt it; another may have promised, and would wait for it."""
    desk = Desk()
    desk.owns()
    desk.opener.prepare(SPEC, 0, E0, Why.ORPHAN, 0.0)
    desk.said()
    desk.hear(Decided("T", 0, DONE), "n2")
    assert desk.said() == [("n1", Learn("T", 0, DONE)), ("n3", Learn("T", 0, DONE))]
    assert "T" not in desk.opener


def test_what_an_opener_is_told_before_anybody_has_promised_its_own_holder_learns() -> None:
    """It was handed in again, and has ended."""
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.said()
    desk.hear(Decided("T", 0, DONE), "n2")
    assert desk.said() == [("n1", Learn("T", 0, DONE))]


def test_an_end_that_is_wanted_is_wanted_still_where_its_task_has_moved() -> None:
    desk = Desk()
    desk.opener.open(SPEC, 0.0)
    desk.opener.end(CANCELLED, 0.0)
    desk.hear(Decided("T", 0, Choice(moved=Moved(("n2", "n3", "n4"), E0))), "n2")
    assert desk.said()[-1] == ("n4", Prepare("T", 1, E1, Why.CANCEL))
    desk.hear(Promise("T", 1, E1, E0, None, False), "n3", "n4")
    assert desk.said() == [(holder, Commit("T", 1, E1, Choice(CANCELLED))) for holder in ("n2", "n3", "n4")]


def test_a_result_that_comes_when_another_stands_is_told_to_be_late() -> None:
    late: list[tuple[str, Epoch]] = []
    proposer = Proposer(
        "n1",
        lambda to, word: None,
        lambda message: None,
        lambda task, move, moved, now: None,
        late=lambda task, epoch: late.append((task, epoch)),
    )
    proposer.propose("T", 0, HOLDERS, E0, DONE, 0.0)
    proposer.ears[Decided](Decided("T", 0, Choice(CANCELLED)), "n2", 0.1)
    assert late == [("T", E0)]
    proposer.ears[Decided](Decided("T", 0, Choice(CANCELLED)), "n3", 0.2)
    assert late == [("T", E0)]  # once


@pytest.mark.parametrize("holders", [("n2", "n3", "n4"), ("n2",)])
def test_an_owner_that_holds_nothing_is_told_how_it_has_ended(holders: tuple[NodeId, ...]) -> None:
    """A client has gone over to it: its winner, here, has the result decided, and nobody else would tell it."""
    desk = Desk()
    owned = Epoch(0, "n9", 3)
    desk.proposer.propose("T", 0, holders, owned, DONE, 0.0)
    desk.said()
    if len(holders) > 1:
        for holder in holders[:2]:
            desk.hear(Vote("T", 0, owned), holder)
    else:
        desk.proposer.ears[Decided](Decided("T", 0, DONE), "n2", 0.0)
    assert [word for to, word in desk.said() if to == "n9"] == [Learn("T", 0, DONE)]
