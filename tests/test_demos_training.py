"""The driver: what it asks for when, in whatever order jobs come back; and that the whole learns."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import random
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.launch.demos.digits import Evaluated, Trained
from parley.launch.demos.network import Weights
from parley.launch.demos.recipes import RECIPES
from parley.launch.demos.training import EVALUATE, TRAIN, Job, Mode, Training, prepare

SMALL = dataclasses.replace(RECIPES["digits"], shards=3, epochs=2, parts=2)
Runner = Callable[[Job], Trained | Evaluated]
MODES = pytest.mark.parametrize("mode", list(Mode))


def weights(value: float) -> Weights:
    return [np.array([value], np.float32)]


def small(mode: Mode, seed: int = 0) -> Training:
    return Training(mode, SMALL, weights(0), random.Random(seed))


def learned(value: float, rows: int = 1) -> Trained:
    return Trained(weights=weights(value), rows=rows, loss=0.0)


def handed(job: Job) -> float:
    """The one number that the job starts from."""
    layers = job.arguments["weights"]
    assert isinstance(layers, list)
    return float(layers[0][0])


def labels(jobs: list[Job]) -> list[str]:
    return [job.label for job in jobs]


def pretend(job: Job) -> Trained | Evaluated:
    """Learning as a sum that tells shards and epochs apart."""
    if job.function == TRAIN:
        return learned(handed(job) + 1 + 10 * job.part, rows=1 + job.part)
    return Evaluated(correct=3, rows=4)


def really(job: Job) -> Trained | Evaluated:
    """The job's own function, as a worker would find and call it."""
    module, name = job.function.split(":")
    result: Trained | Evaluated = getattr(importlib.import_module(module), name)(**job.arguments)
    return result


def run(training: Training, runner: Runner, rng: random.Random, slots: int = 100) -> list[Job]:
    """All jobs, in the order in which they ended: of the oldest `slots`, any may be next."""
    waiting, ended = training.start(), []
    while waiting:
        job = waiting.pop(rng.randrange(min(slots, len(waiting))))
        waiting += training.finished(job, runner(job))
        ended.append(job)
    return ended


def test_rounds_wait_for_all_shards() -> None:
    training = small(Mode.ROUNDS)
    zero, one, two = training.start()
    assert labels([zero, one, two]) == ["train.0.0", "train.0.1", "train.0.2"]
    assert training.finished(two, learned(6, rows=2)) == []
    assert training.finished(zero, learned(2)) == []
    following = training.finished(one, learned(4))
    assert labels(following) == ["train.1.0", "train.1.1", "train.1.2", "evaluate.1.0", "evaluate.1.1"]
    assert {handed(job) for job in following} == {(2 + 4 + 2 * 6) / 4}


def test_gossip_goes_on_at_once() -> None:
    training = small(Mode.GOSSIP)
    zero, one, two = training.start()
    (alone,) = training.finished(one, learned(4))
    assert (alone.label, handed(alone)) == ("train.1.1", 4)
    (met,) = training.finished(zero, learned(2))
    assert (met.label, handed(met)) == ("train.1.0", 3)
    assert training.finished(alone, learned(8)) == []
    last = training.finished(two, learned(6))
    assert labels(last) == ["train.1.2", "evaluate.1.0", "evaluate.1.1"]
    assert handed(last[0]) in {(6 + 2) / 2, (6 + 8) / 2}
    assert handed(last[1]) == pytest.approx((2 + 8 + 6) / 3)


@MODES
def test_the_last_evaluation_is_the_accuracy(mode: Mode) -> None:
    training = small(mode)
    jobs = training.start()
    evaluations: list[Job] = []
    while jobs:
        following = training.finished(jobs.pop(0), learned(1))
        jobs += [job for job in following if job.function == TRAIN]
        evaluations += [job for job in following if job.function == EVALUATE]
    assert training.accuracy is None
    assert not training.done
    assert labels(evaluations) == ["evaluate.1.0", "evaluate.1.1", "evaluate.2.0", "evaluate.2.1"]
    for job, correct in zip(reversed(evaluations), (9, 8, 5, 5), strict=True):
        assert training.finished(job, Evaluated(correct=correct, rows=10)) == []
    assert training.done
    assert training.accuracy == pytest.approx(0.85)
    assert [(score.epoch, score.accuracy) for score in training.scores] == [(1, 0.5), (2, pytest.approx(0.85))]


@given(st.sampled_from(Mode), st.integers(0, 10**6), st.integers(1, 8))
@settings(deadline=None)
def test_every_job_once_in_any_order(mode: Mode, seed: int, slots: int) -> None:
    training = small(mode, seed)
    ended = run(training, pretend, random.Random(seed), slots)
    assert training.done
    assert training.accuracy == 0.75
    assert len(ended) == training.jobs_total == 3 * 2 + 2 * 2
    assert Counter((job.function, job.epoch, job.part) for job in ended) == Counter(
        [(TRAIN, epoch, shard) for epoch in (0, 1) for shard in (0, 1, 2)]
        + [(EVALUATE, epoch, part) for epoch in (1, 2) for part in (0, 1)]
    )
    assert len(set(labels(ended))) == len(ended)


@given(st.integers(0, 10**6))
@settings(deadline=None)
def test_rounds_do_not_depend_on_the_order(seed: int) -> None:
    in_turn, shuffled = small(Mode.ROUNDS), small(Mode.ROUNDS)
    run(in_turn, pretend, random.Random(0), slots=1)
    run(shuffled, pretend, random.Random(seed))
    assert in_turn.weights[0].tobytes() == shuffled.weights[0].tobytes()


def test_gossip_repeats_itself_for_the_same_seed_and_order() -> None:
    recipe = dataclasses.replace(SMALL, shards=8, epochs=4)

    def final(seed: int) -> bytes:
        training = Training(Mode.GOSSIP, recipe, weights(0), random.Random(seed))
        run(training, pretend, random.Random(5), slots=4)
        return training.weights[0].tobytes()

    assert final(1) == final(1)
    assert len({final(seed) for seed in range(5)}) > 1


@MODES
def test_a_result_is_taken_once(mode: Mode) -> None:
    training = small(mode)
    job = training.start()[0]
    training.finished(job, learned(1))
    with pytest.raises(ValueError, match=r"train\.0\.0 was not out"):
        training.finished(job, learned(1))


@MODES
def test_before_anything_came_back(mode: Mode) -> None:
    training = small(mode)
    training.start()
    assert training.accuracy is None
    assert training.scores == []
    assert not training.done
    assert training.weights[0] == 0


@MODES
def test_jobs_are_calls_that_the_functions_take(mode: Mode) -> None:
    for job in run(prepare(mode), pretend_digits, random.Random(0)):
        module, name = job.function.split(":")
        inspect.signature(getattr(importlib.import_module(module), name)).bind(**job.arguments)
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", job.label)
        assert job.work > 0


def pretend_digits(job: Job) -> Trained | Evaluated:
    layers = job.arguments["weights"]
    assert isinstance(layers, list)
    return Trained(weights=layers, rows=1, loss=0.0) if job.function == TRAIN else Evaluated(correct=1, rows=1)


@MODES
def test_learns_to_read_digits(mode: Mode) -> None:
    training = prepare(mode, seed=1)
    run(training, really, random.Random(2), slots=4)
    assert training.accuracy is not None
    assert training.accuracy >= 0.96
    assert training.scores[-1].rows == 360
    assert training.scores[0].accuracy < training.accuracy
