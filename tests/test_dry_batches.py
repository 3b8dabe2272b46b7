"""A dry division: told once, as good as in earnest, binding nobody; and in a few words to whoever cannot have one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from batch_fleet import CALLS, GOSSIP, PRICES, BatchFleet, Matrix, unrelated
from simulated_agents import START_S

from parley.protocols.batch_words import BATCH_TASKS_MAX, BatchColumn, BatchDivided, CloseBatch, OpenBatch, PriceRound
from parley.protocols.batches import MEMBERS_MAX, WAIT_S, Policy, divisible
from parley.protocols.contract_events import AuctionAwarded
from parley.protocols.core import Conditions, Effect, Message, NodeId, PeerDown, PeerUp, ProtocolError, Send, Task
from parley.protocols.dry_batches import DIVISIONS_MAX, DryBatches
from parley.protocols.requests import AskDivision, DivisionTold, NotFound
from parley.protocols.swim_words import Ping


class Asker:
    """A client with one question, asked in two pieces."""

    def __init__(self, entry: NodeId, tasks: Sequence[Task]) -> None:
        self._entry = entry
        self._tasks = tuple(tasks)
        self.deadline: float | None = START_S
        self.told: list[Message] = []

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if isinstance(message, DivisionTold | NotFound):
            self.told.append(message)
        return ()

    def wake(self, now: float) -> Sequence[Effect]:
        self.deadline = None
        pieces = (AskDivision(7, self._tasks[:3], more=True), AskDivision(7, self._tasks[3:], more=False))
        return [Send(self._entry, piece) for piece in pieces]


def asked(fleet: BatchFleet, names: Sequence[str]) -> list[Message]:
    asker = Asker("n1", [Task(name, "work", 1.0) for name in names])
    fleet.wire.add("asker", asker)
    fleet.wire.mesh(["asker", "n1"])
    fleet.wire.run(until=START_S + 40.0, while_=lambda: not asker.told)
    fleet.wire.run(until=fleet.wire.now + 1.0)
    return asker.told


@pytest.mark.parametrize("policy", [PRICES, GOSSIP, CALLS], ids=["rounds", "gossip", "calls"])
def test_it_is_told_how_they_would_be_divided_and_nothing_is_awarded(policy: Policy) -> None:
    matrix = unrelated(4, 40, 3)
    names = list(matrix["n1"])
    fleet = BatchFleet(matrix, {}, policy)
    [told] = asked(fleet, names)
    assert isinstance(told, DivisionTold)
    assert told.nodes == ("n1", "n2", "n3", "n4")
    owners = [told.nodes[owner] for owner in told.owners if owner is not None]
    assert [matrix[owner][name] for owner, name in zip(owners, names, strict=True)] == list(told.seconds)
    loads = [sum(s for s, one in zip(told.seconds, owners, strict=True) if one == node) for node in told.nodes]
    assert told.value == pytest.approx(max(loads))
    assert 0.9 * told.value < told.bound <= told.value
    for kind in (AuctionAwarded, BatchColumn, PriceRound, BatchDivided):
        assert not fleet.events(kind)
    for agent in fleet.agents.values():
        assert not agent.participant._open, "what was said binds nobody"


def test_what_nobody_takes_has_no_owner() -> None:
    matrix: dict[str, dict[str, float | None]] = {node: dict(costs) for node, costs in unrelated(3, 8, 4).items()}
    for costs in matrix.values():
        costs["t5"] = None
    [told] = asked(BatchFleet(matrix, {}, PRICES), list(matrix["n1"]))
    assert isinstance(told, DivisionTold)
    assert [place for place, owner in enumerate(told.owners) if owner is None] == [5]


def test_one_node_divides_as_well() -> None:
    matrix: Matrix = {"n1": {f"t{task}": 1.0 + task for task in range(5)}}
    [told] = asked(BatchFleet(matrix, {}, PRICES), list(matrix["n1"]))
    assert isinstance(told, DivisionTold)
    assert (set(told.owners), told.value) == ({0}, 15.0)


# --- the desk by itself ----------------------------------------------------------------------------------------------

TASK = Task("t", "x")


def desk(peers: int = 2) -> DryBatches:
    one = DryBatches("n1", 1, 0, PRICES)
    for number in range(1, peers + 1):
        one.receive(PeerUp(f"n{number}"), "n1", 0.0)
    return one


def test_members_are_those_who_live_and_are_let_go_if_they_do_not_agree() -> None:
    one = desk(3)
    one.receive(PeerDown("n3"), "n1", 0.0)
    opened = one.receive(AskDivision(1, (TASK,), more=False), "client", 0.0)
    assert [effect.to for effect in opened if isinstance(effect, Send)] == ["n1", "n2"]
    word = opened[0].message  # type: ignore[attr-defined]
    assert isinstance(word, OpenBatch)
    assert word.dry
    assert one.deadline == WAIT_S
    told = one.wake(WAIT_S)
    assert [effect.message for effect in told if isinstance(effect, Send)][:2] == [CloseBatch(word.session)] * 2
    assert any(isinstance(effect, Send) and isinstance(effect.message, NotFound) for effect in told)
    assert one.deadline is None


@pytest.mark.parametrize(
    ("peers", "pieces", "words"),
    [(MEMBERS_MAX + 1, 1, "64 nodes at most"), (2, 1 + BATCH_TASKS_MAX // 256, "4,096 tasks at most")],
)
def test_what_is_too_much_is_said(peers: int, pieces: int, words: str) -> None:
    one = desk(peers)
    told: list[Effect] = []
    for _ in range(pieces):
        told += one.receive(AskDivision(1, (TASK,) * 256, more=True), "client", 0.0)
    [answer] = [effect.message for effect in told if isinstance(effect, Send)]
    assert isinstance(answer, NotFound)
    assert words in answer.error
    assert one.deadline is None


def test_questions_are_bounded() -> None:
    one = desk()
    for number in range(DIVISIONS_MAX):
        one.receive(AskDivision(number, (TASK,), more=True), "client", 0.0)
    [refused] = one.receive(AskDivision(DIVISIONS_MAX, (TASK,), more=True), "client", 0.0)
    assert isinstance(refused, Send)
    assert isinstance(refused.message, NotFound)
    with pytest.raises(ProtocolError):
        one.receive(Ping(0), "n2", 0.0)


def test_what_may_be_divided() -> None:
    assert divisible(TASK)
    assert divisible(Task("t", "x", terms=Conditions(needs=("gpu",), priority=3, reward=2.0)))
    assert not divisible(Task("t/1", "x"))
    assert not divisible(Task("t", "x", terms=Conditions(deadline_s=3.0)))
    assert not divisible(Task("t", "x", terms=Conditions(amounts=(("vram", 1.0),))))
