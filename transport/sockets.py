"""Raw ZeroMQ sockets, made with every option they need, drained by hand, and dialled once per address.

zmq.asyncio is an order of magnitude slower than a raw loop, so a socket's descriptor is watched by the asyncio loop and
the socket is read until it says EAGAIN. The descriptor is edge-triggered: it speaks once, and sending may swallow what
it would have said; therefore `Inlet.waiting` is to be asked after every send.

    loop                     Inlet                     libzmq
      | descriptor readable    |                         |
      |----------------------->| recv, recv, ... EAGAIN  |
      |                        |<----------------------->|
      |   (send elsewhere)     | waiting? EVENTS & POLLIN|

Invariants: a turn reads at most MESSAGES_PER_TURN messages of at most FRAMES_MAX frames; what exceeds that is read
away frame by frame and its sender ignored; a routing id is random and never used twice; all high-water marks are set.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import zmq

from .address import AddressError, speak_ipv6_for
from .codec import FRAME_BYTES_MAX

MESSAGES_PER_TURN = 1000
FRAMES_MAX = 8
IGNORED_MAX = 1024
HIGH_WATER = 1000
LINGER_MS = 500
BACKLOG = 4096
HANDSHAKE_MS = 5000
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 3000
RECONNECT_MS = 50
RECONNECT_MS_MAX = 1000
ROUTING_ID_BYTES = 16
PEERS_WATER = 100_000
"""Announcements are small and fan out to everyone: their queue per listener may be longer."""


def opened(context: zmq.Context[zmq.Socket[bytes]], kind: int, *, dials: bool) -> zmq.Socket[bytes]:
    """A socket with all options that must stand before it binds or connects.

    The side that dials also asks for heartbeats: one side is enough, and a fleet has many connections.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.IMMEDIATE, 0)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    if dials:
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    return socket


class Inlet:
    """The reading side of one socket: `take` is given each message as its list of frames."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Callable[[list[bytes]], None],
        flooded: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.socket = socket
        self.scheduled = False
        self.closed = False
        self._take = take
        self._flooded = flooded
        self._loop = loop
        self._skipping = False
        self._ignored: dict[bytes, None] = {}

    def watch(self, turn: Callable[[Inlet], None]) -> None:
        """Have `turn` called whenever there is something to drain; it may be there already."""
        self._loop.add_reader(self.socket.fileno(), turn, self)
        self.scheduled = True
        self._loop.call_soon(turn, self)

    def close(self) -> None:
        self.closed = True
        self._loop.remove_reader(self.socket.fileno())
        self.socket.close()

    @property
    def waiting(self) -> bool:
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def drain(self) -> bool:
        """Take what has come; True: there may be more, and others should have their turn first."""
        recv = self.socket.recv
        for _ in range(MESSAGES_PER_TURN):
            try:
                frame = recv(zmq.DONTWAIT, copy=False, track=False)
            except zmq.Again:
                return False
            frames = [frame.bytes]
            while frame.more:
                if len(frames) == FRAMES_MAX:
                    self._flood(frames[0])
                    break
                frame = recv(zmq.DONTWAIT, copy=False, track=False)
                frames.append(frame.bytes)
            else:
                if self._skipping:
                    self._skipping = False
                elif frames[0] not in self._ignored:
                    self._take(frames)
                    if self.closed:
                        return False
        return True

    def _flood(self, sender: bytes) -> None:
        """A message of too many frames: the rest of it is read away, and its sender is not heard any more."""
        if not self._skipping:
            self._skipping = True
            if len(self._ignored) >= IGNORED_MAX:
                del self._ignored[next(iter(self._ignored))]
            self._ignored[sender] = None
            self._flooded()


class Lines:
    """The connections of one socket: one per address, kept while anybody uses it."""

    def __init__(self, socket: zmq.Socket[bytes], *, routed: bool) -> None:
        self._socket = socket
        self._routed = routed
        self._ids: dict[str, bytes] = {}
        self._users: dict[str, set[str]] = {}

    def join(self, address: str, user: str) -> bytes:
        """Use the line to an exact address, dialled if need be, and no other any more; its routing id."""
        if user not in self._users.get(address, ()):
            self.leave(user)
        if address not in self._ids:
            self._ids[address] = self._dial(address)
            self._users[address] = set()
        self._users[address].add(user)
        return self._ids[address]

    def leave(self, user: str) -> None:
        for address in [address for address, users in self._users.items() if user in users]:
            users = self._users[address]
            users.discard(user)
            if not users:
                del self._users[address], self._ids[address]
                self._socket.disconnect(address)

    def users(self, address: str) -> list[str]:
        return sorted(self._users.get(address, ()))

    def _dial(self, address: str) -> bytes:
        """The peer is reached under one random id and sees us under another: libzmq aborts if one comes back."""
        line = os.urandom(ROUTING_ID_BYTES)
        if self._routed:
            self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, line)
            self._socket.setsockopt(zmq.ROUTING_ID, os.urandom(ROUTING_ID_BYTES))
        speak_ipv6_for(self._socket, address)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            raise AddressError(f"{address} cannot be reached ({error.strerror}): check its host and port") from None
        return line
