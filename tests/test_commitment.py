"""Commitment as a whole: hundreds of seeds of trouble, and planted mistakes that are caught."""

from __future__ import annotations

import random

import pytest
from commitment_mistakes import PATCHES, SWITCHES, Plant
from commitment_world import Violation, World

from parley.protocols.commitment import ENTRUSTED_S, Commitment
from parley.protocols.commitment_words import (
    AnyWord,
    Choice,
    Chosen,
    Commit,
    Decided,
    Fence,
    Held,
    Hold,
    Learn,
    Moved,
    Pledge,
    Prepare,
    Promise,
    Spec,
    Talk,
    Unheld,
    Vote,
    Warrant,
    Why,
)
from parley.protocols.contract_events import TaskCommitted
from parley.protocols.core import Event, Outcome, PeerDown, PeerUp, Send, State, Task
from parley.protocols.epochs import Epoch

SEEDS = 60
SEEDS_UNTIL_CAUGHT = 600


@pytest.mark.parametrize(
    ("options", "first"),
    [({}, 0), ({"dies": True}, 1_000), ({"once": True}, 2_000), ({"holders": 1}, 3_000), ({"holders": 5}, 4_000)],
    ids=["three holders", "one dies for good", "at most once", "one holder", "five holders"],
)
def test_nothing_acknowledged_is_lost_and_nothing_ends_twice(options: dict[str, int], first: int) -> None:
    ended = again = 0
    for seed in range(first, first + SEEDS):
        world = World(seed, **options)  # type: ignore[arg-type]
        try:
            world.run()
        except Violation as violation:
            raise AssertionError(f"seed {seed}, {options}: {violation}") from None
        ended += len(world.watcher.chosen)
        again += sum(world.watcher.starts.values()) > len(world.watcher.chosen)
    assert ended > 2.9 * SEEDS  # three tasks each
    assert again > SEEDS / 10 or options.get("once")  # there was trouble enough


def test_the_same_seed_is_the_same_run() -> None:
    def fingerprint() -> object:
        world = World(17, dies=True)
        world.run()
        return world.now, world.watcher.chosen, world.watcher.told, world.watcher.starts

    assert fingerprint() == fingerprint()


@pytest.mark.parametrize(("plant", "options", "first"), PATCHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_mistake_is_caught(
    plant: Plant, options: dict[str, bool], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert caught(options, first)


@pytest.mark.parametrize(("switch", "first"), SWITCHES)
def test_a_mistake_of_those_around_is_caught(switch: str, first: int) -> None:
    assert caught({switch: True}, first)


def caught(options: dict[str, bool], first: int) -> bool:
    for seed in range(first, first + SEEDS_UNTIL_CAUGHT):
        try:
            World(seed, **options).run()
        except Violation:
            return True
    return False


@pytest.mark.parametrize(("died_at", "told"), [(1.0, True), (ENTRUSTED_S + 0.1, False)])
def test_a_winner_tells_the_log_what_an_owner_that_is_killed_may_not_have_written(died_at: float, told: bool) -> None:
    winner = Commitment("w", 1, random.Random(1), 0.0)
    for node in ("w", "o"):
        winner.receive(PeerUp(node), "w", 0.0)
    owned = Epoch(0, "o", 1)
    spec = Spec(Task("T", "k"), b"", ("o", "w", "v"))
    winner.receive(Talk((Hold(spec, owned, 0, False),), "o", "w"), "o", 0.0)
    winner.accept("T", Warrant(owned, spec.holders, 0, 1), 0.0)
    outcome = Outcome("T", State.DONE, b"value", node="w", epoch=1, attempts=1)
    winner.done(owned, outcome, 0.0)
    winner.receive(Pledge((Vote("T", 0, owned, start=False),), "o", "w"), "o", 0.0)
    winner.receive(Pledge((Vote("T", 0, owned, start=False),), "w", "w"), "w", 0.0)
    effects = winner.receive(PeerDown("o"), "w", died_at)
    assert [isinstance(effect, TaskCommitted) for effect in effects if isinstance(effect, Event)] == [True] * told


def test_where_a_task_went_once_says_nothing_of_later_moves() -> None:
    """It went away from this holder, and is to come back in its third move."""
    here = Commitment("h", 1, random.Random(1), 0.0)
    owned, later = Epoch(0, "a", 1), Epoch(1, "a", 1)
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    away = Choice(moved=Moved(("a", "b", "c"), owned))

    def says(*words: AnyWord) -> list[AnyWord]:
        here.receive(Talk(words, "a", "h"), "a", 0.0)
        sent = [effect.message for effect in here.wake(0.0) if isinstance(effect, Send) and effect.to == "a"]
        return [word for message in sent if isinstance(message, Pledge | Talk) for word in message.words]

    assert [type(word) for word in says(Hold(spec, owned, 0, False))] == [Held]
    says(Learn("T", 0, away))
    assert here.holder.undecided == []
    assert says(Prepare("T", 0, later, Why.ORPHAN)) == [Decided("T", 0, away)]
    assert says(Prepare("T", 2, later, Why.ORPHAN)) == [Unheld("T", 2)]
    assert says(Promise("T", 2, later, later, None, False)) == []
    assert says(Hold(spec, later, 2, False)) == [Held("T", 2, later)]


def test_who_knows_where_a_task_went_hears_how_it_ended_there() -> None:
    here = Commitment("h", 1, random.Random(1), 0.0)
    owned = Epoch(0, "a", 1)
    away, done = Choice(moved=Moved(("a", "b", "c"), owned)), Choice(Outcome("T", State.DONE, b"value"))
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    told: list[Chosen] = []
    for word in (Hold(spec, owned, 0, False), Learn("T", 0, away), Learn("T", 1, done), Learn("T", 1, done)):
        effects = here.receive(Talk((word,), "a", "h"), "a", 0.0)
        told += [one.message for one in effects if isinstance(one, Send) and isinstance(one.message, Chosen)]
    assert told == [Chosen("T", done.outcome)]


def test_who_stands_by_a_task_and_does_not_hold_it_hears_how_it_ended() -> None:
    """Its client has gone over to an agent that is none of its holders; another is ahead of it; also if it moves."""
    here = Commitment("h", 1, random.Random(1), 0.0)
    owned, late = Epoch(0, "a", 1), Epoch(0, "z", 1)
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    done = Choice(Outcome("T", State.DONE, b"value"))
    for sender, epoch, move in (("a", owned, 0), ("z", late, 0), ("a", owned, 1)):
        here.receive(Talk((Hold(spec, epoch, move, False),), sender, "h"), sender, 0.0)
    here.wake(0.0)
    here.receive(Pledge((Learn("T", 1, done),), "a", "h"), "a", 0.0)
    sent = [effect for effect in here.wake(0.0) if isinstance(effect, Send) and effect.to == "z"]
    words = [word for effect in sent if isinstance(effect.message, Pledge | Talk) for word in effect.message.words]
    assert words == [Learn("T", 1, done)]


def test_a_holder_that_lacks_a_task_tells_its_owner_when_a_winner_wants_its_vote() -> None:
    here = Commitment("h", 1, random.Random(1), 0.0)
    commit = Commit("T", 0, Epoch(0, "a", 1), Choice(Outcome("T", State.DONE, b"value")))
    here.receive(Pledge((commit,), "w", "h"), "w", 0.0)
    sent = [effect for effect in here.wake(0.0) if isinstance(effect, Send)]
    words = {effect.to: effect.message.words for effect in sent if isinstance(effect.message, Pledge | Talk)}
    assert words == {"w": (Unheld("T", 0),), "a": (Unheld("T", 0),)}


def test_whose_epoch_is_overtaken_is_told_by_who_promises() -> None:
    here = Commitment("h", 1, random.Random(1), 0.0)
    owned, later, moving = Epoch(0, "a", 1), Epoch(1, "b", 1), Epoch(2, "b", 1)
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    here.receive(Talk((Hold(spec, owned, 0, False),), "a", "h"), "a", 0.0)
    here.wake(0.0)

    def says(*words: AnyWord) -> dict[str, tuple[AnyWord, ...]]:
        here.receive(Pledge(words, "b", "h"), "b", 0.0)
        sent = [effect for effect in here.wake(0.0) if isinstance(effect, Send)]
        return {effect.to: effect.message.words for effect in sent if isinstance(effect.message, Pledge)}

    promise = Promise("T", 0, later, later, None, False)
    assert says(Prepare("T", 0, later, Why.ORPHAN)) == {"b": (promise,), "a": (Fence("T", 0, owned, later),)}
    assert says(Prepare("T", 0, later, Why.ORPHAN)) == {"b": (promise,)}  # once
    assert says(Prepare("T", 0, moving, Why.MOVE)).keys() == {"b"}  # whoever owns it owns it where it goes


def test_who_keeps_a_result_from_being_decided_hurries() -> None:
    """Of two holders that are left, one may only vote in its own later epoch, and the other is the winner's."""
    here = Commitment("h", 1, random.Random(1), 0.0)
    for node in ("h", "a", "b"):
        here.receive(PeerUp(node), "h", 0.0)
    first = Epoch(0, "a", 1)
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    here.receive(Talk((Hold(spec, first, 0, False),), "a", "h"), "a", 0.0)
    here.receive(PeerDown("a"), "h", 0.1)

    def said(now: float) -> dict[str, set[type[AnyWord]]]:
        words: dict[str, set[type[AnyWord]]] = {}
        for effect in here.wake(now):
            if isinstance(effect, Send) and isinstance(effect.message, Pledge | Talk):
                words.setdefault(effect.to, set()).update(type(word) for word in effect.message.words)
                if effect.to == "h":
                    here.receive(effect.message, "h", now)
        return words

    assert Prepare in said(0.4)["b"]
    said(0.4)  # it has promised that itself
    done = Choice(Outcome("T", State.DONE, b"v", node="b", epoch=1))
    here.receive(Pledge((Commit("T", 0, first, done),), "b", "h"), "b", 0.5)
    assert said(0.5)["b"] >= {Fence, Prepare}


def test_who_is_taken_for_the_owner_of_a_task_and_does_not_see_to_it_begins_to() -> None:
    """It had given way to one that only moved it; and the word by which it stands by others is taken for this one's."""
    here = Commitment("h", 1, random.Random(1), 0.0)
    for node in ("h", "a", "b"):
        here.receive(PeerUp(node), "h", 0.0)
    here.hold(Spec(Task("other", "k"), b"", ("h", "a", "b")), 0.0)
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    here.receive(Talk((Hold(spec, Epoch(1, "h", 1), 1, False),), "a", "h"), "a", 0.0)
    while "T" not in here.opener:
        assert here.deadline is not None
        assert here.deadline < 3.0
        for effect in here.wake(here.deadline):
            if isinstance(effect, Send) and effect.to == "h":
                here.receive(effect.message, "h", here.deadline or 0.0)
    assert here.opener.spec("T") == spec


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ((), "3 nodes hold it; a sees to it, or did"),
        (("a",), "3 nodes hold it; a sees to it, or did"),
        (("a", "b"), "2 of its 3 holders are gone: it waits for a or b to come back"),
    ],
    ids=["all live", "one dead", "no majority"],
)
def test_a_task_without_a_majority_of_its_holders_says_whom_it_waits_for(gone: tuple[str, ...], reason: str) -> None:
    here = Commitment("h", 1, random.Random(1), 0.0)
    for node in ("h", "a", "b"):
        here.receive(PeerUp(node), "h", 0.0)
    spec = Spec(Task("T", "k"), b"", ("a", "h", "b"))
    here.receive(Talk((Hold(spec, Epoch(0, "a", 1), 0, False),), "a", "h"), "a", 0.0)
    for node in gone:
        here.receive(PeerDown(node), "h", 0.1)
    [sighting] = here.sight("T")
    assert sighting.line.reason == reason
    here.wake(0.5)  # its owner is silent: this node sees to it
    assert ("T" in here.opener) is bool(gone)
    assert here.waits_for_holders("T") == (reason if len(gone) == 2 else "")
