"""What this node has: slots, speed, and the kinds of work it offers.

Kinds that every node offers run inside the agent: `sleep`, `echo` and `work`. Any other kind is a function of the
node's owner, `pkg.mod:func`, and is offered only if it stands on the owner's allow list; `pkg.mod:*` allows a module.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ..protocols.core import SLOTS, BlobHint, Reference, Tag, Task
from ..protocols.participant import Pricing
from ..protocols.performatives import Reason, Term

BUILT_IN_KINDS = ("echo", "sleep", "work")


def allows(patterns: Sequence[str], kind: str) -> bool:
    """Does the owner's list hold this kind?"""
    return any(fnmatchcase(kind, pattern) for pattern in patterns)


class Shop(typing.Protocol):
    """What a node's executors offer at this moment."""

    def offers(self, kind: str) -> bool:
        """Does it run tasks of this kind?"""

    @property
    def tags(self) -> Sequence[Tag]:
        """What the node has by having them."""

    def price(self, task: Task) -> Sequence[Term] | None:
        """The terms of a task's cost that its executor itself knows; None: let the estimator say."""


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

    def has(self, shop: Shop) -> set[Tag]:
        """All tags of this node."""
        return {*self.tags, *shop.tags, *(name for name, amount in self.amounts.items() if amount > 0.0)}

    def unfit(self, task: Task, shop: Shop) -> Pricing | None:
        """Why this node can never run the task, in words that go on from "3 nodes"; None: it can."""
        if not shop.offers(task.kind):
            how = " (`parley up --allow command` does)" if task.kind == "command" else ""
            return Pricing(decline=Reason.KIND, detail=f"do not offer the kind {task.kind}{how}")
        if task.terms is None:
            return None
        tags = self.has(shop)
        if task.terms.only and not tags & set(task.terms.only):
            return Pricing(decline=Reason.ONLY, detail=f"are not {' or '.join(task.terms.only)}")
        for tag in task.terms.needs:
            if tag not in tags:
                return Pricing(decline=Reason.NEED, detail=f"lack capability {tag}")
        for name, amount in task.terms.amounts:
            have = float(self.slots) if name == SLOTS else self.amounts.get(name, 0.0)
            if have < amount:
                less = f"{name} {quantity(name, have)} < {quantity(name, amount)}"
                return Pricing(decline=Reason.NEED, detail=f"have {less}")
        return None


class Listed:
    """A shop by its list alone: the kinds that every node offers, and what the owner allows. Of the simulator."""

    tags: Sequence[Tag] = ()

    def __init__(self, allow: Sequence[str] = ()) -> None:
        self._allow = allow

    def offers(self, kind: str) -> bool:
        return kind in BUILT_IN_KINDS or allows(self._allow, kind)

    def price(self, task: Task) -> Sequence[Term] | None:
        return None


class Shelf(typing.Protocol):
    """Where a node's large values lie: `holds` one, `knows` one by what everybody may know of it."""

    @property
    def bytes_max(self) -> int: ...
    def holds(self, blob: Reference) -> bool: ...
    def knows(self, hint: BlobHint) -> bool: ...


class NoShelf:
    """A node that takes no large values. Of the simulator."""

    bytes_max = 0

    def holds(self, blob: Reference) -> bool:
        return False

    def knows(self, hint: BlobHint) -> bool:
        return False


SIZES = frozenset({"memory", "vram", "disk"})
"""Amounts that are bytes."""


def quantity(name: str, amount: float) -> str:
    """How much of it, for people.

    >>> quantity("vram", 6 * 2**30), quantity("vram", 1005 * 2**20), quantity("gpu", 2.0)
    ('6 GiB', '0.981 GiB', '2')
    """
    if name not in SIZES or amount < 1000:
        return f"{amount:g}"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 999.5 or unit == "TiB":
            break
    return f"{amount:.3g} {unit}"
