"""What the roles of an agent make of large values: fetched before a start and before a commit, kept while needed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from parley.agents.estimator import Estimator
from parley.agents.payload import Blob, Handed, hand_on, pack
from parley.agents.resources import Listed, Resources
from parley.agents.valuation import earliest_finish
from parley.protocols.blobs import Gather, Gathered, Release
from parley.protocols.carrier import Carrier
from parley.protocols.contract_net import LEASE_S, Initiator
from parley.protocols.core import (
    BLOBS_MAX,
    Effect,
    Message,
    Outcome,
    PeerDown,
    PeerUp,
    Publish,
    Reference,
    Run,
    Send,
    State,
    Task,
)
from parley.protocols.distances import LINK_BYTES_PER_S
from parley.protocols.load import Load
from parley.protocols.participant import Asked, Participant, Pricing
from parley.protocols.performatives import (
    Award,
    Bid,
    CallForProposals,
    Cancel,
    Completed,
    Failure,
    Finished,
    Inform,
    Kept,
    Proposal,
    Reason,
)
from parley.protocols.requests import Refused, Submit, Submitted
from parley.protocols.service import Service

FREE = Load((0.0,), 0, 0.0, 1.0)
B1, B2 = Reference(b"1" * 32, 1_000_000), Reference(b"2" * 32, 2_000_000)
T = Task("t", "x", 1.0, payload_bytes=4, blobs=(B1.hint,))
RUN, LEFT, RESULT = ("run", "t", "1"), ("left", "t", "1"), ("result", "t", "1")


def messages(effects: Sequence[Effect]) -> list[tuple[str, Message]]:
    return [(effect.to, effect.message) for effect in effects if isinstance(effect, Send)]


def outcomes(effects: Sequence[Effect]) -> list[Outcome]:
    return [message.outcome for _, message in messages(effects) if isinstance(message, Completed)]


# --- the winner ------------------------------------------------------------------------------------------------------


def winner(slots: int = 1) -> Participant:
    return Participant("p", slots, 1.0, lambda asked, now: Pricing((("run", 1.0),)), lambda task, seconds, now: None)


def award(one: Participant, task: Task, *blobs: Reference, number: int = 1) -> list[Effect]:
    one.receive(CallForProposals("a.1.1", (task,), 0.25), "a", 0.0)
    return list(one.receive(Award("a.1.1", task, 1, 1.0, number, b"load", False, blobs), "a", 0.0))


def test_an_attempt_holds_its_slot_while_its_blobs_come_and_runs_when_they_are_here() -> None:
    one = winner()
    effects = award(one, T, B1, B2)
    assert ("p", Gather(RUN, (B1, B2), ("a",))) in messages(effects)
    assert not any(isinstance(effect, Run) for effect in effects)
    assert one.load()[0] == 1
    assert list(one.receive(Gathered(RUN), "p", 1.0)) == [Run(T, 1, b"load")]
    assert list(one.receive(Gathered(RUN), "p", 1.0)) == [], "once"


def test_what_waits_is_fetched_meanwhile_and_starts_at_once() -> None:
    one = winner()
    award(one, Task("first", "x", 1.0, 4))
    effects = award(one, T, B1, number=2)
    assert ("p", Gather(RUN, (B1,), ("a",))) in messages(effects)
    assert list(one.receive(Gathered(RUN), "p", 1.0)) == []
    effects = list(one.receive(Finished("first", 1), "p", 2.0))
    assert Run(T, 1, b"load") in effects


def test_what_cannot_be_fetched_is_a_failure_that_another_attempt_may_mend() -> None:
    one = winner()
    award(one, T, B1)
    effects = one.receive(Gathered(RUN, "the disk is full"), "p", 1.0)
    [failure] = [message for to, message in messages(effects) if to == "a"]
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.detail) == (Reason.DIED, "the disk is full")
    assert one.load() == (0, 0, 0.0)


def test_what_is_cancelled_while_it_comes_is_let_go() -> None:
    one = winner()
    award(one, T, B1)
    effects = one.receive(Cancel("a.1.1", "t", 1), "a", 0.5)
    assert ("p", Release(RUN)) in messages(effects)
    assert messages(one.receive(Gathered(RUN), "p", 1.0)) == [("p", Release(RUN))], "and so is what comes all the same"


def test_a_result_is_kept_until_its_initiator_has_it() -> None:
    one = winner()
    award(one, T, B1)
    one.receive(Gathered(RUN), "p", 1.0)
    said = messages(one.receive(Finished("t", 1, None, b"value", seconds=1.0, blobs=(B2,)), "p", 2.0))
    assert said[:2] == [("p", Gather(LEFT, (B2,))), ("p", Release(RUN))], "kept before it is let go"
    [inform] = [message for to, message in said if to == "a"]
    assert isinstance(inform, Inform)
    assert inform.blobs == (B2,)
    assert one.left_behind == 1
    assert list(one.receive(Kept("t", 1), "stranger", 3.0)) == []
    assert messages(one.receive(Kept("t", 1), "a", 3.0)) == [("p", Release(LEFT))]
    assert one.left_behind == 0


def test_a_result_of_an_initiator_that_is_gone_is_let_go() -> None:
    one = winner()
    award(one, Task("t", "x", 1.0, 4))
    one.receive(Finished("t", 1, None, b"value", blobs=(B2,)), "p", 2.0)
    assert messages(one.receive(PeerDown("a"), "p", 3.0)) == [("p", Release(LEFT))]


def test_without_blobs_nothing_of_this_is_said() -> None:
    one = winner()
    small = Task("t", "x", 1.0, 4)
    said = messages([*award(one, small), *one.receive(Finished("t", 1, None, b"value"), "p", 1.0)])
    assert {type(message) for _, message in said} == {Inform}


# --- the initiator ---------------------------------------------------------------------------------------------------


def initiator() -> Initiator:
    """With its task awarded to p."""
    one = Initiator("a", 1, 0)
    one.receive(PeerUp("p"), "a", 0.0)
    one.call(T, b"load", 0.0, blobs=(B1,))
    one.wake(0.0)
    one.receive(Proposal("a.1.1", (Bid("t", (("queue", 0.0), ("run", 1.0))),), (), FREE, 0), "p", 0.1)
    [award] = [message for _, message in messages(one.wake(0.1)) if isinstance(message, Award)]
    assert award.blobs == (B1,)
    return one


DONE = Inform("a.1.1", "t", 1, b"value", 1.0, FREE, 1, (B2,))


def test_a_result_counts_when_all_it_refers_to_is_here() -> None:
    one = initiator()
    assert messages(one.receive(DONE, "p", 1.0)) == [("a", Gather(RESULT, (B2,), ("p",)))]
    assert one.standing("t") == (
        State.RUNNING, "done on p, from where its result is being fetched", "p", 1, 1
    )  # fmt: skip
    assert list(one.receive(DONE, "p", 1.1)) == [], "said twice, fetched once"
    said = one.receive(Gathered(RESULT), "a", 60.0)
    [outcome] = outcomes(said)
    assert (outcome.state, outcome.value, outcome.blobs, outcome.seconds) == (State.DONE, b"value", (B2,), 1.0)
    assert messages(said)[1:] == [("p", Kept("t", 1)), ("a", Release(RESULT))], "after it is told"
    assert one.open_tasks == 0


def test_while_a_result_is_fetched_no_lease_ends() -> None:
    one = initiator()
    one.receive(DONE, "p", 0.5)
    while (deadline := one.deadline) is not None and deadline < 60.0:
        assert messages(one.wake(max(deadline, 0.5))) == []
    assert one.standing("t") is not None


def test_the_death_of_a_winner_that_is_being_fetched_from_costs_an_attempt_and_no_task() -> None:
    one = initiator()
    one.receive(PeerUp("q"), "a", 0.5)
    one.receive(DONE, "p", 1.0)
    said = one.receive(PeerDown("p"), "a", 1.5)
    assert ("a", Release(RESULT)) in messages(said)
    assert outcomes(said) == []
    calls = [effect.message for effect in one.wake(1.5) if isinstance(effect, Publish)]
    assert any(isinstance(message, CallForProposals) for message in calls)
    assert messages(one.receive(Gathered(RESULT, "p is gone"), "a", 1.6)) == [("a", Release(RESULT))], "too late"


def test_a_result_that_cannot_be_fetched_is_tried_again_and_in_the_end_a_failure() -> None:
    one = initiator()
    one.receive(DONE, "p", 1.0)
    said = one.receive(Gathered(RESULT, "no room for it"), "a", 1.5)
    assert ("p", Kept("t", 1)) in messages(said)
    assert outcomes(said) == []
    for epoch in (2, 3):
        published = [effect.message for effect in one.wake(2.0) if isinstance(effect, Publish)]
        [call] = [message for message in published if isinstance(message, CallForProposals)]
        bid = Bid("t", (("queue", 0.0), ("run", 1.0)))
        one.receive(Proposal(call.auction, (bid,), (), FREE, epoch), "p", 2.0)
        one.wake(2.0)
        one.receive(Inform(call.auction, "t", epoch, b"value", 1.0, FREE, epoch, (B2,)), "p", 2.0)
        said = one.receive(Gathered(("result", "t", str(epoch)), "no room for it"), "a", 2.0)
    [outcome] = outcomes(said)
    assert (outcome.state, outcome.error, outcome.attempts) == (State.FAILED, "no room for it", 3)


def test_a_cancel_ends_a_fetch_at_once() -> None:
    one = initiator()
    one.receive(DONE, "p", 1.0)
    said = one.cancel("t", State.CANCELLED, Reason.CANCELLED, "cancelled by a client", 1.1)
    assert [outcome.state for outcome in outcomes(said)] == [State.CANCELLED]
    assert ("a", Release(RESULT)) in messages(said)


def test_a_slow_initiator_is_fetched_from_longer_than_a_lease() -> None:
    one = initiator()
    one.receive(DONE, "p", 1.0)
    said = one.receive(Gathered(RESULT), "a", 1.0 + 100 * LEASE_S)
    assert [outcome.state for outcome in outcomes(said)] == [State.DONE]


# --- the desk --------------------------------------------------------------------------------------------------------


class Desk:
    """A service with a carrier that has some blobs."""

    def __init__(self, *here: Reference, kept_bytes_max: int = 10**9) -> None:
        self.here = set(here)
        self.initiator = Initiator("a", 1, 0)
        self.carrier = Carrier("a", self.here.__contains__)
        self.service = Service(self.initiator, winner(), list, hand_on, self.carrier, kept_bytes_max)

    def say(self, message: Message, now: float = 0.0) -> list[Message]:
        return [message for _, message in messages(self.service.receive(message, "me", now))]

    def end(self, task: str, *blobs: Reference, value: bytes = b"value") -> None:
        outcome = Outcome(task, State.DONE, value, node="a", epoch=1, attempts=1, blobs=blobs)
        self.service.receive(Completed(outcome), "a", 1.0)


def test_a_task_keeps_its_blobs_while_it_is_open_and_its_result_keeps_its_own() -> None:
    desk = Desk(B1, B2)
    assert desk.say(Submit(T, b"load", blobs=(B1,))) == [Submitted("t")]
    assert desk.carrier.pinned(B1)
    desk.end("t", B2)
    assert not desk.carrier.pinned(B1)
    assert desk.carrier.pinned(B2)


@pytest.mark.parametrize(
    ("task", "blobs", "sentence"),
    [
        (T, (), "is not what it declares"),
        (Task("t", "x", 1.0, 4), (B1,), "is not what it declares"),
        (T, (B2,), "is not what it declares"),
        (Task("t", "x", 1.0, 4, blobs=(B2.hint,)), (B2,), "a large value in its argument is not here"),
    ],
)
def test_a_task_whose_blobs_are_not_here_is_refused(task: Task, blobs: tuple[Reference, ...], sentence: str) -> None:
    desk = Desk(B1)
    [refused] = desk.say(Submit(task, b"load", blobs=blobs))
    assert isinstance(refused, Refused)
    assert sentence in refused.error


def test_a_child_takes_over_what_the_results_it_waits_for_refer_to() -> None:
    desk = Desk(B1, B2)
    payload = pack([Handed("p1"), Handed("p2")])
    for parent in ("p1", "p2"):
        desk.say(Submit(Task(parent, "x", 1.0), b""))
    child = Task("child", "x", 1.0, len(payload))
    desk.say(Submit(child, payload, after=("p1", "p2")))
    desk.end("p1", B1, value=pack(Blob(B1.hash, B1.size)))
    desk.service.receive(Completed(Outcome("p2", State.DONE, pack(Blob(B2.hash, B2.size)), blobs=(B2, B1))), "a", 1.0)
    contract = desk.initiator._contracts["child"]
    assert set(contract.blobs) == {B1, B2}
    assert contract.task.blobs == tuple(blob.hint for blob in contract.blobs)
    assert contract.payload == pack([Blob(B1.hash, B1.size), Blob(B2.hash, B2.size)])
    assert desk.carrier.pinned(B1)


def test_a_child_of_too_many_large_results_fails_in_one_sentence() -> None:
    many = [Reference(bytes([number]) * 32, 1) for number in range(BLOBS_MAX + 1)]
    desk = Desk(*many)
    payload = pack([Handed("p1"), Handed("p2")])
    for parent in ("p1", "p2"):
        desk.say(Submit(Task(parent, "x", 1.0), b""))
    desk.say(Submit(Task("child", "x", 1.0, len(payload)), payload, after=("p1", "p2")))
    desk.end("p1", *many[:BLOBS_MAX], value=pack(1))
    desk.end("p2", many[-1], value=pack(2))
    outcome = desk.service._book["child"].outcome
    assert outcome is not None
    assert outcome.error == "its argument would refer to 65 large values: 64 is the most"


def test_the_oldest_results_go_when_they_refer_to_too_much() -> None:
    desk = Desk(B1, B2, kept_bytes_max=2_500_000)
    for number, blob in enumerate((B1, B2)):
        desk.say(Submit(Task(f"t{number}", "x", 1.0), b""))
        desk.end(f"t{number}", blob)
    assert not desk.carrier.pinned(B1)
    assert desk.carrier.pinned(B2)
    desk.say(Submit(Task("big", "x", 1.0), b""))
    huge = Reference(b"h" * 32, 10**10)
    desk.here.add(huge)
    desk.end("big", huge)
    assert desk.carrier.pinned(huge), "the last one stays, whatever it is"


# --- the price -------------------------------------------------------------------------------------------------------


def test_only_what_is_not_here_yet_costs_its_way() -> None:
    here = {B1.hint}
    value = earliest_finish("p", Resources(1, 1.0, 1.0, ("x",)), Listed(("x",)), Estimator(1.0), here.__contains__)
    task = Task("t", "x", 1.0, 0, blobs=(B1.hint, B2.hint, B2.hint))
    transfer = dict(value(Asked(task, "a"), 0.0).terms)["transfer"]
    assert transfer == pytest.approx(2_000_000 / LINK_BYTES_PER_S, abs=0.001)
    assert "transfer" not in dict(value(Asked(task, "p"), 0.0).terms)
