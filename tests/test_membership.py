"""Membership: several of them on a tiny bus, then one alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from parley.protocols import membership as module
from parley.protocols.core import Connect, Disconnect, Effect, Message, PeerDown, PeerUp, ProtocolError, Publish, Send
from parley.protocols.membership import (
    DEAD_S,
    FORGET_LEFT_S,
    FORGET_S,
    HINT_S,
    SUSPECT_S,
    WATCH_EVERY_S,
    Alive,
    Contact,
    Disconnected,
    Hello,
    Leave,
    Members,
    Membership,
    PeerState,
    Ping,
    Pong,
    Presence,
    Subscribed,
)
from parley.protocols.performatives import Cancel


def contact(node: str, incarnation: int = 1) -> Contact:
    return Contact(node, incarnation, f"tcp://{node}:1", f"tcp://{node}:2")


class Bus:
    """Delivers at once; time moves in steps of 50 ms. A connection makes a listener, as XPUB tells it."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.nodes: dict[str, Membership] = {}
        self.up: dict[str, set[str]] = {}
        self.connected: set[tuple[str, str]] = set()
        self.cut: set[tuple[str, str]] = set()
        self.frozen: set[str] = set()
        self.states: list[tuple[float, str, str, Presence]] = []
        self._queue: list[tuple[str, Message, str]] = []

    def add(self, name: str, incarnation: int = 1, join: str | None = None) -> Membership:
        node = self.nodes[name] = Membership(contact(name, incarnation), self.now)
        self.up[name] = set()
        self.connected = {pair for pair in self.connected if name not in pair}
        if join:
            self.perform(name, node.join(join))
        return node

    def kill(self, name: str, *, noticed: bool = True) -> None:
        del self.nodes[name]
        for other in self.nodes:
            if noticed:
                self._queue.append((other, Disconnected(name), other))

    def perform(self, name: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, PeerUp(node)) if to == name:
                    assert node not in self.up[name]
                    self.up[name].add(node)
                case Send(to, PeerDown(node)) if to == name:
                    self.up[name].remove(node)
                case Send(to, message):
                    self._queue.append((to, message, name))
                case Publish(message):
                    listeners = sorted(listener for listener, speaker in self.connected if speaker == name)
                    self._queue += [(listener, message, name) for listener in listeners]
                case Connect(node):
                    if (name, node) not in self.connected:
                        self.connected.add((name, node))
                        self._queue.append((node, Subscribed(name), node))
                case Disconnect(node):
                    self.connected.discard((name, node))
                case PeerState():
                    self.states.append((self.now, name, effect.peer, effect.state))

    def settle(self) -> None:
        while self._queue:
            to, message, sender = self._queue.pop(self.random.randrange(len(self._queue)))
            node = self.nodes.get(to)
            if node is None or to in self.frozen or (sender, to) in self.cut:
                continue
            effects = [*node.heard(sender, self.now), *node.receive(message, sender, self.now)]
            self.perform(to, effects)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.settle()
            self.now += 0.05
            for name in sorted(self.nodes.keys() - self.frozen):
                deadline = self.nodes[name].deadline
                if deadline is not None and deadline <= self.now:
                    self.perform(name, self.nodes[name].wake(self.now))
        self.settle()

    def living(self, name: str) -> list[str]:
        return [
            member.node for member, state in self.nodes[name].members if state in (Presence.ALIVE, Presence.SUSPECT)
        ]


def fleet(size: int = 5, seed: int = 0) -> Bus:
    """Each joins through another one that is there already."""
    bus = Bus(seed)
    bus.add("n0")
    for number in range(1, size):
        bus.add(f"n{number}", join=f"n{bus.random.randrange(number)}")
    bus.run(3.0)
    return bus


@pytest.mark.parametrize("seed", range(8))
def test_whoever_is_asked_all_views_become_equal(seed: int) -> None:
    bus = fleet(6, seed)
    everybody = sorted(bus.nodes)
    for name, node in bus.nodes.items():
        assert bus.living(name) == everybody
        assert bus.up[name] == set(everybody) - {name}
        assert all(node.ready(other) for other in everybody)


def test_two_fleets_become_one_when_one_of_each_meets() -> None:
    bus = Bus()
    for first, second in (("a", "b"), ("c", "d")):
        bus.add(first)
        bus.add(second, join=first)
    bus.run(1.0)
    bus.perform("b", bus.nodes["b"].join("d"))
    bus.run(4.0)
    assert all(bus.living(name) == ["a", "b", "c", "d"] for name in bus.nodes)


def test_a_kill_that_is_noticed_is_known_within_a_second() -> None:
    bus = fleet()
    bus.kill("n2")
    bus.run(HINT_S + 2 * WATCH_EVERY_S)
    assert all("n2" not in bus.living(name) and "n2" not in bus.up[name] for name in bus.nodes)


def test_a_silent_death_is_known_within_seconds() -> None:
    bus = fleet()
    bus.kill("n2", noticed=False)
    bus.run(DEAD_S + 2 * WATCH_EVERY_S)
    assert all("n2" not in bus.up[name] for name in bus.nodes)
    assert all(state is not Presence.DEAD for at, _, _, state in bus.states if at < DEAD_S)


def test_a_dropped_connection_is_a_hint_and_no_verdict() -> None:
    bus = fleet()
    for name in ("n0", "n1", "n3"):
        bus.perform(name, bus.nodes[name].receive(Disconnected("n2"), name, bus.now))
    bus.run(3.0)
    assert all("n2" in bus.up[name] for name in ("n0", "n1", "n3"))
    assert Presence.DEAD not in {state for _, _, _, state in bus.states}


def test_one_given_up_is_up_again_when_it_is_heard() -> None:
    bus = fleet(3)
    bus.cut = set(itertools.permutations(bus.nodes, 2))
    bus.run(DEAD_S + 1.0)
    assert all(not up for up in bus.up.values())
    bus.cut = set()
    bus.run(2.0)
    assert all(len(up) == 2 for up in bus.up.values())


def test_leave_is_believed_at_once_and_no_stray_message_undoes_it() -> None:
    bus = fleet(3)
    bus.perform("n1", bus.nodes["n1"].leave())
    bus.settle()
    assert bus.living("n0") == ["n0", "n2"]
    assert bus.up["n0"] == {"n2"}
    bus.run(1.0)  # n1 still speaks
    assert bus.up["n0"] == {"n2"}
    assert {member.node: state for member, state in bus.nodes["n0"].members}["n1"] is Presence.LEFT
    del bus.nodes["n1"]
    bus.add("n1", 2, join="n2")
    bus.run(3.0)
    assert all(bus.living(name) == ["n0", "n1", "n2"] for name in bus.nodes)
    assert bus.up["n0"] == {"n1", "n2"}


@pytest.mark.parametrize("seed", range(8))
def test_a_restart_is_another_life(seed: int) -> None:
    bus = fleet(4, seed)
    del bus.nodes["n1"]
    bus.states.clear()
    bus.add("n1", 2, join="n3")
    bus.run(4.0)
    for name in bus.nodes:
        assert bus.up[name] == set(bus.nodes) - {name}
    assert Presence.DEAD in {state for _, name, peer, state in bus.states if (name, peer) == ("n0", "n1")}
    incarnations = {member.node: member.incarnation for member, _ in bus.nodes["n0"].members}
    assert incarnations == {"n0": 1, "n1": 2, "n2": 1, "n3": 1}


def test_a_message_of_a_former_life_changes_nothing() -> None:
    bus = fleet(2)
    bus.perform("n0", bus.nodes["n0"].receive(Members((contact("n1", 0),)), "n1", bus.now))
    assert {member.node: member.incarnation for member, _ in bus.nodes["n0"].members}["n1"] == 1


def test_after_a_pause_of_our_own_nobody_is_given_up() -> None:
    bus = fleet(4)
    bus.frozen = {"n0"}
    bus.run(30.0)
    assert all("n0" not in bus.up[name] for name in ("n1", "n2", "n3"))
    bus.frozen = set()
    bus.run(3.0)
    assert all(len(up) == 3 for up in bus.up.values())
    assert Presence.DEAD not in {state for _, name, _, state in bus.states if name == "n0"}


def test_after_a_pause_an_old_hint_is_no_verdict() -> None:
    one = Membership(contact("a"), 0.0)
    one.receive(Members((contact("b"),)), "b", 0.0)
    one.wake(0.3)
    one.receive(Disconnected("b"), "a", 0.35)
    assert not [effect for effect in one.wake(60.0) if isinstance(effect, PeerState)]
    (event,) = [effect for effect in one.wake(61.0) if isinstance(effect, PeerState)]
    assert event.state is Presence.DEAD


def test_a_sleeper_that_was_forgotten_is_found_again() -> None:
    bus = fleet(3)
    bus.frozen = {"n2"}
    bus.run(3.0)
    for name in ("n0", "n1"):
        for peer in bus.nodes[name]._peers.values():
            peer.heard -= FORGET_S if peer.contact.node == "n2" else 0.0
    bus.run(1.0)
    assert [member.node for member, _ in bus.nodes["n0"].members] == ["n0", "n1"]
    bus.frozen = set()
    bus.run(5.0)
    assert all(len(up) == 2 for up in bus.up.values())


# --- one alone


def test_a_newcomer_is_answered_with_all_who_live() -> None:
    one = Membership(contact("a"), 0.0)
    effects = one.receive(Hello(contact("b")), "b", 0.0)
    assert [effect for effect in effects if not isinstance(effect, PeerState)] == [
        Connect("b", 1, "tcp://b:1", "tcp://b:2"),
        Send("b", Hello(contact("a"))),
        Send("b", Members((contact("a"), contact("b")))),
    ]
    assert not one.ready("b")
    assert one.receive(Subscribed("b"), "a", 0.0) == [Send("a", PeerUp("b"))]
    assert one.ready("b")
    assert one.ready("a")


def test_one_who_listens_before_it_is_known_is_up_when_it_is_met() -> None:
    one = Membership(contact("a"), 0.0)
    assert one.receive(Subscribed("b"), "a", 0.0) == []
    assert Send("a", PeerUp("b")) in one.receive(Hello(contact("b")), "b", 0.0)


def test_nobody_introduces_another_nor_us() -> None:
    one = Membership(contact("a"), 0.0)
    assert one.receive(Hello(contact("c")), "b", 0.0) == []
    assert one.receive(Hello(contact("a", 9)), "a", 0.0) == []
    assert one.receive(Members((contact("a", 9),)), "b", 0.0) == []


def test_another_view_is_asked_for_once_a_second() -> None:
    one = Membership(contact("a"), 0.0)
    one.receive(Members((contact("b"),)), "b", 0.0)
    assert one.receive(Alive(1), "stranger", 5.0) == []
    assert one.receive(Alive(1), "b", 5.0) == [Send("b", Hello(contact("a")))]
    assert one.receive(Alive(1), "b", 5.5) == []


def test_ping_is_answered_and_the_silent_are_pinged() -> None:
    one = Membership(contact("a"), 0.0)
    assert one.receive(Ping(), "b", 0.0) == [Send("b", Pong())]
    assert one.receive(Pong(), "b", 0.0) == ()
    one.receive(Members((contact("b"),)), "b", 0.0)
    sent: list[Effect] = []
    now = 0.0
    while now < SUSPECT_S + 1.0:
        now += 0.3
        sent += one.wake(now)
    assert Send("b", Ping()) in sent


def test_those_who_left_are_forgotten_sooner_than_the_dead() -> None:
    one = Membership(contact("a"), 0.0)
    one.receive(Members((contact("b"), contact("c"))), "b", 0.0)
    one.receive(Leave(), "b", 0.0)
    gone: dict[str, float] = {}
    now = 0.0
    while now < FORGET_S + 10.0:
        now += 0.9
        gone |= {effect.node: now for effect in one.wake(now) if isinstance(effect, Disconnect)}
    assert FORGET_LEFT_S < gone["b"] < FORGET_LEFT_S + 2.0
    assert FORGET_S < gone["c"] < FORGET_S + 2.0
    assert one.members == [(contact("a"), Presence.ALIVE)]


def test_the_table_is_bounded_and_the_dead_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS_MAX", 3)
    one = Membership(contact("a"), 0.0)
    one.receive(Members(tuple(contact(name) for name in "bcde")), "b", 0.0)
    assert [member.node for member, _ in one.members] == ["a", "b", "c", "d"]
    one.receive(Leave(), "c", 0.0)
    assert Disconnect("c") in one.receive(Members((contact("e"),)), "b", 0.0)
    assert [member.node for member, _ in one.members] == ["a", "b", "d", "e"]
    for name in "uvwxyz":
        one.receive(Subscribed(name), "a", 0.0)
    assert len(one._subscribed) == 3


def test_what_a_membership_is_not_told() -> None:
    with pytest.raises(ProtocolError):
        Membership(contact("a"), 0.0).receive(Cancel("a.1.1", "t", 1), "b", 0.0)
