"""Blobs on their way: the carrier alone, then several of them on virtual time, with liars, deaths and full disks."""

from __future__ import annotations

import random

import pytest
from blob_world import World, blob_of

from parley.protocols.blobs import (
    PART_BYTES,
    AskPart,
    BlobPart,
    BlobsRefused,
    BlobsTaken,
    CheckBlob,
    DoubtBlob,
    DropParts,
    Gather,
    Gathered,
    NoBlob,
    OfferBlobs,
    PartRead,
    PartWritten,
    ReadPart,
    Release,
    WritePart,
)
from parley.protocols.carrier import (
    ASKED_MAX,
    FETCHES_MAX,
    OFFER_KEPT_S,
    READS_MAX,
    STALL_S,
    STALLS_MAX,
    WINDOW_MAX,
    Carrier,
)
from parley.protocols.core import Message, NodeId, PeerDown, PeerError, Reference, Send

RUN = ("run", "task", "1")
BIG = random.Random(5).randbytes(10 * PART_BYTES + 17)


def nothing(_: Reference) -> bool:
    return False


# --- one carrier -----------------------------------------------------------------------------------------------------


def test_a_blob_is_asked_for_written_and_told_of() -> None:
    data = BIG[: PART_BYTES + 5]
    blob = blob_of(data)
    carrier = Carrier("a", nothing)
    asked = carrier.receive(Gather(RUN, (blob,), ("b",)), "a", 0.0)
    assert asked == [Send("b", AskPart(blob, 0)), Send("b", AskPart(blob, PART_BYTES))]
    first = carrier.receive(BlobPart(blob, 0, data[:PART_BYTES]), "b", 0.01)
    assert first == [WritePart(blob, 0, data[:PART_BYTES])]
    second = carrier.receive(BlobPart(blob, PART_BYTES, data[PART_BYTES:]), "b", 0.01)
    assert second == [WritePart(blob, PART_BYTES, data[PART_BYTES:])]
    assert carrier.receive(PartWritten(blob, PART_BYTES), "a", 0.02) == []
    assert carrier.receive(PartWritten(blob, len(data)), "a", 0.02) == [Send("a", Gathered(RUN))]
    assert carrier.pinned(blob)
    carrier.receive(Release(RUN), "a", 0.03)
    assert not carrier.pinned(blob)


def test_what_is_here_is_not_asked_for() -> None:
    carrier = Carrier("a", lambda blob: True)
    assert carrier.receive(Gather(RUN, (blob_of(BIG),), ("b",)), "a", 0.0) == [Send("a", Gathered(RUN))]
    assert carrier.deadline is None


def test_what_is_not_here_and_nowhere_else_is_told_at_once() -> None:
    carrier = Carrier("a", nothing)
    [told] = carrier.receive(Gather(RUN, (blob_of(BIG),)), "a", 0.0)
    assert isinstance(told, Send)
    assert isinstance(told.message, Gathered)
    assert "hand it in again" in told.message.error
    assert not carrier.pinned(blob_of(BIG))


def test_an_empty_blob_needs_no_question() -> None:
    carrier = Carrier("a", nothing)
    empty = blob_of(b"")
    assert carrier.receive(Gather(RUN, (empty,), ("b",)), "a", 0.0) == [WritePart(empty, 0, b"")]
    assert carrier.receive(PartWritten(empty, 0), "a", 0.0) == [Send("a", Gathered(RUN))]


def test_an_empty_blob_of_another_name_ends() -> None:
    carrier = Carrier("a", nothing)
    odd = Reference(b"x" * 32, 0)
    carrier.receive(Gather(RUN, (odd,), ("b", "c")), "a", 0.0)
    [told] = carrier.receive(PartWritten(odd, 0, spoilt=True), "a", 0.0)
    assert isinstance(told, Send)
    assert told.message == Gathered(RUN, "a large value has a name that nothing can have")


@pytest.mark.parametrize(
    ("part", "sender"),
    [
        (BlobPart(blob_of(b"other"), 0, b"other"), "b"),  # nobody asked for it
        (BlobPart(blob_of(BIG), 2 * PART_BYTES, BIG[:PART_BYTES]), "b"),  # not for this part yet
        (BlobPart(blob_of(BIG), 1, BIG[:PART_BYTES]), "c"),  # not of this node
        (BlobPart(blob_of(BIG), 10 * PART_BYTES, BIG[-17:]), "b"),
    ],
)
def test_a_part_that_nobody_asked_for_is_refused(part: BlobPart, sender: NodeId) -> None:
    carrier = Carrier("a", nothing)
    carrier.receive(Gather(RUN, (blob_of(BIG),), ("b",)), "a", 0.0)
    with pytest.raises(PeerError, match="nobody here has asked"):
        carrier.receive(part, sender, 0.0)


@pytest.mark.parametrize("offset", [1, PART_BYTES - 1, 11 * PART_BYTES, 2**40])
def test_a_question_for_what_is_no_part_is_refused(offset: int) -> None:
    with pytest.raises(PeerError, match="asks for byte"):
        Carrier("a", lambda blob: True).receive(AskPart(blob_of(BIG), offset), "b", 0.0)


def test_endless_parts_are_refused_after_the_last() -> None:
    data = BIG[:PART_BYTES]
    blob = blob_of(data)
    carrier = Carrier("a", nothing)
    carrier.receive(Gather(RUN, (blob,), ("b",)), "a", 0.0)
    carrier.receive(BlobPart(blob, 0, data), "b", 0.0)
    for offset in (PART_BYTES, 2 * PART_BYTES):
        with pytest.raises(PeerError, match="nobody here has asked"):
            carrier.receive(BlobPart(blob, offset, data), "b", 0.0)


def test_a_part_of_the_wrong_size_ends_the_fetch_from_there() -> None:
    blob = blob_of(BIG)
    carrier = Carrier("a", nothing)
    carrier.receive(Gather(RUN, (blob,), ("b", "c")), "a", 0.0)
    asked = carrier.receive(BlobPart(blob, 0, b"short"), "b", 0.0)
    assert asked[0] == Send("c", AskPart(blob, 0))


def test_what_is_no_longer_wanted_is_dropped_and_its_late_parts_are_no_nonsense() -> None:
    blob = blob_of(BIG)
    carrier = Carrier("a", nothing)
    carrier.receive(Gather(RUN, (blob,), ("b",)), "a", 0.0)
    carrier.receive(BlobPart(blob, 0, BIG[:PART_BYTES]), "b", 0.0)
    assert carrier.receive(Release(RUN), "a", 0.0) == [DropParts(blob)]
    assert carrier.receive(BlobPart(blob, PART_BYTES, BIG[PART_BYTES : 2 * PART_BYTES]), "b", 0.0) == ()
    assert carrier.receive(PartWritten(blob, PART_BYTES), "a", 0.0) == ()


def test_an_asker_cannot_flood_a_holder() -> None:
    carrier = Carrier("a", lambda blob: True)
    blob = Reference(b"x" * 32, 2**40)
    effects = [
        effect for number in range(1000) for effect in carrier.receive(AskPart(blob, number * PART_BYTES), "b", 0.0)
    ]
    assert effects == [ReadPart(blob, number * PART_BYTES, "b") for number in range(READS_MAX)]
    done = [carrier.receive(PartRead("b", blob, number * PART_BYTES, b"data"), "a", 0.0) for number in range(ASKED_MAX)]
    assert [type(effect) for effects in done for effect in effects].count(ReadPart) == ASKED_MAX - READS_MAX
    assert carrier.receive(AskPart(blob, 0), "b", 0.0) == [ReadPart(blob, 0, "b")], "it may ask again"


def test_what_vanished_between_question_and_answer_is_said() -> None:
    carrier = Carrier("a", lambda blob: True)
    blob = blob_of(BIG)
    carrier.receive(AskPart(blob, 0), "b", 0.0)
    assert carrier.receive(PartRead("b", blob, 0, None), "a", 0.0) == [Send("b", NoBlob(blob))]
    assert Carrier("a", nothing).receive(AskPart(blob, 0), "b", 0.0) == [Send("b", NoBlob(blob))]


def test_a_doubted_blob_is_checked_if_it_is_here() -> None:
    blob = blob_of(BIG)
    assert Carrier("a", lambda blob: True).receive(DoubtBlob(blob), "b", 0.0) == [CheckBlob(blob)]
    assert Carrier("a", nothing).receive(DoubtBlob(blob), "b", 0.0) == ()


# --- several ---------------------------------------------------------------------------------------------------------


def test_a_blob_comes_over_whole_within_the_window() -> None:
    world = World("a", "b")
    blob = world.nodes["b"].put(BIG)
    world.gather("a", RUN, [blob], "b")
    world.run()
    assert world.nodes["a"].whole == {blob: BIG}
    assert world.nodes["a"].gathered == {RUN: ""}
    assert world.sent() == len(BIG)
    assert 2 <= world.under_way_max("a", "b") <= WINDOW_MAX
    assert world.refused == []


def test_a_slow_line_keeps_one_part_under_way() -> None:
    world = World("a", "b", delay_s=(0.2, 0.2))
    blob = world.nodes["b"].put(BIG)
    world.gather("a", RUN, [blob], "b")
    world.run(stop=lambda: world.asked("b") >= 6)
    before = len(world.said)
    world.run(stop=lambda: world.asked("b") >= 9)
    waiting = [type(message).__name__ for _, _, message in world.said[before:]]
    assert waiting == ["BlobPart", "AskPart"] * (len(waiting) // 2), "one question, one answer"
    world.run()
    assert world.nodes["a"].gathered == {RUN: ""}


def test_several_ask_at_once_and_each_blob_comes_once() -> None:
    world = World("a", "b", "c", "d")
    blobs = [world.nodes["a"].put(BIG + bytes([number])) for number in range(20)]
    for name in ("b", "c", "d"):
        for number, blob in enumerate(blobs):
            world.gather(name, ("run", str(number), "1"), [blob, blobs[0]], "a")
    world.run()
    for name in ("b", "c", "d"):
        assert set(world.nodes[name].whole) == set(blobs)
        assert set(world.nodes[name].gathered.values()) == {""}
        assert world.under_way_max(name, "a") <= WINDOW_MAX
    assert world.sent() == 3 * sum(blob.size for blob in blobs)


def test_more_than_may_be_begun_at_once_wait_in_order() -> None:
    world = World("a", "b")
    blobs = [world.nodes["b"].put(bytes([number]) * 1000) for number in range(3 * FETCHES_MAX)]
    world.gather("a", RUN, blobs, "b")
    world.run()
    assert [message.blob for _, _, message in world.said if isinstance(message, AskPart)] == blobs
    assert world.nodes["a"].gathered == {RUN: ""}


def test_the_next_holder_goes_on_where_one_has_died() -> None:
    world = World("a", "b", "c")
    for name in ("b", "c"):
        blob = world.nodes[name].put(BIG)
    world.gather("a", RUN, [blob], "b", "c")
    world.run(stop=lambda: len(world.nodes["a"].parts.get(blob, b"")) >= 3 * PART_BYTES)
    world.kill("b")
    world.run()
    assert world.nodes["a"].gathered == {RUN: ""}
    first = next(message.offset for _, to, message in world.said if to == "c" and isinstance(message, AskPart))
    assert first >= 3 * PART_BYTES, "what was here already was not asked for again"


def test_the_last_holders_death_is_told_and_nothing_is_left() -> None:
    world = World("a", "b")
    blob = world.nodes["b"].put(BIG)
    other = world.nodes["b"].put(BIG[:100])
    world.gather("a", RUN, [blob, other], "b")
    world.run(stop=lambda: blob in world.nodes["a"].parts)
    world.kill("b")
    world.run()
    assert world.nodes["a"].gathered == {RUN: "a large value that it needs cannot be had: b is gone"}
    assert world.nodes["a"].parts == {}
    assert not world.nodes["a"].carrier.pinned(blob)
    assert world.nodes["a"].carrier.deadline is None


@pytest.mark.parametrize("seed", range(40))
def test_whoever_dies_a_blob_is_whole_or_its_want_has_failed(seed: int) -> None:
    """Losses, liars and deaths in any order: no want is forgotten, no bytes are wrong, nothing is left half."""
    chance = random.Random(seed)
    world = World("a", "b", "c", "d", seed=seed)
    datas: dict[Reference, bytes] = {}
    blobs = []
    for _ in range(6):
        data = BIG[: chance.randrange(1, 6 * PART_BYTES)]
        blob = blob_of(data)
        datas[blob] = data
        blobs.append(blob)
        for name in ("b", "c", "d"):
            if chance.random() < 0.7:
                world.nodes[name].whole[blob] = data if chance.random() < 0.8 else data[:-1] + b"!"

    def tamper(sender: NodeId, to: NodeId, message: Message) -> Message | None:
        return None if chance.random() < 0.02 else message

    world.tamper = tamper
    keys = [("run", str(number), "1") for number in range(4)]
    for key in keys:
        sources = chance.sample(["b", "c", "d"], 2)
        world.gather("a", key, chance.sample(blobs, 3), *sources)
    for name in chance.sample(["b", "c", "d"], chance.randrange(3)):
        world.run(until=world.now + chance.uniform(0.0, 0.02))
        world.kill(name)
    world.run(until=500.0)
    a = world.nodes["a"]
    assert set(a.gathered) == set(keys)
    assert a.parts == {}
    assert all(a.whole[blob] == datas[blob] for blob in a.whole)
    assert a.carrier.deadline is None
    for key in keys:
        a.carrier.receive(Release(key), "a", world.now)
    assert not any(map(a.carrier.pinned, blobs))


def test_wrong_bytes_are_noticed_doubted_and_asked_for_elsewhere() -> None:
    world = World("a", "b", "c")
    blob = blob_of(BIG)
    world.nodes["b"].whole[blob] = b"x" + BIG[1:]
    world.nodes["c"].whole[blob] = BIG
    world.gather("a", RUN, [blob], "b", "c")
    world.run()
    assert world.nodes["a"].whole == {blob: BIG}
    assert world.nodes["b"].whole == {}, "it has looked, and will not lend it again"
    assert world.nodes["a"].gathered == {RUN: ""}


def test_wrong_bytes_of_the_only_holder_are_told() -> None:
    world = World("a", "b")
    blob = blob_of(BIG)
    world.nodes["b"].whole[blob] = b"x" + BIG[1:]
    world.gather("a", RUN, [blob], "b")
    world.run()
    assert "what b sent is not what its name says" in world.nodes["a"].gathered[RUN]
    assert world.nodes["a"].whole == {}


def test_where_several_have_sent_parts_none_is_blamed_before_one_has_sent_all() -> None:
    world = World("a", "b", "c")
    blob = blob_of(BIG)
    world.nodes["b"].whole[blob] = b"x" + BIG[1:]
    world.nodes["c"].whole[blob] = BIG
    world.gather("a", RUN, [blob], "b", "c")
    world.run(stop=lambda: blob in world.nodes["a"].parts)
    world.kill("b")
    world.run()
    assert world.nodes["a"].whole == {blob: BIG}
    assert not any(isinstance(message, DoubtBlob) for _, _, message in world.said)


def test_a_full_disk_is_told_to_all_who_want_it() -> None:
    world = World("a", "b")
    blob = world.nodes["b"].put(BIG)
    world.nodes["a"].full = True
    world.gather("a", RUN, [blob], "b")
    world.gather("a", ("run", "other", "1"), [blob], "b")
    world.run()
    assert world.nodes["a"].gathered == {RUN: "the disk is full", ("run", "other", "1"): "the disk is full"}


def test_a_lost_answer_is_asked_for_again() -> None:
    world = World("a", "b")
    blob = world.nodes["b"].put(BIG)
    lost: list[Message] = []

    def lose_one(sender: NodeId, to: NodeId, message: Message) -> Message | None:
        if isinstance(message, BlobPart) and message.offset == PART_BYTES and not lost:
            lost.append(message)
            return None
        return message

    world.tamper = lose_one
    world.gather("a", RUN, [blob], "b")
    world.run()
    assert lost
    assert STALL_S <= world.now < 3 * STALL_S
    assert world.nodes["a"].gathered == {RUN: ""}


def test_a_holder_that_says_nothing_is_given_up() -> None:
    world = World("a", "b")
    blob = world.nodes["b"].put(BIG)
    world.tamper = lambda sender, to, message: None if isinstance(message, BlobPart) else message
    world.gather("a", RUN, [blob], "b")
    world.run()
    assert "b sends nothing any more" in world.nodes["a"].gathered[RUN]
    assert world.now < STALL_S * (STALLS_MAX + 1) ** 2


# --- clients ---------------------------------------------------------------------------------------------------------


def test_an_offer_is_fetched_once_and_then_costs_nothing() -> None:
    world = World("agent", "client")
    blob = world.nodes["client"].put(BIG)
    for task in ("one", "two"):
        world.tell("agent", OfferBlobs(task, (blob,)), "client")
        world.run(until=world.now + 1.0)
    assert world.nodes["client"].told == [BlobsTaken("one"), BlobsTaken("two")]
    assert world.sent() == len(BIG)


def test_an_offer_is_kept_for_its_task_and_not_for_ever() -> None:
    world = World("agent", "client")
    blob = world.nodes["client"].put(BIG)
    world.tell("agent", OfferBlobs("task", (blob,)), "client")
    world.run(until=OFFER_KEPT_S - 1)
    carrier = world.nodes["agent"].carrier
    assert carrier.pinned(blob)
    world.run()
    assert not carrier.pinned(blob)
    assert carrier.deadline is None


def test_an_offer_of_what_the_client_does_not_have_is_refused() -> None:
    world = World("agent", "client")
    world.tell("agent", OfferBlobs("task", (blob_of(BIG),)), "client")
    world.run()
    [refused] = world.nodes["client"].told
    assert isinstance(refused, BlobsRefused)
    assert "client does not have it" in refused.error


def test_what_a_task_has_taken_over_outlives_its_offer() -> None:
    world = World("agent", "client")
    blob = world.nodes["client"].put(BIG)
    world.tell("agent", OfferBlobs("task", (blob,)), "client")
    world.run(until=1.0)
    world.gather("agent", ("task", "task"), [blob])
    world.release("agent", "offer", "client", "task")
    assert world.nodes["agent"].carrier.pinned(blob)
    world.release("agent", "task", "task")
    assert not world.nodes["agent"].carrier.pinned(blob)


def test_a_peer_that_was_never_a_source_may_die() -> None:
    carrier = Carrier("a", nothing)
    assert carrier.receive(PeerDown("b"), "a", 0.0) == []
