"""What can go wrong for a person at the command line: one sentence that says what to do, and an exit code."""

from __future__ import annotations

import enum
from collections.abc import Iterable

CLICKS = (
    ("is not a valid integer range", "is no whole number"),
    ("is not a valid integer", "is no whole number"),
    ("is not a valid float range", "is no number"),
    ("is not a valid number", "is no number"),
)
"""What click says, and what we say."""


class Exit(enum.IntEnum):
    """The exit codes scripts may rely on; a signal adds 128 to its number."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNPLACED = 3
    UNREACHABLE = 4
    LOG_INVALID = 5
    TIMEOUT = 124
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Problem(Exception):
    """One sentence for the person, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(sentence)
        self.code = code


class AgentUnreachable(Problem):
    """Nobody answers at the address, or nobody does any longer."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, Exit.UNREACHABLE)


def in_our_words(sentence: str) -> str:
    """What click says of a wrong value.

    >>> in_our_words("'x' is not a valid integer range.")
    "'x' is no whole number"
    """
    said = sentence.rstrip(".")
    for theirs, ours in CLICKS:
        said = said.replace(theirs, ours)
    return said


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ ": did you mean NAME?" where one of the known words is near, else "".

    >>> did_you_mean("slotz", ["slots", "speed"])
    ': did you mean slots?'
    """
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), 1)
    return f": did you mean {near[0]}?" if near else ""
