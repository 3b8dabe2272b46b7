"""Epochs: fencing tokens. Each is somebody's, each is later or earlier than any other, none is used twice.

Source: Lamport 1998 (ballot numbers); Gray and Cheriton 1989 (leases); the counter of a lock service as fencing token.

    (0, n1, life 7, hop 0)   the entry agent's first epoch of a task: promised by whoever first hears of the task
    (0, n1, life 7, hop 1)   the winner has declined, or given back: its owner awards again, without asking anybody
    (2, n2, life 4, hop 0)   n1 is silent: n2 prepares a later one, which no holder may answer before it is on disk

Invariant: (opener, incarnation) is one life of one agent, which counts upwards within it; so no two agents, and no two
lives of one, share an epoch. An incarnation never falls, because a node's journal keeps it.
"""

from __future__ import annotations

import msgspec

from .core import Count, NodeId


class Epoch(msgspec.Struct, frozen=True, array_like=True, order=True, forbid_unknown_fields=True, gc=False):
    """Ordered by its fields. `hop` counts the awards that its owner made of it, without asking anybody anew."""

    counter: Count
    opener: NodeId
    incarnation: Count
    hop: Count = 0

    @property
    def number(self) -> int:
        """The epoch in one number, as people and executors know it: the first award of a task is 1."""
        return self.counter + self.hop + 1

    @property
    def root(self) -> Epoch:
        """The epoch that was promised, of which this is a hop."""
        return Epoch(self.counter, self.opener, self.incarnation) if self.hop else self

    @property
    def next_hop(self) -> Epoch:
        """Of the same owner; its award has come back."""
        return Epoch(self.counter, self.opener, self.incarnation, self.hop + 1)

    def later(self, opener: NodeId, incarnation: int) -> Epoch:
        """Another's epoch, later than this one and than every hop known of it."""
        return Epoch(self.counter + self.hop + 1, opener, incarnation)
