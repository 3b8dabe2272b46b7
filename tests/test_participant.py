"""The participant alone: told -> effects."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from parley.protocols import participant as module
from parley.protocols.commitment import Commitment
from parley.protocols.commitment_words import Begin, Overruled, Warrant
from parley.protocols.contract_events import BidDeclined, BidSubmitted, TaskAccepted, TaskEnded, TaskStarted
from parley.protocols.core import (
    Conditions,
    Datagram,
    Effect,
    Event,
    Message,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Publish,
    Resume,
    Run,
    Send,
    Stop,
    Task,
    TaskId,
)
from parley.protocols.epochs import Epoch
from parley.protocols.load import RUN_S_MIN, Load
from parley.protocols.occupancy import OVERRUN
from parley.protocols.participant import Asked, Participant, Pricing
from parley.protocols.performatives import (
    Availability,
    Award,
    Bid,
    CallForProposals,
    Cancel,
    Decline,
    Failure,
    Fenced,
    Finished,
    Grant,
    Inform,
    NotUnderstood,
    Output,
    Printed,
    Proposal,
    Reason,
    Refusal,
    Rejection,
    Renew,
    Stream,
)


def value(asked: Asked, now: float) -> Pricing:
    task = asked.task
    if task.kind == "gpu":
        return Pricing(decline=Reason.KIND, detail="lack a gpu")
    return Pricing((("run", float(task.work or 0)), ("transfer", 0.0)))


class Observed(list[tuple[str, float]]):
    def __call__(self, task: Task, seconds: float, now: float) -> None:
        self.append((task.id, seconds))


def participant(slots: int = 1, observed: Observed | None = None) -> Participant:
    return Participant("p", slots, 2.0, value, observed if observed is not None else Observed())


def call(one: Participant, *tasks: Task, by: str = "a", now: float = 0.0) -> list[Effect]:
    return list(one.receive(CallForProposals(f"{by}.1.1", tasks, 0.25), by, now))


def award(
    one: Participant, task: Task, epoch: int = 1, number: int = 1, by: str = "a", now: float = 0.0
) -> list[Effect]:
    return list(one.receive(Award(f"{by}.1.1", task, epoch, 1.0, number, b"load"), by, now))


def take(one: Participant, task: Task, number: int = 1, by: str = "a", now: float = 0.0) -> list[Effect]:
    call(one, task, by=by, now=now)
    return award(one, task, 1, number, by, now)


def acts(effects: Sequence[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Event)]


def told(effects: Sequence[Effect], to: str = "a") -> Message:
    (message,) = [effect.message for effect in effects if isinstance(effect, Send) and effect.to == to]
    return message


T, U, V, W = (Task(name, "x", work) for name, work in (("t", 4.0), ("u", 2.0), ("v", 1.0), ("w", 1.0)))


def test_each_task_is_priced_on_its_own() -> None:
    effects = call(participant(), T, Task("g", "gpu"))
    terms = (("queue", 0.0), ("run", 4.0), ("transfer", 0.0))
    assert effects == [
        BidSubmitted(auction="a.1.1", task="t", peer="a", cost=4.0, terms=dict(terms)),
        BidDeclined(auction="a.1.1", task="g", peer="a", reason=Reason.KIND, detail="lack a gpu"),
        Send(
            "a",
            Proposal(
                "a.1.1",
                (Bid("t", terms),),
                (Decline("g", Reason.KIND, "lack a gpu"),),
                Load((0.0,), 0, 0.0, 2.0),
                0,
            ),
        ),
    ]


def test_no_bid_at_all_is_a_refusal() -> None:
    refusal = told(call(participant(), Task("g", "gpu")))
    assert refusal == Refusal("a.1.1", (Decline("g", Reason.KIND, "lack a gpu"),), Load((0.0,), 0, 0.0, 2.0), 0)


def test_from_award_to_inform() -> None:
    observed = Observed()
    one = participant(observed=observed)
    call(one, T)
    assert award(one, T) == [
        TaskAccepted(task="t", epoch=1, peer="a", waiting=False),
        TaskStarted(task="t", kind="x", epoch=1),
        Run(T, 1, b"load"),
    ]
    assert one.receive(Finished("t", 1, None, b"result", seconds=3.0), "p", 3.0) == [
        TaskEnded(task="t", epoch=1, seconds=3.0, reason=None, detail=""),
        Send("a", Inform("a.1.1", "t", 1, b"result", 3.0, Load((0.0,), 0, 0.0, 2.0), 1)),
    ]
    assert observed == [("t", 3.0)]


def test_one_now_one_next_then_busy() -> None:
    one = participant()
    call(one, T, U, V)
    assert Run(T, 1, b"load") in award(one, T, number=1)
    assert award(one, U, number=2) == [TaskAccepted(task="u", epoch=1, peer="a", waiting=True)]
    (declined,) = award(one, V, number=3)
    assert declined == Send("a", Failure("a.1.1", "v", 1, Reason.BUSY, "", 0.0, Load((6.0,), 1, 2.0, 2.0), 3))
    effects = one.receive(Finished("t", 1, seconds=4.0), "p", 4.0)
    assert acts(effects)[0] == Run(U, 1, b"load")
    inform = told(effects)
    assert isinstance(inform, Inform)
    assert inform.load == Load((2.0,), 0, 0.0, 2.0)
    assert inform.heard == 3
    assert acts(award(one, V, epoch=2, number=4, now=4.0)) == []


def test_each_initiator_has_a_next_of_its_own_and_is_served_in_turn() -> None:
    one = participant()
    take(one, T, 1)
    assert acts(take(one, U, 2)) == []
    proposal = told(call(one, V, by="b"), "b")
    assert isinstance(proposal, Proposal)
    assert proposal.load == Load((6.0,), 0, 0.0, 2.0)
    assert acts(award(one, V, by="b")) == []
    assert isinstance(told(take(one, W, 2, by="b")[-1:], "b"), Failure)
    assert acts(one.receive(Finished("t", 1), "p", 4.0))[0] == Run(U, 1, b"load")
    assert acts(one.receive(Finished("u", 1), "p", 6.0))[0] == Run(V, 1, b"load")


def test_slots_run_side_by_side() -> None:
    one = participant(slots=2)
    for number, task in enumerate((T, U, V, W), 1):
        take(one, task, number)
    proposal = told(call(one, Task("z", "x", 1.0)))
    assert isinstance(proposal, Proposal)
    assert proposal.load == Load((4.0, 4.0), 2, 2.0, 2.0)


def test_what_runs_longer_than_expected_is_never_almost_done() -> None:
    one = participant()
    take(one, T)
    for now, remaining_s in ((1.0, 3.0), (4.0, OVERRUN * 4.0), (40.0, OVERRUN * 40.0)):
        proposal = told(call(one, U, now=now))
        assert isinstance(proposal, Proposal)
        assert proposal.load.ready_s == pytest.approx((remaining_s,))


def test_many_tiny_ones_wait_together() -> None:
    one = participant()
    tasks = [Task(f"t{number}", "x", 0.002) for number in range(14)]
    call(one, *tasks)
    busy = 0
    for number, task in enumerate(tasks, 1):
        effects = award(one, task, number=number)
        busy += any(isinstance(effect, Send) for effect in effects)
    assert 2 <= busy <= 4
    proposal = told(call(one, T))
    assert isinstance(proposal, Proposal)
    assert proposal.load.ready_s[0] == pytest.approx(0.002 * (len(tasks) - busy))
    one.receive(Finished("t0", 1), "p", 0.0)
    assert one.receive(PeerDown("a"), "p", 0.0)
    empty = told(call(one, T))
    assert isinstance(empty, Proposal)
    assert empty.load == Load((0.0,), 0, 0.0, 2.0)


def test_an_error_and_a_death_are_failures() -> None:
    for reason in (Reason.ERROR, Reason.DIED, Reason.TIMEOUT):
        one = participant()
        take(one, T)
        effects = one.receive(Finished("t", 1, reason, error="boom", seconds=1.0), "p", 1.0)
        assert effects == [
            TaskEnded(task="t", epoch=1, seconds=1.0, reason=reason, detail="boom"),
            Send("a", Failure("a.1.1", "t", 1, reason, "boom", 1.0, Load((0.0,), 0, 0.0, 2.0), 1)),
        ]


def test_an_award_without_a_standing_bid_is_not_understood() -> None:
    one = participant()
    (answer,) = award(one, T)
    assert answer == Send("a", NotUnderstood("t", "an award without a standing bid of mine"))
    call(one, T, by="b")
    assert isinstance(told(award(one, T)), NotUnderstood)
    assert one.deadline is None


def test_a_rejection_that_overtakes_its_award_does_not_undo_it() -> None:
    one = participant()
    call(one, T)
    assert one.receive(Rejection("a.1.1", ("t", "unknown"), Reason.OUTBID), "a", 0.1) == ()
    assert Run(T, 1, b"load") in award(one, T, now=0.2)
    assert isinstance(told(award(one, T, epoch=2)), NotUnderstood)


def test_of_one_task_one_epoch_is_held() -> None:
    one = participant()
    take(one, T)
    declined = told(call(one, T))
    assert isinstance(declined, Refusal)
    assert declined.declines == (Decline("t", Reason.BUSY, "hold it already"),)
    one.receive(Cancel("a.1.1", "t", 1), "a", 0.5)
    call(one, T, now=0.5)
    call(one, T, by="b", now=0.5)
    award(one, T, epoch=2, number=2, now=0.5)
    answer = told(award(one, T, by="b", now=0.5), "b")
    assert isinstance(answer, Failure)
    assert answer.reason is Reason.BUSY
    assert one.receive(Finished("t", 1), "p", 0.6) == []


def test_a_higher_epoch_takes_the_place_of_the_lower() -> None:
    one = participant()
    call(one, T)
    award(one, T)
    one._offers["a", "t"] = False  # as if the call had come before the award was told
    effects = award(one, T, epoch=2, number=2, now=1.0)
    assert acts(effects) == [Stop("t", 1), Run(T, 2, b"load")]


def test_cancel_stops_what_runs_and_starts_what_waits() -> None:
    one = participant()
    take(one, T, 1)
    take(one, U, 2)
    for epoch, initiator in ((9, "a"), (1, "b")):
        late = told(one.receive(Cancel("a.1.1", "t", epoch), initiator, 1.0), initiator)
        assert isinstance(late, Failure)
        assert (late.task, late.epoch, late.reason) == ("t", epoch, Reason.LATE)
    assert one.receive(Cancel("a.1.1", "t", 1), "a", 1.0) == [
        Stop("t", 1),
        TaskEnded(task="t", epoch=1, seconds=1.0, reason=Reason.CANCELLED, detail=""),
        TaskStarted(task="u", kind="x", epoch=1),
        Run(U, 1, b"load"),
        Send("a", Failure("a.1.1", "t", 1, Reason.CANCELLED, "", 0.0, Load((2.0,), 0, 0.0, 2.0), 2)),
    ]
    assert one.receive(Finished("t", 1), "p", 1.1) == []


def test_too_late_is_told_with_the_whole_cost() -> None:
    one = participant()
    take(one, T)
    hurried = Task("h", "x", 4.0, terms=Conditions(deadline_s=5.0))
    refused = told(call(one, hurried))
    assert isinstance(refused, Refusal)
    (decline,) = refused.declines
    assert decline.reason is Reason.DEADLINE
    assert decline.detail == "would need 8 s, and 5 s are left"
    patient = Task("p", "x", 4.0, terms=Conditions(deadline_s=9.0))
    assert isinstance(told(call(one, patient)), Proposal)


def test_cancel_of_what_waits() -> None:
    one = participant()
    take(one, T, 1)
    take(one, U, 2)
    effects = one.receive(Cancel("a.1.1", "u", 1), "a", 1.0)
    failure = told(effects)
    assert isinstance(failure, Failure)
    assert (failure.task, failure.reason) == ("u", Reason.CANCELLED)
    proposal = told(call(one, V, now=1.0))
    assert isinstance(proposal, Proposal)
    assert proposal.load == Load((3.0,), 0, 0.0, 2.0)


def test_fenced_gives_up_all_but_the_epoch_that_counts() -> None:
    one = participant()
    take(one, T)
    assert one.receive(Fenced("t", 1), "a", 1.0) == ()
    assert one.receive(Fenced("t", 2), "b", 1.0) == ()
    assert acts(one.receive(Fenced("t", 0), "a", 1.0)) == [Stop("t", 1)]


def test_what_an_initiator_leaves_behind_is_given_up() -> None:
    one = participant()
    take(one, T, 1)
    take(one, U, 2)
    call(one, V, W, by="b")
    effects = one.receive(PeerDown("a"), "p", 1.0)
    assert [effect.reason for effect in effects if isinstance(effect, TaskEnded)] == [Reason.ORPHANED] * 2
    assert acts(effects) == [Stop("t", 1), Publish(Availability(Load((0.0,), 0, 0.0, 2.0), (("b", 0),)))]
    assert isinstance(told(award(one, T, epoch=2)), NotUnderstood)
    again = told(call(one, T))
    assert isinstance(again, Proposal)
    assert again.heard == 0


def test_availability_only_if_others_wait() -> None:
    one = participant()
    call(one, T, U)
    award(one, T)
    assert [effect for effect in one.receive(Finished("t", 1), "p", 4.0) if isinstance(effect, Publish)] == []
    take(one, T, 2)
    call(one, V, by="b")
    effects = one.receive(Finished("t", 1), "p", 8.0)
    assert acts(effects)[-1] == Publish(Availability(Load((0.0,), 0, 0.0, 2.0), (("a", 2), ("b", 0))))
    one.receive(Rejection("b.1.1", ("v",), Reason.OUTBID), "b", 8.0)
    take(one, T, 3)
    effects = one.receive(Finished("t", 1), "p", 9.0)
    assert not any(isinstance(effect, Publish) for effect in effects)


def test_renewals_are_one_message_per_initiator() -> None:
    one = participant(slots=2)
    assert one.deadline is None
    take(one, T, 1)
    take(one, U, 2)
    take(one, V, 1, by="b", now=0.1)
    assert one.deadline == 0.25
    assert one.wake(0.2) == ()
    assert one.wake(0.25) == [Send("a", Renew((("t", 1, True), ("u", 1, True)))), Send("b", Renew((("v", 1, False),)))]
    assert one.deadline == 0.5
    one.receive(PeerDown("b"), "p", 0.3)
    one.receive(PeerDown("a"), "p", 0.3)
    assert one.wake(0.5) == []
    assert one.deadline is None


def test_a_node_that_declines_by_now_declines_the_award() -> None:
    draining = False

    def drains(asked: Asked, now: float) -> Pricing:
        return Pricing(decline=Reason.DRAINING, detail="leaving") if draining else value(asked, now)

    one = Participant("p", 1, 1.0, drains, Observed())
    call(one, T)
    draining = True
    answer = told(award(one, T))
    assert isinstance(answer, Failure)
    assert (answer.reason, answer.detail) == (Reason.DRAINING, "leaving")


def test_bids_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFFERS_MAX", 2)
    one = participant()
    call(one, T, U)
    call(one, T, now=0.1)
    call(one, V)
    assert isinstance(told(award(one, U)), NotUnderstood)
    assert Run(T, 1, b"load") in award(one, T)


def test_work_that_costs_nothing_costs_something() -> None:
    one = participant()
    take(one, Task("z", "x", 0.0))
    proposal = told(call(one, T))
    assert isinstance(proposal, Proposal)
    assert proposal.load.ready_s == (RUN_S_MIN,)


def test_what_a_participant_is_not_told() -> None:
    with pytest.raises(ProtocolError):
        participant().receive(Renew((("t", 1, True),)), "a", 0.0)


def needs(name: str, vram: float, work: float = 1.0) -> Task:
    return Task(name, "x", work, terms=Conditions(amounts=(("vram", vram),)))


def test_what_runs_takes_no_more_than_the_node_has() -> None:
    one = Participant("p", 3, 1.0, value, Observed(), {"vram": 8.0})
    big, small, other = needs("big", 6.0), needs("small", 4.0), needs("other", 1.0)
    assert any(isinstance(effect, Run) for effect in take(one, big, 1))
    terms = dict(told(call(one, small)).bids[0].terms)  # type: ignore[attr-defined]
    assert terms == {"queue": 0.0, "run": 1.0, "transfer": 0.0, "resources": 1.0}
    assert not any(isinstance(effect, Run) for effect in take(one, small, 2))
    assert not any(isinstance(effect, Run) for effect in take(one, other, 3)), "nobody overtakes"
    started = [effect.task.id for effect in one.receive(Finished("big", 1), "p", 1.0) if isinstance(effect, Run)]
    assert started == ["small", "other"]


def test_a_node_that_drains_ends_what_runs_and_gives_back_what_waits() -> None:
    one = participant()
    take(one, T, 1)
    take(one, U, 2)
    given_back = told(one.drain(1.0))
    assert isinstance(given_back, Failure)
    assert (given_back.task, given_back.reason) == ("u", Reason.DRAINING)
    refusal = told(call(one, V, now=1.0))
    assert isinstance(refusal, Refusal)
    assert refusal.declines[0].reason is Reason.DRAINING
    assert isinstance(told(one.receive(Finished("t", 1), "p", 3.0)), Inform)
    assert one.load() == (0, 0, 0.0)


def test_what_a_followed_attempt_writes_is_passed_on_while_it_runs() -> None:
    one = participant()
    take(one, T)
    assert one.receive(Output("t", 1, Stream.OUT, b"hello"), "p", 1.0) == [
        Send("a", Printed("t", 1, Stream.OUT, b"hello"))
    ]
    assert one.receive(Output("t", 2, Stream.OUT, b"hello"), "p", 1.0) == ()
    assert one.receive(Grant("t", 1, 5), "a", 1.0) == [Resume("t", 1, 5)]
    assert one.receive(Grant("t", 1, 5), "b", 1.0) == ()
    with pytest.raises(PeerError):
        one.receive(Output("t", 1, Stream.OUT, b"hello"), "b", 1.0)


# --- what others say of a task ---------------------------------------------------------------------------------------


def test_an_award_of_one_who_has_not_called_is_not_understood() -> None:
    """Whoever knows of a task that "a" has called cannot award it; nor does its own call make it the task of "a"."""
    one = participant()
    call(one, T, by="a")
    assert acts(award(one, T, by="m")) == [Send("m", NotUnderstood("t", "an award without a standing bid of mine"))]
    assert isinstance(award(one, T, by="a")[-1], Run)
    call(one, T, by="m")  # declined: it is held already
    assert isinstance(told(award(one, T, epoch=9, by="m"), "m"), NotUnderstood)
    assert one.load()[0] == 1


@pytest.mark.parametrize("message", [Fenced("t", 9), Grant("t", 1, 100), Rejection("a.1.1", ("t",), Reason.OUTBID)])
def test_only_its_initiator_ends_or_feeds_a_task(message: Message) -> None:
    one = participant()
    take(one, T)
    assert acts(one.receive(message, "m", 1.0)) == []
    assert one.load()[0] == 1


def test_a_cancel_of_one_who_has_not_awarded_comes_too_late() -> None:
    one = participant()
    take(one, T)
    [answer] = acts(one.receive(Cancel("a.1.1", "t", 1), "m", 1.0))
    assert isinstance(answer, Send)
    assert (answer.to, type(answer.message)) == ("m", Failure)
    assert one.load()[0] == 1


# --- what is to be done at most once ---------------------------------------------------------------------------------


def test_what_is_to_be_done_at_most_once_has_not_started_before_its_holders_know() -> None:
    """It holds its slot meanwhile; given up before, it has never begun, and may begin elsewhere."""
    fence = Epoch(0, "a", 1)
    once = Task("t", "x", 4.0, terms=Conditions(at_most_once=True))
    for is_known in (True, False):
        commitment = Commitment("p", 1, Random(1), 0.0)
        one = Participant("p", 1, 2.0, value, Observed(), commitment=commitment)
        call(one, once)
        warrant = Warrant(fence, ("a", "b", "c"), 0, 1)
        effects = list(one.receive(Award("a.1.1", once, 1, 1.0, 1, b"load", warrant=warrant), "a", 0.0))
        assert one.load()[0] == 1
        assert not any(isinstance(effect, TaskStarted | Run) for effect in effects)
        then: Message = Begin("t", fence) if is_known else Overruled("t", fence)
        effects = list(one.receive(then, "p", 0.1))
        begun = [type(effect) for effect in effects if isinstance(effect, TaskStarted | Run)]
        assert begun == ([TaskStarted, Run] if is_known else [])


def test_no_renewals_wait_for_an_initiator_that_is_dead() -> None:
    """What others hold for it is seen through; if it was never gone, it hears what is said meanwhile all the same."""
    one = Participant("p", 1, 2.0, value, Observed(), commitment=Commitment("p", 1, Random(1), 0.0))
    call(one, T)
    warrant = Warrant(Epoch(0, "a", 1), ("a", "b", "c"), 0, 1)
    one.receive(Award("a.1.1", T, 1, 1.0, 1, b"load", warrant=warrant), "a", 0.0)
    renew = Renew((("t", 1, True),))
    assert one.wake(0.25) == [Send("a", renew)]
    one.receive(PeerDown("a"), "p", 0.3)
    assert one.wake(0.5) == [Datagram("a", renew)]
    one.receive(PeerUp("a"), "p", 0.6)
    assert one.wake(0.75) == [Send("a", renew)]


# --- a node that has slept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("woken_at", "asks"), [(0.3, False), (5.0, True)])
def test_what_was_awarded_before_a_sleep_begins_when_its_holders_say_that_it_counts(
    woken_at: float, asks: bool
) -> None:
    one = Participant("p", 1, 2.0, value, Observed(), commitment=Commitment("p", 1, Random(1), 0.0))
    first, second, third = (Task(name, "x", 4.0) for name in ("first", "second", "third"))

    def awarded(task: Task, now: float) -> list[Effect]:
        fence = Epoch(0, "a", 1)
        warrant = Warrant(fence, ("a", "b", "c"), 0, 1)
        return list(one.receive(Award("a.1.1", task, 1, 1.0, 1, b"", warrant=warrant), "a", now))

    for task in (first, second, third):
        call(one, task)
    assert started(awarded(first, 0.0)) == ["first"]
    assert started(awarded(second, 0.0)) == []
    ended = list(one.receive(Finished("first", 1, None, b"", "", woken_at), "p", woken_at))
    assert started(ended) == ([] if asks else ["second"])
    assert one.load()[0] == 1, "it has its slot"
    begun = list(one.receive(Begin("second", Epoch(0, "a", 1)), "p", woken_at))
    assert started(begun) == (["second"] if asks else [])
    one.receive(Finished("second", 1, None, b"", "", 0.1), "p", woken_at + 0.1)
    assert started(awarded(third, woken_at + 0.1)) == ([] if asks else ["third"]), "said while we slept, perhaps"


def started(effects: Sequence[Effect]) -> list[TaskId]:
    return [effect.task.id for effect in effects if isinstance(effect, Run)]
