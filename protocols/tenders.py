"""The assignment problem in few rounds: each person tenders for a few objects, all match them alike, and ask for more.

Sources: G. Dantzig, P. Wolfe, Decomposition Principle for Linear Programs, Operations Research 8, 1960 (the master of
what has been told, whose prices ask for more); A. Volgenant, Linear and Semi-Assignment Problems: A Core Oriented
Approach, Computers & Operations Research 23, 1996 (a few costs of each row decide).

    person i -> all    level 0: its FIRST cheapest objects, and what they cost it
    all                match what has been told (matching.py): the same matching, prices and dues for everybody
    person i -> all    level 1: objects it has not told of with cost + price < due, the least first; mostly none
    ...                match again; from level 2 on each may tell of twice as many as before
    person i -> all    level L: nothing; and so says everybody: the matching of the levels before is the assignment

Unlike the bids of assignment.py, tenders are true costs, of a few objects, and everybody works out the whole matching.
In return it takes a handful of rounds where the auction takes hundreds.

Theorem: the assignment is exact. When nobody has anything to tell, cost + price >= due for each person and each object,
told or not, with equality for what it has. So every assignment costs at least the sum of dues less that of prices, and
this one just that. Nobody goes without: the due of who does is ALONE, above every cost, so it would tell of an object
that nobody has, whose price is 0. And it ends: each level but the last tells a new cost; once its share is all objects,
a person tells of all that are left. So there are at most log2(n) + n + 1 levels (measured: 2 to 9).

*The end is seen.* A word, that of one person at one level, is said once and never changes. A level is matched when all
its words have come, so everybody matches the same, in whatever order they came. What is known only grows: hearing it
late, or twice, does no harm.

*Who dies is left out.* Then all begins anew among the others: a table of words belongs to those left out, its `view`.
One's view only grows; who hears of a larger one joins it, and hears no more of whom it leaves out. But who has seen the
end stays in its view: so no view that counts with it ends, and all who live hear of the end it saw, and take it. Hence
all who live end with the same assignment. (What the dead have said to some must reach all: `relays`, or rounds.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import numpy as np
from msgspec import Meta

from .assignment import COST_MAX, OBJECTS_MAX, Place, whole_costs
from .core import AuctionId, Count, Message, NodeId, PeerError
from .matching import Matching, Tender, match

FIRST = 4
"""So many objects a person tells of at first, and again; then twice as many each time."""
ALONE = COST_MAX + 1
"""What it costs to go without: more than any object."""
LEVELS_MAX = 2 * OBJECTS_MAX
WORDS_MAX = 4 * OBJECTS_MAX
TENDERS_MAX = 2**18
"""So many words and tenders one message holds; what is more goes into the next."""

View: TypeAlias = tuple[Place, ...]
"""Who is left out, in order."""
Header: TypeAlias = tuple[Annotated[int, Meta(ge=0, lt=LEVELS_MAX)], Place, Annotated[int, Meta(ge=0, le=OBJECTS_MAX)]]
"""Of a word: its level, whose it is, and how many tenders it has."""


class Tenders(Message, frozen=True, array_like=True):
    """Words: their headers, and their tenders' objects and costs, one after the other. `last`: its sender has seen the
    end in this view, and says nothing more unasked."""

    session: AuctionId
    round: Count
    last: bool
    view: Annotated[View, Meta(max_length=OBJECTS_MAX)]
    words: Annotated[tuple[Header, ...], Meta(max_length=WORDS_MAX)]
    objects: Annotated[tuple[Place, ...], Meta(max_length=TENDERS_MAX)]
    costs: Annotated[tuple[Annotated[int, Meta(ge=0, le=COST_MAX)], ...], Meta(max_length=TENDERS_MAX)]


MESSAGES: tuple[type[Message], ...] = (Tenders,)

Word: TypeAlias = tuple[Tender, ...]


class Tenderer:
    """One person: knows its own row of costs, and what others have told of theirs.

    `costs` (objects,) are whole numbers from 0 to COST_MAX; `persons` are all who take part, in the order of their ids,
    as many as there are objects. `relays`: what it hears is handed on to its neighbours; not needed where all hear all
    in every round. Raises ValueError for costs that are none.
    """

    def __init__(
        self, node: NodeId, session: AuctionId, persons: Sequence[NodeId], costs: Sequence[int], *, relays: bool = True
    ) -> None:
        self.session = session
        self._costs = whole_costs(costs, len(persons))
        self._me = persons.index(node)
        self._places = {person: place for place, person in enumerate(persons)}
        self._relays = relays
        self._view: View = ()
        self._tables: dict[View, _Table] = {(): _Table(len(persons), ())}
        self._news: dict[tuple[View, int, int], None] = {}  # words to tell: of which view, level and person
        self._cursor = 0  # where the next telling of all begins, if all is too much for one message

    # -- hearing and speaking

    def hear(self, message: Message, sender: NodeId) -> None:
        """Take what is new. Raises PeerError on nonsense."""
        if not isinstance(message, Tenders) or message.session != self.session or sender not in self._places:
            raise PeerError(f"{sender} sent {type(message).__name__}, or has no part in the assignment {self.session}")
        words = self._read(message, sender)
        if self.done or self._places[sender] in self._view:
            return
        self._leave_out(message.view)
        table = self._table(message.view)
        for level, person, word in words:
            if table.take(level, person, word) and self._relays:
                self._news[message.view, level, person] = None
        if message.last and table.ended:
            self._view = message.view

    def speak(self, turn: int, *, whole: bool = False) -> Tenders:
        """Tender at each level that has been matched, and tell what is new; `whole`: all that is known in this view."""
        self._tender()
        table = self._table(self._view)
        if whole:
            known = table.keys
            start = self._cursor % max(len(known), 1)
            told = _fitting(table, known[start:] + known[:start])
            self._cursor = start + len(told)
        else:
            told = _fitting(table, [(level, person) for view, level, person in self._news if view == self._view])
        for level, person in told:
            self._news.pop((self._view, level, person), None)
        spoken = [table.word(level, person) or () for level, person in told]
        return Tenders(
            self.session, turn, self.done and not self.news, self._view,
            tuple((*key, len(word)) for key, word in zip(told, spoken, strict=True)),
            tuple(place for word in spoken for place, _ in word), tuple(cost for word in spoken for _, cost in word),
        )  # fmt: skip

    @property
    def news(self) -> bool:
        """It has something to say: tenders of its own, or what it has heard."""
        return self._owes or any(view == self._view for view, _, _ in self._news)

    def gone(self, node: NodeId) -> None:
        """It takes no part any more: the others begin anew without it, unless all is decided."""
        if (place := self._places.get(node)) is not None and not self.done:
            self._leave_out((place,))

    # -- what it knows

    @property
    def done(self) -> bool:
        """Nobody has anything to tell; or the others have left this one out."""
        return self._table(self._view).ended or self._me in self._view

    @property
    def objects(self) -> list[int | None]:
        """The place of each person's object, once all is done; none for those who have been left out."""
        table = self._table(self._view)
        found: list[int | None] = [None] * len(self._places)
        if table.ended:
            for person, place in zip(table.persons, table.matching.objects, strict=True):
                found[person] = place
        return found

    @property
    def object(self) -> int | None:
        """The place of its object, once all is done."""
        return self.objects[self._me]

    @property
    def bound(self) -> int | None:
        """What no assignment of those who take part costs less than, once all is done: what theirs costs."""
        table = self._table(self._view)
        return sum(table.matching.dues) - sum(table.matching.prices) if table.ended else None

    @property
    def told(self) -> int:
        """Of how many objects it has told the cost, in this view."""
        return len(self._table(self._view).told(self._me))

    # -- tenders

    @property
    def _owes(self) -> bool:
        """All have spoken at a level, and it has not at the next."""
        table = self._table(self._view)
        return not self.done and not table.has_spoken(self._me)

    def _tender(self) -> None:
        while self._owes:
            table = self._table(self._view)
            level = table.level
            self._news[self._view, level, self._me] = None
            table.take(level, self._me, self._wanted(table, level))

    def _wanted(self, table: _Table, level: int) -> Word:
        """What it would rather have than what it is matched with: the least cost + price first, up to its share."""
        prices, due = table.terms(self._me)
        margins = self._costs + np.asarray(prices, np.int64)
        told = {place for place, _ in table.told(self._me)}
        untold = [place for place in map(int, np.argsort(margins, kind="stable")) if place not in told]
        wanted = [place for place in untold if margins[place] < due]
        share = FIRST << max(level - 1, 0)
        chosen = untold if wanted and share >= len(margins) else wanted[:share]
        return tuple((place, int(self._costs[place])) for place in chosen)

    def _table(self, view: View) -> _Table:
        if (table := self._tables.get(view)) is None:
            table = self._tables[view] = _Table(len(self._places), view)
        return table

    def _leave_out(self, view: View) -> None:
        self._view = tuple(sorted({*self._view, *view}))

    def _read(self, message: Tenders, sender: NodeId) -> list[tuple[int, int, Word]]:
        """Level, person and word of each."""
        persons, view = len(self._places), message.view
        if view != self._view and (tuple(sorted(set(view))) != view or max(view, default=0) >= persons):
            raise PeerError(f"{sender} leaves out persons that are none")
        if max(message.objects, default=0) >= persons:
            raise PeerError(f"{sender} speaks of an object that is not in this session")
        table = self._table(view)
        words: list[tuple[int, int, Word]] = []
        begin = 0
        for level, person, count in message.words:
            end = begin + count
            word = tuple(zip(message.objects[begin:end], message.costs[begin:end], strict=False))
            if person not in table.members or table.word(level, person) not in (None, word):
                raise PeerError(f"{sender} tells what a person has not said")
            words.append((level, person, word))
            begin = end
        if begin != len(message.objects) or begin != len(message.costs):
            raise PeerError(f"{sender} tells of other tenders than it says")
        return words


class _Table:
    """What has been told in one view, level by level; all that it says is a function of that."""

    def __init__(self, persons: int, view: View) -> None:
        self._objects = persons
        self.members = frozenset(range(persons)) - frozenset(view)
        """Who takes part."""
        self.persons = sorted(self.members)
        self.level = 0
        """The first at which not all have spoken."""
        self.ended = False
        """Nobody had anything more to tell."""
        self._words: list[dict[int, Word]] = [{}]
        self._matching: Matching | None = None  # of the levels at which all have spoken

    def take(self, level: int, person: int, word: Word) -> bool:
        """Was it new?"""
        while level >= len(self._words):
            self._words.append({})
        if person in self._words[level]:
            return False
        self._words[level][person] = word
        while self.members and len(said := self._words[self.level]) == len(self.members):
            self.ended = self.level > 0 and not any(said.values())
            self.level += 1
            self._matching = None
            if self.level == len(self._words):
                self._words.append({})
        return True

    def word(self, level: int, person: int) -> Word | None:
        return self._words[level].get(person) if level < len(self._words) else None

    @property
    def keys(self) -> list[tuple[int, int]]:
        """Level and person of each word."""
        return [(level, person) for level, words in enumerate(self._words) for person in words]

    def told(self, person: int) -> Word:
        """Of all levels."""
        return tuple(tender for words in self._words for tender in words.get(person, ()))

    def has_spoken(self, person: int) -> bool:
        """At the first level at which not all have?"""
        return person in self._words[self.level]

    @property
    def matching(self) -> Matching:
        if self._matching is None:
            levels = self._words[: self.level]
            rows = tuple(tuple(tender for words in levels for tender in words[person]) for person in self.persons)
            self._matching = match(rows, self._objects, ALONE)
        return self._matching

    def terms(self, person: int) -> tuple[Sequence[int], int]:
        """The prices of all objects, and what it would have to pay at least for another that it has told of."""
        if self.level == 0:
            return (0,) * self._objects, ALONE
        return self.matching.prices, self.matching.dues[self.persons.index(person)]


def _fitting(table: _Table, keys: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """As many of these words as one message holds."""
    fitting, tenders = [], 0
    for level, person in keys[:WORDS_MAX]:
        tenders += len(table.word(level, person) or ())
        if tenders > TENDERS_MAX:
            break
        fitting.append((level, person))
    return fitting
