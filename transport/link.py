"""One link: messages to one peer and from it, once and in order, over datagrams that may be lost, doubled or swapped.

The numbering is TCP's, with packets for bytes: each side numbers its packets from 1 in a *stream* (RFC 9293's initial
sequence number, as a clock stamp), the other side acknowledges the highest number without a hole before it. What is not
acknowledged is sent again, the same bytes. Early packets wait in a bounded shelf. A side that has forgotten the link
(it closed, it evicted) begins a new, higher stream; the other sees that it no longer acknowledges what it once did, and
numbers what is left anew.

    a                                     b
      | stream 100, seq 1, heard 0, ack 0   |
      |------------------------------------>|  delivered
      | stream 100, seq 2    ------x        |
      | seq 3 ----------------------------->|  shelved; says at once: heard 100, ack 1
      | RESEND_S later: seq 2, seq 3 ------>|  2 and 3 delivered, in this order
      |<--- stream 107, seq 1, heard 100, ack 3

Invariants: while both ends remember the link, each message is delivered once and in order; what is queued and
unacknowledged stays within LINK_ITEMS_MAX and LINK_BYTES_MAX, and so does the shelf within SHELF_PACKETS_MAX and
LINK_BYTES_MAX.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TypeAlias

import msgspec

from ..protocols.core import NodeId
from .codec import ITEMS_MAX, SHARED_BYTES_MAX, Item, Items, Packet

Route: TypeAlias = Hashable
"""Where the mover of frames can put one down: an object of its own, which we only compare."""

ACK_DELAY_S = 0.3
ACK_PACKETS_MAX = 32
"""So many packets may wait for one acknowledgement, whatever ACK_DELAY_S says."""
RESEND_S = 0.5
RESEND_S_MAX = 2.0
RESEND_PACKETS_MAX = 64
RESEND_BYTES_MAX = 4 * 1024 * 1024
LINK_ITEMS_MAX = 8192
LINK_BYTES_MAX = 16 * 1024 * 1024
PACKET_BYTES_AIM = SHARED_BYTES_MAX // 2
"""Messages of one turn share a packet up to this size; one larger message has a packet of its own."""
SHELF_PACKETS_MAX = 256


class Sent(msgspec.Struct, frozen=True):
    """A packet under way: `frame` is what is repeated, `items` what goes back into the queue if the peer forgets."""

    seq: int
    items: Items
    frame: bytes


def next_items(queue: deque[Item]) -> Items:
    """Take from the front of a queue what shall share one frame."""
    if len(queue) == 1:
        return (queue.popleft(),)
    items: list[Item] = []
    total = 0
    while queue and len(items) < ITEMS_MAX:
        total += len(queue[0][1])
        if items and total > PACKET_BYTES_AIM:
            break
        items.append(queue.popleft())
    return tuple(items)


class Link:
    """The numbers of both directions. It makes no packets and knows no names but its peer's: `links.py` does that."""

    __slots__ = (
        "ack", "ack_at", "acked", "bytes", "heard", "heard_at", "incarnation", "items", "peer", "pinned", "queue",
        "resend_at", "resend_s", "route", "seq", "shelf", "shelf_bytes", "stream", "unanswered", "under_way",
    )  # fmt: skip

    def __init__(self, peer: NodeId, incarnation: int, route: Route, stream: int, now: float, pinned: bool) -> None:
        self.peer = peer
        self.incarnation = incarnation
        self.route = route
        self.pinned = pinned
        """Its route was given to us, and no packet's way of coming changes it."""
        self.queue: deque[Item] = deque()
        self.items = 0
        self.bytes = 0
        self.restart(incarnation, stream, now)

    def restart(self, incarnation: int, stream: int, now: float) -> None:
        """The peer has been born again: nothing that was meant for its former life is kept."""
        self.incarnation = incarnation
        self.queue.clear()
        self.under_way: deque[Sent] = deque()
        self.items = self.bytes = 0
        self.stream = stream
        self.seq = 0
        self.acked = 0
        self.resend_at: float | None = None
        self.resend_s = RESEND_S
        self.heard_at = now
        self._hear_anew(0)

    def _hear_anew(self, stream: int) -> None:
        self.heard = stream
        self.ack = 0
        self.ack_at: float | None = None
        self.unanswered = 0
        self.shelf: dict[int, Packet] = {}
        self.shelf_bytes = 0

    # --- outwards ------------------------------------------------------------------------------------------------

    def push(self, item: Item) -> bool:
        """Queue one message; False: the link is full, and the message is lost."""
        size = len(item[1])
        if self.items >= LINK_ITEMS_MAX or self.bytes + size > LINK_BYTES_MAX:
            return False
        self.queue.append(item)
        self.items += 1
        self.bytes += size
        return True

    def sent(self, items: Items, frame: bytes, now: float) -> None:
        """The packet numbered `seq` has left; it carried our acknowledgement with it."""
        self.under_way.append(Sent(self.seq, items, frame))
        if self.resend_at is None:
            self.resend_at = now + self.resend_s
        self.answered()

    def answered(self) -> None:
        self.ack_at = None
        self.unanswered = 0

    def acknowledge(self, stream: int, ack: int, now: float) -> None:
        """The peer has heard our `stream` up to `ack`; an acknowledgement of another stream says nothing."""
        if stream != self.stream or not self.acked < ack <= self.seq:
            return
        self.acked = ack
        under_way = self.under_way
        while under_way and under_way[0].seq <= ack:
            gone = under_way.popleft()
            self.items -= len(gone.items)
            self.bytes -= sum([len(raw) for _, raw in gone.items])
        self.resend_s = RESEND_S
        self.resend_at = now + RESEND_S if under_way else None

    def overdue(self, now: float) -> list[bytes]:
        """The oldest frames that wait too long for an acknowledgement, to be sent again, less and less often."""
        if self.resend_at is None or self.resend_at > now:
            return []
        self.resend_s = min(2 * self.resend_s, RESEND_S_MAX)
        self.resend_at = now + self.resend_s
        frames: list[bytes] = []
        total = 0
        for sent in self.under_way:
            total += len(sent.frame)
            if frames and (total > RESEND_BYTES_MAX or len(frames) == RESEND_PACKETS_MAX):
                break
            frames.append(sent.frame)
        return frames

    def renumber(self, stream: int) -> None:
        """The peer has forgotten our numbers: what it has not acknowledged goes back to the front of the queue."""
        for sent in reversed(self.under_way):
            self.queue.extendleft(reversed(sent.items))
        self.under_way.clear()
        self.stream = stream
        self.seq = self.acked = 0
        self.resend_at = None
        self.resend_s = RESEND_S

    # --- inwards -------------------------------------------------------------------------------------------------

    def forgotten_by(self, packet: Packet) -> bool:
        """Take note of the peer's stream; True: it began anew and has lost what it once acknowledged of ours."""
        if packet.stream == self.heard:
            return False
        self._hear_anew(packet.stream)
        return self.acked > (packet.ack if packet.heard == self.stream else 0)

    def accept(self, packet: Packet, size: int, now: float) -> list[Packet]:
        """What can be delivered now that this packet has come: nothing, it, or it and those that waited for it."""
        seq = packet.seq
        if seq != self.ack + 1:
            self.ack_at = now
            if seq > self.ack and seq not in self.shelf and self._shelves(size):
                self.shelf[seq] = packet
                self.shelf_bytes += size
            return []
        ready = [packet]
        self.ack = seq
        while self.shelf and (early := self.shelf.pop(self.ack + 1, None)) is not None:
            ready.append(early)
            self.ack += 1
        if not self.shelf:
            self.shelf_bytes = 0
        self.unanswered += len(ready)
        if self.unanswered >= ACK_PACKETS_MAX:
            self.ack_at = now
        elif self.ack_at is None:
            self.ack_at = now + ACK_DELAY_S
        return ready

    def _shelves(self, size: int) -> bool:
        """Whether there is room. (The bytes are only set back when the shelf is empty: a bound, not a balance.)"""
        return len(self.shelf) < SHELF_PACKETS_MAX and self.shelf_bytes + size <= LINK_BYTES_MAX
