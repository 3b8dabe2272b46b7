"""The words of a person for the words of the log: reasons, rules, states, seconds, counts."""

from __future__ import annotations

from collections.abc import Sequence

from ...protocols.performatives import Reason

REASONS = {
    Reason.KIND: "it does not offer this kind",
    Reason.NEED: "it lacks what the task needs",
    Reason.ONLY: "the task may not go there",
    Reason.DEADLINE: "it would be, or was, too late",
    Reason.PAYLOAD: "the argument is larger than it takes",
    Reason.UNWILLING: "its owner's valuation says no",
    Reason.BUSY: "it is neither free now nor next",
    Reason.DRAINING: "it is about to leave",
    Reason.OUTBID: "another bid was better",
    Reason.RESERVE: "it asks more than the task is worth",
    Reason.LATE: "the call had closed",
    Reason.ERROR: "the task itself failed",
    Reason.DIED: "its worker died",
    Reason.TIMEOUT: "it took longer than it may",
    Reason.LEASE: "its lease was not renewed in time",
    Reason.VANISHED: "the node is gone",
    Reason.ORPHANED: "the node that had called for it is gone",
    Reason.CANCELLED: "it was cancelled",
    Reason.PARENT: "a task that it comes after has failed",
    Reason.REPLICA: "it has another replica of the task",
    Reason.PLAN: "it was only asked what it would cost",
}

RULES = {
    "contract-net": "the longest task first, to where it ends soonest",
    "first-price": "sealed bids, the longest task first; the least is taken, and paid what it has asked",
    "vickrey": "sealed bids, the longest task first; the least is taken, and paid what the runner-up has asked",
    "english": "the longest task first; what has a reserve price is sold in the open, at falling prices",
    "dutch": "the longest task first; what has a reserve price is sold in the open, at rising prices",
    "iterated": "the longest task first, to where it ends soonest after the better bidders were asked again",
    "prices": "one of a batch, whose tasks all nodes have divided at prices that they agreed on",
    "most-free": "first come, first served, to the node with the most free slots",
    "longest-heaviest": "the longest task first, to the heaviest node that is free",
    "gang": "members at once, where all could end soonest, on the fewest nodes; the first of them leads",
    "random": "first come, first served, to any bidder with equal chance",
}
BY_COST = frozenset({"contract-net", "first-price", "vickrey", "english", "dutch", "iterated"})
"""The rules under which the least cost wins."""


def rule_words(name: str) -> str:
    """What a rule does; a rule of a newer Parley has its name only."""
    return f"{name}: {RULES[name]}" if name in RULES else name


def duration(seconds: float) -> str:
    """Three digits that matter, in the unit that suits.

    >>> duration(0.00041), duration(0.0123), duration(1.5), duration(83.25), duration(0.0)
    ('410 µs', '12.3 ms', '1.50 s', '83.2 s', '0 s')
    """
    if seconds == 0.0:
        return "0 s"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.{max(0, 2 - (seconds >= 10) - (seconds >= 100))}f} s"


def within(certificate: float) -> str:
    """How near the optimum is at least.

    >>> within(0.00581), within(1e-9), within(0.123)
    ('within 0.58 % of the optimum', 'within 0 % of the optimum', 'within 12 % of the optimum')
    """
    return f"within {round(certificate * 100, 3):.2g} % of the optimum"


def evidence(node: str, observations: int, factor: float) -> str:
    """What a node's estimate rests on.

    >>> evidence("n3", 9, 1.25), evidence("n3", 0, 2.0)
    ('n3 from 9 like it there, 1.25 times the nominal time', 'n3 from what other nodes tell, 2 times the nominal time')
    """
    source = f"{observations} like it there" if observations else "what other nodes tell"
    return f"{node} from {source}, {factor:.3g} times the nominal time"


def listed(names: Sequence[str], most: int = 8) -> str:
    """The names, or the first of them and how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def clean(text: str) -> str:
    """On one line, and without anything that a terminal would obey."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
