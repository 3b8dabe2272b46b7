"""Gangs: all members at once or none, whoever is in the way; what they say to each other, as golden transcripts."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from contract_world import World
from contract_world import words as spoken

from parley.protocols.contract_events import AuctionAwarded
from parley.protocols.core import (
    SLOTS,
    Conditions,
    Event,
    Message,
    NodeId,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Resume,
    Run,
    Seat,
    Send,
    State,
    Stop,
    Task,
)
from parley.protocols.gang_words import (
    LED_S,
    TERM_S,
    Commence,
    Dismiss,
    Enlist,
    Enlisted,
    GangBroken,
    GangReserving,
    Lead,
    MemberEnded,
    MemberStarted,
    Prolong,
    Prolonged,
    Reserve,
    Reserved,
    ReserveEnded,
    ReserveHeld,
    Returned,
    Said,
    Unreserved,
    Withdraw,
)
from parley.protocols.gangs import Place, divided
from parley.protocols.leader import Leader
from parley.protocols.load import Load
from parley.protocols.occupancy import Occupancy
from parley.protocols.performatives import Finished, Grant, Output, Reason, Stream
from parley.protocols.reserves import Reserves

TRANSCRIPTS = Path(__file__).parent / "transcripts"
FOUR = {f"n{number}": (2, 1.0) for number in range(1, 5)}


def gang(name: str, size: int, work: float = 1.0, slots: int = 1) -> Task:
    amounts = ((SLOTS, float(slots)),) if slots > 1 else ()
    return Task(name, "x", work, terms=Conditions(gang=size, amounts=amounts))


def single(name: str, work: float = 1.0) -> Task:
    return Task(name, "x", work)


def told(world: World, kind: type[Event]) -> list[tuple[float, NodeId, Event]]:
    return [line for line in world.events if isinstance(line[2], kind)]


def spans(world: World, task: str) -> dict[tuple[int, int], tuple[float, float, Reason | None]]:
    """From when to when each member ran, by epoch and rank, and how it ended."""
    begun = {
        (event.epoch, event.rank): at
        for at, _, event in world.events
        if isinstance(event, MemberStarted) and event.task == task
    }
    return {
        (event.epoch, event.rank): (begun[event.epoch, event.rank], at, event.reason)
        for at, _, event in world.events
        if isinstance(event, MemberEnded) and event.task == task
    }


# --- where members go ------------------------------------------------------------------------------------------------


def places(**nodes: tuple[float, ...]) -> list[Place]:
    """By name, when each seat is free; a member takes a second everywhere."""
    return [Place(name, ready, 1.0) for name, ready in nodes.items()]


@pytest.mark.parametrize(
    ("size", "where", "then"),
    [
        (2, places(a=(0.0, 0.0), b=(0.0, 0.0)), {"a": 2}),
        (2, places(a=(0.0,), b=(0.0, 0.0)), {"b": 2}),
        (3, places(a=(0.0, 0.0), b=(0.0, 0.0, 0.0), c=(0.0,)), {"b": 3}),
        (5, places(a=(0.0, 0.0), b=(0.0, 0.0, 0.0), c=(0.0,)), {"b": 3, "a": 2}),
        (2, places(a=(0.0, 9.0), b=(0.0, 9.0)), {"a": 1, "b": 1}),  # at once, and not on one node in nine seconds
        (2, places(a=(0.2, 0.2), b=(0.0, 9.0), c=(0.0, 9.0)), {"a": 2}),  # a little later, on one
        (3, places(a=(0.0, 0.0)), {}),
    ],
)
def test_all_end_as_soon_as_they_can_on_the_fewest_nodes(size: int, where: list[Place], then: dict[str, int]) -> None:
    assert {place.node: count for place, count in divided(where, size)} == then


def test_never_more_members_than_seats_and_never_a_node_too_many() -> None:
    random = Random(5)
    for _ in range(500):
        where = [
            Place(f"n{number}", tuple(sorted(random.choice((0.0, 1.0, 3.0)) for _ in range(random.randint(0, 4)))), own)
            for number, own in enumerate(random.choices((0.5, 1.0, 2.0), k=random.randint(1, 6)))
        ]
        seats = sum(len(place.ready_s) for place in where)
        size = random.randint(1, 12)
        chosen = divided(where, size)
        if seats < size:
            assert not chosen
            continue
        assert sum(count for _, count in chosen) == size
        assert all(1 <= count <= len(place.ready_s) for place, count in chosen)
        ends = sorted(ready + place.own_s for place in where for ready in place.ready_s)
        last = max(place.ready_s[count - 1] + place.own_s for place, count in chosen)
        assert last <= 1.25 * ends[size - 1] + 1e-9
        rooms = sorted(sum(ready + place.own_s <= 1.25 * ends[size - 1] for ready in place.ready_s) for place in where)
        needed, left = 0, size
        while left > 0:
            left -= rooms.pop()
            needed += 1
        assert len(chosen) == needed


# --- all at once, or none --------------------------------------------------------------------------------------------


def test_six_members_on_three_nodes_start_together_and_have_one_outcome() -> None:
    world = World(FOUR)
    world.call("n1", [gang("g", 6)])
    world.run(10.0)
    [outcome] = world.outcomes["g"]
    assert (outcome.state, outcome.value) == (State.DONE, b" ".join([b"done"] * 6))
    [(_, _, award)] = told(world, AuctionAwarded)
    assert isinstance(award, AuctionAwarded)
    assert (len(award.members), len(set(award.members)), award.winner) == (6, 3, award.members[0])
    ran = spans(world, "g")
    assert sorted(ran) == [(1, rank) for rank in range(6)]
    starts = [start for start, _, _ in ran.values()]
    assert max(starts) - min(starts) < 0.0011  # one delay


def test_one_node_where_it_fits() -> None:
    world = World({"n1": (2, 1.0), "n2": (4, 1.0), "n3": (2, 1.0)})
    world.call("n1", [gang("g", 4)])
    world.run(10.0)
    [(_, _, award)] = told(world, AuctionAwarded)
    assert isinstance(award, AuctionAwarded)
    assert award.members == ("n2",) * 4


def test_a_member_may_take_several_slots() -> None:
    world = World({"n1": (4, 1.0), "n2": (3, 1.0)})
    world.call("n1", [gang("g", 3, slots=2), single("s", 0.2), single("t", 0.2)])
    world.run(10.0)
    [award] = [one for _, _, one in told(world, AuctionAwarded) if isinstance(one, AuctionAwarded) and one.members]
    assert sorted(award.members) == ["n1", "n1", "n2"]
    assert {name: ends[0].state for name, ends in world.outcomes.items()} == dict.fromkeys("gst", State.DONE)


def test_a_gang_larger_than_the_fleet_is_told_so_or_waits() -> None:
    world = World(FOUR)
    world.call("n1", [gang("g", 9)])
    world.run(5.0)
    [outcome] = world.outcomes["g"]
    assert outcome.state is State.UNPLACED
    assert outcome.error == "0/4 nodes can run this: 4 have room for 8 of its 9 members together"
    waiting = World(FOUR)
    node = waiting.nodes["n1"]
    waiting._perform(node, node.initiator.call(gang("g", 9), b"", 0.0, waits=True))
    waiting.run(1.0)
    standing = node.initiator.standing("g")
    assert standing is not None
    assert standing[:2] == (
        State.OPEN,
        "0/4 nodes can run this: 4 have room for 8 of its 9 members together; it waits until they can",
    )
    waiting.start("n5", 1, 1.0)
    waiting.tell("n1", PeerUp("n5"))
    waiting.run(20.0)
    assert waiting.outcomes["g"][0].state is State.DONE


def test_what_waits_for_slots_keeps_nobody_who_came_before_and_is_overtaken_by_nobody() -> None:
    """All slots are taken by long tasks; others follow the gang, in smaller pieces."""
    world = World({"n1": (2, 1.0), "n2": (2, 1.0)})
    world.call("n1", [single(f"long{number}", 2.0) for number in range(4)])
    world.run(0.1)
    world.call("n1", [gang("g", 4, 0.5)])
    world.run(0.2)
    world.call("n2", [single(f"short{number}", 0.1) for number in range(20)])
    world.run(30.0)
    assert {ends[0].state for ends in world.outcomes.values()} == {State.DONE}
    assert len(world.outcomes) == 25
    [start] = {round(start, 2) for start, _, _ in spans(world, "g").values()}
    assert start < 3.0, "it has its slots as soon as what ran before it has ended"


@pytest.mark.parametrize("seed", range(20))
def test_gangs_that_want_the_same_slots_all_have_their_turn(seed: int) -> None:
    """From every node at once, each of more than half of all slots."""
    world = World(FOUR, seed=seed, delay_s=(0.0005, 0.02))
    sizes = Random(seed).choices((5, 6, 7, 8), k=8)
    for number, size in enumerate(sizes):
        world.call(f"n{1 + number % 4}", [gang(f"g{number}", size, 0.2)])
    world.run(60.0)
    assert {name: ends[0].state for name, ends in world.outcomes.items()} == {
        f"g{number}": State.DONE for number in range(8)
    }
    for node in world.nodes.values():
        assert node.participant.load() == (0, 0, 0)
        assert not node.running


# --- one is lost -----------------------------------------------------------------------------------------------------


def test_one_fails_and_all_are_stopped_and_the_attempt_is_over_as_a_whole() -> None:
    world = World({**FOUR, "n4": (2, 2.0)})  # where it fails, after half the time
    world.fails = lambda task, epoch: (
        Finished(task.id, epoch, Reason.DIED, error="its worker died", seconds=0.5)
        if task.id == "g~0" and epoch == 1
        else None
    )
    world.call("n1", [gang("g", 6)])
    world.run(10.0)
    [outcome] = world.outcomes["g"]
    assert (outcome.state, outcome.attempts, outcome.epoch) == (State.DONE, 2, 2)
    ran = spans(world, "g")
    assert [ran[1, rank][2] for rank in range(6)] == [Reason.DIED, None, *4 * [Reason.CANCELLED]]
    assert [ran[2, rank][2] for rank in range(6)] == [None] * 6
    assert max(end for (epoch, _), (_, end, _) in ran.items() if epoch == 1) < min(
        start for (epoch, _), (start, _, _) in ran.items() if epoch == 2
    )


def test_an_error_is_the_end_of_it_and_says_whose() -> None:
    world = World(FOUR)
    world.fails = lambda task, epoch: (
        Finished(task.id, epoch, Reason.ERROR, error="ValueError: no", seconds=0.3) if task.id == "g~5" else None
    )
    world.call("n1", [gang("g", 6)])
    world.run(10.0)
    [outcome] = world.outcomes["g"]
    assert (outcome.state, outcome.attempts) == (State.FAILED, 1)
    assert outcome.error == "rank 5 on n3: ValueError: no"


def test_attempts_are_limited_for_the_gang_as_a_whole() -> None:
    world = World(FOUR)
    world.fails = lambda task, epoch: Finished(task.id, epoch, Reason.DIED, error="it died", seconds=0.1)
    world.call("n1", [gang("g", 3)])
    world.run(10.0)
    [outcome] = world.outcomes["g"]
    assert (outcome.state, outcome.attempts) == (State.FAILED, 3)


@pytest.mark.parametrize("dies", ["n2", "n3"])
def test_the_node_of_a_member_dies_and_the_gang_goes_elsewhere(dies: str) -> None:
    world = World(FOUR)
    world.call("n1", [gang("g", 6)])
    world.run(0.5)
    world.kill(dies)
    for other in world.nodes:
        world.tell(other, PeerDown(dies))
    world.run(10.0)
    [outcome] = world.outcomes["g"]
    assert (outcome.state, outcome.attempts) == (State.DONE, 2)
    last = [event for _, _, event in told(world, AuctionAwarded) if isinstance(event, AuctionAwarded)][-1]
    assert dies not in last.members


def test_who_is_cut_off_from_its_leader_stops_within_a_term_of_it() -> None:
    world = World(FOUR)
    world.call("n1", [gang("g", 6, 5.0)])
    world.run(0.5)
    world.deaf = {(one, other) for one in FOUR for other in FOUR if "n3" in (one, other) and one != other}
    world.run(0.5 + TERM_S)
    ran = spans(world, "g")
    assert {rank for epoch, rank in ran if epoch == 1} == set(range(6))
    assert max(end for _, end, _ in ran.values()) < 0.5 + TERM_S
    assert [ran[1, rank][2] for rank in (4, 5)] == [Reason.LEASE] * 2


def test_a_cancel_ends_all_wherever_it_stands() -> None:
    for at, kept in ((0.0045, 2), (0.5, 0)):  # while slots are being reserved; while all run
        world = World(FOUR)
        world.call("n1", [gang("g", 6)])
        world.run(at)
        assert len(told(world, ReserveHeld)) >= 1
        node = world.nodes["n1"]
        world._perform(node, node.initiator.cancel("g", State.CANCELLED, Reason.CANCELLED, "no more", world.now))
        world.run(5.0)
        assert [outcome.state for outcome in world.outcomes["g"]] == [State.CANCELLED]
        assert all(not one.running and one.participant.load() == (0, 0, 0) for one in world.nodes.values())
        assert bool(told(world, ReserveEnded)) is bool(kept)
        assert bool(told(world, MemberStarted)) is not bool(kept)


def test_an_owner_that_dies_while_it_reserves_keeps_nothing() -> None:
    world = World(FOUR)
    world.call("n4", [gang("g", 8)])
    world.run(0.005)
    assert told(world, ReserveHeld)
    world.kill("n4")  # and nobody is told
    world.run(0.005 + TERM_S + 0.01)
    ended = [event.reason for _, _, event in told(world, ReserveEnded) if isinstance(event, ReserveEnded)]
    assert set(ended) == {Reason.LEASE}
    assert all(node.participant.load() == (0, 0, 0) for node in world.nodes.values())


def test_what_waits_too_long_at_one_node_is_let_go_at_all_and_called_again() -> None:
    """n2 says it is free soon, and is not."""
    world = World({"n1": (2, 1.0), "n2": (2, 2.0)})
    world.call("n2", [single("s", 1.0), single("t", 1.0)])
    world.run(0.1)
    assert [running.run_s for running in world.nodes["n2"].participant._occupancy.running.values()] == [0.5, 0.5]
    world._queue = [line for line in world._queue if not isinstance(line[4], Finished)]  # they do not end
    world.call("n1", [gang("g", 4, 0.5)])
    world.run(3.3)
    broken = [event for _, _, event in told(world, GangBroken) if isinstance(event, GangBroken)]
    assert [(event.peer, event.reason, event.detail) for event in broken] == [
        ("n2", Reason.BUSY, "it has waited here in vain")
    ]
    assert len(told(world, GangReserving)) == 1
    assert world.nodes["n1"].participant.load()[0] == 0
    standing = world.nodes["n1"].initiator.standing("g")
    assert standing is not None
    assert standing[1] == "not all slots of its 4 members could be had; called again soon"


# --- each role by itself ---------------------------------------------------------------------------------------------

FREE = Load((0.0, 0.0), 0, 0.0, 1.0)
G = gang("g", 4)


def reserves(slots: int = 2) -> Reserves:
    occupancy = Occupancy(slots, 1.0, {})

    def freed(now: float) -> list[object]:
        effects: list[object] = []
        while (member := occupancy.start_next(now)) is not None:
            effects += one.kept(member, now)  # type: ignore[arg-type]
        return effects

    one = Reserves(
        "p",
        occupancy,
        lambda task, owner, now: 1.0,
        freed,  # type: ignore[arg-type]
        lambda to, now: (FREE, 0),
        lambda key, to, blobs: [],
        lambda task, seconds, now: None,
    )
    return one


def reserve(auction: str = "a.1.1", members: int = 2, task: Task = G) -> Reserve:
    return Reserve(auction, task, members, TERM_S)


def enlist(epoch: int = 1, auction: str = "a.1.1", ranks: tuple[int, ...] = (2, 3), by: NodeId = "l") -> Enlist:
    return Enlist(auction, G, epoch, ranks, (by, by, "p", "p"), b"argument", False, (), "a")


def messages(effects: object) -> list[tuple[NodeId, Message]]:
    assert isinstance(effects, (list, tuple))
    return [(effect.to, effect.message) for effect in effects if isinstance(effect, Send)]


def enlisted() -> Reserves:
    one = reserves()
    assert messages(one.receive(reserve(), "a", 0.0)) == [("a", Reserved("a.1.1", "g", FREE, 0))]
    assert messages(one.receive(enlist(), "l", 0.1)) == [("l", Enlisted("g", 1))]
    return one


def test_members_run_with_their_seats_when_they_are_told_to_and_once() -> None:
    one = enlisted()
    begun = one.receive(Commence("g", 1), "l", 0.2)
    runs = [effect for effect in begun if isinstance(effect, Run)]
    nodes = ("l", "l", "p", "p")
    assert [(run.task.id, run.epoch, run.payload, run.seat) for run in runs] == [
        ("g~2", 1, b"argument", Seat("g", 2, nodes)),
        ("g~3", 1, b"argument", Seat("g", 3, nodes)),
    ]
    assert one.receive(Commence("g", 1), "l", 0.2) == []
    ended = one.finished(Finished("g~3", 1, None, b"x", seconds=0.5), 0.7)
    assert messages(ended) == [("l", Returned("g", 1, 3, None, b"x", "", 0.5))]
    assert one.finished(Finished("g~3", 1, None, b"x", seconds=0.5), 0.7) == []
    dismissed = one.receive(Dismiss("g", 1), "l", 0.8)
    assert [effect for effect in dismissed if isinstance(effect, Stop)] == [Stop("g~2", 1)]
    assert one.deadline is None


def test_only_its_owner_and_its_leader_have_a_say() -> None:
    one = reserves()
    one.receive(reserve(), "a", 0.0)
    for word in (Withdraw("a.1.1", "g"), Commence("g", 0), Prolong("g", 0), Dismiss("g", 0)):
        assert one.receive(word, "b", 0.1) == []
    assert one.receive(reserve(), "b", 1.0) == []
    assert one.deadline == TERM_S, "another may not prolong it"
    one.receive(reserve(), "a", 1.0)
    assert one.deadline == 1.0 + TERM_S
    one.receive(enlist(), "l", 1.5)
    assert one.receive(Withdraw("a.1.1", "g"), "a", 1.6) == [], "it is its leader's now"
    assert one.receive(Dismiss("g", 1), "a", 1.6) == []
    assert messages(one.receive(Prolong("g", 1), "l", 2.0)) == [("l", Prolonged("g", 1))]
    assert one.deadline == 2.0 + LED_S
    with pytest.raises(ProtocolError):
        one.receive(Reserved("a.1.1", "g", FREE, 0), "a", 2.0)


def test_what_nobody_asks_for_ends_and_whoever_has_it_is_told() -> None:
    one = reserves()
    one.receive(reserve(), "a", 0.0)
    [(to, word)] = messages(one.wake(TERM_S))
    assert (to, type(word), word.reason) == ("a", Unreserved, Reason.LEASE)  # type: ignore[attr-defined]
    one = enlisted()
    one.receive(Commence("g", 1), "l", 0.2)
    stopped = one.wake(0.1 + LED_S)
    assert [effect for effect in stopped if isinstance(effect, Stop)] == [Stop("g~2", 1), Stop("g~3", 1)]
    assert [(word.rank, word.reason) for _, word in messages(stopped) if isinstance(word, Returned)] == [
        (2, Reason.LEASE),
        (3, Reason.LEASE),
    ]
    assert one.deadline is None


@pytest.mark.parametrize(("ranks", "sender"), [((1, 2), "l"), ((2, 7), "l"), ((2, 3), "x")])
def test_nobody_is_enlisted_for_another_node_or_by_another(ranks: tuple[int, ...], sender: NodeId) -> None:
    one = reserves()
    one.receive(reserve(), "a", 0.0)
    with pytest.raises(PeerError):
        one.receive(enlist(ranks=ranks), sender, 0.0)
    assert one.stands("g", "a.1.1")


def test_a_leader_that_comes_too_late_or_for_too_few_gets_nothing() -> None:
    one = reserves()
    [(_, word)] = messages(one.receive(enlist(), "l", 0.0))
    assert isinstance(word, Unreserved)
    one.receive(reserve(), "a", 0.0)
    [(_, word)] = messages(one.receive(enlist(ranks=(3,)), "l", 0.0))
    assert isinstance(word, Unreserved)
    waiting = reserves(slots=2)
    waiting.receive(reserve("a.1.1"), "a", 0.0)
    waiting.receive(reserve("b.1.1", task=gang("h", 4)), "b", 0.0)
    assert not waiting.stands("h", "b.1.1")
    assert waiting.stands("g", "a.1.1")


def test_a_later_epoch_takes_the_place_of_an_earlier_and_never_the_other_way() -> None:
    one = reserves(slots=4)
    one.receive(reserve("a.1.1"), "a", 0.0)
    one.receive(enlist(2), "l", 0.1)
    one.receive(Commence("g", 2), "l", 0.1)
    one.receive(reserve("b.1.7"), "b", 0.2)
    [(_, word)] = messages(one.receive(enlist(1, "b.1.7", by="m"), "m", 0.3))
    assert isinstance(word, Unreserved)
    assert word.reason is Reason.LATE
    later = one.receive(enlist(3, "b.1.7", by="m"), "m", 0.3)
    assert [effect for effect in later if isinstance(effect, Stop)] == [Stop("g~2", 2), Stop("g~3", 2)]
    assert messages(later)[-1] == ("m", Enlisted("g", 3))


def test_a_node_says_what_it_can_never_keep() -> None:
    one = reserves(slots=2)
    [(_, word)] = messages(one.receive(reserve(members=3), "a", 0.0))
    assert isinstance(word, Unreserved)
    assert (word.reason, word.detail) == (Reason.NEED, "could have 2 members of it, not 3")


def leader(members: tuple[NodeId, ...] = ("l", "p")) -> Leader:
    one = Leader("l", b"+".join)
    lead = Lead(gang("g", len(members)), 1, b"argument", auction="a.1.1", members=members, blobs=(), source="a")
    asked = messages(one.perform(lead, 0.0))
    assert [(to, type(word)) for to, word in asked] == [(node, Enlist) for node in dict.fromkeys(members)]
    return one


def test_nobody_starts_before_all_could() -> None:
    one = leader()
    assert one.receive(Enlisted("g", 1), "l", 0.1) == []
    assert one.receive(Enlisted("g", 1), "x", 0.1) == [], "a stranger"
    assert one.receive(Enlisted("g", 2), "p", 0.1) == [], "of another epoch"
    assert messages(one.receive(Enlisted("g", 1), "p", 0.2)) == [
        ("l", Commence("g", 1)),
        ("p", Commence("g", 1)),
    ]
    assert one.receive(Enlisted("g", 1), "p", 0.2) == []


def started() -> Leader:
    one = leader()
    for node in ("l", "p"):
        one.receive(Enlisted("g", 1), node, 0.0)
    return one


def returned(rank: int, value: bytes = b"", reason: Reason | None = None) -> Returned:
    return Returned("g", 1, rank, reason, value, "" if reason is None else "why", 1.0)


def test_the_value_is_those_of_all_by_rank_and_there_is_one() -> None:
    one = started()
    assert one.receive(returned(1, b"second"), "p", 1.0) == []
    assert one.receive(returned(1, b"again"), "p", 1.0) == ()
    assert one.receive(returned(0, b"none of yours"), "p", 1.0) == ()
    [(to, word)] = messages(one.receive(returned(0, b"first"), "l", 1.5))
    assert (to, word) == ("l", Finished("g", 1, None, b"first+second", "", 1.5))
    assert not one.leads("g", 1)
    assert one.receive(returned(0, b"first"), "l", 1.5) == ()


@pytest.mark.parametrize(
    ("happens", "reason", "says"),
    [
        (lambda one: one.receive(returned(1, b"left", Reason.ERROR), "p", 1.0), Reason.ERROR, "rank 1 on p: why"),
        (lambda one: one.receive(PeerDown("p"), "l", 1.0), Reason.VANISHED, "p, which had rank 1, is gone"),
        (
            lambda one: one.receive(Unreserved("a.1.1", "g", Reason.BUSY, "no", FREE, 0), "p", 1.0),
            Reason.BUSY,
            "p: no",
        ),
    ],
)
def test_one_is_lost_and_the_others_are_dismissed(happens: object, reason: Reason, says: str) -> None:
    one = started()
    said = messages(happens(one))  # type: ignore[operator]
    assert {(to, type(word)) for to, word in said[:-1]} == {("l", Dismiss), ("p", Dismiss)}
    to, finished = said[-1]
    assert to == "l"
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.error) == (reason, says)


def test_a_leader_that_hears_nothing_of_one_gives_all_up_and_one_that_slept_does_not() -> None:
    one = started()
    for now in (0.25, 0.5, 0.75):
        words = messages(one.wake(now))
        assert {(to, type(word)) for to, word in words} == {("l", Prolong), ("p", Prolong)}
        one.receive(Prolonged("g", 1), "l", now)
    said = messages(one.wake(1.0))
    assert [type(word) for _, word in said] == [Dismiss, Dismiss, Finished]
    slept = started()
    assert {type(word) for _, word in messages(slept.wake(5.0))} == {Prolong}


def test_what_members_write_is_passed_on_and_whoever_wrote_it_may_write_on_when_it_is_read() -> None:
    one = started()
    for rank, node, data in ((0, "l", b"abc"), (1, "p", b"defgh"), (0, "l", b"ij")):
        said = one.receive(Said("g", 1, rank, Stream.OUT, data), node, 1.0)
        assert messages(said) == [("l", Output("g", 1, Stream.OUT, data))]
    assert messages(one.perform(Resume("g", 1, 5), 1.1)) == [("l", Grant("g~0", 1, 3)), ("p", Grant("g~1", 1, 2))]
    assert messages(one.perform(Resume("g", 1, 9), 1.2)) == [("p", Grant("g~1", 1, 3)), ("l", Grant("g~0", 1, 2))]


def test_what_the_participant_gives_up_is_dismissed_and_says_nothing() -> None:
    one = started()
    assert messages(one.perform(Stop("g", 1), 1.0)) == [("l", Dismiss("g", 1)), ("p", Dismiss("g", 1))]
    assert one.receive(returned(0), "l", 1.0) == ()
    with pytest.raises(ProtocolError):
        one.perform(Stop("g", 1), 1.0)


def test_values_that_are_none_together_fail_it() -> None:
    def refuses(values: object) -> bytes:
        raise ValueError("too large")

    one = Leader("l", refuses)
    lead = Lead(gang("g", 1), 1, b"", auction="a.1.1", members=("l",), blobs=(), source="a")
    one.perform(lead, 0.0)
    one.receive(Enlisted("g", 1), "l", 0.0)
    [(_, word)] = messages(one.receive(returned(0), "l", 1.0))
    assert isinstance(word, Finished)
    assert (word.reason, word.error) == (Reason.ERROR, "the results of its members are no value together: too large")


def test_slots_are_kept_only_for_whoever_was_offered_them() -> None:
    world = World({"n1": (2, 1.0), "n2": (2, 1.0)})
    world.inject("n1", "n2", Reserve("n1.1.1", G, 2, TERM_S))
    world.run(0.1)
    [(_, _, _, word)] = world.told(Unreserved)
    assert isinstance(word, Unreserved)
    assert (word.reason, word.detail) == (Reason.BUSY, "a reservation without a standing bid of mine")


# --- golden transcripts ----------------------------------------------------------------------------------------------


def same(name: str, opening: str, world: World) -> None:
    said = [
        f"{at * 1000:8.1f} ms  {speaker} -> {to}: {words(message)}"
        for at, speaker, to, message in world.said
        if type(message).__name__ not in ("Renew", "Availability", "Rejection")
    ]
    golden = TRANSCRIPTS / f"gangs_{name}.txt"
    text = "\n".join([opening, "", *said]) + "\n"
    if "PARLEY_WRITE_TRANSCRIPTS" in os.environ:
        golden.write_text(text)
    assert text == golden.read_text()


def words(message: Message) -> str:
    """In a few words."""
    name = type(message).__name__
    match message:
        case Reserve(auction, task, members):
            return f"{name} [{auction}] {members} of {task.id}"
        case Reserved(auction, task) | Withdraw(auction, task):
            return f"{name} [{auction}] {task}"
        case Unreserved(auction, task, reason, detail):
            return f"{name} [{auction}] {task}: {reason}, {detail}"
        case Enlist(auction, task, epoch, ranks, members):
            return f"{name} [{auction}] {task.id}, epoch {epoch}, ranks {ranks} of {members}"
        case Returned(task, epoch, rank, reason, value, detail):
            return f"{name} {task}, epoch {epoch}, rank {rank}: {value.decode() if reason is None else detail}"
        case Enlisted(task, epoch) | Commence(task, epoch) | Prolong(task, epoch) | Prolonged(task, epoch):
            return f"{name} {task}, epoch {epoch}"
        case Dismiss(task, epoch):
            return f"{name} {task}, epoch {epoch}"
    return spoken(message)


def test_a_gang_of_three_on_two_nodes() -> None:
    world = World({"a": (1, 1.0), "b": (2, 1.0), "c": (1, 2.0)})
    world.call("a", [gang("g", 3, 0.1)])
    world.run(1.0)
    assert world.outcomes["g"][0].state is State.DONE
    same("three_on_two_nodes", "A gang of three: called, reserved node by node, awarded once, led by the first.", world)


def test_two_gangs_want_the_same_three_slots() -> None:
    world = World({"a": (2, 1.0), "b": (1, 1.0), "c": (1, 1.0)})
    world.call("c", [gang("h", 4, 0.1)])
    world.call("a", [gang("g", 4, 0.1)])
    world.run(3.0)
    assert [world.outcomes[name][0].state for name in "gh"] == [State.DONE, State.DONE]
    same("two_want_the_same", "Two gangs want all slots. Who is first at the first node is first everywhere.", world)


def test_a_member_dies_and_all_begin_anew() -> None:
    world = World({"a": (1, 1.0), "b": (1, 1.0)})
    world.fails = lambda task, epoch: (
        Finished(task.id, epoch, Reason.DIED, error="its worker died", seconds=0.05)
        if (task.id, epoch) == ("g~1", 1)
        else None
    )
    world.call("a", [gang("g", 2, 0.1)])
    world.run(3.0)
    assert world.outcomes["g"][0].state is State.DONE
    same("a_member_dies", "A member dies: the other is dismissed, the award is lost, and all begin anew.", world)
