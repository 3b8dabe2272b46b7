"""The demonstration's pictures: what is stored is what it says, and what a person put there is checked."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.launch.demos import images
from parley.launch.demos.images import DataError, load, read_idx

STORED = Path(images.__file__).with_name("digits.npz")


def write_idx(path: Path, array: np.ndarray, kind: int = 8, cut: int = 0, extra: bytes = b"") -> Path:
    header = bytes((0, 0, kind, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    body = header + array.astype(np.uint8).tobytes() + extra
    path.write_bytes(gzip.compress(body[: len(body) - cut]))
    return path


def write_mnist(folder: Path, rows: int = 24, side: int = 28, labels: int | None = None, top: int = 9) -> str:
    rng = np.random.default_rng(0)
    for name in ("train", "t10k"):
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (rows, side, side)))
        classes = np.resize(np.arange(top + 1), rows if labels is None else labels)
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", classes)
    return str(folder)


def test_stored_digits_are_whole() -> None:
    assert STORED.stat().st_size < 60_000
    digits = load("digits", None)
    content = hashlib.sha256()
    for half, rows in ((digits.train, 1437), (digits.test, 360)):
        assert half.ink.shape == (rows, 64)
        assert half.labels.shape == (rows,)
        assert half.ink.dtype == half.labels.dtype == np.uint8
        assert half.ink.max() == half.ink_max == 16
        content.update(half.ink.tobytes() + half.labels.tobytes())
    assert content.hexdigest() == "f4c83e2ebdae9199912c28654f27f53521938aaa3e8ec8fc6d1b80f8cb200df9"


def test_every_class_has_its_share_of_the_test_rows() -> None:
    digits = load("digits", None)
    train, test = np.bincount(digits.train.labels), np.bincount(digits.test.labels)
    assert list(train + test) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.abs(test - (train + test) / 5).max() < 1


def test_no_test_row_is_trained_on() -> None:
    digits = load("digits", None)
    assert not {row.tobytes() for row in digits.train.ink} & {row.tobytes() for row in digits.test.ink}


def test_loaded_once_per_process() -> None:
    assert load("digits", None) is load("digits", None)


@given(st.integers(1, 12))
@settings(deadline=None)
def test_parts_are_disjoint_and_cover_all_rows(parts: int) -> None:
    train = load("digits", None).train
    pieces = [train.part(index, parts) for index in range(parts)]
    assert np.bincount(np.concatenate([labels for _, labels in pieces])).tolist() == np.bincount(train.labels).tolist()
    sizes = [len(labels) for _, labels in pieces]
    assert max(sizes) - min(sizes) <= 1
    assert all(pixels.dtype == np.float32 and pixels.min() == 0 and pixels.max() == 1 for pixels, _ in pieces)


@pytest.mark.parametrize(("index", "parts"), [(-1, 4), (4, 4), (0, 0)])
def test_there_is_no_such_part(index: int, parts: int) -> None:
    with pytest.raises(ValueError, match="no part"):
        load("digits", None).test.part(index, parts)


def test_idx_round_trip(tmp_path: Path) -> None:
    cube = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(read_idx(write_idx(tmp_path / "cube.gz", cube), 3), cube)
    assert np.array_equal(read_idx(write_idx(tmp_path / "row.gz", cube[0, 0]), 1), cube[0, 0])


def test_broken_idx_files_are_named(tmp_path: Path) -> None:
    row = np.arange(9)
    path = tmp_path / "row.gz"
    with pytest.raises(DataError, match=r"row\.gz is missing"):
        read_idx(path, 1)
    with pytest.raises(DataError, match=r"row\.gz is not an idx file of bytes in 3"):
        read_idx(write_idx(path, row), 3)
    with pytest.raises(DataError, match=r"row\.gz is not an idx file"):
        read_idx(write_idx(path, row, kind=13), 1)
    with pytest.raises(DataError, match=r"row\.gz holds less than the 9 bytes"):
        read_idx(write_idx(path, row, cut=1), 1)
    with pytest.raises(DataError, match=r"row\.gz holds more than the 9 bytes"):
        read_idx(write_idx(path, row, extra=b"x"), 1)
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 1)) + b"\xff" * 4))
    with pytest.raises(DataError, match=r"row\.gz promises 4294967295 bytes"):
        read_idx(path, 1)
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match=r"row\.gz cannot be read"):
        read_idx(path, 1)
    path.write_bytes(gzip.compress(bytes(1000))[:-12])
    with pytest.raises(DataError, match=r"row\.gz"):
        read_idx(path, 1)


def test_mnist_is_read_from_its_folder(tmp_path: Path) -> None:
    mnist = load("mnist", write_mnist(tmp_path))
    assert mnist.train.ink.shape == mnist.test.ink.shape == (24, 784)
    pixels, labels = mnist.train.part(1, 8)
    assert pixels.shape == (3, 784)
    assert labels.tolist() == [1, 9, 7]


def test_what_is_wrong_with_mnist_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-dir"):
        load("mnist", None)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing"):
        load("mnist", str(tmp_path))
    with pytest.raises(DataError, match="27×27"):
        load("mnist", write_mnist(tmp_path, side=27))
    with pytest.raises(DataError, match="24 pictures and 23 labels"):
        load("mnist", write_mnist(tmp_path, labels=23))
    with pytest.raises(DataError, match="label 10"):
        load("mnist", write_mnist(tmp_path, top=10))
    with pytest.raises(DataError, match="choose digits or mnist"):
        load("letters", None)
