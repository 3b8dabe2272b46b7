"""What this node has: slots, speed, and the kinds of work it offers.

Kinds that every node offers run inside the agent: `sleep`, `echo` and `work`. Any other kind is a function of the
node's owner, `pkg.mod:func`, and is offered only if it stands on the owner's allow list; `pkg.mod:*` allows a module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ..protocols.core import Task
from ..protocols.participant import Pricing
from ..protocols.performatives import Reason

BUILT_IN_KINDS = ("echo", "sleep", "work")


def allows(patterns: Sequence[str], kind: str) -> bool:
    """Does the owner's list hold this kind?"""
    return any(fnmatchcase(kind, pattern) for pattern in patterns)


@dataclasses.dataclass(frozen=True)
class Resources:
    """`slots` tasks run at a time; `speed` is relative to the fleet's others; `allow` holds patterns of kinds.

    `fastest` is the speed of the fastest node of a fleet that stands on one machine: slower ones there are slowed down
    in proportion, so that one machine can play an unequal fleet. On a machine of its own, leave it at `speed`.
    `tags` say what the node is or has ("gpu", "site=lab"), `amounts` how much of anything it has, in base units; what
    it has of something counts as a tag of that name too.
    """

    slots: int = 1
    speed: float = 1.0
    fastest: float = 1.0
    allow: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    amounts: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def offers(self, kind: str) -> bool:
        """Does this node run that kind?"""
        return kind in BUILT_IN_KINDS or allows(self.allow, kind)

    def unfit(self, task: Task) -> Pricing | None:
        """Why this node can never run the task, in words that go on from "3 nodes"; None: it can."""
        if not self.offers(task.kind):
            return Pricing(decline=Reason.KIND, detail=f"do not offer the kind {task.kind}")
        if task.terms is None:
            return None
        if task.terms.only and not any(self._is(tag) for tag in task.terms.only):
            return Pricing(decline=Reason.ONLY, detail=f"are not {' or '.join(task.terms.only)}")
        for tag in task.terms.needs:
            if not self._is(tag):
                return Pricing(decline=Reason.NEED, detail=f"lack capability {tag}")
        for name, amount in task.terms.amounts:
            have = self.amounts.get(name, 0.0)
            if have < amount:
                less = f"{name} {quantity(name, have)} < {quantity(name, amount)}"
                return Pricing(decline=Reason.NEED, detail=f"have {less}")
        return None

    def _is(self, tag: str) -> bool:
        return tag in self.tags or self.amounts.get(tag, 0.0) > 0.0


SIZES = frozenset({"memory", "vram", "disk"})
"""Amounts that are bytes."""


def quantity(name: str, amount: float) -> str:
    """How much of it, for people.

    >>> quantity("vram", 6 * 2**30), quantity("gpu", 2.0)
    ('6 GiB', '2')
    """
    if name not in SIZES or amount < 1024:
        return f"{amount:g}"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024 or unit == "TiB":
            break
    return f"{amount:.3g} {unit}"
