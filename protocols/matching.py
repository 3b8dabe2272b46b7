"""The cheapest matching of persons and objects by some of their costs: shortest augmenting paths, and prices as proof.

Sources: H. Kuhn, The Hungarian Method, Naval Research Logistics Quarterly 2, 1955; J. Edmonds, R. Karp, Theoretical
Improvements in Algorithmic Efficiency for Network Flow Problems, J. ACM 19, 1972 (Dijkstra on what is left of a cost);
R. Jonker, A. Volgenant, A Shortest Augmenting Path Algorithm, Computing 38, 1987 (rows one by one, sparse).

    person s has none:  what would it cost if it took object j, whose owner i took object k, whose owner ... ?
      the cheapest such chain ends at an object that nobody has, or with one who goes without (and costs `alone`)
      everybody on the chain moves on; prices rise by what the chain was longer than the way to each object

Invariants, after every person, with slack_ij = cost_ij + price_j - due_i: no slack is below 0, an owner's is 0; no due
exceeds `alone`, and who goes without owes just that; an object that nobody has is free. They are the conditions of the
linear programme's optimum, so no matching of these costs is cheaper. All numbers are whole, so nothing is rounded; of
equals the first object is taken, so all who work it out get the same.
"""

from __future__ import annotations

import heapq
from functools import lru_cache
from typing import NamedTuple, TypeAlias

Tender: TypeAlias = tuple[int, int]
"""An object's place, and what it costs the person whose tender it is."""
Rows: TypeAlias = tuple[tuple[Tender, ...], ...]
"""Of each person."""


class Matching(NamedTuple):
    """`objects`: of each person, or none. `prices` of objects; `dues` of persons: the least cost + price or `alone`."""

    objects: tuple[int | None, ...]
    prices: tuple[int, ...]
    dues: tuple[int, ...]


@lru_cache(maxsize=16)
def match(rows: Rows, objects: int, alone: int) -> Matching:
    """The cheapest matching, where a person may go without an object at the cost `alone`, which no other exceeds.

    Of n persons with k tenders each it takes time n·k·n·log n at most, and mostly far less. It is a function of what
    all know: the persons that live in one process work it out once.

    >>> match((((0, 1), (1, 5)), ((0, 2),)), 2, 100)
    Matching(objects=(1, 0), prices=(4, 0), dues=(5, 6))
    """
    search = _Search(rows, objects, alone)
    for person, row in enumerate(rows):
        cheapest = [place for place, cost in row if cost == search.dues[person] and search.free(place)]
        if cheapest:
            search.give(person, cheapest[0])
    without = [person for person, place in enumerate(search.objects) if place is None]
    for person in without:
        search.place(person)
    return Matching(tuple(search.objects), tuple(search.prices), tuple(search.dues))


class _Search:
    """The matching so far."""

    def __init__(self, rows: Rows, objects: int, alone: int) -> None:
        self._rows = rows
        self._alone = alone
        self.objects: list[int | None] = [None] * len(rows)
        self._owners: list[int | None] = [None] * objects
        self.prices = [0] * objects
        self.dues = [min((cost for _, cost in row), default=alone) for row in rows]

    def free(self, place: int) -> bool:
        return self._owners[place] is None

    def give(self, person: int, place: int) -> None:
        self.objects[person], self._owners[place] = place, person

    def place(self, start: int) -> None:
        """Find the cheapest chain from a person that has no object, and move everybody on it."""
        objects: dict[int, int] = {}  # how far to each that has been settled, all of them owned
        persons = {start: 0}  # and to their owners
        nearest: dict[int, int] = {}  # how far to each that has been reached
        through: dict[int, int] = {}  # from which person
        heap: list[tuple[int, bool, int]] = []
        least, without = self._alone - self.dues[start], start  # the cheapest who would go without
        person, far = start, 0
        while True:
            for place, cost in self._rows[person]:
                if place in objects:
                    continue
                length = far + cost + self.prices[place] - self.dues[person]
                if length < nearest.get(place, length + 1):
                    nearest[place], through[place] = length, person
                    heapq.heappush(heap, (length, not self.free(place), place))
            while heap and heap[0][2] in objects:
                heapq.heappop(heap)
            if not heap or heap[0][0] > least:
                far, end = least, None
                break
            far, owned, place = heapq.heappop(heap)
            if not owned:
                end = place
                break
            objects[place] = far
            owner = self._owners[place]
            assert owner is not None
            person = owner
            persons[person] = far
            if far + self._alone - self.dues[person] < least:
                least, without = far + self._alone - self.dues[person], person
        for place, length in objects.items():
            self.prices[place] += far - length
        for person, length in persons.items():
            self.dues[person] += far - length
        self._move(start, without, end, through)

    def _move(self, start: int, without: int, end: int | None, through: dict[int, int]) -> None:
        """From the end of the chain back to its start: each takes the object to which the chain went on from it."""
        given = end
        if given is None:
            given, self.objects[without] = self.objects[without], None
        while given is not None:
            person = through[given]
            left = self.objects[person]
            self.give(person, given)
            given = left if person != start else None
