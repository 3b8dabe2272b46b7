"""A result and a move of the same register, both proposed by one node: neither is given up for the other."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

import pytest

from parley.protocols.commitment import MOVE_AFTER_S, Commitment
from parley.protocols.commitment_words import (
    Choice,
    Chosen,
    Commit,
    Decided,
    Fence,
    Gone,
    Hold,
    Moved,
    Overruled,
    Pledge,
    Spec,
    Talk,
    Vote,
    Word,
)
from parley.protocols.core import (
    Datagram,
    Effect,
    Local,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerUp,
    Send,
    State,
    Task,
)
from parley.protocols.epochs import Epoch
from parley.protocols.proposer import Proposer

HOLDERS, LATER = ("n1", "n2", "n3"), ("n4", "n2", "n3")
E1, E2, E3 = (Epoch(counter, "n2", 7) for counter in (1, 2, 3))
RESULT = Choice(Outcome("T", State.DONE, b"a", node="n3"))
MOVED = Choice(moved=Moved(LATER, E1))
LONG_S = 10.0


class Told:
    """What a proposer says, and who hears of what."""

    def __init__(self) -> None:
        self.said: list[tuple[NodeId, Word]] = []
        self.told: list[Local] = []
        self.moves: list[Moved] = []
        self.won: list[Outcome] = []
        self.late: list[Epoch] = []
        self.proposer = Proposer(
            "n3",
            lambda to, word: self.said.append((to, word)),
            self.told.append,
            lambda task, move, moved, now: self.moves.append(moved),
            lambda outcome, epoch: self.won.append(outcome),
            lambda task, epoch: self.late.append(epoch),
        )

    def hear(self, word: Word, *senders: NodeId) -> None:
        for sender in senders:
            self.proposer.ears[type(word)](word, sender, 0.1)

    def says(self) -> list[tuple[NodeId, Word]]:
        said, self.said[:] = list(self.said), []
        return said


def move_first(told: Told) -> None:
    told.proposer.propose("T", 0, HOLDERS, E2, MOVED, 0.0)
    told.proposer.propose("T", 0, HOLDERS, E1, RESULT, 0.0)


def result_first(told: Told) -> None:
    told.proposer.propose("T", 0, HOLDERS, E1, RESULT, 0.0)
    told.proposer.propose("T", 0, HOLDERS, E2, MOVED, 0.0)


ORDERS = pytest.mark.parametrize("both", [move_first, result_first])


@ORDERS
def test_a_result_goes_where_its_register_is_moved_by_the_same_node(both: Callable[[Told], None]) -> None:
    told = Told()
    both(told)
    assert told.says()[-3:] == [(holder, Commit("T", 0, E2, MOVED)) for holder in HOLDERS]
    told.hear(Vote("T", 0, E2), "n2", "n3")
    assert told.moves == [MOVED.moved]
    assert told.says() == [(holder, Commit("T", 1, E1, RESULT)) for holder in LATER]
    told.hear(Vote("T", 1, E1), "n2", "n3")
    assert told.won == [RESULT.outcome]


@ORDERS
def test_a_result_stays_where_it_is_when_the_move_is_overruled(both: Callable[[Told], None]) -> None:
    told = Told()
    both(told)
    told.says()
    told.hear(Fence("T", 0, E2, E3), "n1", "n2")
    assert told.told == [Overruled("T", E2)]
    assert told.says() == [(holder, Commit("T", 0, E1, RESULT)) for holder in HOLDERS]


@ORDERS
def test_a_result_goes_where_another_has_moved_its_register(both: Callable[[Told], None]) -> None:
    told = Told()
    both(told)
    told.says()
    there = ("n5", "n2", "n3")
    told.hear(Decided("T", 0, Choice(moved=Moved(there, E1))), "n2")
    assert told.told == [Overruled("T", E2)]
    assert told.says() == [(holder, Commit("T", 1, E1, RESULT)) for holder in there]


@ORDERS
def test_a_result_that_was_decided_meanwhile_has_won(both: Callable[[Told], None]) -> None:
    told = Told()
    both(told)
    told.hear(Decided("T", 0, RESULT), "n2")
    assert (told.won, told.late) == ([RESULT.outcome], [E2])


@ORDERS
def test_another_end_that_was_decided_meanwhile_makes_it_late(both: Callable[[Told], None]) -> None:
    told = Told()
    both(told)
    told.hear(Decided("T", 0, Choice(Outcome("T", State.CANCELLED))), "n2")
    assert (told.won, told.late) == ([], [E2, E1])


@ORDERS
def test_where_everything_is_forgotten_nothing_waits(both: Callable[[Told], None]) -> None:
    told = Told()
    both(told)
    told.says()
    told.hear(Gone("T"), "n2")
    assert told.told == [Chosen("T", None)]
    told.proposer.propose("T", 0, HOLDERS, E3, MOVED, 0.0)
    told.hear(Fence("T", 0, E3, E3), "n1", "n2")
    assert {word for _, word in told.says()} == {Commit("T", 0, E3, MOVED)}


def test_a_result_is_not_kept_back_by_a_move_that_is_being_taught() -> None:
    told = Told()
    told.proposer.teach("T", 0, HOLDERS, MOVED, E2, 0.0)
    told.says()
    told.proposer.propose("T", 0, HOLDERS, E1, RESULT, 0.0)
    assert told.says() == [(holder, Commit("T", 1, E1, RESULT)) for holder in LATER]


class Rest:
    """What is left of a fleet when n1 has died at 0.1 s: n2 and n3, which hold the task, and n4. Words arrive in the
    order in which they were said, at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[float, NodeId, Local]] = []
        self.proposes: list[Choice] = []
        self.on_proposal: Callable[[NodeId, Choice], None] = lambda node, choice: None
        self._way: deque[tuple[NodeId, Message, NodeId]] = deque()
        self.nodes = {name: Commitment(name, 7, random.Random(name), 0.0) for name in ("n2", "n3", "n4")}
        for name in self.nodes:
            for peer in ("n1", *self.nodes):
                self.perform(name, self.nodes[name].receive(PeerUp(peer), name, 0.0))

    def perform(self, name: NodeId, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, (Send, Datagram)):
                continue
            message = effect.message
            if isinstance(message, Local):
                self.told.append((self.now, name, message))
            elif effect.to in self.nodes:
                self._way.append((effect.to, message, name))
                for word in message.words if isinstance(message, Pledge) else ():
                    if isinstance(word, Commit) and word.choice not in self.proposes:
                        self.proposes.append(word.choice)
                        self.on_proposal(name, word.choice)

    def until(self, until: float) -> None:
        while True:
            while self._way:
                to, message, sender = self._way.popleft()
                self.perform(to, self.nodes[to].receive(message, sender, self.now))
                self._wake()
            self.now = min(node.deadline or until for node in self.nodes.values())
            if self.now >= until:
                return
            self._wake()

    def _wake(self) -> None:
        for name, node in self.nodes.items():
            while (deadline := node.deadline) is not None and deadline <= self.now:
                self.perform(name, node.wake(self.now))


def test_work_that_ends_while_its_own_node_moves_the_register_is_decided_at_once() -> None:
    """As it was seen of real agents: owner, winner and mover are one, and nobody knew for ten seconds."""
    rest = Rest()
    owner, spec, entry = rest.nodes["n2"], Spec(Task("T", "k"), b"", HOLDERS), Epoch(0, "n1", 7)
    for name in ("n2", "n3"):
        rest.perform(name, rest.nodes[name].receive(Talk((Hold(spec, entry),), "n1", name), "n1", 0.0))
    rest.now = 0.1
    for name, node in rest.nodes.items():
        rest.perform(name, node.receive(PeerDown("n1"), name, 0.1))
    rest.perform("n2", owner.see_to(spec, 0, entry, 0.1))
    rest.until(0.2)
    warrant = owner.award("T", 1)
    rest.perform("n2", owner.accept("T", warrant, 0.2))
    outcome = Outcome("T", State.DONE, b"a", node="n2")

    def ends(node: NodeId, choice: Choice) -> None:
        if choice.moved is not None:
            assert node == "n2"
            rest.perform("n2", owner.done(warrant.epoch, outcome, rest.now))

    rest.on_proposal = ends
    rest.until(LONG_S)
    moved, result = rest.proposes
    assert moved.moved is not None
    assert set(moved.moved.holders) == set(LATER)
    assert result.outcome == outcome
    told = [(at, name) for at, name, message in rest.told if message == Chosen("T", outcome)]
    assert {name for _, name in told} == {"n2", "n3", "n4"}
    assert max(at for at, _ in told) < 0.1 + MOVE_AFTER_S + 0.1
