"""Who is believed: the conflict tables of the consensus-based bundle algorithm.

Agent k says of a task: its winning bid is y_k, its winner z_k. Agent i believes y_i and z_i. Does i UPDATE to what k
says, LEAVE its own belief, or RESET it to nobody?

`in_rounds` is Table 1 of Choi, Brunet, How 2009, all seventeen rows. It decides by stamps s: s_im is how new what i
knows of agent m is, counted in m's own turns. (In the paper it is the time at which it was heard; in turns it means the
same where no message is under way longer than a round.) Stamps are merged *after* all conflicts of a message are
resolved.

    z_k \\ z_i |  i                       k                m: another                       nobody
    k         |  better: update          update           newer of m, or better: update    update
    i         |  leave                   reset            newer of m: reset                leave
    m: third  |  newer of m and          newer of m:      m is m: newer of m: update       newer of m: update
              |  better: update          update,          m is n: newer of m, and newer
              |                          else reset       of n or better: update; newer
              |                                           of n, and i's of m newer: reset
    nobody    |  leave                   update           newer of m: update               leave

`at_once` is the asynchronous form (L. Johnson, S. Ponda, H.-L. Choi, J. How, Improving the Efficiency of a
Decentralized Tasking Algorithm for UAV Teams with Asynchronous Communications, 2010): a stamp t per task, of when its
winner bid or released it; the owner itself answers what contradicts it, with a new stamp. Stamps are Lamport's (1978),
so no clocks are compared. Where the paper weighs bid against time for third parties, here the stamp alone decides: what
stands per task is then a join-semilattice, and neither loss nor repetition nor disorder can bring an old belief back.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

NOBODY = -1


class Action(enum.Enum):
    LEAVE = enum.auto()
    UPDATE = enum.auto()
    RESET = enum.auto()


class Belief(NamedTuple):
    """The winning bid for a task and its winner's place, as somebody believes."""

    bid: float
    winner: int

    def beats(self, other: Belief) -> bool:
        """The higher bid wins; ties go to the smaller id."""
        return (self.bid, -self.winner) > (other.bid, -other.winner)


FREE = Belief(0.0, NOBODY)


def in_rounds(i: int, mine: Belief, stamps_i: Sequence[int], k: int, theirs: Belief, stamps_k: Sequence[int]) -> Action:
    """Table 1: k tells `theirs`, and how new what it knows of each agent is."""

    def newer(agent: int) -> bool:
        return stamps_k[agent] > stamps_i[agent]

    def update_if(condition: bool) -> Action:
        return Action.UPDATE if condition else Action.LEAVE

    better = theirs.beats(mine)
    m = mine.winner
    if theirs.winner == k:
        if m == i:
            return update_if(better)
        return update_if(m in (k, NOBODY) or newer(m) or better)
    if theirs.winner == i:
        if m == k or (m not in (i, NOBODY) and newer(m)):
            return Action.RESET
        return Action.LEAVE
    if theirs.winner == NOBODY:
        return update_if(m == k or (m not in (i, NOBODY) and newer(m)))
    third = theirs.winner
    if m == i:
        return update_if(newer(third) and better)
    if m == k:
        return Action.UPDATE if newer(third) else Action.RESET
    if m in (third, NOBODY):
        return update_if(newer(third))
    if newer(third) and (newer(m) or better):
        return Action.UPDATE
    if newer(m) and stamps_i[third] > stamps_k[third]:
        return Action.RESET
    return Action.LEAVE


def at_once(mine: Belief, stamp_i: int, theirs: Belief, stamp_k: int) -> Action:
    """The later stamp is believed, and of two alike the better bid. What this means to an owner is the owner's affair:
    if its bid is the better one, it makes it again."""
    if (stamp_k, theirs.bid, -theirs.winner) > (stamp_i, mine.bid, -mine.winner):
        return Action.UPDATE
    return Action.LEAVE
