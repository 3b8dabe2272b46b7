"""A winner answers an award once, for ever, and has its result decided.

    owner                     winner                                 holders
      | Award(task, e) ------->| accepted, on disk; then it runs
      |                        | Renewal(task, e) every lease/4 ----->|
      |                        | <---------------- Renewed, or Fence  |   fenced by too many for a majority: stop
      | <- Failure, or:        | released, on disk: never committed
      |                        | result, on disk; then Commit (proposer.py) -> all
      | Award(task, e), again->| the same answer

A task that is to be done at most once begins when a majority has it on disk that it does (`Started`). What was accepted
before this node slept, and has not begun, begins when a majority has renewed it since.

Source: Gray and Cheriton 1989 (leases). Invariants: per epoch one answer, restarts included; what was accepted in a
former life and has no result is released, never resumed; what has a result is proposed until it is decided.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from .commitment_words import (
    Answer,
    AwardEntry,
    Begin,
    Choice,
    Decided,
    Entry,
    Fence,
    Gone,
    Holders,
    Overruled,
    Release,
    Renewal,
    Renewed,
    Started,
    Vote,
    majority,
)
from .core import NodeId, Outcome, TaskId
from .epochs import Epoch
from .holder import LEASE_S, Erase, Write
from .proposer import Ears, Proposer, Say, Tell

ANSWERS_MAX = 100_000
"""How many answers are remembered of awards that are over; the oldest is forgotten first."""

ASK_EACH = 12
"""Where no majority has answered for a lease, every renewal would keep the few that do answer from promising a later
epoch. One in so many goes out all the same: in three leases the work has its lease again, or has heard that it counts
no more."""

BEGIN_S = 2 * LEASE_S
"""What waits for a majority, and may not begin within this time, is given up: it keeps others from it."""

Key = tuple[TaskId, Epoch]


class _Held:
    """An award that was accepted, and has not ended."""

    __slots__ = ("began", "begin_by", "doubted", "fenced", "heard_at", "holders", "move", "unheard", "votes")

    def __init__(self, move: int, holders: Holders, now: float, once: bool, doubted: bool = False) -> None:
        self.move = move
        self.holders = holders
        self.heard_at = dict.fromkeys(holders, now)  # when each holder has last answered
        self.unheard = 0  # so often it was looked, and no majority had answered for a lease
        self.fenced: set[NodeId] = set()
        self.votes: set[NodeId] = set()
        self.doubted = doubted  # we slept: it waits for renewals
        self.began = not once and not doubted  # a task to be done at most once waits for votes
        self.begin_by = now + BEGIN_S


class Winner:
    """All awards of one node."""

    def __init__(self, proposer: Proposer, say: Say, tell: Tell, write: Write, erase: Erase) -> None:
        self._proposer = proposer
        self._say = say
        self._tell = tell
        self._write = write
        self._erase = erase
        self._held: dict[Key, _Held] = {}
        self._epochs: dict[TaskId, list[Epoch]] = {}  # of those
        self._answers: OrderedDict[Key, AwardEntry] = OrderedDict()
        self._results: dict[TaskId, set[Key]] = {}  # that are not decided yet
        self._renew_at: float | None = None

    def restore(self, entries: Sequence[Entry], now: float) -> None:
        """The answers of former lives stand: results are proposed again, the rest is released."""
        for entry in entries:
            if not isinstance(entry, AwardEntry):
                continue
            key = (entry.task, entry.epoch)
            self._answers[key] = entry
            if entry.answer is Answer.ACCEPTED:
                self.release(*key)
            elif entry.answer is Answer.RESULT and entry.outcome is not None:
                self._propose(entry, now)

    def answered(self, task: TaskId, epoch: Epoch) -> AwardEntry | None:
        """What was answered to this award before."""
        return self._answers.get((task, epoch))

    def accept(
        self, task: TaskId, epoch: Epoch, move: int, holders: Holders, now: float, *, at_most_once: bool = False
    ) -> None:
        """It will be worked at, and renewed. If `at_most_once`, it may begin only when `Begin` is told."""
        key = (task, epoch)
        self._answer(AwardEntry(task, epoch, Answer.ACCEPTED, holders, move))
        held = self._held[key] = _Held(move, holders, now, at_most_once)
        self._epochs.setdefault(task, []).append(epoch)
        if self._renew_at is None:
            self._renew_at = now + LEASE_S / 4
        if at_most_once:
            self._ask_to_begin(key, held)

    def doubt(self, task: TaskId, epoch: Epoch, now: float) -> None:
        """This node has slept, and somebody else may have it by now: it may begin when `Begin` is told."""
        held = self._held.get((task, epoch))
        if held is not None and held.began:
            held.began, held.doubted, held.begin_by = False, True, now + BEGIN_S
            held.votes.clear()
            self._renew_at = now

    def decline(self, task: TaskId, epoch: Epoch, move: int, holders: Holders) -> None:
        """It was not taken, and never will be."""
        self._answer(AwardEntry(task, epoch, Answer.RELEASED, holders, move))

    def release(self, task: TaskId, epoch: Epoch) -> None:
        """It came to nothing here: this epoch will never be committed."""
        key = (task, epoch)
        answer = self._answers.get(key)
        if answer is None or answer.answer is not Answer.ACCEPTED:
            return
        held = self._pop(key)
        move, holders = (held.move, held.holders) if held is not None else (answer.move, answer.holders)
        self._answer(AwardEntry(task, epoch, Answer.RELEASED, holders, move))
        for holder in holders:
            self._say(holder, Release(task, move, epoch))

    def unrecorded(self, task: TaskId) -> None:
        """What was answered to its award waits for a disk that is full, and may be for long: others may have it."""
        for epoch in list(self._epochs.get(task, ())):
            self._stop((task, epoch))

    def done(self, epoch: Epoch, outcome: Outcome, now: float) -> None:
        """It has a result: on disk here first, then proposed."""
        key = (outcome.task, epoch)
        held = self._pop(key)
        if held is None:
            return  # it was released, or fenced, meanwhile
        entry = AwardEntry(outcome.task, epoch, Answer.RESULT, held.holders, held.move, outcome)
        self._answer(entry)
        self._propose(entry, now)

    def _pop(self, key: Key) -> _Held | None:
        held = self._held.pop(key, None)
        if held is not None:
            self._epochs[key[0]].remove(key[1])
            if not self._epochs[key[0]]:
                del self._epochs[key[0]]
        return held

    def _propose(self, entry: AwardEntry, now: float) -> None:
        self._results.setdefault(entry.task, set()).add((entry.task, entry.epoch))
        self._proposer.propose(entry.task, entry.move, entry.holders, entry.epoch, Choice(entry.outcome), now)

    def over(self, task: TaskId, epoch: Epoch | None = None) -> None:
        """The task has ended (epoch None), or a proposal of ours was fenced: its result need not be kept."""
        for key in list(self._results.get(task, ())):
            if epoch is None or key[1] == epoch:
                self._results[task].discard(key)
                entry = self._answers[key]
                answer = Answer.DECIDED if epoch is None else Answer.RELEASED
                self._answer(AwardEntry(task, key[1], answer, entry.holders, entry.move))
        if not self._results.get(task):
            self._results.pop(task, None)

    @property
    def deadline(self) -> float | None:
        return self._renew_at

    def wake(self, now: float) -> None:
        if self._renew_at is None or now < self._renew_at:
            return
        for key, held in list(self._held.items()):
            needed = majority(len(held.holders))
            if not held.began and held.begin_by <= now:
                self._stop(key)
                continue
            if not held.began:
                self._ask_to_begin(key, held)
            held.unheard = 0 if sum(now - at < LEASE_S for at in held.heard_at.values()) >= needed else held.unheard + 1
            if held.unheard % ASK_EACH == 0 and not held.doubted:
                for holder in held.holders:
                    self._say(holder, Renewal(key[0], held.move, key[1]))
        self._renew_at = now + LEASE_S / 4 if self._held else None

    @property
    def ears(self) -> Ears:
        return {
            Renewed: self._hear_renewed,
            Vote: self._hear_vote,
            Fence: self._hear_fence,
            Decided: self._hear_decided,
            Gone: self._hear_gone,
        }

    def _hear_renewed(self, word: Renewed, sender: NodeId, now: float) -> None:
        held = self._held.get((word.task, word.epoch))
        if held is not None and sender in held.heard_at:
            held.heard_at[sender] = now
            if held.doubted:
                self._agreed(held, word, sender)

    def _hear_vote(self, word: Vote, sender: NodeId, now: float) -> None:
        """A holder knows that it starts."""
        held = self._held.get((word.task, word.epoch))
        if held is not None and held.move == word.move and sender in held.heard_at and not held.doubted:
            self._agreed(held, word, sender)

    def _agreed(self, held: _Held, word: Vote | Renewed, sender: NodeId) -> None:
        """By a majority, it begins."""
        held.votes.add(sender)
        if not held.began and len(held.votes) >= majority(len(held.holders)):
            held.began, held.doubted = True, False
            self._tell(Begin(word.task, word.epoch))

    def _hear_fence(self, word: Fence, sender: NodeId, now: float) -> None:
        held = self._held.get((word.task, word.epoch))
        if held is not None and held.move == word.move and sender in held.heard_at:
            held.fenced.add(sender)
            if len(held.fenced) > len(held.holders) - majority(len(held.holders)):
                self._stop((word.task, word.epoch))

    def _hear_decided(self, word: Decided, sender: NodeId, now: float) -> None:
        for key in [(word.task, epoch) for epoch in self._epochs.get(word.task, ())]:
            held = self._held[key]
            if held.move != word.move or sender not in held.heard_at:
                continue
            if word.choice.moved is None:
                self._stop(key)
            else:
                once = not held.began and not held.doubted
                self._held[key] = _Held(held.move + 1, word.choice.moved.holders, now, once, held.doubted)

    def _hear_gone(self, word: Gone, sender: NodeId, now: float) -> None:
        for epoch in list(self._epochs.get(word.task, ())):
            self._stop((word.task, epoch))

    def _stop(self, key: Key) -> None:
        """It counts no more."""
        self.release(*key)
        self._tell(Overruled(*key))

    def _ask_to_begin(self, key: Key, held: _Held) -> None:
        for holder in held.holders:
            if holder not in held.votes:
                word = Renewal if held.doubted else Started
                self._say(holder, word(key[0], held.move, key[1]))

    def _answer(self, entry: AwardEntry) -> None:
        key = (entry.task, entry.epoch)
        self._answers[key] = entry
        self._answers.move_to_end(key)
        self._write(entry)
        while len(self._answers) > ANSWERS_MAX:
            oldest = next(iter(self._answers.values()))
            if oldest.answer in (Answer.ACCEPTED, Answer.RESULT):
                break
            del self._answers[oldest.task, oldest.epoch]
            self._erase(AwardEntry, oldest.key)
