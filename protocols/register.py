"""A register decides once: what one holder has promised, accepted and learnt of one task.

Source: Lamport 1998, 2001 (the acceptor of Paxos, with one proposal per epoch); Schneider 1990.

    told                 if                          then                              answer
    Hold(e)              known already               -                                 Held(promised)
    Prepare(e)           e > promised                promised = e                      Promise(what was accepted)
                         e = promised                -                                 Promise, again
                         renewed within a lease      -                                 none: its winner works at it
    Commit(e, choice)    e >= promised               accepted = choice, promised = e   Vote
                         e < promised                -                                 Fence
                         floor <= e < promised       -                                 none: it is being moved
    anything             decided                     -                                 Decided

Invariants: what is promised and accepted never falls; nothing earlier than the promise is voted for; what is decided
does not change. `floor` is the latest promise that was not given for a move: a move fences nobody (`commitment.py`).
The caller records a register that has changed before the answer leaves.
"""

from __future__ import annotations

import math

from .commitment_words import (
    Choice,
    Decided,
    Fence,
    Held,
    Learnt,
    Moved,
    Promise,
    RegisterEntry,
    Spec,
    Vote,
    Why,
    Word,
    majority,
)
from .core import ProtocolError, TaskId
from .epochs import Epoch


class Register:
    """Of one task, at one holder. `changed` tells whether it must be recorded before what it answers leaves."""

    __slots__ = (
        "accepted", "askers", "changed", "decided", "floor", "move", "promised", "renewed_at", "spec", "started",
        "task", "worker",
    )  # fmt: skip

    def __init__(self, spec: Spec, move: int, promised: Epoch) -> None:
        self.spec = spec
        self.task: TaskId = spec.task.id
        self.move = move
        self.promised = promised
        self.floor = promised
        self.accepted: tuple[Epoch, Choice] | None = None
        self.decided = False  # what was accepted last is decided
        self.started: Epoch | None = None  # somebody began a task that is to be done at most once
        self.renewed_at = -math.inf  # when its winner was heard last
        self.worker: str | None = None  # who that was
        self.askers: tuple[str, ...] = ()  # who else stands by it, and is to hear how it ends: not recorded
        self.changed = True

    @classmethod
    def restored(cls, spec: Spec, move: int, entry: RegisterEntry) -> Register:
        """As it was recorded."""
        register = cls(spec, move, entry.promised)
        register.floor, register.accepted, register.started = entry.floor, entry.accepted, entry.started
        register.decided, register.changed = entry.decided, False
        return register

    @property
    def entry(self) -> RegisterEntry:
        """What is to be recorded."""
        return RegisterEntry(self.task, self.promised, self.floor, self.accepted, self.decided, self.started)

    @property
    def choice(self) -> Choice | None:
        """What is decided."""
        return self.accepted[1] if self.decided and self.accepted is not None else None

    def went_on(self, move: int) -> Word:
        """What whoever asks for it as it was before it moved is told."""
        moved = Moved(self.spec.holders, self.floor, self.started is not None)
        return Decided(self.task, move, Choice(moved=moved))

    def hold(self) -> Word:
        """It is here already, or has just come."""
        return self._decided() or Held(self.task, self.move, self.promised)

    def prepare(self, epoch: Epoch, why: Why, now: float, lease_s: float) -> Word | None:
        """Promise a later epoch. None: whoever works at it stands under a lease."""
        if (decided := self._decided()) is not None:
            return decided
        if epoch < self.promised:
            return Fence(self.task, self.move, epoch, self.promised)
        if epoch > self.promised:
            if why is Why.ORPHAN and self.accepted is None and now - self.renewed_at < lease_s:
                return None
            self.promised = epoch
            if why is not Why.MOVE:
                self.floor = epoch
            self.changed = True
        return Promise(self.task, self.move, epoch, self.floor, self.accepted, self.started is not None)

    def counts(self, epoch: Epoch) -> bool:
        """May the winner of this epoch go on, here or where the register moves to?"""
        return epoch >= min(self.promised, self.floor)

    def refusal(self, epoch: Epoch) -> Word | None:
        """Why the winner of this epoch may not go on."""
        if (decided := self._decided()) is not None or self.counts(epoch):
            return decided
        return Fence(self.task, self.move, epoch, self.promised)

    def start(self, epoch: Epoch) -> Word | None:
        """Somebody is about to begin what is to be done at most once. None: it is being moved, ask again."""
        if (refusal := self.refusal(epoch)) is not None or epoch < self.promised:
            return refusal
        if self.started != epoch:
            self.started = self.promised = self.floor = epoch
            self.changed = True
        return Vote(self.task, self.move, epoch, start=True)

    def commit(self, epoch: Epoch, choice: Choice) -> Word | None:
        """Vote, if nothing later was promised. The only holder of a task decides by its vote. None: ask again."""
        if (refusal := self.refusal(epoch)) is not None or epoch < self.promised:
            return refusal
        if self.accepted != (epoch, choice):
            if self.accepted is not None and self.accepted[0] == epoch:
                raise ProtocolError(f"two values are proposed for {self.task} in {epoch}")
            self.accepted = (epoch, choice)
            self.promised = epoch
            if epoch.root == self.floor.root:
                self.floor = epoch
            self.changed = True
        if majority(len(self.spec.holders)) == 1:
            self.decided = True
            return self.hold()
        return Vote(self.task, self.move, epoch)

    def learn(self, choice: Choice) -> Word:
        """It is decided, wherever this holder stood."""
        if not self.decided:
            if self.accepted is None or self.accepted[1] != choice:
                self.accepted = (self.promised, choice)
                self.changed = True  # else its own vote is on disk, and that is as good
            self.decided = True
        return Learnt(self.task, self.move)

    def rest(self) -> None:
        """Nobody works at it any more."""
        self.renewed_at, self.worker = -math.inf, None

    def _decided(self) -> Word | None:
        return Decided(self.task, self.move, self.choice) if self.choice is not None else None
