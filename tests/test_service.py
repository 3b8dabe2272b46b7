"""The desk: one answer per task taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from parley.agents.payload import Handed, hand_on, pack, unpack
from parley.protocols import book, following
from parley.protocols import service as module
from parley.protocols.commitment import Commitment
from parley.protocols.commitment_words import Choice, Chosen, HeldFast, KeptEntry
from parley.protocols.contract_net import Initiator
from parley.protocols.core import (
    GANG_ID_MAX,
    Conditions,
    Effect,
    Message,
    Outcome,
    PeerUp,
    ProtocolError,
    Publish,
    Send,
    State,
    Task,
)
from parley.protocols.load import Load
from parley.protocols.participant import Participant, Pricing
from parley.protocols.performatives import (
    Bid,
    CallForProposals,
    Completed,
    Credit,
    Grant,
    Output,
    Printed,
    Proposal,
    Reason,
    Stream,
)
from parley.protocols.requests import (
    UNREAD_BYTES_MAX,
    UNREAD_MAX,
    AskDrain,
    AskNodes,
    AskResult,
    AskTasks,
    Cancelled,
    CancelTasks,
    Draining,
    Follow,
    NodeLine,
    Nodes,
    NotFound,
    Progress,
    Read,
    Refused,
    Result,
    ResultOf,
    Submit,
    Submitted,
    TaskLine,
    Wait,
)
from parley.protocols.seeking import NAMES_MAX, POLL_S, POLLED_MAX, SEEK_S, Seek, Sighting, Sought
from parley.protocols.service import Service, TaskSubmitted
from parley.protocols.swim_words import Ping, Presence, Status

HERE = NodeLine("a", 7, Presence.ALIVE, True, "tcp://a:1", 2, 4.0, Status(("gpu",), (("vram", 8.0),), 1, 2, 0.5))


def desk() -> tuple[Service, Initiator]:
    initiator = Initiator("a", 1, 0)
    initiator.receive(PeerUp("a"), "a", 0.0)
    participant = Participant("a", 2, 4.0, lambda asked, now: Pricing((("run", 1.0),)), lambda task, seconds, now: None)
    return Service(initiator, participant, lambda: [HERE], hand_on), initiator


def answers(service: Service, message: Message, client: str = "me") -> list[Message]:
    return [effect.message for effect in service.receive(message, client, 0.0) if isinstance(effect, Send)]


T = Task("t", "x", 1.0, payload_bytes=4)
DONE = Outcome("t", State.DONE, b"value", node="a", epoch=1, attempts=1)


def test_a_task_is_taken_called_and_answered_once() -> None:
    service, initiator = desk()
    effects = service.receive(Submit(T, b"load"), "me", 0.0)
    assert list(effects) == [
        TaskSubmitted(task="t", kind="x", work=1.0, payload_bytes=4, peer="me"),
        Send("me", Submitted("t")),
    ]
    assert Publish(CallForProposals("a.1.1", (T,), 0.25)) in initiator.wake(0.0)
    assert list(service.receive(Completed(DONE), "a", 1.0)) == [Send("me", Result(DONE))]
    assert list(service.receive(Completed(DONE), "a", 1.0)) == []


def test_the_same_task_again_is_the_same_task() -> None:
    service, initiator = desk()
    answers(service, Submit(T, b"load"))
    assert answers(service, Submit(T, b"load")) == [Submitted("t")]
    assert answers(service, Submit(T, b"load"), "other") == [Refused("t", "the id t is another client's")]
    initiator.wake(0.0)
    assert answers(service, Completed(DONE), "a") == [Result(DONE)]
    assert answers(service, Submit(T, b"load")) == [Refused("t", "the task t has ended; ask for its result")]


def test_a_task_must_be_what_it_says() -> None:
    service, _ = desk()
    (refused,) = answers(service, Submit(T, b"more than that"))
    assert refused == Refused("t", "its argument has 14 bytes and not the 4 it declares")


def test_the_members_of_a_gang_must_have_ids_that_can_be_said() -> None:
    service, _ = desk()
    gang = Conditions(gang=256)
    [refused] = answers(service, Submit(Task("i" * (GANG_ID_MAX + 1), "x", terms=gang), b""))
    assert refused == Refused("i" * 61, "the id of a gang has 60 characters at most, and this one 61")
    longest = Task("i" * GANG_ID_MAX, "x", terms=gang)
    assert not any(isinstance(answer, Refused) for answer in answers(service, Submit(longest, b"")))
    word = Grant(longest.member(255).id, 1, 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(word), type=Grant) == word


def test_what_is_held_and_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TASKS_MAX", 2)
    monkeypatch.setattr(book, "ENDED_MAX", 1)
    service, _ = desk()
    for name in "tuv":
        last = answers(service, Submit(Task(name, "x"), b""))
    assert last == [Refused("v", "this agent holds 2 tasks already; try another")]
    for name in "tu":
        answers(service, Completed(Outcome(name, State.DONE)), "a")
    assert isinstance(answers(service, Submit(Task("u", "x"), b""))[0], Refused)
    assert len(service._book) == 1


def test_nodes() -> None:
    service, _ = desk()
    assert answers(service, AskNodes(3)) == [Nodes(3, (HERE,), 1, "a")]


def test_a_desk_that_drains_sees_its_tasks_through_and_takes_no_more() -> None:
    service, _ = desk()
    answers(service, Submit(T, b"load"))
    assert answers(service, AskDrain(5)) == [Draining(5, 0, 1)]
    assert answers(service, Submit(Task("u", "x"), b"")) == [Refused("u", "this agent is about to leave; try another")]
    assert answers(service, Completed(DONE), "a") == [Result(DONE)]


def test_an_empty_desk_wakes_for_nothing() -> None:
    service, _ = desk()
    assert service.deadline is None
    assert not service.wake(0.0)
    with pytest.raises(ProtocolError):
        service.receive(Ping(0), "me", 0.0)


def results(count: int, size: int = 0) -> list[Outcome]:
    return [Outcome(f"t{number}", State.DONE, b"x" * size) for number in range(count)]


def complete(service: Service, outcomes: list[Outcome]) -> list[Message]:
    """All are submitted, then all end at once; what the client is sent."""
    for outcome in outcomes:
        service.receive(Submit(Task(outcome.task, "x"), b""), "me", 0.0)
    return [message for outcome in outcomes for message in answers(service, Completed(outcome), "a")]


def test_a_client_is_sent_no_more_results_than_it_reads() -> None:
    service, _ = desk()
    outcomes = results(UNREAD_MAX + 5)
    assert complete(service, outcomes) == [Result(outcome) for outcome in outcomes[:UNREAD_MAX]]
    assert answers(service, Read(3)) == [Result(outcome) for outcome in outcomes[UNREAD_MAX:][:3]]
    assert answers(service, Read(3)) == []
    assert answers(service, Read(UNREAD_MAX)) == [Result(outcome) for outcome in outcomes[-2:]]
    assert answers(service, Read(10), "stranger") == []


def test_large_results_wait_until_the_earlier_are_read() -> None:
    service, _ = desk()
    outcomes = results(3, UNREAD_BYTES_MAX // 2)
    assert complete(service, outcomes) == [Result(outcome) for outcome in outcomes[:2]]
    assert answers(service, Read(1)) == [Result(outcomes[2])]


def submit(service: Service, name: str, *after: str, now: float = 0.0, **more: object) -> list[Effect]:
    conditions = Conditions(deadline_s=more.pop("deadline_s", None))  # type: ignore[arg-type]
    payload = pack([Handed(parent) for parent in after])
    task = Task(name, "x", 1.0, len(payload), terms=conditions)
    return list(service.receive(Submit(task, payload, after=after, **more), "me", now))  # type: ignore[arg-type]


def test_results_are_kept_for_whoever_asks_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "ENDED_BYTES_MAX", 1_000)
    service, _ = desk()
    complete(service, results(20, 100))
    assert answers(service, AskResult(1, "t19"), "stranger") == [ResultOf(1, results(20, 100)[19])]
    (forgotten,) = answers(service, AskResult(2, "t3"), "stranger")
    assert isinstance(forgotten, NotFound)
    assert len(service._book) == 10


def test_a_task_is_called_when_those_before_it_are_done_and_is_handed_their_results() -> None:
    service, initiator = desk()
    submit(service, "t1", label="first")
    submit(service, "t2")
    submit(service, "child", "first", "t2")
    initiator.wake(0.0)
    line = answers(service, AskTasks(1, ("child",)))[0].lines[0]  # type: ignore[attr-defined]
    assert (line.state, line.reason) == (State.HELD, "comes after first, t2")
    assert initiator.standing("child") is None
    answers(service, Completed(Outcome("t1", State.DONE, pack({"x": np.arange(3)}))), "a")
    assert initiator.standing("child") is None
    answers(service, Completed(Outcome("t2", State.DONE, pack(7))), "a")
    assert initiator.standing("child") is not None
    handed = unpack(initiator._contracts["child"].payload)
    assert isinstance(handed, list)
    assert (handed[0]["x"].tolist(), handed[1]) == ([0, 1, 2], 7)


def test_a_task_after_one_that_failed_fails() -> None:
    service, _ = desk()
    submit(service, "t")
    submit(service, "child", "t")
    submit(service, "grandchild", "child")
    told = answers(service, Completed(Outcome("t", State.FAILED, error="boom")), "a")
    outcomes = {message.outcome.task: message.outcome for message in told if isinstance(message, Result)}
    assert outcomes["child"].error == "it comes after t, which is failed: boom"
    assert (outcomes["grandchild"].state, outcomes["grandchild"].reason) == (State.FAILED, "parent")
    assert answers(service, Submit(Task("late", "x"), b"", after=("t",))) == [
        Refused("late", "it comes after t, which is failed")
    ]
    assert answers(service, Submit(Task("odd", "x"), b"", after=("nobody",))) == [
        Refused("odd", "it comes after nobody, which this agent does not know")
    ]


def test_a_deadline_ends_what_is_not_done() -> None:
    service, initiator = desk()
    submit(service, "t", deadline_s=5.0, now=1.0)
    assert service.deadline == 6.0
    assert service.wake(5.0) == []
    effects = service.wake(6.0)
    (completed,) = [effect.message for effect in effects if isinstance(effect, Send)]
    assert isinstance(completed, Completed)
    assert (completed.outcome.state, completed.outcome.error) == (State.FAILED, "not done within its 5 s")
    assert initiator.open_tasks == 0


def test_a_client_that_waits_is_told_of_progress_and_of_the_end() -> None:
    service, _ = desk()
    for name in ("t1", "t2", "t3"):
        submit(service, name, follow=Follow.NOTHING)
    (first,) = answers(service, Wait(9, ("all",)), "other")
    assert first == Progress(9, ((State.OPEN, 3),), False)
    assert answers(service, Completed(Outcome("t1", State.DONE)), "a") == []
    assert service.deadline == module.TELL_EVERY_S
    (told,) = service.wake(module.TELL_EVERY_S)
    assert told == Send("other", Progress(9, ((State.DONE, 1), (State.OPEN, 2)), False))
    answers(service, Completed(Outcome("t2", State.FAILED, error="boom\nTraceback")), "a")
    (last,) = answers(service, Completed(Outcome("t3", State.DONE)), "a")
    assert last == Progress(9, ((State.DONE, 2), (State.FAILED, 1)), True, "task t2: boom")
    assert answers(service, Wait(10, ("t1",)), "other") == [Progress(10, ((State.DONE, 1),), True)]


def test_cancel_ends_what_is_nowhere_at_once_and_says_when_all_has_stopped() -> None:
    service, _ = desk()
    submit(service, "t1")
    submit(service, "t2", "t1")
    assert answers(service, CancelTasks(1, ("t2",)))[-1] == Cancelled(1, 1, 0)
    effects = service.receive(CancelTasks(2, ("all",)), "me", 0.0)
    (completed,) = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Completed)]
    assert completed.outcome.state is State.CANCELLED
    assert answers(service, completed, "a")[-1] == Cancelled(2, 1, 1)  # t2 was cancelled before
    assert answers(service, CancelTasks(3, ("t2",)))[-1] == Cancelled(3, 0, 1)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("zz", "no task here is called zz, and none begins with it"),
        ("t", "t is the beginning of 2 tasks, t1 and t2 among them: say more"),
    ],
)
def test_a_name_must_mean_one_task(name: str, sentence: str) -> None:
    service, _ = desk()
    submit(service, "t1")
    submit(service, "t2")
    for question in (AskTasks(1, (name,)), Wait(1, (name,)), CancelTasks(1, (name,)), AskResult(1, name)):
        assert answers(service, question) == [NotFound(1, sentence)]
    assert [line.task for line in answers(service, AskTasks(1, ("last",)))[0].lines] == ["t2"]  # type: ignore[attr-defined]


def test_what_a_silent_follower_does_not_read_holds_nobody_up() -> None:
    service, initiator = desk()
    submit(service, "t", follow=Follow.OUTPUT)
    initiator.wake(0.0)
    initiator.receive(Proposal("a.1.1", (Bid("t", (("queue", 0.0),)),), (), Load((0.0,), 0, 0.0, 1.0), 0), "a", 0.0)
    initiator.wake(0.0)
    printed = Printed("t", 1, Stream.OUT, b"hello")
    assert service.receive(printed, "stranger", 0.0) == ()
    assert service.receive(printed, "a", 0.0) == [Send("me", Output("t", 1, Stream.OUT, b"hello"))]
    assert service.receive(Credit("t", 1, 2), "me", 1.0) == [Send("a", Grant("t", 1, 2))]
    assert service.wake(following.SILENT_S) == []
    assert service.wake(2 * following.SILENT_S) == [Send("a", Grant("t", 1, 3))]
    assert service.receive(printed, "a", 30.0) == [Send("a", Grant("t", 1, 5))]


def knowing(*others: str, entries: Sequence[KeptEntry] = ()) -> tuple[Service, Initiator]:
    """A desk in a fleet, and what its node held before."""
    commitment = Commitment("a", 1, random.Random(1), 0.0, entries)
    for other in others or ("b",):
        commitment.receive(PeerUp(other), "a", 0.0)
    initiator = Initiator("a", 1, 0)
    initiator.receive(PeerUp("a"), "a", 0.0)
    participant = Participant("a", 1, 1.0, lambda asked, now: Pricing(()), lambda task, seconds, now: None)
    return Service(initiator, participant, lambda: [HERE], hand_on, commitment=commitment), initiator


def published(effects: Sequence[Effect]) -> list[Message]:
    return [effect.message for effect in effects if isinstance(effect, Publish)]


def test_a_question_about_many_tasks_of_others_is_asked_whole() -> None:
    service, _ = knowing()
    names = [f"t{number:04}" for number in range(NAMES_MAX * 2 + 1)]
    asked = published(service.receive(Wait(1, tuple(names)), "me", 0.0))
    assert [name for seek in asked if isinstance(seek, Seek) for name in seek.names] == names
    told: list[Message] = []
    for name in names:
        assert told == []  # it waits for the last
        line = TaskLine(name, "", "x", State.DONE, "", "b", 1, 1)
        sought = Sought((Sighting(line, False, Outcome(name, State.DONE, b"", node="b")),))
        told = [effect.message for effect in service.receive(sought, "b", 0.1) if isinstance(effect, Send)]
    assert told == [Progress(1, ((State.DONE, len(names)),), ended=True)]


class Looked(str):
    """An id that counts how often it is looked at for its beginning."""

    times: ClassVar[int] = 0

    def startswith(self, *beginning: Any) -> bool:
        Looked.times += 1
        return super().startswith(*beginning)


def test_who_has_many_tasks_is_asked_for_many_others_without_looking_at_all_of_them() -> None:
    """An agent that had thousands has died, and each of the others asks all for all that it does not own."""
    letters = "0123456789abcdef"
    ids = [f"{one}{other}{number}" for one in letters for other in letters for number in range(4)]
    entries = [KeptEntry(Looked(f"{task}k"), 0, Choice(DONE), "x") for task in ids]
    service, _ = knowing(entries=entries)
    for task in ids:
        service.receive(Submit(Task(Looked(f"{task}b"), "x"), b""), "me", 0.0)
    Looked.times = 0
    unknown = tuple(f"{task}q" for task in ids[:NAMES_MAX])
    assert not service.receive(Seek(unknown), "b", 0.0)
    assert Looked.times < 20 * NAMES_MAX


def test_of_many_that_others_see_to_some_are_asked_for_at_a_time_and_all_in_turn() -> None:
    service, _ = knowing()
    ids = [f"t{number:05}" for number in range(POLLED_MAX + 3)]
    for task in ids:
        line = TaskLine(task, "", "x", State.OPEN, "", None, 1, 1)
        service.receive(Sought((Sighting(line, True, None),)), "b", 0.0)
    turns = [
        [name for seek in published(service.wake(turn * POLL_S)) if isinstance(seek, Seek) for name in seek.names]
        for turn in (1, 2)
    ]
    assert turns == [ids[:POLLED_MAX], ids[POLLED_MAX:] + ids[: POLLED_MAX - 3]]


def test_the_beginning_of_an_id_may_be_that_of_several_tasks_of_others() -> None:
    """Whoever answers first is not believed to be the only one."""
    service, _ = knowing()
    assert published(service.receive(CancelTasks(1, ("t",)), "me", 0.0)) == [Seek(("t",), number=1)]
    for name in ("t1", "t2"):
        line = TaskLine(name, "", "x", State.OPEN, "", "b", 1, 1)
        assert not service.receive(Sought((Sighting(line, True, None),)), "b", 0.1)
    effects = service.receive(Sought((), 1), "b", 0.1)
    [told] = [effect.message for effect in effects if isinstance(effect, Send)]
    assert told == NotFound(1, "t is the beginning of 2 tasks, t1 and t2 among them: say more")
    assert all(seek.ends is None for seek in published(effects) if isinstance(seek, Seek))


def test_what_nobody_knows_is_not_there_when_all_have_said_so_or_are_silent() -> None:
    service, _ = knowing()
    said = "no task here is called {}, and none begins with it"
    unknown = [Send("me", NotFound(1, said.format("t1"))), Send("me", NotFound(2, said.format("t2")))]
    service.receive(AskResult(1, "t1"), "me", 0.0)
    assert list(service.receive(Sought((), 1), "b", 0.1)) == unknown[:1]
    service.receive(AskResult(2, "t2"), "me", 1.0)
    assert service.deadline == 1.0 + SEEK_S
    assert list(service.wake(1.0 + SEEK_S)) == unknown[1:]
    assert not service.receive(Sought((), 2), "b", 4.0)


@pytest.mark.parametrize("others", [("a",), ("b", "c")], ids=["alone", "with others"])
def test_what_this_node_holds_since_a_former_life_nobody_else_need_know(others: tuple[str, ...]) -> None:
    service, _ = knowing(*others, entries=[KeptEntry("t", 0, Choice(DONE), "x")])
    assert list(service.receive(AskResult(1, "t"), "me", 0.0)) == [Send("me", ResultOf(1, DONE))]


@pytest.mark.parametrize("follow", [Follow.NOTHING, Follow.RESULT])
@pytest.mark.parametrize("held", [False, True], ids=["not held yet", "held"])
def test_a_client_that_has_gone_over_is_told_that_its_task_is_taken_also_where_it_has_ended(
    follow: Follow, held: bool
) -> None:
    """Its holders need not answer any more, and it waits for that before it hands in more."""
    service, _ = knowing("b", "c")
    told = answers(service, Submit(T, b"argu", follow, holders=("b", "c", "a")))
    told += answers(service, HeldFast("t"), "a") if held else []
    told += answers(service, Chosen("t", DONE), "a")
    assert told == [Submitted("t"), *([Result(DONE)] if follow is Follow.RESULT else [])]


def test_of_what_another_agent_wants_to_end_the_whole_id_is_meant() -> None:
    service, initiator = knowing()
    service.receive(Submit(Task("t1", "x"), b""), "me", 0.0)
    service.receive(Seek(("t",), ends=Reason.CANCELLED), "b", 0.0)
    before = initiator.standing("t1")
    service.receive(Seek(("t1",), ends=Reason.CANCELLED), "b", 0.0)
    assert before is not None
    assert initiator.standing("t1") != before
