"""The pictures the demonstration learns from, and who gets which of them.

`digits` comes along in `digits.npz`: 1,797 real handwritten digits of 8×8 pixels, ink 0 to 16 (E. Alpaydin and
C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, CC BY 4.0; the copy that
scikit-learn distributes). Rows were shuffled with a fixed seed, then sorted by class; every fifth went to the test set,
so 1,437 train and 360 test, each class in both at its own share. The split is stored, not drawn again.

`mnist` is read from the four gzipped idx files of Y. LeCun, C. Cortes and C. Burges (1998), wherever the person keeps
them; 28×28 pixels, ink 0 to 255, 60,000 train and 10,000 test.

Invariant: a test row is never trained on. Part k of n is the rows k, k+n, k+2n, …: parts are disjoint, cover all rows,
and differ in size by at most one.
"""

from __future__ import annotations

import functools
import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Pixels: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.intp]

CLASSES = 10
IDX_BYTES_MAX = 1 << 28
"""Largest idx content that is unpacked (MNIST's training images are 47 MB)."""


class DataError(Exception):
    """The data asked for is not there or not what it should be: one sentence that says what to do."""


@dataclass(frozen=True, eq=False)
class Images:
    """Rows of square pictures: `ink` (rows, side²) from 0 to `ink_max`, `labels` (rows,) from 0 to 9."""

    ink: Bytes
    labels: Bytes
    ink_max: int

    def part(self, index: int, parts: int) -> tuple[Pixels, Labels]:
        """Part `index` of `parts`: pixels (rows, side²) scaled to 0..1, labels (rows,)."""
        if not 0 <= index < parts:
            raise ValueError(f"there is no part {index} of {parts}")
        pixels = self.ink[index::parts].astype(np.float32) / np.float32(self.ink_max)
        return pixels, self.labels[index::parts].astype(np.intp)


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is learned from, and what is kept aside to ask whether it was learned."""

    train: Images
    test: Images


@functools.lru_cache(maxsize=2)
def load(dataset: str, data_dir: str | None) -> Dataset:
    """The named dataset, kept in this process once it was read. Raises DataError."""
    match dataset:
        case "digits":
            return _digits()
        case "mnist":
            if data_dir is None:
                raise DataError("mnist needs --data-dir, the folder that holds its four idx .gz files")
            return Dataset(_mnist(Path(data_dir), "train"), _mnist(Path(data_dir), "t10k"))
        case _:
            raise DataError(f"there is no dataset {dataset!r}: choose digits or mnist")


def _digits() -> Dataset:
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as stored:
        return Dataset(
            train=Images(stored["train_ink"], stored["train_labels"], ink_max=16),
            test=Images(stored["test_ink"], stored["test_labels"], ink_max=16),
        )


def _mnist(folder: Path, name: str) -> Images:
    ink = read_idx(folder / f"{name}-images-idx3-ubyte.gz", dimensions=3)
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz", dimensions=1)
    if ink.shape[1:] != (28, 28):
        raise DataError(f"{folder}: {name} has pictures of {ink.shape[1]}×{ink.shape[2]} pixels, not 28×28")
    if len(ink) != len(labels) or not len(ink):
        raise DataError(f"{folder}: {name} has {len(ink)} pictures and {len(labels)} labels")
    if labels.max() >= CLASSES:
        raise DataError(f"{folder}: {name} has the label {labels.max()}, and digits end at 9")
    return Images(ink.reshape(len(ink), -1), labels, ink_max=255)


def read_idx(path: Path, dimensions: int) -> Bytes:
    """A gzipped idx file of unsigned bytes with so many dimensions. Raises DataError that names the file.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each size as a big-endian 32-bit
    number, then the bytes themselves (LeCun, Cortes, Burges, "The MNIST database of handwritten digits").
    """
    header_bytes = 4 + 4 * dimensions
    try:
        with gzip.open(path) as stream:
            header = stream.read(header_bytes)
            if len(header) < header_bytes or header[:4] != bytes((0, 0, 8, dimensions)):
                raise DataError(f"{path} is not an idx file of bytes in {dimensions} dimension(s)")
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
            expected = math.prod(shape)
            if expected > IDX_BYTES_MAX:
                raise DataError(f"{path} promises {expected} bytes, more than {IDX_BYTES_MAX}")
            body = stream.read(expected + 1)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: put it there, or name another folder with --data-dir") from None
    except (OSError, EOFError, zlib.error) as broken:
        raise DataError(f"{path} cannot be read: {broken}") from broken
    if len(body) != expected:
        more_or_less = "more" if len(body) > expected else "less"
        raise DataError(f"{path} holds {more_or_less} than the {expected} bytes it promises")
    return np.frombuffer(body, np.uint8).reshape(shape)
