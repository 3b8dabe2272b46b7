"""Membership: fleets of them on virtual time, over a wire that loses and is cut; then one alone."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

import pytest
from member_world import World, contact, fleet

from parley.protocols import membership as module
from parley.protocols.core import Connect, Datagram, Disconnect, Effect, Message, PeerUp, ProtocolError, Publish, Send
from parley.protocols.local_health import ACK_TIMEOUT_S, SCORE_MAX
from parley.protocols.membership import FORGET_LEFT_S, FORGET_S, GOSSIP_S, REPORT_S, Membership
from parley.protocols.performatives import Cancel
from parley.protocols.rumours import FANOUT
from parley.protocols.suspicion import MAX_FACTOR, PERIOD_S, least_s
from parley.protocols.swim_words import (
    NO_STATUS,
    Ack,
    Compare,
    Delta,
    Digest,
    Disconnected,
    Entry,
    Gossip,
    Hello,
    Join,
    Lag,
    Leave,
    Member,
    Members,
    PeerState,
    Ping,
    PingReq,
    Presence,
    Report,
    Rumour,
    Status,
    Subscribed,
)

PROBED_S = 2 * ACK_TIMEOUT_S
"""From the ping to the doubt."""


# --- a fleet ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_whoever_is_asked_all_views_become_equal(seed: int) -> None:
    world = fleet(6, seed)
    for node in world.nodes.values():
        assert all(node.ready(other) for other in world.nodes)


def test_two_fleets_become_one_when_one_of_each_meets() -> None:
    world = World()
    for first, second in (("a", "b"), ("c", "d")):
        world.add(first)
        world.add(second, join=first)
    world.run(2.0)
    world.perform("b", world.nodes["b"].join("d"))
    world.run(3.0)
    assert world.one()


@pytest.mark.parametrize("size", [2, 3, 8, 16])
def test_a_kill_that_is_noticed_is_known_to_all_within_the_least_time(size: int) -> None:
    world = fleet(size)
    killed = world.now
    world.kill("n1")
    world.run(least_s(size) + 0.3)
    assert all(world.state(name, "n1") is Presence.DEAD and "n1" not in world.up[name] for name in world.nodes)
    deaths = [at for at, _, _, state in world.states if state is Presence.DEAD]
    assert min(deaths) - killed == pytest.approx(least_s(size - 1), abs=0.1)
    assert {peer for _, peer in world.thought(Presence.SUSPECT)} == {"n1"}
    assert all(world.told[name]["n1"] == NO_STATUS for name in world.nodes)


@pytest.mark.parametrize("seed", range(4))
def test_a_silent_death_is_found_by_pings(seed: int) -> None:
    world = fleet(8, seed)
    killed = world.now
    world.kill("n3", noticed=False)
    world.run(2 * 7 * PERIOD_S + PROBED_S + MAX_FACTOR * least_s(8))
    assert all("n3" not in world.up[name] for name in world.nodes)
    assert min(at for at, _, _, state in world.states if state is Presence.DEAD) > killed + least_s(7)
    assert {peer for _, peer in world.thought(Presence.DEAD)} == {"n3"}


def test_a_dropped_connection_is_a_hint_that_is_refuted_at_once() -> None:
    world = fleet()
    for name in ("n0", "n1", "n3"):
        world.tell(name, Disconnected("n2"))
    assert world.state("n0", "n2") is Presence.SUSPECT
    assert "n2" in world.up["n0"]
    world.run(0.2)
    assert world.one()
    assert world.nodes["n2"].refuted >= 1
    assert not world.thought(Presence.DEAD)


def test_a_line_cut_between_two_accuses_nobody() -> None:
    world = fleet(6)
    world.cut = {("n0", "n1"), ("n1", "n0"), ("n2", "n3")}
    world.run(20.0)
    assert not world.states


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_lost_kills_nobody(seed: int) -> None:
    world = fleet(8, seed, loss=0.1)
    world.run(60.0)
    assert world.thought(Presence.SUSPECT)
    assert not world.thought(Presence.DEAD)


@pytest.mark.parametrize("seed", range(4))
def test_no_live_node_stays_dead_and_refutations_only_rise(seed: int) -> None:
    """A wire that loses six of ten buries the living; when it has healed, they are all back."""
    world = fleet(8, seed)
    refuted = dict.fromkeys(world.nodes, 0)
    world.loss = 0.6
    for _ in range(40):
        world.run(1.0)
        for name, node in world.nodes.items():
            assert node.refuted >= refuted[name]
            refuted[name] = node.refuted
    assert world.thought(Presence.DEAD)
    world.loss = 0.0
    world.run(6.0)
    assert world.one()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [4, 9])
def test_the_halves_of_a_cut_fleet_find_each_other(size: int, seed: int) -> None:
    world = fleet(size, seed)
    left = {f"n{number}" for number in range(size // 2)}
    world.halve(left)
    world.run(12.0)
    across = {(one, other) for one, other in itertools.permutations(world.nodes, 2) if (one in left) != (other in left)}
    assert world.thought(Presence.DEAD) == across
    world.cut = set()
    healed = world.now
    world.run(3.0, while_=lambda: not world.one())
    assert world.one()
    assert not world.thought(Presence.DEAD, since=healed)


def test_who_was_alone_is_found_again() -> None:
    world = fleet(4)
    world.cut = set(itertools.permutations(world.nodes, 2))
    world.run(20.0)
    assert all(not up for up in world.up.values())
    world.cut = set()
    world.run(4.0)
    assert world.one()


def test_leave_is_believed_at_once_and_no_stray_message_undoes_it() -> None:
    world = fleet(3)
    world.perform("n1", world.nodes["n1"].leave())
    world.run(0.1)
    assert world.living("n0") == ["n0", "n2"]
    assert world.up["n0"] == {"n2"}
    assert world.nodes["n1"].deadline is None
    for name in ("n0", "n2"):
        world.tell(name, Gossip((Rumour(contact("n1"), 0, Presence.ALIVE),)), "n1")
        world.tell(name, Disconnected("n1"))
    world.run(5.0)
    assert world.state("n0", "n1") is Presence.LEFT
    assert not world.thought(Presence.DEAD)
    del world.nodes["n1"]
    world.add("n1", 2, join="n2")
    world.run(2.0)
    assert world.one()


def test_whoever_missed_the_farewell_hears_of_it() -> None:
    world = fleet(5)
    world.cut = {("n1", "n4")}
    world.perform("n1", world.nodes["n1"].leave())
    world.run(0.5)
    assert world.state("n4", "n1") is Presence.LEFT


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("after_s", [0.0, 0.3, 5.0])
def test_a_restart_is_another_life(seed: int, after_s: float) -> None:
    world = fleet(4, seed)
    world.kill("n1")
    world.run(after_s)
    world.add("n1", 2, join="n3")
    world.run(3.0)
    assert world.one()
    assert ("n0", "n1") in world.thought(Presence.DEAD)
    incarnations = {member.node: member.incarnation for member, _ in world.nodes["n0"].members}
    assert incarnations == {"n0": 1, "n1": 2, "n2": 1, "n3": 1}


def test_after_a_pause_of_our_own_nobody_is_given_up() -> None:
    world = fleet(4)
    world.frozen = {"n0"}
    world.run(30.0)
    assert all("n0" not in world.up[name] for name in ("n1", "n2", "n3"))
    world.frozen = set()
    world.run(3.0)
    assert world.one()
    assert not {pair for pair in world.thought(Presence.DEAD) if pair[0] == "n0"}


def test_a_sleeper_that_was_forgotten_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORGET_S", 10.0)
    world = fleet(3)
    world.frozen = {"n2"}
    world.run(20.0)
    assert [member.node for member, _ in world.nodes["n0"].members] == ["n0", "n1"]
    world.frozen = set()
    world.run(5.0)
    assert world.one()


@pytest.mark.parametrize("size", [4, 16])
def test_an_idle_node_says_little_whatever_the_size_of_the_fleet(size: int) -> None:
    world = fleet(size)
    world.run(20.0)
    each_s = 2 / PERIOD_S + 1.0  # a ping, an ack, a comparison
    assert sum(world.said.values()) / size / 20.0 <= each_s
    assert not world.published


def test_what_a_node_tells_of_itself_reaches_all_also_those_who_did_not_hear_it() -> None:
    world = World()
    tags = {name: ["new"] for name in "abcd"}
    for name in "abcd":
        world.add(name, join="a" if name != "a" else None, status=lambda name=name: Status(tags=tuple(tags[name])))  # type: ignore[misc]
    world.run(4.0)
    world.loss = 1.0
    tags["b"].append("gpu")
    world.run(0.9)  # it is published, and lost
    world.loss = 0.0
    world.run(4.0)
    for name in "acd":
        assert world.nodes[name].status("b").tags == ("new", "gpu")
        assert world.told[name]["b"].tags == ("new", "gpu")
    assert world.nodes["b"].status("b").tags == ("new", "gpu")


def test_who_is_dead_to_a_newcomer_is_not_told_to_it() -> None:
    world = fleet(4)
    world.kill("n3")
    world.run(2.0)
    world.add("n4", join="n0")
    world.run(3.0)
    assert [member.node for member, _ in world.nodes["n4"].members] == ["n0", "n1", "n2", "n4"]


# --- one alone -------------------------------------------------------------------------------------------------------


def alone(*others: str) -> Membership:
    one = Membership(contact("a"), 0.0, random=random.Random(1))
    if others:
        one.receive(Members(tuple(map(contact, others))), "b", 0.0)
    return one


def datagrams(effects: Iterable[Effect]) -> list[tuple[str, Message]]:
    return [(effect.to, effect.message) for effect in effects if isinstance(effect, Datagram)]


def woken(one: Membership, now: float, until: float) -> Iterator[tuple[float, Sequence[Effect]]]:
    """Wake it whenever it wants to be."""
    while one.deadline is not None and max(now, one.deadline) <= until:
        now = max(now, one.deadline)
        yield now, one.wake(now)


def test_a_newcomer_is_answered_with_all_who_live() -> None:
    one = Membership(contact("a"), 0.0)
    effects = one.receive(Join(contact("b")), "b", 0.0)
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
    for message in (Hello(contact("c")), Join(contact("c"))):
        assert one.receive(message, "b", 0.0) == []
    assert one.receive(Join(contact("a", 9)), "a", 0.0) == []
    one.receive(Members((contact("a", 9),)), "b", 0.0)
    assert one.members == [(contact("a"), Presence.ALIVE)]


def test_a_ping_is_answered_at_once_and_with_its_number() -> None:
    assert alone().receive(Ping(7), "stranger", 0.0) == [Datagram("stranger", Ack(7))]


@pytest.mark.parametrize("state", [Presence.SUSPECT, Presence.DEAD, Presence.LEFT])
def test_the_answer_to_a_ping_with_a_doubt_refutes_it(state: Presence) -> None:
    one = alone("b")
    said = Rumour(contact("a"), 0, state)
    [(to, ack)] = datagrams(one.receive(Ping(1, (said,)), "b", 1.0))
    assert to == "b"
    assert isinstance(ack, Ack)
    assert Rumour(contact("a"), 1, Presence.ALIVE) in ack.rumours
    assert (one.refuted, one.health.score) == (1, 1)
    one.receive(Ping(2, (said,)), "b", 1.1)
    assert one.refuted == 1  # it is refuted already


def test_one_who_goes_refutes_nothing() -> None:
    one = alone("b")
    farewell, *_ = one.leave()
    assert farewell == Publish(Leave(0))
    assert one.receive(Ping(1, (Rumour(contact("a"), 0, Presence.LEFT),)), "b", 1.0) == []
    assert one.refuted == 0


def test_of_two_standings_the_greater_holds_whatever_comes_first() -> None:
    said = [
        Rumour(contact("b", life), refuted, state)
        for life, refuted, state in itertools.product((1, 2), (0, 1), Presence)
        if (life, refuted, state) != (2, 1, Presence.LEFT)
    ]
    for seed in range(50):
        one = alone("b")
        random.Random(seed).shuffle(said)
        for rumour in said:
            one.receive(Gossip((rumour,)), "c", 1.0)
        one.receive(Gossip((Rumour(contact("b", 2), 0, Presence.ALIVE),)), "c", 1.0)  # so that its life is known
        for rumour in said:
            one.receive(Gossip((rumour,)), "c", 1.0)
        assert one.members[1] == (contact("b", 2), Presence.DEAD)


def test_one_who_has_left_is_not_dead_afterwards() -> None:
    one = alone("b")
    for state in (Presence.DEAD, Presence.LEFT, Presence.DEAD):
        one.receive(Gossip((Rumour(contact("b"), 0, state),)), "c", 1.0)
    assert one.members[1] == (contact("b"), Presence.LEFT)


def test_news_is_told_on_and_old_news_is_not() -> None:
    one = alone("b", "c", "d", "e")
    list(woken(one, 0.0, 0.1))

    def doubted(by: str) -> Rumour:
        return Rumour(contact("b"), 0, Presence.SUSPECT, by)

    def gossip(rumour: Rumour, since: float) -> list[Message]:
        said = [said for _, effects in woken(one, since, since + 2 * GOSSIP_S) for _, said in datagrams(effects)]
        return [message for message in said if isinstance(message, Gossip) and rumour in message.rumours]

    one.receive(Gossip((doubted("c"),)), "c", 0.1)
    assert len(gossip(doubted("c"), 0.1)) >= FANOUT - 1  # b itself hears of it in other words
    one.receive(Gossip((doubted("c"),)), "d", 0.15)
    assert not gossip(doubted("c"), 0.15)
    one.receive(Gossip((doubted("d"),)), "d", 0.2)  # another accuser is news
    assert len(gossip(doubted("d"), 0.2)) >= FANOUT - 1


def test_each_is_pinged_once_in_a_round() -> None:
    one = alone("b", "c", "d", "e")
    pinged = []
    for now, effects in woken(one, 0.0, 8 * PERIOD_S - 0.01):
        for to, said in datagrams(effects):
            if isinstance(said, Ping):
                pinged.append(to)
                one.receive(Ack(said.number), to, now)
    assert sorted(pinged) == sorted(2 * "bcde")


def test_one_who_does_not_answer_is_asked_for_and_then_suspect() -> None:
    one = alone("b", "c")
    one.receive(Gossip((Rumour(contact("c"), 5, Presence.ALIVE),)), "c", 0.0)
    states: list[PeerState] = []
    asked: list[tuple[str, Message]] = []
    now = 0.0
    while now < 2.0 and not states:
        now += 0.01
        effects = one.wake(now)
        states += [effect for effect in effects if isinstance(effect, PeerState)]
        asked += [(to, said) for to, said in datagrams(effects) if isinstance(said, PingReq)]
        for to, said in datagrams(effects):
            if to == "c" and isinstance(said, Ping):
                one.receive(Ack(said.number), "c", now)
    assert [(state.peer, state.state) for state in states] == [("b", Presence.SUSPECT)]
    assert {(to, said.node) for to, said in asked if isinstance(said, PingReq)} == {("c", "b")}


def test_the_dead_of_a_view_are_doubted_and_those_who_left_have_left() -> None:
    """A view may be old, or from the other side of a cut."""
    one = alone("b", "c")
    gone = (Rumour(contact("b"), 0, Presence.DEAD), Rumour(contact("c"), 0, Presence.LEFT))
    one.receive(Delta(tuple(Member(rumour, 0, Status()) for rumour in gone)), "d", 1.0)
    assert [state for _, state in one.members] == [Presence.ALIVE, Presence.SUSPECT, Presence.LEFT]


def test_views_are_compared_and_only_what_is_newer_travels() -> None:
    one = alone("b", "c")
    assert one.receive(Compare(one.digest), "b", 1.0) == []
    [digest] = one.receive(Compare(one.digest + 1), "b", 1.0)
    assert isinstance(digest, Send)
    assert isinstance(digest.message, Digest)
    assert [entry.node for entry in digest.message.entries] == ["a", "b", "c"]
    theirs = (Entry("a", 1, 0, Presence.ALIVE, 0), Entry("b", 1, 3, Presence.ALIVE, 9))
    [delta] = one.receive(Digest(theirs), "b", 1.0)
    assert delta == Send("b", Delta((Member(Rumour(contact("c"), 0, Presence.ALIVE), 0, Status()),), ("b",)))
    [answer] = one.receive(Delta((), ("c", "nobody")), "b", 1.0)
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Delta)
    assert [member.rumour.contact.node for member in answer.message.members] == ["c"]


def test_one_who_is_dead_here_is_told_so_when_it_is_heard() -> None:
    one = alone("b")
    one.receive(Gossip((Rumour(contact("b"), 0, Presence.DEAD),)), "c", 1.0)
    [(to, said)] = datagrams(one.heard("b", 2.0))
    assert to == "b"
    assert isinstance(said, Ping)
    assert said.rumours[0] == Rumour(contact("b"), 0, Presence.DEAD)
    assert not one.heard("b", 2.1)
    effects = one.receive(Ack(said.number, (Rumour(contact("b"), 1, Presence.ALIVE),)), "b", 2.2)
    assert [effect.state for effect in effects if isinstance(effect, PeerState)] == [Presence.ALIVE]
    assert Connect("b", 1, "tcp://b:1", "tcp://b:2") in effects
    assert ("b", Compare(one.digest)) in datagrams(effects)


def test_a_message_of_a_former_life_changes_nothing() -> None:
    one = alone("b")
    one.receive(Members((contact("b", 0),)), "b", 1.0)
    one.receive(Gossip((Rumour(contact("b", 0), 7, Presence.DEAD),)), "c", 1.0)
    assert one.members[1] == (contact("b", 1), Presence.ALIVE)


def test_after_a_pause_an_old_doubt_is_no_verdict() -> None:
    one = alone("b")
    one.wake(0.1)
    one.receive(Disconnected("b"), "a", 0.15)
    assert Presence.DEAD not in [effect.state for effect in one.wake(60.0) if isinstance(effect, PeerState)]
    states = []
    for step in range(1, 41):
        states += [effect.state for effect in one.wake(60.0 + 0.05 * step) if isinstance(effect, PeerState)]
    assert states == [Presence.DEAD]


def test_lag_is_believed() -> None:
    one = alone("b")
    one.receive(Lag(0.4), "a", 1.0)
    assert (one.health.score, one.health.lag_s) == (3, 0.4)


def test_who_doubts_itself_is_quick_again_when_it_is_answered() -> None:
    """It waits for answers, nine times as long; but when one has come, it need not wait to go on."""
    one = alone("b", "c")
    one.health.worse(SCORE_MAX)
    now, pings = 1.0, []
    while one.health.score:
        for to, message in datagrams(one.wake(now)):
            if isinstance(message, Ping):
                one.receive(Ack(message.number, ()), to, now + 0.01)
                pings.append(now)
        assert one.deadline is not None
        now = one.deadline
    assert len(pings) == SCORE_MAX
    assert pings[-1] - pings[0] < SCORE_MAX * 2 * PERIOD_S  # else 8.8 s
    silent = alone("b", "c")
    silent.health.worse(SCORE_MAX)
    said = [now for now, effects in woken(silent, 1.0, 2.6) for _, told in datagrams(effects) if isinstance(told, Ping)]
    assert len(said) == 1


def test_a_report_is_published_when_it_changes_or_somebody_new_listens() -> None:
    running = [0]
    one = Membership(contact("a"), 0.0, lambda: Status(running=running[0]))

    def reports(now: float) -> list[Report]:
        said = [effect.message for effect in one.wake(now) if isinstance(effect, Publish)]
        return [message for message in said if isinstance(message, Report)]

    times = [step * REPORT_S / 4 for step in range(13)]
    assert [len(reports(now)) for now in times] == [1, *[0] * 12]
    running[0] = 1
    found = [report for step in range(13) for report in reports(4.0 + step * REPORT_S / 4)]
    assert found == [Report(1, Status(running=1))]
    one.receive(Subscribed("b"), "a", 8.0)
    assert [report for step in range(5) for report in reports(8.0 + step * REPORT_S / 4)] == found


def test_the_dead_and_those_who_left_are_forgotten_in_time() -> None:
    one = alone("b", "c")
    one.receive(Leave(), "b", 0.0)
    one.receive(Gossip((Rumour(contact("c"), 0, Presence.DEAD),)), "b", 0.0)
    gone: dict[str, float] = {}
    now = 0.0
    while now < FORGET_S + 10.0:
        now += 0.9
        gone |= {effect.node: now for effect in one.wake(now) if isinstance(effect, Disconnect)}
    assert FORGET_LEFT_S < gone["b"] < FORGET_LEFT_S + 3.0
    assert FORGET_S < gone["c"] < FORGET_S + 3.0
    assert one.members == [(contact("a"), Presence.ALIVE)]


def test_the_table_is_bounded_and_the_dead_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMBERS_MAX", 3)
    one = alone("b", "c", "d", "e")
    assert [member.node for member, _ in one.members] == ["a", "b", "c", "d"]
    one.receive(Leave(), "c", 0.0)
    assert Disconnect("c") in one.receive(Members((contact("e"),)), "b", 0.0)
    assert [member.node for member, _ in one.members] == ["a", "b", "d", "e"]
    for name in "uvwxyz":
        one.receive(Subscribed(name), "a", 0.0)
    assert len(one._subscribed) == 3


def test_it_wakes_for_nothing_that_is_not_due() -> None:
    one = alone("b")
    one.wake(0.0)
    deadline = one.deadline
    assert deadline is not None
    assert one.wake(deadline - 0.001) == ()


def test_what_a_membership_is_not_told() -> None:
    with pytest.raises(ProtocolError):
        alone().receive(Cancel("a.1.1", "t", 1), "b", 0.0)
