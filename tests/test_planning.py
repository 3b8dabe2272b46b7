"""A dry auction: asked, answered once, and nothing is awarded."""

from __future__ import annotations

import pytest

from parley.protocols.core import PeerDown, PeerError, PeerUp, ProtocolError, Publish, Send, Task
from parley.protocols.load import Load
from parley.protocols.performatives import Basis, Bid, CallForProposals, Decline, Proposal, Reason, Refusal, Rejection
from parley.protocols.planning import PLANS_MAX, REPLY_BY_S, Planner
from parley.protocols.requests import AskPlan, NotFound, Planned, PlannedBid
from parley.protocols.swim_words import Ping

TASK = Task("t", "x", 1.0)
FREE = Load((0.0,), 0, 0.0, 1.0)
AUCTION = "a.1.plan.1"
LACK = Decline("t", Reason.NEED, "lack capability gpu")


def asked(*nodes: str) -> Planner:
    planner = Planner("a", 1)
    for node in nodes:
        planner.receive(PeerUp(node), "a", 0.0)
    _, call = planner.receive(AskPlan(7, TASK), "client", 0.0)
    assert call == Publish(CallForProposals(AUCTION, (TASK,), REPLY_BY_S))
    return planner


def proposal(queue_s: float, run_s: float, basis: Basis | None = None) -> Proposal:
    return Proposal(AUCTION, (Bid("t", (("queue", queue_s), ("run", run_s)), basis),), (), FREE, 0)


def test_all_are_asked_and_the_best_comes_first() -> None:
    planner = asked("b", "c", "d")
    assert planner.deadline == REPLY_BY_S
    assert planner.receive(proposal(0.0, 3.0), "b", 0.1) == []
    assert planner.receive(Refusal(AUCTION, (LACK,), FREE, 0), "d", 0.1) == []
    effects = planner.receive(proposal(1.0, 0.5, Basis(9, 0.5)), "c", 0.1)
    bids = (
        PlannedBid("c", (("queue", 1.0), ("run", 0.5)), Basis(9, 0.5)),
        PlannedBid("b", (("queue", 0.0), ("run", 3.0)), None),
    )
    assert effects == [
        Send("client", Planned(7, "contract-net", bids, (("d", LACK),), ())),
        Publish(Rejection(AUCTION, ("t",), Reason.PLAN)),
    ]
    assert [bid.cost for bid in bids] == [1.5, 3.0]
    assert planner.deadline is None


def test_who_does_not_answer_is_silent_and_comes_too_late() -> None:
    planner = asked("b", "c")
    planner.receive(proposal(0.0, 1.0), "b", 0.1)
    told, _ = planner.wake(REPLY_BY_S)
    assert isinstance(told, Send)
    assert isinstance(told.message, Planned)
    assert told.message.silent == ("c",)
    assert planner.receive(proposal(0.0, 1.0), "c", 0.6) == [Send("c", Rejection(AUCTION, ("t",), Reason.LATE))]
    assert planner.receive(Refusal(AUCTION, (LACK,), FREE, 0), "c", 0.6) == []


def test_who_dies_is_not_waited_for() -> None:
    planner = asked("b", "c")
    planner.receive(proposal(0.0, 1.0), "b", 0.1)
    told, _ = planner.receive(PeerDown("c"), "a", 0.2)
    assert isinstance(told, Send)
    assert told.to == "client"


def test_nobody_bids_nobody_is_rejected() -> None:
    planner = asked("b")
    (told,) = planner.receive(Refusal(AUCTION, (LACK,), FREE, 0), "b", 0.1)
    assert told == Send("client", Planned(7, "contract-net", (), (("b", LACK),), ()))


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("stranger", proposal(0.0, 1.0)),
        ("b", Proposal(AUCTION, (Bid("other", (("queue", 0.0),)),), (), FREE, 0)),
        ("b", Refusal(AUCTION, (Decline("other", Reason.KIND),), FREE, 0)),
    ],
)
def test_nonsense_leaves_the_plan_as_it_was(sender: str, message: Proposal | Refusal) -> None:
    planner = asked("b")
    with pytest.raises(PeerError):
        planner.receive(message, sender, 0.1)
    assert len(planner.receive(proposal(0.0, 1.0), "b", 0.1)) == 2


def test_plans_are_bounded() -> None:
    planner = asked("b")
    for _ in range(PLANS_MAX - 1):
        planner.receive(AskPlan(8, TASK), "client", 0.0)
    (refused,) = planner.receive(AskPlan(9, TASK), "client", 0.0)
    assert isinstance(refused, Send)
    assert refused.message == NotFound(9, f"this agent makes {PLANS_MAX} plans already; ask again")
    assert planner.called("a.1.plan.3")
    assert not planner.called("a.1.3")
    with pytest.raises(ProtocolError):
        planner.receive(Ping(0), "b", 0.0)
