"""Bargaining by gossip: two agents trade when both are free, and what they agree on stands in their own words.

    n1   Stand(version 4, tasks, offer to n7 at its version 2)          n1 is bound until n7 has answered or moved on
    n7   Stand(version 3, new tasks, deal with n1 at its version 4)     it has divided the pool of both, and keeps to it
    n1   Stand(version 5, new tasks)                                    the same division, computed from the same pool
    n7   Stand(version 3, new tasks)                                    n1 has done its part: n7 is free again

A node offers to those after it in the order of ids only, so that no circle of offers can wait for itself; to whom, is
decided by lot among all with whom it has not met since one of them changed. What nobody holds (its node has died) is
cleared again by a rule that all know, when nobody is bound; of two who hold the same, the later lets it go.

Where the time counts, pairs trade towards a load that all know, a little above what clearing may give: overload must
fall, or the price of what both hold, which makes room for others. When nobody is above it, all are content. Who finds
somebody above it, and has met all others in vain, levels from then on, and so does whom it meets: the larger load of
the two must fall.

Invariants: a node takes part in one bargain at a time; both sides compute the same division, or none; each bargain lets
the score of its pair fall, so it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from .columns import TASKS_MAX, Owners
from .core import Count, NodeId
from .trading import Market, pack, tasks_of

LEAST_GAIN = 2e-4
"""Relative: a bargain takes several messages, and must be worth them."""

AIM = 1.003
"""Where the time counts, nobody need be below so many times what clearing may give a node: nearer to the bound is not
worth the messages."""


class Stand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node holds, to whom it offers to trade, and with whose offer it has agreed: node and version, or none.

    `last`: with whom it divided last, and that node's version after it: who knows an older one knows half of the story.
    """

    version: Count
    tasks: Annotated[bytes, Meta(max_length=2 * TASKS_MAX)]
    offer: tuple[NodeId, Count] | None = None
    deal: tuple[NodeId, Count] | None = None
    last: tuple[NodeId, Count] | None = None
    level: bool = False
    """It levels: of the two loads of a bargain the larger must fall, for towards the aim nothing more can be done."""


@dataclass(frozen=True, slots=True, eq=False)
class Bargain:
    """One node's state. A value: `hear` gives the next."""

    node: NodeId
    seed: int
    stand: Stand
    met: Mapping[NodeId, tuple[int, int]] = field(default_factory=dict)
    """Our version and the other's, when we last met."""
    offered: bytes = b""
    """What the one we offer to held, when we did."""
    turn: int = 0
    idle: bool = False
    """Nothing is under way, and nobody is left to offer to."""

    def hear(self, market: Market, stands: Mapping[NodeId, Stand]) -> Bargain:
        """After the newest stands of all others of the market that have one."""
        others = {node: stand for node, stand in stands.items() if node != self.node}
        after = replace(self, turn=self.turn + 1, idle=False)
        after = after._concluded(others)
        if after.stand.offer is not None:
            after = after._answered(market, others)
        if after.stand.offer is not None or after.stand.deal is not None:
            return after
        mended = after._mended(market, others)
        if mended is not None:
            return mended
        return after._accept(market, others) or after._offer(market, others)

    @property
    def seeks(self) -> NodeId | None:
        """With whom something is under way."""
        bound = self.stand.offer or self.stand.deal
        return bound[0] if bound else None

    # -- the other side has done its part

    def _concluded(self, others: Mapping[NodeId, Stand]) -> Bargain:
        """A deal is over when the one who had offered has no such offer any more."""
        if self.stand.deal is None:
            return self
        peer, version = self.stand.deal
        theirs = others.get(peer)
        waits = (
            theirs is not None
            and theirs.version == version
            and theirs.offer is not None
            and theirs.offer[0] == self.node
        )
        return self if waits else replace(self, stand=msgspec.structs.replace(self.stand, deal=None))

    def _answered(self, market: Market, others: Mapping[NodeId, Stand]) -> Bargain:
        """Our offer was agreed to, or is void: the other has changed without us, or is gone."""
        assert self.stand.offer is not None
        peer, version = self.stand.offer
        theirs = others.get(peer)
        free = replace(self, stand=msgspec.structs.replace(self.stand, offer=None), offered=b"")
        if theirs is not None and theirs.deal == (self.node, self.stand.version):
            return free._divided(market, peer, self.offered, theirs.version, levels=theirs.level, after=True)
        return self if theirs is not None and theirs.version == version else free

    def _divided(
        self, market: Market, peer: NodeId, tasks: bytes, version: int, *, levels: bool, after: bool
    ) -> Bargain:
        """Take our side of the division of what both hold; `version` is the peer's, `after` or before it did so. If one
        of the two `levels`, both do from now on."""
        mine = market.table.nodes.index(self.node)
        one, other = sorted((mine, market.table.nodes.index(peer)))
        owners: Owners = np.full(market.table.tasks, -1, np.intp)
        for row, held in ((mine, self.stand.tasks), (market.table.nodes.index(peer), tasks)):
            owners[tasks_of(held, len(owners))] = row
        level = self.stand.level or levels
        divided = market.meet(one, other, owners, None if level else _aim(market), LEAST_GAIN)
        theirs = version if after or divided is None else version + 1
        stand = msgspec.structs.replace(self.stand, level=level)
        if divided is not None:
            ours = pack(np.flatnonzero(divided == mine))  # type: ignore[arg-type]
            stand = msgspec.structs.replace(stand, version=stand.version + 1, tasks=ours, last=(peer, theirs))
        return replace(self, stand=stand, met={**self.met, peer: (stand.version, theirs)})

    # -- what to do when free

    def _accept(self, market: Market, others: Mapping[NodeId, Stand]) -> Bargain | None:
        """Agree with an offer that still fits; the others will find that we have changed."""
        ours = (self.node, self.stand.version)
        for peer in sorted(others):
            theirs = others[peer]
            if theirs.offer == ours and peer < self.node:
                bound = self._divided(market, peer, theirs.tasks, theirs.version, levels=theirs.level, after=False)
                return replace(bound, stand=msgspec.structs.replace(bound.stand, deal=(peer, theirs.version)))
        return None

    def _offer(self, market: Market, others: Mapping[NodeId, Stand]) -> Bargain:
        late = _late(market, {**others, self.node: self.stand})
        if late is not None and not late:
            return replace(self, idle=True)
        left = [
            peer
            for peer in sorted(others)
            if self.met.get(peer) != (self.stand.version, others[peer].version)
            and (late is None or not self.stand.level or self.node in late or peer in late)
        ]
        if not left and late and not self.stand.level:
            return replace(self, stand=msgspec.structs.replace(self.stand, level=True), met={})
        left = [peer for peer in left if peer > self.node]
        if not left:
            return replace(self, idle=True)
        free = [peer for peer in left if others[peer].offer is None and others[peer].deal is None] or left
        peer = Random(f"{self.seed} {self.node} {self.turn}").choice(free)
        stand = msgspec.structs.replace(self.stand, offer=(peer, others[peer].version))
        return replace(self, stand=stand, offered=others[peer].tasks)

    def _mended(self, market: Market, others: Mapping[NodeId, Stand]) -> Bargain | None:
        """What several hold, or nobody, where nobody is bound: None if all is well, or not for us to mend."""
        nodes = market.table.nodes
        stands = {**others, self.node: self.stand}
        if stands.keys() != set(nodes) or any(stand.offer or stand.deal for stand in stands.values()):
            return None
        if any(
            stand.last and stand.last[0] in stands and stands[stand.last[0]].version < stand.last[1]
            for stand in stands.values()
        ):
            return None  # we have not heard all of it yet
        owners: Owners = np.full(market.table.tasks, -1, np.intp)
        for row in reversed(range(len(nodes))):
            owners[tasks_of(stands[nodes[row]].tasks, len(owners))] = row
        orphans = np.flatnonzero(owners < 0)
        owners = market.auction(owners, orphans)  # type: ignore[arg-type]
        ours = pack(np.flatnonzero(owners == nodes.index(self.node)))  # type: ignore[arg-type]
        if ours == self.stand.tasks:
            return None
        return replace(self, stand=msgspec.structs.replace(self.stand, version=self.stand.version + 1, tasks=ours))


def _aim(market: Market) -> float | None:
    """The load that nobody need be below; None where capacities count instead."""
    return AIM * market.limits[0] if market.table.capacities is None else None


def _late(market: Market, stands: Mapping[NodeId, Stand]) -> set[NodeId] | None:
    """Who is above the aim; None: there is none, or not all have been heard."""
    aim, table = _aim(market), market.table
    if aim is None or not stands.keys() >= set(table.nodes):
        return None
    return {
        node
        for row, node in enumerate(table.nodes)
        if table.with_base(row, float(table.sizes[row, tasks_of(stands[node].tasks, table.tasks)].sum())) > aim
    }
