"""Covariates of an image: how well the pixels around predict each pixel, and how rough it is.

A model's bits/dim follow the bits of any decent lossless coder; sums over pixels follow them as
closely as such a coder's file size and cost nothing beside the network.
"""

import numpy as np
from scipy.fft import dctn
from scipy.ndimage import uniform_filter

from ddpm_eval.record.arrays import Array

NOISE = (8, 128)  # grey levels: about where the last half of the bits is, and where the first are
ROUNDING = 1 / 12  # the variance of rounding to grey levels
RELATIVE = 1e-9  # a spread of less is rounding
WINDOW = 3  # pixels over which squared residuals are averaged


def describe(pixels: Array) -> Array:
    """Compute what may predict an image's bits/dim, [n, 6].

    In order, with green taken from red and blue before all but the second and the last:

    1.  Bits of the residuals of the median edge detector (Weinberger, Seroussi and Sapiro 2000, the
        predictor of JPEG-LS); a residual r counts log2(1 + |r|).
    2.  Bits of the Laplacian.
    3.  The mean of log2(1 + v), v the local mean square of what four neighbours do not predict.
    4.  The logarithm of the mean square error that the best linear shrinkage of the image's own
        cosine transform leaves at noise of 8 grey levels (Donoho and Johnstone 1994);
    5.  and at 128.
    6.  The share of values at 0 or 255, whose bins are open.

    Args:
        pixels: Images, uint8 [n, H, W, C].

    >>> describe(np.full((1, 4, 4, 3), 255, np.uint8))[:, [0, 1, 2, 5]]
    array([[0., 0., 0., 1.]])
    """
    plain = pixels.astype(np.int16)
    levels = plain.copy()
    if levels.shape[3] == 3:
        levels[..., (0, 2)] -= levels[..., 1:2]
    left, up, corner = levels[:, 1:, :-1], levels[:, :-1, 1:], levels[:, :-1, :-1]
    guess = np.clip(left + up - corner, np.minimum(left, up), np.maximum(left, up))
    ends = ((pixels == 0) | (pixels == np.iinfo(np.uint8).max)).mean((1, 2, 3))
    return np.stack(
        [
            _bits(levels[:, 1:, 1:] - guess),
            _bits(_laplacian(plain)),
            _energy_bits(_laplacian(levels) / 4),
            *_risks(levels),
            ends,
        ],
        1,
    )


def standardise(columns: Array) -> Array:
    """Give each column mean 0 and standard deviation 1; a constant one becomes 0."""
    deviation = columns.std(0)
    varies = deviation > RELATIVE * np.abs(columns).max(0, initial=0)
    scaled: Array = np.where(varies, columns - columns.mean(0), 0) / np.where(varies, deviation, 1)
    return scaled


def _bits(residuals: Array) -> Array:
    bits: Array = np.log2(1 + np.abs(residuals, dtype=np.float32)).mean((1, 2, 3), np.float64)
    return bits


def _laplacian(levels: Array) -> Array:
    across = levels[:, 1:-1, :-2] + levels[:, 1:-1, 2:]
    down = levels[:, :-2, 1:-1] + levels[:, 2:, 1:-1]
    laplacian: Array = 4 * levels[:, 1:-1, 1:-1] - across - down
    return laplacian


def _energy_bits(residuals: Array) -> Array:
    energy = uniform_filter(np.square(residuals, dtype=np.float32), (0, WINDOW, WINDOW, 0))
    bits: Array = np.log2(1 + energy).mean((1, 2, 3), np.float64)
    return bits


def _risks(levels: Array) -> list[Array]:
    power = np.square(dctn(levels.astype(np.float32), axes=(1, 2), norm="ortho"))
    return [
        np.log((power * s**2 / (power + s**2)).mean((1, 2, 3), np.float64) + ROUNDING)
        for s in NOISE
    ]
