"""The simulated fleet: one seed, one run; and the links hold on its wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from transport_samples import SAMPLES, Carry, Echo, Heard, Listener, Say

from parley.protocols.core import (
    Connect,
    Disconnect,
    Effect,
    Event,
    Local,
    Message,
    NodeId,
    PeerError,
    ProtocolError,
    Publish,
    Run,
    Send,
    Stop,
    Task,
)
from parley.transport.codec import Codec
from parley.transport.faults import Faults
from parley.transport.link import LINK_ITEMS_MAX
from parley.transport.simulated import SimulatedFleet

BAD_WIRE = Faults(loss=0.1, duplication=0.1, delay_s=(0.001, 0.02))


class Noticed(Event, frozen=True, kw_only=True):
    name: ClassVar[str] = "noticed"
    number: int


class Gossip(Listener):
    """Publishes, answers and notices: every kind of traffic at once."""

    def __init__(self, node: NodeId) -> None:
        super().__init__()
        self._node = node
        self._next: float | None = 0.1
        self._said = 0

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        super().receive(message, sender, now)
        match message:
            case Say(number, "all"):
                return [Noticed(number=number), Send(sender, Say(number, "one"))]
        return ()

    def wake(self, now: float) -> Sequence[Effect]:
        self._said += 1
        self._next = now + 0.1 if self._said < 20 else None
        return [Publish(Say(self._said, "all"))]

    @property
    def deadline(self) -> float | None:
        return self._next


class Performs(Listener):
    """Wants whatever it is handed."""

    def __init__(self, effects: dict[int, list[Effect]]) -> None:
        super().__init__()
        self._effects = effects

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        super().receive(message, sender, now)
        return self._effects.pop(message.number, []) if isinstance(message, Say) else []


def fleet_of(seed: int, faults: Faults = Faults()) -> SimulatedFleet:  # noqa: B008 - frozen
    return SimulatedFleet(seed, faults, Codec(SAMPLES))


def gossip(seed: int) -> SimulatedFleet:
    fleet = fleet_of(seed, BAD_WIRE)
    for node in ("n1", "n2", "n3", "n4"):
        fleet.add(node, Gossip(node))
    fleet.mesh()
    fleet.run(until=5.0)
    return fleet


def test_the_same_seed_gives_the_same_run_byte_for_byte() -> None:
    first, again, other = gossip(1), gossip(1), gossip(2)
    assert (first.events, first.fingerprint, first.frames) == (again.events, again.fingerprint, again.frames)
    assert first.events != other.events
    assert first.fingerprint != other.fingerprint
    assert len(first.events) > 100


def test_a_hundred_thousand_messages_in_order_through_loss_and_duplication() -> None:
    fleet = fleet_of(3, BAD_WIRE)
    listener = Listener()
    a = fleet.add("a", Listener())
    fleet.add("b", listener)
    fleet.mesh()
    said = 0
    while len(listener.heard) < 100_000:
        for _ in range(min(a.room("b"), 100_000 - said, 50)):
            a.send("b", Say(said), fleet.now)
            said += 1
        fleet.tell("a", Say(0), "a")  # ends a turn: what is queued leaves
        fleet.run(until=fleet.now + 0.01)
        assert fleet.now < 1000.0
    assert [message for _, message in listener.heard] == [Say(number) for number in range(100_000)]
    assert a.counters.repeats > 0
    assert a.room("b") <= LINK_ITEMS_MAX


def test_echo_and_publication_reach_the_others_only() -> None:
    fleet = fleet_of(1)
    one = Performs({1: [Publish(Say(7)), Send("n2", Say(8))]})
    two, three = Echo(), Listener()
    for node, protocol in (("n1", one), ("n2", two), ("n3", three)):
        fleet.add(node, protocol)
    fleet.mesh()
    fleet.run(until=0.1)
    fleet.tell("n1", Say(1), "n1")
    fleet.run(until=0.2)
    assert sorted(two.heard, key=repr) == [("n1", Say(7)), ("n1", Say(8))]
    assert three.heard == [("n1", Say(7))]
    assert sorted(one.heard[1:], key=repr) == [("n2", Say(7)), ("n2", Say(8))]


def test_connect_tells_the_publisher_who_listens_and_disconnect_ends_it() -> None:
    fleet = SimulatedFleet(1, Faults(), Codec(SAMPLES), subscribed=lambda node: [Heard(node)])
    publisher = Performs({1: [Publish(Say(10))], 2: [Publish(Say(20))]})
    listener = Performs({1: [Connect("n1", 1, "", "")], 2: [Disconnect("n1")]})
    fleet.add("n1", publisher)
    fleet.add("n2", listener)
    fleet.tell("n2", Say(1), "n2")
    fleet.run(until=0.1)
    assert publisher.heard == [("n1", Heard("n2"))]
    fleet.tell("n1", Say(1), "n1")
    fleet.run(until=0.2)
    fleet.tell("n2", Say(2), "n2")
    fleet.tell("n1", Say(2), "n1")
    fleet.run(until=0.3)
    assert [message for sender, message in listener.heard if sender == "n1"] == [Say(10)]


class Ended(Local, frozen=True, array_like=True):
    task: str
    epoch: int


def run(task: str, epoch: int) -> Run:
    return Run(Task(task, "work"), epoch, b"")


def test_attempts_end_when_execute_says_unless_stopped() -> None:
    def execute(attempt: Run, now: float) -> tuple[float, Local] | None:
        return None if attempt.task.id == "endless" else (2.0, Ended(attempt.task.id, attempt.epoch))

    fleet = fleet_of(1)
    effects: list[Effect] = [run("a", 1), run("b", 1), run("endless", 1), Stop("b", 1), run("b", 2)]
    worker = Performs({1: effects})
    fleet.add("n1", worker, execute)
    fleet.tell("n1", Say(1), "client")
    fleet.run()
    assert fleet.now == 2.0
    assert worker.heard[1:] == [("n1", Ended("a", 1)), ("n1", Ended("b", 2))]


def test_the_killed_are_told_nothing_and_say_nothing() -> None:
    fleet = fleet_of(1)
    victim, peer = Gossip("n1"), Listener()
    fleet.add("n1", victim)
    fleet.add("n2", peer)
    fleet.mesh()
    fleet.run(until=0.55)
    heard = len(peer.heard)
    fleet.kill("n1")
    fleet.links("n2").send("n1", Say(1), fleet.now)
    fleet.tell("n2", Say(0), "n2")
    fleet.tell("n1", Say(0), "n1")
    fleet.run(until=5.0)
    assert (len(peer.heard), victim.heard, fleet.alive()) == (heard + 1, [], ["n2"])


def test_a_node_is_born_again_with_a_higher_incarnation_only() -> None:
    fleet = fleet_of(1)
    fleet.add("n1", Listener())
    fleet.add("n2", Echo())
    with pytest.raises(ProtocolError):
        fleet.add("n1", Listener(), incarnation=2)
    fleet.mesh()
    fleet.kill("n1")
    with pytest.raises(ProtocolError):
        fleet.add("n1", Listener(), incarnation=1)
    reborn = Performs({1: [Connect("n2", 1, "", ""), Send("n2", Say(5))]})
    fleet.add("n1", reborn, incarnation=2)
    fleet.tell("n1", Say(1), "n1")
    fleet.run(until=1.0)
    assert reborn.heard[1:] == [("n2", Say(5))]


def test_nonsense_is_kept_for_the_test_to_look_at() -> None:
    class Picky(Listener):
        def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
            raise PeerError("no")

    fleet = fleet_of(1)
    fleet.add("n1", Picky())
    fleet.tell("n1", Carry(b""), "n2")
    assert [(node, str(error)) for _, node, error in fleet.garbage] == [("n1", "no")]


def test_a_node_that_wakes_forever_is_a_bug() -> None:
    class Restless(Listener):
        @property
        def deadline(self) -> float | None:
            return 1.0

    fleet = fleet_of(1)
    fleet.add("n1", Restless())
    with pytest.raises(ProtocolError, match="again and again"):
        fleet.run(until=2.0)


def test_run_stops_where_it_is_told() -> None:
    fleet = gossip(1)
    fleet.run(until=7.0)
    assert fleet.now == 7.0
    fleet.tell("n1", Say(3, "all"), "n2")
    count = fleet.frames
    fleet.run(while_=lambda: fleet.frames < count + 1)
    assert fleet.frames == count + 1
    assert fleet.now < 7.1
