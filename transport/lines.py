"""The connections that a node dials: one line per address, kept while anybody uses it, and to the right key.

CURVE wants to know whom it dials before it does. The owner of an address may be one of several keys (a name whose key
is being changed, an address that a person has named): they are tried in turn, until one's handshake succeeds.

    join(address, "n2", [k1, k2])   dial k1
      handshake failed              dial k2, under a new routing id
      handshake done                up: whatever comes over this line is k2's
      refused (400)                 the key is right and ours is not on their list: again with the same, later

What peers publish comes to one SUB socket; where there are keys, to one per peer, for a SUB frame says nothing of its
sender: so it is the socket that tells who has spoken. It is dialled when the line to that peer has found its key.

Invariants: a routing id is random and never used twice (libzmq aborts if one comes back); a line that is up is not
taken away by whoever else claims its address.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import zmq

from .address import AddressError, speak_ipv6_for
from .security import Key, Ring
from .sockets import Inlet

ROUTING_ID_BYTES = 16


class _Line:
    """One connection; `keys` are whom it may lead to, the one that is dialled first. None at all: anybody."""

    __slots__ = ("id", "keys", "passed", "up", "users")

    def __init__(self, keys: Sequence[Key]) -> None:
        self.id = b""
        self.keys = list(keys)
        self.passed = False  # the key that is dialled does not answer there: the next one's turn comes
        self.up = False
        self.users: set[str] = set()

    @property
    def key(self) -> Key | None:
        return self.keys[0] if self.keys else None


class Lines:
    """The lines of one ROUTER socket. `moved` is told the former and the new routing id of one that is dialled anew."""

    def __init__(self, socket: zmq.Socket[bytes], ring: Ring | None, moved: Callable[[bytes, bytes], None]) -> None:
        self._socket = socket
        self._ring = ring
        self._moved = moved
        self._lines: dict[str, _Line] = {}  # by address
        self._keys: dict[bytes, Key | None] = {}  # by routing id

    def join(self, address: str, user: str, keys: Sequence[Key] = ()) -> bytes:
        """Use the line to an exact address, dialled if need be, and no other any more; its routing id."""
        line = self._lines.get(address)
        if line is None or user not in line.users:
            self.leave(user)
            line = self._lines.get(address)
        if line is None:
            line = _Line(keys)
            self._dial(address, line)
            self._lines[address] = line
        elif not line.up and line.key is not None and line.key not in keys:
            line.keys, line.passed = list(keys), False
            self.redial(address)
        line.users.add(user)
        return line.id

    def leave(self, user: str) -> None:
        for address in [address for address, line in self._lines.items() if user in line.users]:
            line = self._lines[address]
            line.users.discard(user)
            if not line.users:
                del self._lines[address]
                self._hang_up(address, line)

    def users(self, address: str) -> list[str]:
        return sorted(self._lines[address].users) if address in self._lines else []

    def key(self, line: bytes) -> Key | None:
        """Whom a line leads to, so that what comes over it is theirs."""
        return self._keys.get(line)

    def choices(self, address: str) -> int:
        """How many keys may still answer there."""
        line = self._lines.get(address)
        return len(line.keys) if line is not None else 0

    def found(self, address: str) -> Key | None:
        """The key that has answered there; None: nobody has yet, or there are no keys."""
        line = self._lines.get(address)
        return line.key if line is not None and line.up else None

    def mark(self, address: str, *, up: bool) -> bool:
        """Its handshake is done, or it has dropped; whether it was up before."""
        line = self._lines.get(address)
        if line is None:
            return False
        was, line.up = line.up, up
        line.passed &= not up
        return was

    def pass_over(self, address: str) -> None:
        """The key that was dialled is not the one that answers there: the next time another's turn comes."""
        if address in self._lines:
            self._lines[address].passed = True

    def redial(self, address: str) -> None:
        """Hang up and dial again, unless it is up by now or nobody uses it any more."""
        line = self._lines.get(address)
        if line is None or line.up:
            return
        if line.passed:
            line.passed = False
            line.keys.append(line.keys.pop(0))
        former = line.id
        self._hang_up(address, line)
        self._dial(address, line)
        self._moved(former, line.id)

    def _dial(self, address: str, line: _Line) -> None:
        """The peer is reached under one random id and sees us under another."""
        line.id = os.urandom(ROUTING_ID_BYTES)
        line.up = False
        self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, line.id)
        self._socket.setsockopt(zmq.ROUTING_ID, os.urandom(ROUTING_ID_BYTES))
        if self._ring is not None and line.key is not None:
            self._ring.identify(self._socket, line.key)
        _connect(self._socket, address)
        self._keys[line.id] = line.key

    def _hang_up(self, address: str, line: _Line) -> None:
        self._keys.pop(line.id, None)
        self._socket.disconnect(address)


class Ears:
    """What peers publish. `opened` makes a SUB socket's inlet, whose frames are the given key's."""

    def __init__(self, opened: Callable[[Key | None], Inlet], ring: Ring | None) -> None:
        self._opened = opened
        self._ring = ring
        self._wanted: dict[str, str] = {}  # node -> address
        self._heard: dict[str, Inlet] = {}  # node -> its own ear, where there are keys
        self._all = opened(None) if ring is None else None
        self._users: dict[str, set[str]] = {}  # of the common ear: address -> nodes

    def join(self, address: str, node: str) -> None:
        """Listen to what this node publishes there: at once, or when its key is found."""
        if self._wanted.get(node) == address:
            return  # it is heard already, or will be
        self.leave(node)
        self._wanted[node] = address
        if self._all is not None:
            if address not in self._users:
                _connect(self._all.socket, address)
            self._users.setdefault(address, set()).add(node)

    def found(self, node: str, key: Key) -> None:
        """The line to this node is up, and this is its key."""
        address = self._wanted.get(node)
        if address is None or self._ring is None:
            return
        self._deafen(node)
        ear = self._heard[node] = self._opened(key)
        self._ring.identify(ear.socket, key)
        _connect(ear.socket, address)

    def leave(self, node: str) -> None:
        address = self._wanted.pop(node, None)
        self._deafen(node)
        if address is None or self._all is None:
            return
        self._users[address].discard(node)
        if not self._users[address]:
            del self._users[address]
            self._all.socket.disconnect(address)

    def _deafen(self, node: str) -> None:
        if (ear := self._heard.pop(node, None)) is not None:
            ear.close()


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    speak_ipv6_for(socket, address)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise AddressError(f"{address} cannot be reached ({error.strerror}): check its host and port") from None
