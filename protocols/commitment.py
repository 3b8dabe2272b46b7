"""Commitment: a task that was acknowledged is not lost, and has one outcome, whoever dies.

Every task is a small register that decides once. Its id and its holders (K of them; `holders.py`) are chosen once by
its client, which repeats both when it tries again elsewhere; so there is never a second register. The promise:
execution at least once, exactly one committed outcome; an acknowledgement means that a majority of the holders has it
on disk.

    client   entry                    holders (the entry is one)          winner
      | Submit  | Hold(e0) ----------->  on disk: Held                       |
      | <- ack  |<-- a majority holds it; a majority promises e0             |
      |         | ...the call for proposals overlaps all this...             |
      |         | Award(e0) ------------------------------------------------>| on disk: accepted
      |         |                        |<------------------------- Renewal |  every lease/4, while it works
      |         | Watching ----------->  |                                   |  every lease/4, for all its tasks
      |         |                        |<------------------- Commit(e0, v) | on disk: result
      |         |                        | on disk: accepted - Vote -------->|  a majority: chosen
      | <- Result ----- Learn(v) --------|<--------------------------- Learn |
      X         X  ...and whoever notices: Prepare(e1) -> a majority of promises -> what was accepted, or award again

| file | role |
|---|---|
| `epochs.py` | fencing tokens |
| `register.py`, `holder.py` | the acceptor: promises, votes, leases, orphans, forgetting |
| `opener.py` | the proposer, first half: owns epochs; awards, ends, moves |
| `proposer.py` | the proposer, second half: votes, teaching |
| `winner.py` | answers awards for ever, renews, has results decided |
| `gate.py` | record before promise |
| `custody.py` | what a task refers to lies at its holders, too |

Sources: Lamport 1998, 2001; Gray and Cheriton 1989; Lamport, Malkhi and Zhou 2009 (moving).

**Moving.** A holder that is dead for MOVE_AFTER_S is replaced: the first living holder opens an epoch for a move, and
proposes, where nothing is accepted, that the register goes on at those who live when a majority has promised, with the
latest promise that was not given for a move as its floor. A move fences nobody: the winner of that epoch commits at
the new holders. A register whose majority died within that time waits for them, and is never run again behind their
backs.

Invariants: at most one value is chosen per task; promised and accepted never fall, restarts included; every award has a
recorded majority behind it; one winner per epoch; the bytes of a chosen outcome are on a majority; nothing starts after
it was released; what was forgotten never promises. `tests/commitment_world.py` checks them over hundreds of seeds.
"""

from __future__ import annotations

import random
import typing
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .blobs import Gathered
from .carrier import Carrier
from .commitment_events import EpochFenced, EpochOpened, TaskHeld, TaskMoved
from .commitment_words import (
    FREE,
    WORDS_MAX,
    AnyWord,
    Chosen,
    Commit,
    Decided,
    Entry,
    Fence,
    Gone,
    HeldFast,
    Hold,
    Keep,
    Learn,
    Moved,
    Overruled,
    Pledge,
    Prepare,
    Promise,
    Renewal,
    Renewed,
    Spec,
    Talk,
    Vote,
    Warrant,
    Watching,
    Why,
    Word,
)
from .contract_events import TaskCommitted
from .core import (
    Datagram,
    Effect,
    Local,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerError,
    PeerUp,
    ProtocolError,
    Record,
    Send,
    Task,
    TaskId,
)
from .custody import Custody
from .epochs import Epoch
from .holder import Holder
from .holders import name_of, replaced
from .kept import size_of
from .opener import Opener
from .proposer import Ears, Proposer
from .register import Register
from .seeking import Sighting, ended, held
from .timers import Timers
from .winner import Winner

MOVE_AFTER_S = 2.0
"""So long after the membership's verdict a dead holder is replaced."""
ENTRUSTED_S = 3.0
"""The membership's verdict on a node, and the lines of its log that are lost with it, reach back no further."""
BYTES_MAX = 1024 * 1024
"""What goes in one message, unless a single word is larger."""
WORD_BYTES = 256
"""What a word takes at most, more or less, beside a payload or a value."""
BEATS = frozenset({Renewal, Renewed, Watching})
"""Words that are said again and again, and count for a lease at most: what is lost of them is not repeated, and holds
nothing up; and the dead are not told, where it would wait, outdated, for as long as they are dead."""
ASKED = frozenset({Hold, Prepare, Commit})
"""Questions, which are asked again until they are answered: nor are these left for those who were here and have died,
who are asked when they are back."""
LOADED = frozenset({Hold, Commit, Learn, Keep, Decided, Promise})
"""Words with a payload or a value."""


class _Timed(typing.Protocol):
    @property
    def deadline(self) -> float | None: ...


class Commitment:
    """What a node has to do with holding, opening, winning. `node` is its name as a holder, `holder_of` tells that of
    another node (empty: it holds nothing); `entries` are what its former lives recorded; `recording`: there is a
    journal to record in; `contracted(task)`: this node has a contract of it, and will tell the log how it ends;
    `carrier` (without it all large values count as here) keeps what held tasks refer to, of ends `kept_bytes_max`.

    Verbs and `receive` answer with records, and with what this node is to be told; words to others leave in `wake`, all
    that came of one turn together.
    """

    def __init__(
        self,
        node: NodeId,
        incarnation: int,
        chance: random.Random,
        now: float,
        entries: Sequence[Entry] = (),
        *,
        move_after_s: float = MOVE_AFTER_S,
        holder_of: Callable[[NodeId], NodeId] = lambda node: node,
        recording: bool = True,
        contracted: Callable[[TaskId], bool] = lambda task: False,
        carrier: Carrier | None = None,
        kept_bytes_max: int = 0,
    ) -> None:
        self._contracted = contracted
        self._recording = recording
        self.node = node
        """As a holder."""
        self._name = name_of(node)
        self._holder_of = holder_of
        self._holders: dict[NodeId, NodeId] = {}  # the nodes that have been up, as holders
        self._move_after_s = move_after_s
        self._entrusted: deque[tuple[float, NodeId, Outcome]] = deque()  # who was to tell the log, since when
        self._now = now
        self._out: list[Effect] = []
        self._deadline: float | None = None
        self._stale = True  # something was told since it was looked at
        self._custody = Custody(
            name_of(node), carrier or Carrier("", lambda blob: True), kept_bytes_max, self._out_with
        )
        self._words: dict[tuple[NodeId, bool], list[AnyWord]] = {}
        self._living = {node}
        self._dead: Timers[NodeId] = Timers()
        self._replaced: set[NodeId] = set()  # dead for so long that others take their place
        self.proposer = Proposer(node, self._say, self._tell, self._moved, self._won, self._late)
        self.opener = Opener(node, incarnation, chance, self._say, self._tell, self.proposer, self._opened, self._heirs)
        self.holder = Holder(
            node,
            self._living,
            self._replaced,
            chance,
            self.proposer,
            self._say,
            self._tell,
            self._write,
            self._erase,
            self.opener.__contains__,
            self._orphaned,
            self.opener.hurry,
        )
        self.winner = Winner(self.proposer, self._say, self._tell, self._write, self._erase)
        self._timed: tuple[_Timed, ...] = (self.holder, self.opener, self.proposer, self.winner, self._dead)
        self._ears = self._all_ears()
        for entry in entries:
            self._custody.wrote(entry, entry.key)
        self.holder.restore(entries, now)
        self.winner.restore(entries, now)
        for register in self.holder.registers.values():
            self._miss(register.spec, now)

    # -- verbs

    def hold(self, spec: Spec, now: float) -> Sequence[Effect]:
        """A task was handed in here: `HeldFast` tells when its client may know, `Permitted` when it may be awarded."""
        self._now = now
        self.opener.open(spec, now)
        return self._take()

    def see_to(self, spec: Spec, move: int, seen: Epoch, now: float, ending: Outcome | None = None) -> Sequence[Effect]:
        """Open a later epoch of a task, whose end may be wanted."""
        self._now = now
        why = Why.ORPHAN if ending is None else Why.CANCEL
        self.opener.prepare(spec, move, seen, why, now, ending)
        return self._take()

    def may_award(self, task: TaskId) -> bool:
        """A majority stands behind this node's epoch, and nobody works at it."""
        return self.opener.may_award(task)

    def stalled(self, task: TaskId, now: float) -> bool:
        """It may not be awarded, and may not be for long: no majority of its holders answers."""
        return self.opener.stalled(task, now)

    def award(self, task: TaskId, attempts: int) -> Warrant:
        """The epoch goes out to a winner. Raises ProtocolError if it may not."""
        given, spec = self.opener.award(task), self.opener.spec(task)
        if given is None or spec is None:
            raise ProtocolError(f"{task} may not be awarded by {self.node}")
        return Warrant(given[0], spec.holders, given[1], attempts)

    def given_back(self, task: TaskId, epoch: Epoch) -> bool:
        """The winner has given this epoch back for good: the task may be awarded at once. False: it is not ours."""
        return self.opener.given_back(task, epoch)

    def stands_by(self, task: TaskId) -> bool:
        """This node sees to it."""
        return task in self.opener

    @property
    def others(self) -> list[NodeId]:
        """The other nodes that live."""
        return [name_of(holder) for holder in self._living if holder != self.node]

    @property
    def busy(self) -> bool:
        """Something that this node has proposed is not decided yet."""
        return self.proposer.busy

    def sight(self, name: str) -> list[Sighting]:
        """What this holder knows of a task: its id, the beginning of it, or its label."""
        holder = self.holder
        sightings: list[Sighting] = []
        for task in holder.named(name):
            choice, register = holder.choice(task), holder.registers.get(task)
            if choice is not None and choice.outcome is not None:
                sightings.append(ended(task, *holder.kind(task), choice.outcome))
            elif register is not None:
                promised = register.promised
                reason = self.stranded(register.spec)
                sightings.append(held(register.spec, promised.number, name_of(promised.opener), reason))
        return sightings

    def sighted(self, task: TaskId, by: NodeId, outcome: Outcome | None, now: float) -> Sequence[Effect]:
        """Another node knows a task that this one asks holders in vain to keep: it has ended, or goes on elsewhere."""
        self._now = now
        epoch = self.opener.in_vain(task, by, ended=outcome is not None)
        if epoch is not None:
            self._tell(Overruled(task, epoch) if outcome is None else Chosen(task, outcome))
        return self._take()

    def stranded(self, spec: Spec) -> str:
        """Why a task waits of whose holders no majority is left; empty: there is one."""
        gone = [name_of(holder) for holder in spec.holders if holder not in self._living]
        if len(spec.holders) - len(gone) >= spec.majority:
            return ""
        return f"{len(gone)} of its {len(spec.holders)} holders are gone: it waits for {' or '.join(gone)} to come back"

    def waits_for_holders(self, task: TaskId) -> str:
        """The same of one that this node sees to, and may not award."""
        spec = self.opener.spec(task)
        return self.stranded(spec) if spec is not None and not self.opener.may_award(task) else ""

    def unrecorded(self, tasks: Sequence[TaskId], now: float) -> Sequence[Effect]:
        """The disk is full before it has what this node has answered to their awards."""
        self._now = now
        for task in tasks:
            self.winner.unrecorded(task)
        return self._take()

    def lost(self, task: TaskId, now: float) -> Sequence[Effect]:
        """Its winner is silent: a later epoch is opened."""
        self._now = now
        self.opener.lost(task, now)
        return self._take()

    def end(self, outcome: Outcome, now: float) -> Sequence[Effect]:
        """The owner of its epoch wants it to end so. `Chosen` tells how it has."""
        self._now = now
        self.opener.end(outcome, now)
        return self._take()

    def held(self, task: TaskId) -> Task | None:
        """What this node holds, and does not know to have ended."""
        register = self.holder.registers.get(task)
        return register.spec.task if register is not None and not register.decided else None

    def want_end(self, outcome: Outcome, now: float) -> Sequence[Effect]:
        """A task that this node holds is to end so, if nobody else stands by it: its owner would see to that."""
        self._now = now
        if outcome.task in self.opener:
            self.opener.end_orphan(outcome, now)
        else:
            self.holder.want_end(outcome, now)
        return self._take()

    def accept(self, task: TaskId, warrant: Warrant, now: float, *, at_most_once: bool = False) -> Sequence[Effect]:
        """An award is taken. If it is to be done at most once, it may begin when `Begin` is told."""
        self._now = now
        self.winner.accept(task, warrant.epoch, warrant.move, warrant.holders, now, at_most_once=at_most_once)
        return self._take()

    def doubt(self, task: TaskId, epoch: Epoch, now: float) -> Sequence[Effect]:
        """What was taken before this node slept may begin when `Begin` is told."""
        self._now = now
        self.winner.doubt(task, epoch, now)
        return self._take()

    def decline(self, task: TaskId, warrant: Warrant, now: float) -> Sequence[Effect]:
        """An award is not taken, and never will be."""
        self._now = now
        self.winner.decline(task, warrant.epoch, warrant.move, warrant.holders)
        return self._take()

    def release(self, task: TaskId, epoch: Epoch, now: float) -> Sequence[Effect]:
        """What was taken came to nothing."""
        self._now = now
        self.winner.release(task, epoch)
        return self._take()

    def done(self, epoch: Epoch, outcome: Outcome, now: float) -> Sequence[Effect]:
        """What was taken has a result: it will be decided, or fenced."""
        self._now = now
        self.winner.done(epoch, outcome, now)
        return self._take()

    # -- the one shape

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        self._now = now
        match message:
            case Pledge(words, of, to) | Talk(words, of, to):
                if name_of(of) != sender:
                    raise PeerError(f"{sender} speaks as the holder {of}")
                if to == self.node:
                    for word in words:
                        self._ears[type(word)](word, of, now)
            case Gathered():
                self._custody.gathered(message, now)
            case PeerUp(node):
                self._up(node, self._holder_of(node), now)
            case PeerDown(node):
                if (holder := self._holders.get(node)) is not None:
                    self._down(holder, now)
            case _:
                raise ProtocolError(f"a commitment is not told {type(message).__name__}")
        return self._take()

    @property
    def deadline(self) -> float | None:
        return self._now if self._words else self._next()

    def _next(self) -> float | None:
        """When something is due, whether or not words wait to leave."""
        if self._stale:
            due: float | None = None
            for role in self._timed:
                if (deadline := role.deadline) is not None and (due is None or deadline < due):
                    due = deadline
            self._deadline = due
            self._stale = False
        return self._deadline

    def wake(self, now: float) -> Sequence[Effect]:
        self._now = now
        if (due := self._next()) is None or due > now:
            return self._leave()
        for role in (self.holder, self.opener, self.proposer, self.winner):
            if (deadline := role.deadline) is not None and deadline <= now:
                role.wake(now)
        for node in self._dead.due(now):
            self._replace(node, now)
        return [*self._take(), *self._leave()]

    def _all_ears(self) -> Ears:
        """What each word does, by its type: most concern one role."""
        holder, opener, winner, proposer = self.holder.ears, self.opener.ears, self.winner.ears, self.proposer.ears
        commit_vote, start_vote, hold = proposer[Vote], winner[Vote], holder[Hold]
        here = self._custody.hear

        def voted(word: Vote, sender: NodeId, now: float) -> None:
            (start_vote if word.start else commit_vote)(word, sender, now)

        def held(word: Hold, sender: NodeId, now: float) -> None:
            self._miss(word.spec, now)
            here(word, sender, now, hold)

        def promised(word: Promise, sender: NodeId, now: float) -> None:
            """Whoever promises what has ended meanwhile waits for us in vain, unless it is told."""
            choice = self.holder.choice(word.task) if word.task not in self.opener else None
            if choice is not None and choice.outcome is not None:  # where it went once may be long ago
                self._say(sender, Learn(word.task, word.move, choice))
            opener[Promise](word, sender, now)

        def when_here(hear: Callable[[Any, NodeId, float], None]) -> Callable[[Any, NodeId, float], None]:
            return lambda word, sender, now: here(word, sender, now, hear)

        def ended(word: AnyWord, sender: NodeId, now: float) -> None:
            if isinstance(word, Gone):
                self.holder.bury(word.task)
            for role in (opener, winner, proposer):
                role[type(word)](word, sender, now)

        several: Ears = {Promise: promised, Vote: voted, Fence: ended, Decided: ended, Gone: ended}
        large: Ears = {Hold: held, **{kind: when_here(holder[kind]) for kind in (Commit, Learn, Keep)}}
        return {**holder, **opener, **winner, **proposer, **several, **large}

    # -- what the roles have to say

    def _say(self, to: NodeId, word: Word) -> None:
        kind = type(word)
        seen = kind in BEATS or (kind in ASKED and self._holders.get(name_of(to)) == to)
        if seen and (to in self._dead or to in self._replaced):
            return
        key = (to, kind in FREE)
        words = self._words.get(key)
        if words is None:
            words = self._words[key] = []
        words.append(word)  # type: ignore[arg-type]

    def _out_with(self, effect: Effect) -> None:
        self._out.append(effect)

    def _write(self, entry: Entry) -> None:
        key = entry.key
        self._custody.wrote(entry, key)
        if self._recording:
            self._out.append(Record(type(entry), key, entry))

    def _erase(self, kind: type[Entry], key: str) -> None:
        self._custody.erased(kind, key)
        if self._recording:
            self._out.append(Record(kind, key, None))

    def _tell(self, message: Local) -> None:
        if type(message) is HeldFast and (spec := self.opener.spec(message.task)) is not None:
            self._out.append(TaskHeld(task=message.task, holders=tuple([name_of(holder) for holder in spec.holders])))
        elif type(message) is Overruled:
            self._out.append(EpochFenced(task=message.task, epoch=message.epoch.number))
        self._out.append(Send(self._name, message))
        if type(message) is Chosen:
            self.opener.chosen(message.task)
            self.winner.over(message.task)
        elif type(message) is Overruled:
            self.opener.overruled(message.task, message.epoch, self._now)
            self.winner.over(message.task, message.epoch)

    def _take(self) -> list[Effect]:
        out, self._out = self._out, []
        self._stale = True
        return out

    def _leave(self) -> list[Effect]:
        """All words to one node as one message, or a few."""
        effects: list[Effect] = []
        words, self._words = self._words, {}
        for (to, free), said in words.items():
            kind = Talk if free else Pledge
            if to == self.node:  # what goes nowhere needs no bounds
                effects.append(Send(self._name, kind(tuple(said), self.node, to)))
                continue
            send = Datagram if BEATS.issuperset(map(type, said)) else Send
            name = name_of(to)
            batch: list[AnyWord] = []
            size = 0
            for word in said:
                weight = _weight(word) if type(word) in LOADED else WORD_BYTES
                if batch and (len(batch) == WORDS_MAX or size + weight > BYTES_MAX):
                    effects.append(send(name, kind(tuple(batch), self.node, to)))
                    batch, size = [], 0
                batch.append(word)
                size += weight
            effects.append(send(name, kind(tuple(batch), self.node, to)))
        return effects

    # -- who is there

    def _up(self, node: NodeId, holder: NodeId, now: float) -> None:
        """A node lives; with another journal than before, the holder it was is dead for good."""
        if not holder:
            return
        former = self._holders.get(node)
        if former is not None and former != holder:
            self._down(former, now)
        self._holders[node] = holder
        self._living.add(holder)
        self._dead.cancel(holder)
        self._replaced.discard(holder)
        self.opener.returned(holder, now)
        self.proposer.returned(holder, now)

    def _down(self, holder: NodeId, now: float) -> None:
        if holder in self._living:
            self._living.discard(holder)
            self._dead.set(holder, now + self._move_after_s)
            self.holder.gone(holder, now)
            for at, owner, outcome in self._entrusted:
                if owner == holder and now - at < ENTRUSTED_S:
                    self._out.append(TaskCommitted.of(outcome))

    def _miss(self, spec: Spec, now: float) -> None:
        """A holder that was never seen may be dead: if it does not come, it is replaced too."""
        for holder in spec.holders:
            if holder not in self._living and holder not in self._dead:
                self._dead.set(holder, now + 2 * self._move_after_s)

    def _won(self, outcome: Outcome, epoch: Epoch) -> None:
        """The owner of the epoch tells the log, unless it is gone, or has no contract any more. If it is killed before
        its line is written, we tell ours."""
        entrusted = self._entrusted
        while entrusted and self._now - entrusted[0][0] > ENTRUSTED_S:
            entrusted.popleft()
        if epoch.opener not in self._living or (epoch.opener == self.node and not self._contracted(outcome.task)):
            self._out.append(TaskCommitted.of(outcome))
        elif epoch.opener != self.node:
            entrusted.append((self._now, epoch.opener, outcome))

    def _late(self, task: TaskId, epoch: Epoch) -> None:
        """What was proposed here in this epoch counts no more."""
        self._out.append(EpochFenced(task=task, epoch=epoch.number))

    def _opened(self, task: TaskId, epoch: Epoch, why: Why) -> None:
        self._out.append(EpochOpened(task=task, epoch=epoch.number, reason=why.name.lower()))

    # -- between the roles

    def _orphaned(self, register: Register, ending: Outcome | None) -> None:
        self._prepare(register, Why.ORPHAN, ending)

    def _prepare(self, register: Register, why: Why, ending: Outcome | None = None) -> None:
        """Open a later epoch of what is held here."""
        started = register.started is not None
        self.opener.prepare(register.spec, register.move, register.promised, why, self._now, ending, started=started)

    def _moved(self, task: TaskId, move: int, moved: Moved, now: float) -> None:
        """A move is decided: whoever proposed it tells the new holders."""
        self._out.append(TaskMoved(task=task, holders=tuple(map(name_of, moved.holders))))
        spec = self.opener.spec(task)
        if spec is None:
            register = self.holder.registers.get(task)
            if register is None or register.move != move:
                return  # another opens it again, and sees that it was to move
            spec = register.spec
        self.opener.moved(spec, move, moved, now)

    def _replace(self, dead: NodeId, now: float) -> None:
        """It has been dead for long: what it held is moved by the first holder that lives."""
        if dead in self._living:
            return
        if dead not in self._replaced:
            self._replaced.add(dead)
            self.proposer.replaced(dead, now)
            self.opener.replaced(dead, now)
            self.holder.kept.replace(dead, now)
        left = False
        for register in list(self.holder.registers.values()):
            holders = register.spec.holders
            if dead not in holders or register.decided:
                continue
            left = True
            if next(iter(holder for holder in holders if holder in self._living), "") != self.node:
                continue
            if self._heirs(register.spec) != list(holders):
                self._prepare(register, Why.MOVE)
        if left:
            self._dead.set(dead, now + self._move_after_s)

    def _heirs(self, spec: Spec) -> list[NodeId]:
        """The holders of a task, each that does not live replaced, as far as others do."""
        gone = [holder for holder in spec.holders if holder not in self._living]
        return replaced(spec.task.id, spec.holders, gone, self._living)


def _weight(word: AnyWord) -> int:
    """Its bytes, more or less."""
    match word:
        case Hold(spec):
            return WORD_BYTES + len(spec.payload)
        case Commit() | Learn() | Keep() | Decided():
            return WORD_BYTES + size_of(word.choice)
        case Promise(accepted=(_, choice)):
            return WORD_BYTES + size_of(choice)
    return WORD_BYTES
