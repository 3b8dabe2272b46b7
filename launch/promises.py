"""What holders have promised, voted for and forgotten: looked at where it leaves them, and as it lies on their disks.

A register is only what its holders' disks say, so this is a second memory of all disks, told whenever something is
written, has become durable, or is read again after a crash; and of every word that has left. From both together:

| name | what holds | seen at |
|---|---|---|
| S1 | one value is chosen per task, and it is the result of an attempt that has one | a majority has it on disk |
| S4 | promised and accepted never fall, restarts included | a pledge leaves; a record is durable; a journal is read |
| S5 | no vote below a promise | a vote leaves |
| S7 | no award later than the epoch in which the task was decided | an award is answered |
| S8 | every award has a majority of promises on disk behind it | an award is answered |
| S9 | one winner per epoch, and the next hop only after the one before was given back | an award is answered |
| S10 | a vote stands on a disk; what is called decided, a majority has voted for | a vote leaves; a record is durable |
| S12 | what was forgotten never promises | a pledge leaves |

Votes are counted on disks, since a node's vote for its own proposal never leaves it. Source: Lamport 1998: a value is
chosen when a majority of acceptors has accepted it in one ballot, whoever knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..protocols.commitment_words import (
    Answer,
    AwardEntry,
    Choice,
    Entry,
    Held,
    Holders,
    KeptEntry,
    Pledge,
    Promise,
    RegisterEntry,
    SpecEntry,
    TombEntry,
    Vote,
    majority,
)
from ..protocols.core import NodeId, Outcome, Record, State, TaskId
from ..protocols.epochs import Epoch
from .violation import Violation

FOR_EVER = 2**53
"""A move later than any."""

Lines = dict[tuple[type[Entry], str], Entry]


class Promises:
    """Of all holders of a run, in all their lives. A holder is a node with its journal (`n1#1`)."""

    def __init__(self) -> None:
        self.disks: dict[NodeId, Lines] = {}
        self.holders: dict[tuple[TaskId, int], Holders] = {}  # of each register, by task and move
        self.promised: dict[tuple[TaskId, Epoch], set[NodeId]] = {}  # who has this on disk
        self.votes: dict[tuple[TaskId, int, Epoch], dict[NodeId, Choice]] = {}
        self.decided: dict[tuple[TaskId, int], Choice] = {}
        self.chosen: dict[TaskId, Outcome] = {}
        self.chosen_in: dict[TaskId, Epoch] = {}
        self.winners: dict[tuple[TaskId, Epoch], NodeId] = {}
        self.latest: dict[TaskId, Epoch] = {}  # epoch in which a task was awarded
        self.answers: dict[tuple[NodeId, TaskId, int], Epoch] = {}  # a node's last award of this number, on its disk
        self.given_back: set[tuple[TaskId, Epoch]] = set()  # wanted on disk
        self.released: set[tuple[TaskId, Epoch]] = set()  # there
        self.results: dict[TaskId, set[Outcome]] = {}
        self._told: dict[tuple[NodeId, TaskId, int], tuple[Epoch, float]] = {}  # the latest that has left, and when
        self._entered_at: dict[tuple[NodeId, TaskId], int] = {}  # the move of what is on its disk
        self._forgotten: dict[tuple[NodeId, TaskId], tuple[int, float]] = {}  # as of which move, and when

    def epochs(self, task: TaskId) -> int:
        """In how many it was awarded."""
        return sum(one == task for one, _ in self.winners)

    # -- what leaves

    def leaves(self, now: float, pledge: Pledge) -> None:
        for word in pledge.words:
            match word:
                case Held(task, move, promised):
                    self._promises(now, pledge.of, task, move, promised)
                case Promise(task, move, epoch):
                    self._promises(now, pledge.of, task, move, epoch)
                case Vote(task, move, epoch, start):
                    self._votes(now, pledge.of, task, move, epoch, start)

    def _promises(self, now: float, holder: NodeId, task: TaskId, move: int, epoch: Epoch) -> None:
        forgotten, since = self._forgotten.get((holder, task), (-1, now))
        if move <= forgotten and since < now:  # at the same moment: the disk had both at once, the promise first
            raise Violation("S12", f"{holder} promises {task}, which it has forgotten")
        told, when = self._told.get((holder, task, move), (epoch, now))
        if epoch < told and when < now:
            raise Violation("S4", f"{holder} has promised {told} of {task}, and now {epoch}")
        register = self._register(holder, task)
        if register is not None and self._move(holder, task) == move and register.promised < epoch:
            raise Violation("S4", f"{holder} promises {epoch} of {task}, and has {register.promised} on its disk")
        self._told[holder, task, move] = max(epoch, told), now

    def _votes(self, now: float, holder: NodeId, task: TaskId, move: int, epoch: Epoch, start: bool) -> None:
        told, when = self._told.get((holder, task, move), (epoch, now))
        if epoch < told and when < now:  # what leaves in one turn has no order but that of the disk
            raise Violation("S5", f"{holder} votes for {epoch} of {task}, and has promised {told}")
        self._told[holder, task, move] = max(epoch, told), now
        disk = self.disks.get(holder, {})
        if self._move(holder, task) != move or (KeptEntry, task) in disk or (TombEntry, task) in disk:
            return  # an old word of what has gone on since
        register = self._register(holder, task)
        voted = None if register is None else register.started if start else register.accepted and register.accepted[0]
        if voted is None or voted < epoch:
            raise Violation("S10", f"{holder} votes for {epoch} of {task}, and has it on no disk")

    def _register(self, holder: NodeId, task: TaskId) -> RegisterEntry | None:
        entry = self.disks.get(holder, {}).get((RegisterEntry, task))
        return entry if isinstance(entry, RegisterEntry) else None

    def _move(self, holder: NodeId, task: TaskId) -> int:
        entry = self.disks.get(holder, {}).get((SpecEntry, task))
        return entry.move if isinstance(entry, SpecEntry) else 0

    # -- what is wanted on a disk

    def wanted(self, node: NodeId, record: Record) -> None:
        """An award is answered: it has been made by then."""
        entry = record.entry
        if not isinstance(entry, AwardEntry):
            return
        task, epoch = entry.task, entry.epoch
        if entry.answer is Answer.RELEASED:
            self.given_back.add((task, epoch))
        if self.winners.setdefault((task, epoch), node) != node:
            raise Violation("S9", f"{epoch} of {task} is awarded to {self.winners[task, epoch]} and to {node}")
        if epoch.hop:
            before = Epoch(epoch.counter, epoch.opener, epoch.incarnation, epoch.hop - 1)
            if (task, before) not in self.released:
                raise Violation("S9", f"{epoch} of {task} is awarded, and {before} was not given back")
        behind = self.promised.get((task, epoch.root), set())
        if len(behind) < majority(len(entry.holders)):
            raise Violation("S8", f"{task} is awarded in {epoch}, which {len(behind)} have promised")
        if entry.answer is Answer.ACCEPTED and task in self.chosen and epoch > self.chosen_in.get(task, epoch):
            raise Violation("S7", f"{task} is awarded in {epoch}, and was decided in {self.chosen_in[task]}")
        self.latest[task] = max(self.latest.get(task, epoch), epoch)

    # -- what is on a disk

    def durable(self, now: float, node: NodeId, holder: NodeId, records: Iterable[Record]) -> None:
        disk = self.disks.setdefault(holder, {})
        for record in records:
            key, entry = (record.kind, record.key), record.entry
            if isinstance(entry, Entry):
                self._entered(now, node, holder, disk, entry)
                disk[key] = entry  # type: ignore[index]
            else:
                former = disk.pop(key, None)  # type: ignore[arg-type]
                if isinstance(former, SpecEntry):
                    self._forgotten[holder, former.spec.task.id] = former.move, now

    def read(self, now: float, node: NodeId, holder: NodeId, entries: Sequence[Entry]) -> None:
        """A journal is read again: what a crash has left of it."""
        before = self.disks.pop(holder, {})
        entries = sorted(entries, key=lambda entry: not isinstance(entry, SpecEntry))
        self.durable(now, node, holder, [Record(type(entry), entry.key, entry) for entry in entries])
        for entry in entries:
            former, spec = before.get((type(entry), entry.key)), before.get((SpecEntry, entry.key))
            stayed = isinstance(spec, SpecEntry) and spec.move == self._move(holder, entry.key)
            if isinstance(entry, RegisterEntry) and isinstance(former, RegisterEntry) and stayed:
                self._rises(holder, former, entry)
        for (told_by, task, move), (epoch, _) in self._told.items():
            register = self._register(holder, task) if told_by == holder else None
            if register is not None and self._move(holder, task) == move and register.promised < epoch:
                raise Violation("S4", f"{holder} has promised {epoch} of {task}, and reads {register.promised}")
        now_there = self.disks[holder]
        for kind, name in before:
            left = any((kind, name) in now_there for kind in (RegisterEntry, KeptEntry, TombEntry))
            if kind is RegisterEntry and not left:
                raise Violation("S10", f"{holder} had {name} on its disk, and reads nothing of it")

    def _entered(self, now: float, node: NodeId, holder: NodeId, disk: Lines, entry: Entry) -> None:
        match entry:
            case SpecEntry(spec, move):
                self.holders[spec.task.id, move] = spec.holders
            case RegisterEntry(task):
                self._register_entered(holder, disk, entry)
            case KeptEntry(task, move, choice):
                if len(self.holders.get((task, move), ())) == 1:
                    self._choose(task, move, choice, self.latest.get(task))
                else:
                    self._called_decided(holder, task, move, choice)
            case TombEntry(task):
                self._forgotten[holder, task] = FOR_EVER, now
            case AwardEntry(task, epoch, Answer.ACCEPTED):
                self.answers[node, task, epoch.number] = epoch
            case AwardEntry(task, epoch, Answer.RELEASED):
                self.released.add((task, epoch))
            case AwardEntry(task, epoch, Answer.RESULT, outcome=outcome):
                assert outcome is not None
                self.results.setdefault(task, set()).add(outcome)

    def _register_entered(self, holder: NodeId, disk: Lines, entry: RegisterEntry) -> None:
        task, former, spec = entry.task, disk.get((RegisterEntry, entry.task)), disk.get((SpecEntry, entry.task))
        assert isinstance(spec, SpecEntry)
        move, holders = spec.move, spec.spec.holders
        voted = (task, move, entry.accepted[0]) if entry.accepted is not None else None
        if isinstance(former, RegisterEntry) and self._entered_at[holder, task] == move:
            self._rises(holder, former, entry)
        self._entered_at[holder, task] = move
        self.promised.setdefault((task, entry.promised.root), set()).add(holder)
        if entry.accepted is None or voted is None:
            return
        epoch, choice = entry.accepted
        if entry.decided and len(holders) > 1:
            self._called_decided(holder, task, move, choice)
            return
        votes = self.votes.setdefault(voted, {})
        votes[holder] = choice
        if any(other != choice for other in votes.values()):
            raise Violation("S1", f"two values are voted for in {epoch} of {task}")
        if len(votes) >= majority(len(holders)):
            self._choose(task, move, choice, epoch)

    def _rises(self, holder: NodeId, former: RegisterEntry, entry: RegisterEntry) -> None:
        if entry.promised < former.promised:
            raise Violation("S4", f"{holder} promised {former.promised} of {entry.task}, and now {entry.promised}")
        if former.accepted is None or former.decided:
            return
        if entry.accepted is None or (entry.accepted[0] < former.accepted[0] and not entry.decided):
            raise Violation("S4", f"{holder} accepted {former.accepted[0]} of {entry.task}, and now something earlier")

    def _choose(self, task: TaskId, move: int, choice: Choice, epoch: Epoch | None) -> None:
        """A majority has it on disk."""
        if self.decided.setdefault((task, move), choice) != choice:
            raise Violation("S1", f"two values are chosen for {task}, as it was after {move} moves")
        outcome = choice.outcome
        if outcome is None:
            return
        former = self.chosen.setdefault(task, outcome)
        if former != outcome:
            raise Violation("S1", f"{task} has ended twice: {former.state} by {former.node}, {outcome.state}")
        if epoch is not None:
            self.chosen_in.setdefault(task, epoch)
        if outcome.state is State.DONE and outcome not in self.results.get(task, ()):
            raise Violation("S1", f"{task} is done by {outcome.node}, which has no such result")

    def moved_to(self, task: TaskId) -> tuple[NodeId, ...] | None:
        """The holders that it has moved to last; None: it has not."""
        moves = [(move, choice.moved) for (moved, move), choice in self.decided.items() if moved == task]
        last = max(moves, key=lambda one: one[0], default=(0, None))[1]
        return last.holders if last is not None else None

    def _called_decided(self, holder: NodeId, task: TaskId, move: int, choice: Choice) -> None:
        """Of a move a holder may have heard later than of the next: where the task is, not which way it went."""
        if choice.moved is None:
            known = self.chosen.get(task) == choice.outcome
        else:
            known = any(
                decided.moved is not None and decided.moved.holders == choice.moved.holders
                for (moved, at), decided in self.decided.items()
                if moved == task and at >= move
            )
        if not known:
            raise Violation("S10", f"{holder} calls {task} decided, which no majority has voted for")
