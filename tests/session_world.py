"""Sessions on the simulated wire: a driver per node, a player that remembers all, and news of who has died."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from parley.protocols import gossip, rounds
from parley.protocols.core import NodeId, PeerDown
from parley.protocols.gossip import Gossip
from parley.protocols.rounds import Rounds
from parley.protocols.session import Player
from parley.transport.codec import Codec
from parley.transport.faults import Faults
from parley.transport.simulated import SimulatedFleet

CODEC = Codec((*rounds.MESSAGES, *gossip.MESSAGES))
SESSION = "s"


@dataclass(frozen=True)
class Rememberer:
    """Says who it is and how often it has heard; settles after `turns`. `history` is all that it was told."""

    node: NodeId
    turns: int
    history: tuple[tuple[tuple[NodeId, bytes], ...], ...] = ()

    def say(self) -> bytes:
        return f"{self.node}{len(self.history)}".encode()

    def hear(self, words: Mapping[NodeId, bytes]) -> Rememberer:
        return replace(self, history=(*self.history, tuple(sorted(words.items()))))

    @property
    def settled(self) -> bool:
        return len(self.history) >= self.turns


def names(count: int) -> list[NodeId]:
    return [f"n{number}" for number in range(1, count + 1)]


class World:
    """Nodes that begin together a hundredth of a second after the start, and those that join them later."""

    def __init__(
        self, members: list[NodeId], fresh: Callable[[NodeId], Player], seed: int = 0, faults: Faults | None = None
    ) -> None:
        self.members = members
        self.fresh = fresh
        self.seed = seed
        self.wire = SimulatedFleet(seed, faults or Faults(), CODEC)
        self.drivers: dict[NodeId, Rounds | Gossip] = {}

    def rounds(self, node: NodeId, *, rounds_max: int = 100, start_at: float = 0.01, incarnation: int = 1) -> Rounds:
        driver = Rounds(SESSION, node, self.members, lambda: self.fresh(node), rounds_max=rounds_max, start_at=start_at)
        self.drivers[node] = driver
        self.wire.add(node, driver, None, incarnation)
        return driver

    def gossip(self, node: NodeId, *, periods_max: int = 2000, start_at: float = 0.01, incarnation: int = 1) -> Gossip:
        random = Random(f"{self.seed} {node} {incarnation}")
        driver = Gossip(
            SESSION, node, self.members, self.fresh(node), random,
            periods_max=periods_max, life=incarnation, start_at=start_at,
        )  # fmt: skip
        self.drivers[node] = driver
        self.wire.add(node, driver, None, incarnation)
        return driver

    def kill(self, node: NodeId, notice_s: float = 0.2) -> None:
        """It dies now, and is found out later."""
        self.wire.kill(node)
        self.wire._at(self.wire.now + notice_s, lambda: self.miss(node))

    def miss(self, node: NodeId) -> None:
        for other in self.wire.alive():
            if other != node:
                self.wire.tell(other, PeerDown(node), other)

    @property
    def living(self) -> list[Rounds | Gossip]:
        return [self.drivers[node] for node in self.wire.alive()]

    def run(self, until: float = 60.0) -> None:
        self.wire.run(until=until, while_=lambda: not all(driver.finished for driver in self.living))
