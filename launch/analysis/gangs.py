"""The checks of `verify` for gangs: where its members went follows from what its owner knew, and they ran there.

    gang.reserve   from what was known of each place, `gangs.divided` must give these members
    auction.award  its members must be those of the gang.reserve of its call, each node of them must have logged that it
                   keeps their slots (reserve.hold), and the first of them must be the winner
    member.start   it must be at the node that an award of this epoch names for its rank
"""

from __future__ import annotations

from ...protocols.contract_events import AuctionAwarded
from ...protocols.core import Event
from ...protocols.gang_words import GangReserving, MemberStarted
from ...protocols.gangs import Place as At
from ...protocols.gangs import divided
from .evidence import Evidence, Place


def members_of(event: GangReserving) -> tuple[str, ...]:
    """The node of each member, by rank, as it follows from what was known of the places."""
    places = [At(line.node, line.ready_s, line.own_s) for line in event.places]
    return tuple([place.node for place, count in divided(places, event.size) for _ in range(count)])


def check_reserving(evidence: Evidence, place: Place, event: Event) -> bool:
    assert isinstance(event, GangReserving)
    members = members_of(event)
    for line in event.places:
        if line.members != (count := members.count(line.node)):
            evidence.differs(place, f"places[{line.node}].members", line.members, count)
    return True


def check_gang(evidence: Evidence, place: Place, award: AuctionAwarded) -> None:
    """An award of a gang, beside what was reserved for it."""
    known = evidence.reserving.get((place.file, award.auction, award.task))
    if known is None:
        if evidence.lacks_lines(place.file):
            evidence.cannot("awards of gangs that were not compared: what was reserved for them is not in the log")
        else:
            evidence.differs(place, "members", list(award.members), "those that slots were reserved for")
        return
    at, reserving = known
    if not evidence.is_sound(at):
        return
    members = members_of(reserving)
    if award.members != members:
        evidence.differs(place, "members", list(award.members), list(members))
        return
    if award.winner != members[0]:
        evidence.differs(place, "winner", award.winner, members[0])
    own = {bid.node: sum(list(bid.terms.values())[1:]) for bid in award.bids}
    for line in reserving.places:
        if own.get(line.node) != line.own_s:
            evidence.differs(place, f"bids[{line.node}].cost", own.get(line.node), line.own_s)
    for node in dict.fromkeys(members):
        kept = evidence.reserved.get((node, award.auction, award.task))
        if kept is None and not evidence.tells_all(node, place.hlc):
            evidence.cannot("reservations that were not compared: the log of their node is missing or ends before")
        elif kept != (wanted := members.count(node)):
            evidence.differs(place, f"members[{node}]", wanted, kept or 0)


def check_member(evidence: Evidence, place: Place, event: Event) -> bool:
    assert isinstance(event, MemberStarted)
    awards = evidence.members.get((event.task, event.epoch), set())
    if not awards:
        evidence.cannot("members whose award is not in the log")
    elif place.node not in (nodes := {members[event.rank] for members in awards if event.rank < len(members)}):
        evidence.differs(place, "rank", event.rank, f"one of {place.node}, not of {', '.join(sorted(nodes)) or 'none'}")
    return bool(awards)
