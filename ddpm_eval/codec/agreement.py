"""Means on which two machines agree although their networks round differently.

Both round x_0_hat to 1/8 of a level. The sender lists every pixel that lies within a tolerance of
where the rounding changes, with the parity of its rounded mean: a receiver whose own value differs
by less takes the neighbour of that parity, and has the same means everywhere. Of eight places for
the grid the sender takes the one with the fewest such pixels.
"""

import math

import numpy as np

from ddpm_eval.codec.bits import BitReader, BitWriter
from ddpm_eval.codec.contexts import MU_STEPS
from ddpm_eval.codec.words import Array

_PLACES = 8  # of the grid
_COUNT_SHIFT, _SHIFT_BITS = 2, 5


def exact_means(x_0_hat: Array) -> Array:
    """The rounded 8 mu of x_0_hat in [-1, 1], for receivers that compute exactly alike."""
    return np.asarray(np.rint(_levels(x_0_hat) * MU_STEPS), np.int64)


def write(bits: BitWriter, x_0_hat: Array, tolerance: float) -> Array:
    """Write the list, and give mu in 1/8 of a level, int64 as x_0_hat.

    Args:
        bits: Where to.
        x_0_hat: The network's last estimate, in [-1, 1].
        tolerance: How far two machines may differ, in levels.
    """
    lists = [_near(_shifted(x_0_hat, place), tolerance) for place in range(_PLACES)]
    place = min(range(_PLACES), key=lambda i: len(lists[i]))
    near, rounded = lists[place], np.floor(_shifted(x_0_hat, place)).astype(np.int64)
    shift = int(math.log2(max(1.0, x_0_hat.size / (len(near) + 1) * math.log(2))))
    bits.number(place, 3)
    bits.rice(len(near), _COUNT_SHIFT)
    if len(near):
        bits.number(shift, _SHIFT_BITS)
    for pixel, before in zip(near.tolist(), [-1, *near.tolist()], strict=False):
        bits.rice(pixel - before - 1, shift)
        bits.number(int(rounded.flat[pixel]) & 1, 1)
    return rounded


def read(bits: BitReader, x_0_hat: Array) -> Array:
    """Read the list, and give mu as the sender has it.

    Raises:
        OutOfBits: The file ends inside the list, or it is damaged.
    """
    shifted = _shifted(x_0_hat, bits.number(3))
    rounded = np.floor(shifted).astype(np.int64)
    count = bits.rice(_COUNT_SHIFT)
    shift = bits.number(_SHIFT_BITS) if count else 0
    pixel = -1
    for _ in range(count):
        pixel += 1 + bits.rice(shift)
        odd = bits.number(1)
        if pixel < x_0_hat.size:
            low = math.floor(shifted.flat[pixel] - 0.5)
            rounded.flat[pixel] = low if low & 1 == odd else low + 1
    return rounded


def _levels(x_0_hat: Array) -> Array:
    return np.asarray((x_0_hat.astype(np.float64) + 1) * 127.5)


def _shifted(x_0_hat: Array, place: int) -> Array:
    """What is cut to whole numbers: 8 mu + 1/2, moved by up to 7/16 with the grid."""
    return np.asarray(_levels(x_0_hat) * MU_STEPS + 0.5 + (2 * place - _PLACES + 1) / 16)


def _near(shifted: Array, tolerance: float) -> Array:
    distance = np.abs(shifted - np.rint(shifted))
    return np.flatnonzero(distance < tolerance * MU_STEPS)
