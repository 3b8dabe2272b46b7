"""Two nodes meet about what a desk has divided between them and they have not started: who gets what now?

    loads of n1, n4: 9.2 s, 6.1 s  ->  one pool  ->  redivided (`trade.py`)  ->  7.7 s, 7.6 s: kept
                                                                             or no better: left as it was

A load is when a node has done what it has at work, and then its share of the pool, over its slots. The desk that holds
the tasks works it out, and whoever reads its log works it out anew.

Source: Sandholm 1998 (re-allocation by local contracts). Invariant: what is kept makes the larger load smaller by
LEAST_GAIN at least, and gives no task to a node that does not take it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_GAIN = 0.01
"""A meeting must lower the larger load by this part of it."""


class Side(NamedTuple):
    """One of the two: when its slots are free, in seconds from now; how many times as long as it says its tasks take;
    what it says, for each task of the pool (None: it does not take it)."""

    ready_s: tuple[float, ...]
    pace: float
    costs: tuple[float | None, ...]


class Met(NamedTuple):
    """Whose each task is now (True: the first one's), and the loads of both before and after, in seconds."""

    firsts: tuple[bool, ...]
    before_s: tuple[float, float]
    after_s: tuple[float, float]


def met(first: Side, second: Side, firsts: Sequence[bool]) -> Met | None:
    """What comes of it; None: that is no better."""
    import numpy as np

    from .columns import REFUSED
    from .prices import UNPRICED
    from .trade import Pool, redivide

    sides = (first, second)
    sizes = [
        np.asarray([REFUSED if cost is None else cost * side.pace for cost in side.costs]) / len(side.ready_s)
        for side in sides
    ]
    prices = [np.where(each >= REFUSED / 64, UNPRICED, each) for each in sizes]
    bases = (math.fsum(first.ready_s) / len(first.ready_s), math.fsum(second.ready_s) / len(second.ready_s))
    mine = np.asarray(firsts, np.bool_)
    after = redivide(Pool((sizes[0], sizes[1]), (prices[0], prices[1]), None, LEAST_GAIN, bases), mine)
    if after is None:
        return None
    before, then = (
        (bases[0] + math.fsum(sizes[0][held]), bases[1] + math.fsum(sizes[1][~held])) for held in (mine, after)
    )
    taken = [sides[not to].costs[task] is not None for task, to in enumerate(after)]
    if not max(then) < max(before) or not all(taken):
        return None
    return Met(tuple(after.tolist()), before, then)
