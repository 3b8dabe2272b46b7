"""The failure detector: one member at a time is pinged, first by ourselves, then through others.

Source: SWIM (Das, Gupta, Motivala, DSN 2002), section 3; the nack is Lifeguard's. An answer through any way is an
answer, so one bad line between two nodes accuses nobody.

    a                      helper (three of them)              target
      | Ping 7 ----------------------------------------------->|
      |      ack timeout                                       |
      | PingReq 8 ------------>| Ping 3 ---------------------->|
      |<---- Nack 8 -----------|      (it has not answered)    |
      |      ack timeout: nobody has heard of the target -> missed

It knows nothing of states; who is to be pinged, and what a miss means, is the membership's business.

Invariants: one probe per target; a probe ends by an answer, by a miss after two timeouts, or because its target was
given up; at most RELAYS_MAX questions of others are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .core import Datagram, Effect, NodeId
from .local_health import LocalHealth
from .swim_words import Ack, Nack, Ping, PingReq, Rumour

HELPERS = 3
"""SWIM's k."""
RELAYS_MAX = 256
NACK_PART = 0.8
"""Of the asker's patience: then it is told that we have no answer either."""

Piggyback = Callable[[NodeId], tuple[Rumour, ...]]
"""What rides along to this node."""


@dataclass(slots=True)
class _Probe:
    target: NodeId
    number: int
    sent_at: float
    until: float
    helpers: list[NodeId] = field(default_factory=list)
    nacks: set[NodeId] = field(default_factory=set)
    indirect: bool = False


@dataclass(slots=True)
class _Relay:
    """Somebody wants to know whether a node answers us."""

    asker: NodeId
    number: int  # the asker's
    target: NodeId
    until: float


class Probes:
    """Those under way. `helpers` chooses up to HELPERS who may be asked about a target; `answered` hears who has
    answered to our own ping, after how many seconds."""

    def __init__(
        self,
        health: LocalHealth,
        rumours: Piggyback,
        helpers: Callable[[NodeId], list[NodeId]],
        answered: Callable[[NodeId, float], None] = lambda node, round_trip_s: None,
    ) -> None:
        self._health = health
        self._rumours = rumours
        self._helpers = helpers
        self._answered = answered
        self._number = 0
        self._probes: dict[NodeId, _Probe] = {}
        self._relays: dict[int, _Relay] = {}

    def __contains__(self, target: NodeId) -> bool:
        return target in self._probes

    @property
    def deadline(self) -> float | None:
        """When something is due."""
        earliest: float | None = None
        for waiting in (self._probes, self._relays) if self._relays else (self._probes,):
            for one in waiting.values():
                if earliest is None or one.until < earliest:
                    earliest = one.until
        return earliest

    def ping(self, target: NodeId, now: float) -> list[Effect]:
        """Begin with a ping of our own, unless the target is being probed."""
        if target in self._probes:
            return []
        number = self._next()
        self._probes[target] = _Probe(target, number, now, now + self._health.ack_timeout_s)
        return [Datagram(target, Ping(number, self._rumours(target)))]

    def ping_every_way(self, target: NodeId, now: float) -> list[Effect]:
        """There is a hint already: do not wait for the first timeout before others are asked."""
        effects = self.ping(target, now)
        probe = self._probes[target]
        return effects if probe.indirect else [*effects, *self._ask(probe, now)]

    def confront(self, target: NodeId) -> list[Effect]:
        """Let it know what is said of it; no answer is waited for."""
        return [Datagram(target, Ping(self._next(), self._rumours(target)))]

    def forget(self, target: NodeId) -> None:
        """It was given up, or it has left."""
        self._probes.pop(target, None)
        for number in [number for number, relay in self._relays.items() if relay.target == target]:
            del self._relays[number]

    def excuse(self, seconds: float) -> None:
        """For so long we did not listen: answers may be waiting to be read."""
        for probe in self._probes.values():
            probe.sent_at += seconds
            probe.until += seconds
        for relay in self._relays.values():
            relay.until += seconds

    # -- what is said

    def asked(self, message: PingReq, asker: NodeId, now: float) -> list[Effect]:
        """Ping a node for somebody else."""
        if len(self._relays) >= RELAYS_MAX:
            return []
        number = self._next()
        self._relays[number] = _Relay(asker, message.number, message.node, now + NACK_PART * message.patience_s)
        return [Datagram(message.node, Ping(number, self._rumours(message.node)))]

    def acked(self, number: int, sender: NodeId, now: float) -> list[Effect]:
        """An answer: to us, or to be passed on."""
        relay = self._relays.get(number)
        if relay is not None and relay.target == sender:
            del self._relays[number]
            return [Datagram(relay.asker, Ack(relay.number, self._rumours(relay.asker)))]
        probe = self._probes.get(sender)
        if probe is not None and probe.number == number:
            del self._probes[sender]
            self._health.answered(now - probe.sent_at)
            self._answered(sender, now - probe.sent_at)
            return []
        for probe in self._probes.values():
            if probe.number == number and sender in probe.helpers:
                del self._probes[probe.target]
                break
        return []

    def nacked(self, number: int, sender: NodeId) -> None:
        for probe in self._probes.values():
            if probe.number == number and sender in probe.helpers:
                probe.nacks.add(sender)

    # -- time

    def wake(self, now: float) -> tuple[list[Effect], list[NodeId]]:
        """Ask others about those who have not answered us; who has not answered anybody is missed."""
        effects: list[Effect] = []
        missed: list[NodeId] = []
        for number, relay in [(number, relay) for number, relay in self._relays.items() if relay.until <= now]:
            del self._relays[number]
            effects.append(Datagram(relay.asker, Nack(relay.number, self._rumours(relay.asker))))
        for probe in [probe for probe in self._probes.values() if probe.until <= now]:
            asked = [] if probe.indirect else self._ask(probe, now)
            effects += asked
            if not asked:
                del self._probes[probe.target]
                self._health.worse(len(probe.helpers) - len(probe.nacks) if probe.helpers else 1)
                missed.append(probe.target)
        return effects, missed

    def _ask(self, probe: _Probe, now: float) -> Sequence[Effect]:
        probe.indirect = True
        probe.helpers = self._helpers(probe.target)
        patience_s = self._health.ack_timeout_s
        if probe.helpers:
            probe.until = now + patience_s
        return [
            Datagram(helper, PingReq(probe.number, probe.target, patience_s, self._rumours(helper)))
            for helper in probe.helpers
        ]

    def _next(self) -> int:
        self._number += 1
        return self._number
