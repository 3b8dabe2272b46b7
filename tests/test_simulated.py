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
from parley.transport.disk import DiskError
from parley.transport.faults import Crash, Cut, Faults, Left, Pause, Trouble, Way
from parley.transport.link import LINK_ITEMS_MAX
from parley.transport.links import Cause
from parley.transport.simulated import SimulatedFleet, Witness

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
            a.send("b", Say(said))
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
    fleet.links("n2").send("n1", Say(1))
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


# --- faults ----------------------------------------------------------------------------------------------------------


class Ticks(Listener):
    """Says the time of its own clock to a peer, ten times a second; keeps what it heard, and when."""

    def __init__(self, to: NodeId) -> None:
        super().__init__()
        self._to = to
        self._next = 0.1
        self.woken: list[float] = []
        self.numbers: list[int] = []

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if isinstance(message, Say):
            self.numbers.append(message.number)
        return super().receive(message, sender, now)

    def wake(self, now: float) -> Sequence[Effect]:
        self.woken.append(now)
        self._next = now + 0.1
        return [Send(self._to, Say(round(now * 10)))]

    @property
    def deadline(self) -> float | None:
        return self._next


def pair(faults: Faults, until: float) -> tuple[SimulatedFleet, Ticks, Ticks]:
    fleet, one, two = fleet_of(1, faults), Ticks("n2"), Ticks("n1")
    fleet.add("n1", one)
    fleet.add("n2", two)
    fleet.mesh()
    fleet.run(until=until)
    return fleet, one, two


def test_what_a_cut_has_stopped_comes_in_order_when_it_has_healed() -> None:
    cut = Cut(1.0, 3.0, frozenset({"n1"}))
    _, one, two = pair(Faults(cuts=(cut,)), 2.9)
    assert max(one.numbers) == max(two.numbers) <= 10
    _, one, two = pair(Faults(cuts=(cut,)), 6.0)
    assert one.numbers == two.numbers == list(range(1, 60))


def test_the_deaf_are_heard_and_hear_nothing() -> None:
    _, deaf, other = pair(Faults(cuts=(Cut(1.0, 3.0, frozenset({"n1"}), Way.IN),)), 2.95)
    assert max(deaf.numbers) == 10
    assert other.numbers == list(range(1, 30))


def test_who_pauses_hears_all_of_it_later_and_wakes_once() -> None:
    _, paused, other = pair(Faults(pauses=(Pause("n1", 1.05, 3.0),)), 4.95)
    assert paused.numbers == list(range(1, 50))
    assert [round(now, 2) for now in paused.woken[9:12]] == [1.0, 3.0, 3.1]
    assert other.numbers[:12] == [*range(1, 11), 30, 31]


def test_a_clock_that_drifts_ticks_at_its_own_rate() -> None:
    _, fast, true = pair(Faults(drift={"n1": 1.5}), 2.05)
    assert (len(fast.woken), len(true.woken)) == (30, 20)
    assert fast.woken == sorted(fast.woken)
    assert fast.woken[-1] == pytest.approx(3.0)


def test_late_frames_are_overtaken_and_rough_weather_ends() -> None:
    rough = Faults(loss=0.5, duplication=0.5, late=0.5, until=2.0)
    fleet, one, two = pair(rough, 6.0)
    assert one.numbers == two.numbers == list(range(1, 60))
    repeats = fleet.links("n1").counters.repeats
    assert repeats > 0
    fleet.run(until=12.0)
    assert fleet.links("n1").counters.repeats == repeats


def test_a_node_dies_is_noticed_and_comes_back_with_what_its_disk_has() -> None:
    def reborn(node: NodeId) -> None:
        found.append(fleet.disks[node].records())
        fleet.add(node, Ticks("n2"), incarnation=2)
        fleet.mesh()

    found: list[list[bytes]] = []
    watcher = Listener()
    crash = Crash("n1", 1.0, 2.0, noticed=True, left=Left.SYNCED)
    fleet = SimulatedFleet(
        1, Faults(crashes=(crash,)), Codec(SAMPLES), disconnected=lambda node: [Heard(node)], reborn=reborn
    )
    fleet.add("n1", Ticks("n2"))
    fleet.add("n2", watcher)
    fleet.mesh()
    fleet.disks["n1"].append(b"synced")
    fleet.disks["n1"].sync()
    fleet.disks["n1"].append(b"lost")
    fleet.run(until=1.5)
    assert fleet.alive() == ["n2"]
    assert [message for _, message in watcher.heard if isinstance(message, Heard)] == [Heard("n1")]
    fleet.run(until=2.25)
    assert fleet.alive() == ["n1", "n2"]
    assert found == [[b"synced"]]


def test_disks_have_trouble_for_a_while() -> None:
    fleet = fleet_of(1, Faults(troubles=(Trouble("n1", 1.0, 2.0, True), Trouble("n1", 1.5, 3.0, False))))
    fleet.run(until=1.7)
    with pytest.raises(DiskError, match="no space"):
        fleet.disks["n1"].append(b"x")
    with pytest.raises(DiskError, match="could not sync"):
        fleet.disks["n1"].sync()
    fleet.run(until=4.0)
    fleet.disks["n1"].append(b"x")
    fleet.disks["n1"].sync()


def test_a_witness_sees_all_of_it_in_order() -> None:
    class Told(Witness):
        def __init__(self) -> None:
            self.told: list[str] = []

        def born(self, now: float, node: NodeId, incarnation: int) -> None:
            self.told.append(f"born {node}")

        def died(self, now: float, node: NodeId) -> None:
            self.told.append(f"died {node}")

        def heard(self, now: float, node: NodeId, message: Message, cause: Cause, life: int | None) -> None:
            self.told.append(f"heard {cause} of life {life}")

        def noted(self, now: float, node: NodeId, event: Event) -> None:
            self.told.append(event.name)

        def ran(self, now: float, node: NodeId, run: Run) -> None:
            self.told.append(f"ran {run.task.id}")

        def ended(self, now: float, node: NodeId, task: str, epoch: int) -> None:
            self.told.append(f"ended {task}")

        def turned(self, now: float, node: NodeId) -> None:
            self.told.append(f"turned {node}")

    witness = Told()
    lines: list[str] = []
    fleet = SimulatedFleet(1, Faults(), Codec(SAMPLES), witness=witness, trace=lines.append)
    fleet.add("n1", Performs({1: [Noticed(number=1), run("a", 1), run("b", 1), Stop("b", 1), Send("n2", Say(2))]}),
              lambda attempt, now: (1.0, Ended(attempt.task.id, attempt.epoch)))  # fmt: skip
    fleet.add("n2", Listener())
    fleet.mesh()
    fleet.run(until=0.1)
    del witness.told[:]
    fleet.tell("n1", Say(1), "n1")
    fleet.run(until=2.0)
    fleet.kill("n1")
    assert witness.told == [
        "noticed", "ran a", "ran b", "ended b", "turned n1", "heard n1:1.0 of life 1", "turned n2", "ended a",
        "turned n1", "died n1",
    ]  # fmt: skip
    assert [line.split(" ", 1)[1] for line in lines][-1] == "n1 dies"
    assert any(line.endswith("n2 <- n1 Say(number=2, text='')") for line in lines)
