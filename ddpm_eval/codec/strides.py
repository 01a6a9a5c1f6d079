"""Strides: which rows of the schedule a file walks over, chosen for the fewest bits in all.

With alpha_ts = alpha-bar_t / alpha-bar_s a stride from t to s has (Eqs. 6 and 7 of the paper, of a
step that is longer than one)

    q(x_s | x_t, x_0) = N(a x_t + b x_0, lam2 I)        p(x_s | x_t) = N(a x_t + b x_0_hat, sig2)
    a = sqrt(alpha_ts) (1 - alpha-bar_s) / (1 - alpha-bar_t)
    b = sqrt(alpha-bar_s) (1 - alpha_ts) / (1 - alpha-bar_t)
    lam2 = (1 - alpha-bar_s) (1 - alpha_ts) / (1 - alpha-bar_t),   b^2 / lam2 = SNR_s - SNR_t

and the best sig2 of band j is lam2 (1 + (SNR_s - SNR_t) M_j).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.codebook import NIBBLE
from ddpm_eval.codec.curve import Curve
from ddpm_eval.codec.words import Array

SLOPE, OFFSET = 0.05, 3.5  # bits of the code for a stride that costs D: D (1 + SLOPE) + OFFSET
SIDE = 1.1  # bits of a stride for the scales
SHORT = 1 / 32  # bits/dim of strides over which an encoder may choose among several prefixes
_MORE = 2.5  # and what pictures cost that are unlike the mean: fewer strides are then as good
_NODES = 1200  # rows that are looked at, at most
_MOST = 0.75  # bits/dim of a stride; the code has room for 1
_MOST_OF_BAND = 1.0  # bits/dim of one band


class Coefficients(NamedTuple):
    """What a stride does to x_t, x_0 and the noise."""

    of_x_t: float
    of_x_0: float
    variance: float


def coefficients(bar_t: float, bar_s: float) -> Coefficients:
    """The mean and variance of q(x_s | x_t, x_0), 1 > bar_s > bar_t.

    >>> a, b, variance = coefficients(0.5, 0.8)
    >>> f"{b * b / variance:.4f}", f"{0.8 / 0.2 - 0.5 / 0.5:.4f}"
    ('3.0000', '3.0000')
    """
    ratio, left, right = bar_t / bar_s, 1 - bar_s, 1 - bar_t
    return Coefficients(
        of_x_t=ratio**0.5 * left / right,
        of_x_0=bar_s**0.5 * (1 - ratio) / right,
        variance=left * (1 - ratio) / right,
    )


def snr(alphas_bar: Array) -> Array:
    """alpha-bar / (1 - alpha-bar); infinite at 0 noise."""
    with np.errstate(divide="ignore"):
        return np.asarray(alphas_bar / (1 - alphas_bar))


def cost(bands: Bands, gain: Array, errors: Array) -> Array:
    """D of strides in bits: gain [...] is SNR_s - SNR_t, errors [..., J] those at t."""
    per_band = np.log2(1 + gain[..., None] * errors)
    return np.asarray(0.5 * per_band @ bands.sizes)


def _beyond(bands: Bands, gain: Array, errors: Array) -> Array:
    """The bits of strides that codewords do not carry, arguments as of ``cost``.

    They cannot give the dimensions of one band far more than the others: what they leave there is
    left to later strides.
    """
    per_band = 0.5 * np.log2(1 + gain[..., None] * errors)
    return np.asarray(np.maximum(per_band - _MOST_OF_BAND, 0) @ bands.sizes)


def code_bits(divergence: Array, *, slope: float = SLOPE, offset: float = OFFSET) -> Array:
    """The bits that the code needs for strides that cost D."""
    return np.asarray(divergence * (1 + slope) + np.minimum(offset, divergence / 2 + 1))


def layer_bits(divergence: Array, n: int) -> Array:
    """The bits that a layer gets for a stride of n dimensions that costs D.

    What the code needs; but of a short stride hardly more than D. An encoder that chooses among
    prefixes (``writing``) gains as much there, and what is left is told by the next layers.
    """
    share = np.minimum(1, divergence / (SHORT * n)) ** 2
    return np.asarray(divergence + (code_bits(divergence) - divergence) * share)


def whole_bits(divergence: Array, n: int) -> tuple[int, ...]:
    """Round ``layer_bits`` to whole nibbles, [Q]."""
    nibbles = np.rint(layer_bits(divergence, n) / NIBBLE).astype(int)
    return tuple(np.minimum(NIBBLE * nibbles, n // NIBBLE * NIBBLE).tolist())


def expected(
    divergence: Array, rmse: Sequence[float], last: float, n: int
) -> list[dict[str, float]]:
    """Bits/dim and root mean square error in levels that each layer leads to, on average.

    Args:
        divergence: D of each layer of a tile, [K].
        rmse: Before each layer and behind the last, [K + 1].
        last: The bits of the final stage of a tile.
        n: Dimensions of a tile.
    """
    layers = layer_bits(divergence, n) + SIDE
    rates = (np.concatenate([[0], np.cumsum(layers)]) / n).tolist()
    reached = [
        {"bits_per_dim": rate, "rmse": error} for rate, error in zip(rates, rmse, strict=True)
    ]
    return [*reached, {"bits_per_dim": rates[-1] + last / n, "rmse": 0.0}]


def _cost(bands: Bands, gain: Array, errors: Array, extra: float | None) -> Array:
    """The bits of strides in a file."""
    divergence = cost(bands, gain, errors)
    if extra is not None:
        return divergence + extra
    return code_bits(divergence) + _beyond(bands, gain, errors) + SIDE + _MORE


def choose(
    curve: Curve,
    alphas_bar: Array,
    bands: Bands,
    ends: dict[int, float],
    *,
    extra: float | None = None,
) -> tuple[list[int], float]:
    """Find the rows with the fewest bits in all, from T down to one of the ends.

    Args:
        curve: The error curve.
        alphas_bar: The schedule, [T+1].
        bands: Of the tiles.
        ends: The bits of the final stage from each row where a chain may end.
        extra: Bits of a stride beside D, of any D; None: what the code of layers needs and can do.

    Returns:
        The rows, falling, and the bits of a tile.
    """
    T = len(alphas_bar) - 1
    rows = np.unique(np.round(np.linspace(1, T, min(T, _NODES))).astype(int))
    rows = np.union1d(rows, [row for row in ends if row <= T])
    ratio, errors = snr(alphas_bar)[rows], curve.at(rows)
    best, before = np.full(len(rows), np.inf), np.full(len(rows), -1)
    best[-1] = 0
    for i in range(len(rows) - 1, 0, -1):
        gain, missed = ratio[:i] - ratio[i], np.broadcast_to(errors[i], (i, bands.count))
        total = best[i] + _cost(bands, gain, missed, extra)
        possible = (extra is not None) | (cost(bands, gain, missed) <= _MOST * bands.n)
        better = (total < best[:i]) & (possible | (np.arange(i) == i - 1))
        best[:i][better], before[:i][better] = total[better], i
    totals = {row: best[np.searchsorted(rows, row)] + bits for row, bits in ends.items()}
    end = min(totals, key=lambda row: totals[row])
    path, node = [end], int(before[np.searchsorted(rows, end)])
    while node >= 0:
        path.append(int(rows[node]))
        node = int(before[node])
    return path[::-1], float(totals[end])
