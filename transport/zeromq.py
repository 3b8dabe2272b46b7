"""The mover of frames over ZeroMQ: at most four sockets, whatever the number of peers (with keys, one more per peer).

    requests   ROUTER, bound        what others dialled us for; our answers to those who have no address (clients)
    everyone   XPUB, bound          what we publish; says who listens
    outward    ROUTER, connecting   our packets to peers and their answers to us
    listening  SUB, connecting      what peers publish; with keys, one for each of them

    n1                                        n2
      | outward ---- Packet(n1 -> n2) ------> requests |
      | requests <-- Packet(n2 -> n1) ------- outward  |
      | listening -- subscribe "=n1" -------> everyone |  so n2 sees that n1 listens
      | listening <- "!", Bulletin(n2) ------ everyone |

An unbound endpoint is a client: it has the outward socket only, and is answered on the way it came. Everything runs
on the asyncio loop; a turn drains one socket, hands the messages over, lets the owner act, and then flushes, so all
that one turn says to one peer shares a packet. Losing a frame here (a full queue, a dead pipe) is no error: the links
repeat it. A socket that reports a disconnection gives a hint, never a verdict.

With a ring of keys (`security.py`) every frame comes with the key of whoever sent it: of who dialled us, as the gate
has it; of whom we dialled, as the handshake proved it. The links ask whether that key may bear the sender's name.

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
from .lines import Ears, Lines
from .links import LINKS_MAX, Cause, Links
from .security import Gate, Key, KeysError, Ring
from .sockets import PEERS_WATER, Inlet, Take, opened

TOPIC_ALL = b"!"
TOPIC_NODE = b"="
NODE_BYTES_MAX = 256
REFRESH_S = 1.0
"""How often the list of those who are allowed is looked at."""
NEXT_KEY_S = 0.02
REFUSED_S = 0.5
"""Who was refused, or found another protocol, tries again after so long: lists change."""
SOCKETS_MAX = 8192
UNSENT_MAX = 256
"""So many messages wait for the end of the turn in which they were sent one by one."""
_REQUESTS, _OUTWARD = 0, 1
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_REFUSED: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "our key is not allowed there",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "one side has keys and the other has none",
}


def _nobody(_: NodeId) -> None:
    """Hints that nobody asked for."""


class Endpoint:
    """One node's sockets, driving its `Links` on the running asyncio loop.

    `ring`: only who has a key that it allows is heard; None: everybody is. The links must ask the same ring.
    """

    def __init__(
        self,
        links: Links,
        *,
        bind: str | None,
        ring: Ring | None = None,
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
        self.refusals: dict[str, str] = {}
        """Addresses where the last handshake failed, and why."""
        self._ring = ring
        self._on_message = on_message
        self._on_garbage = on_garbage
        self._on_turn = on_turn
        self._on_subscribed = on_subscribed
        self._on_unsubscribed = on_unsubscribed
        self._on_disconnected = on_disconnected
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flush_scheduled = False
        self._unsent = 0  # messages since the last flush
        self._closed = False
        where = exact(bind, bind=True) if bind is not None else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        self._open = False
        self._inlets: dict[Inlet, None] = {}
        self._routers: dict[int, Inlet] = {}
        self._everyone: Inlet | None = None
        self._ears: Ears | None = None
        self._refresh: asyncio.TimerHandle | None = None
        self._redialling: set[str] = set()
        try:
            if ring is not None and where is not None:
                self._open_gate(ring)
            self._outward = self._open_outward()
            if where is not None:
                self._bind(where)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._open = True
        for inlet in self._inlets:
            inlet.watch(self._turn)
        if ring is not None:
            self._look_again(ring)

    # --- making and closing --------------------------------------------------------------------------------------

    def _inlet(self, socket: zmq.Socket[bytes], take: Take, *, routed: bool = False, keyed: bool = False) -> Inlet:
        inlet = Inlet(socket, take, self._flooded, self._loop, routed=routed, keyed=keyed)
        self._inlets[inlet] = None
        if self._open:
            inlet.watch(self._turn)
        return inlet

    def _open_gate(self, ring: Ring) -> None:
        gate = Gate(self._context, ring)

        def asked(frames: list[bytes], _: Key | None) -> None:
            self._renew(ring)  # whoever was allowed just now may come in at once
            gate.answer(frames)

        self._inlet(gate.socket, asked)

    def _open_outward(self) -> Lines:
        socket = opened(self._context, zmq.ROUTER, dials=True)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._monitored = socket
        handshakes = zmq.EVENT_HANDSHAKE_SUCCEEDED | _FAILED
        for failure in _REFUSED:
            handshakes |= failure
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | handshakes)
        self._routers[_OUTWARD] = self._inlet(socket, self._take_answer, routed=True)
        self._inlet(monitor, self._take_event)
        return Lines(socket, self._ring, self._moved)

    def _bind(self, address: str) -> None:
        keyed = self._ring is not None
        requests = opened(self._context, zmq.ROUTER, dials=False)
        requests.setsockopt(zmq.ROUTER_HANDOVER, 1)
        everyone = opened(self._context, zmq.XPUB, dials=False)
        everyone.setsockopt(zmq.XPUB_VERBOSE, 1)
        everyone.setsockopt(zmq.SNDHWM, PEERS_WATER)
        if self._ring is not None:
            self._ring.guard(requests)
            self._ring.guard(everyone)
        self.address = bound(requests, address)
        self._routers[_REQUESTS] = self._inlet(requests, self._take_request, routed=True, keyed=keyed)
        self.announcements = self._bind_beside(everyone, address)
        self._everyone = self._inlet(everyone, self._take_subscription, keyed=keyed)
        self._ears = Ears(self._open_ear, self._ring)

    def _open_ear(self, key: Key | None) -> Inlet:
        """A socket for what is published: by the owner of this key, or by all."""
        ear = opened(self._context, zmq.SUB, dials=True)
        ear.setsockopt(zmq.LINGER, 0)  # it has only subscriptions to send, and they need not outlive it
        ear.setsockopt(zmq.SUBSCRIBE, TOPIC_ALL)
        ear.setsockopt(zmq.SUBSCRIBE, TOPIC_NODE + self.links.node.encode())
        return self._inlet(ear, lambda frames, _: self._take_frame(frames, None, key))

    @staticmethod
    def _bind_beside(everyone: zmq.Socket[bytes], address: str) -> str:
        *better, last = beside(address)
        for candidate in better:
            try:
                return bound(everyone, candidate)
            except AddressError:
                continue
        return bound(everyone, last)

    def close(self, *, unsent: bool = False) -> None:
        """Send what is queued, then let go of every socket; returns within LINGER_MS. `unsent`: nobody is there to whom
        it could be sent, and it returns at once."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        for timer in (self._timer, self._refresh):
            if timer is not None:
                timer.cancel()
        self._monitored.disable_monitor()
        for inlet in self._inlets:
            inlet.close(unsent=unsent)
        self._context.term()

    # --- who there is --------------------------------------------------------------------------------------------

    def connect(self, node: NodeId, incarnation: int, address: str, announcements: str) -> None:
        """Hold a line to a peer, and listen to what it publishes; old news is ignored. Raises AddressError."""
        if incarnation < (self.links.knows(node) or 0):
            return
        where = exact(address, bind=False)
        line = self._outward.join(where, node, self._ring.keys_of(node) if self._ring is not None else ())
        self.links.connect(node, incarnation, (_OUTWARD, line), self._loop.time())
        if self._ears is not None and announcements:
            self._ears.join(exact(announcements, bind=False), node)
            self._listen(where)
        self.flush()

    def open(self, address: str) -> NodeId:
        """Dial an address whose owner is not known; the alias to send to. Raises AddressError."""
        alias = f"@{address}"
        line = self._outward.join(exact(address, bind=False), alias, self._ring.keys if self._ring is not None else ())
        self.links.open(alias, (_OUTWARD, line), self._loop.time())
        self.flush()
        return alias

    def disconnect(self, node: NodeId) -> None:
        """Let go of a peer, or of an alias."""
        self.links.close(node)
        self._outward.leave(node)
        if self._ears is not None:
            self._ears.leave(node)
            self._forget_closed()

    # --- outwards ------------------------------------------------------------------------------------------------

    def send(self, to: NodeId, message: Message) -> None:
        """What fills a packet leaves at once: who says much in one turn has it heard meanwhile."""
        self.links.send(to, message)
        self._unsent += 1
        if self._unsent >= UNSENT_MAX:
            self._flush()
        else:
            self.flush()

    def publish(self, message: Message) -> None:
        if self._everyone is None:
            raise ProtocolError("an endpoint that is not bound has nobody to publish to")
        self.links.publish(message)
        self.flush()

    def flush(self) -> None:
        """Have what is queued leave at the end of this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self._unsent = 0
        if self._closed:
            return
        now = self._loop.time()
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
        self._timer = self._loop.call_at(deadline, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self._flush()

    # --- inwards -------------------------------------------------------------------------------------------------

    def _again(self, inlet: Inlet) -> None:
        inlet.scheduled = True
        self._loop.call_soon(self._turn, inlet)

    def _turn(self, inlet: Inlet) -> None:
        inlet.scheduled = False
        if self._closed or inlet.closed:
            return
        more = True
        try:
            more = inlet.drain()
            self._on_turn()
        finally:
            if more and not inlet.scheduled and not self._closed and not inlet.closed:
                self._again(inlet)
            self._flush()

    def _take_request(self, frames: list[bytes], key: Key | None) -> None:
        self._take_frame(frames, (_REQUESTS, frames[0]), key)

    def _take_answer(self, frames: list[bytes], _: Key | None) -> None:
        self._take_frame(frames, (_OUTWARD, frames[0]), self._outward.key(frames[0]))

    def _take_frame(self, frames: list[bytes], route: tuple[int, bytes] | None, key: Key | None) -> None:
        if len(frames) != 2:
            self._garbage(PeerError(f"a peer sent a message of {len(frames)} frames; 2 are usual"))
            return
        try:
            received = self.links.receive(frames[1], route, self._loop.time(), key)
        except PeerError as error:
            self._on_garbage(error)
            return
        for nonsense in received.refused:
            self._on_garbage(nonsense)
        for sender, message, cause in received.deliveries:
            self._on_message(sender, message, cause)

    def _take_subscription(self, frames: list[bytes], key: Key | None) -> None:
        """XPUB tells of each subscription: 1 or 0, then the topic; a listener's second topic is its name."""
        said = frames[0]
        if said[1:2] != TOPIC_NODE or len(said) > NODE_BYTES_MAX:
            return
        try:
            node = said[2:].decode()
        except UnicodeDecodeError:
            self._garbage(PeerError("a listener's name is not UTF-8"))
            return
        if self._ring is not None and said[0] and not self._ring.vouches(node, key):
            self._garbage(PeerError(f"a listener calls itself {node[:64]!r}, which is not its key's name"))
        elif node and node != self.links.node:
            (self._on_subscribed if said[0] else self._on_unsubscribed)(node)

    # --- whom we have dialled ------------------------------------------------------------------------------------

    def _take_event(self, frames: list[bytes], _: Key | None) -> None:
        event = parse_monitor_message(frames)
        kind, address = event["event"], event["endpoint"].decode()
        if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.refusals.pop(address, None)
            self._outward.mark(address, up=True)
            self._listen(address)
        elif kind == zmq.EVENT_DISCONNECTED:
            if not self._outward.mark(address, up=False):
                return  # one that was refused
            for user in self._outward.users(address):
                node = self.links.name(user) if user.startswith("@") else user
                if node is not None:
                    self._on_disconnected(node)
        elif kind == _FAILED and self._ring is not None and self._outward.users(address):
            self._note_refusal(address, "it proves none of the keys that are allowed here")
            if self._outward.choices(address) > 1:
                self._outward.pass_over(address)
                self._redial_later(address, NEXT_KEY_S)
        elif kind in _REFUSED and self._outward.users(address):
            self._note_refusal(address, _REFUSED[kind])
            self._redial_later(address, REFUSED_S)  # libzmq gives such a connection up

    def _note_refusal(self, address: str, why: str) -> None:
        if len(self.refusals) >= LINKS_MAX:
            self.refusals.clear()
        self.refusals[address] = why

    def _redial_later(self, address: str, delay_s: float) -> None:
        if address not in self._redialling:
            self._redialling.add(address)
            self._loop.call_later(delay_s, self._redial, address)

    def _redial(self, address: str) -> None:
        self._redialling.discard(address)
        if not self._closed:
            self._outward.redial(address)

    def _moved(self, former: bytes, line: bytes) -> None:
        self.links.reroute((_OUTWARD, former), (_OUTWARD, line))
        self.flush()

    def _listen(self, address: str) -> None:
        """The line to this address is up: what its owner publishes is its key's."""
        key = self._outward.found(address)
        if self._ears is None or key is None:
            return
        for node in self._outward.users(address):
            self._ears.found(node, key)
        self._forget_closed()

    def _forget_closed(self) -> None:
        for inlet in [inlet for inlet in self._inlets if inlet.closed]:
            del self._inlets[inlet]

    # --- who may come in -----------------------------------------------------------------------------------------

    def _look_again(self, ring: Ring) -> None:
        self._renew(ring)
        self._refresh = self._loop.call_later(REFRESH_S, self._look_again, ring)

    def _renew(self, ring: Ring) -> None:
        try:
            ring.refresh()
        except KeysError as error:
            self._on_garbage(PeerError(f"the list of those who may come in stays as it was: {error}"))

    def _flooded(self) -> None:
        self._garbage(PeerError("a peer sent a message of too many frames: it is not heard any more"))

    def _garbage(self, error: PeerError) -> None:
        self.links.counters.drops["garbage"] += 1
        self._on_garbage(error)
