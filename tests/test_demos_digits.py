"""The two tasks: functions of their arguments, small enough to travel."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgpack
import numpy as np
import pytest

from parley.launch.demos.digits import Trained, evaluate, train
from parley.launch.demos.images import DataError
from parley.launch.demos.network import Weights, initial
from parley.launch.demos.recipes import RECIPES
from parley.protocols.core import PAYLOAD_BYTES_MAX


def first(dataset: str = "digits") -> Weights:
    recipe = RECIPES[dataset]
    return initial(recipe.inputs, recipe.hidden, np.random.default_rng(0))


def learn(shard: int = 0, epoch: int = 0, seed: int = 0) -> Trained:
    return train("digits", None, shard, 8, epoch, 8, first(), seed=seed)


def as_bytes(weights: Weights) -> list[bytes]:
    return [layer.tobytes() for layer in weights]


def test_a_task_run_twice_gives_the_same_bytes() -> None:
    once, again = learn(shard=3, epoch=2), learn(shard=3, epoch=2)
    assert as_bytes(once["weights"]) == as_bytes(again["weights"])
    assert once["loss"] == again["loss"]


def test_shard_epoch_and_seed_each_matter() -> None:
    results = [learn(), learn(shard=1), learn(epoch=1), learn(seed=1)]
    assert len({as_bytes(result["weights"])[0] for result in results}) == 4
    assert [result["rows"] for result in results] == [180] * 4


def test_one_shard_alone_learns_something() -> None:
    before, after = evaluate("digits", None, first()), evaluate("digits", None, learn()["weights"])
    assert before["rows"] == after["rows"] == 360
    assert before["correct"] < 0.3 * 360
    assert after["correct"] > 0.8 * 360


def test_parts_of_an_evaluation_add_up() -> None:
    weights = learn()["weights"]
    parts = [evaluate("digits", None, weights, part, 7) for part in range(7)]
    whole = evaluate("digits", None, weights)
    assert sum(part["correct"] for part in parts) == whole["correct"]
    assert sum(part["rows"] for part in parts) == whole["rows"]


def test_mnist_tasks_fit_into_a_message(tmp_path: Path) -> None:
    for name in ("train", "t10k"):
        ink = np.random.default_rng(0).integers(0, 256, 16 * 784).astype(np.uint8).tobytes()
        sizes = b"".join(size.to_bytes(4, "big") for size in (16, 28, 28))
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + sizes + ink))
        labels = bytes((0, 0, 8, 1)) + sizes[:4] + bytes(range(8)) * 2
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    trained = train("mnist", str(tmp_path), 5, 8, 0, 10, first("mnist"))
    assert trained["rows"] == 2
    assert len(msgpack.packb(as_bytes(trained["weights"]))) < PAYLOAD_BYTES_MAX
    assert evaluate("mnist", str(tmp_path), trained["weights"], 1, 2)["rows"] == 8


def test_missing_data_is_said_by_the_task(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        train("mnist", str(tmp_path / "elsewhere"), 0, 8, 0, 10, first("mnist"))


def test_recipes_lower_the_rate_in_a_straight_line() -> None:
    for recipe in RECIPES.values():
        rates = [recipe.rate_of(epoch, 5) for epoch in range(5)]
        assert rates[0] == recipe.rate
        assert rates[-1] == pytest.approx(recipe.rate_last)
        assert np.allclose(np.diff(rates), np.diff(rates)[0])
        assert recipe.rate_of(0, 1) == recipe.rate
