"""A perceptron with one hidden layer, learned by stochastic gradient descent with momentum, in plain numpy.

Weights are four arrays: into the hidden layer (inputs, hidden) and its bias (hidden,), out of it (hidden, classes) and
its bias (classes,). Hidden units are rectified, the output is a softmax, the loss is the cross-entropy in nats
(D. Rumelhart, G. Hinton, R. Williams, Learning representations by back-propagating errors, 1986; initial weights after
K. He et al., 2015). Weights of models that began alike may be averaged; that is what makes data-parallel learning
possible (B. McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017).

Invariant: the same weights, pictures and generator give the same result; nothing that is handed in is changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .images import CLASSES, Labels, Pixels

Weight: TypeAlias = NDArray[np.float32]
Weights: TypeAlias = list[Weight]


def initial(inputs: int, hidden: int, rng: np.random.Generator) -> Weights:
    """Random weights, scaled so that signals neither grow nor fade; no bias."""

    def layer(rows: int, columns: int) -> Weight:
        scaled: Weight = rng.standard_normal((rows, columns), np.float32) * np.float32(math.sqrt(2 / rows))
        return scaled

    into, out = layer(inputs, hidden), layer(hidden, CLASSES)
    return [into, np.zeros(hidden, np.float32), out, np.zeros(CLASSES, np.float32)]


def fit(
    weights: Weights,
    passes: Iterable[Pixels],
    labels: Labels,
    *,
    batch: int,
    rate: float,
    momentum: float,
    rng: np.random.Generator,
) -> tuple[Weights, float]:
    """The weights after all passes over the rows, and the mean loss per row of the last pass.

    Each pass brings the pixels (rows, inputs) of the same rows, perhaps distorted anew; each is gone through in a
    random order, `batch` rows a step.
    """
    weights = [np.array(layer, np.float32) for layer in weights]
    velocity = [np.zeros_like(layer) for layer in weights]
    loss = 0.0
    for pixels in passes:
        loss = 0.0
        order = rng.permutation(len(labels))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            step_loss, slopes = _gradient(weights, pixels[rows], labels[rows])
            loss += step_loss * len(rows) / len(order)
            for layer, speed, slope in zip(weights, velocity, slopes, strict=True):
                speed *= momentum
                speed -= rate * slope
                layer += speed
    return weights, loss


def _gradient(weights: Weights, pixels: Pixels, labels: Labels) -> tuple[float, Weights]:
    """The mean loss over these rows, and its slope in every weight."""
    into, into_bias, out, out_bias = weights
    rows = np.arange(len(labels))
    hidden = np.maximum(pixels @ into + into_bias, 0)
    chances = hidden @ out + out_bias
    chances -= chances.max(axis=1, keepdims=True)
    np.exp(chances, out=chances)
    chances /= chances.sum(axis=1, keepdims=True)
    loss = -float(np.log(np.maximum(chances[rows, labels], 1e-12)).mean())

    chances[rows, labels] -= 1  # the slope of softmax and cross-entropy together: chance minus truth
    chances /= len(labels)
    back = (chances @ out.T) * (hidden > 0)
    return loss, [pixels.T @ back, back.sum(axis=0), hidden.T @ chances, chances.sum(axis=0)]


def predict(weights: Weights, pixels: Pixels) -> Labels:
    """The likeliest class of each row."""
    into, into_bias, out, out_bias = weights
    likeliest: Labels = np.argmax(np.maximum(pixels @ into + into_bias, 0) @ out + out_bias, axis=1)
    return likeliest


def mean(models: Sequence[Weights], rows: Sequence[int]) -> Weights:
    """The mean of several models' weights, each counted by the rows it has seen."""
    shares = np.asarray(rows, np.float64) / sum(rows)
    return [np.tensordot(shares, np.stack(layers), axes=1).astype(np.float32) for layers in zip(*models, strict=True)]
