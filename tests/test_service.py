"""The desk: one answer per task taken."""

from __future__ import annotations

import pytest

from parley.protocols import service as module
from parley.protocols.contract_net import Initiator
from parley.protocols.core import Message, Outcome, PeerUp, ProtocolError, Publish, Send, State, Task
from parley.protocols.membership import Contact, Ping, Presence
from parley.protocols.performatives import CallForProposals, Completed
from parley.protocols.service import (
    AskNodes,
    NodeLine,
    Nodes,
    Read,
    Refused,
    Result,
    Service,
    Submit,
    Submitted,
    TaskSubmitted,
)


def desk() -> tuple[Service, Initiator]:
    initiator = Initiator("a", 1, 0)
    initiator.receive(PeerUp("a"), "a", 0.0)
    here = Contact("a", 1, "tcp://a:1", "tcp://a:2", 2, 4.0)
    return Service(initiator, lambda: [(here, Presence.ALIVE, True)]), initiator


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
    assert answers(service, Submit(T, b"load")) == [Refused("t", "the task t has ended, and its result was sent")]


def test_a_task_must_be_what_it_says() -> None:
    service, _ = desk()
    (refused,) = answers(service, Submit(T, b"more than that"))
    assert refused == Refused("t", "its argument has 14 bytes and not the 4 it declares")


def test_what_is_held_and_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TASKS_MAX", 2)
    monkeypatch.setattr(module, "ENDED_MAX", 1)
    service, _ = desk()
    for name in "tuv":
        last = answers(service, Submit(Task(name, "x"), b""))
    assert last == [Refused("v", "this agent holds 2 tasks already; try another")]
    for name in "tu":
        answers(service, Completed(Outcome(name, State.DONE)), "a")
    assert isinstance(answers(service, Submit(Task("u", "x"), b""))[0], Refused)
    assert len(service._ended) == 1


def test_nodes() -> None:
    service, _ = desk()
    assert answers(service, AskNodes(3)) == [Nodes(3, (NodeLine("a", Presence.ALIVE, True, "tcp://a:1", 2, 4.0),))]


def test_it_wakes_for_nothing() -> None:
    service, _ = desk()
    assert service.deadline is None
    assert service.wake(0.0) == ()
    with pytest.raises(ProtocolError):
        service.receive(Ping(), "me", 0.0)


def results(count: int, size: int = 0) -> list[Outcome]:
    return [Outcome(f"t{number}", State.DONE, b"x" * size) for number in range(count)]


def complete(service: Service, outcomes: list[Outcome]) -> list[Message]:
    """All are submitted, then all end at once; what the client is sent."""
    for outcome in outcomes:
        service.receive(Submit(Task(outcome.task, "x"), b""), "me", 0.0)
    return [message for outcome in outcomes for message in answers(service, Completed(outcome), "a")]


def test_a_client_is_sent_no_more_results_than_it_reads() -> None:
    service, _ = desk()
    outcomes = results(module.UNREAD_MAX + 5)
    assert complete(service, outcomes) == [Result(outcome) for outcome in outcomes[: module.UNREAD_MAX]]
    assert answers(service, Read(3)) == [Result(outcome) for outcome in outcomes[module.UNREAD_MAX :][:3]]
    assert answers(service, Read(3)) == []
    assert answers(service, Read(module.UNREAD_MAX)) == [Result(outcome) for outcome in outcomes[-2:]]
    assert answers(service, Read(10), "stranger") == []


def test_large_results_wait_until_the_earlier_are_read() -> None:
    service, _ = desk()
    outcomes = results(3, module.UNREAD_BYTES_MAX // 2)
    assert complete(service, outcomes) == [Result(outcome) for outcome in outcomes[:2]]
    assert answers(service, Read(1)) == [Result(outcomes[2])]


def test_a_client_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 1_000)
    monkeypatch.setattr(module, "UNREAD_MAX", 1)
    service, _ = desk()
    assert len(complete(service, results(20, 100))) == 2  # given up once, then anew
    assert service._waiting_bytes <= 1_000
