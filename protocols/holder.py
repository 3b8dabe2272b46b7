"""A holder keeps registers of tasks, and sees to it that none is left alone.

    owner of the epoch     holder                               any opener
      | Hold(spec, e) ------> | recorded; promised = e
      | Watching -----------> | every quarter of a lease: all tasks of that owner are seen to
      X dies                  |
             winner ---Renewal> | it works at it: the task is seen to
               X dies         | silence for lease (1 + random), or the membership's verdict
                              |--- orphaned -> the opener of this node: Prepare a later epoch
      | <----------- Fence --- | that was promised: whose epoch counts no more need not find out by an award

Source: Gray and Cheriton 1989 (leases). The registers of one owner share one timer, since one word tells that it lives;
only an orphan has a timer of its own.

Once decided, a register waits until all holders have learnt it; then only the outcome is kept (`kept.py`), at last
nothing but the name, for which nothing is ever promised again.

Invariant: what has changed is recorded before the answer leaves; what was forgotten never promises.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence, Set

from .commitment_words import (
    Choice,
    Chosen,
    Commit,
    Decided,
    Entry,
    Fence,
    Gone,
    Hold,
    Keep,
    KeptEntry,
    Learn,
    Learnt,
    Prepare,
    RegisterEntry,
    Release,
    Renewal,
    Renewed,
    Settled,
    SpecEntry,
    Started,
    TombEntry,
    Unheld,
    Watching,
    Why,
    Word,
)
from .core import NodeId, Outcome, TaskId
from .kept import Kept
from .names import Names
from .proposer import Ears, Proposer, Say, Tell
from .register import Register
from .timers import Timers, earliest

LEASE_S = 1.0
ASKERS_MAX = 4
"""So many of those who stand by a task and do not hold it are told how it ended."""
TEACH_S = 5.0
"""What is decided, and not known to be known by all, is taught by whoever knows it after this time."""
VERDICT_S = 0.2
"""Within this time after the membership's verdict somebody sees to what a dead node stood by."""
PAUSE_S = 1.0
"""Woken later than this, it was we who slept: nobody else is silent yet."""

Write = Callable[[Entry], None]
Erase = Callable[[type[Entry], str], None]
Owner = tuple[NodeId, int]


class Holder:
    """The registers of one node. `living` are the holders that live, `dead` those that have not for long (both are
    looked at whenever it matters); `write` and `erase` record; `cares(task)`: the opener of this node sees to it;
    `orphaned(register, ending)`: it is to see to it, and perhaps to have it end so; `hurry(task, now)`: a winner has a
    result, and waits for nobody but it."""

    def __init__(
        self,
        node: NodeId,
        living: Set[NodeId],
        dead: Set[NodeId],
        chance: random.Random,
        proposer: Proposer,
        say: Say,
        tell: Tell,
        write: Write,
        erase: Erase,
        cares: Callable[[TaskId], bool],
        orphaned: Callable[[Register, Outcome | None], None],
        hurry: Callable[[TaskId, float], None],
    ) -> None:
        self._node = node
        self._chance = chance
        self._proposer = proposer
        self._say = say
        self._tell = tell
        self._write = write
        self._erase = erase
        self._cares = cares
        self._orphaned = orphaned
        self._hurry = hurry
        self.registers: dict[TaskId, Register] = {}
        self._names = Names()  # of those
        self.kept = Kept(node, living, dead, say, write, erase)
        self._owned: dict[Owner, set[TaskId]] = {}  # undecided, by who stands by them
        self._owner_of: dict[TaskId, Owner] = {}
        self._heard: dict[Owner, float] = {}
        self._owners: Timers[Owner] = Timers()  # when one has been silent for too long
        self._orphans: Timers[TaskId] = Timers()
        self._unwanted: dict[TaskId, Outcome] = {}  # how orphans are to end
        self._teach: Timers[TaskId] = Timers()  # decided, and not settled

    def restore(self, entries: Sequence[Entry], now: float) -> None:
        """What this node has recorded in former lives; what nobody stands by will be found out."""
        specs = {entry.key: entry for entry in entries if isinstance(entry, SpecEntry)}
        for entry in entries:
            match entry:
                case RegisterEntry(task):
                    register = Register.restored(specs[task].spec, specs[task].move, entry)
                    self.registers[task] = register
                    self._names.add(task, register.spec.label)
                    if register.decided:
                        self._teach.set(task, now + TEACH_S * self._chance.random())
                    else:
                        self._own(register, now)
                case KeptEntry() | TombEntry():
                    self.kept.restore(entry, now)

    def choice(self, task: TaskId) -> Choice | None:
        """How it has ended, as far as this holder knows."""
        if (kept := self.kept.get(task)) is not None:
            return kept.choice
        register = self.registers.get(task)
        return register.choice if register is not None else None

    def kind(self, task: TaskId) -> tuple[str, str]:
        """Kind and label of one that it knows."""
        if (kept := self.kept.get(task)) is not None:
            return kept.kind, kept.label
        spec = self.registers[task].spec
        return spec.task.kind, spec.label

    def named(self, name: str) -> list[TaskId]:
        """What this holder knows by this name: an id, the beginning of ids, or a label."""
        if name in self.registers or self.kept.get(name) is not None:
            return [name]
        return [*self._names.named(name), *self.kept.named(name)]

    @property
    def undecided(self) -> list[TaskId]:
        """Whose end this holder does not know."""
        return [task for task, register in self.registers.items() if not register.decided]

    @property
    def deadline(self) -> float | None:
        return earliest(self._owners.deadline, self._orphans.deadline, self._teach.deadline, self.kept.deadline)

    def wake(self, now: float) -> None:
        deadline = self.deadline
        slept = deadline is not None and now - deadline > PAUSE_S
        for owner in self._owners.due(now):
            heard = now if slept else self._heard.get(owner, now)
            if now - heard < LEASE_S:
                self._owners.set(owner, heard + self._patience_s())
                self._heard[owner] = heard
            else:
                self._forsaken(owner, now, self._patience_s)
        if (copy_at := self.kept.deadline) is not None and copy_at <= now:
            self.kept.wake(now)
        for task in self._orphans.due(now):
            self._orphan(self.registers[task], now, slept)
        for task in self._teach.due(now):
            register = self.registers[task]
            if register.accepted is not None:
                epoch, choice = register.accepted
                self._proposer.teach(task, register.move, register.spec.holders, choice, epoch, now)
                self._teach.set(task, now + TEACH_S * (1.0 + self._chance.random()))

    @property
    def ears(self) -> Ears:
        return {
            Hold: self._hold,
            Watching: self._watched,
            Settled: self._settled,
            Renewal: self._renew,
            Release: self._released,
            Learn: self._learn,
            Keep: self._take_copy,
            Prepare: self._prepare,
            Started: self._start,
            Commit: self._commit,
        }

    def _prepare(self, word: Prepare, sender: NodeId, now: float) -> None:
        register = self._at(word, sender)
        if register is not None:
            self._hear_asker(register, sender)
            former = register.promised.root
            self._answer(register, register.prepare(word.epoch, word.why, now, LEASE_S), sender, now)
            if former < register.promised and former.opener != sender and word.why is not Why.MOVE:
                self._say(former.opener, Fence(word.task, word.move, former, register.promised))

    def _start(self, word: Started, sender: NodeId, now: float) -> None:
        register = self._at(word, sender)
        if register is not None:
            self._answer(register, register.start(word.epoch), sender, now)

    def _commit(self, word: Commit, sender: NodeId, now: float) -> None:
        register = self._at(word, sender)
        if register is not None:
            vote = register.commit(word.epoch, word.choice)
            if type(vote) is Fence and register.promised.opener == self._node:
                self._hurry(word.task, now)
            self._answer(register, vote, sender, now)
            if register.choice is not None:  # as the only holder: this node hears of it when it is on disk
                self._say(self._node, Learn(word.task, word.move, register.choice))

    def _released(self, word: Release, sender: NodeId, now: float) -> None:
        register = self.registers.get(word.task)
        if register is not None and register.worker == sender and register.counts(word.epoch):
            register.rest()

    # -- keeping

    def _at(self, word: Prepare | Started | Commit | Renewal, sender: NodeId) -> Register | None:
        """The register it is about; None: it was answered otherwise."""
        task, move = word.task, word.move
        if self._ended(task, move, sender):
            return None
        register = self.registers.get(task)
        if register is None or register.move < move:
            self._say(sender, Unheld(task, move))
            if type(word) is Commit and word.epoch.opener != sender:  # a winner cannot give it to us: its owner can
                self._say(word.epoch.opener, Unheld(task, move))
            return None
        if register.move > move:
            self._say(sender, register.went_on(move))
            return None
        return register

    def _ended(self, task: TaskId, move: int, sender: NodeId) -> bool:
        """It is not a register any more: say what is left of it. (Where it went once says nothing of later moves.)"""
        kept = self.kept.get(task)
        if kept is not None and (kept.choice.moved is None or move <= kept.move):
            self._say(sender, Decided(task, move, kept.choice))
        elif self.kept.buried(task):
            self._say(sender, Gone(task))
        else:
            return False
        return True

    def _hold(self, hold: Hold, sender: NodeId, now: float) -> None:
        task = hold.spec.task.id
        kept = self.kept.get(task)
        if kept is not None and kept.choice.moved is not None and kept.move < hold.move:  # it comes back to us
            self.kept.drop(task)
        if self._ended(task, hold.move, sender):
            return
        register = self.registers.get(task)
        if register is not None and register.move > hold.move:
            self._say(sender, register.went_on(hold.move))
            return
        if register is None or register.move < hold.move:  # the first, or it goes on here at new holders
            askers: tuple[NodeId, ...] = ()
            if register is not None:
                self._disown(register)
                self._teach.cancel(task)
                askers = register.askers
            register = self.registers[task] = Register(hold.spec, hold.move, hold.epoch)
            self._names.add(task, hold.spec.label)
            register.askers = askers
            if hold.started:
                register.started = hold.epoch
            self._write(SpecEntry(hold.spec, hold.move))
            self._own(register, now)
        self._hear_asker(register, sender)
        self._answer(register, register.hold(), sender, now)

    def _hear_asker(self, register: Register, sender: NodeId) -> None:
        """Who holds it hears how it ends in any case; of others, those who asked last are told."""
        if sender not in register.spec.holders and sender not in register.askers:
            register.askers = (*register.askers[1 - ASKERS_MAX :], sender)

    def _tell_askers(self, register: Register) -> None:
        if register.choice is not None:
            for asker in register.askers:
                self._say(asker, Learn(register.task, register.move, register.choice))
            register.askers = ()

    def _answer(self, register: Register, word: Word | None, sender: NodeId, now: float) -> None:
        """Record what has changed, then say it."""
        if register.changed:
            register.changed = False
            self._write(register.entry)
            if not register.decided:
                self._own(register, now)
            else:
                self._decided(register, now)
        if word is not None:
            self._say(sender, word)

    def _decided(self, register: Register, now: float) -> None:
        """Nobody need stand by it any more; but all must learn it."""
        self._disown(register)
        self._tell_askers(register)
        self._teach.set(register.task, now + TEACH_S * (1.0 + self._chance.random()))

    def _learn(self, learn: Learn, sender: NodeId, now: float) -> None:
        task, move, choice = learn.task, learn.move, learn.choice
        register = self.registers.get(task)
        if register is not None and register.move == move:
            told = register.decided
            word: Word | None = register.learn(choice)
            if choice.outcome is not None and (sender == self._node or not told):
                self._tell(Chosen(task, choice.outcome))
            elif choice.moved is not None and self._node not in choice.moved.holders:
                self._leave(register, choice, now)
                self._say(sender, Learnt(task, move))
                return
            if len(register.spec.holders) == 1:  # there is nobody else to learn it
                register.changed = False
                self._settle(register, now)
                word = None
            elif not told and not register.changed:
                self._decided(register, now)
            self._answer(register, word, sender, now)
            return
        self._hear_end(KeptEntry(task, move, choice), now)
        self._say(sender, Learnt(task, move))

    def _hear_end(self, entry: KeptEntry, now: float) -> None:
        """A task has ended that is not held here, or was not decided here."""
        task, outcome = entry.task, entry.choice.outcome
        known = self.kept.get(task)
        if outcome is None or self.kept.buried(task) or (known is not None and known.choice.outcome is not None):
            return
        if known is not None:  # where it went; now it has ended there
            self.kept.drop(task)
        if (register := self.registers.get(task)) is not None:
            self._erase_register(register)
        self.kept.keep(entry, now)
        self._tell(Chosen(task, outcome))

    def _take_copy(self, word: Keep, sender: NodeId, now: float) -> None:
        """This node takes the place of a dead holder."""
        self._hear_end(KeptEntry(word.task, word.move, word.choice, word.kind, word.label, word.holders), now)

    def _leave(self, register: Register, choice: Choice, now: float) -> None:
        """Its outcome, or where it went, is all that is kept."""
        self._erase_register(register)
        spec = register.spec
        self.kept.keep(
            KeptEntry(register.task, register.move, choice, spec.task.kind, spec.label, spec.holders), now
        )

    def _settled(self, word: Settled, sender: NodeId, now: float) -> None:
        """All have voted in this epoch, this holder too, or all know: there is nobody to be taught."""
        register, voted_in = self.registers.get(word.task), word.epoch
        if register is None or register.move != word.move:
            return
        accepted = register.accepted
        if not register.decided and voted_in is not None and accepted is not None and accepted[0] >= voted_in:
            register.decided = True
            if register.choice is not None and register.choice.outcome is not None:
                self._tell(Chosen(register.task, register.choice.outcome))
        if register.decided:
            self._settle(register, now)

    def _settle(self, register: Register, now: float) -> None:
        """All holders know: only the outcome is kept."""
        choice = register.choice
        assert choice is not None
        self._tell_askers(register)
        if choice.moved is None:  # else its new holders replace it
            self._leave(register, choice, now)

    def _erase_register(self, register: Register) -> None:
        task = register.task
        self._disown(register)
        self._teach.cancel(task)
        del self.registers[task]
        self._names.discard(task, register.spec.label)
        self._erase(SpecEntry, task)
        self._erase(RegisterEntry, task)

    def bury(self, task: TaskId) -> None:
        """The other holders have forgotten it: it ended, and so does what is left of it here."""
        register = self.registers.get(task)
        if register is not None:
            self._erase_register(register)
            self.kept.bury(task)

    # -- who stands by what

    def _own(self, register: Register, now: float) -> None:
        """It belongs to the owner of the epoch that is promised."""
        owner = (register.promised.opener, register.promised.incarnation)
        if self._owner_of.get(register.task) == owner:
            return
        self._disown(register)
        self._owner_of[register.task] = owner
        self._owned.setdefault(owner, set()).add(register.task)
        if owner not in self._owners:
            self._heard[owner] = now
            self._owners.set(owner, now + self._patience_s())
        if owner[0] == self._node and not self._cares(register.task):  # it has given that up, or was in a former life
            self._orphans.set(register.task, now + self._patience_s())

    def _disown(self, register: Register) -> None:
        """Nobody stands by it any more, nor need anybody."""
        self._orphans.cancel(register.task)
        self._unwanted.pop(register.task, None)
        owner = self._owner_of.pop(register.task, None)
        if owner is None:
            return
        tasks = self._owned[owner]
        tasks.discard(register.task)
        if not tasks:
            del self._owned[owner], self._heard[owner]
            self._owners.cancel(owner)

    def _watched(self, word: Watching, sender: NodeId, now: float) -> None:
        """One word for all its tasks."""
        owner = (sender, word.incarnation)
        if owner in self._owned:
            self._heard[owner] = now
            if owner not in self._owners:
                self._owners.set(owner, now + self._patience_s())

    def _renew(self, renewal: Renewal, sender: NodeId, now: float) -> None:
        register = self._at(renewal, sender)
        if register is None:
            return
        if (refusal := register.refusal(renewal.epoch)) is not None:
            self._say(sender, refusal)
            return
        register.renewed_at, register.worker = now, sender
        self._say(sender, Renewed(register.task, renewal.epoch))

    def _patience_s(self) -> float:
        return LEASE_S * (1.0 + self._chance.random())

    def gone(self, node: NodeId, now: float) -> None:
        """The membership's verdict: what it owned is seen to at once, one holder a little later than the other."""
        for owner in [owner for owner in self._owned if owner[0] == node]:
            self._forsaken(owner, now, lambda: VERDICT_S * self._chance.random())
        for register in self.registers.values():
            if register.worker == node:
                register.rest()
                if register.task in self._orphans:
                    self._orphans.set(register.task, now + VERDICT_S * self._chance.random())

    def _forsaken(self, owner: Owner, now: float, patience_s: Callable[[], float]) -> None:
        """It is silent, or gone: each of its tasks is looked after by itself."""
        self._owners.cancel(owner)
        self._heard[owner] = -math.inf
        for task in sorted(self._owned.get(owner, ())):
            if task not in self._orphans:
                self._orphans.set(task, now + patience_s())

    def want_end(self, outcome: Outcome, now: float) -> None:
        """It is to end so. If nobody stands by it, it is seen to soon, also if somebody works at it still."""
        register = self.registers.get(outcome.task)
        if register is None or register.decided or register.task in self._unwanted or self._stands(register, now):
            return
        self._unwanted[register.task] = outcome
        self._orphans.set(register.task, now + VERDICT_S * self._chance.random())

    def _stands(self, register: Register, now: float) -> bool:
        """Its owner was heard within a lease; of this node it is known whether it sees to it."""
        owner = (register.promised.opener, register.promised.incarnation)
        if owner[0] == self._node:
            return self._cares(register.task)
        return now - self._heard.get(owner, -math.inf) < LEASE_S

    def _orphan(self, register: Register, now: float, slept: bool) -> None:
        if slept or self._cares(register.task):
            self._orphans.set(register.task, now + self._patience_s())
            return
        ending = self._unwanted.pop(register.task, None)
        if self._stands(register, now):
            return  # its owner is back, and has a timer
        if ending is None and now - register.renewed_at < LEASE_S:
            self._orphans.set(register.task, register.renewed_at + self._patience_s())
        else:
            self._orphaned(register, ending)
            self._orphans.set(register.task, now + 2.0 * self._patience_s())
