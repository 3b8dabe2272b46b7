"""Rounds: the barrier, what is pulled, who is slow, dead, comes late or was thought dead; all hear the same."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from session_world import SESSION, Rememberer, World, names

from parley.protocols.core import NodeId, PeerDown, PeerError, PeerUp, Publish, Send
from parley.protocols.rounds import ASK_S, ASK_S_MIN, Ask, Log, Rounds, Spoken
from parley.transport.faults import Faults

LOSSY = Faults(loss=0.2, duplication=0.1, delay_s=(0.0005, 0.03))


def world(count: int, turns: int = 5, seed: int = 0, faults: Faults | None = None, rounds_max: int = 100) -> World:
    made = World(names(count), lambda node: Rememberer(node, turns), seed, faults)
    for node in made.members:
        made.rounds(node, rounds_max=rounds_max)
    made.wire.mesh()
    return made


def alone(node: NodeId, members: list[NodeId], turns: int = 3) -> Rounds:
    return Rounds(SESSION, node, members, lambda: Rememberer(node, turns), rounds_max=50)


def spoken(node: NodeId, number: int, without: tuple[NodeId, ...] = (), revision: int = 0) -> Spoken:
    return Spoken(SESSION, node, number, revision, without, (), False, f"{node}{number - 1}".encode())


def said(effects: object) -> list[Spoken]:
    assert isinstance(effects, (list, tuple))
    return [effect.message for effect in effects if isinstance(effect, Publish) and isinstance(effect.message, Spoken)]


def histories(made: World) -> set[object]:
    return {driver.player.history for driver in made.living}  # type: ignore[attr-defined]


# -- the object alone


def test_a_round_is_closed_when_all_have_spoken() -> None:
    a = alone("a", ["a", "b", "c"])
    assert said(a.wake(0.0)) == [spoken("a", 1)]
    assert said(a.receive(spoken("b", 1), "b", 0.1)) == []
    assert said(a.receive(spoken("b", 2), "b", 0.1)) == []
    assert a.rounds == 0
    assert said(a.receive(spoken("c", 1), "c", 0.2)) == [spoken("a", 2)]
    assert a.rounds == 1
    assert a.player.history == ((("a", b"a0"), ("b", b"b0"), ("c", b"c0")),)  # type: ignore[attr-defined]


def test_what_is_missing_is_asked_of_its_speaker_and_of_whoever_has_heard_it() -> None:
    a = alone("a", ["a", "b", "c"])
    a.wake(0.0)
    a.receive(spoken("b", 1), "b", 0.01)
    assert a.deadline == ASK_S
    asked = a.wake(ASK_S)
    assert asked == [Send("b", Ask(SESSION, "c", 1)), Send("c", Ask(SESSION, "c", 1))]
    a.receive(spoken("b", 2), "b", 0.06)  # b has closed round 1, so it has heard c
    assert a.deadline == pytest.approx(2 * ASK_S)
    assert Send("b", Ask(SESSION, "c", 1)) in a.wake(2 * ASK_S)
    assert a.receive(Ask(SESSION, "b", 2), "c", 0.2) == [Send("c", spoken("b", 2))]
    assert a.receive(Ask(SESSION, "c", 1), "b", 0.2) == ()
    assert said(a.receive(spoken("c", 1), "b", 0.2)) == [spoken("a", 2)]


def test_a_word_is_asked_for_as_soon_as_it_is_late_for_this_network() -> None:
    a = Rounds(SESSION, "a", ["a", "b", "c"], lambda: Rememberer("a", 99), rounds_max=200)
    now, number = 0.0, 1
    a.wake(now)
    for number in range(1, 40):
        for node in ("b", "c"):
            a.receive(spoken(node, number), node, now + 0.001)
        now += 0.001
    assert a.deadline == pytest.approx(now + ASK_S_MIN)
    for _ in range(8):  # all words are late now
        now = a.deadline or 0.0
        assert a.wake(now)
    for node in ("b", "c"):
        a.receive(spoken(node, number + 1), node, now)
    assert a.deadline == pytest.approx(now + ASK_S)


def test_a_node_that_is_down_is_left_out_and_let_in_again_where_somebody_has_heard_it() -> None:
    a = alone("a", ["a", "b", "c"])
    a.wake(0.0)
    a.receive(spoken("b", 1), "b", 0.1)
    assert said(a.receive(PeerDown("c"), "a", 0.2)) == [spoken("a", 2, without=("c",))]
    a.receive(spoken("b", 2), "b", 0.3)  # b has heard c
    assert a.rounds == 1
    assert a.wake(0.4) == [Send("b", Ask(SESSION, "c", 1))]
    [again] = said(a.receive(spoken("c", 1), "b", 0.5))[:1]
    assert (again.round, again.revision, again.without) == (2, 1, ())
    assert a.player.history[0] == (("a", b"a0"), ("b", b"b0"), ("c", b"c0"))  # type: ignore[attr-defined]
    assert a.rounds == 2, "b had spoken in round 2 already, and c is down"


def test_a_word_of_the_dead_that_nobody_else_has_counted_stays_out() -> None:
    a = alone("a", ["a", "b", "c"])
    a.wake(0.0)
    a.receive(spoken("b", 1), "b", 0.1)
    a.receive(PeerDown("c"), "a", 0.2)
    assert said(a.receive(spoken("c", 1), "b", 0.3)) == [], "nobody has said yet that it counts"
    assert said(a.receive(spoken("b", 2, without=("c",)), "b", 0.3)) == [spoken("a", 3)]


def test_two_settled_rounds_and_one_without_words_are_the_end() -> None:
    a = Rounds(SESSION, "a", ["a"], lambda: Rememberer("a", 2), rounds_max=50)
    a.wake(0.0)
    assert a.finished
    assert a.rounds == 4, "two rounds to settle, two in which it says so"
    assert a.deadline is None
    a = Rounds(SESSION, "a", ["a"], lambda: Rememberer("a", 10), rounds_max=3)
    a.wake(0.0)
    assert (a.finished, a.rounds) == (True, 3)


def test_another_session_is_nonsense() -> None:
    with pytest.raises(PeerError, match="session"):
        alone("a", ["a", "b"]).receive(Spoken("t", "b", 1, 0, (), (), False, b""), "b", 0.0)


def test_rounds_are_counted_from_one() -> None:
    with pytest.raises(PeerError, match="counted from 1"):
        alone("a", ["a", "b"]).receive(spoken("b", 0), "b", 0.0)
    outside = alone("c", ["a", "b"])
    outside.wake(0.0)
    assert outside.receive(Log(SESSION, 1, (), (), True), "a", 0.1) == ()


# -- the fleet


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_hear_the_same(count: int) -> None:
    made = world(count)
    made.run()
    assert [driver.rounds for driver in made.living] == [7] * count  # type: ignore[union-attr]
    assert len(histories(made)) == 1
    [history] = histories(made)
    assert [len(words) for words in history] == [count] * 7  # type: ignore[attr-defined]


def test_a_round_costs_one_publication_each() -> None:
    made = world(5)
    made.run()
    sent = [made.wire.links(node).counters for node in made.members]
    assert {counters.bulletins_sent for counters in sent} == {7 + 1}, "seven rounds and one without words"


def test_nothing_is_lost_with_the_wire() -> None:
    for seed in range(5):
        made = world(6, seed=seed, faults=LOSSY)
        made.run()
        [history] = histories(made)
        assert [len(words) for words in history] == [6] * 7  # type: ignore[attr-defined]


def test_a_slow_node_is_waited_for() -> None:
    made = World(names(4), lambda node: Rememberer(node, 4))
    for node in made.members:
        made.rounds(node, start_at=3.0 if node == "n2" else 0.01)
    made.wire.mesh()
    made.wire.run(until=2.9)
    assert [driver.rounds for driver in made.living] == [0] * 4  # type: ignore[union-attr]
    made.run()
    [history] = histories(made)
    assert [len(words) for words in history] == [4] * 6  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(12))
def test_who_dies_in_the_middle_was_heard_by_all_or_by_none(seed: int) -> None:
    rng = Random(seed)
    made = world(6, turns=60, seed=seed, faults=LOSSY)
    made.wire.run(until=rng.uniform(0.02, 0.8))
    first, second = rng.sample(made.members, 2)
    made.kill(first, notice_s=rng.uniform(0.0, 0.3))
    made.wire.run(until=made.wire.now + rng.uniform(0.0, 0.3))
    made.kill(second, notice_s=rng.uniform(0.0, 0.3))
    made.run()
    assert all(driver.finished for driver in made.living)
    [history] = histories(made)
    assert len(history) == 62  # type: ignore[arg-type]
    for node in made.wire.alive():
        assert all(node in dict(words) for words in history), "who lives is never left out"  # type: ignore[attr-defined]
    assert {name for name, _ in history[-1]} == set(made.wire.alive())  # type: ignore[index]


@pytest.mark.parametrize("seed", range(6))
def test_who_was_thought_dead_takes_part_again(seed: int) -> None:
    rng = Random(seed)
    made = world(5, turns=60, seed=seed, faults=LOSSY)
    for _ in range(3):
        made.wire.run(until=made.wire.now + rng.uniform(0.05, 0.3))
        blamed, *blamers = rng.sample(made.members, 4)
        for blamer in blamers:
            made.wire.tell(blamer, PeerDown(blamed), blamer)
        made.wire.run(until=made.wire.now + rng.uniform(0.05, 0.3))
        for blamer in blamers:
            made.wire.tell(blamer, PeerUp(blamed), blamer)
    made.run()
    assert all(driver.finished for driver in made.living)
    assert len(histories(made)) == 1


@pytest.mark.parametrize("seed", [0, 1, 2, 15, 19, 25, 26, 33, 78, 84])
@pytest.mark.parametrize("who", ["pair", "many", "one"])
def test_suspicions_that_nobody_refutes_do_not_keep_a_session_from_its_end(who: str, seed: int) -> None:
    """Three times in its course; the seeds are those that once did not end, or not alike."""
    rng = Random(seed)
    made = world(5, turns=60, seed=seed, faults=LOSSY)
    for _ in range(3):
        made.wire.run(until=made.wire.now + rng.uniform(0.05, 0.3))
        blamed, *blamers = rng.sample(made.members, 4 if who == "many" else 2)
        for blamer in blamers:
            made.wire.tell(blamer, PeerDown(blamed), blamer)
        if who == "pair":
            made.wire.tell(blamed, PeerDown(blamers[0]), blamed)
    made.run()
    assert all(driver.finished for driver in made.living)
    assert len(histories(made)) == 1


def test_who_closed_a_round_is_followed_by_its_last_word_in_it_only() -> None:
    a = alone("a", ["a", "b", "c"])
    a.wake(0.0)
    for node in ("b", "c"):
        a.receive(spoken(node, 1), node, 0.1)
    a.receive(spoken("b", 2, without=("c",)), "b", 0.2)
    ahead = Spoken(SESSION, "b", 3, 0, (), (), False, b"b2", closed=1)
    assert said(a.receive(ahead, "b", 0.3)) == [], "b has spoken anew in round 2: its first word does not bind"
    assert Send("b", Ask(SESSION, "b", 2)) in a.wake(0.4)
    a.receive(spoken("b", 2, revision=1), "b", 0.5)
    assert said(a.receive(spoken("c", 2), "c", 0.6))[0].round == 3


@pytest.mark.parametrize("seed", range(4))
def test_a_newcomer_is_told_all_and_speaks(seed: int) -> None:
    made = world(4, turns=60, seed=seed, faults=LOSSY)
    made.wire.run(until=0.2)
    made.rounds("n9", start_at=0.2)
    made.wire.mesh([*made.members, "n9"])
    made.run()
    [history] = histories(made)
    counts = [len(words) for words in history]  # type: ignore[attr-defined]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (4, 5)


def test_one_that_comes_back_begins_anew() -> None:
    made = world(4, turns=40, faults=LOSSY)
    made.wire.run(until=0.2)
    made.kill("n2", notice_s=0.1)
    made.wire.run(until=0.5)
    others = [node for node in made.members if node != "n2"]
    made.members = others
    made.rounds("n2", start_at=0.5, incarnation=2)
    made.wire.mesh()
    made.run()
    [history] = histories(made)
    assert len(history[-1]) == 4  # type: ignore[index]


def test_who_comes_after_the_end_is_told_the_result() -> None:
    made = world(3)
    made.run()
    made.rounds("n9", start_at=made.wire.now)
    made.wire.mesh()
    made.run()
    assert made.drivers["n9"].finished
    assert len(histories(made)) == 1


def test_the_same_seed_gives_the_same_run() -> None:
    prints = []
    for _ in range(2):
        made = world(5, seed=3, faults=LOSSY)
        made.run()
        prints.append(made.wire.fingerprint)
    assert prints[0] == prints[1]


# -- what is said


def test_transcript() -> None:
    """Three nodes; c dies after its first word has reached b only."""
    nodes = {node: alone(node, ["a", "b", "c"], turns=2) for node in "abc"}
    lines = []
    queue = [(node, effect) for node in "abc" for effect in nodes[node].wake(0.0)]
    nodes.pop("c")
    queue += [("a", effect) for effect in nodes["a"].receive(PeerDown("c"), "a", 1.0)]
    time, told = 0.0, False
    while any(not node.finished for node in nodes.values()):
        time += 1.0
        if not queue and not told:
            told = True
            queue = [("b", effect) for effect in nodes["b"].receive(PeerDown("c"), "b", time)]
        elif not queue:
            queue = [(node, effect) for node in "ab" for effect in nodes[node].wake(time)]
        if not queue:
            continue
        (sender, effect), *queue = queue
        if isinstance(effect, Publish):
            lines.append(f"{sender} -> all: {describe(effect.message)}")
            to = [node for node in nodes if node != sender and not (sender == "c" and node == "a")]
        elif isinstance(effect, Send):
            lines.append(f"{sender} -> {effect.to}: {describe(effect.message)}")
            to = [effect.to] if effect.to in nodes else []
        else:
            continue
        queue += [(node, more) for node in to for more in nodes[node].receive(effect.message, sender, time)]
    golden = Path(__file__).parent / "transcripts" / "rounds_death.txt"
    assert "\n".join(lines) + "\n" == golden.read_text()


def describe(message: object) -> str:
    match message:
        case Spoken(node=node, round=number, revision=revision, without=without, settled=settled, word=word):
            again = f", revision {revision}" if revision else ""
            missed = f" without {', '.join(without)}" if without else ""
            end = ", settled" if settled else ""
            return f"Spoken {node} in round {number}{again}{missed}: {word.decode() or 'nothing'}{end}"
        case Ask(_, node, number):
            return f"Ask what {node} said in round {number}"
    return type(message).__name__
