"""The final stage: from x_0_hat of the last row to the exact pixels."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from ddpm_eval.codec import agreement
from ddpm_eval.codec.bits import BitReader, BitWriter
from ddpm_eval.codec.contexts import PHASES, Misses, Pass, Side, colours, model
from ddpm_eval.codec.levels import PARTS_BITS, below
from ddpm_eval.codec.pixel_errors import Evaluation
from ddpm_eval.codec.range_coder import RangeDecoder, RangeEncoder
from ddpm_eval.codec.words import Array

STEP = 2  # of the scale that a tile tells
_MOST_STEPS = 64
_WINDOW = 32  # levels around the mean that are looked at before all

Sets: TypeAlias = Sequence[Sequence[Pass]]
"""The integers of every pass, in each of the profile's sets."""


Take: TypeAlias = Callable[[Array, Array], Array]
"""Gives one level for each mean and scale, [n] int64."""


class Symbols(NamedTuple):
    """The levels of one pass, each array [tiles, h, w]."""

    starts: Array  # where the parts of the level begin
    sizes: Array  # how many they are, of 2^24
    inside: Array  # whether the pixel belongs to the picture

    def bits(self) -> Array:
        """-log2 of the sizes, summed over each tile, [tiles]."""
        information = np.where(self.inside, PARTS_BITS - np.log2(self.sizes), 0)
        return np.asarray(information.sum((1, 2)))


_Step: TypeAlias = tuple[int, tuple[slice, slice], Sequence[Pass], Array]


@dataclass(frozen=True, eq=False)
class Stage:
    """What both sides know before the final stage.

    Attributes:
        mu: Means in 1/8 of a level, [tiles, C, H, W] int64.
        inside: Which pixels belong to the picture, [tiles, H, W].
        sets: The profile's integers.
        planes: How many colours are told; the others are the same as the first.
        log_errors: h, [tiles, C, H, W] int64; None in version 1.
    """

    mu: Array
    inside: Array
    sets: Sets
    planes: int
    log_errors: Array | None = None

    def _passes(self, misses: Misses) -> Iterator[_Step]:
        numbers_of = list(zip(*self.sets, strict=True))[: self.planes * len(PHASES)]
        passes = zip(misses.passes(self.planes), numbers_of, strict=True)
        for (colour, where), numbers in passes:
            yield colour, where, numbers, self.inside[(slice(None), *where)]

    def symbols(self, levels: Array, side: Side) -> list[Symbols]:
        """The parts of each level of pixels [tiles, C, H, W], pass by pass."""
        misses, passes = Misses(self.mu), []
        for colour, where, numbers, inside in self._passes(misses):
            mean, scale = model(misses, colour, where, numbers, side, self.log_errors)
            part = levels[:, colour][(slice(None), *where)].astype(np.int64)
            start, end = below(part, mean, scale), below(part + 1, mean, scale)
            passes.append(Symbols(start, end - start, inside))
            misses.tell(colour, where, part, inside)
        return passes

    def read(self, take: Take, side: Side) -> Array:
        """Take the levels of every pass, [tiles, C, H, W] uint8; 0 outside of the picture."""
        misses, levels = Misses(self.mu), np.zeros(self.mu.shape, np.uint8)
        for colour, where, numbers, inside in self._passes(misses):
            mean, scale = model(misses, colour, where, numbers, side, self.log_errors)
            part = np.zeros(inside.shape, np.int64)
            part[inside] = take(mean[inside], scale[inside])
            levels[:, colour][(slice(None), *where)] = part
            misses.tell(colour, where, part, inside)
        order = colours(self.mu.shape[1])
        for colour in order[self.planes :]:
            levels[:, colour] = levels[:, order[0]]
        return levels

    def decode(self, data: bytes, side: Side) -> tuple[Array, int]:
        """Turn bytes back into levels.

        Returns:
            The levels, and ``RangeDecoder.taken``.
        """
        decoder = RangeDecoder(data)
        return self.read(partial(_read, decoder), side), decoder.taken


def values(
    evaluation: Evaluation, tolerance: float = 0.0, log_tolerance: float = 0.0
) -> list[agreement.Values]:
    """What both sides agree on: the means, and in version 2 the logarithms of errors."""
    means, logarithms = agreement.means(evaluation.x_0_hat, tolerance), evaluation.logarithms
    if logarithms is None:
        return [means]
    return [means, agreement.logarithms(logarithms, log_tolerance)]


def exact_stage(evaluation: Evaluation, inside: Array, sets: Sets, planes: int) -> Stage:
    """The final stage of receivers that compute exactly alike."""
    mu, logarithms = agreement.exact_means(evaluation.x_0_hat), evaluation.logarithms
    rounded = None if logarithms is None else np.rint(logarithms).astype(np.int64)
    return Stage(mu, inside, sets, planes, rounded)


def bits(passes: Iterable[Symbols]) -> Array:
    """What all passes have, [tiles]."""
    return np.asarray(np.sum([symbols.bits() for symbols in passes], axis=0))


def encode(passes: Iterable[Symbols]) -> bytes:
    """Turn symbols into bytes."""
    encoder = RangeEncoder()
    for starts, sizes, inside in passes:
        encoder.encode(starts[inside].tolist(), sizes[inside].tolist())
    return encoder.finish()


def _read(decoder: RangeDecoder, mean: Array, scale: Array) -> Array:
    """Take one level for each mean and scale, [n] int64."""
    lowest = np.clip((mean >> 4) - _WINDOW // 2, 0, 256 - _WINDOW)
    window = lowest[:, None] + np.arange(_WINDOW + 1)
    edges = below(window, mean[:, None], scale[:, None]).tolist()
    levels = lowest.tolist()
    for i, row in enumerate(edges):
        target = decoder.target()
        if not row[0] <= target < row[-1]:
            row, levels[i] = below(np.arange(257), mean[i], scale[i]).tolist(), 0
        place = bisect_right(row, target) - 1
        decoder.take(row[place], row[place + 1] - row[place])
        levels[i] += place
    return np.array(levels, np.int64)


# ------------------------------------------------------------------- what a file tells of tiles


def usual_scales(tile_scale: int, scales: Array) -> Array:
    """The scale T that each tile is expected to have from that of its last layer, [tiles].

    A layer's scale is a third of an octave in squares, the final stage's a twelfth in levels.
    """
    return tile_scale + 2 * scales


def write_side(out: BitWriter, side: Side, usual: Array, sets: int) -> None:
    """Write how far the scale of each tile is from the usual one, and its set."""
    for steps, chosen in zip(((side.scales - usual) // STEP).tolist(), side.sets, strict=True):
        out.signed(steps)
        out.number(int(chosen), width(sets))


def read_side(source: BitReader, usual: Array, sets: int) -> Side:
    """Read what ``write_side`` wrote.

    Raises:
        OutOfBits: The file ends before.
    """
    scales, chosen = [], []
    for expected in usual.tolist():
        steps = max(-_MOST_STEPS, min(_MOST_STEPS, source.signed()))
        scales.append(expected + STEP * steps)
        chosen.append(min(source.number(width(sets)), sets - 1))
    return Side(np.array(scales, np.int64), np.array(chosen, np.int64))


def width(sets: int) -> int:
    """How many bits choose one of so many sets."""
    return (sets - 1).bit_length()
