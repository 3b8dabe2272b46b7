"""Gossip: words spread, digests become equal, and all end with the same words, whoever dies, comes or is cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import pytest
from session_world import SESSION, World, names

from parley.protocols.core import NodeId, PeerError, Send
from parley.protocols.gossip import Exchange, Gossip, Row, Rumour
from parley.transport.faults import Faults

LOSSY = Faults(loss=0.2, duplication=0.1, delay_s=(0.0005, 0.03))


@dataclass(frozen=True)
class Largest:
    """Says the largest number it has heard of, and is not content before it has heard `turns` times."""

    number: int
    turns: int = 0
    heard: tuple[tuple[NodeId, bytes], ...] = ()

    def say(self) -> bytes:
        return str(self.number).encode()

    def hear(self, words: Mapping[NodeId, bytes]) -> Largest:
        largest = max([self.number, *(int(word) for word in words.values())])
        return Largest(largest, self.turns - 1, tuple(sorted(words.items())))

    @property
    def settled(self) -> bool:
        return self.turns <= 0


def world(count: int, seed: int = 0, faults: Faults | None = None, turns: int = 0) -> World:
    made = World(names(count), lambda node: Largest(int(node[1:]), turns), seed, faults)
    for node in made.members:
        made.gossip(node)
    made.wire.mesh()
    return made


def heard(made: World) -> set[object]:
    assert all(driver.finished and driver.agreed for driver in made.living)  # type: ignore[union-attr]
    return {driver.player.heard for driver in made.living}  # type: ignore[attr-defined]


def test_it_meets_a_few_and_answers() -> None:
    a = Gossip(SESSION, "a", ["a", "b", "c", "d"], Largest(1), Random(0), periods_max=10, life=0)
    sends = a.wake(0.0)
    assert [type(effect) for effect in sends] == [Send, Send]
    first = sends[0]
    assert isinstance(first, Send)
    assert isinstance(first.message, Exchange)
    assert first.message.rumours == (Rumour("a", 1, True, b"1"),)
    [other] = {"b", "c", "d"} - {effect.to for effect in sends if isinstance(effect, Send)}
    told = Exchange(SESSION, (Row(other, 1, 1, 7),), (Rumour(other, 1, True, b"5"),), False, False)
    [answer] = a.receive(told, other, 0.0)
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Exchange)
    assert answer.message.answer
    assert [rumour.node for rumour in answer.message.rumours] == ["a"]
    assert a.receive(answer.message, other, 0.0) == ()
    for last in {"b", "c", "d"} - {other}:
        a.receive(Exchange(SESSION, (), (Rumour(last, 1, True, b"0"),), True, False), last, 0.0)
    assert a.deadline is not None
    a.wake(a.deadline)
    assert a.player.say() == b"5"


def test_another_session_is_nonsense() -> None:
    a = Gossip(SESSION, "a", ["a", "b"], Largest(1), Random(0), periods_max=10)
    with pytest.raises(PeerError, match="session"):
        a.receive(Exchange("t", (), (), False, False), "b", 0.0)


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_all_end_with_the_same_words(count: int) -> None:
    made = world(count)
    made.run()
    [words] = heard(made)
    assert dict(words) == dict.fromkeys(names(count), str(count).encode())  # type: ignore[call-overload]


def test_the_end_is_not_before_three_times_the_time_a_rumour_takes() -> None:
    made = world(16)
    made.run()
    assert all(driver.periods >= 12 for driver in made.living)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(6))
def test_loss_and_death(seed: int) -> None:
    rng = Random(seed)
    made = world(9, seed, LOSSY, turns=60)
    made.wire.run(until=rng.uniform(0.02, 0.4))
    made.kill(rng.choice(made.members), notice_s=rng.uniform(0.1, 1.0))
    made.run()
    [words] = heard(made)
    assert [node for node, _ in words] == made.wire.alive()  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(4))
def test_a_newcomer_is_heard_by_all(seed: int) -> None:
    made = world(5, seed, LOSSY, turns=10)
    made.wire.run(until=0.1)
    made.gossip("n9", start_at=0.1)
    made.wire.mesh()
    made.run()
    [words] = heard(made)
    assert dict(words) == dict.fromkeys([*names(5), "n9"], b"9")  # type: ignore[call-overload]


def test_one_that_comes_back_speaks_louder_than_before() -> None:
    made = world(5, 0, LOSSY, turns=30)
    made.wire.run(until=0.15)
    made.kill("n5", notice_s=0.05)
    made.wire.run(until=0.3)
    made.fresh = lambda node: Largest(50)
    made.gossip("n5", start_at=0.3, incarnation=2)
    made.wire.mesh()
    made.run()
    [words] = heard(made)
    assert dict(words)["n1"] == b"50"  # type: ignore[call-overload]


def test_the_same_seed_gives_the_same_run() -> None:
    prints = []
    for _ in range(2):
        made = world(7, 5, LOSSY)
        made.run()
        prints.append(made.wire.fingerprint)
    assert prints[0] == prints[1]
