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
      | seq 3 ----------------------------->|  shelved; GAP_S later, says: heard 100, ack 1
      | at once: seq 2 -------------------->|  2 and 3 delivered, in this order
      |<--- stream 107, seq 1, heard 100, ack 3

    a                                     b
      | seq 4    ------x                    |  nothing comes after it, so nobody misses it
      | RESEND_S later: seq 4 ------------->|  once a link has lost something: much sooner (`repeats.py`)

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
from .repeats import EARLY, Repeats

Route: TypeAlias = Hashable
"""Where the mover of frames can put one down: an object of its own, which we only compare."""

ACK_DELAY_S = 0.3
ACK_PACKETS_MAX = 32
"""So many packets may wait for one acknowledgement, whatever ACK_DELAY_S says."""
GAP_S = 0.005
"""A hole before what has come is given this long to close by itself: datagrams may overtake each other."""
HOLE_TOLD_MAX = 6
"""So often it is told again, after twice GAP_S and then ever later: what tells of it may be lost, too."""
QUICK_S = 0.005
QUICK_PACKETS = 512
"""After a hole so many packets are acknowledged within QUICK_S, so that the peer knows soon what has come,"""
QUICK_AGAIN = 32
"""and so many after one that has come twice, as its acknowledgement was lost, or late; or where other links have lost
something."""
RESEND_PACKETS_MAX = 64
RESEND_OLDEST = 4
"""So many of the oldest packets are sent again when one is likely to be lost; the others may be on the shelf."""
RESEND_BYTES_MAX = 4 * 1024 * 1024
LINK_ITEMS_MAX = 8192
LINK_BYTES_MAX = 16 * 1024 * 1024
PACKET_BYTES_AIM = SHARED_BYTES_MAX // 2
"""Messages of one turn share a packet up to this size; one larger message has a packet of its own."""
SHELF_PACKETS_MAX = 256


class Sent(msgspec.Struct):
    """A packet under way: `frame` is what is repeated, `items` what goes back into the queue if the peer forgets; it
    was sent last `at` this time."""

    seq: int
    items: Items
    frame: bytes
    at: float


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
        "ack", "ack_at", "acked", "bytes", "echoes", "excused", "heard", "heard_at", "holes", "incarnation", "items",
        "peer", "pinned", "queue", "quick", "repeated", "repeats", "resend_at", "route", "seq", "shelf",
        "shelf_bytes", "stream", "suspect", "unanswered", "under_way",
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
        self.repeated = 0
        """The highest number that was sent again."""
        self.excused = 0
        """Up to this number any was sent again because its way was not known before;"""
        self.echoes = 0
        """so many of these may have come twice, of which the peer says so."""
        self.suspect = 0
        """Up to this number any may be lost: it was sent before others were."""
        self.resend_at: float | None = None
        self.repeats = Repeats()
        self.heard_at = now
        self._hear_anew(0)

    def _hear_anew(self, stream: int) -> None:
        self.heard = stream
        self.ack = 0
        self.ack_at: float | None = None
        self.unanswered = 0
        self.quick = EARLY
        self.holes = 0  # how often the present one was told of again
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
        self.under_way.append(Sent(self.seq, items, frame, now))
        if self.resend_at is None:
            self.resend_at = now + self.repeats.wait_s
        self.answered()

    def answered(self) -> None:
        """A packet has taken our acknowledgement along. Of a hole a bare one tells."""
        self.unanswered = 0
        if not self.shelf:
            self.ack_at = None

    def repeat_all(self, now: float) -> None:
        """There is a way to the peer, perhaps only now: what it has not acknowledged is sent again at once."""
        self.resend_at = now
        self.excused = self.seq
        self.echoes = len(self.under_way)
        self.repeats.begin()

    def rough(self) -> None:
        """Others lose packets: so will this one."""
        if not self.repeats.lossy:
            self.repeats.lost()
        self.quick = max(self.quick, QUICK_AGAIN)

    def told(self, now: float) -> None:
        """A bare acknowledgement has left. While there is a hole it is said again, a few times."""
        self.unanswered = 0
        self.ack_at = None
        if self.shelf:
            self.quick = QUICK_PACKETS
            if self.holes < HOLE_TOLD_MAX:
                self.holes += 1
                self.ack_at = now + GAP_S * 2.0**self.holes

    def acknowledge(self, stream: int, ack: int, now: float) -> bool:
        """The peer has heard our `stream` up to `ack`; an acknowledgement of another stream says nothing. True: some of
        it had to be repeated."""
        if stream != self.stream or not self.acked < ack <= self.seq:
            return False
        under_way, repeats = self.under_way, self.repeats
        count, again, sent_at = ack - self.acked, self.repeated > max(self.acked, self.excused), now
        self.acked = ack
        while under_way and under_way[0].seq <= ack:
            gone = under_way.popleft()
            self.items -= len(gone.items)
            self.bytes -= sum([len(raw) for _, raw in gone.items])
            sent_at = gone.at
        if again:
            repeats.repeated()
        if ack > self.repeated:
            repeats.answered(now - sent_at, count)
        if not under_way:
            self.resend_at = None
            return again
        self.resend_at = now + repeats.wait_s
        if repeats.lossy and under_way[0].seq <= self.suspect:  # what came before it was missing, and so may it be
            self.resend_at = max(now, under_way[0].at + repeats.answer_s)
        return again

    def says_again(self, packet: Packet) -> bool:
        """It brings nothing but the acknowledgement that we have had before. (Where nothing was acknowledged, what came
        first may have overtaken what was sent first.)"""
        if packet.seq or packet.items or packet.heard != self.stream:
            return False
        return packet.ack == self.acked > 0 and packet.stream > 0

    def missed(self, now: float) -> bool:
        """The peer says again what it has acknowledged: it has a hole there, unless that is the echo of what was sent
        again without need. True: the oldest packet is sent again soon."""
        if self.echoes:
            self.echoes -= 1
            return False
        if not self.under_way:
            return False
        self.repeats.lost()
        self.suspect = self.seq
        at = max(now, self.under_way[0].at + self.repeats.answer_s)
        if self.resend_at is None or self.resend_at <= at:
            return False
        self.resend_at = at
        return True

    def overdue(self, now: float) -> list[bytes]:
        """The oldest frames that wait too long for an acknowledgement, to be sent again, less and less often."""
        if self.resend_at is None or self.resend_at > now:
            return []
        repeats = self.repeats
        self.resend_at = now + repeats.next_s()
        self.suspect = self.seq
        most = RESEND_OLDEST if repeats.lossy else RESEND_PACKETS_MAX
        frames: list[bytes] = []
        total = 0
        for sent in self.under_way:
            total += len(sent.frame)
            if frames and (total > RESEND_BYTES_MAX or len(frames) == most):
                break
            if frames and now - sent.at < repeats.answer_s:
                break
            frames.append(sent.frame)
            sent.at = now
            self.repeated = max(self.repeated, sent.seq)
        return frames

    def renumber(self, stream: int) -> None:
        """The peer has forgotten our numbers: what it has not acknowledged goes back to the front of the queue."""
        for sent in reversed(self.under_way):
            self.queue.extendleft(reversed(sent.items))
        self.under_way.clear()
        self.stream = stream
        self.seq = self.acked = self.repeated = self.excused = self.echoes = self.suspect = 0
        self.resend_at = None
        self.repeats.begin()

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
            if seq <= self.ack:  # our acknowledgement was lost, or is late
                self.quick = max(self.quick, QUICK_AGAIN)
                self.ack_at = now
                return []
            told_at = now + GAP_S if self.ack else now  # one who has forgotten the link says so at once
            if self.ack_at is None or self.ack_at > told_at:
                self.ack_at = told_at
            if seq not in self.shelf and self._shelves(size):
                self.shelf[seq] = packet
                self.shelf_bytes += size
            return []
        ready = [packet]
        self.ack = seq
        while self.shelf and (early := self.shelf.pop(self.ack + 1, None)) is not None:
            ready.append(early)
            self.ack += 1
        self.holes = 0
        if not self.shelf:
            self.shelf_bytes = 0
        self.unanswered += len(ready)
        if self.unanswered >= ACK_PACKETS_MAX:
            self.ack_at = now
        elif self.quick:
            self.quick -= 1
            self.ack_at = now + QUICK_S if self.ack_at is None else min(self.ack_at, now + QUICK_S)
        elif self.ack_at is None:
            self.ack_at = now + ACK_DELAY_S
        return ready

    def _shelves(self, size: int) -> bool:
        """Whether there is room. (The bytes are only set back when the shelf is empty: a bound, not a balance.)"""
        return len(self.shelf) < SHELF_PACKETS_MAX and self.shelf_bytes + size <= LINK_BYTES_MAX
