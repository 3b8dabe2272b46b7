"""An opener owns epochs: it may have a task awarded, or ended, once a majority of its holders has promised.

    opener                             holders
      | Hold(spec, (0, me)) ----------> all         a task that was handed in here
      | <------------- Held(promised) each          a majority holds it: its client may know
      |                                             a majority promises this epoch: it may be awarded
      | Prepare(task, later e) -------> all         its owner, or its winner, is silent; or its end is wanted
      | <------- Promise(e, accepted) each          a majority, and
      |    |- somebody has accepted something       that is proposed, whatever was wanted
      |    |- its end is wanted                     that end is proposed
      |    |- it began, and is to be done once      Unknown is proposed
      |    |- a holder is dead                      Moved is proposed, and the new holders hold it
      |    '- nothing                               it may be awarded
      | Watching ---------------------> all         every quarter of a lease, for all tasks at once

Source: Lamport 1998 (the proposer's first half); one award per epoch makes the award a fencing token.

Invariants: an epoch is awarded, or proposed in, only with a majority's promise for it and nothing accepted; after an
award nothing else is done in that epoch until its winner has given it back for good, and then only in the next hop.
Silence never gives anything back: only a later epoch does.
"""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from .commitment_words import (
    Choice,
    Chosen,
    Decided,
    Fence,
    Gone,
    Held,
    HeldFast,
    Hold,
    Learn,
    Moved,
    Overruled,
    Permitted,
    Prepare,
    Promise,
    Spec,
    Unheld,
    Watching,
    Why,
)
from .core import NodeId, Outcome, State, TaskId
from .epochs import Epoch
from .holder import LEASE_S
from .holders import name_of
from .patience import LEAST_S, Patience
from .proposer import Ears, Proposer, Say, Tell
from .timers import Timers, earliest

STUCK_S = 2 * LEASE_S
"""What is proposed, and not decided for so long, is proposed in a later epoch: whoever keeps its holders from voting,
as they have promised it a move, may be dead."""


class Stage(enum.Enum):
    HOLDING = enum.auto()  # handed in here; its holders are asked to keep it
    PREPARING = enum.auto()
    OWNED = enum.auto()  # it may be awarded
    PROPOSED = enum.auto()
    INSTALLING = enum.auto()  # it has moved: its new holders are asked to keep it


class _Opening:
    __slots__ = (
        "accepted", "asked", "awarded", "begun_at", "ending", "epoch", "fast", "floor", "former", "held", "installs",
        "majority", "move", "others", "promised", "since", "spec", "stage", "started", "task", "to", "why",
    )  # fmt: skip

    def __init__(self, spec: Spec, move: int, epoch: Epoch, stage: Stage) -> None:
        self.spec = spec
        self.task: TaskId = spec.task.id
        self.majority = spec.majority
        self.move = move
        self.epoch = epoch
        self.stage = stage
        self.why = Why.ORPHAN
        self.ending: Outcome | None = None  # wanted
        self.fast = False  # a majority holds it, and its client was told
        self.awarded = False  # this hop is out, and has not come back
        self.installs: Epoch | None = None  # holders that have not answered are asked to keep it, and to promise this
        self.former: _Opening | None = None  # what goes on when it has moved
        self.held: tuple[NodeId, ...] = ()
        self.promised: tuple[NodeId, ...] = ()
        self.others: dict[NodeId, Epoch] = {}  # what else holders have promised
        self.accepted: tuple[Epoch, Choice] | None = None  # the latest that any has told
        self.floor: Epoch | None = None  # the latest that any has told
        self.started = False
        self.begun_at = 0.0
        self.since: float | None = None  # when it was first asked for, in whatever epoch
        self.asked = 0  # so many times

    @property
    def stands(self) -> bool:
        """This node sees to it. Whoever only tells new holders of a move may wait long for one that is dead."""
        return self.stage is not Stage.INSTALLING

    @property
    def answered(self) -> tuple[NodeId, ...]:
        """Who need not be asked again."""
        return self.promised if self.stage is Stage.PREPARING else self.held

    @property
    def wants_more(self) -> bool:
        """Not only that it moves: to award it again, or that it ends."""
        return self.stage is Stage.PREPARING and self.why is not Why.MOVE


class Opener:
    """All tasks that this node stands by. `opened` hears of every later epoch; `heirs(spec)` are the holders that a
    task which moves has then: whoever has come back, or died, since that was wanted counts as it is."""

    def __init__(
        self,
        node: NodeId,
        incarnation: int,
        chance: random.Random,
        say: Say,
        tell: Tell,
        proposer: Proposer,
        opened: Callable[[TaskId, Epoch, Why], None] = lambda task, epoch, why: None,
        heirs: Callable[[Spec], Sequence[NodeId]] = lambda spec: spec.holders,
    ) -> None:
        self._opened = opened
        self._heirs = heirs
        self._node = node
        self._incarnation = incarnation
        self._chance = chance
        self._proposer = proposer
        self._say = say
        self._tell = tell
        self._openings: dict[TaskId, _Opening] = {}
        self._watched: Counter[NodeId] = Counter()  # how many of our openings each holder has
        self._watch_at: float | None = None
        self._timers: Timers[TaskId] = Timers()
        self._patience = Patience()

    def __contains__(self, task: TaskId) -> bool:
        opening = self._openings.get(task)
        return opening is not None and opening.stands

    def spec(self, task: TaskId) -> Spec | None:
        """What is known here of a task that this node stands by."""
        opening = self._openings.get(task)
        return opening.spec if opening is not None else None

    # -- verbs

    def open(self, spec: Spec, now: float) -> None:
        """A task was handed in here."""
        if spec.task.id not in self._openings:
            opening = _Opening(spec, 0, Epoch(0, self._node, self._incarnation), Stage.HOLDING)
            opening.installs = opening.epoch
            self._begin(opening, now)

    def prepare(
        self,
        spec: Spec,
        move: int,
        seen: Epoch,
        why: Why,
        now: float,
        ending: Outcome | None = None,
        started: bool = False,
    ) -> None:
        """Open a later epoch than any that was seen; `ending` is the end that is wanted; `started`: it is to be done
        at most once, and somebody has begun it."""
        task = spec.task.id
        former = self._openings.get(task)
        if former is not None:
            if why is Why.MOVE and former.stage is not Stage.OWNED and former.why is not Why.MOVE:
                return
            if why is Why.MOVE and former.stage is Stage.PREPARING and not former.others:
                return  # it is being asked for
            seen = max(seen, former.epoch, *former.others.values())
            ending = ending if ending is not None else former.ending
            started = started or former.started
            self._end(former)
        opening = _Opening(spec, move, seen.later(self._node, self._incarnation), Stage.PREPARING)
        opening.why, opening.ending, opening.started = why, ending, started
        opening.fast = former.fast if former is not None else True
        opening.since = former.since if former is not None and former.stage is not Stage.OWNED else now
        if former is not None and why is Why.MOVE:
            opening.former = former if former.stage is Stage.OWNED else former.former
        if ending is not None:
            opening.why = Why.CANCEL
        self._opened(task, opening.epoch, opening.why)
        self._begin(opening, now)

    def may_award(self, task: TaskId) -> bool:
        opening = self._openings.get(task)
        return opening is not None and opening.stage is Stage.OWNED and not opening.awarded

    def stalled(self, task: TaskId, now: float) -> bool:
        """It may not be awarded, and has not been for so long that it may stay so: no majority promises."""
        opening = self._openings.get(task)
        if opening is None or opening.stage is Stage.OWNED or opening.since is None:
            return opening is None
        return now - opening.since > LEASE_S

    def award(self, task: TaskId) -> tuple[Epoch, int] | None:
        """This epoch goes out to a winner, and the register has moved so often; None: there is none to give."""
        if not self.may_award(task):
            return None
        opening = self._openings[task]
        opening.awarded = True
        return opening.epoch, opening.move

    def given_back(self, task: TaskId, epoch: Epoch) -> bool:
        """The winner will never commit this epoch, and has that on disk: the next hop is free."""
        opening = self._openings.get(task)
        opening = opening.former or opening if opening is not None else None
        if opening is None or opening.epoch != epoch or not opening.awarded:
            return False
        opening.epoch, opening.awarded = epoch.next_hop, False
        return True

    def lost(self, task: TaskId, now: float) -> None:
        """The winner is silent: only a later epoch helps."""
        opening = self._openings.get(task)
        if opening is not None and (opening.stage is Stage.OWNED or opening.former is not None):
            self.prepare(opening.spec, opening.move, opening.epoch, Why.ORPHAN, now)

    def end(self, outcome: Outcome, now: float) -> None:
        """Have this task end so, if it is this node's and has not ended already."""
        opening = self._openings.get(outcome.task)
        if opening is None:
            return
        opening.ending = outcome
        if opening.stage is Stage.OWNED and not opening.awarded:
            self._propose(opening, Choice(outcome), now)
        elif opening.stage is Stage.OWNED:
            self.prepare(opening.spec, opening.move, opening.epoch, Why.CANCEL, now, outcome)
        elif opening.stage is Stage.PREPARING:
            opening.why = Why.CANCEL  # from the next asking on, a lease does not protect its winner

    def end_orphan(self, outcome: Outcome, now: float) -> None:
        """The same, of one that this node sees to because nobody else does, and may not award yet."""
        opening = self._openings.get(outcome.task)
        if opening is not None and opening.stage is Stage.PREPARING and opening.why is Why.ORPHAN:
            self.end(outcome, now)

    def overruled(self, task: TaskId, epoch: Epoch, now: float) -> None:
        """A proposal of ours was fenced: somebody else stands by the task. If its end is wanted, it is tried again, a
        little later: whoever was faster may want the same, and two who do not wait would fence each other for ever."""
        opening = self._openings.get(task)
        if opening is None or opening.epoch != epoch:
            return
        if opening.ending is not None:
            self._timers.set(task, now + LEAST_S * self._chance.random())
        else:
            self._give_up(opening, now)

    def in_vain(self, task: TaskId, by: NodeId, *, ended: bool) -> Epoch | None:
        """Give up asking holders of whom no majority answers: the task has ended, or others hold it. The epoch in which
        it was asked; None: a majority holds it, or whoever told is one of the holders, who will answer."""
        opening = self._openings.get(task)
        if opening is None or opening.fast or opening.stage is not Stage.HOLDING:
            return None
        if not ended and by in map(name_of, opening.spec.holders):
            return None
        self._end(opening)
        return opening.epoch

    def chosen(self, task: TaskId) -> None:
        """It has ended."""
        opening = self._openings.get(task)
        if opening is not None:
            self._end(opening)

    # -- hearing

    @property
    def ears(self) -> Ears:
        return {
            Held: self._hear_held,
            Promise: self._hear_promise,
            Unheld: self._hear_unheld,
            Fence: self._hear_fence,
            Decided: self._hear_decided,
            Gone: self._hear_gone,
        }

    def _hear_held(self, word: Held, sender: NodeId, now: float) -> None:
        if (opening := self._of(word.task, word.move, sender)) is not None:
            self._held(opening, word.promised, sender, now)

    def _hear_promise(self, word: Promise, sender: NodeId, now: float) -> None:
        opening = self._of(word.task, word.move, sender)
        if opening is not None and opening.stage is Stage.PREPARING and opening.epoch == word.epoch:
            self._promised(opening, word, sender, now)

    def _hear_unheld(self, word: Unheld, sender: NodeId, now: float) -> None:
        opening = self._of(word.task, word.move, sender)
        if opening is not None and opening.stage in (Stage.PREPARING, Stage.PROPOSED, Stage.OWNED):
            self._say(sender, Hold(opening.spec, opening.epoch.root, word.move, opening.started))

    def _hear_fence(self, word: Fence, sender: NodeId, now: float) -> None:
        opening = self._of(word.task, word.move, sender)
        if opening is None:
            return
        if opening.stage is Stage.PREPARING and opening.epoch == word.epoch:
            self._fenced(opening, word.promised, sender, now)
        elif opening.stage is Stage.OWNED and not opening.awarded and opening.epoch.root == word.epoch:
            opening.others[sender] = word.promised
            if len(opening.others) > len(opening.spec.holders) - opening.majority:
                self._give_up(opening, now)  # it would be awarded in vain, and done twice

    def _hear_decided(self, word: Decided, sender: NodeId, now: float) -> None:
        opening = self._of(word.task, word.move, sender)
        if opening is not None and opening.stage is not Stage.PROPOSED:
            self._decided(opening, word.choice, sender, now)

    def _hear_gone(self, word: Gone, sender: NodeId, now: float) -> None:
        opening = self._openings.get(word.task)
        if opening is not None and sender in opening.spec.holders and opening.stage is not Stage.PROPOSED:
            self._end(opening)
            self._tell(Chosen(word.task, None))

    def replaced(self, node: NodeId, now: float) -> None:
        """It is dead, and another takes its place: what waits for its answer goes on elsewhere, and asks soon where."""
        for opening in self._waiting_for(node):
            self._timers.set(opening.task, now + LEAST_S * (1.0 + self._chance.random()))

    def returned(self, holder: NodeId, now: float) -> None:
        """It was away: what waits for its answer asks again."""
        for opening in self._waiting_for(holder):
            self._timers.set(opening.task, now)

    def hurry(self, task: TaskId, now: float) -> None:
        """A holder that has promised us this epoch may not vote for what a winner brings in: what others have voted for
        is asked for at once."""
        opening = self._openings.get(task)
        if opening is not None and opening.stage is Stage.PREPARING and task in self._timers:
            self._timers.set(task, now)

    def _waiting_for(self, holder: NodeId) -> list[_Opening]:
        return [
            opening
            for opening in self._openings.values()
            if holder in opening.spec.holders
            and holder not in opening.answered
            and opening.stage is not Stage.PROPOSED
            and opening.task in self._timers
        ]

    @property
    def deadline(self) -> float | None:
        return earliest(self._watch_at, self._timers.deadline)

    def wake(self, now: float) -> None:
        if self._watch_at is not None and self._watch_at <= now:
            for holder in sorted(self._watched):
                self._say(holder, Watching(self._incarnation))
            self._watch_at = now + LEASE_S / 4 if self._watched else None
        for task in self._timers.due(now):
            self._retry(self._openings[task], now)

    # -- asking

    def _begin(self, opening: _Opening, now: float) -> None:
        self._openings[opening.task] = opening
        opening.begun_at = now
        opening.since = now if opening.since is None else opening.since
        if opening.stands:
            self._watched.update(opening.spec.holders)
        if self._watch_at is None:
            self._watch_at = now + LEASE_S / 4
        self._ask(opening)
        self._wait(opening, now)

    def _go_on(self, opening: _Opening, now: float) -> None:
        """An epoch that is owned already: whoever would award it is told again."""
        self._begin(opening, now)
        if opening.stage is Stage.OWNED and opening.ending is not None:
            self.end(opening.ending, now)
        elif opening.stage is Stage.OWNED and not opening.awarded:
            self._tell(Permitted(opening.spec, opening.epoch, opening.move))

    def _end(self, opening: _Opening) -> None:
        del self._openings[opening.task]
        self._timers.cancel(opening.task)
        for holder in opening.spec.holders if opening.stands else ():
            self._watched[holder] -= 1
            if not self._watched[holder]:
                del self._watched[holder]

    def _wait(self, opening: _Opening, now: float) -> None:
        opening.asked += 1
        wait_s = self._patience.wait_s(opening.asked) * (1.0 + self._chance.random())
        self._timers.set(opening.task, now + wait_s)

    def _ask(self, opening: _Opening) -> None:
        """Whoever has not answered."""
        if opening.stage is Stage.PREPARING:
            prepare = Prepare(opening.task, opening.move, opening.epoch, opening.why)
            for holder in opening.spec.holders:
                if holder not in opening.answered:
                    self._say(holder, prepare)
        elif opening.installs is not None:
            hold = Hold(opening.spec, opening.installs, opening.move, opening.started)
            for holder in opening.spec.holders:
                if holder not in opening.answered:
                    self._say(holder, hold)

    def _retry(self, opening: _Opening, now: float) -> None:
        others = list(opening.others.values())
        if opening.stage is Stage.PROPOSED:
            self.prepare(opening.spec, opening.move, opening.epoch, opening.why, now)
        elif opening.stage is Stage.PREPARING and others:
            self.prepare(opening.spec, opening.move, max(others), opening.why, now)
        elif opening.stage is Stage.HOLDING and others and opening.asked > 1:
            # no epoch has a majority, or whoever has it is not known to live: ask for a later one
            self.prepare(opening.spec, opening.move, max(others), Why.ORPHAN, now)
        elif opening.stage in (Stage.HOLDING, Stage.PREPARING) or opening.installs is not None:
            self._ask(opening)
            self._wait(opening, now)

    def _held(self, opening: _Opening, promised: Epoch, sender: NodeId, now: float) -> None:
        opening.held = _with(opening.held, sender)
        spec = opening.spec
        if not opening.fast and len(opening.held) >= opening.majority:
            opening.fast = True
            self._tell(HeldFast(opening.task))
        if len(opening.held) == len(spec.holders):
            opening.installs = None
        if opening.stage is Stage.INSTALLING:
            if opening.installs is None:
                self._end(opening)
        elif promised == opening.epoch.root:
            opening.others.pop(sender, None)
            self._count(opening, sender, now)
        elif opening.stage is Stage.HOLDING or (opening.stage is Stage.PREPARING and promised > opening.epoch):
            opening.others[sender] = promised
            rivals = Counter(opening.others.values()).most_common(1)[0][1]
            if opening.stage is Stage.HOLDING and rivals >= spec.majority and opening.fast:
                self._give_up(opening, now)  # another has it

    def _promised(self, opening: _Opening, promise: Promise, sender: NodeId, now: float) -> None:
        if promise.accepted is not None and (opening.accepted is None or promise.accepted[0] > opening.accepted[0]):
            opening.accepted = promise.accepted
        opening.floor = max(opening.floor or promise.floor, promise.floor)
        opening.started = opening.started or promise.started
        self._count(opening, sender, now)

    def _count(self, opening: _Opening, sender: NodeId, now: float) -> None:
        """One more has promised this epoch."""
        if opening.stage not in (Stage.HOLDING, Stage.PREPARING):
            return
        opening.promised = _with(opening.promised, sender)
        spec = opening.spec
        if len(opening.promised) < opening.majority:
            return
        if opening.accepted is not None:
            self._propose(opening, opening.accepted[1], now)
        elif opening.ending is not None:
            self._propose(opening, Choice(opening.ending), now)
        elif opening.why is Why.MOVE:
            floor = opening.floor or opening.epoch
            moved = Moved(tuple(self._heirs(spec)), floor, opening.started)
            self._propose(opening, Choice(moved=moved), now)
        elif opening.started:
            error = "it was begun, may have been done, and is not to be done twice"
            self._propose(opening, Choice(Outcome(opening.task, State.UNKNOWN, error=error)), now)
        else:
            opening.stage = Stage.OWNED
            self._patience.answered(now - opening.begun_at)
            self._tell(Permitted(spec, opening.epoch, opening.move))

    def _propose(self, opening: _Opening, choice: Choice, now: float) -> None:
        opening.stage = Stage.PROPOSED
        self._timers.set(opening.task, now + STUCK_S)
        self._proposer.propose(opening.task, opening.move, opening.spec.holders, opening.epoch, choice, now)

    def _fenced(self, opening: _Opening, promised: Epoch, sender: NodeId, now: float) -> None:
        opening.others[sender] = promised
        spec = opening.spec
        if opening.ending is not None:  # whoever has a later epoch does not know of it: it is not waited for
            self._timers.set(opening.task, now + LEAST_S * self._chance.random())
        elif len(opening.others) > len(spec.holders) - spec.majority:
            self._give_up(opening, now)

    def _give_up(self, opening: _Opening, now: float) -> None:
        """Somebody is faster. An epoch of ours that was to be moved is awarded still: it may yet be fenced."""
        self._end(opening)
        if opening.former is not None:
            opening.former.ending = opening.ending
            self._go_on(opening.former, now)
        else:
            self._tell(Overruled(opening.task, opening.epoch))

    def _decided(self, opening: _Opening, choice: Choice, sender: NodeId, now: float) -> None:
        holders, preparing = opening.spec.holders, opening.stage is Stage.PREPARING
        if choice.outcome is not None:
            self._end(opening)
            if preparing:  # whoever has promised, or will, counts on us
                self._proposer.teach(opening.task, opening.move, holders, choice, opening.epoch, now, sender)
            if not preparing or self._node not in holders:  # it may have been away, and nobody else would teach it
                self._say(self._node, Learn(opening.task, opening.move, choice))
            self._tell(Chosen(opening.task, choice.outcome))
        elif choice.moved is not None:
            if self._node not in choice.moved.holders:  # nor this, which a holder that was taken for dead must know
                self._say(self._node, Learn(opening.task, opening.move, choice))
            self._follow(opening, choice.moved, now)

    def _follow(self, opening: _Opening, moved: Moved, now: float) -> None:
        """It was moved by another: whatever we want of it, we want at its new holders."""
        spec, move = msgspec.structs.replace(opening.spec, holders=moved.holders), opening.move + 1
        self._end(opening)
        going_on = opening.former or opening
        if _overtaken(going_on, moved, opening.ending):
            self._tell(Overruled(opening.task, going_on.epoch))
        elif going_on.stage is Stage.OWNED:
            there = _moved(going_on, spec, move, opening.ending)
            there.started = moved.started
            self._go_on(there, now)
        elif opening.wants_more:
            self._openings[opening.task] = opening  # what it wants goes on
            self._watched.update(opening.spec.holders)
            self.prepare(spec, move, max(opening.epoch, moved.floor), opening.why, now, started=moved.started)
        else:
            if not opening.fast:
                self._tell(HeldFast(opening.task))
            if opening.stage is Stage.HOLDING and moved.floor.opener == self._node:  # there they count on this node
                later = max(opening.epoch, moved.floor)
                self.prepare(spec, move, later, Why.ORPHAN, now, opening.ending, started=moved.started)
            elif opening.stage is Stage.HOLDING:  # others see to it there
                self._tell(Overruled(opening.task, opening.epoch))

    def moved(self, spec: Spec, move: int, moved: Moved, now: float) -> None:
        """A register of `spec` is decided to go on elsewhere: its new holders are asked until they hold it."""
        former = self._openings.get(spec.task.id)
        if former is not None:
            if former.move > move:
                return
            if former.wants_more:
                self._follow(former, moved, now)
                return
            self._end(former)
        spec = msgspec.structs.replace(spec, holders=moved.holders)
        going_on = former.former or former if former is not None else None
        overtaken = former is not None and going_on is not None and _overtaken(going_on, moved, former.ending)
        if former is not None and going_on is not None and going_on.stage is Stage.OWNED and not overtaken:
            opening = _moved(going_on, spec, move + 1, former.ending)
        else:
            opening = _Opening(spec, move + 1, moved.floor, Stage.INSTALLING)
            opening.fast = True
        opening.installs, opening.started = moved.floor, moved.started
        self._go_on(opening, now)
        if overtaken and going_on is not None:
            self._tell(Overruled(going_on.task, going_on.epoch))
        if moved.floor.opener != self._node:
            self._say(moved.floor.opener, Decided(spec.task.id, move, Choice(moved=moved)))

    def _of(self, task: TaskId, move: int, sender: NodeId) -> _Opening | None:
        """What is answered; a stranger's answer is none, but for the news that it has moved."""
        opening = self._openings.get(task)
        return opening if opening is not None and opening.move == move and sender in opening.spec.holders else None


def _overtaken(opening: _Opening, moved: Moved, ending: Outcome | None) -> bool:
    """It waits to be awarded, and where it goes a later epoch counts: it would be awarded in vain, and done twice."""
    waits = opening.stage is Stage.OWNED and not opening.awarded and ending is None
    return waits and opening.epoch.root < moved.floor.root


def _moved(opening: _Opening, spec: Spec, move: int, ending: Outcome | None) -> _Opening:
    """The same epoch, owned still, at new holders."""
    moved = _Opening(spec, move, opening.epoch, Stage.OWNED)
    moved.awarded, moved.ending, moved.fast = opening.awarded, ending, True
    return moved


def _with(names: tuple[NodeId, ...], name: NodeId) -> tuple[NodeId, ...]:
    return names if name in names else (*names, name)
