"""What this node has: slots, speed, and the kinds of work it offers.

Kinds that every node offers run inside the agent: `sleep`, `echo` and `work`. Any other kind is a function of the
node's owner, `pkg.mod:func`, and is offered only if it stands on the owner's allow list; `pkg.mod:*` allows a module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase

BUILT_IN_KINDS = ("echo", "sleep", "work")


def allows(patterns: Sequence[str], kind: str) -> bool:
    """Does the owner's list hold this kind?"""
    return any(fnmatchcase(kind, pattern) for pattern in patterns)


@dataclasses.dataclass(frozen=True)
class Resources:
    """`slots` tasks run at a time; `speed` is relative to the fleet's others; `allow` holds patterns of kinds.

    `fastest` is the speed of the fastest node of a fleet that stands on one machine: slower ones there are slowed down
    in proportion, so that one machine can play an unequal fleet. On a machine of its own, leave it at `speed`.
    """

    slots: int = 1
    speed: float = 1.0
    fastest: float = 1.0
    allow: tuple[str, ...] = ()

    def offers(self, kind: str) -> bool:
        """Does this node run that kind?"""
        return kind in BUILT_IN_KINDS or allows(self.allow, kind)
