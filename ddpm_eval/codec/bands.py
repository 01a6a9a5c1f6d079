"""Pictures as bands: what a network misses lies in few of them, so each has its own variance.

An orthonormal transform takes [C, H, W] to as many coefficients: three colours to brightness and
two differences, blocks of b x b pixels to their cosines. A band is a colour and the sum of the two
frequencies. Coefficients stand band by band, and a stride of the golden ratio walks over them, so
that any run of its order holds every band in proportion.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ddpm_eval.codec.words import Array

COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
"""Brightness, red against blue, green against both: rows of length 1."""


@cache
def cosines(size: int) -> Array:
    """The orthonormal cosine transform, rows by frequency, [size, size] float64."""
    angles = np.outer(np.arange(size), 2 * np.arange(size) + 1) * (math.pi / (2 * size))
    scale = np.where(np.arange(size) == 0, 1, 2) / size
    return np.asarray(np.cos(angles) * np.sqrt(scale)[:, None])


@dataclass(frozen=True)
class Bands:
    """The transform of pictures of one shape [C, H, W].

    Attributes:
        shape: Of a picture.
        side: Of a block, which divides the picture; 0: 8, or what of it divides the picture.
    """

    shape: tuple[int, int, int]
    side: int = 0

    @cached_property
    def block(self) -> int:
        """The side of a block."""
        return self.side or math.gcd(8, *self.shape[1:])

    @property
    def count(self) -> int:
        """How many bands there are: 2 b - 1 of each colour."""
        return self.shape[0] * (2 * self.block - 1)

    @cached_property
    def of(self) -> Array:
        """The band of each coefficient, [n]: colour (2 b - 1) + u + v."""
        channels, height, width = self.shape
        down, right = np.arange(height) % self.block, np.arange(width) % self.block
        colours = np.arange(channels) * (2 * self.block - 1)
        return np.asarray(np.add.outer(colours, np.add.outer(down, right)).ravel())

    @cached_property
    def sizes(self) -> Array:
        """How many coefficients each band has, [J]."""
        return np.bincount(self.of, minlength=self.count)

    @property
    def n(self) -> int:
        """How many coefficients a picture has."""
        return math.prod(self.shape)

    def transform(self, tiles: Array) -> Array:
        """Turn tiles [tiles, C, H, W] into coefficients [tiles, n], where their blocks lie."""
        return self._apply(self._colours, cosines(self.block), tiles).reshape(-1, self.n)

    def invert(self, coefficients: Array) -> Array:
        """Turn coefficients [tiles, n] into tiles [tiles, C, H, W]."""
        tiles = self._apply(self._colours.T, cosines(self.block).T, coefficients)
        return tiles.reshape(-1, *self.shape)

    def variances(self, tiles: Array) -> Array:
        """The variance of each coefficient where pixels vary on their own, [tiles, n].

        Args:
            tiles: The variances of pixels, [tiles, C, H, W].
        """
        cosine = np.square(cosines(self.block))
        return self._apply(np.square(self._colours), cosine, tiles).reshape(-1, self.n)

    @property
    def _colours(self) -> Array:
        return COLOURS if self.shape[0] == 3 else np.eye(self.shape[0])

    def _apply(self, colours: Array, cosine: Array, values: Array) -> Array:
        (channels, height, width), b = self.shape, self.block
        mixed = colours @ values.reshape(-1, channels, height * width)
        down = cosine @ mixed.reshape(-1, channels, height // b, b, width)
        return np.asarray(down.reshape(-1, channels, height, width // b, b) @ cosine.T)

    def order(self, tiles: int) -> Array:
        """The order in which the coefficients of some tiles [tiles, n] are coded, [tiles n].

        Band by band first, within a band tile by tile; then every g-th of that list, around and
        around, g the first number from 987/1597 of its length on that shares no divisor with it.
        """
        return _walk(self, tiles)


@cache
def _walk(bands: Bands, tiles: int) -> Array:
    listed = np.argsort(np.tile(bands.of, tiles), kind="stable")
    step = len(listed) * 987 // 1597
    while math.gcd(step, len(listed)) > 1:
        step += 1
    return np.asarray(listed[np.arange(len(listed)) * step % len(listed)])
