"""Covariates of an image: how well the pixels around predict each pixel.

A model's bits/dim follow the bits of any decent lossless coder; two sums over pixels follow them
as closely as such a coder's file size and cost nothing beside the network.
"""

import numpy as np

from ddpm_eval.record.arrays import Array


def describe(pixels: Array) -> Array:
    """Compute two code lengths in bits/dim, [n, 2].

    The first is of the residuals of the median edge detector (Weinberger, Seroussi and Sapiro 2000,
    the predictor of JPEG-LS) after green is taken from red and blue; the second of the Laplacian.
    A residual r counts log2(1 + |r|) bits.

    Args:
        pixels: Images, uint8 [n, H, W, C].

    >>> describe(np.full((1, 4, 4, 3), 7, np.uint8))
    array([[0., 0.]])
    """
    plain = pixels.astype(np.int16)
    levels = plain.copy()
    if levels.shape[3] == 3:
        levels[..., (0, 2)] -= levels[..., 1:2]
    left, up, corner = levels[:, 1:, :-1], levels[:, :-1, 1:], levels[:, :-1, :-1]
    guess = np.clip(left + up - corner, np.minimum(left, up), np.maximum(left, up))
    inner = plain[:, 1:-1, 1:-1]
    across = plain[:, 1:-1, :-2] + plain[:, 1:-1, 2:]
    down = plain[:, :-2, 1:-1] + plain[:, 2:, 1:-1]
    return np.stack([_bits(levels[:, 1:, 1:] - guess), _bits(4 * inner - across - down)], 1)


def standardise(columns: Array) -> Array:
    """Give each column mean 0 and standard deviation 1; a constant one becomes 0."""
    deviation = columns.std(0)
    scaled: Array = (columns - columns.mean(0)) / np.where(deviation > 0, deviation, 1)
    return scaled


def _bits(residuals: Array) -> Array:
    bits: Array = np.log2(1 + np.abs(residuals, dtype=np.float32)).mean((1, 2, 3), np.float64)
    return bits
