"""The plain JSON form of whatever a task may answer with.

    arrays and numbers of numpy -> (nested) lists and numbers      bytes   -> base64 text
    complex numbers             -> [real, imaginary]               NaN, ∞  -> null

What JSON knows is itself; the keys of an object are text.
"""

from __future__ import annotations

import msgspec


def line(value: object) -> bytes:
    """One line of JSON, without its end."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: object) -> object:
    """What msgspec does not know by itself. Nothing else can have travelled."""
    if isinstance(value, complex):
        return [value.real, value.imag]
    plain = getattr(value, "tolist", None)
    if plain is None:
        raise NotImplementedError(f"a {type(value).__name__} has no JSON form")
    return plain()
