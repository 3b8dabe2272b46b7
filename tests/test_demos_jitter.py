"""Distorted pictures: nothing asked, nothing done; what is asked moves ink, and makes none."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.launch.demos.images import load
from parley.launch.demos.jitter import jitter


def centres(pixels: np.ndarray) -> np.ndarray:
    """Where the ink of each picture lies, in pixels (rows, 2)."""
    ink = pixels.reshape(len(pixels), 8, 8)
    weighed: np.ndarray = np.einsum("nij,aij->na", ink, np.indices((8, 8))) / ink.sum(axis=(1, 2))[:, None]
    return weighed


def test_nothing_asked_nothing_done() -> None:
    pixels, _ = load("digits", None).test.part(0, 1)
    assert np.allclose(jitter(pixels, 0, 0, np.random.default_rng(0)), pixels, atol=1e-5)


@given(st.integers(0, 1000), st.floats(0, 3), st.floats(0, 0.5))
@settings(deadline=None)
def test_ink_is_moved_and_not_made(seed: int, shift: float, turn: float) -> None:
    pixels, _ = load("digits", None).test.part(0, 20)
    moved = jitter(pixels, shift, turn, np.random.default_rng(seed))
    assert moved.shape == pixels.shape
    assert moved.dtype == np.float32
    assert moved.min() >= 0
    assert (moved.max(axis=1) <= pixels.max(axis=1) + 1e-5).all()
    assert np.array_equal(moved, jitter(pixels, shift, turn, np.random.default_rng(seed)))


def test_a_dot_moves_by_the_shift_at_most() -> None:
    dot = np.zeros((500, 8, 8), np.float32)
    dot[:, 3, 4] = 1
    moved = centres(jitter(dot.reshape(500, 64), 0.7, 0, np.random.default_rng(1))) - (3, 4)
    assert np.abs(moved).max() < 0.71
    assert np.abs(moved).max(axis=0).min() > 0.6
    assert np.abs(moved.mean(axis=0)).max() < 0.1
