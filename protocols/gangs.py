"""Gangs: k members that run at once, on the slots of whatever nodes, or not at all. What the owner of one does.

Sources: Ousterhout 1982 (gangs); Havender 1968 (resources taken in one order: nobody waits in a circle); Gray and
Cheriton 1989 (leases). A gang is one task, with one register, one epoch per award and one outcome (`commitment.py`).

    owner                                     nodes
      | CallForProposals -------------------> all       as for any task
      | <--------------------- Proposal(bid)  each      what a member costs there, how many could be there; the load
      |                                                 says when. Where all could end soonest, the fewest nodes
      | Reserve(3) ---------> n1                        one after the other, in the order of their names: each waits in
      | <---------- Reserved  n1                        its row for its slots, and keeps those of the nodes before it
      | Reserve(3) ---------> n4                        said again every quarter of a term: what nobody asks for ends
      | <---------- Reserved  n4
      | Award(members n1 n1 n1 n4 n4 n4) ---> n1        all are held: now one register decides; n1 leads (`leader.py`)
      |                                       n1        Enlist, Commence: all start; or none does
      | <-------------- Inform([r0 .. r5]) |  Failure   the results by rank; or the attempt is over as a whole

Two gangs that want the same slots: whoever has reserved at n1 first has its turn there, and waits, if at all, only for
nodes behind n1; so the one that has come farthest waits for what runs, and for no other gang. What waits too long at
one node (its patience), or loses one, gives up what it has everywhere: Withdraw, and another call a little later.

Invariants: an award of a gang is made when all its slots are held, to the first of its nodes; what is held anywhere for
a gang that is not awarded is withdrawn, or ends within a term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .award_rules import Offer
from .contract import Contract, Stage
from .core import Effect, NodeId, Send, TaskId
from .gang_words import TERM_S, GangBroken, GangReserving, PlaceLine, Reserve, Reserved, Unreserved, Withdraw
from .load import Outlook
from .performatives import Decline, Reason
from .timers import earliest

GANG = "gang"
"""In the place of a rule's name, in the records of awards: `divided` has chosen."""
SLACK = 0.25
"""A gang goes to fewer nodes where it ends no more than this part later than it could."""
PATIENCE = 4.0
PATIENCE_S = 10.0
"""Its slots must all be held in so many times as long as was to be expected, and may take at least so long: longer than
any node lets it wait (`reserves.py`), so that this only ends what no node answers."""


class Place(NamedTuple):
    """A node that could have members: the seconds until each of them could start there, ascending, and those that one
    takes."""

    node: NodeId
    ready_s: tuple[float, ...]
    own_s: float


def divided(places: Sequence[Place], size: int) -> list[tuple[Place, int]]:
    """So many members at each place: all end as soon as they can, but for SLACK, at the fewest nodes. Empty: there is
    no room for all. Ties go to the cheaper place, then to the first by name.

    >>> divided([Place("a", (0.0, 0.0), 1.0), Place("b", (0.0, 0.0, 0.0), 1.0), Place("c", (0.0, 9.0), 1.0)], 4)
    [(Place(node='b', ready_s=(0.0, 0.0, 0.0), own_s=1.0), 3), (Place(node='a', ready_s=(0.0, 0.0), own_s=1.0), 1)]
    """
    ends = sorted([ready + place.own_s for place in places for ready in place.ready_s])
    if len(ends) < size:
        return []
    limit = ends[size - 1] * (1.0 + SLACK)
    rooms = {place: sum([ready + place.own_s <= limit for ready in place.ready_s]) for place in places}
    chosen: list[tuple[Place, int]] = []
    left = size
    while left:
        enough = [place for place, room in rooms.items() if room >= left]
        if enough:
            place = min(enough, key=lambda one: (one.ready_s[left - 1] + one.own_s, one.own_s, one.node))
        else:
            place = min(rooms, key=lambda one: (-rooms[one], one.own_s, one.node))
        taken = min(rooms.pop(place), left)
        chosen.append((place, taken))
        left -= taken
    return chosen


class _Gang:
    """One whose slots are being reserved."""

    __slots__ = ("again_at", "asked", "bids", "contract", "counts", "declines", "members", "offers", "until")

    def __init__(
        self, contract: Contract, offers: Sequence[Offer], chosen: Sequence[tuple[Place, int]], now: float
    ) -> None:
        self.contract = contract
        self.offers = offers
        self.bids = dict(contract.bids)  # as it was planned on: what is heard of it since is of no use
        self.declines = dict(contract.declines)
        self.counts = sorted([(place.node, count) for place, count in chosen])
        self.members = tuple([place.node for place, count in chosen for _ in range(count)])
        self.asked = 0  # so many of the nodes; all but the last of them hold their slots
        wait_s = max([place.ready_s[count - 1] for place, count in chosen])
        self.until = now + max(PATIENCE * wait_s, PATIENCE_S)
        self.again_at = now + TERM_S / 4

    @property
    def nodes(self) -> list[NodeId]:
        """Whom it has asked."""
        return [node for node, _ in self.counts[: self.asked]]

    def reserve(self, place: int, now: float) -> Send:
        node, count = self.counts[place]
        return Send(node, Reserve(self.contract.auction, self.contract.asked(now), count, TERM_S))


class Gangs:
    """Those of one initiator, whose verbs these are: `award` one whose slots are all held to the node that is to lead
    it, on the offers that it was planned on; `reopen` one that may not be awarded any more; `park` one that is to be
    called again a little later.
    """

    def __init__(
        self,
        seed: int,
        may_award: Callable[[Contract], bool],
        award: Callable[[Contract, Offer, Sequence[Offer], str, int, float], list[Effect]],
        reopen: Callable[[Contract, float], list[Effect]],
        park: Callable[[Contract, float], list[Effect]],
    ) -> None:
        self._seed = seed
        self._may_award = may_award
        self._award = award
        self._reopen = reopen
        self._park = park
        self._gangs: dict[TaskId, _Gang] = {}

    def short(self, contract: Contract) -> bool:
        """All that have bid for it have too few slots together, however long it waits: they count as declining."""
        if not (size := contract.task.gang):
            return False
        room = sum([bid.seats for bid in contract.bids.values()])
        if room >= size:
            return False
        for node in list(contract.bids):
            detail = f"have room for {room} of its {size} members together"
            contract.decline(node, Decline(contract.task.id, Reason.NEED, detail))
        return True

    def begin(
        self, contract: Contract, offers: Sequence[Offer], outlooks: Mapping[NodeId, Outlook], now: float
    ) -> list[Effect]:
        """Reserve slots for it, if all that have bid and told their load have enough."""
        size, slots = contract.task.gang, contract.task.slots
        places = []
        for offer in offers:
            ready = sorted(outlooks[offer.node].slots_ready_s)[slots - 1 :: slots][: contract.bids[offer.node].seats]
            places.append(Place(offer.node, tuple(ready), offer.own_s))
        chosen = divided(places, size)
        if not chosen:
            return []
        counts = {place.node: count for place, count in chosen}
        contract.stage = Stage.RESERVING
        gang = self._gangs[contract.task.id] = _Gang(contract, offers, chosen, now)
        lines = tuple([PlaceLine(*place, counts.get(place.node, 0)) for place in places])
        reserving = GangReserving(auction=contract.auction, task=contract.task.id, size=size, places=lines)
        return [reserving, *self._ask_next(gang, now)]

    def _ask_next(self, gang: _Gang, now: float) -> list[Effect]:
        gang.asked += 1
        return [gang.reserve(gang.asked - 1, now)]

    def expect(self, outlooks: Mapping[NodeId, Outlook]) -> None:
        """What is to be reserved, and is not counted in what its nodes have told, is taken in a plan."""
        for gang in self._gangs.values():
            for node, count in gang.counts[gang.asked - 1 :]:
                if node in outlooks:
                    for _ in range(count * gang.contract.task.slots):
                        outlooks[node].take(gang.bids[node].own_s)

    def hear(self, message: Reserved | Unreserved, sender: NodeId, now: float) -> list[Effect]:
        gang = self._gangs.get(message.task)
        if gang is None or gang.contract.auction != message.auction or sender not in gang.nodes:
            return []
        if isinstance(message, Unreserved):
            return self._break(gang, sender, message.reason, message.detail, now)
        if sender != gang.nodes[-1]:
            return []
        if gang.asked < len(gang.counts):
            return self._ask_next(gang, now)
        if not self._may_award(gang.contract):
            return [*self.remove(gang.contract), *self._reopen(gang.contract, now)]
        again = [gang.reserve(place, now) for place in range(gang.asked)]
        del self._gangs[message.task]
        contract = gang.contract
        contract.members, contract.bids, contract.declines = gang.members, gang.bids, gang.declines
        leads = next(offer for offer in gang.offers if offer.node == gang.members[0])
        return [*again, *self._award(contract, leads, gang.offers, GANG, self._seed, now)]

    def gone(self, node: NodeId, now: float) -> list[Effect]:
        """What it has reserved is lost."""
        lost = [gang for gang in self._gangs.values() if node in dict(gang.counts)]
        return [effect for gang in lost for effect in self._break(gang, node, Reason.VANISHED, "is gone", now)]

    def remove(self, contract: Contract) -> list[Effect]:
        """It has ended, or is another's: what is reserved is let go."""
        gang = self._gangs.pop(contract.task.id, None)
        return _withdraw(contract, gang.nodes) if gang is not None else []

    @staticmethod
    def lost(contract: Contract) -> list[Effect]:
        """Its award came to nothing: what was not enlisted is let go."""
        members, contract.members = contract.members, ()
        return _withdraw(contract, list(dict.fromkeys(members)))

    def _break(self, gang: _Gang, by: NodeId, reason: Reason, detail: str, now: float) -> list[Effect]:
        contract = gang.contract
        withdrawn = self.remove(contract)
        broken = GangBroken(auction=contract.auction, task=contract.task.id, peer=by, reason=reason, detail=detail)
        return [broken, *withdrawn, *self._park(contract, now)]

    @property
    def deadline(self) -> float | None:
        if not self._gangs:
            return None
        return earliest(*[min(gang.again_at, gang.until) for gang in self._gangs.values()])

    def wake(self, now: float) -> Sequence[Effect]:
        if not self._gangs:
            return ()
        effects: list[Effect] = []
        for gang in list(self._gangs.values()):
            if gang.until <= now:
                effects += self._break(gang, gang.nodes[-1], Reason.LATE, "has not answered", now)
            elif gang.again_at <= now:
                gang.again_at = now + TERM_S / 4
                effects += [gang.reserve(place, now) for place in range(gang.asked)]
        return effects


def _withdraw(contract: Contract, nodes: Sequence[NodeId]) -> list[Effect]:
    return [Send(node, Withdraw(contract.auction, contract.task.id)) for node in nodes]
