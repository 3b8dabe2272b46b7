"""What can go wrong for a person at the command line: one sentence that says what to do, and an exit code."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """The exit codes scripts may rely on; a signal adds 128 to its number."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNPLACED = 3
    UNREACHABLE = 4
    LOG_INVALID = 5
    TIMEOUT = 124
    INTERRUPTED = 130


class Problem(Exception):
    """One sentence for the person, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILURE) -> None:
        super().__init__(sentence)
        self.code = code
