"""Which task comes next: data-parallel learning as a state machine that knows no network.

Like a protocol it is told (`finished`) and answers (jobs). Whoever owns it has the jobs run wherever and in whatever
order, and tells it each result once; a job that was lost on the way is its owner's affair.

    owner                     Training
      | start()                  |
      |------------------------->|
      |<---- 8 × train, epoch 0  |
      | finished(train.0.3, …)   |
      |------------------------->|   rounds: nothing yet; gossip: train.1.3 from the mean with one other shard
      |<---- [train.1.3]         |   the last of an epoch: evaluate.1.0 (and in rounds the whole next epoch)

Rounds: the row-weighted mean of all shards opens the next epoch (local SGD; B. McMahan et al., Communication-Efficient
Learning of Deep Networks from Decentralized Data, 2017). Gossip: nobody waits; a shard goes on at once from the mean
of its own weights and the newest of one sampled shard that has learned something (gossip averaging; S. Boyd et al.,
Randomized Gossip Algorithms, 2006). In both, whenever every shard has come one epoch further, the row-weighted mean of
all newest weights is evaluated beside the training, and the mean after the last epoch is the result.

Invariant: every (epoch, shard) is trained once and every (epoch, part) evaluated once; in rounds the result does not
depend on the order in which jobs finish.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .digits import Evaluated, Trained
from .images import load
from .network import Weights, initial, mean
from .recipes import RECIPES, Recipe

TRAIN = "parley.launch.demos.digits:train"
EVALUATE = "parley.launch.demos.digits:evaluate"


class Mode(enum.StrEnum):
    """With a barrier after each epoch, or without."""

    ROUNDS = "rounds"
    GOSSIP = "gossip"


@dataclass(frozen=True, eq=False)
class Job:
    """A call to be made somewhere: `function(**arguments)`, about `work` CPU seconds.

    `label` (`train.EPOCH.SHARD`, `evaluate.EPOCH.PART`) is unique within one training.
    """

    label: str
    function: str
    arguments: Mapping[str, object]
    work: float
    epoch: int
    part: int


@dataclass
class Score:
    """How the mean of all shards does after `epoch` epochs, as far as its evaluation has come."""

    epoch: int
    correct: int = 0
    rows: int = 0
    parts: int = 0

    @property
    def accuracy(self) -> float:
        """The share of test rows that were recognised."""
        return self.correct / self.rows


class Training:
    """One model, learned by many tasks."""

    def __init__(
        self,
        mode: Mode,
        recipe: Recipe,
        weights: Weights,
        rng: random.Random,
        *,
        data_dir: str | None = None,
        seed: int = 0,
    ) -> None:
        self._mode = mode
        self._recipe = recipe
        self._rng = rng
        self._data_dir = data_dir
        self._seed = seed
        self._initial = weights
        self._newest: dict[int, Trained] = {}
        self._trained = [0] * recipe.shards
        self._level = 0
        self._scores: dict[int, Score] = {}
        self._open: set[str] = set()

    @property
    def jobs_total(self) -> int:
        """How many jobs there will have been at the end."""
        return self._recipe.epochs * (self._recipe.shards + self._recipe.parts)

    @property
    def scores(self) -> list[Score]:
        """The evaluations that are complete, by epoch."""
        return [score for _, score in sorted(self._scores.items()) if score.parts == self._recipe.parts]

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the final model on the test rows; None while it is not known."""
        scores = self.scores
        return scores[-1].accuracy if scores and scores[-1].epoch == self._recipe.epochs else None

    @property
    def done(self) -> bool:
        """Whether every job has come back."""
        return self._level == self._recipe.epochs and not self._open

    @property
    def weights(self) -> Weights:
        """The row-weighted mean of all shards' newest weights: once training is done, the result."""
        newest = [trained for _, trained in sorted(self._newest.items())]
        if not newest:
            return self._initial
        return mean([trained["weights"] for trained in newest], [trained["rows"] for trained in newest])

    def start(self) -> list[Job]:
        """The first jobs: every shard from the same weights."""
        return [self._train(shard, self._initial) for shard in range(self._recipe.shards)]

    def finished(self, job: Job, result: Trained | Evaluated) -> list[Job]:
        """One job has come back; these may start now. Raises ValueError if it is not one that was out."""
        if job.label not in self._open:
            raise ValueError(f"{job.label} was not out")
        self._open.remove(job.label)
        if "weights" in result:
            return self._advance(job.part, result)
        self._score(job.epoch, result)
        return []

    def _advance(self, shard: int, trained: Trained) -> list[Job]:
        self._newest[shard] = trained
        self._trained[shard] += 1
        jobs = []
        if self._mode is Mode.GOSSIP and self._trained[shard] < self._recipe.epochs:
            jobs.append(self._train(shard, self._meet(shard)))
        if min(self._trained) > self._level:
            self._level += 1
            model = self.weights
            if self._mode is Mode.ROUNDS and self._level < self._recipe.epochs:
                jobs += [self._train(shard, model) for shard in range(self._recipe.shards)]
            jobs += [self._evaluate(part, model) for part in range(self._recipe.parts)]
        return jobs

    def _meet(self, shard: int) -> Weights:
        """The mean of this shard's newest weights and those of one other that has learned something, if any has."""
        own = self._newest[shard]["weights"]
        others = sorted(self._newest.keys() - {shard})
        if not others:
            return own
        return mean([own, self._newest[self._rng.choice(others)]["weights"]], [1, 1])

    def _score(self, epoch: int, evaluated: Evaluated) -> None:
        score = self._scores.setdefault(epoch, Score(epoch))
        score.correct += evaluated["correct"]
        score.rows += evaluated["rows"]
        score.parts += 1

    def _train(self, shard: int, weights: Weights) -> Job:
        epoch = self._trained[shard]
        arguments = {
            "dataset": self._recipe.dataset,
            "data_dir": self._data_dir,
            "shard": shard,
            "shards": self._recipe.shards,
            "epoch": epoch,
            "epochs": self._recipe.epochs,
            "weights": weights,
            "seed": self._seed,
        }
        return self._out(Job(f"train.{epoch}.{shard}", TRAIN, arguments, self._recipe.train_work, epoch, shard))

    def _evaluate(self, part: int, weights: Weights) -> Job:
        epoch = self._level
        arguments = {
            "dataset": self._recipe.dataset,
            "data_dir": self._data_dir,
            "weights": weights,
            "part": part,
            "parts": self._recipe.parts,
        }
        return self._out(Job(f"evaluate.{epoch}.{part}", EVALUATE, arguments, self._recipe.evaluate_work, epoch, part))

    def _out(self, job: Job) -> Job:
        self._open.add(job.label)
        return job


def prepare(mode: Mode, dataset: str = "digits", data_dir: str | None = None, seed: int = 0) -> Training:
    """A training by the dataset's own recipe; `seed` fixes its first weights, its shuffles and whom gossip samples.

    Reads the data, so that what is wrong with it is said before anything starts. Raises DataError.
    """
    load(dataset, data_dir)
    recipe = RECIPES[dataset]
    weights = initial(recipe.inputs, recipe.hidden, np.random.default_rng(seed))
    return Training(mode, recipe, weights, random.Random(seed), data_dir=data_dir, seed=seed)
