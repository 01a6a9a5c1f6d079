"""Normal distributions on a grid, in integers: how latents are coded exactly.

A latent is a whole number of grid steps. Its mean is a multiple of 1/16 of a step and its deviation
2^(i / 64) steps, so that its probability comes from one table (``levels.distribution``), and no
machine rounds it otherwise. A distribution reaches 9 deviations to both sides.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from ddpm_eval.codec.levels import PARTS_BITS, distribution
from ddpm_eval.codec.stack import Stack, Tables
from ddpm_eval.codec.words import Array

FRACTIONS = 16  # of a step: of means
PER_OCTAVE = 64  # of deviations
_REACH = 9  # deviations
_EXCESS_BITS = 16  # of how far a latent lies outside
_TABLE_REACH, _PER_DEVIATION, _TABLE_BITS = 8, 64, 30  # of ``levels.distribution``
_PLACE_BITS, _SLOPE_BITS = 10, 20


def deviation_index(steps: Array) -> Array:
    """The nearest of the deviations 2^(i / 64), int64."""
    return np.asarray(np.rint(PER_OCTAVE * np.log2(steps)), np.int64)


def reach(index: int) -> int:
    """How many steps lie on each side of the mean, symbols of 0 .. 2 reach + 1."""
    return int(np.ceil(_REACH * 2.0 ** (index / PER_OCTAVE))) + 1


@cache
def edges(index: int) -> Array:
    """Where the parts of each symbol begin, one row for each fraction of the mean, [16, S + 1].

    Symbol j of fraction f is the latent j - reach above the mean rounded down.
    """
    half, symbols = reach(index), 2 * reach(index) + 2
    lower = np.arange(symbols + 1) - half  # the latent above each edge
    distance = FRACTIONS * lower - FRACTIONS // 2 - np.arange(FRACTIONS)[:, None]  # in 1/16
    slope = round(2.0 ** (_SLOPE_BITS - index / PER_OCTAVE))
    unit = _PER_DEVIATION << _PLACE_BITS  # places to a deviation
    places = (distance * slope * (unit // FRACTIONS) >> _SLOPE_BITS) + _TABLE_REACH * unit
    places = np.clip(places, 0, 2 * _TABLE_REACH * unit - 1)
    table, place = distribution(), places >> _PLACE_BITS
    low, rest = table[place], places & ((1 << _PLACE_BITS) - 1)
    share = low + ((table[place + 1] - low) * rest >> _PLACE_BITS)
    parts = np.arange(symbols + 1) + (share * ((1 << PARTS_BITS) - symbols) >> _TABLE_BITS)
    parts[:, 0], parts[:, -1] = 0, 1 << PARTS_BITS
    return np.asarray(parts)


class Grid:
    """Distributions of several deviations, between which latents choose.

    Attributes:
        indices: Of the deviations.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = tuple(indices)
        rows = [edges(index) for index in self.indices]
        lengths = np.repeat([row.shape[1] - 1 for row in rows], FRACTIONS)
        parts = np.concatenate([row[:, :-1].ravel() for row in rows])
        tables = np.repeat(np.arange(len(lengths)), lengths)
        end = np.array([len(lengths) << PARTS_BITS])
        first = np.cumsum(lengths) - lengths
        self._tables = Tables(np.concatenate([parts + (tables << PARTS_BITS), end]), first)
        self._reach = np.array([reach(index) for index in self.indices])

    def pop(self, stack: Stack, means: Array, which: Array) -> Array:
        """Pop latents of means in 1/16 steps, [n] int64, and of the deviations ``which``."""
        tables = which * FRACTIONS + means % FRACTIONS
        symbols = stack.pop(self._tables, tables)
        return np.asarray(symbols - self._reach[which] + means // FRACTIONS)

    def push(self, stack: Stack, latents: Array, means: Array, which: Array) -> None:
        """Push latents that ``pop`` gave; of others the nearest that it can give."""
        symbols = latents - means // FRACTIONS + self._reach[which]
        symbols = np.clip(symbols, 0, 2 * self._reach[which] + 1)
        tables = which * FRACTIONS + means % FRACTIONS
        stack.push(*self._tables.parts(tables, symbols))

    def push_any(self, stack: Stack, latents: Array, means: Array, which: Array) -> None:
        """Push any latents: what lies outside is told beside the first or last symbol."""
        half = self._reach[which]
        symbols = latents - means // FRACTIONS + half
        inner = np.clip(symbols, 0, 2 * half + 1)
        outside = (inner == 0) | (inner == 2 * half + 1)
        excess = np.abs(symbols - inner)[outside]
        stack.push_numbers(np.minimum(excess, (1 << _EXCESS_BITS) - 1), _EXCESS_BITS)
        tables = which * FRACTIONS + means % FRACTIONS
        stack.push(*self._tables.parts(tables, inner))

    def pop_any(self, stack: Stack, means: Array, which: Array) -> Array:
        """Pop what ``push_any`` pushed."""
        half = self._reach[which]
        tables = which * FRACTIONS + means % FRACTIONS
        symbols = stack.pop(self._tables, tables)
        outside = (symbols == 0) | (symbols == 2 * half + 1)
        excess = stack.pop_numbers(int(np.count_nonzero(outside)), _EXCESS_BITS)
        symbols[outside] += np.where(symbols[outside] == 0, -excess, excess)
        return np.asarray(symbols - half + means // FRACTIONS)
