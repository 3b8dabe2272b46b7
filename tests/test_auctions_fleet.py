"""Auctions that pay, over real processes: the log holds what each award was made from, and `why` tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from local_fleets import fleet_of

from parley.launch.analysis.card import render
from parley.launch.analysis.run import open_run
from parley.launch.analysis.why import why
from parley.launch.submission import Submission
from parley.protocols.auctions import AuctionClosed, PriceTried, outcome
from parley.protocols.award_rules import RULES, Offer
from parley.protocols.core import State


@pytest.mark.parametrize("rule", ["first-price", "vickrey"])
async def test_a_fleet_that_pays(rule: str, tmp_path: Path) -> None:
    async with fleet_of(3, tmp_path, speeds=[1.0, 2.0, 4.0], rule=rule) as (_, client):
        outcomes = await asyncio.gather(*(client.submit("work", {}, work=0.05) for _ in range(6)))
        assert {end.state for end in outcomes} == {State.DONE}
    for end in outcomes:
        told = why(open_run(tmp_path), end.task)
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


@pytest.mark.parametrize("rule", ["english", "dutch"])
async def test_a_fleet_that_sells_in_the_open(rule: str, tmp_path: Path) -> None:
    async with fleet_of(3, tmp_path, speeds=[1.0, 2.0, 4.0], rule=rule) as (_, client):
        handles = [client.hand_in(Submission("work", {}, work=0.1, reward=2.0).submits()[0]) for _ in range(5)]
        ends = await asyncio.gather(*(handle.outcome for handle in handles))
        assert {end.state for end in ends} == {State.DONE}
    run = open_run(tmp_path)
    for end in ends:
        told = why(run, end.task)
        award = told.awards[-1]
        assert award.rule == rule
        assert award.payment is not None
        assert any(f"{rule} auction" in step.text for step in told.history)
        assert award.payment <= award.reserve == 2.0
        events = [line.event for line in run.about(end.task)]
        closed = [event for event in events if isinstance(event, AuctionClosed)][-1]
        tried = [event for event in events if isinstance(event, PriceTried) and event.auction == closed.auction]
        assert outcome(closed.lot, tried, closed.gone) == (award.winner, award.payment)
