"""Auctions that pay, over real processes: the log holds what each award was made from, and `why` tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from local_fleets import fleet_of

from parley.launch.analysis.card import render
from parley.launch.analysis.run import open_run
from parley.launch.analysis.why import why
from parley.protocols.award_rules import RULES, Offer
from parley.protocols.core import State


@pytest.mark.parametrize("rule", ["first-price", "vickrey"])
async def test_a_fleet_that_pays(rule: str, tmp_path: Path) -> None:
    async with fleet_of(3, tmp_path, speeds=[1.0, 2.0, 4.0], rule=rule) as (_, client):
        outcomes = await asyncio.gather(*(client.submit("work", {}, work=0.05) for _ in range(6)))
        assert {outcome.state for outcome in outcomes} == {State.DONE}
    for outcome in outcomes:
        told = why(open_run(tmp_path), outcome.task)
        award = told.awards[-1]
        assert award.rule == rule
        offers = [
            Offer(bid.node, bid.terms["queue"], bid.cost - bid.terms["queue"], bid.free, bid.speed)
            for bid in sorted(award.bids, key=lambda bid: bid.node)
        ]
        pay = RULES[rule].pay
        assert pay is not None
        winner = next(offer for offer in offers if offer.node == award.winner)
        assert award.payment == pytest.approx(pay(winner, offers, award.reserve))
        assert award.payment is not None
        assert award.payment >= award.cost - 1e-9
        assert f"{award.winner} is paid" in render(told, color=False)
