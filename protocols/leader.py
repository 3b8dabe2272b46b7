"""Who leads a gang: its award has come to this node, and the leader does for it what an executor does for a task.

The other two parts are `gangs.py`, which opens with the whole sequence, and `reserves.py`.

    participant      leader                                 nodes of the members (this one is the first of them)
      | Lead ---------->| Enlist(ranks, payload) ------------> |  what was reserved there is for these members
      |                 | <------------------------- Enlisted  |  all could start, and so at every node:
      |                 | Commence --------------------------> |  all start
      |                 | Prolong ------> | <------ Prolonged  |  every quarter of LED_S
      |                 | <-------------------- Returned(rank) |  what large results refer to is fetched: Kept
      | <--- Finished --|  all have returned: one value, the list of theirs by rank
      | <--- Finished --|  one has failed, or its node is silent or gone: Dismiss, at every other node
      | Stop ---------->| Dismiss ---------------------------> |

To the participant, the award of a gang is one attempt of one task: it is renewed, fenced, cancelled and committed as
any other, so that there is one register and one outcome. A leader that dies is a winner that dies.

Invariants: each Lead is followed by one Finished, or by a Stop; nobody starts before all could; when one member is
lost, all are told to stop, and those that are not reached stop within LED_S.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .blobs import Gather, Gathered, Key, Release
from .core import (
    BLOBS_MAX,
    Effect,
    Message,
    NodeId,
    PeerDown,
    ProtocolError,
    Reference,
    Resume,
    Send,
    Stop,
    TaskId,
)
from .gang_words import (
    LED_S,
    Commence,
    Dismiss,
    Enlist,
    Enlisted,
    Lead,
    Prolong,
    Prolonged,
    Returned,
    Said,
    Unreserved,
)
from .performatives import Finished, Grant, Kept, Output, Reason

RETURNED = "returned"
"""The first word by which the carrier knows what is fetched of a member's result."""
ERROR_CHARS_MAX = 4096


class _Printed(NamedTuple):
    """What of a member was passed on, and has not been read yet."""

    rank: int
    size: int


class _Led:
    """One gang."""

    __slots__ = ("began", "enlisted", "fetching", "heard_at", "lead", "printed", "results")

    def __init__(self, lead: Lead, now: float) -> None:
        self.lead = lead
        self.heard_at = dict.fromkeys(lead.members, now)  # when each node with members that work was heard last
        self.enlisted: set[NodeId] = set()
        self.began: float | None = None  # when all were told to start
        self.results: dict[int, Returned] = {}  # by rank
        self.fetching: dict[Key, int] = {}  # what results refer to, and is not here yet: of this rank
        self.printed: deque[_Printed] = deque()

    def ranks(self, node: NodeId) -> list[int]:
        return [rank for rank, at in enumerate(self.lead.members) if at == node]

    def key(self, rank: int) -> Key:
        return RETURNED, f"{self.lead.task.id}~{rank}", str(self.lead.epoch)


class Leader:
    """All gangs that are led from one node. `joined` makes one value of those of all members, by rank; it raises
    ValueError, of one sentence."""

    def __init__(self, node: NodeId, joined: Callable[[Sequence[bytes]], bytes]) -> None:
        self._node = node
        self._joined = joined
        self._led: dict[TaskId, _Led] = {}
        self._look_at: float | None = None

    # -- in the place of an executor

    def leads(self, task: TaskId, epoch: int) -> bool:
        led = self._led.get(task)
        return led is not None and led.lead.epoch == epoch

    def perform(self, effect: Effect, now: float) -> Sequence[Effect]:
        """What the participant wants done with a gang."""
        match effect:
            case Lead():
                return self._begin(effect, now)
            case Stop(task, epoch) if self.leads(task, epoch):
                return self._disband(self._led[task])
            case Resume(task, epoch, size) if self.leads(task, epoch):
                return self._read(self._led[task], size)
        raise ProtocolError(f"a leader does not perform {type(effect).__name__}")

    def _begin(self, lead: Lead, now: float) -> list[Effect]:
        if lead.task.id in self._led:
            raise ProtocolError(f"{lead.task.id} is led already")
        led = self._led[lead.task.id] = _Led(lead, now)
        self._look_at = now + LED_S / 4 if self._look_at is None else self._look_at
        return [
            Send(
                node,
                Enlist(
                    lead.auction,
                    lead.task,
                    lead.epoch,
                    tuple(led.ranks(node)),
                    lead.members,
                    lead.payload,
                    lead.follow,
                    lead.blobs,
                    lead.source,
                ),
            )
            for node in led.heard_at
        ]

    # -- the one shape

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        match message:
            case Enlisted(task, epoch):
                return self._enlisted(self._of(task, epoch, sender), sender, now)
            case Prolonged(task, epoch):
                if (led := self._of(task, epoch, sender)) is not None:
                    led.heard_at[sender] = now
                return ()
            case Returned(task, epoch, rank):
                led = self._of(task, epoch, sender)
                if led is None or led.lead.members[rank : rank + 1] != (sender,) or rank in led.results:
                    return ()
                return self._returned(led, message, sender, now)
            case Unreserved(auction, task, _, detail):
                refused = self._led.get(task)
                if refused is None or refused.lead.auction != auction or sender not in refused.heard_at:
                    return ()
                return self._fail(refused, Reason.BUSY, f"{sender}: {detail}", now)
            case Said(task, epoch, rank, stream, data):
                if (led := self._of(task, epoch, sender)) is None:
                    return ()
                led.printed.append(_Printed(rank, len(data)))
                return [Send(self._node, Output(task, epoch, stream, data))]
            case Gathered(key, error):
                return self._gathered(key, error, now)
            case PeerDown(node):
                lost = [led for led in self._led.values() if node in led.heard_at]
                return [effect for led in lost for effect in self._lose(led, node, "is gone", now)]
        raise ProtocolError(f"a leader is not told {type(message).__name__}")

    @property
    def deadline(self) -> float | None:
        return self._look_at

    def wake(self, now: float) -> Sequence[Effect]:
        if self._look_at is None or now < self._look_at:
            return ()
        slept = now - self._look_at > LED_S / 4
        effects: list[Effect] = []
        for led in list(self._led.values()):
            if slept:  # what others said meanwhile is still to be read
                led.heard_at = dict.fromkeys(led.heard_at, now)
            silent = [node for node, at in led.heard_at.items() if now - at >= LED_S]
            if silent:
                effects += self._lose(led, silent[0], f"was not heard for {LED_S:g} s", now)
                continue
            words = Prolong(led.lead.task.id, led.lead.epoch)
            effects += [Send(node, words) for node in led.heard_at]
        self._look_at = now + LED_S / 4 if self._led else None
        return effects

    def _of(self, task: TaskId, epoch: int, sender: NodeId) -> _Led | None:
        """The gang, if it is led from here in this epoch and this is one of its nodes."""
        led = self._led.get(task)
        return led if led is not None and led.lead.epoch == epoch and sender in led.lead.members else None

    # -- together

    def _enlisted(self, led: _Led | None, sender: NodeId, now: float) -> list[Effect]:
        if led is None or led.began is not None:
            return []
        led.enlisted.add(sender)
        led.heard_at[sender] = now
        if len(led.enlisted) < len(led.heard_at):
            return []
        led.began = now
        return [Send(node, Commence(led.lead.task.id, led.lead.epoch)) for node in led.heard_at]

    def _returned(self, led: _Led, returned: Returned, sender: NodeId, now: float) -> list[Effect]:
        if returned.reason is not None:
            detail = f"rank {returned.rank} on {sender}: {returned.detail or returned.reason}"
            return self._fail(led, returned.reason, detail, now, returned.value)
        led.results[returned.rank] = returned
        if all(rank in led.results for rank in led.ranks(sender)):
            del led.heard_at[sender]  # nobody works there any more
        if returned.blobs:
            key = led.key(returned.rank)
            led.fetching[key] = returned.rank
            return [Send(self._node, Gather(key, returned.blobs, (sender,)))]
        return self._end(led, now)

    def _gathered(self, key: Key, error: str, now: float) -> list[Effect]:
        led = next((led for led in self._led.values() if key in led.fetching), None)
        if led is None:
            return [Send(self._node, Release(key))]
        rank = led.fetching.pop(key)
        node = led.lead.members[rank]
        kept = Send(node, Kept(f"{led.lead.task.id}~{rank}", led.lead.epoch))
        if error:
            return [kept, *self._fail(led, Reason.DIED, f"rank {rank} on {node}: {error}", now)]
        return [kept, *self._end(led, now)]

    def _end(self, led: _Led, now: float) -> list[Effect]:
        """One value, if all are here."""
        task, epoch = led.lead.task.id, led.lead.epoch
        if led.fetching or len(led.results) < len(led.lead.members):
            return []
        results = [led.results[rank] for rank in range(len(led.lead.members))]
        blobs: dict[Reference, None] = {blob: None for result in results for blob in result.blobs}
        if len(blobs) > BLOBS_MAX:
            error = f"the results of its members refer to {len(blobs)} blobs: {BLOBS_MAX} is the most"
            return self._fail(led, Reason.ERROR, error, now)
        try:
            value = self._joined([result.value for result in results])
        except ValueError as error:
            return self._fail(led, Reason.ERROR, f"the results of its members are no value together: {error}", now)
        finished = Finished(task, epoch, None, value, "", self._taken_s(led, now), tuple(blobs))
        return [Send(self._node, finished), *self._over(led)]

    # -- apart

    def _lose(self, led: _Led, node: NodeId, why: str, now: float) -> list[Effect]:
        ranks = ", ".join(map(str, led.ranks(node)))
        return self._fail(led, Reason.VANISHED, f"{node}, which had rank {ranks}, {why}", now)

    def _fail(self, led: _Led, reason: Reason, detail: str, now: float, value: bytes = b"") -> list[Effect]:
        """One of them is lost, so all are."""
        task, epoch = led.lead.task.id, led.lead.epoch
        seconds = self._taken_s(led, now)
        finished = Finished(task, epoch, reason, value, detail[:ERROR_CHARS_MAX], seconds)
        return [*self._disband(led), Send(self._node, finished)]

    def _disband(self, led: _Led) -> list[Effect]:
        """Whoever still works need not."""
        words = Dismiss(led.lead.task.id, led.lead.epoch)
        return [*[Send(node, words) for node in led.heard_at], *self._over(led)]

    def _over(self, led: _Led) -> list[Effect]:
        """Nothing of it is fetched, or kept for it, any longer."""
        del self._led[led.lead.task.id]
        effects: list[Effect] = []
        for rank, result in led.results.items():
            if result.blobs:
                key = led.key(rank)
                effects.append(Send(self._node, Release(key)))
                if key in led.fetching:
                    node = led.lead.members[rank]
                    effects.append(Send(node, Kept(f"{led.lead.task.id}~{rank}", led.lead.epoch)))
        return effects

    def _taken_s(self, led: _Led, now: float) -> float:
        return now - led.began if led.began is not None else 0.0

    # -- what they write

    def _read(self, led: _Led, size: int) -> list[Effect]:
        """So much of what was passed on was read: whoever wrote it may write on."""
        task, epoch = led.lead.task.id, led.lead.epoch
        read: dict[int, int] = {}
        while size > 0 and led.printed:
            rank, left = led.printed.popleft()
            taken = min(left, size)
            read[rank] = read.get(rank, 0) + taken
            size -= taken
            if taken < left:
                led.printed.appendleft(_Printed(rank, left - taken))
        return [Send(led.lead.members[rank], Grant(f"{task}~{rank}", epoch, much)) for rank, much in read.items()]
