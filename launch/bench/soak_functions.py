"""What workers run in a soak: functions that answer, raise, print, and take longer than they may."""

from __future__ import annotations

import time

MODULE = __name__


def add(left: int, right: int) -> int:
    return left + right


def fail(word: str) -> None:
    raise ValueError(word)


def print_lines(lines: int) -> int:
    for number in range(lines):
        print(f"line {number} of {lines}")
    return lines


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
