"""How each dataset is learned: the numbers, chosen on a validation part of the training rows, never on the test rows.

The learning rate falls in a straight line from `rate` in the first epoch to `rate_last` in the last one. Work is the
CPU seconds of one task on the machine where the recipe was tried, one thread; a fleet that emulates
slower nodes scales it by its fastest speed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """`passes` over its shard make one task; `parts` evaluation tasks share the test rows of each epoch."""

    dataset: str
    inputs: int
    hidden: int
    shards: int
    epochs: int
    passes: int
    batch: int
    rate: float
    rate_last: float
    momentum: float
    shift: float
    turn: float
    parts: int
    train_work: float
    evaluate_work: float

    def rate_of(self, epoch: int, epochs: int) -> float:
        """The learning rate of epoch 0, 1, … of `epochs`."""
        return self.rate + (self.rate_last - self.rate) * epoch / max(1, epochs - 1)


RECIPES = {
    recipe.dataset: recipe
    for recipe in (
        Recipe(
            dataset="digits",
            inputs=64,
            hidden=128,
            shards=8,
            epochs=8,
            passes=45,
            batch=16,
            rate=0.07,
            rate_last=0.007,
            momentum=0.9,
            shift=0.7,
            turn=0.15,
            parts=1,
            train_work=0.045,
            evaluate_work=0.002,
        ),
        Recipe(
            dataset="mnist",
            inputs=784,
            hidden=128,
            shards=8,
            epochs=16,
            passes=3,
            batch=32,
            rate=0.1,
            rate_last=0.03,
            momentum=0.9,
            shift=0.0,
            turn=0.0,
            parts=2,
            train_work=0.2,
            evaluate_work=0.03,
        ),
    )
}
