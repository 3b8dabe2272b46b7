"""Small random distortions: every pass over a shard sees each digit a little moved, turned and sheared.

A digit stays the same digit when it is nudged, so a few hundred pictures teach what thousands would (P. Simard,
D. Steinkraus, J. Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis, 2003).
Each picture is looked at through its own affine map about the centre, with bilinear interpolation; outside is blank.

Invariant: where shift and turn are 0 the pictures come back as they were; ink stays between 0 and the most there was.
"""

from __future__ import annotations

import math

import numpy as np

from .images import Pixels


def jitter(pixels: Pixels, shift: float, turn: float, rng: np.random.Generator) -> Pixels:
    """The pictures (rows, side²), each moved by up to `shift` pixels along both axes, its map bent by about `turn`.

    `turn` is the standard deviation of each entry of the 2×2 map around the identity: 0.1 is roughly 6 degrees.
    """
    rows = len(pixels)
    side = math.isqrt(pixels.shape[1])
    moved = rng.uniform(-shift, shift, (rows, 2, 1)).astype(np.float32)
    bent = (np.eye(2) + turn * rng.standard_normal((rows, 2, 2))).astype(np.float32)
    centre = (side - 1) / 2
    grid = np.indices((side, side), np.float32).reshape(2, -1) - np.float32(centre)

    # One blank pixel all around, so that whatever looks outside finds nothing there.
    wide = side + 2
    framed = np.pad(pixels.reshape(rows, side, side), ((0, 0), (1, 1), (1, 1))).reshape(-1)
    where = np.clip(bent @ grid + moved + np.float32(centre + 1), 0, side + 1)
    corner = np.minimum(where.astype(np.intp), side)
    down, right = np.moveaxis(where - corner.astype(np.float32), 1, 0)
    at = np.arange(rows)[:, None] * wide * wide + corner[:, 0] * wide + corner[:, 1]

    above = (1 - right) * framed[at] + right * framed[at + 1]
    below = (1 - right) * framed[at + wide] + right * framed[at + wide + 1]
    seen: Pixels = (1 - down) * above + down * below
    return seen
