"""Probing: who is asked when only few are."""

from __future__ import annotations

from collections import Counter

from parley.protocols.load import FADE_S, LEARNT, UNHEARD, Account, Load, Prospect
from parley.protocols.probing import NEWS, Probes

NODES = [f"n{number}" for number in range(6)]


def test_where_it_should_end_soonest_by_what_was_heard_last() -> None:
    ends = {node: float(number) for number, node in enumerate(NODES)}
    probes = Probes(2, "0")
    counts = Counter(node for _ in range(800) for node in probes.choose(NODES, lambda node: Prospect(ends[node], 1.0)))
    assert counts["n0"] == 800
    assert 600 < counts["n1"] < 800 * (1.0 - 0.5 / NEWS)
    assert all(counts[node] for node in NODES), "everybody is asked now and then"


def test_who_was_never_heard_is_tried_and_equals_are_drawn() -> None:
    probes = Probes(1, "0")
    heard = {"n0": Prospect(0.5, 8.0)}
    first = Counter(probes.choose(NODES, lambda node: heard.get(node, UNHEARD))[0] for _ in range(200))
    assert first["n0"] < 200 / NEWS
    assert all(first[node] > 10 for node in NODES[1:])


def test_few_nodes_are_all_asked_and_a_seed_says_it_all() -> None:
    assert Probes(9, "0").choose(NODES, lambda node: UNHEARD) == NODES
    chosen = [[Probes(3, seed).choose(NODES, lambda node: UNHEARD)] for seed in ("a", "a", "b", "c", "d")]
    assert chosen[0] == chosen[1]
    assert chosen[0] in chosen[1:]
    assert any(other != chosen[0] for other in chosen[2:])


def test_what_was_told_long_ago_gives_way_to_what_was_usual() -> None:
    account = Account()
    assert account.prospect(1.0, 0.0) == UNHEARD
    account.tell(Load((4.0,), 0, 0.0, 2.0), 0, 0.0)
    assert account.prospect(6.0, 0.0) == Prospect(4.0 + 3.0, 2.0)
    usual = LEARNT * 4.0
    assert abs(account.prospect(0.0, 100 * FADE_S).end_s - usual) < 1e-6
    assert usual < account.prospect(0.0, FADE_S).end_s < 4.0
