"""Commitment on virtual time: nodes, disks, clients; a wire that loses, doubles and delays; and who watches over it.

Every node is a real `Commitment` behind a real `Gate`; a disk takes time, and forgets in a crash what it had not
synced. In the place of the contract net stand owners that award to anybody, wait, and open a later epoch when they hear
nothing. What leaves a node is looked at: `Watcher` knows every promise, vote and award, and checks the invariants of
the design by their numbers. One seed gives one run.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from parley.protocols.commitment import Commitment
from parley.protocols.commitment_words import (
    Answer,
    AwardEntry,
    Begin,
    Choice,
    Chosen,
    Entry,
    Held,
    HeldFast,
    KeptEntry,
    Overruled,
    Permitted,
    Pledge,
    Promise,
    RegisterEntry,
    Spec,
    SpecEntry,
    Talk,
    TombEntry,
    Vote,
    Warrant,
)
from parley.protocols.core import (
    Conditions,
    Datagram,
    Effect,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerUp,
    Record,
    Run,
    Send,
    State,
    Task,
    TaskId,
)
from parley.protocols.epochs import Epoch
from parley.protocols.gate import ORDERED, Gate
from parley.protocols.holders import holders_of


class Offer(Message, frozen=True, array_like=True):
    """The owner's award."""

    spec: Spec
    epoch: Epoch
    move: int


class Back(Message, frozen=True, array_like=True):
    """The winner's word that it will never commit this epoch."""

    task: TaskId
    epoch: Epoch


class Violation(AssertionError):
    """An invariant does not hold; the message begins with its number."""


class Watcher:
    """Sees what leaves every node, and what is on every disk."""

    def __init__(self) -> None:
        self.chosen: dict[TaskId, Outcome] = {}
        self.votes: dict[tuple[TaskId, int, Epoch], dict[NodeId, Choice]] = {}
        self.told: dict[tuple[NodeId, TaskId, int], Epoch] = {}  # the latest promise that has left
        self.promises: dict[tuple[TaskId, Epoch], set[NodeId]] = {}
        self.awards: dict[tuple[TaskId, Epoch], NodeId] = {}
        self.starts: Counter[tuple[TaskId, Epoch, NodeId]] = Counter()
        self.released: set[tuple[TaskId, Epoch, NodeId]] = set()
        self.forgotten: dict[tuple[NodeId, TaskId], int] = {}
        self.acked: set[TaskId] = set()
        self.moves = 0
        self.adopted = 0

    def choose(self, task: TaskId, outcome: Outcome, rule: str) -> None:
        former = self.chosen.setdefault(task, outcome)
        if former != outcome:
            raise Violation(f"{rule}: {task} has ended twice, {former.value!r} and {outcome.value!r}")

    def leaves(self, node: Node, message: Message) -> None:
        """Nothing has been lost yet: whatever a word promises, it has promised."""
        if isinstance(message, Offer):
            self._award(message)
        if not isinstance(message, Pledge):
            return
        for word in message.words:
            match word:
                case Held(task, move, promised):
                    self._promise(node, task, move, promised)
                case Promise(task, move, epoch):
                    self._promise(node, task, move, epoch)
                case Vote(task, move, epoch, start):
                    self._vote(node, task, move, epoch, start)

    def _promise(self, node: Node, task: TaskId, move: int, epoch: Epoch) -> None:
        key = (node.name, task, move)
        if (node.name, task) in self.forgotten and move <= self.forgotten[node.name, task]:
            raise Violation(f"S12: {node.name} promises {task}, which it has forgotten")
        if epoch < self.told.get(key, epoch):
            raise Violation(f"S4: {node.name} has promised {self.told[key]} for {task}, and now {epoch}")
        self.told[key] = epoch
        self.promises.setdefault((task, epoch.root), set()).add(node.name)

    def _vote(self, node: Node, task: TaskId, move: int, epoch: Epoch, start: bool) -> None:
        key = (node.name, task, move)
        if epoch < self.told.get(key, epoch):
            raise Violation(f"S5: {node.name} votes for {epoch} of {task}, and has promised {self.told[key]}")
        self.told[key] = epoch
        if start:
            return
        entry, spec = node.disk.get((RegisterEntry, task)), node.disk.get((SpecEntry, task))
        if isinstance(spec, SpecEntry) and spec.move > move:
            return  # it has gone on elsewhere since, and this is an old word of it
        if (KeptEntry, task) in node.disk or (TombEntry, task) in node.disk:
            return  # or what became of it is all that is left
        if not isinstance(entry, RegisterEntry) or entry.accepted is None or entry.accepted[0] < epoch:
            raise Violation(f"S10: {node.name} votes for {epoch} of {task}, and has it on no disk")
        if entry.accepted[0] != epoch:
            return  # it has voted again since, and this is an old word of it
        votes = self.votes.setdefault((task, move, epoch), {})
        votes[node.name] = entry.accepted[1]
        if len(votes) > node.holders_count // 2 and (outcome := entry.accepted[1].outcome) is not None:
            self.choose(task, outcome, "S1")

    def _award(self, offer: Offer) -> None:
        promises = self.promises.get((offer.spec.task.id, offer.epoch.root), set())
        if len(promises) < len(offer.spec.holders) // 2 + 1:
            raise Violation(f"S8: {offer.spec.task.id} is awarded in {offer.epoch} on {len(promises)} promises")

    def awarded(self, task: TaskId, epoch: Epoch, winner: NodeId) -> None:
        if self.awards.setdefault((task, epoch), winner) != winner:
            raise Violation(f"S9: {epoch} of {task} has two winners")
        if epoch.hop:
            before = Epoch(epoch.counter, epoch.opener, epoch.incarnation, epoch.hop - 1)
            if (task, before, self.awards[task, before]) not in self.released:
                raise Violation(f"S9: {epoch} of {task} has a winner, and {before} was not given back")

    def started(self, task: TaskId, epoch: Epoch, node: NodeId, once: bool) -> None:
        if once and any(key[0] == task for key in self.starts):
            raise Violation(f"S3: {node} starts {task}, which was to be started at most once")
        self.starts[task, epoch, node] += 1
        if self.starts[task, epoch, node] > 1:
            raise Violation(f"S3: {node} starts {epoch} of {task} twice")
        if (task, epoch, node) in self.released:
            raise Violation(f"S11: {node} starts {epoch} of {task}, and has given it back")


class Node:
    """One name; between two crashes, one life."""

    def __init__(self, name: NodeId, holders_count: int) -> None:
        self.name = name
        self.holders_count = holders_count
        self.life = 0
        self.alive = False
        self.disk: dict[tuple[type[object], str], Entry] = {}
        self.unsynced: list[tuple[int, Record]] = []
        self.commitment: Commitment
        self.gate: Gate
        self.running: dict[tuple[TaskId, Epoch], Offer] = {}
        self.sync_at: float | None = None
        self.offers: list[tuple[NodeId, Offer]] = []  # that have come, in all lives: the wire may repeat them


class World:
    """Five nodes, a few tasks, and trouble for TROUBLE_S; then peace for as long as it takes."""

    TROUBLE_S = 5.0
    PEACE_S = 60.0

    def __init__(
        self,
        seed: int,
        *,
        holders: int = 3,
        tasks: int = 3,
        dies: bool = False,
        once: bool = False,
        loses_journal: bool = False,
        awards_again: bool = False,
        hops_on_silence: bool = False,
        chooses_holders_anew: bool = False,
    ) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.now = 0.0
        self.watcher = Watcher()
        self.loses_journal = loses_journal
        self.awards_again = awards_again
        self.hops_on_silence = hops_on_silence
        self.chooses_holders_anew = chooses_holders_anew
        self.holders_count = holders
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.dead_for_good: set[NodeId] = set()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.names = [f"n{number}" for number in range(1, 6)]
        self.nodes = {name: Node(name, holders) for name in self.names}
        for name in self.names:
            self._start(name)
        self.specs: dict[TaskId, Spec] = {}
        self.entries: dict[TaskId, set[NodeId]] = {}
        for number in range(tasks):
            self._at(self.chance.random(), lambda number=number: self._submit(number, once))  # type: ignore[misc]
        if dies:
            self._at(self.chance.uniform(0.0, self.TROUBLE_S), self._dies)
        for _ in range(self.chance.randrange(6)):
            self._at(self.chance.uniform(0.0, self.TROUBLE_S), self._crash)
        for _ in range(self.chance.randrange(5)):
            self._at(self.chance.uniform(0.0, self.TROUBLE_S), self._partition)
        self.loss = self.chance.choice((0.0, 0.1, 0.3))
        self.duplication = self.chance.choice((0.0, 0.3))
        self.slowest_s = self.chance.choice((0.01, 0.3, 3.0))

    # -- running

    def run(self) -> None:
        """Raises Violation."""
        self._until(self.TROUBLE_S, lambda: False)
        self.loss, self.duplication, self.slowest_s = 0.0, 0.0, 0.01
        self.cut.clear()
        for name, node in self.nodes.items():
            if not node.alive and name not in self.dead_for_good:
                self._start(name)
        for node in self.nodes.values():
            if node.alive:
                for other in self.names:
                    self._tell(node, PeerDown(other) if other in self.dead_for_good else PeerUp(other))
        watcher = self.watcher
        self._until(self.TROUBLE_S + 3.0, lambda: False)
        self._until(self.TROUBLE_S + self.PEACE_S, lambda: watcher.acked <= watcher.chosen.keys())
        if unended := sorted(self.watcher.acked - self.watcher.chosen.keys()):
            raise Violation(f"L1: {unended} were acknowledged, and have not ended")

    def _until(self, until: float, stop: Callable[[], bool]) -> None:
        while self._heap and self._heap[0][0] <= until and not stop():
            self.now, _, happen = heapq.heappop(self._heap)
            happen()
        self.now = max(self.now, until) if not stop() else self.now

    def _at(self, at: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, happen))

    # -- trouble

    def _start(self, name: NodeId) -> None:
        node = self.nodes[name]
        node.life += 1
        node.alive = True
        if self.loses_journal:
            node.disk.clear()
        entries = list(node.disk.values())
        node.gate = Gate(True, ORDERED | {Offer, Back})
        node.running.clear()
        node.unsynced.clear()
        node.sync_at = None
        chance = random.Random(f"{self.seed} {name} {node.life}")
        node.commitment = Commitment(name, node.life, chance, self.now, entries, move_after_s=0.3)
        for other in self.names:
            if other not in self.dead_for_good:
                self._perform(node, node.commitment.receive(PeerUp(other), name, self.now))
        self._settle(node)

    def _crash(self) -> None:
        living = [node for node in self.nodes.values() if node.alive]
        if len(living) < 4:
            return
        node = self.chance.choice(living)
        node.alive = False
        if self.chance.random() < 0.5:
            for other in living:
                self._tell(other, PeerDown(node.name))
        self._at(self.now + self.chance.uniform(0.01, 2.0), lambda: self._again(node))

    def _again(self, node: Node) -> None:
        if not node.alive and node.name not in self.dead_for_good:
            self._start(node.name)
            for other in self.nodes.values():
                if other is not node:
                    self._tell(other, PeerUp(node.name))
            if node.offers and self.duplication:
                sender, offer = self.chance.choice(node.offers)
                self._at(self.now + 0.001, lambda: self._tell(node, offer, sender))

    def _dies(self) -> None:
        node = self.chance.choice([node for node in self.nodes.values() if node.alive])
        node.alive = False
        self.dead_for_good.add(node.name)
        for other in self.nodes.values():
            self._tell(other, PeerDown(node.name))

    def _partition(self) -> None:
        some = set(self.chance.sample(self.names, self.chance.randrange(1, 3)))
        one_way = self.chance.random() < 0.3
        cut = {
            (a, b) for a in self.names for b in self.names if (a in some) != (b in some) and (not one_way or a in some)
        }
        self.cut |= cut
        self._at(self.now + self.chance.uniform(0.3, 3.0), lambda: self.cut.difference_update(cut))

    # -- clients

    def _submit(self, number: int, once: bool) -> None:
        task = Task(f"T{number}", "k", terms=Conditions(at_most_once=once))
        entry = self.chance.choice([name for name, node in self.nodes.items() if node.alive])
        holders = holders_of(task.id, entry, self.names, self.holders_count)
        self.specs[task.id] = Spec(task, b"payload", holders)
        self._hand_in(task.id, entry)
        if self.chance.random() < 0.15:
            self._at(self.now + self.chance.uniform(0.0, 3.0), lambda: self._cancel(task.id))

    def _hand_in(self, task: TaskId, entry: NodeId) -> None:
        """And again through another agent, as long as nobody has acknowledged it."""
        self.entries.setdefault(task, set()).add(entry)
        node = self.nodes[entry]
        spec = self.specs[task]
        if self.chooses_holders_anew:
            spec = Spec(spec.task, spec.payload, holders_of(task, entry, self.names, self.holders_count))
        if node.alive:
            self._perform(node, node.commitment.hold(spec, self.now))
            self._settle(node)

        def again() -> None:
            if task not in self.watcher.acked and self.now < self.TROUBLE_S:
                living = [name for name, node in self.nodes.items() if node.alive]
                self._hand_in(task, self.chance.choice(living))

        self._at(self.now + self.chance.uniform(0.1, 1.5), again)

    def _cancel(self, task: TaskId) -> None:
        """Through any agent that holds it."""
        ending = Outcome(task, State.CANCELLED, error="cancelled")
        for node in self.nodes.values():
            register = node.commitment.holder.registers.get(task)
            if node.alive and register is not None and not register.decided:
                if task in node.commitment.opener:
                    effects = node.commitment.end(ending, self.now)
                else:
                    effects = node.commitment.see_to(register.spec, register.move, register.promised, self.now, ending)
                self._perform(node, effects)
                self._settle(node)
                return

    # -- a node's turn

    def _tell(self, node: Node, message: Message, sender: NodeId | None = None) -> None:
        if not node.alive:
            return
        self._hear(node, message, sender or node.name)
        self._settle(node)

    def _hear(self, node: Node, message: Message, sender: NodeId) -> None:
        commitment = node.commitment
        match message:
            case Pledge() | Talk() | PeerUp() | PeerDown():
                self._perform(node, commitment.receive(message, sender, self.now))
            case Permitted(spec, epoch, move):
                life = node.life
                self._at(self.now + self.chance.uniform(0.0, 0.2), lambda: self._award(node, life, spec, epoch, move))
            case HeldFast(task):
                self.watcher.acked.add(task)
            case Chosen(task, outcome):
                if outcome is not None:
                    self.watcher.choose(task, outcome, "S2")
                for key in [key for key in node.running if key[0] == task]:
                    del node.running[key]
                    self._perform(node, commitment.release(*key, self.now))
            case Overruled(task, epoch):
                node.running.pop((task, epoch), None)
            case Offer():
                self._offered(node, message, sender)
            case Back(task, epoch):
                if commitment.opener.given_back(task, epoch):
                    self._award_again(node, task)
            case Begin(task, epoch):
                if (task, epoch) in node.running:
                    self._run(node, task, epoch)

    def _settle(self, node: Node) -> None:
        """Wake it while it is due, then see when it is next."""
        commitment = node.commitment
        while node.alive and (deadline := commitment.deadline) is not None and deadline <= self.now:
            self._perform(node, commitment.wake(self.now))
        if node.alive and (deadline := commitment.deadline) is not None:
            life = node.life
            self._at(deadline, lambda: self._wake(node, life, deadline))

    def _wake(self, node: Node, life: int, at: float) -> None:
        if node.alive and node.life == life and node.commitment.deadline == at:
            self._settle(node)

    def _perform(self, node: Node, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if not node.gate.passes(effect):
                continue
            match effect:
                case Record():
                    node.unsynced.append((node.gate.number, effect))
                    if node.sync_at is None:
                        node.sync_at = self.now + self.chance.uniform(0.0005, 0.004)
                        life = node.life
                        self._at(node.sync_at, lambda life=life: self._sync(node, life))  # type: ignore[misc]
                case Send(to, message) | Datagram(to, message):
                    self.watcher.leaves(node, message)
                    if to == node.name:
                        self._hear(node, message, to)
                    else:
                        self._carry(node.name, to, message)
                case Run(task, _, payload):
                    epoch = msgspec.msgpack.decode(payload, type=Epoch)
                    if (task.id, epoch) in node.running:
                        self._run_now(node, task.id, epoch)

    def _sync(self, node: Node, life: int) -> None:
        """All that was written so far is on disk."""
        if node.life != life or not node.alive:
            return
        node.sync_at = None
        forgotten: dict[TaskId, int] = {}
        for _, record in node.unsynced:
            key = (record.kind, record.key)
            if record.entry is not None:
                assert isinstance(record.entry, Entry)
                node.disk[key] = record.entry
                if isinstance(record.entry, AwardEntry) and record.entry.answer is Answer.RELEASED:
                    self.watcher.released.add((record.entry.task, record.entry.epoch, node.name))
                if isinstance(record.entry, TombEntry):
                    forgotten[record.entry.task] = 10
            else:
                former = node.disk.pop(key, None)
                if isinstance(former, RegisterEntry):
                    forgotten[former.task] = 0
        number = node.unsynced[-1][0]
        node.unsynced.clear()
        self._perform(node, list(node.gate.recorded(number)))
        for task, move in forgotten.items():  # what left just now was promised before
            self.watcher.forgotten[node.name, task] = move
        self._settle(node)

    def _carry(self, sender: NodeId, to: NodeId, message: Message) -> None:
        for _ in range(2 if self.chance.random() < self.duplication else 1):
            if self.chance.random() < self.loss:
                continue
            slow = self.chance.random() < 0.2
            delay = self.chance.uniform(0.0005, self.slowest_s if slow else 0.005)
            self._at(self.now + delay, lambda: self._arrive(sender, to, message))

    def _arrive(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if (sender, to) in self.cut or to not in self.nodes:
            return
        if isinstance(message, Offer):
            self.nodes[to].offers.append((sender, message))
        self._tell(self.nodes[to], message, sender)

    # -- in the place of the contract net

    def _award(self, node: Node, life: int, spec: Spec, epoch: Epoch, move: int) -> None:
        if node.alive and node.life == life:
            self._award_again(node, spec.task.id)
            self._settle(node)

    def _award_again(self, node: Node, task: TaskId, again: Epoch | None = None) -> None:
        opener = node.commitment.opener
        spec = opener.spec(task)
        given = opener.award(task) if again is None else (again, 0)
        if given is None or spec is None:
            return
        epoch, move = given
        winner = self.chance.choice(self.names)
        self.watcher.awarded(task, epoch, winner)
        life = node.life
        self._perform(node, [Send(winner, Offer(spec, epoch, move))])
        self._at(self.now + self.chance.uniform(0.3, 2.0), lambda: self._silence(node, life, task, epoch))

    def _silence(self, node: Node, life: int, task: TaskId, epoch: Epoch) -> None:
        """The owner has waited for long enough."""
        if not node.alive or node.life != life or task in self.watcher.chosen:
            return
        if self.awards_again:
            self._award_again(node, task, epoch)
        elif self.hops_on_silence and node.commitment.opener.given_back(task, epoch):
            self._award_again(node, task)
        else:
            self._perform(node, node.commitment.lost(task, self.now))
        self._settle(node)

    def _offered(self, node: Node, offer: Offer, sender: NodeId) -> None:
        task, epoch = offer.spec.task, offer.epoch
        commitment = node.commitment
        former = commitment.winner.answered(task.id, epoch)
        if former is not None:
            if former.answer is Answer.RELEASED and not task.conditions.at_most_once:
                self._perform(node, [Send(sender, Back(task.id, epoch))])
            return
        warrant = Warrant(epoch, offer.spec.holders, offer.move, 1)
        if self.chance.random() < 0.2:
            self._perform(node, commitment.decline(task.id, warrant, self.now))
            self._perform(node, [Send(sender, Back(task.id, epoch))])
            return
        once = task.conditions.at_most_once
        node.running[task.id, epoch] = offer
        self._perform(node, commitment.accept(task.id, warrant, self.now, at_most_once=once))
        if not once:
            self._run(node, task.id, epoch)

    def _run(self, node: Node, task: TaskId, epoch: Epoch) -> None:
        self._perform(node, [Run(node.running[task, epoch].spec.task, epoch.number, msgspec.msgpack.encode(epoch))])

    def _run_now(self, node: Node, task: TaskId, epoch: Epoch) -> None:
        once = node.running[task, epoch].spec.task.conditions.at_most_once
        self.watcher.started(task, epoch, node.name, once)
        life = node.life
        self._at(self.now + self.chance.choice((0.005, 0.3, 1.0, 2.5)), lambda: self._ends(node, life, task, epoch))

    def _ends(self, node: Node, life: int, task: TaskId, epoch: Epoch) -> None:
        if not node.alive or node.life != life or (task, epoch) not in node.running:
            return
        offer = node.running.pop((task, epoch))
        if self.chance.random() < 0.1 and not offer.spec.task.conditions.at_most_once:
            self._perform(node, node.commitment.release(task, epoch, self.now))
            self._perform(node, [Send(epoch.opener, Back(task, epoch))])
        else:
            value = f"{node.name} {node.life} {epoch}".encode()
            outcome = Outcome(task, State.DONE, value, node=node.name, epoch=epoch.number)
            self._perform(node, node.commitment.done(epoch, outcome, self.now))
        self._settle(node)
