"""How far away is another node? What its link has shown of latency and bandwidth, by what passes over it anyway.

    ping -> ack               half the least of the last round trips: what was above it is that somebody was busy
    a large value, whole      the most of the last rates: what was below it is that others passed, too

Source: Cardwell et al. 2016 (BBR: least round trip and greatest delivery rate of a window). Until something was seen, a
link is taken for one of a local network, and none is taken for a better one: what makes a difference to a bid are edge
and cloud, not microseconds.

Invariant: at most PEERS_MAX links are remembered, with the last WINDOW of each measure.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from .core import NodeId

LATENCY_S = 0.0005
LINK_BYTES_PER_S = 100e6
"""What a link between nodes is taken to carry: a gigabit network."""
BYTES_MIN = 256 * 1024
"""Less than that says more of the latency than of the bandwidth."""
WINDOW = 8
PEERS_MAX = 1024


class _Link:
    __slots__ = ("rates", "round_trips")

    def __init__(self) -> None:
        self.round_trips: deque[float] = deque(maxlen=WINDOW)
        self.rates: deque[float] = deque(maxlen=WINDOW)


class Distances:
    """Of one node to all others."""

    def __init__(self) -> None:
        self._links: OrderedDict[NodeId, _Link] = OrderedDict()

    def answered(self, node: NodeId, round_trip_s: float) -> None:
        """It has answered to a ping."""
        self._link(node).round_trips.append(round_trip_s)

    def carried(self, node: NodeId, size: int, seconds: float) -> None:
        """So many bytes have come from it, in so many seconds."""
        if size >= BYTES_MIN and seconds > 0.0:
            self._link(node).rates.append(size / seconds)

    def seconds(self, node: NodeId, size: int) -> float:
        """Until so many bytes are here."""
        link = self._links.get(node)
        latency_s, bytes_per_s = LATENCY_S, LINK_BYTES_PER_S
        if link is not None and link.round_trips:
            latency_s = max(latency_s, min(link.round_trips) / 2)
        if link is not None and link.rates:
            bytes_per_s = min(bytes_per_s, max(link.rates))
        return latency_s + size / bytes_per_s

    def _link(self, node: NodeId) -> _Link:
        link = self._links.setdefault(node, _Link())
        self._links.move_to_end(node)
        if len(self._links) > PEERS_MAX:
            self._links.popitem(last=False)
        return link
