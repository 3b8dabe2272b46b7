"""Mistakes about gangs, planted by `planted_bugs.py`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from parley.protocols.core import SLOTS, Effect, NodeId, Send
from parley.protocols.gang_words import Dismiss, Reserved, Unreserved
from parley.protocols.gangs import Gangs
from parley.protocols.leader import Leader, _Led
from parley.protocols.reserves import Member, Reserves


def reserved_for_ever(patch: pytest.MonkeyPatch) -> None:
    """What is kept for a silent owner, or works for a silent leader, is kept."""
    patch.setattr(Reserves, "wake", lambda self, now: ())
    patch.setattr(Reserves, "deadline", None)
    patch.setattr(Reserves, "gone", lambda self, node, now: [])


def awarded_too_soon(patch: pytest.MonkeyPatch) -> None:
    """The first of its nodes has reserved, and it is awarded."""
    hear = Gangs.hear

    def early(self: Gangs, message: Reserved | Unreserved, sender: NodeId, now: float) -> list[Effect]:
        gang = self._gangs.get(message.task)
        if gang is not None and isinstance(message, Reserved):
            gang.asked = len(gang.counts)
            gang.counts.sort(key=lambda count: count[0] == sender)
        return hear(self, message, sender, now)

    patch.setattr(Gangs, "hear", early)


def left_alone(patch: pytest.MonkeyPatch) -> None:
    """When one member is lost, the others are neither dismissed nor ever told again that they are wanted: and yet they
    work on."""
    disband = Leader._disband

    def quietly(self: Leader, led: _Led) -> list[Effect]:
        effects = disband(self, led)
        return [one for one in effects if not (isinstance(one, Send) and isinstance(one.message, Dismiss))]

    wake = Reserves.wake

    def patient(self: Reserves, now: float) -> Sequence[Effect]:
        for party in self._parties.values():
            if party.leader:
                party.until = now + 60.0
        return wake(self, now)

    patch.setattr(Leader, "_disband", quietly)
    patch.setattr(Reserves, "wake", patient)


def kept_for_nobody(patch: pytest.MonkeyPatch) -> None:
    """Slots are said to be kept, and are given to whoever comes next."""
    kept = Reserves.kept

    def also_free(self: Reserves, member: Member, now: float) -> list[Effect]:
        self._occupancy._left[SLOTS] += 1.0
        return kept(self, member, now)

    patch.setattr(Reserves, "kept", also_free)
