"""The probability of each level 0..255 under a normal distribution, in integers.

Means are multiples of 1/16 of a level and deviations powers of 2^(1/12), so a probability is read
from one table: no machine rounds it otherwise. Together the 256 levels have 2^24 parts, and every
one has at least one of them; the first and the last take what lies outside (Eq. 13).
"""

from functools import cache

import numpy as np
from scipy.special import ndtr

from ddpm_eval.codec.words import Array

PARTS_BITS = 24
MEAN_STEPS = 16  # to a level
SCALES = 144  # deviations 2^(i / 12) / 8 levels
_PER_OCTAVE, _LOWEST = 12, -3
_REACH, _PER_DEVIATION, _BITS = 8, 64, 30  # of the table of the distribution function


@cache
def distribution() -> Array:
    """The normal distribution function from -8 to 8 in steps of 1/64, times 2^30, [1025] int64."""
    places = np.arange(-_REACH * _PER_DEVIATION, _REACH * _PER_DEVIATION + 1) / _PER_DEVIATION
    return np.rint(ndtr(places) * 2.0**_BITS).astype(np.int64)


@cache
def _slopes() -> Array:
    """2^23 over each deviation, rounded, [SCALES] int64."""
    exponents = 23 - _LOWEST - np.arange(SCALES) / _PER_OCTAVE
    return np.rint(np.exp2(exponents)).astype(np.int64)


def deviation(scale: Array) -> Array:
    """The deviation in levels that a scale stands for.

    >>> deviation(np.array([0, 36, 48]))
    array([0.125, 1.   , 2.   ])
    """
    return np.asarray(np.exp2(scale / _PER_OCTAVE + _LOWEST))


def scale_of(deviations: Array) -> Array:
    """The nearest scale to deviations in levels, 0 .. SCALES - 1."""
    scales = np.rint((np.log2(np.maximum(deviations, 1e-9)) - _LOWEST) * _PER_OCTAVE)
    return np.asarray(np.clip(scales, 0, SCALES - 1), np.int64)


def below(level: Array, mean: Array, scale: Array) -> Array:
    """How many parts lie below a level: that of all smaller ones together, int64.

    Args:
        level: 0 .. 256; below 256 lie all 2^24.
        mean: In 1/16 of a level, int64, 0 .. 4080.
        scale: 0 .. SCALES - 1.

    >>> edges = below(np.arange(257), np.int64(16 * 100), np.int64(36))
    >>> edges[0], edges[256] == 2**24, (np.diff(edges) > 0).all()
    (np.int64(0), np.True_, np.True_)
    >>> f"{(edges[101] - edges[100]) / 2**24:.4f}"  # within half a deviation
    '0.3829'
    """
    distance = MEAN_STEPS * level - MEAN_STEPS // 2 - mean  # of the lower edge, in 1/16 of a level
    place = (distance * _slopes()[scale] >> 11) + (_REACH << 16)  # in 2^-16 deviations
    place = np.clip(place, 0, 2 * _REACH << 16)
    index, rest = np.minimum(place >> 10, 2 * _REACH * _PER_DEVIATION - 1), place & 1023
    table = distribution()
    low, high = table[index], table[index + 1]
    share = low + ((high - low) * np.where(place == 2 * _REACH << 16, 1024, rest) >> 10)
    inner = level + (share * ((1 << PARTS_BITS) - 256) >> _BITS)
    return np.where(level <= 0, 0, np.where(level >= 256, 1 << PARTS_BITS, inner))
