"""Mistakes, to be planted: each breaks one rule of the design, and the small world must notice.

A mistake is planted with pytest's monkeypatch, so that none of this stands in the product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from parley.protocols import commitment_words, proposer, winner
from parley.protocols.commitment_words import Choice, Entry, Moved, Promise, Spec, Vote, Why, Word
from parley.protocols.core import NodeId
from parley.protocols.epochs import Epoch
from parley.protocols.gate import Gate
from parley.protocols.holder import Holder
from parley.protocols.opener import Opener, Stage, _Opening
from parley.protocols.register import Register
from parley.protocols.winner import Winner

Plant = Callable[[pytest.MonkeyPatch], None]
NOBODY = Epoch(0, "entry", 0)


def no_fencing(patch: pytest.MonkeyPatch) -> None:
    """A holder votes for whatever comes."""

    def commit(self: Register, epoch: Epoch, choice: Choice) -> Word:
        if self.decided:
            return self.hold()
        self.accepted, self.changed = (epoch, choice), True
        return Vote(self.task, self.move, epoch)

    patch.setattr(Register, "commit", commit)


def a_promise_falls(patch: pytest.MonkeyPatch) -> None:
    """A holder promises whatever it was asked for last."""

    def prepare(self: Register, epoch: Epoch, why: Why, now: float, lease_s: float) -> Word | None:
        if self.decided:
            return self.hold()
        self.promised, self.changed = epoch, True
        return Promise(self.task, self.move, epoch, self.floor, self.accepted, self.started is not None)

    patch.setattr(Register, "prepare", prepare)


def accepted_not_adopted(patch: pytest.MonkeyPatch) -> None:
    """An opener does as it likes, whatever was accepted before."""
    promised = Opener._promised

    def deaf(self: Opener, opening: _Opening, promise: Promise, sender: NodeId, now: float) -> None:
        promised(self, opening, msgspec.structs.replace(promise, accepted=None), sender, now)

    patch.setattr(Opener, "_promised", deaf)


def started_not_heeded(patch: pytest.MonkeyPatch) -> None:
    """What is to be done at most once is awarded again after it was begun."""
    promised = Opener._promised

    def deaf(self: Opener, opening: _Opening, promise: Promise, sender: NodeId, now: float) -> None:
        promised(self, opening, msgspec.structs.replace(promise, started=False), sender, now)

    patch.setattr(Opener, "_promised", deaf)


def no_majority(patch: pytest.MonkeyPatch) -> None:
    """One holder is enough."""
    patch.setattr(proposer, "majority", lambda holders: 1)
    patch.setattr(winner, "majority", lambda holders: 1)
    patch.setattr(commitment_words.Spec, "majority", property(lambda spec: 1))


def epoch_0_is_shared(patch: pytest.MonkeyPatch) -> None:
    """Two entry agents take the first epoch for their own."""

    def open_(self: Opener, spec: Spec, now: float) -> None:
        if spec.task.id not in self._openings:
            opening = _Opening(spec, 0, NOBODY, Stage.HOLDING)
            opening.installs = NOBODY
            self._begin(opening, now)

    patch.setattr(Opener, "open", open_)


def forgets_too_early(patch: pytest.MonkeyPatch) -> None:
    """A holder forgets a task as soon as it knows how it ended."""
    answer = Holder._answer

    def forgetful(self: Holder, register: Register, word: Word | None, sender: NodeId, now: float) -> None:
        answer(self, register, word, sender, now)
        if register.choice is not None and register.choice.outcome is not None and register.task in self.registers:
            self._erase_register(register)

    patch.setattr(Holder, "_answer", forgetful)


def answers_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """After a restart a winner does not know what it has answered."""

    def restore(self: Winner, entries: Sequence[Entry], now: float) -> None:
        pass

    patch.setattr(Winner, "restore", restore)


def a_move_without_floor(patch: pytest.MonkeyPatch) -> None:
    """New holders begin with no promise at all."""
    propose = Opener._propose

    def low(self: Opener, opening: _Opening, choice: Choice, now: float) -> None:
        if choice.moved is not None:
            choice = Choice(moved=Moved(choice.moved.holders, NOBODY, choice.moved.started))
        propose(self, opening, choice, now)

    patch.setattr(Opener, "_propose", low)


def nothing_waits_for_the_disk(patch: pytest.MonkeyPatch) -> None:
    """Promises leave before they are recorded."""
    passes = Gate.passes

    def hasty(self: Gate, effect: object) -> bool:
        passes(self, effect)  # type: ignore[arg-type]
        self._held.clear()
        return True

    patch.setattr(Gate, "passes", hasty)


PATCHES: tuple[tuple[Plant, dict[str, bool], int], ...] = (
    (no_fencing, {}, 0),
    (a_promise_falls, {}, 0),
    (accepted_not_adopted, {}, 0),
    (started_not_heeded, {"once": True}, 0),
    (no_majority, {}, 0),
    (epoch_0_is_shared, {}, 0),
    (forgets_too_early, {}, 0),
    (answers_are_forgotten, {}, 0),
    (a_move_without_floor, {"dies": True}, 280),
    (nothing_waits_for_the_disk, {}, 0),
)
"""With the seed to begin with: some violate in one run of hundreds."""
SWITCHES = (("loses_journal", 0), ("awards_again", 0), ("hops_on_silence", 0), ("chooses_holders_anew", 440))
"""Mistakes of those around the roles: of the disk, of owners, of clients."""
