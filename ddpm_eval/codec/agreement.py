"""Whole numbers on which two machines agree although their networks round differently.

Both round x_0_hat to 1/8 of a level, and in version 2 the logarithms of the network's own errors.
The sender lists every pixel that lies within a tolerance of where the rounding changes, with the
parity of its rounded number: a receiver whose own value differs by less takes the neighbour of that
parity, and has the same numbers everywhere. Of eight places for the grid the sender takes the one
with the fewest such pixels.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ddpm_eval.codec.bits import BitReader, BitWriter
from ddpm_eval.codec.contexts import MU_STEPS
from ddpm_eval.codec.offsets import offsets
from ddpm_eval.codec.words import Array

_PLACES = 8  # of the grid
_SHIFT_BITS = 5


class Values(NamedTuple):
    """Real numbers that are rounded.

    Attributes:
        values: In units of what they are rounded to.
        count_shift: Of the Rice code that tells how many are listed.
        tolerance: How far two machines may differ. A receiver that states it first moves its
            values to where the list says that the sender's lie (``offsets``).
    """

    values: Array
    count_shift: int
    tolerance: float = 0.0


def means(x_0_hat: Array, tolerance: float = 0.0) -> Values:
    """8 mu of x_0_hat in [-1, 1]; the tolerance in levels."""
    return Values(_levels(x_0_hat) * MU_STEPS, 2, tolerance * MU_STEPS)


def logarithms(values: Array, tolerance: float = 0.0) -> Values:
    """Logarithms of errors, of which few are listed."""
    return Values(values, 0, tolerance)


def exact_means(x_0_hat: Array) -> Array:
    """The rounded 8 mu of x_0_hat in [-1, 1], for receivers that compute exactly alike."""
    return np.asarray(np.rint(_levels(x_0_hat) * MU_STEPS), np.int64)


def write(bits: BitWriter, arrays: Sequence[Values]) -> list[Array]:
    """Write the lists of all arrays, and give each array rounded, int64."""
    lists = [
        [_near(_shifted(array.values, place), array.tolerance) for array in arrays]
        for place in range(_PLACES)
    ]
    place = min(range(_PLACES), key=lambda i: sum(map(len, lists[i])))
    bits.number(place, 3)
    rounded = [np.floor(_shifted(array.values, place)).astype(np.int64) for array in arrays]
    for array, near, whole in zip(arrays, lists[place], rounded, strict=True):
        _write_list(bits, near, whole, array.count_shift)
    return rounded


def _write_list(bits: BitWriter, near: Array, rounded: Array, count_shift: int) -> None:
    shift = int(math.log2(max(1.0, rounded.size / (len(near) + 1) * math.log(2))))
    bits.rice(len(near), count_shift)
    if len(near):
        bits.number(shift, _SHIFT_BITS)
    for before, pixel in pairwise([-1, *near.tolist()]):
        bits.rice(pixel - before - 1, shift)
        bits.number(int(rounded.flat[pixel]) & 1, 1)


def read(bits: BitReader, arrays: Sequence[Values]) -> list[Array]:
    """Read the lists, and give each array as the sender rounded it, int64.

    Raises:
        OutOfBits: The file ends inside a list, or it is damaged.
    """
    place = bits.number(3)
    return [_read_list(bits, array, place) for array in arrays]


def _read_list(bits: BitReader, array: Values, place: int) -> Array:
    shifted = _shifted(array.values, place)
    near, odd = _listed(bits, array.count_shift, shifted.size)
    if array.tolerance:
        edges = np.rint(shifted)
        listed, upper = np.zeros((2, *shifted.shape), bool)
        listed.flat[near] = True
        upper.flat[near] = edges.flat[near] % 2 == odd
        moved = offsets(shifted - edges, listed, upper, array.tolerance)
        shifted -= moved[..., None, None]
    rounded = np.floor(shifted).astype(np.int64)
    low = np.floor(shifted.flat[near] - 0.5).astype(np.int64)
    rounded.flat[near] = low + ((low & 1) != odd)
    return rounded


def _listed(bits: BitReader, count_shift: int, size: int) -> tuple[Array, Array]:
    """The pixels of a list, and the parity of each."""
    count = bits.rice(count_shift)
    shift = bits.number(_SHIFT_BITS) if count else 0
    pixel, pairs = -1, []
    for _ in range(count):
        pixel += 1 + bits.rice(shift)
        pairs.append((pixel, bits.number(1)))
    near, odd = np.array([pair for pair in pairs if pair[0] < size], np.int64).reshape(-1, 2).T
    return near, odd


def _levels(x_0_hat: Array) -> Array:
    return np.asarray((x_0_hat.astype(np.float64) + 1) * 127.5)


def _shifted(values: Array, place: int) -> Array:
    """What is cut to whole numbers: values + 1/2, moved by up to 7/16 with the grid."""
    return np.asarray(values + 0.5 + (2 * place - _PLACES + 1) / 16)


def _near(shifted: Array, tolerance: float) -> Array:
    return np.flatnonzero(np.abs(shifted - np.rint(shifted)) < tolerance)
