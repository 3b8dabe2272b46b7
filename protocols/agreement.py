"""Does everybody have the same, and does everybody know it? The end of a consensus, seen by each for itself.

Source: the double collect (Y. Afek et al., Atomic Snapshots of Shared Memory, J. ACM 40, 1993); stable properties of a
distributed system are seen in a consistent cut (K. Chandy, L. Lamport, Distributed Snapshots, 1985).

    each tells one line of itself, and hands on the newest line of everybody:  (number, changes, digest, witness)
      `changes` counts how often its state has changed, `digest` is a checksum of that state
      all digests that I know are equal to mine         -> my witness: a checksum over everybody's `changes`
      all lines bear the witness that I would bear      -> agreed

Why it is true: a witness is born when its owner has seen everybody's line, so after the last of them came to that
state, and it carries the owner's own `changes`: until then the owner has not left it. So at the moment when the last of
them came to it, all were in it. If a state that all are in is one that no message changes any more, it is the end.

Invariant: a line is only ever replaced by one with a higher number. Loss, repetition and disorder of lines delay
agreement and cannot feign it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta

from .core import Count

MEMBERS_MAX = 4096
Checksum: TypeAlias = Annotated[int, Meta(ge=0, lt=2**62)]
Line: TypeAlias = tuple[Count, Count, Checksum, Checksum]
"""Number, changes, digest, witness (0: none). Numbers begin at 1; (0, 0, 0, 0) is nothing heard yet."""
Lines: TypeAlias = Annotated[tuple[Line, ...], Meta(max_length=MEMBERS_MAX)]
UNHEARD: Line = (0, 0, 0, 0)


class Agreement:
    """What one member knows of all members' lines."""

    def __init__(self, me: int, members: int) -> None:
        self._me = me
        self._lines: list[Line] = [UNHEARD] * members
        self._gone: set[int] = set()
        self._told: Lines | None = None  # the lines as they are, made once
        self._agreed: bool | None = False  # None: to be looked at

    @property
    def lines(self) -> Lines:
        """What is told to others, in the order of the members."""
        if self._told is None:
            self._told = tuple(self._lines)
        return self._told

    @property
    def members(self) -> int:
        return len(self._lines)

    def merge(self, lines: Lines) -> bool:
        """Take what is newer of others; was anything?"""
        newer = [
            place
            for place, (theirs, mine) in enumerate(zip(lines, self._lines, strict=True))
            if theirs is not mine and theirs[0] > mine[0] and place != self._me
        ]
        for place in newer:
            self._lines[place] = lines[place]
        if newer:
            self._told = self._agreed = None
        return bool(newer)

    def gone(self, member: int) -> None:
        """Nobody waits for its line any more."""
        self._gone.add(member)
        self._agreed = None

    def note(self, digest: int) -> None:
        """My state has this digest now."""
        number, changes, former, witness = self._lines[self._me]
        changes += former != digest
        self._lines[self._me] = (number, changes, digest, 0)
        living = self._living()
        same = all(line[2] == digest for line in living)
        line = (number, changes, digest, checksum([line[1] for line in living]) if same else 0)
        if line[2:] != (former, witness):
            line = (number + 1, *line[1:])
        self._lines[self._me] = line
        self._told = self._agreed = None

    @property
    def agreed(self) -> bool:
        """Everybody is in my state, and everybody has seen it."""
        if self._agreed is None:
            _, _, digest, witness = self._lines[self._me]
            self._agreed = witness > 0 and all(line[2:] == (digest, witness) for line in self._living())
        return self._agreed

    def _living(self) -> list[Line]:
        return [line for place, line in enumerate(self._lines) if place not in self._gone]


def checksum(*columns: Sequence[int | float]) -> int:
    """62 bits over columns of numbers, never 0: equal columns give equal ones, on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(columns).encode(), digest_size=8).digest()) >> 2 or 1
