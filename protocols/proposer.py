"""The second half of a register's protocol: votes are asked for, a majority decides, and all holders are taught.

    proposer                           holders
      | Commit(task, e, choice) -------> all          repeated until answered
      | <----------------- Vote(e) each               a majority: chosen
      | Learn(task, choice) -----------> the owner    whose client waits
      | <----------------- Vote(e) the last one
      | Settled(task, e) --------------> all          all have it: its register may be forgotten

    where votes are missing still when it is time to ask again, or somebody else has decided:
      | Learn(task, choice) -----------> all          repeated until all have answered
      | <----------------- Learnt each
      | Settled(task) -----------------> all

A proposer is the winner of an epoch with its result, or the owner of one with an end of its own, or with a move. A node
may be both: its move fences nobody, so a result of an earlier epoch waits until that is decided, and goes where the
register went. Source: Lamport 2001.

Invariants: in one epoch one choice is proposed, ever; a choice is called chosen only on a majority of votes, or on the
word of a holder that knows. Where a register has moved, its proposal follows it, in the same epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .commitment_words import (
    Choice,
    Chosen,
    Commit,
    Decided,
    Fence,
    Gone,
    Holders,
    Learn,
    Learnt,
    Moved,
    Overruled,
    Settled,
    Vote,
    Word,
    majority,
)
from .core import Local, NodeId, Outcome, TaskId
from .epochs import Epoch
from .patience import LEAST_S, Patience
from .timers import Timers

Say = Callable[[NodeId, Word], None]
"""To whom, what: it leaves with the turn."""
Tell = Callable[[Local], None]
"""The other roles of this node."""
Ears = dict[type[Word], Callable[[Any, NodeId, float], None]]
"""Which words a role is told, and what it does then: the word, who says it, when."""


class _Proposal:
    __slots__ = (
        "asked", "begun_at", "choice", "chosen", "epoch", "fenced", "holders", "learnt", "move", "task", "votes",
    )  # fmt: skip

    def __init__(self, task: TaskId, move: int, holders: Holders, epoch: Epoch, choice: Choice, now: float) -> None:
        self.task = task
        self.move = move
        self.holders = holders
        self.epoch = epoch
        self.choice = choice
        self.begun_at = now
        self.asked = 0  # so many times
        self.chosen = False
        self.votes: set[NodeId] = set()  # for this choice, in this epoch
        self.fenced: set[NodeId] = set()
        self.learnt: set[NodeId] = set()


class Proposer:
    """All proposals of one node, one per task. `say` and `tell` take what it has to say; `moved` hears that a move was
    decided, which its new holders are to be told; `won` hears that an end was decided as it was proposed here, `late`
    that something else had been decided before."""

    def __init__(
        self,
        node: NodeId,
        say: Say,
        tell: Tell,
        moved: Callable[[TaskId, int, Moved, float], None],
        won: Callable[[Outcome, Epoch], None] = lambda outcome, epoch: None,
        late: Callable[[TaskId, Epoch], None] = lambda task, epoch: None,
    ) -> None:
        self._won = won
        self._late = late
        self._node = node
        self._say = say
        self._tell = tell
        self._moved = moved
        self._proposals: dict[TaskId, _Proposal] = {}
        self._waiting: dict[TaskId, _Proposal] = {}  # results, while a move of the same register is proposed
        self._timers: Timers[TaskId] = Timers()
        self._patience = Patience()

    def __contains__(self, task: TaskId) -> bool:
        return task in self._proposals

    @property
    def busy(self) -> bool:
        """Something is not decided yet."""
        return any(not proposal.chosen for proposal in self._proposals.values())

    def propose(self, task: TaskId, move: int, holders: Holders, epoch: Epoch, choice: Choice, now: float) -> None:
        """Have this decided. A former proposal of an earlier epoch is given up; one that is decided is not. A result is
        not given up for a move of its register, nor that for it: the result waits."""
        proposal = _Proposal(task, move, holders, epoch, choice, now)
        former = self._proposals.get(task)
        if former is not None:
            moved = former.choice.moved if choice.outcome is not None else None
            if former.chosen and moved is not None:  # where it went is taught again by whoever holds it
                self._drop(former)
                self._go_on(proposal, former.move, moved, now)
                return
            if moved is not None and epoch < former.epoch:
                self._wait_for_move(proposal)
                return
            if former.chosen or former.epoch >= epoch:
                return
            if choice.moved is not None and former.choice.outcome is not None:
                self._wait_for_move(former)
        self._proposals[task] = proposal
        self._ask(proposal, now)

    def _wait_for_move(self, proposal: _Proposal) -> None:
        other = self._waiting.get(proposal.task)
        if other is None or other.epoch < proposal.epoch:
            self._waiting[proposal.task] = proposal

    def _go_on(self, proposal: _Proposal | None, move: int, moved: Moved | None, now: float) -> None:
        """In the same epoch, for a move fences nobody: where the register went that had moved so often."""
        if proposal is None:
            return
        place, holders = proposal.move, proposal.holders
        if moved is not None and place <= move:
            place, holders = move + 1, moved.holders
        self.propose(proposal.task, place, holders, proposal.epoch, proposal.choice, now)

    def teach(
        self, task: TaskId, move: int, holders: Holders, choice: Choice, epoch: Epoch, now: float, *known: NodeId
    ) -> None:
        """All holders are to learn what was decided, but those by whom it is `known`; its proposer may be dead."""
        if task not in self._proposals:
            proposal = self._proposals[task] = _Proposal(task, move, holders, epoch, choice, now)
            proposal.chosen = True
            proposal.learnt.update(known)
            self._ask(proposal, now)

    def replaced(self, node: NodeId, now: float) -> None:
        """It is dead, and another takes its place. It need not learn: if it comes back, whoever knows will tell it.
        What waits for its vote goes on elsewhere, and asks soon where."""
        for proposal in list(self._proposals.values()):
            if node not in proposal.holders:
                continue
            if proposal.chosen:
                self._learnt(proposal, node)
            else:
                self._timers.set(proposal.task, now + LEAST_S)

    def returned(self, holder: NodeId, now: float) -> None:
        """It was away: what waits for its answer asks again."""
        for proposal in self._proposals.values():
            answered = proposal.learnt if proposal.chosen else proposal.votes
            if holder in proposal.holders and holder not in answered:
                self._timers.set(proposal.task, now)

    @property
    def deadline(self) -> float | None:
        return self._timers.deadline

    def wake(self, now: float) -> None:
        for task in self._timers.due(now):
            self._ask(self._proposals[task], now)

    def _ask(self, proposal: _Proposal, now: float) -> None:
        """Whoever has not answered is asked, or asked again, ever less often."""
        task, move = proposal.task, proposal.move
        answered, word = (
            (proposal.learnt, Learn(task, move, proposal.choice))
            if proposal.chosen
            else (proposal.votes, Commit(task, move, proposal.epoch, proposal.choice))
        )
        for holder in proposal.holders:
            if holder not in answered:
                self._say(holder, word)
        self._wait(proposal, now)

    def _wait(self, proposal: _Proposal, now: float) -> None:
        proposal.asked += 1
        self._timers.set(proposal.task, now + self._patience.wait_s(proposal.asked))

    @property
    def ears(self) -> Ears:
        return {
            Vote: self._hear_vote,
            Learnt: self._hear_learnt,
            Fence: self._hear_fence,
            Decided: self._hear_decided,
            Gone: self._hear_gone,
        }

    def _hear_vote(self, word: Vote, sender: NodeId, now: float) -> None:
        proposal = self._of(word.task, word.move, sender)
        if proposal is not None and proposal.epoch == word.epoch:
            self._voted(proposal, sender, now)

    def _hear_learnt(self, word: Learnt, sender: NodeId, now: float) -> None:
        proposal = self._of(word.task, word.move, sender)
        if proposal is not None and proposal.chosen:
            self._learnt(proposal, sender)

    def _hear_fence(self, word: Fence, sender: NodeId, now: float) -> None:
        proposal = self._of(word.task, word.move, sender)
        if proposal is not None and not proposal.chosen and proposal.epoch == word.epoch:
            proposal.fenced.add(sender)
            if len(proposal.fenced) > len(proposal.holders) - majority(len(proposal.holders)):
                self._drop(proposal)
                waiting = self._waiting.pop(word.task, None)
                self._tell(Overruled(word.task, word.epoch))
                self._go_on(waiting, word.move, None, now)

    def _hear_decided(self, word: Decided, sender: NodeId, now: float) -> None:
        proposal = self._of(word.task, word.move, sender)
        if proposal is not None:
            self._decided(proposal, word.choice, sender, now)

    def _hear_gone(self, word: Gone, sender: NodeId, now: float) -> None:
        proposal = self._proposals.get(word.task)
        if proposal is None or sender not in proposal.holders:
            return
        if proposal.chosen:
            self._learnt(proposal, sender)
        else:
            self._waiting.pop(word.task, None)
            self._tell(Chosen(word.task, None))
            self._drop(proposal)

    def _of(self, task: TaskId, move: int, sender: NodeId) -> _Proposal | None:
        proposal = self._proposals.get(task)
        if proposal is None or proposal.move != move or sender not in proposal.holders:
            return None
        return proposal

    def _voted(self, proposal: _Proposal, holder: NodeId, now: float) -> None:
        """By a majority it is chosen; when all have voted, nobody need be taught."""
        proposal.votes.add(holder)
        outcome, owner = proposal.choice.outcome, proposal.epoch.opener
        if not proposal.chosen and len(proposal.votes) >= majority(len(proposal.holders)):
            self._patience.answered(now - proposal.begun_at)
            if outcome is None:
                self._go_on_elsewhere(proposal, now)
                return
            self._won(outcome, proposal.epoch)
            self._know(proposal)
            if owner in proposal.holders:
                self._say(owner, Learn(proposal.task, proposal.move, proposal.choice))
                self._wait(proposal, now)
            else:
                self._ask(proposal, now)
        if proposal.chosen and len(proposal.votes) == len(proposal.holders):
            self._settle(proposal, proposal.epoch)

    def _go_on_elsewhere(self, proposal: _Proposal, now: float) -> None:
        moved = proposal.choice.moved
        assert moved is not None
        for holder in sorted(proposal.votes.difference(moved.holders)):  # it lives, and holds it no more
            self._say(holder, Learn(proposal.task, proposal.move, proposal.choice))
        self._drop(proposal)
        waiting = self._waiting.pop(proposal.task, None)
        self._moved(proposal.task, proposal.move, moved, now)
        self._go_on(waiting, proposal.move, moved, now)

    def _know(self, proposal: _Proposal) -> None:
        """How it has ended."""
        proposal.chosen, proposal.asked = True, 0
        waiting = self._waiting.pop(proposal.task, None)
        if waiting is not None and waiting.choice != proposal.choice:
            self._late(waiting.task, waiting.epoch)
        self._tell_owner(proposal)
        if proposal.choice.outcome is not None and self._node not in proposal.holders:
            self._tell(Chosen(proposal.task, proposal.choice.outcome))  # else its holder here says so when it learns

    def _tell_owner(self, proposal: _Proposal) -> None:
        """An owner that holds nothing of it, as the agent that a client has gone over to, hears of it from us only."""
        owner = proposal.epoch.opener
        if owner != self._node and owner not in proposal.holders:
            self._say(owner, Learn(proposal.task, proposal.move, proposal.choice))

    def _decided(self, proposal: _Proposal, choice: Choice, sender: NodeId, now: float) -> None:
        if proposal.chosen:
            self._learnt(proposal, sender)
            return
        task, move, epoch = proposal.task, proposal.move, proposal.epoch
        waiting = self._waiting.pop(task, None)
        if choice.moved is not None:
            self._drop(proposal)
            if proposal.choice.moved is not None:
                self._tell(Overruled(task, epoch))
            self._go_on(proposal if proposal.choice.moved is None else waiting, move, choice.moved, now)
            return
        for proposed in (proposal, waiting) if waiting is not None else (proposal,):
            if choice != proposed.choice:
                self._late(task, proposed.epoch)
            elif choice.outcome is not None:
                self._won(choice.outcome, proposed.epoch)
        proposal.choice = choice
        if len(proposal.holders) == 1:  # it knows, and there is nobody else to teach
            self._drop(proposal)
            self._tell_owner(proposal)
            if sender != self._node and choice.outcome is not None:
                self._tell(Chosen(task, choice.outcome))
            return
        self._know(proposal)
        self._ask(proposal, now)
        self._learnt(proposal, sender)

    def _learnt(self, proposal: _Proposal, holder: NodeId) -> None:
        proposal.learnt.add(holder)
        if len(proposal.learnt) == len(proposal.holders):
            self._settle(proposal, None)

    def _settle(self, proposal: _Proposal, voted_in: Epoch | None) -> None:
        word = Settled(proposal.task, proposal.move, voted_in)
        for holder in proposal.holders:
            self._say(holder, word)
        self._drop(proposal)

    def _drop(self, proposal: _Proposal) -> None:
        del self._proposals[proposal.task]
        self._timers.cancel(proposal.task)
