"""What a check has found, and what helps: the words of `parley doctor`."""

from __future__ import annotations

import enum

import msgspec


class State(enum.StrEnum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """`found` is a sentence about this place; `do` says what helps, where something is wrong."""

    check: str
    state: State
    found: str
    do: str = ""


def ok(check: str, found: str) -> Finding:
    return Finding(check, State.OK, found)


def note(check: str, found: str) -> Finding:
    """Worth knowing, and not wrong."""
    return Finding(check, State.NOTE, found)


def wrong(check: str, found: str, do: str) -> Finding:
    return Finding(check, State.WRONG, found, do)
