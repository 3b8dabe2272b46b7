"""What would have changed an award, rule by rule, told and true: with the change made, the rule chooses otherwise."""

from __future__ import annotations

import msgspec
import pytest

from parley.launch.analysis.what_if import what_if
from parley.protocols.award_rules import RULES, Offer
from parley.protocols.batch_words import PROTOCOL
from parley.protocols.contract_events import BidLine, DeclineLine
from parley.protocols.performatives import Reason


def bid(node: str, free: int = 1, speed: float = 1.0, **terms: float) -> BidLine:
    return BidLine(node, sum(terms.values()), terms, free, speed)


def winner(rule: str, bids: list[BidLine]) -> str:
    offers = [
        Offer(one.node, one.terms.get("queue", 0.0), one.cost - one.terms.get("queue", 0.0), one.free, one.speed)
        for one in bids
    ]
    return RULES[rule].choose(offers, 1).node


def told(rule: str, bids: list[BidLine], **absent: object) -> list[str]:
    chosen = winner(rule, bids)
    by_cost = sorted(bids, key=lambda one: (one.cost, one.node))
    return [one.text for one in what_if(rule, chosen, by_cost, absent.get("declines", ()), absent.get("silent", ()))]  # type: ignore[arg-type]


BIDS = [
    bid("n1", queue=0.0, run=1.0),
    bid("n2", queue=0.5, run=0.9),
    bid("n3", queue=0.0, run=0.8, load_model=2.1),
    bid("n4", queue=0.0, run=1.5, transfer=0.2),
    bid("n5", queue=3.0, run=3.0),
]


def test_the_nearest_bidders_are_told_what_they_lacked() -> None:
    assert told("contract-net", BIDS) == [
        "n2 would have won by 100 ms had it been free at once (queue 500 ms)",
        "n4 would have won had it run it in less than 800 ms, not 1.50 s",
        "n3 would have won by 200 ms with its model loaded (load_model 2.10 s)",
    ]
    assert told("contract-net", [BIDS[0], BIDS[4]]) == [
        "no single term would have won it for n5, which was 5.00 s behind"
    ]
    assert told("contract-net", BIDS[:1]) == []


@pytest.mark.parametrize("loser", BIDS[1:4], ids=lambda one: one.node)
def test_what_is_told_of_a_term_is_true(loser: BidLine) -> None:
    [change] = what_if("contract-net", "n1", [BIDS[0], loser], (), ())
    assert change.term is not None
    assert change.at_most is not None
    terms = {**loser.terms, change.term: change.at_most - 1e-9}
    changed = msgspec.structs.replace(loser, terms=terms, cost=sum(terms.values()))
    assert winner("contract-net", [BIDS[0], changed]) == loser.node
    if change.wins_by is not None:
        assert BIDS[0].cost - changed.cost == pytest.approx(change.wins_by, abs=1e-6)


def test_rules_that_do_not_look_at_costs() -> None:
    bids = [bid("n1", 0, 1.0, queue=0.0, run=1.0), bid("n2", 2, 4.0, queue=0.5, run=0.2), bid("n3", 2, 2.0, run=0.5)]
    assert told("most-free", bids) == [
        "n3 would have won with 1 more free slot (it had 2, n2 2)",
        "n1 would have won with 2 more free slots (it had 0, n2 2)",
    ]
    [third, first] = what_if("most-free", "n2", bids, (), ())
    freed = [msgspec.structs.replace(bids[0], free=int(first.at_most or 0)), *bids[1:]]
    assert winner("most-free", freed) == "n1"
    freed = [*bids[:2], msgspec.structs.replace(bids[2], free=int(third.at_most or 0))]
    assert winner("most-free", freed) == "n3"
    assert told("longest-heaviest", bids)[0] == "n2 (speed 4) would have won had it been free (queue 500 ms)"
    assert told("longest-heaviest", bids)[1] == "n1 would have won with a speed above 2, not 1"
    assert told("random", bids) == ["chance: each of 3 was as likely to win"]


def test_what_was_divided_with_others_is_looked_at_by_itself() -> None:
    by_cost = sorted(BIDS, key=lambda one: one.cost)
    [change] = what_if(PROTOCOL, "n4", by_cost, (), ())
    assert change.text == "n1 would have won by 700 ms had each task of the batch been awarded by itself"
    assert winner("contract-net", BIDS) == change.node
    assert what_if(PROTOCOL, "n1", by_cost, (), ()) == ()


def test_who_did_not_bid() -> None:
    declines = [
        DeclineLine("n7", Reason.NEED, "lack capability gpu"),
        DeclineLine("n8", Reason.BUSY, ""),
        DeclineLine("n9", Reason.NEED, "have vram 6 GiB < 8 GiB"),
    ]
    assert told("contract-net", BIDS[:1], declines=declines, silent=["n6"]) == [
        "n7, n9 could have won with a bid below 1.00 s, but they declined",
        "n6 could have won with a bid below 1.00 s, but did not answer",
    ]


def test_an_award_without_the_winners_bid_says_nothing() -> None:
    assert what_if("contract-net", "n9", BIDS, (), ()) == ()
