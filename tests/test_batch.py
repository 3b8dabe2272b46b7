"""A batch in rounds: near the optimum, certificates that hold, equal results, and who leaves or joins in the middle."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_world import World
from tables import columns, in_rounds, optimum, small_table, unpack

from parley.protocols.batch import ROUNDS_MAX, Batch, Division, Terms, Words
from parley.protocols.columns import Opening, Table
from parley.protocols.core import NodeId
from parley.protocols.prices import Quote
from parley.transport.faults import Faults

SHORT = Terms(price_rounds=20, trade_turns=12)


def players(known: Table, terms: Terms = SHORT) -> dict[NodeId, Batch]:
    return {node: Batch(node, own, terms) for node, own in columns(known).items()}


def division(of: object) -> Division:
    assert isinstance(of, Batch)
    return of.division


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), limited=st.booleans())
def test_the_certificate_is_never_below_the_true_gap(seed: int, limited: bool) -> None:
    known = small_table(seed, limited=limited)
    ended, rounds = in_rounds(players(known))
    results = [division(player) for player in ended.values()]
    assert all(result == results[0] for result in results)
    assert rounds <= ROUNDS_MAX
    result, best = results[0], optimum(known)
    assert sorted(task for tasks in result.tasks.values() for task in tasks) == list(range(6))
    assert result.bound <= best
    if result.overload == 0.0:
        assert result.value >= best
        assert result.certificate is not None
        assert result.certificate >= (result.value - best) / best - 1e-9


def test_small_ones_are_solved_nearly_always() -> None:
    gaps = []
    for seed in range(16):
        known = small_table(seed, limited=seed % 2 == 0)
        result = division(next(iter(in_rounds(players(known))[0].values())))
        assert result.overload == 0.0
        gaps.append(result.value / optimum(known) - 1.0)
    assert sum(gap < 1e-9 for gap in gaps) >= 12
    assert max(gaps) < 0.15


def test_without_trade_it_ends_with_the_clearing() -> None:
    known = small_table(5, limited=False)
    with_trade = division(in_rounds(players(known))[0]["n0"])
    without = division(in_rounds(players(known, Terms(price_rounds=25, trade_turns=0)))[0]["n0"])
    assert without.value >= with_trade.value


def world(known: Table, seed: int, terms: Terms = SHORT) -> World:
    own = columns(known)
    made = World(list(known.nodes), lambda node: Batch(node, own[node], terms), seed, Faults(loss=0.1))
    for node in known.nodes[:-1]:
        made.members = list(known.nodes[:-1])
        made.rounds(node, rounds_max=ROUNDS_MAX)
    made.wire.mesh()
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limited", [False, True])
def test_who_leaves_and_who_joins(seed: int, limited: bool) -> None:
    """Five begin, one dies, a sixth comes: those who are left divide all tasks, and agree."""
    known = small_table(seed, limited=limited, nodes=6, tasks=20)
    made = world(known, seed)
    made.wire.run(until=0.3 + seed)
    made.kill("n1")
    made.wire.run(until=0.8 + seed)
    made.rounds("n5", rounds_max=ROUNDS_MAX, start_at=made.wire.now)
    made.wire.mesh(["n0", "n2", "n3", "n4", "n5"])
    made.run(600.0)
    results = [division(driver.player) for driver in made.living]
    assert all(driver.finished for driver in made.living)
    assert all(result == results[0] for result in results)
    assert sorted(task for tasks in results[0].tasks.values() for task in tasks) == list(range(20))


def test_one_whose_column_is_nonsense_gets_nothing() -> None:
    known = small_table(7, limited=False)
    ours = players(known)
    words = {node: player.say() for node, player in ours.items()}
    words["n1"] = b"nonsense"
    heard = {node: player.hear(words) for node, player in ours.items()}
    assert heard["n0"].table is not None
    assert heard["n0"].table.nodes == ("n0", "n2")
    assert heard["n1"].table is not None
    assert heard["n1"].table.nodes == ("n0", "n2")


def test_transcript() -> None:
    """Three tasks on two nodes, told as it is said."""
    known = small_table(11, limited=False, nodes=2, tasks=3)
    current = dict(players(known, Terms(price_rounds=3, trade_turns=4)))
    lines = [f"{node}: costs {row.costs.tolist()}" for node, row in columns(known).items()]
    number = 0
    settled = 0
    while settled < 2:
        number += 1
        words = {node: player.say() for node, player in current.items()}
        lines += [f"round {number}  {node} -> all: {told(word)}" for node, word in words.items()]
        settled = settled + 1 if all(player.settled for player in current.values()) else 0
        current = {node: player.hear(words) for node, player in current.items()}
        lines += [f"          bound {current['n0'].bound:.4f}"] if number in (1, 2, 3, 4) else []
    result = current["n0"].division
    lines.append(f"makespan {result.value:g}, certificate {100 * (result.certificate or 0):.2f} %")
    golden = Path(__file__).parent / "transcripts" / "batch_rounds.txt"
    assert "\n".join(lines) + "\n" == golden.read_text()


def told(word: bytes) -> str:
    said = msgspec.msgpack.decode(word, type=Words)
    match said:
        case Opening():
            return "Opening"
        case Quote(step, price, load, _):
            return f"Quote step {step}: price {price:.4f}, load {load:g}"
    return f"Holding version {said.version}: {unpack(said.tasks)}"
