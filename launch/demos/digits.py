"""The two tasks of the image demonstration, as worker processes run them.

They are named `parley.launch.demos.digits:train` and `…:evaluate`. Arguments and results are plain numbers, text and
arrays, a few hundred kilobytes at most; the pictures themselves do not travel, every worker reads them once. Matrices
are small: a worker is best given one thread (`OMP_NUM_THREADS=1`).

Invariant: a task is a function of its arguments. Run twice, on whatever node, it gives the same result, so one that
was lost may simply run again.
"""

from __future__ import annotations

from typing import TypedDict, final

import numpy as np

from .images import load
from .jitter import jitter
from .network import Weights, fit, predict
from .recipes import RECIPES


@final
class Trained(TypedDict):
    """One shard's weights after one epoch, the rows they have seen, the mean loss per row (nats)."""

    weights: Weights
    rows: int
    loss: float


@final
class Evaluated(TypedDict):
    """How many of these test rows were recognised."""

    correct: int
    rows: int


def train(
    dataset: str,
    data_dir: str | None,
    shard: int,
    shards: int,
    epoch: int,
    epochs: int,
    weights: Weights,
    seed: int = 0,
) -> Trained:
    """Go on from `weights` over one shard of the training rows. Raises DataError if the data is not there."""
    recipe = RECIPES[dataset]
    pixels, labels = load(dataset, data_dir).train.part(shard, shards)
    rng = np.random.default_rng((seed, shard, epoch))
    distorted = recipe.shift > 0 or recipe.turn > 0
    weights, loss = fit(
        weights,
        (jitter(pixels, recipe.shift, recipe.turn, rng) if distorted else pixels for _ in range(recipe.passes)),
        labels,
        batch=recipe.batch,
        rate=recipe.rate_of(epoch, epochs),
        momentum=recipe.momentum,
        rng=rng,
    )
    return Trained(weights=weights, rows=len(labels), loss=loss)


def evaluate(dataset: str, data_dir: str | None, weights: Weights, part: int = 0, parts: int = 1) -> Evaluated:
    """Try `weights` on one part of the test rows. Raises DataError if the data is not there."""
    pixels, labels = load(dataset, data_dir).test.part(part, parts)
    return Evaluated(correct=int(np.count_nonzero(predict(weights, pixels) == labels)), rows=len(labels))
