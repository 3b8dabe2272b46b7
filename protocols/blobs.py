"""What is said of large values: asking for their parts, lending them, offering them. Who says what when stands in
`carrier.py`.

A blob is bytes and nothing else; its name is its SHA-256 and its size, so it does not matter who hands it over, and
what is wrong is noticed by whoever has fetched it.

Invariant: every field is bounded; only `BlobPart` carries bytes, and never more than PART_BYTES.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from .core import BLOB_BYTES_MAX, Effect, Local, Message, NodeId, Reference, References, TaskId, Text

PART_BYTES = 256 * 1024

Key: TypeAlias = tuple[str, ...]
"""Who wants blobs, and for what: ("run", task, epoch)."""


class AskPart(Message, frozen=True, array_like=True):
    """Send me the part of this blob that begins at `offset`, a multiple of PART_BYTES."""

    blob: Reference
    offset: Annotated[int, Meta(ge=0, le=BLOB_BYTES_MAX)]


class BlobPart(Message, frozen=True, array_like=True):
    """PART_BYTES of it, or what is left."""

    blob: Reference
    offset: Annotated[int, Meta(ge=0, le=BLOB_BYTES_MAX)]
    data: Annotated[bytes, Meta(max_length=PART_BYTES)]


class NoBlob(Message, frozen=True, array_like=True):
    """It is not here, or not any more."""

    blob: Reference


class DoubtBlob(Message, frozen=True, array_like=True):
    """All parts came from you, and together they have another hash."""

    blob: Reference


class OfferBlobs(Message, frozen=True, array_like=True):
    """A client is about to hand this task in, which needs these; it has them all."""

    task: TaskId
    blobs: References


class BlobsTaken(Message, frozen=True, array_like=True):
    """They are all here."""

    task: TaskId


class BlobsRefused(Message, frozen=True, array_like=True):
    """They are not, and will not be; `error` is one sentence for the person who sent them."""

    task: TaskId
    error: Text


class Gather(Local, frozen=True, array_like=True):
    """A role needs these blobs here, and kept until it releases them; `sources` may have them.

    Said again of the same key it adds to what was said before.
    """

    key: Key
    blobs: tuple[Reference, ...]
    sources: tuple[NodeId, ...] = ()


class Gathered(Local, frozen=True, array_like=True):
    """All of them are here; or `error` says in one sentence why they will not be, and none is kept for it."""

    key: Key
    error: str = ""


class Release(Local, frozen=True, array_like=True):
    """They are needed no longer, wherever they are. What was never gathered is no error."""

    key: Key


class PartRead(Local, frozen=True, array_like=True):
    """The shell has read a part for `to`; None: the blob is not here."""

    to: NodeId
    blob: Reference
    offset: int
    data: bytes | None


class PartWritten(Local, frozen=True, array_like=True):
    """The shell has written what it was given, up to `end`; at the end of the blob it has hashed the whole.

    `spoilt`: the hash is another; `error`: it could not be written. In both cases nothing of it is left.
    """

    blob: Reference
    end: int
    spoilt: bool = False
    error: str = ""


class ReadPart(Effect, frozen=True):
    """Read a part for somebody; ends in one `PartRead`."""

    blob: Reference
    offset: int
    to: NodeId


class WritePart(Effect, frozen=True):
    """Add this to what lies here of the blob; at offset 0 it begins. Ends in one `PartWritten`."""

    blob: Reference
    offset: int
    data: bytes


class DropParts(Effect, frozen=True):
    """What lies here of an unfinished blob is not wanted any more."""

    blob: Reference


class CheckBlob(Effect, frozen=True):
    """Hash it, and throw it away if it is not what its name says."""

    blob: Reference


MESSAGES: tuple[type[Message], ...] = (
    AskPart,
    BlobPart,
    NoBlob,
    DoubtBlob,
    OfferBlobs,
    BlobsTaken,
    BlobsRefused,
)
