"""What would this task cost here? One function per policy; what it answers is a price made of terms, or a refusal.

`earliest_finish` is the default: seconds until the task would be done here. Its terms are `queue` (put in front by the
participant, who knows its queue), `run` (what the estimator has learnt of the kind) and `transfer` (the argument's way
to this node). They sum to the cost.
"""

from __future__ import annotations

from ..protocols.core import NodeId
from ..protocols.participant import Asked, Pricing, Valuation
from .estimator import Estimator
from .resources import Resources

LATENCY_S = 0.0005
LINK_BYTES_PER_S = 100e6
"""What a link between nodes is taken to carry: a gigabit network."""


def earliest_finish(node: NodeId, resources: Resources, estimator: Estimator) -> Valuation:
    """Seconds until done here; a refusal for what this node does not offer or lacks."""

    def value(asked: Asked, now: float) -> Pricing:
        task = asked.task
        if unfit := resources.unfit(task):
            return unfit
        run = ("run", estimator.predict(task, now))
        if asked.initiator == node:
            return Pricing((run,))
        return Pricing((run, ("transfer", LATENCY_S + task.payload_bytes / LINK_BYTES_PER_S)))

    return value
