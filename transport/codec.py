"""What goes over the wire, and how little of what comes is believed.

A frame is one msgpack array that begins with the version. It is decoded by type: msgspec checks every length and bound
before it allocates, builds nothing that the type does not name, and leaves the items as raw bytes until the table below
has said which type they must be. Every structure is an array of just its fields, so there are no maps, hence no
duplicate keys; and there are no extension types and no timestamps.

A byte may become an object of a hundred, so elements have a budget: a message keeps to ELEMENTS_MAX by the bounds of
its type (a test adds them up), and messages that share a frame to its SHARED_BYTES_MAX bytes.

    Packet    one to one:  version, sender and receiver with their incarnations, stream, seq, heard, ack, clock, items
    Bulletin  to all:      version, sender with its incarnation, seq, clock, items
    item                   (name of the type, the message)

Invariant: whatever the bytes are, decoding answers with the declared types or raises PeerError with one sentence, in
time and memory linear in the frame. A message that only exists on its own node (Local) is never encoded nor decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from ..protocols.core import Count, Local, Message, NodeId, PeerError, ProtocolError
from .bulletins import Missed, Pull

VERSION = 2
FRAME_BYTES_MAX = 8 * 1024 * 1024
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX - 1024
"""What one message may take, so that its envelope still fits around it."""
ITEMS_MAX = 1024
ELEMENTS_MAX = 1024 * 1024
"""Numbers, texts, arrays, ... that one message may hold, by the bounds of its type."""
SHARED_BYTES_MAX = 256 * 1024
"""A frame of several messages is no longer; and an element takes a byte at least."""
ERROR_TEXT_MAX = 200

Stamp: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
TypeName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Receiver: TypeAlias = Annotated[str, Meta(max_length=64)]
Item: TypeAlias = tuple[TypeName, msgspec.Raw]
Items: TypeAlias = Annotated[tuple[Item, ...], Meta(max_length=ITEMS_MAX)]


class Packet(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """From one to one.

    `receiver` "" asks whoever is at this address for its name; such a packet never carries items. `stream` says when
    the sender began to number (0: it has not), `seq` which packet of it this is (0: none; a bare acknowledgement, or
    datagrams, which are heard as often as they come).
    `heard` is the receiver's stream as far as the sender knows it, `ack` the last number heard of it without a hole.
    `published` is the number of the sender's last bulletin, told with datagrams (0: not told).
    """

    version: int
    sender: NodeId
    sender_incarnation: Count
    receiver: Receiver
    receiver_incarnation: Count
    stream: Stamp
    seq: Count
    heard: Stamp
    ack: Count
    published: Count
    hlc: Stamp
    items: Items


class Bulletin(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """From one to all who listen."""

    version: int
    sender: NodeId
    sender_incarnation: Count
    seq: Annotated[int, Meta(ge=1, le=2**53)]
    hlc: Stamp
    items: Items


class _Version(msgspec.Struct, array_like=True):
    version: int


Envelope = TypeVar("Envelope", Packet, Bulletin)


class Codec:
    """The table of all that may be said, and both directions of saying it."""

    def __init__(self, messages: Iterable[type[Message]]) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self.encode: Callable[[Packet | Bulletin], bytes] = self._encode
        self._packets = msgspec.msgpack.Decoder(Packet).decode
        self._bulletins = msgspec.msgpack.Decoder(Bulletin).decode
        self._versions = msgspec.msgpack.Decoder(_Version)
        self._names: dict[type[Message], str] = {}
        self._decoders: dict[str, Callable[[bytes | msgspec.Raw], Message]] = {}
        table: dict[type[Message], None] = dict.fromkeys((*messages, Pull, Missed))
        for kind in table:
            self._add(kind)

    def _add(self, kind: type[Message]) -> None:
        name = kind.__name__
        if issubclass(kind, Local):
            raise ProtocolError(f"{name} is local to its node: it has no place in the wire's table")
        if name in self._decoders or len(name) > 64:
            raise ProtocolError(f"the name {name} is taken or too long: message types go by name on the wire")
        self._names[kind] = name
        self._decoders[name] = msgspec.msgpack.Decoder(kind).decode

    def encode_message(self, message: Message) -> Item:
        name = self._names.get(type(message))
        if name is None:
            raise ProtocolError(f"{type(message).__name__} is not in the wire's table: it cannot be sent")
        raw = self._encode(message)
        if len(raw) > MESSAGE_BYTES_MAX:
            raise ProtocolError(f"a {name} of {len(raw)} bytes is too large to send: its fields must be bounded")
        return name, msgspec.Raw(raw)

    def refuses(self, message: Message) -> str:
        """Why a peer would not hear this message, which breaks a bound of its type; empty: it would."""
        name, raw = self.encode_message(message)
        try:
            self._decoders[name](raw)
        except msgspec.MsgspecError as error:
            return str(error)[:ERROR_TEXT_MAX]
        return ""

    def decode_message(self, item: Item) -> Message:
        name, raw = item
        decode = self._decoders.get(name)
        if decode is None:
            raise PeerError(f"a peer sent {name!r}, which is no message that may come from the wire")
        try:
            return decode(raw)
        except (msgspec.MsgspecError, RecursionError, MemoryError, UnicodeDecodeError) as error:
            raise PeerError(f"a peer sent a malformed {name}: {str(error)[:ERROR_TEXT_MAX]}") from None

    def decode_packet(self, frame: bytes) -> Packet:
        return self._decode(frame, self._packets)

    def decode_bulletin(self, frame: bytes) -> Bulletin:
        return self._decode(frame, self._bulletins)

    def _decode(self, frame: bytes, decode: Callable[[bytes], Envelope]) -> Envelope:
        size = len(frame)
        if size > FRAME_BYTES_MAX:
            raise PeerError(f"a peer sent a frame of {size} bytes; {FRAME_BYTES_MAX} is the most")
        try:
            envelope = decode(frame)
        except (msgspec.MsgspecError, RecursionError, MemoryError, UnicodeDecodeError) as error:
            raise self._explain(frame, error) from None
        if envelope.version != VERSION:
            raise _other_version(envelope.version)
        if size > SHARED_BYTES_MAX and len(envelope.items) > 1:
            raise PeerError(f"a peer sent {len(envelope.items)} messages in one frame of {size} bytes")
        return envelope

    def _explain(self, frame: bytes, error: Exception) -> PeerError:
        """Another version may have another layout: its first element is all we can rely on."""
        try:
            version = self._versions.decode(frame).version
        except (msgspec.MsgspecError, RecursionError, MemoryError, UnicodeDecodeError):
            version = VERSION
        if version != VERSION:
            return _other_version(version)
        return PeerError(f"a peer sent bytes that are no packet: {str(error)[:ERROR_TEXT_MAX]}")


def _other_version(version: int) -> PeerError:
    return PeerError(f"a peer speaks version {version}; this node speaks {VERSION}")
