"""The plain JSON form of whatever a task may answer with.

    arrays and numbers of numpy -> (nested) lists and numbers      bytes   -> base64 text
    complex numbers             -> [real, imaginary]               NaN, ∞  -> null
    a reference to a blob       -> {"blob": its SHA-256, "bytes": its size}

What JSON knows is itself; the keys of an object are text.
"""

from __future__ import annotations

import msgspec

from ..agents.payload import Blob


def line(value: object) -> bytes:
    """One line of JSON, without its end."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: object) -> object:
    """What msgspec does not know by itself. Nothing else can have travelled."""
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, Blob):
        return {"blob": value.hash.hex(), "bytes": value.size}
    plain = getattr(value, "tolist", None)
    if plain is None:
        raise NotImplementedError(f"a {type(value).__name__} has no JSON form")
    return plain()
