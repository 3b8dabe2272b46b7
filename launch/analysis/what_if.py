"""What would have changed an award: for each bidder that lost, the least that would have made it win.

    n3 would have won by 800 ms with its model loaded (load_model 2.10 s)
    n1 would have won by 34 ms had it been free at once (queue 200 ms)
    n2 would have won had it run it in less than 310 ms, not 415 ms

Read off the bids of the award by its rule: a bidder at a distance d behind the winner would have won without any of its
terms that is larger than d, all else being equal; told is the largest of them, and the run only if it is the only one.
Under the rules that do not look at costs it is what they look at instead: free slots, speed, chance. What was divided
with others is looked at as if each had been awarded by itself. `wins_by` is the margin it would have had, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from ...protocols.batch_words import PROTOCOL
from ...protocols.contract_events import BidLine, DeclineLine
from ...protocols.performatives import Reason
from .words import BY_COST, duration, listed

BIDDERS_MAX = 3
"""Of so many losers, the nearest, it is told."""
ABLE = frozenset({Reason.NEED, Reason.KIND, Reason.ONLY, Reason.PAYLOAD, Reason.UNWILLING, Reason.RESERVE})
"""Declines that a change on the node, or of the task, would have turned into a bid."""
WITHOUT = {
    "queue": "had it been free at once",
    "load_model": "with its model loaded",
    "server_queue": "had its model server been free",
    "transfer": "had it had the data already",
    "affinity": "had it had what the task prefers",
    "resources": "had what the task takes been free there",
}


class Change(msgspec.Struct, frozen=True):
    """`node` would have won if `term` (None: something that is no term) had been `at_most`; then by `wins_by`."""

    node: str
    term: str | None
    was: float | None
    at_most: float | None
    wins_by: float | None
    text: str


def what_if(
    rule: str,
    winner: str,
    bids: Sequence[BidLine],
    declines: Sequence[DeclineLine],
    silent: Sequence[str],
) -> tuple[Change, ...]:
    """What would have changed this award; the nearest first. `bids` are sorted by cost."""
    won = next((bid for bid in bids if bid.node == winner), None)
    if won is None:
        return ()
    losers = [bid for bid in bids if bid.node != winner]
    changes: list[Change] = []
    if rule in BY_COST:
        for loser in losers[:BIDDERS_MAX]:
            changes.append(_cheaper(loser, won))
    elif rule == "most-free":
        changes += [_freer(loser, won) for loser in sorted(losers, key=lambda bid: -bid.free)[:BIDDERS_MAX]]
    elif rule == "longest-heaviest":
        changes += [_heavier(loser, won) for loser in sorted(losers, key=lambda bid: -bid.speed)[:BIDDERS_MAX]]
    elif rule == "random" and losers:
        changes.append(
            Change(losers[0].node, None, None, None, None, f"chance: each of {len(bids)} was as likely to win")
        )
    elif rule == PROTOCOL and losers and losers[0].cost < won.cost:
        changes.append(_by_itself(losers[0], won))
    changes += _absent(won, declines, silent, rule in BY_COST)
    return tuple(changes)


def _cheaper(loser: BidLine, won: BidLine) -> Change:
    """The one term that alone made the difference."""
    node, behind = loser.node, loser.cost - won.cost
    alone = [(name, seconds) for name, seconds in loser.terms.items() if seconds > behind]
    if not alone:
        text = f"no single term would have won it for {node}, which was {duration(behind)} behind"
        return Change(node, None, loser.cost, won.cost, None, text)
    name, seconds = min(alone, key=lambda term: (term[0] == "run", -term[1]))
    by = seconds - behind
    if name == "run":
        text = f"{node} would have won had it run it in less than {duration(by)}, not {duration(seconds)}"
        return Change(node, name, seconds, by, None, text)
    how = WITHOUT.get(name, f"without its {name}")
    text = f"{node} would have won by {duration(by)} {how} ({name} {duration(seconds)})"
    return Change(node, name, seconds, 0.0, by, text)


def _freer(loser: BidLine, won: BidLine) -> Change:
    more = won.free - loser.free + (loser.node > won.node)
    slots = "slot" if more == 1 else "slots"
    text = f"{loser.node} would have won with {more} more free {slots} (it had {loser.free}, {won.node} {won.free})"
    return Change(loser.node, None, loser.free, loser.free + more, None, text)


def _heavier(loser: BidLine, won: BidLine) -> Change:
    queue = loser.terms.get("queue", 0.0)
    if loser.speed > won.speed and queue > 0.0:
        text = f"{loser.node} (speed {loser.speed:g}) would have won had it been free (queue {duration(queue)})"
        return Change(loser.node, "queue", queue, 0.0, None, text)
    text = f"{loser.node} would have won with a speed above {won.speed:g}, not {loser.speed:g}"
    return Change(loser.node, None, loser.speed, won.speed, None, text)


def _by_itself(loser: BidLine, won: BidLine) -> Change:
    by = won.cost - loser.cost
    text = f"{loser.node} would have won by {duration(by)} had each task of the batch been awarded by itself"
    return Change(loser.node, None, won.cost, loser.cost, by, text)


def _absent(won: BidLine, declines: Sequence[DeclineLine], silent: Sequence[str], by_cost: bool) -> Iterator[Change]:
    """Who did not bid, and with what it might have."""
    below = (
        f"with a bid below {duration(won.cost)}" if by_cost and won.cost > 0.0 else "with a bid that the rule prefers"
    )
    able = [decline for decline in declines if decline.reason in ABLE]
    if able:
        nodes = listed([decline.node for decline in able], 4)
        them = "they" if len(able) > 1 else "it"
        text = f"{nodes} could have won {below}, but {them} declined"
        yield Change(able[0].node, None, None, won.cost, None, text)
    if silent:
        text = f"{listed(silent, 4)} could have won {below}, but did not answer"
        yield Change(silent[0], None, None, won.cost, None, text)
