"""Each invariant by a trace made by hand: what is as it must be passes, one step that is not is named.

That they are seen in whole runs as well is `test_simulate.py`'s, by planted bugs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest

from parley.agents.agent import Agent
from parley.agents.resources import Resources
from parley.launch.invariants import Invariants, replayed
from parley.launch.violation import Violation
from parley.protocols.commitment_words import (
    Answer,
    AwardEntry,
    Choice,
    Held,
    KeptEntry,
    Pledge,
    RegisterEntry,
    Spec,
    SpecEntry,
    Vote,
)
from parley.protocols.contract_events import (
    AuctionAwarded,
    BidLine,
    BidSubmitted,
    DeclineLine,
    TaskCommitted,
    TaskEnded,
    TaskStarted,
)
from parley.protocols.core import Conditions, Outcome, Record, Run, State, Task
from parley.protocols.epochs import Epoch
from parley.protocols.performatives import Reason
from parley.protocols.requests import Result, Submit
from parley.protocols.swim_words import Contact, Hello, PeerState, Ping, Presence
from parley.transport.links import Cause

NODES = {"a": Resources(slots=2, amounts={"vram": 2.0}), "b": Resources()}
HOLDERS = ("a#1", "b#1", "c#1")
BIDS = (
    BidLine("a", 3.0, {"queue": 1.0, "run": 2.0}, 0, 1.0),
    BidLine("b", 4.5, {"queue": 0.0, "run": 4.0, "transfer": 0.5}, 1, 1.0),
)


def award(epoch: int = 1, winner: str = "a", **changed: Any) -> AuctionAwarded:
    record = AuctionAwarded(
        auction="x.1.1", task="t", epoch=epoch, winner="a", cost=3.0, runner_up="b", margin=1.5, rule="contract-net",
        seed=7, bids=BIDS, declines=(), silent=(),
    )  # fmt: skip
    if winner == "b":
        changed = {"bids": BIDS[1:], "cost": 4.5, "runner_up": None, "margin": None, **changed}
    return msgspec.structs.replace(record, winner=winner, **changed)


class Traced:
    """What happens to the task `t`, in words."""

    def __init__(self) -> None:
        self.agents = {
            node: Agent(Contact(node, 1, "sim://x", "sim://x!"), resources, 0.0) for node, resources in NODES.items()
        }
        self.seen = Invariants(NODES, self.agents)

    def bids(self, *nodes: str) -> Traced:
        for node in nodes:
            self.seen.noted(0.0, node, BidSubmitted(auction="x.1.1", task="t", peer="x", cost=1.0, terms={}))
        return self

    def awarded(self, epoch: int = 1, winner: str = "a", task: str = "t", behind: bool = True) -> Traced:
        """The record of the award, a promise behind it, and its answer on the winner's disk."""
        if task == "t":
            self.seen.noted(0.0, "x", award(epoch, winner))
        if behind:
            self.promised(epoch, task)
        return self.answers(epoch, winner, task=task)

    def promised(self, epoch: int = 1, task: str = "t") -> Traced:
        spec = SpecEntry(Spec(Task(task, "work"), b"", HOLDERS), 0)
        register = RegisterEntry(task, fence(epoch), fence(epoch))
        return self.durable("a", spec, register).durable("b", spec, register)

    def answers(
        self, epoch: int = 1, winner: str = "a", answer: Answer = Answer.ACCEPTED, task: str = "t", **more: Any
    ) -> Traced:
        entry = AwardEntry(task, fence(epoch), answer, HOLDERS, 0, **more)
        self.seen.recorded(0.0, winner, Record(AwardEntry, entry.key, entry))
        return self.durable(winner, entry)

    def durable(self, node: str, *entries: Any) -> Traced:
        records = [Record(type(entry), entry.key, entry) for entry in entries]
        self.seen.promises.durable(0.0, node, f"{node}#1", records)
        return self

    def starts(self, node: str = "a", epoch: int = 1, amounts: float = 0.0, task: str = "t") -> Traced:
        terms = Conditions(amounts=(("vram", amounts),)) if amounts else None
        self.seen.noted(0.0, node, TaskStarted(task=task, kind="work", epoch=epoch))
        self.seen.ran(0.0, node, Run(Task(task, "work", terms=terms), epoch, b""))
        return self

    def ends(self, node: str = "a", epoch: int = 1, reason: Reason | None = None) -> Traced:
        self.seen.ended(0.0, node, "t", epoch)
        self.seen.noted(0.0, node, TaskEnded(task="t", epoch=epoch, seconds=1.0, reason=reason, detail=""))
        if reason is None:
            return self.answers(epoch, node, Answer.RESULT, outcome=done(node, epoch))
        return self.answers(epoch, node, Answer.RELEASED)

    def accepts(self, *holders: str, epoch: int = 1, outcome: Outcome | None = None) -> Traced:
        """Holders vote for what this epoch has come to."""
        voted = (fence(epoch), Choice(outcome or done("a", epoch)))
        for holder in holders:
            self.durable(holder, RegisterEntry("t", fence(epoch), fence(epoch), voted))
        return self

    def reads(self, *registers: RegisterEntry, move: int = 0) -> Traced:
        """The holder on `a` is started anew and reads this."""
        entries = [SpecEntry(Spec(Task("t", "work"), b"", HOLDERS), move), *registers] if registers else []
        self.seen.promises.read(2.0, "a", "a#1", entries)
        return self

    def leaves(self, word: Held | Vote, of: str = "a", now: float = 1.0) -> Traced:
        self.seen.said(now, of, Pledge((word,), f"{of}#1", "x#1"))
        return self

    def commits(self, epoch: int = 1, peer: str | None = "a", state: State = State.DONE) -> Traced:
        committed = TaskCommitted(task="t", epoch=epoch, state=state, peer=peer, attempts=1, detail="")
        self.seen.noted(0.0, "x", committed)
        return self

    def tells(self, seq: int, index: int = 0, life: int = 1) -> Traced:
        """The client hears a message by a packet of this number, from this life of its agent."""
        self.seen.heard(0.0, "client", Ping(1), Cause("x", seq, index), life)
        return self

    def turned(self, node: str) -> Traced:
        self.seen.turned(0.0, node)
        return self

    def born(self, node: str, incarnation: int) -> Traced:
        self.seen.born(0.0, node, incarnation)
        return self


def fence(number: int) -> Epoch:
    return Epoch(number - 1, "x#1", 1)


def done(node: str, epoch: int = 1) -> Outcome:
    return Outcome("t", State.DONE, b"value", node=node, epoch=epoch, attempts=1)


def once() -> Traced:
    return Traced().bids("a", "b").awarded().starts()


def test_what_is_as_it_must_be_passes() -> None:
    seen = once().ends().accepts("a", "b").commits().tells(1).tells(2).seen
    assert (seen.outcome("t"), seen.executions, list(seen.stale())) == (State.DONE, 1, [])
    again = once().awarded(2, "b").starts("b", 2)
    assert list(again.seen.stale()) == [("a", "t", 1)], "the first still runs, and counts no more"
    seen = again.ends("b", 2).accepts("a", "b", epoch=2, outcome=done("b", 2)).commits(2, "b").seen
    assert (seen.outcomes(), seen.executions_of(["t"])) == ({"t": State.DONE}, 2)


def vram_for_two() -> Traced:
    traced = once().ends().awarded(task="u").awarded(task="v")
    return traced.starts(task="u", amounts=1.5).starts(task="v", amounts=1.0)


def held(epoch: int) -> Held:
    return Held("t", 0, fence(epoch))


def voted(epoch: int = 1) -> Vote:
    return Vote("t", 0, fence(epoch))


def decided() -> Traced:
    """In the first epoch; and a later one was promised before, by those who have not voted."""
    traced = once().ends()
    traced.seen.promises.promised["t", fence(2)] = {"b#1", "c#1"}
    return traced.accepts("a", "b")


def forgets() -> Traced:
    traced = once().ends().accepts("a", "b").durable("a", KeptEntry("t", 0, Choice(done("a"))))
    traced.seen.promises.durable(0.0, "a", "a#1", [Record(SpecEntry, "t", None), Record(RegisterEntry, "t", None)])
    return traced


BREAKS: dict[str, tuple[str, Callable[[], object]]] = {
    "an end that nobody has chosen": ("S1", lambda: once().ends().accepts("a").commits()),
    "another end than was chosen": ("S1", lambda: once().ends().accepts("a", "b").commits(state=State.FAILED)),
    "an end by another node": ("S1", lambda: once().ends().accepts("a", "b").commits(peer="b")),
    "an outcome of what was not done": ("S1", lambda: once().accepts("a", "b")),
    "two values in one epoch": ("S1", lambda: once().ends().accepts("a").accepts("b", outcome=done("b"))),
    "a promise that falls": ("S4", lambda: once().promised(3).leaves(held(3)).leaves(held(2), now=2.0)),
    "a promise that falls on the disk": ("S4", lambda: once().promised(3).promised(2)),
    "a promise that is on no disk": ("S4", lambda: once().leaves(held(2))),
    "a promise that a crash has lost": (
        "S4",
        lambda: once().promised(2).leaves(held(2)).reads(RegisterEntry("t", fence(1), fence(1))),
    ),
    "what was held is lost": ("S10", lambda: once().reads()),
    "a vote below a promise": ("S5", lambda: once().promised(3).leaves(held(3)).leaves(voted(1), now=2.0)),
    "a vote that is on no disk": ("S10", lambda: once().leaves(voted())),
    "decided, and nobody has voted": (
        "S10",
        lambda: once().durable("a", RegisterEntry("t", fence(1), fence(1), (fence(1), Choice(done("a"))), True)),
    ),
    "an award after the decision": ("S7", lambda: decided().answers(2, "b")),
    "an award without a majority": ("S8", lambda: Traced().bids("a").awarded(behind=False)),
    "two winners of an epoch": ("S9", lambda: once().awarded(1, "b")),
    "a promise of what was forgotten": ("S12", lambda: forgets().leaves(held(1))),
    "an award without a bid": ("A1", lambda: Traced().bids("b").awarded()),
    "a start elsewhere": ("S3", lambda: Traced().bids("a", "b").awarded().starts("b")),
    "a start without an award": ("S3", lambda: Traced().starts()),
    "two starts": ("S3", lambda: once().starts()),
    "a start after it was given back": (
        "S11",
        lambda: Traced().bids("a").awarded().ends(reason=Reason.BUSY).starts(),
    ),
    "more than there are slots": (
        "S6",
        lambda: Traced().bids("b").awarded(1, "b").starts("b").awarded(2, "b").starts("b", 2),
    ),
    "more than there is": ("S6", vram_for_two),
    "a run that its node does not know of": ("S13", lambda: once().turned("a")),
    "a message twice": ("T1", lambda: Traced().tells(1, 0).tells(1, 1).tells(1, 1)),
    "a message too late": ("T1", lambda: Traced().tells(2).tells(1)),
    "a life again": ("M3", lambda: Traced().born("a", 2).born("a", 2)),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_not_is_named(broken: str) -> None:
    invariant, trace = BREAKS[broken]
    with pytest.raises(Violation) as found:
        trace()
    assert found.value.invariant == invariant
    assert str(found.value) == f"{invariant}: {found.value.sentence}"


def test_a_register_that_has_moved_begins_anew_also_where_a_crash_has_left_its_move() -> None:
    """A move is prepared in an epoch of its own; where it goes on, its owner's counts."""
    earlier = RegisterEntry("t", fence(1), fence(1))
    for move in (0, 1):
        traced = Traced().durable("a", SpecEntry(Spec(Task("t", "work"), b"", HOLDERS), 0))
        traced.durable("a", RegisterEntry("t", fence(2), fence(1)))
        with pytest.raises(Violation, match="S4") if move == 0 else nullcontext():
            traced.reads(earlier, move=move)


def told(traced: Traced, outcome: Outcome, seq: int) -> None:
    traced.seen.heard(0.0, "client", Result(outcome), Cause("x", seq, 0), 1)


def test_a_client_is_told_an_outcome_as_often_as_it_asks() -> None:
    traced = once().ends().accepts("a", "b")
    for seq in (1, 2):
        traced.seen.heard(0.0, "x", Submit(Task("t", "work"), b""), Cause("client", seq, 0), 1)
        told(traced, done("a"), seq)
    with pytest.raises(Violation, match="S2"):
        told(traced, done("a"), 3)


@pytest.mark.parametrize("other", [done("b"), Outcome("t", State.FAILED)])
def test_a_client_is_told_what_was_chosen(other: Outcome) -> None:
    traced = once().ends().accepts("a", "b")
    traced.seen.heard(0.0, "x", Submit(Task("t", "work"), b""), Cause("client", 1, 0), 1)
    with pytest.raises(Violation, match="S2"):
        told(traced, other, 1)


def test_numbers_begin_anew_with_another_life() -> None:
    Traced().tells(9).tells(1, life=2).born("client", 2).tells(1, life=2)


def test_a_view_of_a_peer_does_not_go_back() -> None:
    traced = Traced()
    membership = traced.agents["a"].membership
    met = PeerState(peer="b", state=Presence.ALIVE, address="", reason="met")
    for incarnation in (1, 3):
        membership.receive(Hello(Contact("b", incarnation, "sim://x", "sim://x!")), "b", 0.0)
        traced.seen.noted(0.0, "a", met)
    membership._peers["b"].contact = Contact("b", 2, "sim://x", "sim://x!")
    with pytest.raises(Violation, match="M3: a sees b fall from incarnation 3 to 2"):
        traced.seen.noted(0.0, "a", met)


@pytest.mark.parametrize(
    "changed",
    [
        {"winner": "b"},
        {"cost": 3.1},
        {"runner_up": None},
        {"margin": 1.0},
        {"bids": ()},
        {"bids": (msgspec.structs.replace(BIDS[0], cost=2.9), BIDS[1])},
        {"bids": (msgspec.structs.replace(BIDS[0], terms={"queue": 1.0, "run": 9.0}), BIDS[1])},
        {"declines": (DeclineLine("a", Reason.BUSY, ""),)},
        {"rule": "longest-heaviest", "winner": "a"},
    ],
    ids=str,
)
def test_a_record_that_leads_elsewhere_is_none(changed: dict[str, Any]) -> None:
    assert replayed(award())
    assert replayed(award(winner="b"))
    assert not replayed(msgspec.structs.replace(award(), **changed))
