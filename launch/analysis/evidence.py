"""What `verify` has read of a run and looks things up in, and what it has found wrong."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from ...protocols.auctions import AuctionClosed, PriceTried
from ...protocols.award_rules import RULES
from ...protocols.batch_words import BatchColumn, BatchDivided, BatchOpened, PriceRound
from ...protocols.contract_events import (
    AuctionAwarded,
    AuctionOpened,
    AuctionPlanned,
    BidDeclined,
    BidSubmitted,
    StepLine,
)
from ...protocols.core import Event
from ...protocols.gang_words import GangReserving
from .logfile import Gap

if TYPE_CHECKING:
    from ...protocols.columns import Table

Logged: TypeAlias = str | int | float | list[str] | None


class Difference(msgspec.Struct, frozen=True):
    """`field` of line `line` of `file` says `logged`; recomputed it is `recomputed`."""

    file: str
    line: int
    field: str
    logged: Logged
    recomputed: Logged


class Place(NamedTuple):
    """Where a line stands. `life` counts the starts of the node: with each its numbers begin anew."""

    file: str
    line: int
    node: str
    life: int
    hlc: int


class Evidence:
    """All of one run. Keys are (who logged it, task, the other side) where three names stand."""

    def __init__(self) -> None:
        self.bids: dict[tuple[str, str, str], list[tuple[Place, BidSubmitted]]] = {}
        self.declines: dict[tuple[str, str, str], list[tuple[Place, BidDeclined]]] = {}
        self.opened: dict[tuple[str, str], AuctionOpened] = {}
        self.invited: dict[tuple[str, str], set[str]] = {}
        self.called: dict[tuple[str, str], int] = {}  # when first, by who called and task
        self.works: dict[str, float | None] = {}
        self.awards: dict[tuple[str, int, int], tuple[Place, AuctionAwarded]] = {}  # by file, life and number
        self.steps: dict[tuple[str, int, int], tuple[Place, AuctionPlanned, StepLine]] = {}
        self.last_plan: dict[tuple[str, int], int] = {}  # its line, by file and life
        self.arrivals: dict[tuple[str, int, int], str] = {}  # whose it is: by file, life and number
        self.awarded: dict[str, list[tuple[Place, int]]] = {}  # task -> epochs
        self.epochs: dict[str, set[int]] = {}  # of which more is told than their award
        self.asked_for: set[tuple[str, str, int]] = set()  # by node and task: epochs, which it may award then
        self.committed: set[str] = set()
        self.numbers: dict[Place, int] = {}  # of each award, counted by life
        self.counting: set[tuple[str, int]] = set()  # files and lives in which awards have numbers: older ones had none
        self.seeds: defaultdict[tuple[str, int], Counter[int]] = defaultdict(Counter)
        """Of plans, and of awards without one, by file and life."""
        self.prices: dict[str, list[tuple[Place, PriceTried]]] = {}
        self.closed: dict[str, tuple[Place, AuctionClosed]] = {}
        self.batches: dict[str, tuple[Place, BatchOpened]] = {}
        self.columns: dict[str, dict[str, tuple[Place, BatchColumn]]] = {}  # by session and node
        self.divided: dict[str, dict[str, BatchDivided]] = {}  # the same
        self.rounds: dict[str, dict[tuple[str, int], list[tuple[Place, PriceRound]]]] = {}
        """By session; by node and round. A synchronous round that was heard again, with other voices, is told again."""
        self.tables: dict[tuple[str, int], Table | None] = {}  # by session and members; None: a column is missing
        self.bounds: dict[tuple[str, int], float] = {}  # the same: the best that the price rounds so far prove
        self.capacity: dict[str, set[tuple[int, float]]] = {}  # slots and speed, of each life of a node
        self.reserving: dict[tuple[str, str, str], tuple[Place, GangReserving]] = {}  # by file, auction and task
        self.reserved: dict[tuple[str, str, str], int] = {}  # members, by node, auction and task
        self.members: defaultdict[tuple[str, int], set[tuple[str, ...]]] = defaultdict(set)  # by task and epoch
        self.traded: set[tuple[str, str, str]] = set()  # session, task, and to whom it went afterwards
        self.to_check: list[tuple[Place, Event]] = []
        self.differences: list[Difference] = []
        self.gaps: list[Gap] = []
        self.unsound: set[tuple[str, int]] = set()
        """Lines that contradict themselves: nothing is held against what they say."""
        self._last: dict[str, tuple[int, bool]] = {}  # of each node: its last moment, and was that its end in order?
        self._killed: dict[str, list[tuple[int, int]]] = {}  # of each node: its last moment before, its first after
        self._awards_of: Counter[tuple[str, int]] = Counter()  # how many so far, by file and life
        self._incomparable: Counter[str] = Counter()

    def seen(self, place: Place, began: bool, ended: bool) -> None:
        """This line is there; with it the node has begun a life, or ended one in order."""
        latest, in_order = self._last.get(place.node, (0, True))
        if began and not in_order:
            self._killed.setdefault(place.node, []).append((latest, place.hlc))
        self._last[place.node] = max(place.hlc, latest), ended

    def award_made(self, place: Place, award: AuctionAwarded) -> None:
        self.awards.setdefault((place.file, place.life, award.number), (place, award))
        self.awarded.setdefault(award.task, []).append((place, award.epoch))
        if award.members:
            self.members[award.task, award.epoch].add(award.members)
        self._awards_of[place.file, place.life] += 1
        self.numbers[place] = self._awards_of[place.file, place.life]
        if award.number:
            self.counting.add((place.file, place.life))
        rule = RULES.get(award.rule)
        if rule is None or rule.form is not None:
            self.seeds[place.file, place.life][award.seed] += 1

    def plan_made(self, place: Place, plan: AuctionPlanned) -> None:
        self.last_plan[place.file, place.life] = place.line
        self.seeds[place.file, place.life][plan.seed] += 1
        for step in plan.steps:
            self.arrivals.setdefault((place.file, place.life, step.key[3]), step.task)
            if step.number:
                self.steps.setdefault((place.file, place.life, step.number), (place, plan, step))

    def lacks_lines(self, file: str) -> bool:
        """Some are missing in it."""
        return any(gap.file == file for gap in self.gaps)

    def was_killed(self, node: str, since: float, until: float) -> bool:
        """Between these moments, and started again: what it did last may be in no log."""
        times = self._killed.get(node, [])
        first = bisect_right(times, since, key=lambda lost: lost[1])
        return first < len(times) and times[first][0] < until

    def tells_all(self, node: str, until: int, since: int = 0) -> bool:
        """Has the log of this node all that it did between these moments? One that was killed may lack its last
        lines."""
        if node not in self._last or self.lacks_lines(f"{node}.jsonl") or self.was_killed(node, since, until):
            return False
        latest, ended = self._last[node]
        return ended or latest > until

    def differs(self, place: Place, field: str, logged: object, recomputed: object) -> None:
        self.unsound.add((place.file, place.line))
        self.differences.append(Difference(place.file, place.line, field, _plain(logged), _plain(recomputed)))

    def is_sound(self, place: Place) -> bool:
        return (place.file, place.line) not in self.unsound

    def cannot(self, what: str) -> None:
        """This could not be compared."""
        self._incomparable[what] += 1

    def notes(self) -> list[str]:
        return [f"{what} ({count:,} in all)" for what, count in sorted(self._incomparable.items())]


def _plain(value: object) -> Logged:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list, set, frozenset)):
        return [str(one) for one in value]
    return str(value)
