"""What is known of a pixel before the final stage tells its level: its mean and its scale.

The network's estimate is only where a pixel's mean begins. What it misses in one pixel it tends to
miss in the next and in the other colours, and more of it where the picture is busy. So pixels come
in passes, colour by colour and of each colour every fourth pixel, and the misses of earlier passes,
which the receiver knows exactly, correct the mean and choose the scale. All of it is in integers.

With mu in 1/8 of a level, e = 8 x - mu where x is known already and 0 elsewhere, and for a colour
the sums of e over the four neighbours beside a pixel and over the four at its corners:

    mean = 2 mu + (sum_i w_i f_i >> 11)        f: e and both sums of each earlier colour, both sums
                                                  of its own
    scale = (v_0 + v_1 T + v_2 log(a + 1) + v_3 log(g + 16)) >> 10

and in version 2, where h is log M (``pixel_errors``), rounded, of the pixel: + v_4 h. w and v are
those of the set that a tile chooses, T is its own scale, a the sum over colours of
4 |e| and of both sums of |e|, g the sum over colours and the four neighbours of how much mu
differs, and log the base-2 logarithm in eighths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from ddpm_eval.codec.levels import SCALES
from ddpm_eval.codec.words import Array

MU_STEPS = 8  # of mu to a level
WEIGHT_BITS, SCALE_BITS = 11, 10
SCALE_NUMBERS = 4  # v_0 .. v_3
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # row and column, modulo 2, of the pixels of a pass


@dataclass(frozen=True, slots=True)
class Pass:
    """The integers of one pass.

    Attributes:
        weights: w, of the features in their order.
        scale: v_0 .. v_3, in version 2 v_4 too.
    """

    weights: tuple[int, ...]
    scale: tuple[int, ...]


def colours(channels: int) -> tuple[int, ...]:
    """The order of the colours: green first, which tells most of the others."""
    return (1, 0, 2) if channels == 3 else tuple(range(channels))


@cache
def _logarithms() -> Array:
    """8 log2(v), rounded down, of v = 0 .. 2^17 - 1 (0 of 0), int64."""
    thresholds = np.ceil(np.exp2(np.arange(1, 137) / 8))  # where it rises
    return np.searchsorted(thresholds, np.arange(1 << 17), side="right")


def logarithm(values: Array) -> Array:
    """Eight times the base-2 logarithm of integers, rounded down; more than e and mu can make.

    >>> logarithm(np.array([1, 2, 3, 1024]))
    array([ 0,  8, 12, 80])
    """
    return _logarithms().take(values)


def around(plane: Array) -> tuple[Array, Array]:
    """The sums over the four neighbours beside each pixel and at its corners, zero outside."""
    padded = np.pad(plane, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 2:]
    beside = rows[:, :, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return beside, rows[:, :, :-2] + rows[:, :, 2:]


def roughness(mu: Array) -> Array:
    """g: how much mu differs from its four neighbours, summed over colours, [tiles, H, W]."""
    down, right = np.abs(np.diff(mu, axis=2)).sum(1), np.abs(np.diff(mu, axis=3)).sum(1)
    sums = np.zeros((len(mu), *mu.shape[2:]), np.int64)
    sums[:, 1:] += down
    sums[:, :-1] += down
    sums[:, :, 1:] += right
    sums[:, :, :-1] += right
    return sums


class Misses:
    """What is known of e so far, and the features that follow from it.

    Attributes:
        e: 8 x - mu where x is known, [tiles, C, H, W] int64.
    """

    def __init__(self, mu: Array) -> None:
        self.mu, self.e = mu, np.zeros_like(mu)
        self.log_rough = logarithm(roughness(mu) + 2 * MU_STEPS)
        self._finished: list[Array] = []
        self._activity = np.zeros_like(mu[:, 0])

    def passes(self, count: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """The colour and the pixels of each pass, for the first ``count`` colours."""
        for colour in colours(self.mu.shape[1])[:count]:
            for row, column in PHASES:
                yield colour, (slice(row, None, 2), slice(column, None, 2))
            plane = self.e[:, colour]
            self._finished += [plane, *around(plane)]
            self._activity += _activity(plane)

    def features(self, colour: int) -> tuple[list[Array], Array]:
        """The features f of the mean, and log(a + 1), each [tiles, H, W]."""
        plane = self.e[:, colour]
        activity = self._activity + _activity(plane)
        return [*self._finished, *around(plane)], logarithm(activity + 1)

    def tell(self, colour: int, pixels: tuple[slice, slice], levels: Array, inside: Array) -> None:
        """Take the levels of a pass, [tiles, h, w], where they are ``known``."""
        where = (slice(None), colour, *pixels)
        self.e[where] = np.where(inside, MU_STEPS * levels - self.mu[where], 0)


def _activity(plane: Array) -> Array:
    size = np.abs(plane)
    beside, corners = around(size)
    return 4 * size + beside + corners


class Side(NamedTuple):
    """Side information: what a file holds of each tile for the final stage, [tiles] int64."""

    scales: Array  # T
    sets: Array  # which of the profile's sets of integers it uses


def model(
    misses: Misses,
    colour: int,
    pixels: tuple[slice, slice],
    numbers: Sequence[Pass],
    side: Side,
    log_errors: Array | None = None,
) -> tuple[Array, Array]:
    """The mean and the scale of each pixel of a pass, both [tiles, h, w] int64.

    Args:
        misses: What is known so far.
        colour: Of the pass.
        pixels: Of the pass.
        numbers: The integers of the pass in each set.
        side: The side information of the tiles.
        log_errors: h of all pixels, [tiles, C, H, W] int64; None: it is not used.
    """
    where = (slice(None), *pixels)
    features, activity = misses.features(colour)
    weights = np.array([choice.weights for choice in numbers])[side.sets, :, None, None]
    moved = sum(weights[:, i] * feature[where] for i, feature in enumerate(features))
    mean = 2 * misses.mu[:, colour][where] + (moved >> WEIGHT_BITS)
    v = np.array([choice.scale for choice in numbers])[side.sets, :, None, None]
    scale = v[:, 0] + v[:, 1] * side.scales[:, None, None]
    scale = scale + v[:, 2] * activity[where] + v[:, 3] * misses.log_rough[where]
    if log_errors is not None:
        scale = scale + v[:, 4] * log_errors[:, colour][where]
    return np.clip(mean, 0, 4080), np.clip(scale >> SCALE_BITS, 0, SCALES - 1)
