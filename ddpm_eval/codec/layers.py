"""Layers: one for each stride, from noise to almost the picture.

A layer tells the receiver x_s where it knows x_t: its bits name a point z (``codebook``), and with
x_0_hat, which both sides compute from x_t, band by band

    x_s = a x_t + b x_0_hat + sig z,      sig_j^2 = lam2 (1 + gain M_j 2^(scale / 3))

and with the network's own errors (``pixel_errors``) M_j w of every coefficient in place of M_j.
The scale of a tile says how much the network misses in it; it is told anew with every second layer.
How many bits a layer has, the profile's table tells from the scales: nothing that a network
computes moves a bit of the file, so that a receiver whose rounding differs gets the same picture,
but for that rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ddpm_eval.codec import codebook, pixel_errors, search
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.bits import BitReader, BitWriter
from ddpm_eval.codec.pixel_errors import Evaluation
from ddpm_eval.codec.strides import Coefficients
from ddpm_eval.codec.words import START, Array, normals

GROUP = 2  # layers that share the scales
LANE = 16  # tiles whose coefficients are coded together
STEPS = 3  # scales to a factor of 2 in M


class Layer(NamedTuple):
    """What one layer tells: the scale of every tile, and the point of every lane."""

    scales: Array
    points: list[Array]


@dataclass(frozen=True, eq=False)
class Stride:
    """One stride of a profile.

    Attributes:
        k: Its number, from 0.
        row: The row of the schedule that it begins at.
        bands: The transform of tiles.
        of: Its coefficients.
        gain: SNR_s - SNR_t.
        errors: M_j, the mean square that the network misses in each band, [J].
        bits: Of a tile for each scale, from the lowest to the highest, multiples of 4.
        exponent: Of the network's own errors where they shape M_j; None: they do not.
    """

    k: int
    row: int
    bands: Bands
    of: Coefficients
    gain: float
    errors: Array
    bits: tuple[int, ...]
    exponent: float | None = None

    @property
    def limit(self) -> int:
        """The highest scale."""
        return len(self.bits) // 2

    def excess(self, scales: Array) -> Array:
        """x_j = gain M_j 2^(scale / 3): by how much p is wider than q, [tiles, J]."""
        return np.asarray(self.gain * np.exp2(scales / STEPS)[:, None] * self.errors)

    def weights(self, evaluation: Evaluation) -> Array:
        """By how much the error of every coefficient differs from its band's, [tiles, n or 1]."""
        if self.exponent is None or evaluation.errors is None:
            return np.ones((len(evaluation.x_0_hat), 1))
        return pixel_errors.weights(self.bands, self.errors, evaluation.errors, self.exponent)

    def deviations(self, scales: Array, weights: Array) -> Array:
        """The deviation of p for every coefficient, [tiles, n]."""
        excess = self.excess(scales)[:, self.bands.of] * weights
        return np.sqrt(self.of.variance * (1 + excess))

    def count(self, scales: Array) -> int:
        """The bits of tiles of these scales that are coded together."""
        return sum(self.bits[scale + self.limit] for scale in scales.tolist())

    def fit(self, missed: Array, weights: Array | None = None) -> Array:
        """The scale of each tile that comes nearest to what is missed [tiles, n], [tiles].

        Under a scale p costs D of the profile's tile on average and, of this tile,

            D + 1/2 sum_j n_j ((1 + gain e_j) / (1 + x_j) - 1) / ln 2,   e_j its own mean square

        so that the layer's bits are right where the sum is 0.
        """
        scales = np.arange(-self.limit, self.limit + 1)
        excess = self.excess(scales + 0.5)  # [Q, J]: halfway to the next
        if self.exponent is None or weights is None:
            energy = [np.bincount(self.bands.of, row**2, self.bands.count) for row in missed]
            sums = (self.bands.sizes + self.gain * np.stack(energy)) @ (1 / (1 + excess)).T
        else:
            squares, wide = 1 + self.gain * np.square(missed), excess[:, self.bands.of]
            pairs = zip(weights, squares, strict=True)
            sums = np.stack([(1 / (1 + wide * weight)) @ square for weight, square in pairs])
        more = sums - self.bands.n  # falls along Q
        return np.asarray(scales[np.minimum((more > 0).sum(1), len(scales) - 1)])


def begin(bands: Bands, tiles: int) -> Array:
    """x_T: noise that both sides know, [tiles, C, H, W] float32."""
    noise = [normals(START, tile, bands.n) for tile in range(tiles)]
    return np.stack(noise).reshape(tiles, *bands.shape)


def move(stride: Stride, layer: Layer, x_t: Array, evaluation: Evaluation) -> Array:
    """Go from x_t to x_s, [tiles, C, H, W] float32."""
    bands, noise = stride.bands, []
    for lane, point in zip(_lanes(len(x_t)), layer.points, strict=True):
        unsorted = np.empty(len(point))
        unsorted[bands.order(len(lane))] = point
        noise.append(unsorted.reshape(-1, bands.n))
    mean = stride.of.of_x_t * x_t.astype(np.float64) + stride.of.of_x_0 * evaluation.x_0_hat
    deviations = stride.deviations(layer.scales, stride.weights(evaluation))
    coloured = deviations * np.concatenate(noise)
    return (mean + bands.invert(coloured)).astype(np.float32)


def write(
    stride: Stride,
    before: Array,
    missed: Array,
    evaluation: Evaluation,
    *,
    survivors: int,
    count: int,
) -> list[tuple[BitWriter, Layer]]:
    """Write what x_0_hat misses of x_0 as a layer, in up to ``count`` ways, the nearest first.

    Args:
        stride: Of the layer.
        before: The scales of the layer before, [tiles].
        missed: Coefficients of x_0 - x_0_hat, [tiles, n].
        evaluation: Of the network.
        survivors: How many prefixes the search keeps.
        count: How many ways are wanted.
    """
    side, scales, weights = BitWriter(), before, stride.weights(evaluation)
    if stride.k % GROUP == 0:
        scales = stride.fit(missed, weights)
        for change in (scales - before).tolist():
            side.signed(change)
    excess = stride.excess(scales)[:, stride.bands.of] * weights
    target = stride.of.of_x_0 / stride.deviations(scales, weights) * missed
    lanes = []
    for lane in _lanes(len(missed)):
        order, part = stride.bands.order(len(lane)), slice(lane.start, lane.stop)
        m, x = (values[part].ravel()[order].astype(np.float32) for values in (target, excess))
        bits = stride.count(scales[part])
        lanes.append(search.choices(m, x, bits, stride.k, survivors=survivors, count=count))
    ways = min(map(len, lanes))  # a lane may have fewer points than are wanted
    return [_assemble(stride, side, scales, [lane[way] for lane in lanes]) for way in range(ways)]


def _assemble(
    stride: Stride, side: BitWriter, scales: Array, lanes: Sequence[Array]
) -> tuple[BitWriter, Layer]:
    """Put a layer together from the bits of its scales and the nibbles of its lanes."""
    bits, points = BitWriter(), []
    bits.extend(side)
    for lane, nibbles in zip(_lanes(len(scales)), lanes, strict=True):
        bits.nibbles(nibbles)
        points.append(codebook.decode(nibbles, len(lane) * stride.bands.n, stride.k))
    return bits, Layer(scales, points)


def read(bits: BitReader, stride: Stride, before: Array) -> Layer:
    """Read a layer; ``before`` are the scales of the one before it.

    Raises:
        OutOfBits: The file ends inside the layer.
    """
    scales = before
    if stride.k % GROUP == 0:
        changes = [bits.signed() for _ in before.tolist()]
        scales = np.clip(before + changes, -stride.limit, stride.limit)
    points = []
    for lane in _lanes(len(scales)):
        count = stride.count(scales[lane.start : lane.stop])
        nibbles = bits.nibbles(count // codebook.NIBBLE)
        points.append(codebook.decode(nibbles, len(lane) * stride.bands.n, stride.k))
    return Layer(scales, points)


def _lanes(tiles: int) -> Iterator[range]:
    """Tiles that are coded together."""
    for start in range(0, tiles, LANE):
        yield range(start, min(start + LANE, tiles))
