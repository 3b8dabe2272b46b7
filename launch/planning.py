"""`parley plan`: who would get a task, and why, without giving it to anybody.

    AskPlan(task) -> Planned(bids, declines, silent) -> the card that `why` draws of an award, or the same as JSON

What was bid is true for this moment: a minute later another node may be the best.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..protocols.contract import unplaced_sentence
from ..protocols.contract_events import BidLine, DeclineLine
from ..protocols.core import State, Task
from ..protocols.performatives import Basis
from ..protocols.requests import Planned
from .analysis.card import render
from .analysis.why import Award, Why
from .analysis.words import duration, within
from .desk import connected
from .submission import Submission


class BasisTold(msgspec.Struct, frozen=True):
    """What the seconds of a run were estimated from: runs there (0: those of other nodes), and how much longer than
    nominal they took."""

    observations: int
    factor: float


class BidTold(msgspec.Struct, frozen=True):
    """What a node would cost, in seconds until done; `terms` sum to it."""

    node: str
    cost: float
    terms: dict[str, float]
    basis: BasisTold | None


class AwardTold(msgspec.Struct, frozen=True):
    """The award that would be made, in the words of `why --json`; `winner` None: nobody can run it. No node that has
    answered does it in less than `bound`, so it is within `certificate` of the optimum."""

    epoch: int
    winner: str | None
    cost: float | None
    runner_up: str | None
    margin: float | None
    rule: str
    bids: tuple[BidTold, ...]
    declines: tuple[DeclineLine, ...]
    silent: tuple[str, ...]
    bound: float | None
    certificate: float | None


class PlanTold(msgspec.Struct, frozen=True):
    """What `parley plan --json` prints; its one award has not been made."""

    task: str
    state: State
    awards: tuple[AwardTold]


async def plan(agents: Sequence[str], submission: Submission) -> tuple[Task, Planned]:
    """Raises Problem."""
    task = submission.submits()[0].task
    async with connected(agents) as agent:
        return task, await agent.plan(task)


def plan_told(task: Task, planned: Planned) -> PlanTold:
    bids = tuple(
        BidTold(bid.node, bid.cost, dict(bid.terms), None if bid.basis is None else _basis(bid.basis))
        for bid in planned.bids
    )
    best, second = (*bids[:2], None, None)[:2]
    bound = min([bid.cost for bid in bids], default=None)
    award = AwardTold(
        epoch=0,
        winner=best.node if best else None,
        cost=best.cost if best else None,
        runner_up=second.node if second else None,
        margin=second.cost - best.cost if best and second else None,
        rule=planned.rule,
        bids=bids,
        declines=_declines(planned),
        silent=planned.silent,
        bound=bound,
        certificate=(best.cost - bound) / bound if best and bound else None,
    )
    return PlanTold(task.id, State.OPEN if best else State.UNPLACED, (award,))


def unplaced(planned: Planned) -> str | None:
    """Why nobody can run it, in one sentence; None: somebody can."""
    if planned.bids:
        return None
    if not planned.declines:
        return f"0/{len(planned.silent)} nodes have answered in time"
    sentence = unplaced_sentence(dict(planned.declines))
    return sentence + (f"; {len(planned.silent)} have not answered" if planned.silent else "")


def card(task: Task, planned: Planned, color: bool, width: int) -> str:
    """All bids as bars, who declined and why, and what the estimates were made of."""
    told = plan_told(task, planned).awards[0]
    assert told.winner is not None
    assert told.cost is not None
    award = Award(
        epoch=0,
        winner=told.winner,
        cost=told.cost,
        runner_up=told.runner_up,
        margin=told.margin,
        rule=told.rule,
        seed=0,
        bids=tuple(BidLine(bid.node, bid.cost, bid.terms, 0, 1.0) for bid in told.bids),
        declines=told.declines,
        silent=told.silent,
        at_s=0.0,
    )
    why = Why(task.id, State.OPEN, None, "", None, (award,), (), (), "", ())
    _, drawn, *_ = render(why, color, width).split("\n\n")  # its paragraphs: what it is, the award, its history
    sources = [
        f"  {bid.node} estimates from {_source(bid.basis)}: {bid.basis.factor:.3g} times the nominal time"
        for bid in told.bids
        if bid.basis is not None
    ]
    proof = [] if told.certificate is None else [f"  {within(told.certificate)}: {_best(told)}"]
    return "\n".join([drawn.replace("Award 0", f"Plan for {task.kind}", 1), *sources, *proof])


def _best(told: AwardTold) -> str:
    """What the optimum is."""
    asked = f"of the {len(told.bids) + len(told.declines)} that have answered" if told.silent else "of all"
    return f"the least bid {asked} is {duration(told.bound or 0.0)}"


def _source(basis: BasisTold) -> str:
    match basis.observations:
        case 0:
            return "what other nodes have seen"
        case 1:
            return "one run there"
    return f"{basis.observations} runs there"


def _basis(basis: Basis) -> BasisTold:
    return BasisTold(basis.observations, basis.factor)


def _declines(planned: Planned) -> tuple[DeclineLine, ...]:
    return tuple(DeclineLine(node, decline.reason, decline.detail) for node, decline in planned.declines)
