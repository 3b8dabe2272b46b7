"""Memberships on virtual time over a wire that loses, delays and is cut: no agents, no links.

What is sent arrives once a cut has healed, as links see to it; what is a datagram or a publication may be lost.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from parley.protocols.core import (
    Connect,
    Datagram,
    Disconnect,
    Effect,
    Message,
    NodeId,
    PeerDown,
    PeerUp,
    Publish,
    Send,
)
from parley.protocols.membership import Membership
from parley.protocols.swim_words import LIVING, Contact, Disconnected, PeerState, Presence, Status, Subscribed

AGAIN_S = 0.5


def contact(node: str, incarnation: int = 1) -> Contact:
    return Contact(node, incarnation, f"tcp://{node}:1", f"tcp://{node}:2")


class World:
    """`states`: what was thought of whom, and when; `said`: how many messages each node has sent."""

    def __init__(self, seed: int = 0, loss: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self.nodes: dict[NodeId, Membership] = {}
        self.up: dict[NodeId, set[NodeId]] = {}
        self.told: dict[NodeId, dict[NodeId, Status]] = {}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.frozen: set[NodeId] = set()
        self.states: list[tuple[float, NodeId, NodeId, Presence]] = []
        self.said: Counter[NodeId] = Counter()
        self.published: Counter[NodeId] = Counter()
        self._listeners: set[tuple[NodeId, NodeId]] = set()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._woken: dict[NodeId, float] = {}

    def add(
        self,
        name: NodeId,
        incarnation: int = 1,
        join: NodeId | None = None,
        status: Callable[[], Status] = Status,
    ) -> Membership:
        told: dict[NodeId, Status] = {}
        node = Membership(contact(name, incarnation), self.now, status, told.__setitem__, random.Random(name))
        self.nodes[name], self.up[name], self.told[name] = node, set(), told
        self._listeners = {pair for pair in self._listeners if name not in pair}
        self._woken.pop(name, None)
        self.perform(name, node.join(join) if join else ())
        return node

    def kill(self, name: NodeId, *, noticed: bool = True) -> None:
        del self.nodes[name]
        for other in sorted(self.nodes) if noticed else ():
            self.tell(other, Disconnected(name))

    def halve(self, left: Iterable[NodeId]) -> None:
        """Nothing goes between these and the others."""
        some = set(left)
        self.cut = {(a, b) for a in self.nodes for b in self.nodes if (a in some) is not (b in some)}

    def tell(self, name: NodeId, message: Message, sender: NodeId | None = None) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        sender = name if sender is None else sender
        self.perform(name, [*node.heard(sender, self.now), *node.receive(message, sender, self.now)])

    def perform(self, name: NodeId, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, PeerUp(node)) if to == name:
                    assert node not in self.up[name]
                    self.up[name].add(node)
                case Send(to, PeerDown(node)) if to == name:
                    self.up[name].remove(node)
                case Send(to, message):
                    self._carry(name, to, message, again=True)
                case Datagram(to, message):
                    assert to != name
                    self._carry(name, to, message, again=False)
                case Publish(message):
                    self.published[name] += 1
                    for listener in sorted(listener for listener, speaker in self._listeners if speaker == name):
                        self._carry(name, listener, message, again=False)
                case Connect(node):
                    if (name, node) not in self._listeners:
                        self._listeners.add((name, node))
                        self._carry(name, node, Subscribed(name), again=True)
                case Disconnect(node):
                    self._listeners.discard((name, node))
                case PeerState():
                    self.states.append((self.now, name, effect.peer, effect.state))
        self._arm(name)

    def _carry(self, sender: NodeId, to: NodeId, message: Message, again: bool) -> None:
        self.said[sender] += 1
        life = self.nodes[sender].contact.incarnation

        def arrive() -> None:
            receiver = self.nodes.get(to)
            if receiver is None or sender not in self.nodes or self.nodes[sender].contact.incarnation != life:
                return
            if to in self.frozen or (again and (sender, to) in self.cut):
                self._at(AGAIN_S, arrive)
            elif (sender, to) not in self.cut:
                self.tell(to, message, to if isinstance(message, Subscribed) else sender)

        if again or not self.loss or self.random.random() >= self.loss:
            self._at(self.random.uniform(0.0005, 0.005), arrive)

    def _at(self, after_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + after_s, next(self._number), happen))

    def _arm(self, name: NodeId) -> None:
        deadline = self.nodes[name].deadline
        if deadline is None or self._woken.get(name, float("inf")) <= deadline:
            return
        self._woken[name] = deadline
        self._at(max(0.0, deadline - self.now), lambda: self._wake(name, deadline))

    def _wake(self, name: NodeId, at: float) -> None:
        if name not in self.nodes or self._woken.get(name) != at:
            return
        if name in self.frozen:
            self._at(AGAIN_S / 2, lambda: self._wake(name, at))
            return
        del self._woken[name]
        self.perform(name, self.nodes[name].wake(self.now))

    def run(self, seconds: float, while_: Callable[[], bool] = lambda: True) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end and while_():
            self.now, _, happen = heapq.heappop(self._heap)
            happen()
        if while_():
            self.now = end

    # -- what they think

    def living(self, name: NodeId) -> list[NodeId]:
        return [member.node for member, state in self.nodes[name].members if state in LIVING]

    def state(self, name: NodeId, peer: NodeId) -> Presence:
        return {member.node: state for member, state in self.nodes[name].members}[peer]

    def thought(self, state: Presence, since: float = 0.0) -> set[tuple[NodeId, NodeId]]:
        return {(name, peer) for at, name, peer, what in self.states if what is state and at >= since}

    def one(self) -> bool:
        """All see all, alike, and are up for each other."""
        everybody = sorted(self.nodes)
        return len({node.digest for node in self.nodes.values()}) == 1 and all(
            self.living(name) == everybody and self.up[name] == set(everybody) - {name} for name in everybody
        )


def fleet(size: int = 5, seed: int = 0, loss: float = 0.0) -> World:
    """Each joins through another one that is there already."""
    world = World(seed, loss)
    world.add("n0")
    for number in range(1, size):
        world.add(f"n{number}", join=f"n{world.random.randrange(number)}")
    world.run(6.0)
    assert world.one()
    world.states.clear()
    world.said.clear()
    world.published.clear()
    return world
