"""Carriers on virtual time, each with a store in memory: what they say is delivered in order, after a delay.

A node may be killed, be deaf, hand over bytes that are none of the blob's, or have a disk that is full.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections.abc import Callable, Sequence

from parley.protocols.blobs import (
    PART_BYTES,
    AskPart,
    BlobPart,
    BlobsRefused,
    BlobsTaken,
    CheckBlob,
    DropParts,
    Gather,
    Gathered,
    PartRead,
    PartWritten,
    ReadPart,
    Release,
    WritePart,
)
from parley.protocols.carrier import Carrier
from parley.protocols.core import Effect, Message, NodeId, PeerDown, PeerError, Reference, Send


def blob_of(data: bytes) -> Reference:
    return Reference(hashlib.sha256(data).digest(), len(data))


class Node:
    """A carrier, what lies there whole, and what lies there in part."""

    def __init__(self, name: NodeId) -> None:
        self.name = name
        self.whole: dict[Reference, bytes] = {}
        self.parts: dict[Reference, bytearray] = {}
        self.gathered: dict[tuple[str, ...], str] = {}
        self.told: list[Message] = []  # as a client
        self.full = False
        self.open = 0  # parts asked and not yet written
        self.carrier = Carrier(name, self.whole.__contains__)

    def put(self, data: bytes) -> Reference:
        blob = blob_of(data)
        self.whole[blob] = data
        return blob


class World:
    """`tamper` may change what is said on the way; None: it is lost."""

    def __init__(self, *names: NodeId, seed: int = 0, delay_s: tuple[float, float] = (0.001, 0.002)) -> None:
        self.nodes = {name: Node(name) for name in names}
        self.now = 0.0
        self.said: list[tuple[NodeId, NodeId, Message]] = []
        self.refused: list[tuple[NodeId, PeerError]] = []
        self.tamper: Callable[[NodeId, NodeId, Message], Message | None] = lambda sender, to, message: message
        self._delay_s = delay_s
        self._random = random.Random(seed)
        self._queue: list[tuple[float, int, NodeId, Message, NodeId]] = []
        self._number = 0
        self._last: dict[tuple[NodeId, NodeId], float] = {}

    def gather(self, name: NodeId, key: tuple[str, ...], blobs: Sequence[Reference], *sources: NodeId) -> None:
        self.tell(name, Gather(key, tuple(blobs), sources))

    def release(self, name: NodeId, *key: str) -> None:
        self.tell(name, Release(key))

    def kill(self, name: NodeId) -> None:
        """It says and hears nothing more; the others are told."""
        del self.nodes[name]
        for other in list(self.nodes):
            self.tell(other, PeerDown(name))

    def tell(self, name: NodeId, message: Message, sender: NodeId | None = None) -> None:
        node = self.nodes[name]
        try:
            self._perform(node, node.carrier.receive(message, sender or name, self.now))
        except PeerError as error:
            self.refused.append((name, error))

    def run(self, until: float = math.inf, *, stop: Callable[[], bool] = lambda: False) -> None:
        while not stop():
            wakes = [(at, name) for name, node in self.nodes.items() if (at := node.carrier.deadline) is not None]
            wake = min(wakes, default=(math.inf, ""))
            at = min(wake[0], self._queue[0][0] if self._queue else math.inf)
            if at > until or at == math.inf:
                return
            self.now = max(self.now, at)
            if self._queue and self._queue[0][0] <= wake[0]:
                _, _, to, message, sender = heapq.heappop(self._queue)
                if to in self.nodes:
                    self._hear(self.nodes[to], message, sender)
            else:
                node = self.nodes[wake[1]]
                self._perform(node, node.carrier.wake(self.now))

    def _hear(self, node: Node, message: Message, sender: NodeId) -> None:
        if isinstance(message, (BlobsTaken, BlobsRefused)):
            node.told.append(message)
        else:
            self.tell(node.name, message, sender)

    def _perform(self, node: Node, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, Gathered(key, error)) if to == node.name:
                    assert key not in node.gathered, "it was told twice"
                    node.gathered[key] = error
                case Send(to, message):
                    self.said.append((node.name, to, message))
                    node.open += isinstance(message, AskPart)
                    self._post(node.name, to, message)
                case ReadPart(blob, offset, to):
                    data = node.whole.get(blob)
                    part = None if data is None else data[offset : offset + PART_BYTES]
                    self._post(node.name, node.name, PartRead(to, blob, offset, part))
                case WritePart(blob, offset, data):
                    self._post(node.name, node.name, self._write(node, blob, offset, data))
                case DropParts(blob):
                    node.parts.pop(blob, None)
                case CheckBlob(blob):
                    if blob in node.whole and blob_of(node.whole[blob]) != blob:
                        del node.whole[blob]

    @staticmethod
    def _write(node: Node, blob: Reference, offset: int, data: bytes) -> PartWritten:
        if node.full:
            node.parts.pop(blob, None)
            return PartWritten(blob, offset + len(data), error="the disk is full")
        part = node.parts.setdefault(blob, bytearray())
        assert len(part) == offset, "a part was written twice, or not in order"
        part += data
        if len(part) < blob.size:
            return PartWritten(blob, len(part))
        del node.parts[blob]
        if blob_of(bytes(part)) != blob:
            return PartWritten(blob, blob.size, spoilt=True)
        node.whole[blob] = bytes(part)
        return PartWritten(blob, blob.size)

    def _post(self, sender: NodeId, to: NodeId, message: Message) -> None:
        tampered = self.tamper(sender, to, message) if sender != to else message
        if tampered is None:
            return
        at = self.now + (self._random.uniform(*self._delay_s) if sender != to else 0.0005)
        at = self._last[sender, to] = max(at, self._last.get((sender, to), 0.0))
        self._number += 1
        heapq.heappush(self._queue, (at, self._number, to, tampered, sender))

    def asked(self, of: NodeId) -> int:
        """How many parts were asked of this node."""
        return sum(to == of and isinstance(message, AskPart) for _, to, message in self.said)

    def sent(self) -> int:
        """Bytes of blobs that were sent."""
        return sum(len(message.data) for _, _, message in self.said if isinstance(message, BlobPart))

    def under_way_max(self, asker: NodeId, holder: NodeId) -> int:
        """The most parts that this asker was waiting for, of this holder, at any one time."""
        most = waiting = 0
        for sender, to, message in self.said:
            if (sender, to) == (asker, holder) and isinstance(message, AskPart):
                waiting += 1
            elif (sender, to) == (holder, asker) and isinstance(message, BlobPart):
                waiting -= 1
            most = max(most, waiting)
        return most
