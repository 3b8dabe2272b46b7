"""Nodes change, and the fleet adapts: who has become slow loses work, who has recovered gets it back, and a kind that
nobody has seen is tried. One task at a time, so that nothing but the bids decides; then the same in real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from local_fleets import fleet_of
from simulated_agents import START_S, Fleet

from parley.agents.estimator import OPTIMISM
from parley.launch.client import Connection
from parley.protocols.contract_events import AuctionAwarded
from parley.protocols.core import Effect, Message, NodeId, Send, Task
from parley.protocols.requests import Result, Submit
from parley.protocols.swim_words import Estimate

WORK_S = 0.1
SLOWER = 3.0
WITHIN = 10
"""So many tasks may teach a fleet that a node has become slow."""


class OneByOne:
    """A client that hands the next task in when the one before has ended."""

    def __init__(self, entry: NodeId, work: float, prefix: str = "t", at: float = START_S) -> None:
        self._entry = entry
        self._work = work
        self._prefix = prefix
        self._at: float | None = at
        self.nodes: list[NodeId | None] = []

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if not isinstance(message, Result):
            return ()
        self.nodes.append(message.outcome.node)
        return self._next()

    def wake(self, now: float) -> Sequence[Effect]:
        self._at = None
        return self._next()

    @property
    def deadline(self) -> float | None:
        return self._at

    def _next(self) -> list[Effect]:
        return [Send(self._entry, Submit(Task(f"{self._prefix}{len(self.nodes)}", "work", self._work), b""))]


def fleet_with(client: OneByOne) -> Fleet:
    """n1 takes the tasks; n2 is a little faster, and so gets all of them while it is well."""
    fleet = Fleet((1.0, 1.25), {})
    fleet.wire.add("client", client)
    fleet.wire.mesh(["client", "n1"])
    return fleet


def until(fleet: Fleet, client: OneByOne, tasks: int) -> None:
    """So many more tasks have ended."""
    target = len(client.nodes) + tasks
    fleet.wire.run(until=fleet.wire.now + 600.0, while_=lambda: len(client.nodes) < target)
    assert len(client.nodes) >= target


def test_who_becomes_slow_loses_work_within_ten_tasks_and_gets_it_back() -> None:
    client = OneByOne("n1", WORK_S)
    fleet = fleet_with(client)
    until(fleet, client, 20)
    assert set(client.nodes[-15:]) == {"n2"}
    fleet.slowness["n2"] = SLOWER
    until(fleet, client, WITHIN)
    until(fleet, client, 10)
    assert set(client.nodes[-10:]) == {"n1"}
    fleet.slowness["n2"] = 1.0
    until(fleet, client, 300)
    assert client.nodes[-100:].count("n2") > 90


def test_who_stays_slow_is_tried_again_now_and_then_and_not_more() -> None:
    client = OneByOne("n1", WORK_S)
    fleet = fleet_with(client)
    fleet.slowness["n2"] = SLOWER
    until(fleet, client, WITHIN)
    until(fleet, client, 900)
    tried = client.nodes[WITHIN:].count("n2")
    assert 0 < tried < 50


def test_a_kind_never_seen_is_priced_as_the_others_tell_and_tried() -> None:
    """n2 joins late, has never run the kind, and bids what the median of the others says for its speed."""
    fleet = Fleet((1.0, 1.0, 4.0), {"n1": [Task(f"t{number}", "work", 0.2) for number in range(8)]})
    for name in ("n1", "n2"):
        fleet.slowness[name] = 2.0
    fleet.wire.kill("n3")
    fleet.run(until=60.0)
    fleet.start("n3", incarnation=2)
    late = OneByOne("n1", 0.2, "late", fleet.wire.now + 5.0)
    fleet.wire.add("late", late)
    fleet.wire.mesh(["late", "n1"])
    until(fleet, late, 1)
    [award] = [line[2] for line in fleet.events(AuctionAwarded) if getattr(line[2], "task", "") == "late0"]
    assert isinstance(award, AuctionAwarded)
    bid = next(bid for bid in award.bids if bid.node == "n3")
    assert bid.observations == 0
    assert bid.factor == pytest.approx(2.0 * OPTIMISM, rel=0.2)
    assert bid.terms["run"] == pytest.approx(0.2 / 4.0 * 2.0 * OPTIMISM, rel=0.2)
    assert late.nodes == ["n3"]


PACED = """
import pathlib, time
PACE = pathlib.Path(__file__).with_name("pace.txt")

def paced(seconds):
    time.sleep(seconds * float(PACE.read_text()))
"""


async def test_real_processes_adapt_too(tmp_path: Path) -> None:
    """The same function on two nodes, each with its own code; the code of n2 becomes slow and recovers."""
    for name in ("n1", "n2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "paced.py").write_text(PACED)
        (tmp_path / name / "pace.txt").write_text("1.0" if name == "n1" else "0.5")
    flags_of = {name: [f"--code={tmp_path / name}"] for name in ("n1", "n2")}
    async with fleet_of(2, tmp_path / "run", allow=["paced:paced"], flags_of=flags_of) as (_, client):

        async def ran_on(tasks: int) -> list[str | None]:
            return [(await client.submit("paced:paced", [0.04], work=0.04)).node for _ in range(tasks)]

        async def until_n2_has_it() -> None:
            told: list[str | None] = []
            while told[-10:].count("n2") < 8:
                assert len(told) < 1_000, "n2 is twice as fast, and does not get the work"
                told += await ran_on(10)

        await until_n2_has_it()
        (tmp_path / "n2" / "pace.txt").write_text("3.0")
        await ran_on(WITHIN)
        assert (await ran_on(10)).count("n1") >= 9
        (tmp_path / "n2" / "pace.txt").write_text("0.5")
        await until_n2_has_it()
        async with asyncio.timeout(30.0):  # what n2 has learnt is gossip: n1 hears of it a moment later
            while (learnt := await learnt_by(client, "n2")).observations <= 15:
                await asyncio.sleep(0.1)
        assert learnt.kind == "paced:paced"


async def learnt_by(client: Connection, node: str) -> Estimate:
    lines = {line.node: line.told.estimates for line in await client.nodes()}
    return lines[node][0]
