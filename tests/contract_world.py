"""Initiators and participants on virtual time, without agents, links or membership: what they say is delivered as is.

Between two nodes what is sent keeps its order, and so does what is published; everything else may overtake everything
else, by a delay drawn for each message from the world's seed.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from parley.protocols.award_rules import CONTRACT_NET, Rule
from parley.protocols.contract_net import Initiator
from parley.protocols.core import (
    Effect,
    Event,
    Local,
    Message,
    NodeId,
    Outcome,
    PeerDown,
    PeerUp,
    Protocol,
    Publish,
    Run,
    Send,
    Stop,
    Task,
)
from parley.protocols.gang_words import (
    Commence,
    Dismiss,
    Enlist,
    Enlisted,
    Lead,
    Prolong,
    Prolonged,
    Reserve,
    Reserved,
    Returned,
    Unreserved,
    Withdraw,
)
from parley.protocols.leader import Leader
from parley.protocols.participant import Asked, Participant, Pricing, Valuation
from parley.protocols.performatives import (
    Availability,
    Award,
    CallForProposals,
    Cancel,
    Completed,
    Failure,
    Fenced,
    Finished,
    Inform,
    NotUnderstood,
    Proposal,
    Refusal,
    Rejection,
    Renew,
)

TO_INITIATOR = (
    Proposal, Refusal, Inform, Failure, Renew, Availability, NotUnderstood, Reserved, Unreserved, PeerUp, PeerDown,
)  # fmt: skip
TO_PARTICIPANT = (
    CallForProposals, Award, Rejection, Cancel, Fenced, Finished, Reserve, Withdraw, Enlist, Commence, Prolong, Dismiss,
    PeerDown,
)  # fmt: skip
TO_LEADER = (Enlisted, Prolonged, Returned, Unreserved, PeerDown)


def by_speed(speed: float) -> Valuation:
    """Exact estimates: work over speed."""

    def value(asked: Asked, now: float) -> Pricing:
        task = asked.task
        return Pricing((("run", (1.0 if task.work is None else task.work) / speed),))

    return value


class Node:
    """One life of one node."""

    def __init__(self, name: NodeId, slots: int, speed: float, life: int, rule: Rule, value: Valuation) -> None:
        self.name = name
        self.slots = slots
        self.speed = speed
        self.life = life
        self.initiator = Initiator(name, life, 7, rule)
        self.participant = Participant(name, slots, speed, value, lambda task, seconds, now: None)
        self.leader = Leader(name, b" ".join)
        self.roles: tuple[Protocol, ...] = (self.initiator, self.participant, self.leader)
        self.running: set[tuple[str, int]] = set()
        self.wake_at: float | None = None


class World:
    """Drives the nodes. `loss` is the chance that a publication is missed; `fails` may say how an attempt ends."""

    def __init__(
        self,
        nodes: dict[NodeId, tuple[int, float]],
        *,
        seed: int = 0,
        delay_s: tuple[float, float] = (0.001, 0.001),
        rule: Rule = CONTRACT_NET,
        value: Callable[[NodeId, float], Valuation] = lambda name, speed: by_speed(speed),
    ) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.delay_s = delay_s
        self.rule = rule
        self.value = value
        self.loss = 0.0  # of what is published
        self.fails: Callable[[Task, int], Finished | None] = lambda task, epoch: None
        self.nodes: dict[NodeId, Node] = {}
        self.deaf: set[tuple[NodeId, NodeId]] = set()  # (sender, listener): nothing passes
        self.said: list[tuple[float, NodeId, str, Message]] = []
        self.events: list[tuple[float, NodeId, Event]] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.starts: Counter[tuple[str, int, NodeId, int]] = Counter()
        self._queue: list[tuple[float, int, NodeId, int, Message, NodeId, tuple[NodeId, int]]] = []
        self._number = 0
        self._last: dict[tuple[NodeId, NodeId, bool], float] = {}
        for name, (slots, speed) in nodes.items():
            self.start(name, slots, speed)
        for name in nodes:
            for other in nodes:
                self.tell(name, PeerUp(other))

    def start(self, name: NodeId, slots: int, speed: float, life: int = 1) -> Node:
        node = self.nodes[name] = Node(name, slots, speed, life, self.rule, self.value(name, speed))
        return node

    def kill(self, name: NodeId) -> None:
        del self.nodes[name]

    def tell(self, name: NodeId, message: Local) -> None:
        """At once."""
        self._deliver(self.nodes[name], message, name)

    def call(self, name: NodeId, tasks: Iterable[Task], payload: bytes = b"") -> None:
        node = self.nodes[name]
        for task in tasks:
            self._perform(node, node.initiator.call(task, payload, self.now))

    def inject(self, sender: NodeId, to: NodeId, message: Message) -> None:
        """`sender` says something of its own accord."""
        self._post(sender, to, message, False)

    def run(self, until: float = math.inf, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Until that time, or until nothing is left to happen, or until `stop`."""
        while not stop():
            wakes = [(at, name) for name, node in self.nodes.items() if (at := self._deadline(node)) is not None]
            wake = min(wakes, default=(math.inf, ""))
            at = min(wake[0], self._queue[0][0] if self._queue else math.inf)
            if at > until or at == math.inf:
                self.now = until if until != math.inf else self.now
                return
            self.now = max(self.now, at)
            if self._queue and self._queue[0][0] <= wake[0]:
                _, _, to, life, message, sender, running = heapq.heappop(self._queue)
                node = self.nodes.get(to)
                if node is None or (life and node.life != life):
                    continue
                if isinstance(message, Finished) and running[0]:  # else a leader has said so
                    if running not in node.running:
                        continue
                    node.running.discard(running)
                self._deliver(node, message, sender)
            else:
                node = self.nodes[wake[1]]
                for role in node.roles:
                    if role.deadline is not None and role.deadline <= self.now:
                        self._perform(node, role.wake(self.now))

    @staticmethod
    def _deadline(node: Node) -> float | None:
        deadlines = (role.deadline for role in node.roles)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _deliver(self, node: Node, message: Message, sender: NodeId) -> None:
        if isinstance(message, Completed):
            self.outcomes.setdefault(message.outcome.task, []).append(message.outcome)
        if isinstance(message, TO_INITIATOR):
            self._perform(node, node.initiator.receive(message, sender, self.now))
        if isinstance(message, TO_PARTICIPANT):
            self._perform(node, node.participant.receive(message, sender, self.now))
        if isinstance(message, TO_LEADER):
            self._perform(node, node.leader.receive(message, sender, self.now))

    def _post(self, sender: NodeId, to: NodeId, message: Message, published: bool) -> None:
        if (sender, to) in self.deaf or (published and sender != to and self.random.random() < self.loss):
            return
        at = self.now if sender == to else self.now + self.random.uniform(*self.delay_s)
        at = self._last[sender, to, published] = max(at, self._last.get((sender, to, published), 0.0))
        self._push(at, to, message, sender, ("", 0), 0)

    def _push(
        self, at: float, to: NodeId, message: Message, sender: NodeId, running: tuple[str, int], life: int
    ) -> None:
        self._number += 1
        heapq.heappush(self._queue, (at, self._number, to, life, message, sender, running))

    def _perform(self, node: Node, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    if not isinstance(message, Local):
                        self.said.append((self.now, node.name, to, message))
                    self._post(node.name, to, message, False)
                case Publish(message):
                    self.said.append((self.now, node.name, "all", message))
                    for to in sorted(self.nodes):
                        self._post(node.name, to, message, True)
                case Lead():
                    self._perform(node, node.leader.perform(effect, self.now))
                case Stop(task_id, epoch) if node.leader.leads(task_id, epoch):
                    self._perform(node, node.leader.perform(effect, self.now))
                case Run(task, epoch, _):
                    self.starts[task.id, epoch, node.name, node.life] += 1
                    node.running.add((task.id, epoch))
                    assert len(node.running) <= node.slots
                    seconds = (1.0 if task.work is None else task.work) / node.speed
                    end = self.fails(task, epoch) or Finished(task.id, epoch, None, b"done", seconds=seconds)
                    self._push(self.now + seconds, node.name, end, node.name, (task.id, epoch), node.life)
                case Stop(task_id, epoch):
                    node.running.discard((task_id, epoch))
                case Event():
                    self.events.append((self.now, node.name, effect))

    def told(self, kind: type[Message]) -> list[tuple[float, NodeId, str, Message]]:
        return [line for line in self.said if isinstance(line[3], kind)]

    def transcript(self) -> str:
        """Who said what: a small text for people."""
        return "".join(
            f"{at * 1000:7.1f} ms  {speaker} -> {to}: {words(message)}\n" for at, speaker, to, message in self.said
        )


def words(message: Message) -> str:
    """A message in a few words."""
    name = type(message).__name__
    match message:
        case CallForProposals():
            return f"{name} {', '.join(f'{task.id} ({task.work:g} s)' for task in message.tasks)}"
        case Proposal():
            bids = (f"{bid.task} for {' + '.join(f'{s:.3g} {term}' for term, s in bid.terms)}" for bid in message.bids)
            return f"{name} {', '.join(bids)}"
        case Refusal():
            return f"{name} {', '.join(f'{decline.task} ({decline.reason})' for decline in message.declines)}"
        case Award():
            return f"{name} {message.task.id} epoch {message.epoch}"
        case Rejection():
            return f"{name} {', '.join(message.tasks)} ({message.reason})"
        case Renew():
            return f"{name} {', '.join(f'{task} epoch {epoch}' for task, epoch, _ in message.attempts)}"
        case Inform():
            return f"{name} {message.task} epoch {message.epoch}: {message.value.decode()}"
        case Failure():
            return f"{name} {message.task} epoch {message.epoch}: {message.reason}"
        case Cancel() | Fenced():
            return f"{name} {message.task} epoch {message.epoch}"
        case NotUnderstood():
            return f"{name} {message.about}: {message.detail}"
        case Availability():
            return f"{name} {sum(ready == 0.0 for ready in message.load.ready_s)} free"
    return name
