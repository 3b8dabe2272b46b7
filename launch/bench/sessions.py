"""A session of a whole fleet on virtual time: each agent has its own column only, all else is said in messages.

    Session    the role: a driver (rounds or gossip) around a player; pure, so the simulated wire drives it as it is
    play()     builds the fleet, lets it run until all have ended, and counts what was said

Messages are what agents say: a publication counts once, and each of its deliveries is counted beside it. Bytes are all
that leaves a node, with acknowledgements and repeats.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ...protocols import gossip, rounds
from ...protocols.award_rules import RULES
from ...protocols.batch import ROUNDS_MAX, Batch, Division, Terms
from ...protocols.batch_gossip import BatchByGossip
from ...protocols.columns import Column
from ...protocols.core import NodeId, ProtocolError
from ...protocols.gossip import Gossip
from ...protocols.listing import Listing
from ...protocols.rounds import Rounds
from ...transport.codec import Codec
from ...transport.faults import Faults
from ...transport.simulated import SimulatedFleet
from .instances import Instance

PROTOCOLS = ("prices", "contract-net", "batched", "most-free", "longest-heaviest", "random")
MODES = ("rounds", "gossip")
START_S = 0.01
VIRTUAL_S_MAX = 3600.0
PERIODS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Played:
    """How a session went: what was divided, equal at all agents, and what it took."""

    division: Division
    rounds: int
    """Rounds; by gossip, the periods of the agent that took longest."""
    messages: int
    deliveries: int
    bytes: int
    seconds: float
    """Of this machine's time, for all agents together."""


def play(instance: Instance, protocol: str, mode: str, seed: int, *, loss: float = 0.0, trade: bool = True) -> Played:
    """Raises ProtocolError where agents disagree, or do not end: that is a bug."""
    began = time.perf_counter()
    names = names_of(len(instance.costs))
    fleet = SimulatedFleet(seed, Faults(loss=loss), Codec((*rounds.MESSAGES, *gossip.MESSAGES)))
    drivers: dict[NodeId, Rounds | Gossip] = {}
    for row, name in enumerate(names):
        drivers[name] = driver(names, row, instance.column(row), protocol, mode, seed, trade)
        fleet.add(name, drivers[name])
    fleet.mesh()
    fleet.run(until=VIRTUAL_S_MAX, while_=lambda: not all(each.finished for each in drivers.values()))
    divisions = [divided(each) for each in drivers.values()]
    if not all(each.finished for each in drivers.values()) or any(other != divisions[0] for other in divisions):
        raise ProtocolError(f"{protocol} by {mode} on {instance.name}: the agents have not come to one result")
    counters = [fleet.links(name).counters for name in names]
    return Played(
        divisions[0],
        max(each.rounds if isinstance(each, Rounds) else each.periods for each in drivers.values()),
        sum(counted.items_sent for counted in counters),
        fleet.frames,
        sum(counted.bytes_sent for counted in counters),
        time.perf_counter() - began,
    )


def driver(
    names: Sequence[NodeId], row: int, column: Column, protocol: str, mode: str, seed: int, trade: bool
) -> Rounds | Gossip:
    """The role of the node of this row, which is told its own column only."""
    name = names[row]
    terms = Terms(seed) if trade else Terms(seed, trade_turns=0)
    if mode == "rounds":

        def fresh() -> Batch | Listing:
            return Batch(name, column, terms) if protocol == "prices" else _listing(name, column, protocol, seed)

        return Rounds("bench", name, names, fresh, rounds_max=ROUNDS_MAX, start_at=START_S)
    player = BatchByGossip(name, column, terms) if protocol == "prices" else _listing(name, column, protocol, seed)
    opening = player.opening if isinstance(player, BatchByGossip) else b""
    rng = Random(f"{seed} {name}")
    return Gossip("bench", name, names, player, rng, opening=opening, periods_max=PERIODS_MAX, start_at=START_S)


def _listing(name: NodeId, column: Column, protocol: str, seed: int) -> Listing:
    return Listing(name, column, None if protocol == "batched" else RULES[protocol], seed)


def divided(role: Rounds | Gossip) -> Division:
    """What it has come to."""
    assert isinstance(role.player, (Batch, BatchByGossip, Listing))
    return role.player.division


def names_of(count: int) -> list[NodeId]:
    """Of so many nodes, in the order of their rows."""
    return [f"n{row + 1:03d}" for row in range(count)]


def finite(number: float) -> float | None:
    """For JSON, which knows no infinity."""
    return number if math.isfinite(number) else None
