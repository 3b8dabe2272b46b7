"""Every conformance case of the contract net, as a play with a transcript; then random words, and what must still hold.

The cases are those of FIPA SC00029H (contract net) and SC00030H (iterated), and of others' test suites. Each test's
docstring says what is to be shown, and where our protocol differs from the standard's text; it opens the transcript in
`transcripts/conformance_*.txt`, which is compared word by word. They are written anew only when
PARLEY_WRITE_TRANSCRIPTS is set.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conformance_world import (
    FREE,
    TRANSCRIPTS,
    Person,
    Play,
    bids,
    comparing,
    fail,
    informs,
    propose,
    refuse,
    silent,
)

from parley.protocols.award_rules import RULES
from parley.protocols.calls import REVISED_S
from parley.protocols.contract_net import LEASE_S
from parley.protocols.core import Conditions, Message, NodeId, Outcome, State, Task
from parley.protocols.participant import Asked, Pricing, Valuation
from parley.protocols.performatives import (
    Availability,
    Award,
    CallForProposals,
    Cancel,
    Failure,
    Fenced,
    Finished,
    Inform,
    NotUnderstood,
    Proposal,
    Reason,
    Refusal,
    Rejection,
    Renew,
)

Transcript = Callable[..., None]
OUTSIDE = (Renew, Fenced, Availability, NotUnderstood)
"""Words without a conversation: they speak of attempts, of a node, or name what they are about."""


@pytest.fixture
def transcript(request: pytest.FixtureRequest) -> Transcript:
    return comparing(request.function)


def kinds(name: NodeId, speed: float) -> Valuation:
    """Exact estimates; of the kind "far", which only b offers, too."""

    def value(asked: Asked, now: float) -> Pricing:
        if asked.task.kind == "far" and name != "b":
            return Pricing(decline=Reason.KIND, detail="do not offer far")
        return Pricing((("run", (asked.task.work or 0.0) / speed),))

    return value


def said(play: Play, kind: type[Message], speaker: NodeId | None = None) -> list[tuple[str, Message]]:
    """(to, what) of this kind, by this speaker or by anybody."""
    return [(to, words) for _, who, to, words in play.said if isinstance(words, kind) and speaker in (None, who)]


def outcome(play: Play, task: str) -> Outcome:
    """The one end of a task."""
    (end,) = play.outcomes[task]
    return end


def T(name: str = "t", work: float = 0.2, kind: str = "x", **more: object) -> Task:  # noqa: N802
    return Task(name, kind, work, **more)  # type: ignore[arg-type]


# --- the seven points of the contract net


def test_1_each_who_is_called_answers_with_a_proposal_or_a_refusal(transcript: Transcript) -> None:
    """1. The initiator calls: the task, its conditions, the time to answer. Each answers: a proposal, or a refusal.

    Ours: the call is published, and all who are known are invited. One answer speaks of all the tasks of a call.
    """
    play = Play(["a"], {"b": (1, 1.0), "c": (1, 4.0), "d": (1, 1.0)}, value=kinds)
    play.call("a", [T("t", 0.2, "far", terms=Conditions(needs=("arm",), deadline_s=10.0))])
    play.run(0.5)
    ((_, call),) = said(play, CallForProposals)
    assert isinstance(call, CallForProposals)
    assert (call.tasks[0].conditions.deadline_s, call.reply_by_s) == (10.0, 0.25)
    assert [to for to, _ in said(play, Proposal, "b")] == ["a"]
    assert [len(said(play, Refusal, name)) for name in "bcd"] == [0, 1, 1]
    assert outcome(play, "t").state is State.DONE
    transcript(play)


def test_2_the_call_closes_when_all_live_invitees_have_answered(transcript: Transcript) -> None:
    """2. When all invitees who live have answered, the call closes before its time: c dies, and nobody waits for it."""
    play = Play(["a"], {"b": (1, 1.0)}, {"c": silent})
    play.call("a", [T()])
    play.run(0.1)
    assert not said(play, Award)
    play.die("c", "a")
    play.run(0.5)
    assert next(at for at, _, _, message in play.said if isinstance(message, Award)) == 0.1
    transcript(play)


def test_2_the_call_closes_at_its_deadline(transcript: Transcript) -> None:
    """2. At the deadline the initiator decides with what has come: c is silent, b is accepted."""
    play = Play(["a"], {"b": (1, 1.0)}, {"c": silent})
    play.call("a", [T()])
    play.run(0.6)
    assert next(at for at, _, _, message in play.said if isinstance(message, Award)) == 0.25
    transcript(play)


def test_2_it_accepts_several_and_rejects_the_rest(transcript: Transcript) -> None:
    """2. Several proposals are accepted, each for its task, and the rest rejected.

    Ours: rejections are published a quarter of a second later, many in one message; who has won is not meant by them.
    """
    play = Play(["a"], {}, {"m": bids(0.2, only=["t", "v"], then=informs), "n": bids(0.3, then=informs)})
    play.call("a", [T("t"), T("u"), T("v")])
    play.run(1.0)
    awards = [(to, award.task.id) for to, award in said(play, Award) if isinstance(award, Award)]
    assert awards == [("m", "t"), ("n", "u"), ("m", "v")]
    ((to, rejection),) = said(play, Rejection)
    assert (to, rejection) == ("all", Rejection("a.1.1", ("t", "v"), Reason.OUTBID))
    assert all(outcome(play, task).state is State.DONE for task in "tuv")
    transcript(play)


def test_2_it_accepts_none(transcript: Transcript) -> None:
    """2. No proposal is accepted: the task was cancelled meanwhile. All who proposed are rejected."""
    play = Play(["a"], {"b": (1, 1.0), "c": (1, 2.0)}, {"d": silent})
    play.call("a", [T()])
    play.run(0.1)
    play.cancel("a", "t")
    play.run(1.0)
    assert not said(play, Award)
    assert said(play, Rejection) == [("all", Rejection("a.1.1", ("t",), Reason.CANCELLED))]
    transcript(play)


def test_3_a_proposal_binds_and_ends_in_inform_or_failure(transcript: Transcript) -> None:
    """3. Accepted is agreed: the participant starts without another word, and ends with its result, or with a failure.

    Ours: meanwhile it renews its lease. A participant that has no room any more, or leaves, ends with the failure
    `busy` or `draining`; that is no attempt, and the task is called again.
    """
    play = Play(["a"], {"b": (1, 1.0)})
    play.fails = lambda task, epoch: Finished(task.id, epoch, Reason.ERROR, error="no") if task.id == "u" else None
    play.call("a", [T("t", 0.4)])
    play.run(0.5)
    play.call("a", [T("u", 0.1)])
    play.run(1.0)
    assert [message for _, message in said(play, Inform)] == [Inform("a.1.1", "t", 1, b"done", 0.4, FREE, 1)]
    assert [message for _, message in said(play, Failure)] == [
        Failure("a.1.2", "u", 1, Reason.ERROR, "no", 0.0, FREE, 2)
    ]
    assert (outcome(play, "t").state, outcome(play, "u").state) == (State.DONE, State.FAILED)
    transcript(play)


def test_4_a_late_proposal_is_rejected_as_late(transcript: Transcript) -> None:
    """4. A late proposal is rejected, with the reason "late", and not met with silence.

    That holds before the task has ended, and after. A late refusal needs no answer.
    """
    play = Play(["a"], {"b": (1, 1.0)}, {"c": bids(0.1, after_s=0.3), "d": silent})
    play.call("a", [T("t", 0.2)])
    play.run(0.4)
    play.say("d", "a", refuse("a.1.1", "t"))
    play.run(0.7)
    play.say("c", "a", propose("a.1.1", 0.1, "t"))
    play.run(1.0)
    late = ("c", Rejection("a.1.1", ("t",), Reason.LATE))
    assert [line for line in said(play, Rejection) if line[0] != "all"] == [late, late]
    assert not [to for _, who, to, _ in play.said if who == "a" and to == "d"]
    transcript(play)


def test_5_the_conversation_is_the_initiators_and_on_every_message(transcript: Transcript) -> None:
    """5. The conversation id is unique, the initiator's, on every message; later ones have times of their own.

    Ours: an id is the initiator, its life, and a number. Four words stand outside of a conversation: `Renew` and
    `Fenced` speak of attempts, by task and epoch, for many conversations at once; `Availability` of a node;
    `NotUnderstood` names in `about` what it means, the conversation or (of an award) the task. What belongs to an
    attempt is told apart by its epoch, not by its conversation. A call has its time to answer, an award its lease.
    """
    play = Play(["a", "e"], {"b": (1, 1.0), "c": (1, 1.0)})
    play.call("a", [T("t")])
    play.call("e", [T("u")])
    play.run(0.3)
    play.call("a", [T("v")])
    play.run(1.0)
    play.die("a", "b", "c")
    play.come_back("a", 2, "b", "c")
    play.call("a", [T("w")])
    play.run(2.0)
    calls = [(who, words.auction) for _, who, _, words in play.said if isinstance(words, CallForProposals)]
    assert calls == [("a", "a.1.1"), ("e", "e.1.1"), ("a", "a.1.2"), ("a", "a.2.1")]
    for _, who, to, words in play.said:
        auction = None if isinstance(words, OUTSIDE) else words.auction  # type: ignore[attr-defined]
        assert auction is None or auction in {id for owner, id in calls if owner in (who, to)}
    assert {award.lease_s for _, award in said(play, Award) if isinstance(award, Award)} == {LEASE_S}
    assert all(outcome(play, task).state is State.DONE for task in "tuvw")
    transcript(play)


def not_understood(at: type[Message], otherwise: Person = silent) -> Person:
    """Understands everything but this."""

    def hear(message: Message) -> Sequence[tuple[float, Message]]:
        if not isinstance(message, at):
            return otherwise(message)
        about = message.task.id if isinstance(message, Award) else message.auction  # type: ignore[attr-defined]
        return [(0.0, NotUnderstood(about, f"what is {at.__name__}?"))]

    return hear


def test_6_not_understood_at_any_point_ends_nothing_with_the_others(transcript: Transcript) -> None:
    """6. `not-understood` may come from anybody at any point, and ends nothing with the others.

    m has not understood the call, n its award, o a rejection, and p the cancel of u.

    Ours: an award that was not understood is no attempt; the task is called again, and whoever has not understood is
    passed over for the others, or asked again later where there are none.
    """
    people = {
        "m": not_understood(CallForProposals),
        "n": not_understood(Award, bids(0.1, only=["t"])),
        "o": not_understood(Rejection, bids(0.4, only=["t"], then=informs)),
        "p": not_understood(Cancel, bids(0.1, only=["u"])),
    }
    play = Play(["a"], {"b": (1, 1.0)}, people)
    play.call("a", [T("t"), T("u")])
    play.run(0.4)
    play.cancel("a", "u")
    play.run(1.2)
    assert (outcome(play, "t").state, outcome(play, "t").node, outcome(play, "t").attempts) == (State.DONE, "b", 1)
    assert outcome(play, "u").state is State.CANCELLED
    puzzled = [who for _, who, _, words in play.said if isinstance(words, NotUnderstood)]
    assert set(puzzled) == set("mnop")
    assert puzzled.count("n") == 1
    transcript(play)


def test_7_a_cancel_is_answered_cancelled_or_could_not_be(transcript: Transcript) -> None:
    """7. The initiator cancels, and is told: cancelled (t), or that it could not be (u); or nobody answers (v).

    Ours: the standard answers with inform-done, or failure; here both are a `Failure`, with the reason `cancelled`, or
    `late`: an `Inform` is the end of work that was done, and of nothing else. Where no answer comes, the cancel is done
    when the lease ends. A task that has ended ignores a cancel.
    """
    people = {"m": bids(0.1, only=["u"], then=could_not), "n": bids(0.1, only=["v"])}
    play = Play(["a"], {"b": (1, 1.0)}, people)
    play.call("a", [T("t", 5.0), T("u", 5.0), T("v", 5.0)])
    play.run(0.3)
    for task in "tuv":
        play.cancel("a", task)
    play.run(2.0)
    play.cancel("a", "t")
    failures = [(failure.task, failure.reason) for _, failure in said(play, Failure) if isinstance(failure, Failure)]
    assert failures == [("t", Reason.CANCELLED), ("u", Reason.LATE)]
    assert all(outcome(play, task).state is State.CANCELLED for task in "tuv")
    transcript(play)


def could_not(message: Message) -> Sequence[tuple[float, Message]]:
    if isinstance(message, Cancel):
        return [(0.0, Failure(message.auction, message.task, message.epoch, Reason.LATE, "too late", 0.0, FREE, 1))]
    return ()


# --- the other cases


def often(behaviour: str, then: Person) -> Person:
    """Bids low for tasks named after its behaviour, when it is asked first; refuses all others."""
    asked: set[str] = set()

    def hear(message: Message) -> Sequence[tuple[float, Message]]:
        if not isinstance(message, CallForProposals):
            return then(message)
        mine = [task.id for task in message.tasks if task.id.endswith(behaviour) and task.id not in asked]
        asked.update(mine)
        others = [task.id for task in message.tasks]
        return [(0.0, propose(message.auction, 0.1, *mine) if mine else refuse(message.auction, *others))]

    return hear


def eager(message: Message) -> Sequence[tuple[float, Message]]:
    """Informs instead of proposing."""
    if not isinstance(message, CallForProposals):
        return ()
    return [(0.0, Inform(message.auction, task.id, 0, b"done", 0.1, FREE, 0)) for task in message.tasks[:1]]


def babbling(message: Message) -> Sequence[tuple[float, Message]]:
    return [(0.0, propose(message.auction, 0.1, "sesame"))] if isinstance(message, CallForProposals) else ()


def refusing(message: Message) -> Sequence[tuple[float, Message]]:
    if not isinstance(message, CallForProposals):
        return ()
    return [(0.0, refuse(message.auction, *(task.id for task in message.tasks)))]


def failing(message: Message) -> Sequence[tuple[float, Message]]:
    return [(0.1, fail(message, Reason.DIED, "its worker died"))] if isinstance(message, Award) else ()


def confused(message: Message) -> Sequence[tuple[float, Message]]:
    """Answers an award with the end of something else."""
    if not isinstance(message, Award):
        return ()
    return [(0.1, Inform(message.auction, "sesame", 7, b"open", 0.1, FREE, message.number))]


def test_ten_participants_of_whom_one_does_as_it_should(transcript: Transcript) -> None:
    """Ten are called, two rounds in a row, and do all that can be done wrong; each round ends as it should.

    not-understood (baffled) - refuse (refuser) - inform instead of propose (eager) - nonsense (babbler) - silence
    (mute) - propose, inform (honest) - propose, failure (clumsy) - propose, nonsense (confused) - propose, nothing
    (idler) - a participant that does not exist (ghost).

    Ours: an inform out of place is answered with `Fenced`: it belongs to no attempt that counts. Nonsense is dropped,
    logged and counted. Who proposed and is not heard of again loses its lease.
    """
    people = {
        "baffled": not_understood(CallForProposals),
        "refuser": refusing,
        "eager": eager,
        "babbler": babbling,
        "mute": silent,
        "honest": bids(0.3, then=informs),
        "clumsy": often("failure", failing),
        "confused": often("nonsense", confused),
        "idler": often("nothing", silent),
    }
    play = Play(["a"], {}, people, absent=["ghost"])
    for number, start in (("1", 0.0), ("2", 3.0)):
        play.run(start)
        tasks = [f"{number}-{behaviour}" for behaviour in ("inform", "failure", "nonsense", "nothing")]
        play.call("a", [T(task) for task in tasks])
        play.run(start + 2.5)
        first = {award.task.id: to for to, award in said(play, Award) if isinstance(award, Award) and award.epoch == 1}
        assert [first[task] for task in tasks] == ["honest", "clumsy", "confused", "idler"]
        ends = [outcome(play, task) for task in tasks]
        assert [(end.state, end.node, end.epoch) for end in ends] == [
            (State.DONE, "honest", epoch) for epoch in (1, 2, 2, 2)
        ]
        assert play.nodes["a"].initiator.open_tasks == 0
    transcript(play)


def test_late_proposals_are_waited_for_longer_next_time(transcript: Transcript) -> None:
    """The only one who could do it is slow to answer: rejected as late, then called again and given more time."""
    play = Play(["a"], {}, {"m": bids(0.2, after_s=0.4, then=informs)})
    play.call("a", [T()])
    play.run(2.0)
    assert said(play, Rejection) == [("m", Rejection("a.1.1", ("t",), Reason.LATE))]
    assert (outcome(play, "t").state, outcome(play, "t").epoch) == (State.DONE, 1)
    transcript(play)


def test_cancel_before_any_proposal(transcript: Transcript) -> None:
    """The call is open, and nobody has proposed: the task ends at once, and proposals come too late.

    Ours: no cancel is sent, for nobody is bound yet.
    """
    play = Play(["a"], {}, {"m": bids(0.2, after_s=0.1)})
    play.call("a", [T()])
    play.run(0.05)
    play.cancel("a", "t")
    play.run(1.0)
    assert outcome(play, "t").state is State.CANCELLED
    assert not said(play, Cancel)
    assert ("m", Rejection("a.1.1", ("t",), Reason.LATE)) in said(play, Rejection)
    transcript(play)


def test_cancel_after_a_proposal(transcript: Transcript) -> None:
    """b has proposed and is not accepted yet: the task ends at once, and b is rejected, with the reason `cancelled`.

    The rest of the call goes on. Ours: a rejection, as in the standard, and no cancel.
    """
    play = Play(["a"], {"b": (1, 1.0)}, {"m": bids(0.4, after_s=0.1)})
    play.call("a", [T("t"), T("u")])
    play.run(0.05)
    play.cancel("a", "t")
    play.run(1.0)
    assert (outcome(play, "t").state, outcome(play, "u").state) == (State.CANCELLED, State.DONE)
    assert not said(play, Cancel)
    assert ("all", Rejection("a.1.1", ("t",), Reason.CANCELLED)) in said(play, Rejection)
    transcript(play)


def test_cancel_after_acceptance(transcript: Transcript) -> None:
    """t runs and u waits, both accepted: b stops the one, drops the other, says so, and has room for v."""
    play = Play(["a"], {"b": (1, 1.0)})
    play.call("a", [T("t", 5.0), T("u", 4.0), T("v", 0.1)])
    play.run(0.1)
    play.cancel("a", "t")
    play.cancel("a", "u")
    play.run(1.0)
    assert [outcome(play, task).state for task in "tuv"] == [State.CANCELLED, State.CANCELLED, State.DONE]
    assert {task: count for (task, *_), count in play.starts.items()}.keys() == {"t", "u", "v"} - {"u"} | {"u"}
    transcript(play)


def test_cancel_after_inform(transcript: Transcript) -> None:
    """The cancel and the inform cross: what is done is done, and the cancel is answered with a failure."""
    play = Play(["a"], {"b": (1, 1.0)})
    play.call("a", [T()])
    play.run(0.2035)
    assert said(play, Inform)
    assert not play.outcomes
    play.cancel("a", "t")
    play.run(1.0)
    assert outcome(play, "t").state is State.DONE
    ((_, answer),) = said(play, Failure)
    assert isinstance(answer, Failure)
    assert answer.reason is Reason.LATE
    transcript(play)


def test_duplicate_proposals(transcript: Transcript) -> None:
    """m proposes twice while the call is open: the first counts. And again when it is accepted: that comes late, and
    takes nothing from the acceptance.

    Ours: a second answer in an open call is not understood, however much better it is.
    """
    play = Play(["a"], {}, {"m": bids(0.2, then=informs), "n": bids(0.3, after_s=0.1)})
    play.call("a", [T()])
    play.run(0.05)
    play.say("m", "a", propose("a.1.1", 0.9, "t"))
    play.run(0.15)
    play.say("m", "a", propose("a.1.1", 0.9, "t"))
    play.run(1.0)
    assert said(play, NotUnderstood) == [("m", NotUnderstood("a.1.1", "you have answered this call already"))]
    assert ("m", Rejection("a.1.1", ("t",), Reason.LATE)) in said(play, Rejection)
    assert (outcome(play, "t").state, outcome(play, "t").node, outcome(play, "t").epoch) == (State.DONE, "m", 1)
    transcript(play)


def test_a_proposal_after_a_refusal(transcript: Transcript) -> None:
    """m refuses, and thinks better of it: a refusal is its last word in this call."""
    play = Play(["a"], {"b": (1, 1.0)}, {"m": refusing, "n": silent})
    play.call("a", [T()])
    play.run(0.05)
    play.say("m", "a", propose("a.1.1", 0.1, "t"))
    play.run(1.0)
    assert said(play, NotUnderstood) == [("m", NotUnderstood("a.1.1", "you have answered this call already"))]
    assert outcome(play, "t").node == "b"
    transcript(play)


def test_unknown_conversations(transcript: Transcript) -> None:
    """Conversations of somebody else, of the future and of a former life are not understood; nor is a stranger.

    Ours: an inform or a failure of a task that is not open is answered with `Fenced`.
    """
    play = Play([], {"b": (1, 1.0)}, {"m": silent, "stranger": silent})
    play.start("a", 1, 1.0, life=2)
    play.meet("a", "b", "m")
    play.call("a", [T()])
    play.run(0.01)
    for auction in ("z.1.1", "a.2.99", "a.1.1", "a.2.", "a.2.plan.1"):
        play.say("m", "a", propose(auction, 0.1, "t"))
    play.say("stranger", "a", propose("a.2.1", 0.1, "t"))
    play.say("m", "a", Inform("a.2.1", "unheard-of", 1, b"done", 0.1, FREE, 0))
    play.run(1.0)
    answers = said(play, NotUnderstood)
    assert [to for to, _ in answers] == ["m"] * 5 + ["stranger"]
    assert said(play, Fenced) == [("m", Fenced("unheard-of", 0))]
    assert outcome(play, "t").node == "b"
    transcript(play)


def test_acceptance_to_one_who_never_proposed(transcript: Transcript) -> None:
    """Not understood: b never heard of t, has refused u, and has proposed v, but to a; a's v is not touched."""
    play = Play(["a"], {"b": (1, 1.0)}, {"m": silent}, value=lambda name, speed: kinds("c", speed))
    play.call("a", [T("v")])
    play.run(0.1)
    play.say("m", "b", CallForProposals("m.1.1", (T("u", 0.2, "far"),), 0.25))
    for task in (T("t"), T("u", 0.2, "far"), T("v")):
        play.say("m", "b", Award("m.1.1", task, 1, 1.0, 1, b""))
    play.run(1.0)
    assert [(to, words.about) for to, words in said(play, NotUnderstood) if isinstance(words, NotUnderstood)] == [
        ("m", "t"),
        ("m", "u"),
        ("m", "v"),
    ]
    assert outcome(play, "v").state is State.DONE
    assert sum(play.starts.values()) == 1
    transcript(play)


def test_acceptances_in_tranches(transcript: Transcript) -> None:
    """One call for eight tasks, one proposal each; accepted as room comes free, now and next, in one conversation."""
    play = Play(["a"], {"b": (1, 1.0), "c": (1, 2.0)})
    play.call("a", [T(f"t{number}", number / 10) for number in range(1, 9)])
    play.run(2.0)
    assert len(said(play, CallForProposals)) == 1
    awards = [(at, message) for at, _, _, message in play.said if isinstance(message, Award)]
    assert {award.auction for _, award in awards} == {"a.1.1"}
    assert len({at for at, _ in awards}) == 5
    assert all(outcome(play, f"t{number}").state is State.DONE for number in range(1, 9))
    transcript(play)


def test_the_initiator_dies_between_acceptance_and_inform(transcript: Transcript) -> None:
    """b is told, and stops: the work of the dead is nobody's, and e's comes next.

    In the second play nobody tells b; a comes back in another life, knows nothing of t, and fences what b has done.
    In the third it comes back while b still works, and fences it when b renews its lease.
    """
    told = Play(["a", "e"], {"b": (1, 1.0)})
    told.call("a", [T("t", 0.6)])
    told.run(0.1)
    told.call("e", [T("u", 0.1)])
    told.run(0.2)
    told.die("a", "b")
    told.run(1.0)
    assert not said(told, Inform, "b")[1:]
    assert outcome(told, "u").state is State.DONE
    plays = [told]
    for work in (0.2, 0.6):
        untold = Play(["a"], {"b": (1, 1.0)})
        untold.call("a", [T("t", work)])
        untold.run(0.1)
        untold.die("a")
        untold.come_back("a", 2, "b")
        untold.run(1.0)
        assert not untold.outcomes
        assert said(untold, Fenced) == [("b", Fenced("t", 0))]
        plays.append(untold)
    assert not said(plays[2], Inform)
    assert not any(node.running for play in plays for node in play.nodes.values())
    transcript(*plays)


def test_the_winner_dies(transcript: Transcript) -> None:
    """Its death is told: the task is open again, and goes to c. Its death is not told: its lease ends, and the same.

    In the third play it is back at once, in another life, and knows nothing of t: its lease ends too.
    """
    plays = []
    for told, back in ((True, False), (False, False), (False, True)):
        play = Play(["a"], {"b": (1, 2.0), "c": (1, 1.0)})
        play.call("a", [T("t", 0.4)])
        play.run(0.1)
        play.die("b", *(["a"] if told else []))
        if back:
            play.come_back("b", 2)
            play.nodes["b"].participant.drain(play.now)  # it goes again, and c is to have it
        play.run(2.5)
        assert (outcome(play, "t").state, outcome(play, "t").node, outcome(play, "t").epoch) == (State.DONE, "c", 2)
        plays.append(play)
    transcript(*plays)


# --- iterated (FIPA SC00030H)


def hagglers(floors: dict[NodeId, tuple[float, float]]) -> Callable[[NodeId, float], Valuation]:
    """Bids its first price, and a fifth less than the best from then on, down to its floor."""

    def of(name: NodeId, speed: float) -> Valuation:
        first, floor = floors.get(name, (1.0, 1.0))

        def value(asked: Asked, now: float) -> Pricing:
            price = first if asked.best_s is None else max(floor, min(first, 0.8 * asked.best_s))
            return Pricing((("run", price),))

        return value

    return of


def test_iterated_bidders_come_down_until_one_is_accepted(transcript: Transcript) -> None:
    """The best price is told, to the better half; the rest is rejected for good; it ends when nobody comes down.

    b can go down to 0.3 s, c to 0.5 s; d and e, who bid 2 s and 3 s, are out after the first call. The price still
    falls from 0.5 s to 0.4 s and to 0.32 s, then to b's floor, in four revised calls at most.

    Ours: a bidder that does not answer a revised call stands by its bid; a call is revised at most four times; what
    was not accepted when it ends waits for room, and is priced anew like anything else.
    """
    value = hagglers({"b": (1.0, 0.3), "c": (0.8, 0.5), "d": (2.0, 0.1), "e": (3.0, 0.1)})
    play = Play(["a"], dict.fromkeys("bcde", (1, 1.0)), rule=RULES["iterated"], value=value)
    play.call("a", [T()])
    play.run(1.0)
    called = said(play, CallForProposals)
    revised = [(to, call) for to, call in called if isinstance(call, CallForProposals) and call.best_s]
    assert {to for to, _ in revised} == {"b", "c"}
    best = [call.best_s[0] for _, call in revised]
    assert best == sorted(best, reverse=True)
    assert [to for to, words in said(play, Rejection) if to != "all"] == ["d", "e"]
    assert (outcome(play, "t").node, outcome(play, "t").epoch) == ("b", 1)
    transcript(play)


def test_iterated_ends_when_all_refuse(transcript: Transcript) -> None:
    """Asked for less, all refuse: nobody is accepted. For good, here: so the task is unplaced, with the reason."""

    def proud(name: NodeId, speed: float) -> Valuation:
        def value(asked: Asked, now: float) -> Pricing:
            if asked.best_s is not None:
                return Pricing(decline=Reason.UNWILLING, detail="do not haggle")
            return Pricing((("run", 1.0),))

        return value

    play = Play(["a"], {"b": (1, 1.0), "c": (1, 1.0)}, rule=RULES["iterated"], value=proud)
    play.call("a", [T()])
    play.run(1.0)
    assert not said(play, Award)
    assert outcome(play, "t").error == "0/2 nodes can run this: 2 do not haggle"
    transcript(play)


def test_iterated_ends_when_all_are_rejected(transcript: Transcript) -> None:
    """The initiator rejects all: the task is cancelled between two iterations. The answers still to come are late."""
    people = {"m": bids(0.5, after_s=0.1), "n": bids(0.6, after_s=0.1)}
    play = Play(["a"], {}, people, rule=RULES["iterated"])
    play.call("a", [T()])
    play.run(0.15)
    play.cancel("a", "t")
    play.run(1.0)
    assert not said(play, Award)
    assert ("all", Rejection("a.1.1", ("t",), Reason.CANCELLED)) in said(play, Rejection)
    assert said(play, Rejection).count(("m", Rejection("a.1.1", ("t",), Reason.LATE))) == 1
    transcript(play)


def test_iterated_who_is_out_stays_out(transcript: Transcript) -> None:
    """o was rejected in the first call, p was late for it; both bid low while the others are asked again: too late."""
    people = {
        "m": bids(0.5, after_s=0.1, then=informs),
        "n": bids(0.6, after_s=0.1),
        "o": bids(0.9),
        "p": silent,
    }
    play = Play(["a"], {}, people, rule=RULES["iterated"])
    play.call("a", [T()])
    play.run(0.3)
    play.say("o", "a", propose("a.1.1", 0.01, "t"))
    play.say("p", "a", propose("a.1.1", 0.01, "t"))
    play.run(1.0)
    late = Rejection("a.1.1", ("t",), Reason.LATE)
    assert [line for line in said(play, Rejection) if line[1] == late] == [("o", late), ("p", late)]
    assert outcome(play, "t").node == "m"
    transcript(play)


def test_iterated_who_is_silent_stands_by_its_bid(transcript: Transcript) -> None:
    """m answers the first call and no other: its bid stands, and after a revised call's quarter of a second it wins."""

    def once(message: Message) -> Sequence[tuple[float, Message]]:
        if isinstance(message, CallForProposals) and not message.best_s:
            return [(0.0, propose(message.auction, 0.5, "t"))]
        return informs(message)

    play = Play(["a"], {}, {"m": once, "n": bids(0.6)}, rule=RULES["iterated"])
    play.call("a", [T()])
    play.run(1.0)
    at = next(at for at, _, _, message in play.said if isinstance(message, Award))
    assert at == pytest.approx(0.001 + REVISED_S, abs=0.002)
    assert outcome(play, "t").node == "m"
    transcript(play)


def test_every_transcript_has_its_case() -> None:
    here = Path(__file__).parent
    cases = {
        function.name.removeprefix("test_")
        for path in here.glob("test_conformance*.py")
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef) and "transcript" in [argument.arg for argument in function.args.args]
    }
    written = {path.stem.removeprefix("conformance_") for path in TRANSCRIPTS.glob("conformance_*.txt")}
    assert written == cases - {"transcript"}
