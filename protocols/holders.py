"""Who holds a task: the agent it is handed to first, the rest by rendezvous hashing among the living.

Source: Thaler and Ravishankar 1998 (highest random weight): every member has a weight per task, the heaviest are taken;
so tasks spread evenly, and a member that goes moves only its own.

    holders_of("7K2...", "n1", ["n1", "n2", "n3", "n4"], 3) -> ("n1", "n4", "n2")

Invariant: the same arguments give the same holders everywhere; their number is odd, so that no half stands against the
other.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence

from .commitment_words import HOLDERS_MAX
from .core import NodeId, TaskId
from .requests import NodeLine
from .swim_words import Presence


def holders_count(asked: int, members: int) -> int:
    """The largest odd number that is at most `asked` and at most `members`."""
    most = min(asked, members, HOLDERS_MAX)
    return max(most if most % 2 else most - 1, 1)


def ranked(task: TaskId, nodes: Iterable[NodeId]) -> list[NodeId]:
    """By their weight for this task, the heaviest first; ties by node id."""

    def weight(node: NodeId) -> bytes:
        return hashlib.blake2b(f"{task}\n{node}".encode(), digest_size=8).digest()

    return sorted(sorted(nodes), key=weight, reverse=True)


def holders_of(
    task: TaskId, entry: NodeId, living: Iterable[NodeId], count: int, dead: Iterable[NodeId] = ()
) -> tuple[NodeId, ...]:
    """The entry, and `count` - 1 of the others, as far as there are so many. The dead are taken last, and are counted:
    a small fleet does not give up a majority because one of it is away."""
    others = ranked(task, set(living) - {entry})
    if dead:
        others += ranked(task, set(dead) - {entry})
    chosen = [entry, *others[: count - 1]]
    return tuple(chosen[: holders_count(count, len(chosen))])


class Candidates:
    """A fleet as the agent `entry` tells it, of which a client chooses `count` holders for each of its tasks."""

    def __init__(self, entry: NodeId | None, lines: Sequence[NodeLine], count: int) -> None:
        lines = [line for line in lines if line.holder and line.state is not Presence.LEFT]
        self._first = next((line.holder for line in lines if line.node == entry), None)
        self._dead = [line.holder for line in lines if line.state is Presence.DEAD]
        self._living = [line.holder for line in lines if line.state is not Presence.DEAD]
        self._count = holders_count(count, len(lines))

    def holders(self, task: TaskId) -> tuple[NodeId, ...]:
        """Nobody, if its agent holds nothing."""
        if self._first is None:
            return ()
        return holders_of(task, self._first, self._living, self._count, self._dead)


def holder_id(node: NodeId, nonce: str) -> NodeId:
    """A node as a holder: its name, and the nonce of its journal."""
    return f"{node}#{nonce}"


@functools.lru_cache(maxsize=4096)
def name_of(holder: NodeId) -> NodeId:
    """The name of the node that is, or was, this holder."""
    return holder.partition("#")[0]


def replaced(task: TaskId, holders: Sequence[NodeId], dead: Iterable[NodeId], living: Iterable[NodeId]) -> list[NodeId]:
    """The holders with each dead one replaced by the heaviest that is none yet, as far as there are so many."""
    gone = set(dead)
    spare = iter(ranked(task, set(living) - set(holders)))
    return [holder if holder not in gone else next(spare, holder) for holder in holders]
