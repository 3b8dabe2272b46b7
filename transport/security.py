"""Who gets in: keys, the list of those that are allowed, and the gate that asks for both.

Sources: CurveZMQ (rfc.zeromq.org/spec/26), whose handshake proves that each side has the secret of its public key,
and never takes an old one twice; ZAP (rfc 27), by which libzmq asks about every newcomer; self-certifying names
(Mazières 1999). Names are bound to keys the way tinc does it: by a list that the owner of this node has written.

    n2                                          n1
      | handshake: n1's key, proof of its own --> | gate: is this key allowed?  no -> refused, 400
      | Packet(sender "n2") --------------------> | ring: is "n2" a name of this key?  no -> PeerError
      | <------- Packet(sender "n1") ------------ |
      | ring: is "n1" a name of the key that this line was dialled for?

A folder holds it all: `secret`, for its owner's eyes only, and `allowed`, a line `NAME:KEY` for each who may come in.
An entry covers the node of that name, and what begins with it and a dot (several agents of one machine). Whoever has
no such name, as clients have none, calls itself by the hash of its key and a nonce (`certified`); nobody else can.

Invariants: without a gate that answers, nobody gets in (ZAP_ENFORCE_DOMAIN: libzmq by itself fails open); what a
sender says it is never counts, only what its key is; a list that cannot be read leaves the former one standing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import NamedTuple, TypeAlias

import zmq
from zmq.utils import z85

from ..protocols.core import NodeId

KEY_BYTES = 32
DOMAIN = "parley"
SECRET, ALLOWED = "secret", "allowed"
ALLOWED_BYTES_MAX = 1024 * 1024
ENTRIES_MAX = 4_096
VERDICTS_MAX = 16_384
CERTIFIES = "~"
NONCE_BYTES, DIGEST_BYTES = 5, 15
"""Five bytes are eight letters of base 32: names come out without padding."""

Key: TypeAlias = str
"""A public key as people see it: 52 letters and digits of base 32."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_TOKEN = re.compile(rf"({_NAME}):([a-z2-7]{{52}})")


class KeysError(ValueError):
    """What is wrong with keys, in one sentence for the person whose they are."""


class Entry(NamedTuple):
    """One who is allowed; written `NAME:KEY`."""

    name: str
    key: Key

    def __str__(self) -> str:
        return f"{self.name}:{self.key}"

    def covers(self, node: NodeId) -> bool:
        return node == self.name or node.startswith(f"{self.name}.")


def entry(token: str) -> Entry:
    """Raises KeysError."""
    match = _TOKEN.fullmatch(token)
    if match is None or _text(_bytes(match[2])) != match[2]:
        raise KeysError(f"{token[:100]!r} is no key: write NAME:KEY, as `parley keys show` prints it")
    return Entry(match[1], match[2])


def certified(prefix: str, key: Key, nonce: bytes) -> NodeId:
    """A name that only the owner of this key can bear: the hash of key and nonce, with the nonce.

    Another nonce makes another name: who has lost its memory does not pass for who it was.
    """
    digest = hashlib.blake2b(b"\0".join((prefix.encode(), _bytes(key), nonce)), digest_size=DIGEST_BYTES).digest()
    return f"{prefix}{CERTIFIES}{_text(nonce + digest)}"


def certifies(node: NodeId, key: Key) -> bool:
    """It is the hash of this key and of the nonce in it."""
    prefix, _, proof = node.partition(CERTIFIES)
    if not re.fullmatch(r"[a-z2-7]{32}", proof):
        return False
    return certified(prefix, key, _bytes(proof)[:NONCE_BYTES]) == node


class Ring:
    """Our own keys, and whose we accept, as a folder holds them. Make it with `read`."""

    def __init__(self, folder: Path, name: str, secret: bytes, allowed: tuple[Entry, ...]) -> None:
        self.folder = folder
        self.name = name
        self._secret = secret
        self._public = z85.decode(zmq.curve_public(z85.encode(secret)))
        self.key: Key = _text(self._public)
        self._as_read: object = None
        self._take(allowed)

    @classmethod
    def read(cls, folder: Path) -> Ring:
        """Raises KeysError, for secrets that others can read too."""
        name, _, secret = _read(folder / SECRET, 0o077, "read").strip().partition(":")
        if not re.fullmatch(_NAME, name) or not re.fullmatch(r"[a-z2-7]{52}", secret):
            raise KeysError(f"{folder / SECRET} holds no key: take it away, and make one with `parley keys new`")
        as_read = _state(folder)
        ring = cls(folder, name, _bytes(secret), read_allowed(folder))
        ring._as_read = as_read
        return ring

    @property
    def entry(self) -> Entry:
        """What others are told of us."""
        return Entry(self.name, self.key)

    @property
    def allowed(self) -> tuple[Entry, ...]:
        return self._allowed

    def refresh(self) -> bool:
        """Read the list anew if it has changed; True: it had. Raises KeysError, and keeps the former one."""
        if (state := _state(self.folder)) == self._as_read:
            return False
        self._as_read = state
        self._take(read_allowed(self.folder))
        return True

    def _take(self, allowed: tuple[Entry, ...]) -> None:
        self._allowed = allowed
        self._admitted = {self.key, *(one.key for one in allowed)}
        self._verdicts: dict[tuple[NodeId, Key | None], bool] = {}

    def admits(self, key: Key) -> bool:
        return key in self._admitted

    def vouches(self, node: NodeId, key: Key | None) -> bool:
        """Whoever has proven this key may call itself so."""
        verdict = self._verdicts.get((node, key))
        if verdict is None:
            if len(self._verdicts) >= VERDICTS_MAX:
                self._verdicts.clear()
            verdict = self._verdicts[node, key] = self._judge(node, key)
        return verdict

    def _judge(self, node: NodeId, key: Key | None) -> bool:
        if key is None or not self.admits(key):
            return False
        if CERTIFIES in node:
            return certifies(node, key)
        return key in self.keys_of(node)

    def keys_of(self, node: NodeId) -> tuple[Key, ...]:
        """Of whom it may be the name: those whose entry covers it, else our own (local fleets share one)."""
        covering = [one for one in (*self._allowed, self.entry) if one.covers(node)]
        closest = max((len(one.name) for one in covering), default=0)
        return tuple(dict.fromkeys(one.key for one in covering if len(one.name) == closest)) or (self.key,)

    @property
    def keys(self) -> tuple[Key, ...]:
        """All that might answer at an address whose owner is not known."""
        return tuple(dict.fromkeys((*(one.key for one in self._allowed), self.key)))

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Before it binds: only whom the gate lets in is heard, and without a gate nobody."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def identify(self, socket: zmq.Socket[bytes], peer: Key) -> None:
        """Before it connects: we are who we are, and only this peer will do."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, _bytes(peer))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret)


class Gate:
    """Answers libzmq's questions about newcomers, for all sockets of one context; open it before they are bound."""

    ADDRESS = "inproc://zeromq.zap.01"

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], ring: Ring) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(self.ADDRESS)
        self._ring = ring
        self.refused = 0

    def answer(self, frames: list[bytes]) -> None:
        """One question: version, its number, domain, address, identity, mechanism, credentials."""
        key = self._key(frames)
        if key is None:
            self.refused += 1
        code, text = (b"400", b"this key is not allowed") if key is None else (b"200", b"")
        self.socket.send_multipart([b"1.0", b"".join(frames[1:2]), code, text, (key or "").encode(), b""])

    def _key(self, frames: list[bytes]) -> Key | None:
        match frames:
            case [b"1.0", _, domain, _, _, b"CURVE", public] if domain == DOMAIN.encode() and len(public) == KEY_BYTES:
                key = _text(public)
                return key if self._ring.admits(key) else None
        return None


# --- the folder ------------------------------------------------------------------------------------------------------


def make(folder: Path, name: str) -> Ring:
    """A new key, in a folder that has none. Raises KeysError."""
    if not re.fullmatch(_NAME, name):
        raise KeysError(f"{name!r} is no name for a key: use letters, digits, . _ and -, 64 at most")
    secret = z85.decode(zmq.curve_keypair()[1])
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = os.open(folder / SECRET, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as file:
            file.write(f"{name}:{_text(secret)}\n")
    except FileExistsError:
        raise KeysError(f"there is a key in {folder} already: `parley keys show` shows it") from None
    except OSError as error:
        raise KeysError(f"no key can be written into {folder}: {_why(error)}") from None
    return Ring.read(folder)


def allow(folder: Path, entries: tuple[Entry, ...]) -> None:
    """Let these in from now on. Running agents see it within a second. Raises KeysError."""
    known = read_allowed(folder)
    new = [one for one in dict.fromkeys(entries) if one not in known]
    if not new:
        return
    path = folder / ALLOWED
    unfinished = folder / f".{ALLOWED}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        former = path.read_text() if path.exists() else "# Who may come in: a line NAME:KEY for each.\n"
        lines = [former if former.endswith("\n") else f"{former}\n", *(f"{one}\n" for one in new)]
        unfinished.write_text("".join(lines))
        unfinished.chmod(0o644)
        os.replace(unfinished, path)
    except OSError as error:
        raise KeysError(f"{path} cannot be written: {_why(error)}") from None


def read_allowed(folder: Path) -> tuple[Entry, ...]:
    """Those on the list; nobody, if there is none. Raises KeysError for a line that is wrong."""
    path = folder / ALLOWED
    if not path.exists():
        return ()
    lines = [line.partition("#")[0].strip() for line in _read(path, 0o022, "change").splitlines()]
    try:
        entries = [entry(line) for line in lines if line]
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from None
    if len(entries) > ENTRIES_MAX:
        raise KeysError(f"{path} has {len(entries):,} entries; {ENTRIES_MAX:,} is the most")
    return tuple(entries)


def _read(path: Path, others_mode: int, may: str) -> str:
    """A file that is ours alone, as far as that matters. Raises KeysError."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (os.getuid(), 0):
                raise KeysError(f"{path} is somebody else's file: keys must be your own")
            if status.st_mode & others_mode:
                mode = stat.S_IMODE(status.st_mode) & ~others_mode
                raise KeysError(f"others can {may} {path}: say `chmod {mode:o} {path}`, and think who may have done so")
            text = file.read(ALLOWED_BYTES_MAX + 1)
    except FileNotFoundError:
        raise KeysError(f"there is no key in {path.parent}: make one with `parley keys new`") from None
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {_why(error)}") from None
    if len(text) > ALLOWED_BYTES_MAX:
        raise KeysError(f"{path} is too large for a file of keys")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise KeysError(f"{path} is no text") from None


def _state(folder: Path) -> object:
    """Changes whenever the list does."""
    try:
        status = (folder / ALLOWED).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _text(key: bytes) -> str:
    return base64.b32encode(key).decode().rstrip("=").lower()


def _bytes(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
