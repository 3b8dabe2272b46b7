"""The perceptron: slopes against differences, and averages that are averages."""

from __future__ import annotations

import numpy as np
import pytest

from parley.launch.demos import network
from parley.launch.demos.network import Weights, fit, initial, mean, predict


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def learn(weights: Weights, pixels: np.ndarray, labels: np.ndarray, passes: int = 1) -> tuple[Weights, float]:
    rng = np.random.default_rng(1)
    return fit(weights, [pixels] * passes, labels, batch=5, rate=0.1, momentum=0.9, rng=rng)


def test_slopes_are_those_of_the_loss(rng: np.random.Generator) -> None:
    weights = [np.asarray(layer, np.float64) for layer in initial(6, 5, rng)]
    pixels, labels = rng.random((9, 6)), rng.integers(0, 10, 9)
    _, slopes = network._gradient(weights, pixels, labels)  # type: ignore[arg-type]  # doubles, for exact differences
    for layer, slope in zip(weights, slopes, strict=True):
        for place in np.ndindex(layer.shape):
            losses = []
            for step in (1e-6, -2e-6):
                layer[place] += step
                losses.append(network._gradient(weights, pixels, labels)[0])  # type: ignore[arg-type]
            layer[place] += 1e-6
            assert slope[place] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-6)


def test_learns_what_can_be_told_apart(rng: np.random.Generator) -> None:
    labels = np.arange(60) % 10
    pixels = np.eye(10, dtype=np.float32)[labels] + rng.normal(0, 0.05, (60, 10)).astype(np.float32)
    first = initial(10, 16, rng)
    _, loss_early = learn(first, pixels, labels)
    learned, loss_late = learn(first, pixels, labels, passes=30)
    assert loss_late < loss_early / 10
    assert np.array_equal(predict(learned, pixels), labels)


def test_fit_changes_nothing_it_was_handed_and_repeats_itself(rng: np.random.Generator) -> None:
    first = initial(10, 16, rng)
    for layer in first:
        layer.flags.writeable = False  # as arrays are that came over the wire
    pixels, labels = rng.random((23, 10), np.float32), rng.integers(0, 10, 23)
    once, again = learn(first, pixels, labels), learn(first, pixels, labels)
    assert once[1] == again[1]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(once[0], again[0], strict=True))
    assert all(layer.dtype == np.float32 for layer in once[0])


def test_no_pass_no_change(rng: np.random.Generator) -> None:
    first = initial(4, 3, rng)
    learned, loss = learn(first, np.zeros((2, 4), np.float32), np.zeros(2, np.intp), passes=0)
    assert loss == 0
    assert all(np.array_equal(a, b) for a, b in zip(first, learned, strict=True))


def test_mean_counts_rows() -> None:
    light, heavy = [np.zeros(2, np.float32)], [np.full(2, 4, np.float32)]
    (middle,) = mean([light, heavy], [1, 3])
    assert middle.tolist() == [3, 3]
    assert middle.dtype == np.float32
