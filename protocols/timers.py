"""Many moments, of which only the next is looked at: a heap of times by key, where setting a key again moves it.
And the next of a few.

    set("a", 3.0); set("b", 1.0); set("a", 0.5)      deadline -> 0.5
    due(1.0) -> ["a", "b"]                           deadline -> None

What is set again, or cancelled, stays in the heap until it comes to the top, or until most of the heap is such: then it
is made anew of the rest. So the heap is no longer than a few times what is set, however long the times, and a set costs
no more than one in a heap of that length.

Invariant: a key is due at most once per setting, at the time it was set to last.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")

STALE_MIN = 64
"""So many that count no more are left in peace."""


def earliest(*times: float | None) -> float | None:
    """The first of them to come; None: none does."""
    first: float | None = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first


class Timers(Generic[K]):
    """Times by key, the earliest first; equal times in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._numbers: dict[K, int] = {}
        self._set = 0

    def set(self, key: K, at: float) -> None:
        self._set += 1
        self._numbers[key] = self._set
        heapq.heappush(self._heap, (at, self._set, key))
        if len(self._heap) > STALE_MIN + 2 * len(self._numbers):
            numbers = self._numbers
            self._heap = [entry for entry in self._heap if numbers.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def cancel(self, key: K) -> None:
        self._numbers.pop(key, None)

    def __contains__(self, key: K) -> bool:
        return key in self._numbers

    @property
    def deadline(self) -> float | None:
        heap, numbers = self._heap, self._numbers
        while heap:
            at, number, key = heap[0]
            if numbers.get(key) == number:
                return at
            heapq.heappop(heap)
        return None

    def due(self, now: float) -> list[K]:
        """What has come, in order; it is set no more."""
        heap, numbers = self._heap, self._numbers
        keys: list[K] = []
        while heap and heap[0][0] <= now:
            _, number, key = heapq.heappop(heap)
            if numbers.get(key) == number:
                del numbers[key]
                keys.append(key)
        return keys
