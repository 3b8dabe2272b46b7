"""What a node keeps for members of gangs: reserved for an owner, then enlisted by a leader, then at work.

The other two parts are `gangs.py`, which opens with the whole sequence, and `leader.py`.

    Reserve(k)  -> k places in the row of this node, which wait as any task does: in the order of arrival
    they have their slots -> Reserved; nobody else gets these, and nothing runs in them yet
    Enlist      -> they are this leader's members; what the payload refers to is fetched -> Enlisted
    Commence    -> all of them run; each that ends is told with Returned
    Prolong     -> they are kept a little longer

Whatever is not asked for again in time ends by itself: a reservation whose owner is silent for a term is let go,
members whose leader is silent for half of one are stopped. So a dead owner or leader costs no more than that.

Source: Gray and Cheriton 1989 (leases). Invariants: what is kept counts as taken, as what runs does; all members here
of one gang start in one step; of one gang at most one epoch has members here; nothing is kept without a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from .blobs import Gather, Key, Release
from .core import (
    AuctionId,
    Effect,
    Message,
    NodeId,
    PeerError,
    ProtocolError,
    References,
    Resume,
    Run,
    Seat,
    Send,
    Stop,
    Task,
    TaskId,
)
from .gang_words import (
    LED_S,
    Commence,
    Dismiss,
    Enlist,
    Enlisted,
    MemberEnded,
    MemberStarted,
    Prolong,
    Prolonged,
    Reserve,
    Reserved,
    ReserveEnded,
    ReserveHeld,
    Returned,
    Said,
    Unreserved,
    Withdraw,
)
from .load import WAITING_MAX, Load
from .occupancy import Attempt, Occupancy
from .performatives import Finished, Grant, Output, Reason
from .timers import earliest

PATIENCE = 3.0
PATIENCE_S = 3.0
"""A reservation waits for its slots so many times as long as was to be expected, and at least for so long; then its
owner is told, and gives up what it holds elsewhere."""
SEAT = "seat"
"""The first word by which the carrier knows what is fetched for a member."""
TERM_S_MAX = 60.0
"""No term is longer, whatever is asked for."""

Tell: TypeAlias = Callable[[NodeId, float], tuple[Load, int]]
"""To whom, and now -> the load told to it, and the number of its last award that this counts."""


class _Party:
    """What one gang has here: places that wait, or are kept, or members at work."""

    __slots__ = (
        "asked_at", "auction", "commenced", "epoch", "leader", "members", "nodes", "owner", "task", "told", "until",
    )  # fmt: skip

    def __init__(self, reserve: Reserve, owner: NodeId, now: float) -> None:
        self.auction = reserve.auction
        self.task = reserve.task
        self.owner = owner
        self.asked_at = now
        self.until = now + min(reserve.term_s, TERM_S_MAX)
        self.members: list[Member] = []
        self.leader: NodeId = ""  # nobody: it is reserved, and nobody is enlisted
        self.epoch = 0
        self.nodes: tuple[NodeId, ...] = ()
        self.told = False  # the leader knows that all here could start
        self.commenced = False

    @property
    def kept(self) -> bool:
        """All its places have their slots."""
        return all(member.started is not None for member in self.members)


class Member(Attempt):
    """A place for one member: it waits, or is kept, or runs it."""

    __slots__ = ("party", "rank")

    def __init__(self, party: _Party, number: int, run_s: float, patient_until: float) -> None:
        self.party = party
        self.rank = number  # among those here, until it is enlisted
        self.auction = party.auction
        self.task = msgspec.structs.replace(party.task.member(number), id=f"{party.task.id}~{party.auction}~{number}")
        self.epoch = 0
        self.lease_s = 0.0
        self.payload = b""
        self.follow = False
        self.blobs = ()
        self.warrant = None
        self.members = ()
        self.begun = False
        self.here = True
        self.initiator = party.owner
        self.run_s = run_s
        self.slots = self.task.slots
        self.patient_until = patient_until
        self.started = None
        self.overdue = False

    @property
    def key(self) -> Key:
        """By which the carrier knows what its payload refers to."""
        return SEAT, self.task.id, str(self.epoch)


class Reserves:
    """Of one node. `judge` says why a gang's member cannot be taken now, else what it takes, in seconds; `freed` starts
    what waits, when something has become free; `tell` is what others are told of the load; `leave` keeps what a result
    refers to until somebody has fetched it; `observed` is told the seconds that a member that was done has taken, and
    when."""

    def __init__(
        self,
        node: NodeId,
        occupancy: Occupancy,
        judge: Callable[[Task, NodeId, float], tuple[Reason, str] | float],
        freed: Callable[[float], list[Effect]],
        tell: Tell,
        leave: Callable[[Key, NodeId, References], list[Effect]],
        observed: Callable[[Task, float, float], None],
    ) -> None:
        self._node = node
        self._occupancy = occupancy
        self._judge = judge
        self._freed = freed
        self._tell = tell
        self._leave = leave
        self._observed = observed
        self._parties: dict[tuple[TaskId, AuctionId], _Party] = {}
        self._members: dict[TaskId, Member] = {}  # those that are enlisted, by what they run

    def receive(self, message: Message, sender: NodeId, now: float) -> list[Effect]:
        match message:
            case Reserve():
                return self._reserve(message, sender, now)
            case Withdraw(auction, task):
                party = self._parties.get((task, auction))
                if party is None or party.owner != sender or party.leader:
                    return []
                return self._let_go(party, Reason.CANCELLED, now)
            case Enlist():
                return self._enlist(message, sender, now)
            case Commence(task, epoch):
                party = self._led(task, epoch, sender)
                return self._commence(party, now) if party is not None and party.told else []
            case Prolong(task, epoch):
                if (party := self._led(task, epoch, sender)) is None:
                    return []
                party.until = now + LED_S
                return [Send(sender, Prolonged(task, epoch))]
            case Dismiss(task, epoch):
                party = self._led(task, epoch, sender)
                return self._let_go(party, Reason.CANCELLED, now) if party is not None else []
        raise ProtocolError(f"reserves are not told {type(message).__name__}")

    def _led(self, task: TaskId, epoch: int, leader: NodeId) -> _Party | None:
        """The members of this epoch here, if this is who leads them."""
        for party in self._parties.values():
            if (party.task.id, party.epoch, party.leader) == (task, epoch, leader):
                return party
        return None

    # -- for an owner

    def _reserve(self, asked: Reserve, sender: NodeId, now: float) -> list[Effect]:
        key = asked.task.id, asked.auction
        if (party := self._parties.get(key)) is not None:
            if party.owner == sender and not party.leader:
                party.until = now + min(asked.term_s, TERM_S_MAX)
            return []
        judged = self._judge(asked.task, sender, now)
        seats = self._occupancy.seats(asked.task)
        if not isinstance(judged, float):
            return [self._unreserved(asked.auction, asked.task.id, sender, *judged, now)]
        if seats < asked.members:
            detail = f"could have {seats} members of it, not {asked.members}"
            return [self._unreserved(asked.auction, asked.task.id, sender, Reason.NEED, detail, now)]
        if len(self._occupancy.waiting) + asked.members > WAITING_MAX:
            detail = "have too many tasks waiting"
            return [self._unreserved(asked.auction, asked.task.id, sender, Reason.BUSY, detail, now)]
        party = self._parties[key] = _Party(asked, sender, now)
        load, _ = self._tell(sender, now)
        free_in = load.ready_s[min(asked.members * asked.task.slots, len(load.ready_s)) - 1]
        wait_s = max(free_in, self._occupancy.resources_s(asked.task, now))
        patient_until = now + max(PATIENCE * wait_s, PATIENCE_S)
        party.members = [Member(party, number, judged, patient_until) for number in range(asked.members)]
        for member in party.members:
            self._occupancy.wait(member)
        return self._freed(now)

    def kept(self, member: Member, now: float) -> list[Effect]:
        """It has its slot, and all else that it takes."""
        party = member.party
        if not party.kept:
            return []
        held = ReserveHeld(
            auction=party.auction,
            task=party.task.id,
            peer=party.owner,
            members=len(party.members),
            waited_s=now - party.asked_at,
        )
        reserved = Reserved(party.auction, party.task.id, *self._tell(party.owner, now))
        return [held, Send(party.owner, reserved)]

    def stands(self, task: TaskId, auction: AuctionId) -> bool:
        """Is all that was reserved here for this gang kept, and nobody enlisted yet?"""
        party = self._parties.get((task, auction))
        return party is not None and party.kept and not party.leader

    def send_back(self, member: Member, reason: Reason, now: float, detail: str = "") -> list[Effect]:
        """It cannot be waited for any longer."""
        return self._undo(member.party, reason, detail, now)

    def _unreserved(
        self, auction: AuctionId, task: TaskId, to: NodeId, reason: Reason, detail: str, now: float
    ) -> Effect:
        return Send(to, Unreserved(auction, task, reason, detail, *self._tell(to, now)))

    # -- for a leader

    def _enlist(self, asked: Enlist, sender: NodeId, now: float) -> list[Effect]:
        task, epoch = asked.task, asked.epoch
        if sender != asked.members[0] or any(asked.members[rank : rank + 1] != (self._node,) for rank in asked.ranks):
            raise PeerError(f"{sender} enlists ranks {asked.ranks} of {task.id} here, which are not its or not ours")
        effects: list[Effect] = []
        for other in [one for one in self._parties.values() if one.task.id == task.id and one.leader]:
            if other.epoch > epoch or (other.epoch, other.leader) == (epoch, sender):
                return [self._unreserved(asked.auction, task.id, sender, Reason.LATE, "have members of it", now)]
            effects += self._let_go(other, Reason.LEASE, now)
        party = self._parties.get((task.id, asked.auction))
        if party is None or party.leader or not party.kept or len(party.members) != len(asked.ranks):
            detail = "do not keep what was reserved"
            return [*effects, self._unreserved(asked.auction, task.id, sender, Reason.BUSY, detail, now)]
        party.leader, party.epoch, party.nodes = sender, epoch, asked.members
        party.until = now + LED_S
        for member, rank in zip(party.members, asked.ranks, strict=True):
            self._occupancy.rename(member, task.member(rank))
            self._members[member.task.id] = member
            member.rank, member.epoch, member.initiator = rank, epoch, sender
            member.payload, member.follow, member.blobs = asked.payload, asked.follow, asked.blobs
            member.here = not asked.blobs
            if asked.blobs:
                effects.append(Send(self._node, Gather(member.key, asked.blobs, (asked.source,))))
        return effects + self._tell_enlisted(party)

    def _tell_enlisted(self, party: _Party) -> list[Effect]:
        if party.told or not all(member.here for member in party.members):
            return []
        party.told = True
        return [Send(party.leader, Enlisted(party.task.id, party.epoch))]

    def _commence(self, party: _Party, now: float) -> list[Effect]:
        if party.commenced:
            return []
        party.commenced = True
        effects: list[Effect] = []
        for member in party.members:
            member.begun, member.started = True, now
            started = MemberStarted(
                task=party.task.id,
                kind=party.task.kind,
                epoch=party.epoch,
                rank=member.rank,
                peer=party.leader,
            )
            payload, member.payload = member.payload, b""
            seat = Seat(party.task.id, member.rank, party.nodes)
            effects += [started, Run(member.task, party.epoch, payload, member.follow, seat)]
        return effects

    # -- what becomes of members

    def gathered(self, key: Key, error: str, now: float) -> list[Effect]:
        """What a member's payload refers to is here, or cannot be had."""
        member = self._members.get(key[1])
        if member is None or member.key != key:
            return [Send(self._node, Release(key))]
        if error:
            return self._undo(member.party, Reason.DIED, error, now)
        member.here = True
        return self._tell_enlisted(member.party)

    def finished(self, finished: Finished, now: float) -> list[Effect]:
        """Its executor's word on a member."""
        member = self._members.get(finished.task)
        if member is None or member.epoch != finished.epoch or not member.begun:
            return []
        party = member.party
        self._end(member)
        if finished.reason is None:
            self._observed(member.task, finished.seconds, now)
        effects: list[Effect] = [self._ended(member, finished.seconds, finished.reason, finished.error)]
        if finished.blobs:
            effects += self._leave(("left", member.task.id, str(member.epoch)), party.leader, finished.blobs)
        effects.append(
            Send(
                party.leader,
                Returned(
                    party.task.id,
                    party.epoch,
                    member.rank,
                    finished.reason,
                    finished.value,
                    finished.error,
                    finished.seconds,
                    finished.blobs,
                ),
            )
        )
        return effects + self._release(member) + self._freed(now)

    def printed(self, output: Output) -> Sequence[Effect]:
        """What a member writes goes to its leader."""
        member = self._members.get(output.task)
        if member is None or member.epoch != output.epoch:
            return ()
        said = Said(member.party.task.id, member.epoch, member.rank, output.stream, output.data)
        return [Send(member.party.leader, said)]

    def granted(self, grant: Grant, sender: NodeId) -> Sequence[Effect]:
        member = self._members.get(grant.task)
        mine = member is not None and (member.epoch, member.initiator) == (grant.epoch, sender)
        return [Resume(grant.task, grant.epoch, grant.size)] if mine else ()

    def gone(self, node: NodeId, now: float) -> list[Effect]:
        """Whoever it is kept for is gone."""
        lost = [party for party in self._parties.values() if (party.leader or party.owner) == node]
        return [effect for party in lost for effect in self._let_go(party, Reason.ORPHANED, now)]

    def _ended(self, member: Member, seconds: float, reason: Reason | None, detail: str = "") -> MemberEnded:
        return MemberEnded(
            task=member.party.task.id,
            epoch=member.epoch,
            rank=member.rank,
            seconds=seconds,
            reason=reason,
            detail=detail,
        )

    def _release(self, member: Member) -> list[Effect]:
        return [Send(self._node, Release(member.key))] if member.blobs else []

    def _end(self, member: Member) -> None:
        """Its place is free again."""
        party = member.party
        self._occupancy.leave(member)
        self._members.pop(member.task.id, None)
        party.members.remove(member)
        if not party.members:
            del self._parties[party.task.id, party.auction]

    def _undo(self, party: _Party, reason: Reason, detail: str, now: float) -> list[Effect]:
        """All of it ends here, and whoever it was kept for is told."""
        left, leader, owner = list(party.members), party.leader, party.owner
        effects = self._let_go(party, reason, now)
        if not leader:
            return [*effects, self._unreserved(party.auction, party.task.id, owner, reason, detail, now)]
        return effects + [
            Send(leader, Returned(party.task.id, party.epoch, member.rank, reason, b"", detail, 0.0)) for member in left
        ]

    def _let_go(self, party: _Party, reason: Reason, now: float) -> list[Effect]:
        """All of it ends here."""
        effects: list[Effect] = []
        if not party.leader:
            effects.append(
                ReserveEnded(
                    auction=party.auction,
                    task=party.task.id,
                    peer=party.owner,
                    members=len(party.members),
                    reason=reason,
                )
            )
        for member in list(party.members):
            self._end(member)
            if member.begun:
                taken = now - member.started if member.started is not None else 0.0
                effects += [Stop(member.task.id, member.epoch), self._ended(member, taken, reason)]
            effects += self._release(member)
        return effects + self._freed(now)

    # -- time

    @property
    def deadline(self) -> float | None:
        if not self._parties:
            return None
        return earliest(*[min(party.until, self._patient_until(party)) for party in self._parties.values()])

    @staticmethod
    def _patient_until(party: _Party) -> float:
        waiting = [member.patient_until for member in party.members if member.started is None]
        return min(waiting, default=party.until)

    def wake(self, now: float) -> Sequence[Effect]:
        if not self._parties:
            return ()
        effects: list[Effect] = []
        for party in list(self._parties.values()):
            if party.until <= now:
                effects += self._undo(party, Reason.LEASE, "nobody asks for it any more", now)
            elif self._patient_until(party) <= now:
                self._occupancy.overrun(now)
                effects += self._undo(party, Reason.BUSY, "it has waited here in vain", now)
        return effects

