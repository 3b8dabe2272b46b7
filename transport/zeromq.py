"""The mover of frames over ZeroMQ: at most four sockets, whatever the number of peers.

    requests   ROUTER, bound        what others dialled us for; our answers to those who have no address (clients)
    everyone   XPUB, bound          what we publish; says who listens
    outward    ROUTER, connecting   our packets to peers and their answers to us
    listening  SUB, connecting      what peers publish

    n1                                        n2
      | outward ---- Packet(n1 -> n2) ------> requests |
      | requests <-- Packet(n2 -> n1) ------- outward  |
      | listening -- subscribe "=n1" -------> everyone |  so n2 sees that n1 listens
      | listening <- "!", Bulletin(n2) ------ everyone |

An unbound endpoint is a client: it has the outward socket only, and is answered on the way it came. Everything runs
on the asyncio loop; a turn drains one socket, hands the messages over, lets the owner act, and then flushes, so all
that one turn says to one peer shares a packet. Losing a frame here (a full queue, a dead pipe) is no error: the links
repeat it. A socket that reports a disconnection gives a hint, never a verdict.

Invariants: nothing here blocks the loop, except `close`, for LINGER_MS at most; nothing a stranger sends raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..protocols.core import Message, NodeId, PeerError, ProtocolError
from .address import AddressError as AddressError
from .address import beside, bound, exact
from .links import Cause, Links
from .sockets import PEERS_WATER, Inlet, Lines, opened

TOPIC_ALL = b"!"
TOPIC_NODE = b"="
NODE_BYTES_MAX = 256
_REQUESTS, _OUTWARD = 0, 1


def _nobody(_: NodeId) -> None:
    """Hints that nobody asked for."""


class Endpoint:
    """One node's sockets, driving its `Links` on the running asyncio loop."""

    def __init__(
        self,
        links: Links,
        *,
        bind: str | None,
        on_message: Callable[[NodeId, Message, Cause], None],
        on_garbage: Callable[[PeerError], None],
        on_turn: Callable[[], None],
        on_subscribed: Callable[[NodeId], None] = _nobody,
        on_unsubscribed: Callable[[NodeId], None] = _nobody,
        on_disconnected: Callable[[NodeId], None] = _nobody,
    ) -> None:
        self.links = links
        self.address = ""
        self.announcements = ""
        self._on_message = on_message
        self._on_garbage = on_garbage
        self._on_turn = on_turn
        self._on_subscribed = on_subscribed
        self._on_unsubscribed = on_unsubscribed
        self._on_disconnected = on_disconnected
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flush_scheduled = False
        self._closed = False
        where = exact(bind, bind=True) if bind is not None else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._inlets: list[Inlet] = []
        self._routers: dict[int, Inlet] = {}
        self._everyone: Inlet | None = None
        self._listening: Lines | None = None
        try:
            self._outward = self._open_outward()
            if where is not None:
                self._bind(where)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        for inlet in self._inlets:
            inlet.watch(self._turn)

    # --- making and closing --------------------------------------------------------------------------------------

    def _inlet(self, socket: zmq.Socket[bytes], take: Callable[[list[bytes]], None]) -> Inlet:
        inlet = Inlet(socket, take, self._flooded, self._loop)
        self._inlets.append(inlet)
        return inlet

    def _open_outward(self) -> Lines:
        socket = opened(self._context, zmq.ROUTER, dials=True)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._monitored = socket
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._routers[_OUTWARD] = self._inlet(socket, self._take_answer)
        self._inlet(monitor, self._take_event)
        return Lines(socket, routed=True)

    def _bind(self, address: str) -> None:
        requests = opened(self._context, zmq.ROUTER, dials=False)
        requests.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.address = bound(requests, address)
        self._routers[_REQUESTS] = self._inlet(requests, self._take_request)
        everyone = opened(self._context, zmq.XPUB, dials=False)
        everyone.setsockopt(zmq.XPUB_VERBOSE, 1)
        everyone.setsockopt(zmq.SNDHWM, PEERS_WATER)
        self.announcements = self._bind_beside(everyone, address)
        self._everyone = self._inlet(everyone, self._take_subscription)
        listening = opened(self._context, zmq.SUB, dials=True)
        listening.setsockopt(zmq.LINGER, 0)  # it has only subscriptions to send, and they need not outlive it
        listening.setsockopt(zmq.SUBSCRIBE, TOPIC_ALL)
        listening.setsockopt(zmq.SUBSCRIBE, TOPIC_NODE + self.links.node.encode())
        self._inlet(listening, self._take_bulletin)
        self._listening = Lines(listening, routed=False)

    @staticmethod
    def _bind_beside(everyone: zmq.Socket[bytes], address: str) -> str:
        *better, last = beside(address)
        for candidate in better:
            try:
                return bound(everyone, candidate)
            except AddressError:
                continue
        return bound(everyone, last)

    def close(self) -> None:
        """Send what is queued, then let go of every socket; returns within LINGER_MS."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._monitored.disable_monitor()
        for inlet in self._inlets:
            inlet.close()
        self._context.term()

    # --- who there is --------------------------------------------------------------------------------------------

    def connect(self, node: NodeId, incarnation: int, address: str, announcements: str) -> None:
        """Hold a line to a peer, and listen to what it publishes; old news is ignored. Raises AddressError."""
        if incarnation < (self.links.knows(node) or 0):
            return
        line = self._outward.join(exact(address, bind=False), node)
        self.links.connect(node, incarnation, (_OUTWARD, line), self._loop.time())
        if self._listening is not None and announcements:
            self._listening.join(exact(announcements, bind=False), node)
        self.flush()

    def open(self, address: str) -> NodeId:
        """Dial an address whose owner is not known; the alias to send to. Raises AddressError."""
        alias = f"@{address}"
        line = self._outward.join(exact(address, bind=False), alias)
        self.links.open(alias, (_OUTWARD, line), self._loop.time())
        self.flush()
        return alias

    def disconnect(self, node: NodeId) -> None:
        """Let go of a peer, or of an alias."""
        self.links.close(node)
        self._outward.leave(node)
        if self._listening is not None:
            self._listening.leave(node)

    # --- outwards ------------------------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        self.links.send(to, message, self._loop.time())
        self.flush()

    def publish(self, message: Message) -> None:
        if self._everyone is None:
            raise ProtocolError("an endpoint that is not bound has nobody to publish to")
        self.links.publish(message, self._loop.time())
        self.flush()

    def flush(self) -> None:
        """Have what is queued leave at the end of this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._closed:
            return
        now = self._loop.time()
        deadline = self.links.deadline
        if deadline is not None and deadline <= now:
            self.links.wake(now)
        used: set[Inlet] = set()
        for route, frame in self.links.flush(now):
            inlet = self._put(route, frame)
            if inlet is not None:
                used.add(inlet)
        for inlet in used:
            if not inlet.scheduled and inlet.waiting:
                self._again(inlet)
        self._arm(self.links.deadline)

    def _put(self, route: object, frame: bytes) -> Inlet | None:
        """Hand one frame to its socket; None: the socket did not take it, and the links will repeat it."""
        if route is None:
            inlet, line = self._everyone, TOPIC_ALL
        else:
            assert isinstance(route, tuple)
            inlet, line = self._routers.get(route[0]), route[1]
        if inlet is None:
            return None
        try:
            send = inlet.socket.send
            send(line, zmq.DONTWAIT | zmq.SNDMORE)
            send(frame, zmq.DONTWAIT)
        except zmq.ZMQError:
            self.links.counters.drops["socket"] += 1
        return inlet

    def _arm(self, deadline: float | None) -> None:
        """One timer; it may ring too early, which costs less than moving it with every packet."""
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._flush()

    # --- inwards -------------------------------------------------------------------------------------------------

    def _again(self, inlet: Inlet) -> None:
        inlet.scheduled = True
        self._loop.call_soon(self._turn, inlet)

    def _turn(self, inlet: Inlet) -> None:
        inlet.scheduled = False
        if self._closed:
            return
        more = True
        try:
            more = inlet.drain()
            self._on_turn()
        finally:
            if more and not inlet.scheduled and not self._closed:
                self._again(inlet)
            self._flush()

    def _take_request(self, frames: list[bytes]) -> None:
        self._take_frame(frames, (_REQUESTS, frames[0]))

    def _take_answer(self, frames: list[bytes]) -> None:
        self._take_frame(frames, (_OUTWARD, frames[0]))

    def _take_bulletin(self, frames: list[bytes]) -> None:
        self._take_frame(frames, None)

    def _take_frame(self, frames: list[bytes], route: tuple[int, bytes] | None) -> None:
        if len(frames) != 2:
            self._garbage(PeerError(f"a peer sent a message of {len(frames)} frames; 2 are usual"))
            return
        try:
            deliveries, refused = self.links.receive(frames[1], route, self._loop.time())
        except PeerError as error:
            self._on_garbage(error)
            return
        for nonsense in refused:
            self._on_garbage(nonsense)
        for sender, message, cause in deliveries:
            self._on_message(sender, message, cause)

    def _take_subscription(self, frames: list[bytes]) -> None:
        """XPUB tells of each subscription: 1 or 0, then the topic; a listener's second topic is its name."""
        said = frames[0]
        if said[1:2] != TOPIC_NODE or len(said) > NODE_BYTES_MAX:
            return
        try:
            node = said[2:].decode()
        except UnicodeDecodeError:
            self._garbage(PeerError("a listener's name is not UTF-8"))
            return
        if node and node != self.links.node:
            (self._on_subscribed if said[0] else self._on_unsubscribed)(node)

    def _take_event(self, frames: list[bytes]) -> None:
        event = parse_monitor_message(frames)
        if event["event"] == zmq.EVENT_DISCONNECTED:
            for user in self._outward.users(event["endpoint"].decode()):
                node = self.links.name(user) if user.startswith("@") else user
                if node is not None:
                    self._on_disconnected(node)

    def _flooded(self) -> None:
        self._garbage(PeerError("a peer sent a message of too many frames: it is not heard any more"))

    def _garbage(self, error: PeerError) -> None:
        self.links.counters.drops["garbage"] += 1
        self._on_garbage(error)
