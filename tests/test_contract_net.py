"""The initiator alone (told -> effects), golden transcripts, then whole worlds under faults."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
from contract_world import World

from parley.protocols.award_rules import RULES
from parley.protocols.calls import BID_LIFE_S, PRICED_LOW, REVISED_S
from parley.protocols.contract import RECALL_S, REJECT_AFTER_S
from parley.protocols.contract_events import AuctionAwarded, AuctionFailed, MessageDropped, TaskLost, TaskReassigned
from parley.protocols.contract_net import LEASE_S, LOST_MAX, Initiator
from parley.protocols.core import (
    Conditions,
    Effect,
    Local,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Publish,
    Send,
    State,
    Task,
)
from parley.protocols.load import Load
from parley.protocols.participant import Asked, Pricing
from parley.protocols.performatives import (
    Availability,
    Award,
    Bid,
    CallForProposals,
    Cancel,
    Completed,
    Decline,
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

TRANSCRIPTS = Path(__file__).parent / "transcripts"
FREE = Load((0.0,), 0, 0.0, 1.0)
FULL = Load((9.0,), 1, 5.0, 1.0)


def initiator(*nodes: NodeId, rule: str = "contract-net") -> Initiator:
    one = Initiator("a", 1, 0, RULES[rule])
    for node in nodes:
        one.receive(PeerUp(node), "a", 0.0)
    return one


def call(one: Initiator, *tasks: Task, now: float = 0.0) -> list[Effect]:
    for task in tasks:
        one.call(task, b"load", now)
    return list(one.wake(now))


def proposal(auction: str, *bids: tuple[str, float], load: Load = FREE, heard: int = 0) -> Proposal:
    return Proposal(
        auction, tuple(Bid(task, (("queue", 0.0), ("run", run_s))) for task, run_s in bids), (), load, heard
    )


def refusal(auction: str, *tasks: str, reason: Reason = Reason.KIND, detail: str = "lack it") -> Refusal:
    return Refusal(auction, tuple(Decline(task, reason, detail) for task in tasks), FREE, 0)


def inform(task: str, epoch: int, heard: int = 1) -> Inform:
    return Inform("a.1.1", task, epoch, b"result", 1.0, FREE, heard)


def failure(task: str, epoch: int, reason: Reason, heard: int = 1, load: Load = FREE) -> Failure:
    return Failure("a.1.1", task, epoch, reason, "why", 1.0, load, heard)


def said(effects: Sequence[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, (Send, Publish))]


def awards(effects: Sequence[Effect]) -> list[tuple[str, str, int]]:
    return [
        (effect.to, effect.message.task.id, effect.message.epoch)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Award)
    ]


def outcomes(effects: Sequence[Effect]) -> list[Outcome]:
    return [
        effect.message.outcome
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Completed)
    ]


def awarded(
    now: float = 0.0, attempts_max: int = 3, payload_bytes: int = 0, conditions: Conditions | None = None
) -> Initiator:
    """One task "t", awarded to b at epoch 1; c has bid too."""
    one = initiator("b", "c")
    call(one, Task("t", "x", 1.0, payload_bytes, attempts_max=attempts_max, terms=conditions), now=now)
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", now)
    one.receive(proposal("a.1.1", ("t", 2.0)), "c", now)
    assert awards(one.wake(now)) == [("b", "t", 1)]
    return one


# --- calling


def test_a_single_call_closes_early_and_is_awarded_to_the_best_bid() -> None:
    one = initiator("b", "c")
    task = Task("t", "x", 1.0, payload_bytes=4)
    assert one.call(task, b"load", 0.0) == ()
    assert one.deadline == 0.0
    assert said(one.wake(0.0)) == [Publish(CallForProposals("a.1.1", (task,), 0.25))]
    assert one.deadline == 0.25
    assert one.receive(proposal("a.1.1", ("t", 2.0)), "b", 0.01) == []
    assert awards(one.wake(0.01)) == []
    one.receive(proposal("a.1.1", ("t", 1.0)), "c", 0.02)
    assert one.deadline == 0.01 or one.deadline == 0.02
    assert said(one.wake(0.02)) == [Send("c", Award("a.1.1", task, 1, LEASE_S, 1, b"load"))]
    assert said(one.wake(0.02 + REJECT_AFTER_S)) == [Publish(Rejection("a.1.1", ("t",), Reason.OUTBID))]
    assert outcomes(one.receive(inform("t", 1), "c", 0.5)) == [Outcome("t", State.DONE, b"result", "", "c", 1, 1, 1.0)]
    one.wake(0.5)
    assert one.deadline is None


def test_all_tasks_of_a_turn_share_one_call() -> None:
    one = initiator("b")
    tasks = [Task(f"t{number}", "x", 1.0 + number) for number in range(3)]
    (published,) = said(call(one, *tasks))
    assert published == Publish(CallForProposals("a.1.1", (tasks[2], tasks[1], tasks[0]), 0.25))


def test_the_same_task_twice_is_our_own_mistake() -> None:
    one = initiator("b")
    call(one, Task("t", "x"))
    with pytest.raises(ProtocolError):
        one.call(Task("t", "x"), b"", 0.0)
    with pytest.raises(ProtocolError):
        one.receive(Finished("t", 1), "a", 0.0)


def test_without_peers_nothing_is_called_until_one_comes() -> None:
    one = initiator()
    assert call(one, Task("t", "x")) == []
    one.receive(PeerUp("b"), "a", 3.0)
    assert len(said(one.wake(3.0))) == 1


def test_reply_by_ends_the_wait_for_the_silent() -> None:
    one = initiator("b", "c")
    call(one, Task("t", "x", 1.0))
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.01)
    assert awards(one.wake(0.2)) == []
    effects = one.wake(0.25)
    assert awards(effects) == [("b", "t", 1)]
    (event,) = [effect for effect in effects if isinstance(effect, AuctionAwarded)]
    assert event.silent == ("c",)
    assert event.runner_up is None


def test_a_late_proposal_is_rejected_as_late() -> None:
    one = awarded()
    late = one.receive(proposal("a.1.1", ("t", 0.1)), "d", 0.3)
    assert late == [Send("d", Rejection("a.1.1", ("t",), Reason.LATE))]
    assert one.receive(refusal("a.1.1", "t"), "d", 0.3) == []


def test_one_answer_per_call() -> None:
    one = initiator("b", "c")
    call(one, Task("t", "x"))
    one.receive(proposal("a.1.1", ("t", 5.0)), "b", 0.0)
    (again,) = one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.0)
    assert again == Send("b", NotUnderstood("a.1.1", "you have answered this call already"))
    one.receive(proposal("a.1.1", ("t", 2.0)), "c", 0.0)
    assert awards(one.wake(0.0)) == [("c", "t", 1)]


def test_not_understood_ends_nothing_with_the_others() -> None:
    one = initiator("b", "c", "d")
    call(one, Task("t", "x"))
    assert one.receive(NotUnderstood("a.1.1", "what?"), "b", 0.0) == []
    assert one.receive(NotUnderstood("a.1.1", "what?"), "stranger", 0.0) == []
    one.receive(refusal("a.1.1", "t"), "c", 0.0)
    one.receive(proposal("a.1.1", ("t", 2.0)), "d", 0.0)
    assert awards(one.wake(0.0)) == [("d", "t", 1)]


def test_only_its_winner_speaks_of_a_task() -> None:
    """Another who is known, and knows the task and its epoch, neither ends it nor loses it, nor holds it."""
    one = initiator("b", "c")
    call(one, Task("t", "x"))
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.0)
    one.receive(proposal("a.1.1", ("t", 2.0)), "c", 0.0)
    assert awards(one.wake(0.0)) == [("b", "t", 1)]
    for forged in (inform("t", 1), failure("t", 1, Reason.ERROR), failure("t", 1, Reason.BUSY)):
        assert said(one.receive(forged, "c", 0.1)) == [Send("c", Fenced("t", 1))]
    one.receive(Renew((("t", 1, True),)), "c", 0.9)
    assert one.standing("t") is not None
    assert any(isinstance(effect, TaskLost) for effect in one.wake(LEASE_S + 0.1)), "its lease was not renewed"


def test_unknown_conversations_are_not_understood() -> None:
    one = initiator("b")
    (answer,) = one.receive(proposal("z.1.1", ("t", 2.0)), "b", 0.0)
    assert answer == Send("b", NotUnderstood("z.1.1", "this conversation is not mine"))


@pytest.mark.parametrize(
    "nonsense",
    [
        proposal("a.1.1", ("other", 1.0)),
        Proposal("a.1.1", (Bid("t", (("run", 1.0),)),), (), FREE, 0),
        Proposal("a.1.1", (Bid("t", (("queue", 0.0), ("queue", 1.0))),), (), FREE, 0),
        refusal("a.1.1", "other"),
    ],
)
def test_nonsense_leaves_the_call_as_it_was(nonsense: Message) -> None:
    one = initiator("b", "c")
    call(one, Task("t", "x"))
    with pytest.raises(PeerError):
        one.receive(nonsense, "b", 0.0)
    one.receive(proposal("a.1.1", ("t", 1.0)), "c", 0.0)
    assert awards(one.wake(0.0)) == []
    one.receive(proposal("a.1.1", ("t", 0.5)), "b", 0.0)
    assert awards(one.wake(0.0)) == [("b", "t", 1)]


def test_inform_instead_of_propose_changes_nothing() -> None:
    one = initiator("b")
    call(one, Task("t", "x"))
    effects = one.receive(inform("t", 0), "b", 0.0)
    assert said(effects) == [Send("b", Fenced("t", 0))]
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.0)
    assert awards(one.wake(0.0)) == [("b", "t", 1)]


def test_unplaced_at_once_when_all_decline_for_good() -> None:
    one = initiator("b", "c", "d")
    call(one, Task("t", "x"))
    one.receive(refusal("a.1.1", "t", detail="lack gpu"), "b", 0.0)
    one.receive(refusal("a.1.1", "t", detail="lack gpu"), "c", 0.0)
    effects = one.receive(refusal("a.1.1", "t", detail="has 6 GiB < 8 GiB"), "d", 0.0)
    assert outcomes(effects) == [
        Outcome("t", State.UNPLACED, error="0/3 nodes can run this: 2 lack gpu, 1 has 6 GiB < 8 GiB", reason="kind")
    ]
    one.wake(0.0)
    assert one.deadline is None


def test_declined_for_now_is_parked_and_recalled_less_and_less_often() -> None:
    one = initiator("b", "c")
    now = 0.0
    call(one, Task("t", "x"))
    for number, pause_s in enumerate([RECALL_S, 1.0, 2.0, 4.0, 8.0, 8.0], 1):
        one.receive(refusal(f"a.1.{number}", "t", reason=Reason.DRAINING), "b", now)
        effects = one.receive(refusal(f"a.1.{number}", "t"), "c", now)
        assert any(isinstance(effect, AuctionFailed) for effect in effects)
        one.wake(now)
        assert one.deadline == now + pause_s
        now += pause_s
        assert len(said(one.wake(now))) == 1


def test_slow_nodes_are_given_more_time_with_each_recall() -> None:
    one = initiator("b")
    call(one, Task("t", "x"))
    now, allowed = 0.0, []
    for _ in range(4):
        now = one.deadline or 0.0
        one.wake(now)
        now = one.deadline or 0.0
        (published,) = said(one.wake(now))
        assert isinstance(published, Publish)
        assert isinstance(published.message, CallForProposals)
        allowed.append(published.message.reply_by_s)
    assert allowed == [0.5, 1.0, 2.0, 4.0]


def test_a_vanished_invitee_closes_the_call() -> None:
    one = initiator("b", "c")
    call(one, Task("t", "x"))
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.0)
    one.receive(PeerDown("c"), "a", 0.1)
    assert awards(one.wake(0.1)) == [("b", "t", 1)]


def test_a_newcomer_is_asked_directly_for_what_waits() -> None:
    one = initiator("b")
    tasks = (Task("t", "x", 2.0), Task("u", "x", 1.0))
    call(one, *tasks)
    one.receive(proposal("a.1.1", ("t", 2.0), ("u", 1.0), load=FULL), "b", 0.0)
    one.wake(0.0)
    effects = one.receive(PeerUp("c"), "a", 0.1)
    assert said(effects) == [Send("c", CallForProposals("a.1.2", tasks, BID_LIFE_S))]
    one.receive(proposal("a.1.2", ("t", 4.0), ("u", 2.0)), "c", 0.11)
    assert awards(one.wake(0.11)) == [("c", "t", 1), ("c", "u", 1)]


def test_one_who_comes_while_a_call_is_open_is_asked_when_it_closes() -> None:
    one = initiator("b")
    call(one, Task("t", "x", 2.0))
    assert said(one.receive(PeerUp("c"), "a", 0.1)) == []
    effects = one.receive(proposal("a.1.1", ("t", 2.0), load=FULL), "b", 0.2)
    assert [effect.to for effect in said(effects) if isinstance(effect, Send)] == ["c"]


def test_a_newcomer_recalls_what_is_parked() -> None:
    one = initiator("b")
    call(one, Task("t", "x"))
    one.receive(refusal("a.1.1", "t", reason=Reason.BUSY), "b", 0.0)
    one.wake(0.0)
    one.receive(PeerUp("c"), "a", 0.1)
    assert len(said(one.wake(0.1))) == 1


def test_availability_from_an_idle_node_brings_awards_and_a_call() -> None:
    one = initiator("b", "c")
    call(one, Task("t", "x", 2.0))
    one.receive(proposal("a.1.1", ("t", 2.0), load=FULL), "b", 0.0)
    one.wake(0.25)
    effects = one.receive(Availability(FREE, (("a", 0),)), "c", 0.3)
    assert [effect.to for effect in said(effects) if isinstance(effect, Send)] == ["c"]
    one.receive(Availability(FREE, (("a", 0),)), "b", 0.4)
    assert awards(one.wake(0.4)) == [("b", "t", 1)]
    assert one.receive(Availability(FREE, ()), "stranger", 0.5) == []


def test_what_is_priced_is_priced_anew_so_that_no_load_stays_unheard() -> None:
    one = initiator("b")
    call(one, Task("t", "x", 2.0))
    one.receive(proposal("a.1.1", ("t", 2.0), load=FULL), "b", 0.0)
    one.wake(0.0)
    assert one.deadline == BID_LIFE_S
    (again,) = said(one.wake(BID_LIFE_S))
    assert again == Publish(CallForProposals("a.1.2", (Task("t", "x", 2.0),), BID_LIFE_S))
    one.receive(proposal("a.1.2", ("t", 3.0)), "b", BID_LIFE_S)
    effects = one.wake(BID_LIFE_S)
    (event,) = [effect for effect in effects if isinstance(effect, AuctionAwarded)]
    assert event.cost == 3.0
    assert one.deadline == BID_LIFE_S + LEASE_S


def test_a_bid_that_comes_after_the_award_is_rejected() -> None:
    one = initiator("b")
    call(one, Task("t", "x", 2.0))
    one.receive(proposal("a.1.1", ("t", 2.0), load=FULL), "b", 0.0)
    one.wake(0.0)
    one.receive(PeerUp("c"), "a", 0.1)
    one.receive(Availability(FREE, (("a", 0),)), "b", 0.2)
    assert awards(one.wake(0.2)) == [("b", "t", 1)]
    assert one.receive(proposal("a.1.2", ("t", 1.0)), "c", 0.3) == [Send("c", Rejection("a.1.2", ("t",), Reason.LATE))]


def test_a_lost_task_is_called_though_the_window_is_full() -> None:
    one = initiator("b")
    tasks = [Task(f"t{number:03}", "x", 1000.0 - number) for number in range(2 * PRICED_LOW)]
    (published,) = said(call(one, *tasks))
    assert isinstance(published, Publish)
    ids = [task.id for task in tasks[:PRICED_LOW]]
    one.receive(proposal("a.1.1", *((task, 1.0) for task in ids)), "b", 0.0)
    effects = list(one.wake(0.0))
    assert awards(effects) == [("b", "t000", 1), ("b", "t001", 1)]
    one.receive(failure("t000", 1, Reason.DIED, heard=2, load=FULL), "b", 0.1)
    (published,) = said(one.wake(0.1))
    assert isinstance(published, Publish)
    assert isinstance(published.message, CallForProposals)
    assert published.message.tasks[0].id == "t000"


# --- late binding


def test_nothing_is_transferred_but_what_would_start_now_or_next_longest_first() -> None:
    one = initiator("b", "c")
    tasks = [Task(f"t{number}", "x", float(number)) for number in range(1, 8)]
    call(one, *tasks)
    slow = proposal("a.1.1", *((task.id, 10 * float(task.work or 0)) for task in tasks))
    one.receive(slow, "b", 0.0)
    one.receive(proposal("a.1.1", *((task.id, float(task.work or 0)) for task in tasks)), "c", 0.0)
    first = awards(one.wake(0.0))
    assert first[:2] == [("c", "t7", 1), ("c", "t6", 1)]
    assert len([award for award in first if award[0] == "c"]) == 2
    assert len(first) <= 4
    one.receive(inform("t7", 1, heard=2), "c", 7.0)
    assert ("c", "t5", 1) in awards(one.wake(7.0))


def test_tiny_tasks_do_not_wait_for_a_message_each() -> None:
    one = initiator("b")
    tasks = [Task(f"t{number:02}", "x", 0.002) for number in range(50)]
    call(one, *tasks)
    one.receive(proposal("a.1.1", *((task.id, 0.002) for task in tasks)), "b", 0.0)
    assert 10 <= len(awards(one.wake(0.0))) <= 12


def test_random_is_the_same_by_the_same_seed() -> None:
    winners = []
    for _ in range(2):
        world = World({"a": (1, 1.0), "b": (1, 2.0), "c": (1, 3.0)}, rule=RULES["random"])
        world.call("a", [Task(f"t{number}", "x", 0.1) for number in range(40)])
        world.run(stop=lambda world=world: len(world.outcomes) == 40)  # type: ignore[misc]
        winners.append([event.winner for _, _, event in world.events if isinstance(event, AuctionAwarded)])
    assert winners[0] == winners[1]
    assert set(winners[0]) == {"a", "b", "c"}


# --- what becomes of an award


def test_a_lease_is_renewed_and_ends_in_a_cancel_and_a_new_epoch() -> None:
    one = awarded()
    one.wake(REJECT_AFTER_S)
    assert one.receive(Renew((("t", 1, True),)), "b", 0.9) == []
    assert said(one.wake(LEASE_S)) == []
    assert one.deadline == 0.9 + LEASE_S
    effects = one.wake(0.9 + LEASE_S)
    assert said(effects)[0] == Send("b", Cancel("a.1.1", "t", 1))
    assert isinstance(said(effects)[1], Publish)
    assert [effect.reason for effect in effects if isinstance(effect, TaskLost)] == [Reason.LEASE]
    one.receive(proposal("a.1.2", ("t", 1.0)), "b", 2.0)
    one.receive(proposal("a.1.2", ("t", 0.5)), "c", 2.0)
    effects = one.wake(2.0)
    assert awards(effects) == [("c", "t", 2)]
    assert [effect.reason for effect in effects if isinstance(effect, TaskReassigned)] == [Reason.LEASE]


def test_a_large_payload_is_given_time_to_arrive() -> None:
    one = awarded(payload_bytes=2_000_000)
    one.wake(REJECT_AFTER_S)
    assert one.deadline == LEASE_S + 2.0


def test_what_an_old_epoch_brings_in_is_fenced_and_changes_nothing() -> None:
    one = awarded()
    one.receive(PeerDown("b"), "a", 0.1)
    effects = one.receive(inform("t", 1), "b", 0.2)
    assert said(effects) == [Send("b", Fenced("t", 0))]
    assert [effect.epoch for effect in effects if isinstance(effect, MessageDropped)] == [1]
    one.wake(0.2)
    one.receive(proposal("a.1.2", ("t", 1.0)), "c", 0.3)
    assert awards(one.wake(0.3)) == [("c", "t", 2)]
    for stale in (inform("t", 1), failure("t", 1, Reason.ERROR), Renew((("t", 1, True),))):
        assert said(one.receive(stale, "b", 0.4)) == [Send("b", Fenced("t", 2))]
    assert said(one.receive(inform("t", 2), "b", 0.4)) == [Send("b", Fenced("t", 2))]
    assert outcomes(one.receive(inform("t", 2), "c", 0.5))[0].epoch == 2
    assert said(one.receive(inform("t", 2), "c", 0.5)) == [Send("c", Fenced("t", 0))]


def test_an_old_epoch_of_the_same_winner_is_fenced_too() -> None:
    one = awarded()
    one.receive(failure("t", 1, Reason.DIED), "b", 0.1)
    one.wake(0.1)
    one.receive(proposal("a.1.2", ("t", 1.0)), "b", 0.1)
    one.receive(refusal("a.1.2", "t"), "c", 0.1)
    assert awards(one.wake(0.1)) == [("b", "t", 2)]
    assert said(one.receive(inform("t", 1), "b", 0.2)) == [Send("b", Fenced("t", 2))]
    assert outcomes(one.receive(inform("t", 2, heard=2), "b", 0.3))[0].epoch == 2


def test_what_the_vanished_bid_and_declined_goes_with_them() -> None:
    one = initiator("b", "c", "d")
    call(one, Task("t", "x", 1.0))
    one.receive(refusal("a.1.1", "t"), "b", 0.0)
    one.receive(proposal("a.1.1", ("t", 1.0), load=FULL), "c", 0.0)
    one.receive(proposal("a.1.1", ("t", 9.0), load=FULL), "d", 0.0)
    one.wake(0.0)
    for node in ("b", "c"):
        one.receive(PeerDown(node), "a", 0.1)
        effects = one.receive(PeerUp(node), "a", 0.2)
        assert [effect.to for effect in said(effects) if isinstance(effect, Send)] == [node]


def test_busy_is_no_attempt() -> None:
    one = awarded(attempts_max=1)
    effects = one.receive(failure("t", 1, Reason.BUSY, load=FULL), "b", 0.1)
    assert outcomes(effects) == []
    one.wake(0.1)
    one.receive(proposal("a.1.2", ("t", 1.0), load=FULL, heard=1), "b", 0.1)
    one.receive(refusal("a.1.2", "t"), "c", 0.1)
    assert awards(one.wake(0.1)) == []
    one.receive(Availability(FREE, (("a", 1),)), "b", 0.2)
    assert awards(one.wake(0.2)) == [("b", "t", 2)]
    assert outcomes(one.receive(inform("t", 2, heard=2), "b", 0.3))[0].attempts == 1


def test_an_error_fails_at_once_and_deaths_up_to_attempts_max() -> None:
    (outcome,) = outcomes(awarded().receive(failure("t", 1, Reason.ERROR), "b", 0.1))
    assert outcome == Outcome("t", State.FAILED, b"", "why", "b", 1, 1, 1.0, "error")
    one = awarded(attempts_max=2)
    assert outcomes(one.receive(failure("t", 1, Reason.DIED), "b", 0.1)) == []
    one.wake(0.1)
    one.receive(proposal("a.1.2", ("t", 1.0)), "b", 0.1)
    one.receive(refusal("a.1.2", "t"), "c", 0.1)
    assert awards(one.wake(0.1)) == [("b", "t", 2)]
    (outcome,) = outcomes(one.receive(failure("t", 2, Reason.DIED, heard=2), "b", 0.2))
    assert (outcome.state, outcome.attempts, outcome.epoch) == (State.FAILED, 2, 2)


def test_a_task_that_takes_its_nodes_along_is_given_up_in_the_end() -> None:
    one = awarded()
    for number in range(2, LOST_MAX + 1):
        one.receive(PeerDown("b"), "a", 0.1)
        one.receive(PeerUp("b"), "a", 0.1)
        one.wake(0.1)
        one.receive(proposal(f"a.1.{number}", ("t", 1.0)), "b", 0.1)
        one.receive(refusal(f"a.1.{number}", "t"), "c", 0.1)
        assert awards(one.wake(0.1)) == [("b", "t", number)]
    (outcome,) = outcomes(one.receive(PeerDown("b"), "a", 0.2))
    assert outcome.state is State.FAILED
    assert outcome.error == "lost 8 times with its node or its lease, at last on b"


def test_an_award_not_understood_is_open_again() -> None:
    one = awarded()
    effects = one.receive(NotUnderstood("t", "an award without a standing bid"), "b", 0.1)
    assert outcomes(effects) == []
    assert len(said(one.wake(0.1))) >= 1
    assert one.receive(NotUnderstood("t", "once more"), "b", 0.2) == []


def test_awards_lost_with_a_false_death_fill_no_queue_for_ever() -> None:
    one = initiator("b")
    call(one, Task("t", "x", 5.0), Task("u", "x", 5.0))
    one.receive(proposal("a.1.1", ("t", 5.0), ("u", 5.0)), "b", 0.0)
    assert len(awards(one.wake(0.0))) == 2
    one.wake(LEASE_S)  # b has never heard of them, nor renews them
    one.receive(proposal("a.1.2", ("t", 5.0), ("u", 5.0), heard=0), "b", LEASE_S)
    assert awards(one.wake(LEASE_S)) == [("b", "t", 2), ("b", "u", 2)]


def test_after_a_pause_of_our_own_nobody_is_late() -> None:
    one = awarded()
    one.wake(REJECT_AFTER_S)
    effects = one.wake(60.0)
    assert said(effects) == []
    assert one.receive(Renew((("t", 1, True),)), "b", 60.0) == []
    assert outcomes(one.receive(inform("t", 1), "b", 61.5))[0].epoch == 1


def test_after_a_pause_a_silent_winner_still_loses_its_lease() -> None:
    one = awarded()
    one.wake(60.0)
    assert said(one.wake(60.0 + LEASE_S))[0] == Send("b", Cancel("a.1.1", "t", 1))


def test_ids_that_look_like_conversations_confuse_nobody() -> None:
    one = initiator("b")
    call(one, Task("a.1.1", "x", 1.0))
    one.receive(proposal("a.1.1", ("a.1.1", 1.0)), "b", 0.0)
    assert awards(one.wake(0.0)) == [("b", "a.1.1", 1)]
    assert said(one.wake(LEASE_S))[0] == Send("b", Cancel("a.1.1", "a.1.1", 1))


# --- cancelling


def test_what_is_only_called_ends_at_once_and_its_bidders_are_told() -> None:
    one = initiator("b", "c")
    call(one, Task("t", "x", 1.0), Task("u", "x", 1.0))
    one.receive(proposal("a.1.1", ("t", 1.0), ("u", 2.0)), "b", 0.0)
    effects = one.cancel("t", State.CANCELLED, Reason.CANCELLED, "by a client", 0.0)
    assert outcomes(effects) == [Outcome("t", State.CANCELLED, error="by a client", reason="cancelled")]
    assert one.cancel("t", State.CANCELLED, Reason.CANCELLED, "again", 0.0) == ()
    one.receive(proposal("a.1.1", ("t", 1.0), ("u", 1.0)), "c", 0.0)
    assert awards(one.wake(0.0)) == [("c", "u", 1)]
    rejected = said(one.wake(REJECT_AFTER_S))
    assert Publish(Rejection("a.1.1", ("t",), Reason.CANCELLED)) in rejected


def test_what_waits_uncalled_or_priced_is_passed_over() -> None:
    one = initiator("b")
    names = [f"t{number}" for number in range(PRICED_LOW + 10)]
    call(one, *(Task(name, "x", 1.0) for name in names))
    for name in names[5:]:
        one.cancel(name, State.CANCELLED, Reason.CANCELLED, "", 0.0)
    one.receive(proposal("a.1.1", *((name, 1.0) for name in names[:PRICED_LOW]), load=FULL), "b", 0.0)
    one.wake(0.0)
    one.cancel("t0", State.CANCELLED, Reason.CANCELLED, "", 0.1)
    assert one.open_tasks == 4
    left = [contract.task.id for contract in one._calls.priced]
    assert left == ["t1", "t2", "t3", "t4"]


def test_what_is_awarded_is_cancelled_when_its_winner_has_stopped() -> None:
    one = awarded()
    stop = one.cancel("t", State.CANCELLED, Reason.CANCELLED, "by a client", 0.1)
    assert stop == [Send("b", Cancel("a.1.1", "t", 1))]
    assert one.cancel("t", State.CANCELLED, Reason.CANCELLED, "again", 0.1) == ()
    effects = one.receive(failure("t", 1, Reason.CANCELLED), "b", 0.2)
    assert outcomes(effects) == [
        Outcome("t", State.CANCELLED, error="by a client", node="b", epoch=1, attempts=1, reason="cancelled")
    ]


def test_a_winner_that_does_not_hold_it_ends_the_cancel_too() -> None:
    one = awarded()
    one.cancel("t", State.CANCELLED, Reason.CANCELLED, "by a client", 0.1)
    effects = one.receive(failure("t", 1, Reason.LATE), "b", 0.2)
    assert [outcome.state for outcome in outcomes(effects)] == [State.CANCELLED]


def test_done_before_the_cancel_came_is_done() -> None:
    one = awarded()
    one.cancel("t", State.CANCELLED, Reason.CANCELLED, "by a client", 0.1)
    assert [outcome.state for outcome in outcomes(one.receive(inform("t", 1), "b", 0.2))] == [State.DONE]
    assert one.receive(failure("t", 1, Reason.LATE), "b", 0.2) == []


# --- what time is left


def test_bidders_are_told_how_much_time_is_left() -> None:
    one = initiator("b")
    terms = Conditions(deadline_s=10.0)
    one.call(Task("t", "x", 1.0, terms=terms), b"", 4.0, due=10.0)
    (published,) = said(one.wake(4.0))
    assert isinstance(published, Publish)
    assert isinstance(published.message, CallForProposals)
    assert published.message.tasks[0].conditions.deadline_s == 6.0


# --- replicas


def replicas(one: Initiator, count: int) -> list[str]:
    names = [f"t/{number}" for number in range(1, count + 1)]
    call(one, *(Task(name, "x", 1.0) for name in names))
    return names


def test_replicas_go_to_different_nodes_and_where_there_are_none_say_so() -> None:
    one = initiator("b", "c")
    names = replicas(one, 3)
    one.receive(proposal("a.1.1", *((name, 1.0) for name in names)), "b", 0.0)
    one.receive(proposal("a.1.1", *((name, 5.0) for name in names)), "c", 0.0)
    effects = one.wake(0.0)
    assert awards(effects) == [("b", "t/1", 1), ("c", "t/2", 1)]
    assert outcomes(effects) == [
        Outcome("t/3", State.UNPLACED, error="0/2 nodes can run this: 2 have another replica of it", reason="replica")
    ]


def test_a_replica_does_not_follow_one_that_was_done_there_but_may_follow_one_that_failed() -> None:
    one = initiator("b")
    replicas(one, 2)
    one.receive(proposal("a.1.1", ("t/1", 1.0), load=FREE), "b", 0.0)
    assert awards(one.wake(0.0)) == [("b", "t/1", 1)]
    assert one._replicas._siblings["t"].sites == {"t/1": "b"}
    one.receive(failure("t/1", 1, Reason.ERROR), "b", 0.1)
    assert one._replicas._siblings["t"].sites == {}
    one.cancel("t/2", State.CANCELLED, Reason.CANCELLED, "", 0.1)
    assert not one._replicas._siblings


# --- iterated (FIPA SC00030H)


def test_an_iterated_call_asks_the_better_half_for_less_until_nobody_comes_down() -> None:
    one = initiator("b", "c", "d", "e", rule="iterated")
    call(one, Task("t", "x", 1.0))
    for node, run_s in (("b", 4.0), ("c", 3.0), ("d", 9.0)):
        assert one.receive(proposal("a.1.1", ("t", run_s)), node, 0.0) == []
    revised = said(one.receive(proposal("a.1.1", ("t", 8.0)), "e", 0.0))
    asked = CallForProposals("a.1.1", (Task("t", "x", 1.0),), REVISED_S, (3.0,))
    assert revised == [
        Send("b", asked),
        Send("c", asked),
        Send("d", Rejection("a.1.1", ("t",), Reason.OUTBID)),
        Send("e", Rejection("a.1.1", ("t",), Reason.OUTBID)),
    ]
    one.receive(proposal("a.1.1", ("t", 2.0)), "b", 0.1)
    again = CallForProposals("a.1.1", (Task("t", "x", 1.0),), REVISED_S, (2.0,))
    asked_again = said(one.receive(proposal("a.1.1", ("t", 3.0)), "c", 0.1))
    assert asked_again == [Send("b", again), Send("c", again)]
    one.receive(proposal("a.1.1", ("t", 2.0)), "b", 0.2)
    one.receive(proposal("a.1.1", ("t", 2.5)), "c", 0.2)
    effects = one.wake(0.2)
    assert awards(effects) == [("b", "t", 1)]
    (event,) = [effect for effect in effects if isinstance(effect, AuctionAwarded)]
    assert [(line.node, line.reason) for line in event.declines] == [("d", Reason.OUTBID), ("e", Reason.OUTBID)]


def test_iterations_end_in_any_case() -> None:
    one = initiator("b", "c", rule="iterated")
    call(one, Task("t", "x", 1.0))
    price, rounds = 100.0, 0
    while not awards(one.wake(0.0)):
        rounds += 1
        price /= 2
        one.receive(proposal("a.1.1", ("t", price)), "b", 0.0)
        one.receive(proposal("a.1.1", ("t", price)), "c", 0.0)
    assert rounds == RULES["iterated"].revisions + 1


def test_who_does_not_answer_again_stands_by_its_bid() -> None:
    one = initiator("b", "c", rule="iterated")
    call(one, Task("t", "x", 1.0))
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.0)
    one.receive(proposal("a.1.1", ("t", 2.0)), "c", 0.0)
    assert awards(one.wake(0.0)) == []
    assert awards(one.wake(REVISED_S)) == [("b", "t", 1)]


def test_all_refuse_the_second_time_and_it_is_called_again() -> None:
    one = initiator("b", "c", rule="iterated")
    call(one, Task("t", "x", 1.0))
    one.receive(proposal("a.1.1", ("t", 1.0)), "b", 0.0)
    one.receive(proposal("a.1.1", ("t", 2.0)), "c", 0.0)
    one.receive(refusal("a.1.1", "t", reason=Reason.UNWILLING), "b", 0.1)
    effects = one.receive(refusal("a.1.1", "t", reason=Reason.UNWILLING), "c", 0.1)
    assert [outcome.state for outcome in outcomes(effects)] == [State.UNPLACED]


# --- who said what


def by_name(name: NodeId, speed: float) -> object:
    """Only b runs the kind "far"."""

    def value(asked: Asked, now: float) -> Pricing:
        task = asked.task
        if task.kind == "far" and name != "b":
            return Pricing(decline=Reason.KIND, detail="do not offer it")
        return Pricing((("run", float(task.work or 0) / speed),))

    return value


def single(world: World) -> None:
    world.call("a", [Task("t", "x", 0.4)])
    world.run(0.5)


def late_binding(world: World) -> None:
    world.call("a", [Task(f"t{number}", "x", number / 10) for number in range(1, 6)])
    world.run(1.5)


def late_proposal(world: World) -> None:
    world.call("a", [Task("t", "x", 0.4)])
    world.run(0.0001)
    world.deaf.add(("c", "a"))
    world.run(0.26)
    world.deaf.clear()
    world.inject("c", "a", proposal("a.1.1", ("t", 0.1)))
    world.run(0.7)


def reassigned(world: World) -> None:
    """a no longer hears c, and gives it up; c ends its work when the cut has healed."""
    world.call("a", [Task("t", "x", 3.6)])
    world.run(0.3)
    world.deaf |= {("c", "a"), ("a", "c")}
    world.run(0.4)
    world.tell("a", PeerDown("c"))
    world.run(0.9)
    world.deaf.clear()
    world.run(1.2)


def availability(world: World) -> None:
    """b works for a, who vanishes; so b is idle sooner than c thought."""
    world.call("a", [Task("long", "far", 5.0)])
    world.run(0.1)
    world.call("c", [Task(f"t{number}", "x", 1.0) for number in range(1, 8)])
    world.run(0.2)
    world.kill("a")
    world.tell("b", PeerDown("a"))
    world.tell("c", PeerDown("a"))
    world.run(2.0)


@pytest.mark.parametrize("scene", [single, late_binding, late_proposal, reassigned, availability])
def test_transcript(scene: object) -> None:
    world = World({"a": (1, 1.0), "b": (1, 1.0), "c": (1, 4.0)}, value=by_name)  # type: ignore[arg-type]
    scene(world)  # type: ignore[operator]
    name = scene.__name__  # type: ignore[attr-defined]
    path = TRANSCRIPTS / f"contract_net_{name}.txt"
    if os.environ.get("PARLEY_WRITE_TRANSCRIPTS"):
        path.write_text(world.transcript())
    assert world.transcript() == path.read_text()
    assert all(len(ends) == 1 for ends in world.outcomes.values())


# --- whole worlds


def bound(works: Sequence[float], speeds: Sequence[float]) -> float:
    """No schedule is shorter: the k longest tasks at best share the k fastest nodes."""
    work, speed = sorted(works, reverse=True), sorted(speeds, reverse=True)
    prefixes = [sum(work[:count]) / sum(speed[:count]) for count in range(1, len(speed) + 1)]
    return max(sum(work) / sum(speed), *prefixes)


@pytest.mark.parametrize(("tasks", "seeds", "ratio_max"), [(24, 7, 1.10), (400, 1, 1.05)])
def test_makespan(tasks: int, seeds: int, ratio_max: float) -> None:
    speeds = (1.0, 1.0, 2.0, 4.0)
    ratios = []
    for seed in range(seeds):
        rng = random.Random(seed)
        works = [rng.lognormvariate(0.0, 1.0) for _ in range(tasks)]
        world = World({f"n{number}": (1, speed) for number, speed in enumerate(speeds)}, delay_s=(0.0005, 0.0015))
        world.call("n0", [Task(f"t{number}", "x", work) for number, work in enumerate(works)])
        world.run(stop=lambda world=world: len(world.outcomes) == tasks)  # type: ignore[misc]
        ratios.append(world.now / bound(works, speeds))
    assert statistics.median(ratios) <= ratio_max


def test_a_long_batch_of_one_initiator_does_not_crowd_out_another() -> None:
    world = World({"a": (1, 1.0), "b": (1, 1.0)})
    world.call("a", [Task(f"a{number}", "x", 1.0) for number in range(60)])
    world.run(5.05)
    world.call("b", [Task(f"b{number}", "x", 1.0) for number in range(3)])
    world.run(12.0)
    assert {"b0", "b1", "b2"} <= set(world.outcomes)


def test_a_missed_availability_is_made_up_for() -> None:
    world = World({"a": (1, 1.0), "b": (1, 1.0)}, value=by_name)  # type: ignore[arg-type]
    world.call("b", [Task("b1", "far", 1.0), Task("b2", "far", 1.0), Task("b3", "far", 1.0)])
    world.run(0.5)
    world.call("a", [Task(f"a{number}", "far", 1.0) for number in range(3)])
    world.run(0.6)
    world.loss = 1.0
    world.run(3.5)
    world.loss = 0.0
    world.run(12.0)
    assert len(world.outcomes) == 6


@pytest.mark.parametrize("seed", range(60))
def test_every_task_ends_once_whatever_happens(seed: int) -> None:
    """Three initiators and four participants, all orders, false deaths, deaf links, kills and restarts."""
    rng = random.Random(seed)
    entries = {"i1": 1, "i2": 1, "i3": 1}
    names = [*entries, "p1", "p2", "p3", "p4"]
    world = World(
        {name: (rng.choice([1, 1, 2]), rng.choice([1.0, 2.0, 4.0])) for name in names},
        seed=seed,
        delay_s=(0.0, rng.choice([0.01, 0.1, 0.4])),
    )
    world.loss = rng.choice([0.0, 0.2, 0.5])

    def fails(task: Task, epoch: int) -> Finished | None:
        dice = rng.random()
        reason = Reason.DIED if dice > 0.02 else Reason.ERROR
        return None if dice > 0.05 else Finished(task.id, epoch, reason, error="no")

    world.fails = fails
    tasks: dict[NodeId, list[str]] = {name: [] for name in entries}
    dead: set[NodeId] = set()
    for step in range(12):
        for entry in entries.keys() & world.nodes.keys() - dead if step else set(entries):
            if rng.random() < 0.6 and tasks.get(entry) is not None:
                batch = [
                    Task(f"{entry}-{step}-{number}", "x", rng.choice([0.0, 0.001, rng.lognormvariate(-1.0, 1.0)]))
                    for number in range(rng.randrange(1, 9))
                ]
                tasks[entry] += [task.id for task in batch]
                world.call(entry, batch)
        world.run(world.now + rng.uniform(0.0, 0.7))
        disturb(world, rng, names, dead, tasks, step + 2)
    world.deaf.clear()
    world.loss = 0.0
    for name in world.nodes:
        for other in world.nodes:
            world.tell(name, PeerUp(other))
    taken = {task for ids in tasks.values() for task in ids}
    world.run(world.now + 60.0, stop=lambda: taken <= world.outcomes.keys())
    assert taken <= world.outcomes.keys()
    world.run(world.now + 5.0)
    assert all(len(ends) == 1 for ends in world.outcomes.values())
    assert all(starts == 1 for starts in world.starts.values())
    assert not any(node.running for node in world.nodes.values())


def disturb(
    world: World, rng: random.Random, names: list[str], dead: set[str], tasks: dict[str, list[str]], life: int
) -> None:
    dice = rng.random()
    one, other = rng.sample(names, 2)
    if dice < 0.3 and one in world.nodes:
        world.tell(one, PeerDown(other))
    elif dice < 0.45 and len(world.nodes) > 3 and one in world.nodes:
        world.kill(one)
        dead.add(one)
        tasks.pop(one, None)
        for name in world.nodes:
            world.tell(name, PeerDown(one))
    elif dice < 0.6 and dead:
        back = min(dead)
        dead.discard(back)
        world.start(back, 1, 2.0, life)
        for name in world.nodes:
            world.tell(name, PeerUp(back))
            world.tell(back, PeerUp(name))
    elif dice < 0.75:
        world.deaf.add((one, other))
    else:
        world.deaf.clear()
    for name in world.nodes:
        for peer in world.nodes:
            if rng.random() < 0.5:
                world.tell(name, PeerUp(peer))


def test_messages_of_this_node_are_local() -> None:
    assert issubclass(Completed, Local)
    assert issubclass(Finished, Local)
