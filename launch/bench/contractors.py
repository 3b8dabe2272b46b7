"""Nodes of the contract net on virtual time: the real initiators and participants, and nothing else of an agent.

    Contractor     an initiator and a participant, the tasks that arrive here, and data that is on its way here
    Contractors    a fleet of them on the simulated wire; all know all, or each a few, drawn from the seed

What a task costs, how a task's data comes and what is done when it has ended is said by whoever measures. Nobody keeps
a log: events are dropped.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from random import Random

from ...protocols import performatives
from ...protocols.award_rules import Rule
from ...protocols.blobs import Gather, Gathered, Release
from ...protocols.contract_net import Initiator
from ...protocols.core import (
    Connect,
    Effect,
    Event,
    Message,
    NodeId,
    Outcome,
    PeerUp,
    ProtocolError,
    Publish,
    Reference,
    Run,
    Send,
    State,
    Task,
)
from ...protocols.participant import Asked, Participant, Pricing
from ...protocols.performatives import Completed, Finished
from ...protocols.probing import Probes
from ...transport.codec import Codec
from ...transport.faults import Faults
from ...transport.simulated import SimulatedFleet

TO_PARTICIPANT = (
    performatives.CallForProposals, performatives.Award, performatives.Rejection, performatives.Cancel,
    performatives.Fenced, performatives.Finished, performatives.Kept, Gathered,
)  # fmt: skip

POLICIES = ("contract-net", "most-free", "longest-heaviest", "random")
"""The award rules that such a fleet is asked about."""
START_S = 1.0
"""By then all hear each other; nothing should arrive before."""

Value = Callable[[NodeId, float, Asked], Pricing]
"""A node, its speed, and what it is asked -> what it would cost there."""
Ended = Callable[["Contractor", Outcome, float], None]
"""The node whose task it was, how it ended, and when."""
Fetch = Callable[[NodeId, Gather, float], float]
"""A node, what it wants, now -> seconds until that is there."""


def no_data(node: NodeId, gather: Gather, now: float) -> float:
    raise ProtocolError(f"{node} asks for data, and there is none")


class Contractor:
    """One node: a protocol of the house's shape."""

    def __init__(
        self, name: NodeId, speed: float, initiator: Initiator, value: Value, ended: Ended, fetch: Fetch
    ) -> None:
        self.name = name
        self._speed = speed
        self._initiator = initiator
        self._participant = Participant(
            name, 1, speed, lambda asked, now: value(name, speed, asked), lambda task, seconds, now: None
        )
        self._ended = ended
        self._fetch = fetch
        self._coming: list[tuple[float, int, Task | Gathered, tuple[Reference, ...]]] = []  # a heap by time
        self._numbers = 0

    def arrive(self, at: float, task: Task, blobs: tuple[Reference, ...] = ()) -> None:
        """A task is handed to this node at that time."""
        self._numbers += 1
        heapq.heappush(self._coming, (at, self._numbers, task, blobs))

    def receive(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        return self._settle(self._route(message, sender, now), now)

    def wake(self, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        while self._coming and self._coming[0][0] <= now:
            _, _, what, blobs = heapq.heappop(self._coming)
            if isinstance(what, Task):
                effects += self._initiator.call(what, b"", now, blobs=blobs)
            else:
                effects += self._participant.receive(what, self.name, now)
        for role in (self._participant, self._initiator):
            if role.deadline is not None and role.deadline <= now:
                effects += role.wake(now)
        return self._settle(effects, now)

    @property
    def deadline(self) -> float | None:
        times = [self._initiator.deadline, self._participant.deadline]
        times += [at for at, *_ in self._coming[:1]]
        return min((at for at in times if at is not None), default=None)

    def execute(self, run: Run, now: float) -> tuple[float, Finished]:
        """How an attempt goes on this node."""
        assert run.task.work is not None
        seconds = run.task.work / self._speed
        return seconds, Finished(run.task.id, run.epoch, seconds=seconds)

    def _route(self, message: Message, sender: NodeId, now: float) -> Sequence[Effect]:
        if isinstance(message, TO_PARTICIPANT):
            return self._participant.receive(message, sender, now)
        if isinstance(message, Gather):
            self._numbers += 1
            at = now + self._fetch(self.name, message, now)
            heapq.heappush(self._coming, (at, self._numbers, Gathered(message.key), ()))
            return ()
        if isinstance(message, Release):
            return ()
        if not isinstance(message, Completed):
            return self._initiator.receive(message, sender, now)
        if message.outcome.state is not State.DONE:
            raise ProtocolError(f"{message.outcome.task} has ended as {message.outcome.state}")
        self._ended(self, message.outcome, now)
        return ()

    def _settle(self, effects: Sequence[Effect], now: float) -> list[Effect]:
        """What it says to itself is heard at once."""
        left = list(reversed(effects))
        out: list[Effect] = []
        while left:
            effect = left.pop()
            if isinstance(effect, Event):
                continue
            if isinstance(effect, Send) and effect.to == self.name:
                left += reversed(self._route(effect.message, self.name, now))
                continue
            out.append(effect)
            if isinstance(effect, Publish):
                left += reversed(self._route(effect.message, self.name, now))
        return out


class Contractors:
    """The fleet. `probes`: how many are asked for a task; 0: all that are known. `view`: how many others each knows,
    and offers its tasks to; None: all."""

    def __init__(
        self,
        speeds: Sequence[float],
        rule: Rule,
        probes: int,
        seed: int,
        value: Value,
        ended: Ended,
        fetch: Fetch = no_data,
        view: int | None = None,
    ) -> None:
        self.wire = SimulatedFleet(seed, Faults(), Codec(performatives.MESSAGES))
        self.names = [f"n{number:03d}" for number in range(1, len(speeds) + 1)]
        self.nodes: dict[NodeId, Contractor] = {}
        for name, speed in zip(self.names, speeds, strict=True):
            few = Probes(probes, f"{seed} {name}") if probes else None
            node = Contractor(name, speed, Initiator(name, 1, seed, rule, None, few), value, ended, fetch)
            self.nodes[name] = node
            self.wire.add(name, node, node.execute)
        rng = Random(f"{seed} views")
        for name in self.names:
            others = [peer for peer in self.names if peer != name]
            known = others if view is None or view >= len(others) else rng.sample(others, view)
            for peer in known:  # a line both ways: who is offered a task must be able to answer
                self.wire.perform(name, [Connect(peer, 1, peer, peer)])
                self.wire.perform(peer, [Connect(name, 1, name, name)])
            for peer in (name, *known):
                self.wire.tell(name, PeerUp(peer), name)
        self.wire.run(until=START_S)

    def run(self, until: float, while_: Callable[[], bool]) -> None:
        """What has arrived until now is looked at first."""
        for name in self.names:
            self.wire.perform(name, ())
        self.wire.run(until=until, while_=while_)

    @property
    def sent_bytes(self) -> int:
        """All that left a node, with acknowledgements."""
        return sum(self.wire.links(name).counters.bytes_sent for name in self.names)

    @property
    def sent(self) -> int:
        """Messages of all, a publication counted once."""
        return sum(self.wire.links(name).counters.items_sent for name in self.names)
