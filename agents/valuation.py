"""What would this task cost here? One function per policy; what it answers is a price made of terms, or a refusal.

`earliest_finish` is the default: seconds until the task would be done here. Its terms are `queue` (put in front by the
participant, who knows its queue), `run` (what the executor knows or the estimator has learnt of the kind) and
`transfer` (the argument's way to this node, with those of its large values that are not here yet, by what that link
has carried so far: work goes to where its data lies, other things being equal), and `affinity` where a tag that the
task prefers is missing. They sum to the cost. What an owner thinks of it stands in `bidder.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..protocols.core import BlobHint, NodeId
from ..protocols.distances import Distances
from ..protocols.participant import Asked, Pricing, Valuation
from ..protocols.performatives import AFFINITY, Term
from .estimator import Estimator
from .resources import Resources, Shop


def earliest_finish(
    node: NodeId,
    resources: Resources,
    shop: Shop,
    estimator: Estimator,
    knows: Callable[[BlobHint], bool] = lambda hint: False,
    distances: Distances | None = None,
) -> Valuation:
    """Seconds until done here; a refusal for what this node does not offer or lacks. `knows`: is this blob here?"""
    far = distances if distances is not None else Distances()
    last: tuple[tuple[object, ...], Pricing] = (), Pricing()

    def value(asked: Asked, now: float) -> Pricing:
        nonlocal last
        task = asked.task
        if unfit := resources.unfit(task, shop):
            return unfit
        own = shop.price(task)
        if own is not None or task.terms is not None or task.blobs:
            return priced(asked, own, now)
        alike = task.kind, task.work, task.payload_bytes, asked.initiator, now, estimator.learnt
        if last[0] != alike:  # most that are called together are alike, and cost the same
            last = alike, priced(asked, None, now)
        return last[1]

    def priced(asked: Asked, own: Sequence[Term] | None, now: float) -> Pricing:
        task = asked.task
        basis = None
        if own is None:
            seconds, basis = estimator.estimate(task, now)
            own = (("run", seconds),)
        if task.terms is not None and task.terms.prefers:
            tags = resources.has(shop)
            apart_s = sum([seconds for tag, seconds in task.terms.prefers if tag not in tags])
            own = (*own, (AFFINITY, apart_s)) if apart_s else own
        if asked.initiator == node:
            return Pricing(tuple(own), basis=basis)
        size = task.payload_bytes
        if task.blobs:
            size += sum([hint[1] for hint in set(task.blobs) if not knows(hint)])
        transfer = ("transfer", far.seconds(asked.initiator, size))
        return Pricing((*own, transfer), basis=basis)

    return value
