"""A winner's answers, leases and results; and a holder's leases, orphans and memory."""

from __future__ import annotations

import random

from parley.protocols.commitment import Commitment
from parley.protocols.commitment_words import (
    Answer,
    AwardEntry,
    Begin,
    Choice,
    Chosen,
    Commit,
    Decided,
    Entry,
    Fence,
    Gone,
    Hold,
    KeptEntry,
    Learn,
    Learnt,
    Moved,
    Overruled,
    Pledge,
    Prepare,
    Promise,
    Release,
    Renewal,
    Renewed,
    Settled,
    Spec,
    Started,
    Talk,
    TombEntry,
    Vote,
    Warrant,
    Watching,
    Why,
    Word,
)
from parley.protocols.contract_events import TaskCommitted
from parley.protocols.core import Datagram, Effect, Event, NodeId, Outcome, PeerDown, PeerUp, Record, Send, State, Task
from parley.protocols.epochs import Epoch
from parley.protocols.holder import VERDICT_S

HOLDERS = ("n1", "n2", "n3")
SPEC = Spec(Task("T", "k"), b"payload", HOLDERS)
E0 = Epoch(0, "n1", 7)
WARRANT = Warrant(E0, HOLDERS, 0, 1)
OUTCOME = Outcome("T", State.DONE, b"a", node="n4")


def node(name: NodeId = "n4", entries: tuple[Entry, ...] = ()) -> Commitment:
    return Commitment(name, 7, random.Random(1), 0.0, entries)


def words(effects: object) -> list[tuple[NodeId, Word]]:
    assert isinstance(effects, list)
    return [
        (effect.to, word)
        for effect in effects
        if isinstance(effect, (Send, Datagram)) and isinstance(effect.message, (Pledge, Talk))
        for word in effect.message.words
    ]


def hear(one: Commitment, word: Word, sender: NodeId, now: float = 0.0) -> list[Effect]:
    return list(one.receive(Pledge((word,), sender, one.node), sender, now))  # type: ignore[arg-type]


def answer(answer: Answer, outcome: Outcome | None = None) -> AwardEntry:
    return AwardEntry("T", E0, answer, HOLDERS, 0, outcome)


def untold(effects: list[Effect]) -> list[Effect]:
    """Without what the log is told."""
    return [effect for effect in effects if not isinstance(effect, Event)]


def recorded(entry: Entry) -> Record:
    return Record(type(entry), entry.key, entry)


def test_an_award_is_accepted_on_disk_renewed_and_its_result_proposed() -> None:
    one = node()
    assert one.accept("T", WARRANT, 0.0) == [recorded(answer(Answer.ACCEPTED))]
    assert one.deadline == 0.25
    assert words(one.wake(0.25)) == [(holder, Renewal("T", 0, E0)) for holder in HOLDERS]
    assert one.done(E0, OUTCOME, 0.3) == [recorded(answer(Answer.RESULT, OUTCOME))]
    assert words(one.wake(0.3)) == [(holder, Commit("T", 0, E0, Choice(OUTCOME))) for holder in HOLDERS]
    hear(one, Vote("T", 0, E0), "n1")
    told = hear(one, Vote("T", 0, E0), "n2")
    assert untold(told) == [Send("n4", Chosen("T", OUTCOME)), recorded(answer(Answer.DECIDED))]
    assert [effect.state for effect in told if isinstance(effect, TaskCommitted)] == [State.DONE]
    assert words(one.wake(0.3)) == [("n1", Learn("T", 0, Choice(OUTCOME)))]  # the owner, whose client waits
    hear(one, Vote("T", 0, E0), "n3")
    assert words(one.wake(0.3)) == [(holder, Settled("T", 0, E0)) for holder in HOLDERS]


def test_a_lease_that_no_majority_renews_is_asked_for_only_now_and_then() -> None:
    """So that those who do answer may promise a later epoch; and who is fenced hears of it in the end."""
    one = node()
    one.accept("T", WARRANT, 0.0)
    asked = []
    for tick in range(1, 32):
        now = 0.25 * tick
        one.receive(Talk((Renewed("T", E0),), "n1", one.node), "n1", now)
        if words(one.wake(now)):
            asked.append(now)
    assert asked == [0.25, 0.5, 0.75, 3.75, 6.75]
    one.receive(Talk((Renewed("T", E0),), "n2", one.node), "n2", 7.8)
    one.receive(Talk((Renewed("T", E0),), "n1", one.node), "n1", 7.8)
    assert words(one.wake(8.0)), "a majority is there again"


def test_fenced_by_too_many_it_is_given_up_for_good() -> None:
    one = node()
    one.accept("T", WARRANT, 0.0)
    fence = Fence("T", 0, E0, Epoch(1, "n2", 1))
    assert hear(one, fence, "n1") == []
    assert hear(one, fence, "n1") == []  # the same holder
    assert untold(hear(one, fence, "n3")) == [recorded(answer(Answer.RELEASED)), Send("n4", Overruled("T", E0))]
    assert one.done(E0, OUTCOME, 1.0) == []


def test_to_be_done_at_most_once_it_begins_with_a_majority_or_is_given_up() -> None:
    one = node()
    one.accept("T", WARRANT, 0.0, at_most_once=True)
    assert words(one.wake(0.0)) == [(holder, Started("T", 0, E0)) for holder in HOLDERS]
    assert hear(one, Vote("T", 0, E0, start=True), "n2") == []
    assert hear(one, Vote("T", 0, E0, start=True), "n3") == [Send("n4", Begin("T", E0))]
    other = node()
    other.accept("T", WARRANT, 0.0, at_most_once=True)
    assert Send("n4", Overruled("T", E0)) in other.wake(2.1)


def test_a_restarted_winner_resumes_nothing_and_proposes_what_it_had() -> None:
    one = node(entries=(answer(Answer.ACCEPTED),))
    assert one.winner.answered("T", E0) == answer(Answer.RELEASED)
    assert words(one.wake(0.0)) == [(holder, Release("T", 0, E0)) for holder in HOLDERS]
    other = node(entries=(answer(Answer.RESULT, OUTCOME),))
    assert words(other.wake(0.0)) == [(holder, Commit("T", 0, E0, Choice(OUTCOME))) for holder in HOLDERS]


def holding(name: NodeId = "n2") -> Commitment:
    one = node(name)
    one.receive(Talk((Hold(SPEC, E0),), "n1", one.node), "n1", 0.0)
    one.wake(0.0)
    return one


def test_a_task_whose_owner_is_silent_is_an_orphan_and_one_word_keeps_all_from_it() -> None:
    one = holding()
    for tick in range(1, 12):
        one.receive(Talk((Watching(7),), "n1", one.node), "n1", 0.25 * tick)
        assert words(one.wake(0.25 * tick)) == []
    said: list[tuple[NodeId, Word]] = []
    now = 2.75
    while not said and now < 9.0:
        now = one.deadline or now
        said = words(one.wake(now))
    assert 2.75 + 1.0 < now < 2.75 + 4.0
    assert said[0] == ("n1", Prepare("T", 0, Epoch(1, "n2", 7), Why.ORPHAN))


def test_a_word_of_another_life_of_its_owner_keeps_nothing() -> None:
    one = holding()
    now = 0.0
    said: list[tuple[NodeId, Word]] = []
    while not said and now < 9.0:
        now = one.deadline or now
        one.receive(Talk((Watching(8),), "n1", one.node), "n1", now)
        said = words(one.wake(now))
    assert isinstance(said[0][1], Prepare)


def test_the_verdict_on_its_owner_makes_it_an_orphan_at_once_unless_its_winner_works() -> None:
    one = holding()
    one.receive(PeerUp("n1"), "n2", 0.0)
    one.receive(PeerDown("n1"), "n2", 0.5)
    assert one.deadline is not None
    assert one.deadline < 0.71
    other = holding()
    other.receive(PeerUp("n1"), "n2", 0.0)
    other.receive(Talk((Renewal("T", 0, E0),), "n4", other.node), "n4", 0.5)
    other.wake(0.5)
    other.receive(PeerDown("n1"), "n2", 0.5)
    assert words(other.wake(other.deadline or 0.0)) == []
    assert other.deadline is not None
    assert other.deadline > 1.5


def test_who_sees_to_a_task_waits_for_no_other() -> None:
    one = node("n1")
    one.hold(SPEC, 0.0)
    effects = one.wake(0.0)
    [own] = [effect.message for effect in effects if isinstance(effect, Send) and effect.to == "n1"]
    one.receive(own, "n1", 0.0)
    assert not [word for _, word in words(one.wake(5.0)) if isinstance(word, Prepare)]


def test_when_all_know_only_the_outcome_is_kept_and_at_last_only_the_name() -> None:
    one = holding()
    choice = Choice(OUTCOME)
    assert Send("n2", Chosen("T", OUTCOME)) in hear(one, Learn("T", 0, choice), "n4")
    assert words(one.wake(0.0)) == [("n4", Learnt("T", 0))]
    settled = one.receive(Talk((Settled("T", 0, E0),), "n4", one.node), "n4", 0.0)
    assert settled[-1] == recorded(KeptEntry("T", 0, choice, "k", holders=("n1", "n2", "n3")))
    assert [record.entry for record in settled[:-1] if isinstance(record, Record)] == [None, None]
    hear(one, Prepare("T", 0, Epoch(5, "n3", 1), Why.ORPHAN), "n3")
    assert words(one.wake(0.0)) == [("n3", Decided("T", 0, choice))]
    one.holder.kept.forget("T")
    hear(one, Prepare("T", 0, Epoch(5, "n3", 1), Why.ORPHAN), "n3")
    one.receive(Talk((Hold(SPEC, E0),), "n1", one.node), "n1", 0.0)
    assert words(one.wake(0.0)) == [("n3", Gone("T")), ("n1", Gone("T"))]
    again = node("n2", (TombEntry("T"),))
    again.receive(Talk((Hold(SPEC, E0),), "n1", again.node), "n1", 0.0)
    assert words(again.wake(0.0)) == [("n1", Gone("T"))]


def test_who_has_voted_like_all_others_need_not_be_taught() -> None:
    one = holding()
    choice = Choice(OUTCOME)
    hear(one, Commit("T", 0, E0, choice), "n4")
    early = one.receive(Talk((Settled("T", 0, Epoch(5, "n3", 1)),), "n4", one.node), "n4", 0.0)
    assert early == []  # not in that epoch
    settled = one.receive(Talk((Settled("T", 0, E0),), "n4", one.node), "n4", 0.0)
    assert Send("n2", Chosen("T", OUTCOME)) in settled
    assert settled[-1] == recorded(KeptEntry("T", 0, choice, "k", holders=("n1", "n2", "n3")))


def test_who_promises_what_has_ended_is_taught() -> None:
    """It was away, and is asked no more: its promise would keep it waiting for us."""
    one = holding()
    choice = Choice(OUTCOME)
    hear(one, Learn("T", 0, choice), "n4")
    one.wake(0.0)
    hear(one, Promise("T", 0, E0, E0, None, False), "n3")
    assert words(one.wake(0.0)) == [("n3", Learn("T", 0, choice))]


def test_many_words_to_one_node_are_one_message() -> None:
    one = node("n1")
    for number in range(50):
        one.hold(Spec(Task(f"T{number}", "k"), b"x", HOLDERS), 0.0)
    sends = [effect for effect in one.wake(0.0) if isinstance(effect, Send)]
    assert [send.to for send in sends] == list(HOLDERS)
    assert all(isinstance(send.message, Talk) and len(send.message.words) == 50 for send in sends)


def test_what_is_large_goes_in_messages_of_its_own() -> None:
    one = node("n1")
    for number in range(5):
        one.hold(Spec(Task(f"T{number}", "k"), b"x" * 600_000, HOLDERS), 0.0)
    told = [effect.to for effect in one.wake(0.0) if isinstance(effect, Send)]
    assert sorted(told) == ["n1"] + 5 * ["n2"] + 5 * ["n3"], "but for what goes nowhere"


def test_an_end_that_is_wanted_of_what_nobody_stands_by_does_not_wait_for_its_winner() -> None:
    one, unwanted = node("n2"), Outcome("T", State.CANCELLED)
    hear(one, Hold(SPEC, E0), "n1")
    hear(one, Renewal("T", 0, E0), "n4")
    one.want_end(unwanted, 0.1)
    assert not [word for _, word in words(one.wake(0.9)) if isinstance(word, Prepare)]  # its owner was heard
    for now in (1.0, 1.5, 2.0):
        hear(one, Renewal("T", 0, E0), "n4", now)
        one.wake(now)
    one.want_end(unwanted, 2.0)
    said = words(one.wake(2.0 + VERDICT_S))
    [(_, prepare)] = [(to, word) for to, word in said if to == "n3"]
    assert isinstance(prepare, Prepare)
    assert (prepare.why, prepare.epoch > E0) == (Why.CANCEL, True)
    for holder in ("n2", "n3"):
        hear(one, Promise("T", 0, prepare.epoch, E0, None, started=False), holder, 2.3)
    assert ("n3", Commit("T", 0, prepare.epoch, Choice(unwanted))) in words(one.wake(2.3))


def test_an_orphan_that_is_asked_for_in_vain_is_asked_for_its_end() -> None:
    """Its holders promise nothing to whoever wants to award it again, while its winner works."""
    one = node("n2")
    one.see_to(SPEC, 0, E0, 0.0)
    assert {word.why for _, word in words(one.wake(0.0)) if isinstance(word, Prepare)} == {Why.ORPHAN}
    one.want_end(Outcome("T", State.CANCELLED), 0.1)
    assert {word.why for _, word in words(one.wake(2.0)) if isinstance(word, Prepare)} == {Why.CANCEL}


def test_what_was_accepted_before_a_sleep_begins_with_a_majority_or_is_given_up() -> None:
    one = node()
    one.accept("T", WARRANT, 0.0)
    assert one.doubt("T", E0, 9.0) == []
    assert words(one.wake(9.0)) == [(holder, Renewal("T", 0, E0)) for holder in HOLDERS]
    assert hear(one, Renewed("T", E0), "n1", 9.1) == []
    assert words(one.wake(9.25)) == [(holder, Renewal("T", 0, E0)) for holder in ("n2", "n3")]
    assert hear(one, Renewed("T", E0), "n3", 9.3) == [Send("n4", Begin("T", E0))]
    assert words(one.wake(9.5)) == [(holder, Renewal("T", 0, E0)) for holder in HOLDERS]
    other = node()
    other.accept("T", WARRANT, 0.0)
    other.doubt("T", E0, 9.0)
    assert Send("n4", Overruled("T", E0)) in other.wake(11.1)


def test_a_doubt_follows_a_register_that_moves() -> None:
    one, there = node(), ("n5", "n2", "n3")
    one.accept("T", WARRANT, 0.0)
    one.doubt("T", E0, 9.0)
    one.wake(9.0)
    hear(one, Decided("T", 0, Choice(moved=Moved(there, E0))), "n2", 9.1)
    assert words(one.wake(9.25)) == [(holder, Renewal("T", 1, E0)) for holder in there]
    hear(one, Renewed("T", E0), "n2", 9.3)
    assert hear(one, Renewed("T", E0), "n5", 9.3) == [Send("n4", Begin("T", E0))]
