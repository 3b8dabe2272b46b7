"""A session: one question that a set of nodes settles together, each by the same rule, none for the others.

What the nodes compute (prices, bundles, a trade) is a `Player`; how their words reach each other (`rounds.py` in
lock-step, `gossip.py` without) is not its business. A player is a value: hearing gives the player that comes after, and
leaves the old one as it was, so a round can be heard again with one voice more.

    driver                                   player of n1
      | say() -> b"..."                            |
      | hear({n1: b"...", n2: b"..."}) -> player' |     the newest words of all who take part, its own among them
      | player'.settled -> True                    |     unless it is told something new, it would only repeat itself

Invariant: players that have heard the same words in the same order are equal in all that they tell of the session; what
only one of them can know (a private cost, an exponential that differs between processors) enters as its own word. Such
a rule uses comparison, + - * / and `math.fsum`, nothing else. A word that makes no sense counts as not said.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta

from .core import NodeId

WORD_BYTES_MAX = 256 * 1024
MEMBERS_MAX = 1024
ROUNDS_MAX = 100_000

SessionId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Word: TypeAlias = Annotated[bytes, Meta(max_length=WORD_BYTES_MAX)]
"""What a player says, encoded by itself: the drivers carry it unread."""
Nodes: TypeAlias = Annotated[tuple[NodeId, ...], Meta(max_length=MEMBERS_MAX)]
RoundNumber: TypeAlias = Annotated[int, Meta(ge=0, le=ROUNDS_MAX)]


class Player(typing.Protocol):
    """One node's part of a session."""

    def say(self) -> bytes:
        """Its word for the round that comes."""

    def hear(self, words: Mapping[NodeId, bytes]) -> Player:
        """The player that has heard these, too. A node that is not among them takes no part any more."""

    @property
    def settled(self) -> bool:
        """It would change nothing, as far as it has heard."""
