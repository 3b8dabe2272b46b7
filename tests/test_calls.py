"""Calls alone: who is asked for what, how much fits into one call, when it closes."""

from __future__ import annotations

import msgspec
import pytest

from parley.protocols.award_rules import RULES, Rule
from parley.protocols.calls import BID_LIFE_S, Calls
from parley.protocols.contract import Contract, Stage
from parley.protocols.core import Conditions, Effect, PeerError, Publish, Send, Task
from parley.protocols.load import UNHEARD
from parley.protocols.performatives import (
    CALL_BYTES_MAX,
    TASKS_PER_CALL_MAX,
    Bid,
    CallForProposals,
    Decline,
    Reason,
    Rejection,
)
from parley.protocols.probing import Probes
from parley.transport.bulletins import BULLETIN_BYTES_MAX

FULLEST = Conditions(
    needs=tuple(f"{number:0128}" for number in range(16)),
    amounts=tuple((f"{number:064}", 1.5) for number in range(16)),
    only=tuple(f"{number:0128}" for number in range(16)),
    about=tuple((f"{number:064}", "\U0001f600" * 256) for number in range(16)),
    deadline_s=1e8,
)
"""Nothing larger is a task's terms."""


class Desk:
    """Calls with two peers, and what nobody bid for."""

    def __init__(self, rule: str = "contract-net", probes: Probes | None = None) -> None:
        self.unbid: list[str] = []
        self.calls = Calls("a.1.", RULES[rule], lambda node, work, now: UNHEARD, self._unbid, probes)
        self.calls.peers = ["b", "c"]
        self.arrivals = 0

    def _unbid(self, contract: Contract, now: float) -> list[Effect]:
        self.unbid.append(contract.task.id)
        return []

    def add(self, *tasks: Task) -> list[Contract]:
        contracts = []
        for task in tasks:
            self.arrivals += 1
            key = (0.0, 0.0, 0.0, self.arrivals)
            contract = Contract(task, b"", key, follow=False, waits=False, due=None, blobs=())
            self.calls.add(contract)
            contracts.append(contract)
        return contracts


def published(effects: list[Effect]) -> list[CallForProposals]:
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Publish) and isinstance(effect.message, CallForProposals)
    ]


def bid(task: str, run_s: float = 1.0) -> Bid:
    return Bid(task, (("queue", 0.0), ("run", run_s)), None)


def test_a_call_holds_what_fits_and_the_next_one_the_rest() -> None:
    desk = Desk()
    desk.add(*(Task(f"t{number}", "x", 1.0) for number in range(TASKS_PER_CALL_MAX + 3)))
    [first] = published(desk.calls.call_next(0.0))
    assert [task.id for task in first.tasks] == [f"t{number}" for number in range(TASKS_PER_CALL_MAX)]
    for node in desk.calls.peers:
        desk.calls.answer(first.auction, [bid(task.id) for task in first.tasks], [], node, 0.1)
    desk.calls.priced.clear()
    [second] = published(desk.calls.call_next(0.2))
    assert [task.id for task in second.tasks] == ["t256", "t257", "t258"]
    assert published(desk.calls.call_next(0.2)) == []


def test_the_fullest_of_tasks_are_called_in_calls_that_can_be_sent() -> None:
    desk = Desk()
    desk.add(*(Task(f"{number:064}", "k" * 128, 1.0, terms=FULLEST) for number in range(TASKS_PER_CALL_MAX)))
    calls = published(desk.calls.call_next(0.0))
    assert len(calls) > 1
    assert sum(len(call.tasks) for call in calls) == TASKS_PER_CALL_MAX
    for call in calls:
        assert len(msgspec.msgpack.encode(call)) <= CALL_BYTES_MAX < BULLETIN_BYTES_MAX / 2


def test_one_that_is_priced_is_priced_anew_as_far_as_fits() -> None:
    desk = Desk()
    contracts = desk.add(*(Task(f"t{number}", "x", 1.0, terms=FULLEST) for number in range(100)))
    for call in published(desk.calls.call_next(0.0)):
        for node in desk.calls.peers:
            desk.calls.answer(call.auction, [bid(task.id) for task in call.tasks], [], node, 0.1)
    assert desk.calls.priced == contracts
    assert desk.calls.price_anew(0.2) == []
    [again] = published(desk.calls.price_anew(0.2 + BID_LIFE_S))
    assert 1 <= len(again.tasks) < 100
    assert [task.id for task in again.tasks] == [f"t{number}" for number in range(len(again.tasks))]


def test_a_newcomer_is_asked_for_what_waits_priced_and_only_once() -> None:
    desk = Desk()
    [one, _] = desk.add(Task("t1", "x", 1.0), Task("t2", "x", 1.0))
    [call] = published(desk.calls.call_next(0.0))
    for node in desk.calls.peers:
        desk.calls.answer(call.auction, [bid("t1"), bid("t2")], [], node, 0.1)
    desk.calls.peers.append("d")
    _, asked = desk.calls.invite("d", 0.2)
    assert isinstance(asked, Send)
    assert isinstance(asked.message, CallForProposals)
    assert (asked.to, [task.id for task in asked.message.tasks]) == ("d", ["t1", "t2"])
    assert desk.calls.invite("d", 0.2) == []
    desk.calls.answer(asked.message.auction, [bid("t1")], [Decline("t2", Reason.BUSY, "are busy")], "d", 0.3)
    assert sorted(one.bids) == ["b", "c", "d"]
    assert desk.calls.invite("d", 0.4) == []


def test_a_call_closes_when_all_have_answered_or_at_reply_by_or_when_they_are_gone() -> None:
    desk = Desk()
    desk.add(Task("t1", "x", 1.0))
    [call] = published(desk.calls.call_next(0.0))
    lack = Decline("t1", Reason.NEED, "lack gpu")
    desk.calls.answer(call.auction, [], [lack], "b", 0.1)
    assert desk.unbid == []
    desk.calls.gone("c", 0.2)
    assert desk.unbid == ["t1"]
    desk.add(Task("t2", "x", 1.0))
    desk.calls.call_next(1.0)
    assert desk.calls.deadline == pytest.approx(1.25)
    desk.calls.wake(1.25)
    assert desk.unbid == ["t1", "t2"]


def test_what_comes_after_the_close_is_late() -> None:
    desk = Desk()
    desk.add(Task("t1", "x", 1.0))
    [call] = published(desk.calls.call_next(0.0))
    desk.calls.wake(call.reply_by_s)
    assert desk.calls.answer(call.auction, [bid("t1")], [], "b", 1.0) == [
        Send("b", Rejection(call.auction, ("t1",), Reason.LATE))
    ]


@pytest.mark.parametrize(
    ("bids", "declines"),
    [
        ([bid("t9")], []),
        ([Bid("t1", (("run", 1.0), ("queue", 0.0)), None)], []),
        ([Bid("t1", (("queue", 0.0), ("queue", 0.0)), None)], []),
        ([], [Decline("t9", Reason.BUSY, "")]),
    ],
)
def test_nonsense_is_the_senders_error(bids: list[Bid], declines: list[Decline]) -> None:
    desk = Desk()
    desk.add(Task("t1", "x", 1.0))
    [call] = published(desk.calls.call_next(0.0))
    with pytest.raises(PeerError):
        desk.calls.understood(call.auction, bids, declines, "b")


def test_whose_conversation_is_it() -> None:
    desk = Desk()
    desk.add(Task("t1", "x", 1.0))
    [call] = published(desk.calls.call_next(0.0))

    def complaint(auction: str, sender: str) -> str | None:
        answer = desk.calls.understood(auction, [bid("t1")], [], sender)
        return answer.detail if answer else None

    assert complaint(call.auction, "b") is None
    assert complaint("b.1.1", "b") == "this conversation is not mine"
    assert complaint("a.1.2", "b") == "this conversation is not mine"
    assert complaint(call.auction, "z") == "you were not asked"
    desk.calls.answer(call.auction, [bid("t1")], [], "b", 0.1)
    assert complaint(call.auction, "b") == "you have answered this call already"


def test_an_iterated_call_asks_the_better_half_for_less() -> None:
    desk = Desk("iterated")
    assert isinstance(RULES["iterated"], Rule)
    desk.calls.peers = ["b", "c", "d"]
    [contract] = desk.add(Task("t1", "x", 1.0))
    [call] = published(desk.calls.call_next(0.0))
    desk.calls.answer(call.auction, [bid("t1", 3.0)], [], "b", 0.1)
    desk.calls.answer(call.auction, [bid("t1", 2.0)], [], "c", 0.1)
    effects = desk.calls.answer(call.auction, [bid("t1", 1.0)], [], "d", 0.1)
    told = {effect.to: type(effect.message) for effect in effects if isinstance(effect, Send)}
    assert told == {"c": CallForProposals, "d": CallForProposals, "b": Rejection}
    desk.calls.answer(call.auction, [bid("t1", 0.5)], [], "c", 0.2)
    desk.calls.answer(call.auction, [bid("t1", 1.0)], [], "d", 0.2)
    assert contract.stage in (Stage.CALLED, Stage.PRICED)
    assert desk.calls.wake(1e9) is not None
    assert contract.stage is Stage.PRICED
    assert min(contract.bids, key=lambda node: contract.bids[node].own_s) == "c"


# -- few are asked


def test_few_are_asked_and_all_if_none_of_them_bids() -> None:
    desk = Desk(probes=Probes(1, "0"))
    desk.calls.peers = ["b", "c", "d"]
    [contract] = desk.add(Task("t", "x", 1.0))
    [first] = asked(desk.calls.call_next(0.0))
    assert not published(desk.calls.call_next(0.0))
    auction = first.message.auction  # type: ignore[attr-defined]
    effects = desk.calls.answer(auction, [], [Decline("t", Reason.NEED, "")], first.to, 0.1)
    [widely] = published(effects)
    assert widely.tasks == first.message.tasks  # type: ignore[attr-defined]
    assert not desk.unbid
    others = [node for node in desk.calls.peers if node != first.to]
    for node in desk.calls.peers:
        effects = desk.calls.answer(widely.auction, [bid("t")] if node in others else [], [], node, 0.2)
    assert desk.calls.priced == [contract]
    assert sorted(contract.bids) == others
    assert not effects, "nobody else is invited"


def test_nobody_is_invited_beside_those_who_were_chosen() -> None:
    desk = Desk(probes=Probes(2, "0"))
    desk.calls.peers = ["b", "c", "d"]
    [contract] = desk.add(Task("t", "x", 1.0))
    calls = asked(desk.calls.call_next(0.0))
    assert len(calls) == 2
    for call in calls:
        assert desk.calls.answer(call.message.auction, [bid("t")], [], call.to, 0.1) == []  # type: ignore[attr-defined]
    assert contract.stage is Stage.PRICED
    assert sorted(contract.bids) == [call.to for call in calls]


def asked(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send) and isinstance(effect.message, CallForProposals)]
