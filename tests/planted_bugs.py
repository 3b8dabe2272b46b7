"""Bugs that are planted on purpose, each by replacing a function or two for the time of a test.

A checker is only worth what it catches. Each of these is a mistake that somebody could make, and the invariants must
see it within SEEDS_MAX seeds; `test_simulate.py` plants one at a time. Planted by hand, to look at it:

    with pytest.MonkeyPatch.context() as patch:
        BUGS["stale epoch"].plant(patch)
        print(simulate.run(scenario.draw(seed, 7, 12, "default")).violation)
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import commitment_mistakes
import gang_mistakes
import msgspec
import pytest

from parley.agents.simulated_journal import SimulatedJournal
from parley.launch import simulate
from parley.launch.scenario import Profile
from parley.launch.simulated_client import Client
from parley.protocols.award_rules import Offer
from parley.protocols.book import Tray
from parley.protocols.commitment import Commitment
from parley.protocols.commitment_words import Choice, Chosen, Fence, Overruled, Vote, Word
from parley.protocols.contract import QUEUE, Contract, Standing
from parley.protocols.contract_events import TaskCommitted
from parley.protocols.contract_net import Initiator
from parley.protocols.core import SLOTS, Effect, Message, NodeId, Outcome, Record, Run, State, Stop, TaskId
from parley.protocols.epochs import Epoch
from parley.protocols.gate import Gate
from parley.protocols.holder import Holder
from parley.protocols.holders import Candidates
from parley.protocols.membership import Membership
from parley.protocols.occupancy import Attempt, Occupancy
from parley.protocols.participant import Participant
from parley.protocols.performatives import Cancel, Decline, Fenced, Reason
from parley.protocols.proposer import Proposer
from parley.protocols.register import Register
from parley.protocols.service import Service
from parley.protocols.swim_words import Rumour
from parley.transport.codec import Packet
from parley.transport.disk import Disk, DiskError
from parley.transport.faults import Left
from parley.transport.link import Link

Plant = Callable[[pytest.MonkeyPatch], None]
SEEDS_MAX = 2_000


@dataclasses.dataclass(frozen=True)
class Bug:
    """What was done wrong, which invariant must notice, and in which weather it shows."""

    plant: Plant
    invariants: frozenset[str]
    profile: Profile
    first: int  # the seed at which it has shown; one is sought from here on


BUGS: dict[str, Bug] = {}


def bug(name: str, *invariants: str, profile: Profile = "default", first: int = 1) -> Callable[[Plant], Plant]:
    def listed(plant: Plant) -> Plant:
        BUGS[name.partition(":")[0]] = Bug(plant, frozenset(invariants), profile, first)
        return plant

    return listed


# --- the initiator ---------------------------------------------------------------------------------------------------


@bug("stale epoch: what a superseded attempt brings in is committed", "S1", "S4", "S5", "S7", "S10", first=12)
def stale_epoch(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Register, epoch: Epoch, choice: Choice) -> Word:
        if not self.decided:
            self.accepted, self.decided, self.changed = (epoch, choice), len(self.spec.holders) == 1, True
        return self.hold() if self.decided else Vote(self.task, self.move, epoch)

    patch.setattr(Register, "commit", commit)
    patch.setattr(Register, "counts", lambda self, epoch: True)


@bug("same epoch: awarded to another after silence, in the epoch of the first", "S9", "S11", first=2)
def same_epoch(patch: pytest.MonkeyPatch) -> None:
    def lost(self: Commitment, task: TaskId, now: float) -> Sequence[Effect]:
        if (opening := self.opener._openings.get(task)) is not None:
            opening.awarded = False
        return ()

    patch.setattr(Commitment, "lost", lost)


@bug("forgotten: what a dead node held is not called again", "L1", first=48)
def forgotten(patch: pytest.MonkeyPatch) -> None:
    peer_down = Initiator._peer_down

    def down(self: Initiator, node: NodeId, now: float) -> list[Effect]:
        held = self._awarded.pop(node, {})
        effects = peer_down(self, node, now)
        self._awarded[node] = held
        for contract in held.values():
            self._timers.cancel(contract.task.id)
        return effects

    patch.setattr(Initiator, "_peer_down", down)


@bug("eternal lease: nobody looks whether it was renewed", "L1", "L2", "L4", profile="harsh", first=359)
def eternal_lease(patch: pytest.MonkeyPatch) -> None:
    expire = Initiator._expire

    def expired(self: Initiator, subject: Contract, now: float) -> list[Effect]:
        if (
            subject.lease_until > 0.0
            and subject.winner in self._awarded
            and subject.task.id in self._awarded[subject.winner]
        ):
            self._timers.set(subject.task.id, now + 1.0)
            return []
        return expire(self, subject, now)

    patch.setattr(Initiator, "_expire", expired)


@bug("deaf proposer: a refusal is counted as a vote", "S10", "S1", first=30)
def deaf_proposer(patch: pytest.MonkeyPatch) -> None:
    def heard(self: Proposer, word: Fence, sender: NodeId, now: float) -> None:
        self._hear_vote(Vote(word.task, word.move, word.epoch), sender, now)

    patch.setattr(Proposer, "_hear_fence", heard)


@bug("refused: a node that declines is taken for one that bids", "A1", "G2")
def refused(patch: pytest.MonkeyPatch) -> None:
    def decline(self: Contract, node: NodeId, decline: Decline) -> None:
        self.bids[node] = Standing(0.001, (QUEUE, ("run", 0.001)), None)

    patch.setattr(Contract, "decline", decline)


@bug("wrong record: the record of an award tells of another choice", "G2")
def wrong_record(patch: pytest.MonkeyPatch) -> None:
    award = Initiator._award

    def awarded(
        self: Initiator, contract: Contract, offer: Offer, offers: Sequence[Offer], rule: str, seed: int, now: float
    ) -> list[Effect]:
        return award(self, contract, offers[-1], offers, rule, seed, now)

    patch.setattr(Initiator, "_award", awarded)


@bug("before the end: a task is called cancelled before its holders have decided so", "S1", "S2")
def before_the_end(patch: pytest.MonkeyPatch) -> None:
    commit = Initiator._commit

    def committed(
        self: Initiator, contract: Contract, state: State, now: float, *, error: str = "", **how: Any
    ) -> list[Effect]:
        effects = commit(self, contract, state, now, error=error, **how)
        return [*effects, TaskCommitted.of(Outcome(contract.task.id, state, error=error))]

    patch.setattr(Initiator, "_commit", committed)


# --- holders, openers, winners ----------------------------------------------------------------------------------------


bug("a promise falls: a holder promises whatever it was asked for last", "S4", "S5", "S8", first=7)(
    commitment_mistakes.a_promise_falls
)
bug("not adopted: an opener does as it likes, whatever was accepted before", "S1", "S7", "S4", first=32)(
    commitment_mistakes.accepted_not_adopted
)
bug("begun again: what is to be done at most once is awarded again after it was begun", "S3", first=139)(
    commitment_mistakes.started_not_heeded
)
bug("no majority: one holder is enough", "S8", "S1", "S10")(commitment_mistakes.no_majority)
bug(
    "epoch 0 is shared: two agents that are handed a task take its first epoch for their own",
    *("S9", "S3", "S11"),
    profile="harsh",
    first=44,
)(commitment_mistakes.epoch_0_is_shared)
bug("forgets too early: a holder forgets a task as soon as it knows how it ended", "S12", "S1", "S10", "L2")(
    commitment_mistakes.forgets_too_early
)


@bug("hops on silence: a winner that says nothing is taken for one that has given back", "S9", first=5)
def hops_on_silence(patch: pytest.MonkeyPatch) -> None:
    def lost(self: Commitment, task: TaskId, now: float) -> Sequence[Effect]:
        opening = self.opener._openings.get(task)
        if opening is not None:
            self.opener.given_back(task, opening.epoch)
        return ()

    patch.setattr(Commitment, "lost", lost)


@bug("too soon: nothing waits for the disk", "S10", "S4", "S3", "S8")
def too_soon(patch: pytest.MonkeyPatch) -> None:
    passes = Gate.passes

    def hasty(self: Gate, effect: Effect) -> bool:
        let = passes(self, effect)
        self._held.clear()
        return let or not isinstance(effect, Record)

    patch.setattr(Gate, "passes", hasty)


@bug(
    "holders anew: a client chooses other holders when it hands a task in again",
    "S1",
    "S10",
    "S7",
    "L4",
    "L1",
    first=86,
)
def holders_anew(patch: pytest.MonkeyPatch) -> None:
    go_on = Client._go_on

    def gone_on(self: Client, me: NodeId | None, now: float) -> list[Effect]:
        for task, submit in self.submits.items():
            chosen = Candidates(me, self._lines, self._holders).holders(task)
            self.submits[task] = msgspec.structs.replace(submit, holders=chosen)
        return go_on(self, me, now)

    patch.setattr(Client, "_go_on", gone_on)


# --- the disk --------------------------------------------------------------------------------------------------------


@bug("old copy: a journal that was restored from a copy is believed", "S4", "S10", "S1", profile="harsh", first=6)
def old_copy(patch: pytest.MonkeyPatch) -> None:
    crash = Disk.crash

    def crashed(self: Disk, left: Left, random: Random) -> None:
        number = self.number
        crash(self, left, random)
        self.number = number

    patch.setattr(Disk, "crash", crashed)


@bug("sync in vain: what could not be synced counts as durable", "S4", "S10", profile="harsh", first=397)
def sync_in_vain(patch: pytest.MonkeyPatch) -> None:
    sync = Disk.sync

    def synced(self: Disk) -> None:
        with contextlib.suppress(DiskError):
            sync(self)

    patch.setattr(Disk, "sync", synced)


@bug("no sync: what was written counts as durable", "S4", "S10", first=4)
def no_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Disk, "sync", lambda self: None)


@bug("in part: of what is written together only the first record is", "S8", "S10", "S3")
def in_part(patch: pytest.MonkeyPatch) -> None:
    write = SimulatedJournal.write

    def first(self: SimulatedJournal, number: int, records: Sequence[Record]) -> None:
        write(self, number, records[:1])

    patch.setattr(SimulatedJournal, "write", first)


@bug(
    "promises forgotten: after a restart a holder does not know what it has promised",
    "S4",
    "S5",
    "S1",
    "S10",
    "L1",
    first=32,
)
def promises_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holder, "restore", lambda self, entries, now: None)


@bug("no orphans: a holder sees to nothing that nobody stands by", "L1", "L2", "L5", first=4)
def no_orphans(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holder, "_orphan", lambda self, register, now, slept: None)


# --- gangs -----------------------------------------------------------------------------------------------------------

bug("reserved for ever: what is kept for a gang does not expire", "G1", "K1", "L4", first=82)(
    gang_mistakes.reserved_for_ever
)
bug("awarded too soon: before all slots of a gang are held", "K2", first=10)(gang_mistakes.awarded_too_soon)
bug("left alone: when one member is lost, the others work on", "K1", "L4", "G1", first=51)(gang_mistakes.left_alone)
bug("kept for nobody: the slots of a gang are given to others too", "S6", first=13)(gang_mistakes.kept_for_nobody)


# --- the participant -------------------------------------------------------------------------------------------------


@bug("double start: an attempt is started twice", "S3")
def double_start(patch: pytest.MonkeyPatch) -> None:
    start_next = Participant._start_next

    def start(self: Participant, now: float) -> list[Effect]:
        effects = start_next(self, now)
        return [*effects, *(effect for effect in effects if isinstance(effect, Run))]

    patch.setattr(Participant, "_start_next", start)


@bug("amounts: what a task takes beside its slot is not counted", "S6", first=3)
def amounts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Occupancy, "fits", lambda self, task: True)


@bug("slots: more attempts run than there are slots", "S6", "S13")
def slots(patch: pytest.MonkeyPatch) -> None:
    start_next = Occupancy.start_next

    def start(self: Occupancy, now: float) -> Attempt | None:
        self._left[SLOTS] += 1.0
        try:
            return start_next(self, now)
        finally:
            self._left[SLOTS] -= 1.0

    patch.setattr(Occupancy, "start_next", start)


@bug("runs on: a cancelled attempt is not stopped", "S6", "S13")
def runs_on(patch: pytest.MonkeyPatch) -> None:
    drop = Participant._drop

    def dropped(self: Participant, attempts: Sequence[Attempt], reason: Reason, now: float) -> list[Effect]:
        return [effect for effect in drop(self, attempts, reason, now) if not isinstance(effect, Stop)]

    patch.setattr(Participant, "_drop", dropped)


@bug("given back: what was given back starts all the same", "S11", first=85)
def given_back(patch: pytest.MonkeyPatch) -> None:
    drop = Participant._drop

    def dropped(self: Participant, attempts: Sequence[Attempt], reason: Reason, now: float) -> list[Effect]:
        waiting = [attempt for attempt in attempts if attempt.started is None]
        effects = drop(self, attempts, reason, now)
        for attempt in waiting:
            attempt.started = now
            self._held[attempt.task.id] = self._occupancy.running[attempt.task.id] = attempt
            effects.append(self._run(attempt))
        return effects

    patch.setattr(Participant, "_drop", dropped)


@bug("no renewal: a winner does not say that it still holds its task", "L1", "L3", first=24)
def no_renewal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Participant, "deadline", property(lambda self: None))


@bug("fence unheeded: work that counts no more runs on", "L4", "G1", "S11", profile="harsh", first=10)
def fence_unheeded(patch: pytest.MonkeyPatch) -> None:
    receive = Participant.receive

    def deaf(self: Participant, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        return () if isinstance(message, (Fenced, Cancel, Overruled, Chosen)) else receive(self, message, sender, now)

    patch.setattr(Participant, "receive", deaf)


# --- the desk --------------------------------------------------------------------------------------------------------


@bug("told twice: a client hears of the same outcome again", "S2")
def told_twice(patch: pytest.MonkeyPatch) -> None:
    hand_out = Service._hand_out

    def out(self: Service, client: NodeId) -> Sequence[Effect]:
        tray = self._trays.get(client)
        first = list(tray.waiting)[:1] if tray is not None else []
        effects = hand_out(self, client)
        if tray is not None and len(tray.unread) == 1:
            tray.waiting.extend(first)
        return effects

    patch.setattr(Service, "_hand_out", out)


@bug("lost result: what does not fit on the client's tray is dropped", "L2")
def lost_result(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tray, "room", lambda self, size: True)
    hand_out = Service._hand_out

    def out(self: Service, client: NodeId) -> Sequence[Effect]:
        return hand_out(self, client)[:1] if len(self._trays[client].unread) < 2 else ()

    patch.setattr(Service, "_hand_out", out)


# --- membership ------------------------------------------------------------------------------------------------------


@bug("same life: a node that comes back takes the incarnation it had", "M3", first=4)
def same_life(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulate, "life_after", lambda former: former)


@bug("former life: what is told of an earlier life of a node replaces what is known", "M3", "M2", first=7)
def former_life(patch: pytest.MonkeyPatch) -> None:
    merge = Membership._merge

    def merged(self: Membership, rumour: Rumour, now: float, reason: str = "") -> list[Effect]:
        known = self._peers.get(rumour.contact.node)
        if known is not None and known.contact.incarnation > rumour.contact.incarnation:
            known.contact = msgspec.structs.replace(known.contact, incarnation=0)
        return merge(self, rumour, now, reason)

    patch.setattr(Membership, "_merge", merged)


@bug("never missed: a silent node is alive for ever", "M1", first=4)
def never_missed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_doubt", lambda self, node, reason, now: [])


@bug("dead for ever: what is said of a node that lives is not refuted", "M2", "M4", "L1")
def dead_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_spoken_of", lambda self, rumour, now: [])


@bug("suspected for ever: nobody is given up", "M1", first=4)
def suspected_for_ever(patch: pytest.MonkeyPatch) -> None:
    def give_up(self: Membership, node: NodeId, now: float) -> list[Effect]:
        del self._suspicions[node]
        return []

    patch.setattr(Membership, "_give_up", give_up)


@bug("believed: an old view buries those who live, and they do not hear of it", "M1", "M2", "M4", first=767)
def believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_confront", lambda self, peer, now: [])
    patch.setattr(Membership, "_differ", lambda self, entries, sender: [])


# --- the wire --------------------------------------------------------------------------------------------------------


@bug("delivered twice: a repeated packet is heard again", "T1")
def delivered_twice(patch: pytest.MonkeyPatch) -> None:
    accept = Link.accept

    def accepted(self: Link, packet: Packet, size: int, now: float) -> list[Packet]:
        again = 0 < packet.seq <= self.ack
        return accept(self, packet, size, now) or ([packet] if again else [])

    patch.setattr(Link, "accept", accepted)


@bug("out of order: an early packet does not wait for those before it", "T1", "P1")
def out_of_order(patch: pytest.MonkeyPatch) -> None:
    accept = Link.accept

    def accepted(self: Link, packet: Packet, size: int, now: float) -> list[Packet]:
        early = packet.seq > self.ack + 1 and packet.seq not in self.shelf
        return [*accept(self, packet, size, now), *([packet] if early else [])]

    patch.setattr(Link, "accept", accepted)


@bug("never repeated: what the wire loses is lost", "L1", "L2", "G1")
def never_repeated(patch: pytest.MonkeyPatch) -> None:
    def overdue(self: Link, now: float) -> list[bytes]:
        self.resend_at = None
        return []

    patch.setattr(Link, "overdue", overdue)


@bug("flood: packets are repeated, and what was acknowledged is kept", "G1")
def flood(patch: pytest.MonkeyPatch) -> None:
    acknowledge = Link.acknowledge

    def kept(self: Link, stream: int, ack: int, now: float) -> None:
        items, size = self.items, self.bytes
        acknowledge(self, stream, ack, now)
        self.items, self.bytes = items, size

    patch.setattr(Link, "acknowledge", kept)


@bug("late: whoever sees to a task is not told why it is to end", "S14", first=761)
def late(patch: pytest.MonkeyPatch) -> None:
    end = Service._end

    def ended(self: Service, task: TaskId, reason: Reason, now: float) -> Sequence[Effect]:
        return end(self, task, Reason.CANCELLED if self._book[task].absent else reason, now)

    patch.setattr(Service, "_end", ended)
