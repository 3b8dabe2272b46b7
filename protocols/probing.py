"""Probing: a call goes to few, and their answers are fresh. Who is asked is the initiator's choice.

Sources: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing (2001); Mitzenmacher, Prabhakar, Shah, Load
Balancing with Memory (2002): what was heard of the last choices is worth a probe; Ousterhout et al., Sparrow (2013).

    n1   has heard, some time ago: n2 free in 0.3 s, n5 in 0.1 s, n9 in 2.0 s ...
    n1 -> n5, n2    CallForProposals        where it should end soonest by what was heard last: memory
    n1 -> n9        CallForProposals        one in `NEWS` calls asks somebody by lot, instead of the last of them
    ... all the same as in a call to all

A call for m tasks asks m times as many (Sparrow's batch sampling): a batch needs more room than one task.

A picture that is old makes everybody run to the same node if it decides; here it only says whom to ask, and the answer
decides. Who was never heard counts as free, so that everybody is tried; by lot, faster nodes are asked more often.

Invariant: `count` different nodes are asked for each task of a call, or all if there are no more.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .core import NodeId
from .load import Prospect

USUAL = 8
"""So many are asked where nobody says otherwise; a smaller fleet is asked whole."""
NEWS = 8
"""One call in so many asks somebody new."""


class Probes:
    """Chooses whom to ask, `count` for each task."""

    def __init__(self, count: int, seed: str) -> None:
        self.count = count
        self._random = Random(seed)

    def choose(self, nodes: list[NodeId], tasks: int, prospect: Callable[[NodeId], Prospect]) -> list[NodeId]:
        """Of these nodes, sorted, for so many tasks; the list itself, where all of them are asked."""
        count = self.count * tasks
        if len(nodes) <= count:
            return nodes
        expected = {node: prospect(node) for node in nodes}
        lots = {node: self._random.random() for node in nodes}
        ranked = sorted(nodes, key=lambda node: (expected[node].end_s, lots[node]))
        chosen, others = ranked[:count], ranked[count:]
        if self._random.randrange(NEWS) == 0:
            weights = [expected[node].speed for node in others]
            chosen[-1] = self._random.choices(others, weights)[0]
        return sorted(chosen)
