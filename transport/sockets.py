"""Raw ZeroMQ sockets, made with every option they need, and drained by hand.

zmq.asyncio is an order of magnitude slower than a raw loop, so a socket's descriptor is watched by the asyncio loop and
the socket is read until it says EAGAIN. The descriptor is edge-triggered: it speaks once, and sending may swallow what
it would have said; therefore `Inlet.waiting` is to be asked after every send.

    loop                     Inlet                     libzmq
      | descriptor readable    |                         |
      |----------------------->| recv, recv, ... EAGAIN  |
      |                        |<----------------------->|
      |   (send elsewhere)     | waiting? EVENTS & POLLIN|

Invariants: a turn reads at most MESSAGES_PER_TURN messages of at most FRAMES_MAX frames; what exceeds that is read
away frame by frame, and its sender ignored where frames say who that is; all high-water marks are set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import zmq

from .codec import FRAME_BYTES_MAX

MESSAGES_PER_TURN = 1000
FRAMES_MAX = 8
SKIPPED_PER_TURN = 10_000
"""Frames of a message that is read away: so long others wait."""
IGNORED_MAX = 1024
HIGH_WATER = 1000
LINGER_MS = 500
BACKLOG = 4096
HANDSHAKE_MS = 5000
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 3000
RECONNECT_MS = 50
RECONNECT_MS_MAX = 1000
PEERS_WATER = 100_000
"""Announcements are small and fan out to everyone: their queue per listener may be longer."""

Take: TypeAlias = Callable[[list[bytes], str | None], None]


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
    """The reading side of one socket: `take` is given each message as its list of frames, and the key of its sender.

    `routed`: its first frames are routing ids, so that one who floods can be ignored; `keyed`: those who dial it have
    proven a key, which comes with their frames (else the key is None).
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Take,
        flooded: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        *,
        routed: bool = False,
        keyed: bool = False,
    ) -> None:
        self.socket = socket
        self.scheduled = False
        self.closed = False
        self._take = take
        self._flooded = flooded
        self._loop = loop
        self._routed = routed
        self._keyed = keyed
        self._skipping = False
        self._ignored: dict[bytes, None] = {}

    def watch(self, turn: Callable[[Inlet], None]) -> None:
        """Have `turn` called whenever there is something to drain; it may be there already."""
        self._loop.add_reader(self.socket.fileno(), turn, self)
        self.scheduled = True
        self._loop.call_soon(turn, self)

    def close(self, *, unsent: bool = False) -> None:
        """`unsent`: what is queued is let go of."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self.socket.fileno())
            self.socket.close(0 if unsent else None)

    @property
    def waiting(self) -> bool:
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def drain(self) -> bool:
        """Take what has come; True: there may be more, and others should have their turn first."""
        if self._skipping:
            return self._skip()
        recv = self.socket.recv
        for _ in range(MESSAGES_PER_TURN):
            try:
                frame = recv(zmq.DONTWAIT, copy=False, track=False)
            except zmq.Again:
                return False
            key = _key_of(frame) if self._keyed else None
            frames = [frame.bytes]
            while frame.more:
                if len(frames) == FRAMES_MAX:
                    self._flood(frames[0])
                    return self._skip()
                frame = recv(zmq.DONTWAIT, copy=False, track=False)
                frames.append(frame.bytes)
            if frames[0] not in self._ignored:
                self._take(frames, key)
                if self.closed:
                    return False
        return True

    def _flood(self, sender: bytes) -> None:
        """A message of too many frames: the rest of it will be read away, and its sender is not heard any more."""
        self._skipping = True
        if self._routed:
            if len(self._ignored) >= IGNORED_MAX:
                del self._ignored[next(iter(self._ignored))]
            self._ignored[sender] = None
        self._flooded()

    def _skip(self) -> bool:
        """Read some of it away; libzmq hands a message out when it has all of it, so the rest is there."""
        recv = self.socket.recv
        for _ in range(SKIPPED_PER_TURN):
            if not recv(zmq.DONTWAIT, copy=False, track=False).more:
                self._skipping = False
                break
        return True


def _key_of(frame: zmq.Frame) -> str | None:
    """What the gate has said of whoever sent it."""
    try:
        return str(frame.get("User-Id"))
    except (KeyError, zmq.ZMQError):
        return None
