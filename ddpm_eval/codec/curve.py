"""The error curve: what the network misses of x_0 at each time, band by band.

One curve decides every possible chain of strides. Where x_0_hat(x_t) misses the mean square M_j in
band j, a stride from t to s costs, with the best variance of each band,

    D = 1/2 sum_j n_j log2(1 + (SNR_s - SNR_t) M_j)   bits
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_eval.codec import agreement
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.words import Array
from ddpm_eval.record.shards import Arrays
from ddpm_train.data import to_model
from ddpm_train.data.images import Pixels
from ddpm_train.noise import Stream, normal

_LEAST = 1e-12  # of an error, so that it has a logarithm


@dataclass(frozen=True, eq=False)
class Curve:
    """Errors at some rows of the schedule, between which they are interpolated.

    Attributes:
        rows: Rising, from 1 to T, [K].
        errors: The mean square of what x_0_hat misses in each band, [K, J].
    """

    rows: Array
    errors: Array

    def at(self, rows: Array) -> Array:
        """The errors at other rows, by lines through their logarithms, [len(rows), J]."""
        measured, wanted = np.log(self.rows), np.log(rows)
        logarithms = np.log(np.maximum(self.errors, _LEAST))
        lines = np.stack([np.interp(wanted, measured, line) for line in logarithms.T], 1)
        return np.asarray(np.exp(lines))


def rows_to_measure(T: int, count: int) -> list[int]:
    """Rows from 1 to T, closer to each other where they are small.

    >>> rows_to_measure(1000, 12)
    [1, 2, 3, 4, 7, 12, 23, 43, 81, 152, 285, 534, 1000]
    """
    spaced = np.geomspace(1, T, count)
    return sorted({round(row) for row in spaced} | set(range(1, min(T, count // 4) + 1)))


def squares(bands: Bands, missed: Array) -> Array:
    """The mean square of each band of pictures [B, C, H, W], [B, J]."""
    energy = np.square(bands.transform(missed.astype(np.float64)))
    sums = [np.bincount(bands.of, row, bands.count) for row in energy]
    return np.asarray(np.stack(sums) / bands.sizes)


@dataclass(frozen=True, eq=False)
class Measuring:
    """How errors are measured: on which images, with which noise.

    Attributes:
        estimate: The network.
        alphas_bar: The schedule, [T + 1].
        pixels: The images, [N, H, W, C].
        seed: Of the noise.
        batch: Images in one evaluation.
    """

    estimate: Estimate
    alphas_bar: Array
    pixels: Pixels
    seed: int
    batch: int

    @property
    def ticks(self) -> int:
        """How many evaluations a row takes."""
        return -(-len(self.pixels) // self.batch)

    def measure(self, rows: Sequence[int], *, means: bool) -> Generator[None, None, Arrays]:
        """The errors at rows [K, J], and with ``means`` mu of all images [K, N, C, H, W] int16."""
        tables = []
        for row in rows:
            tables.append((yield from self._row(row, means=means)))
        return {name: np.stack([table[name] for table in tables]) for name in tables[0]}

    def _row(self, row: int, *, means: bool) -> Generator[None, None, Arrays]:
        height, width, channels = self.pixels.shape[1:]
        bands = Bands((channels, height, width))
        errors, estimates = [], []
        for first in range(0, len(self.pixels), self.batch):
            x_0, x_t = self.noisy(range(first, min(first + self.batch, len(self.pixels))), row)
            x_0_hat = self.estimate(x_t, row)
            errors.append(squares(bands, x_0 - x_0_hat))
            estimates.append(agreement.exact_means(x_0_hat).astype(np.int16))
            yield
        measured = {"errors": np.concatenate(errors).mean(0)}
        return measured | {"mu": np.concatenate(estimates)} if means else measured

    def noisy(self, part: range, row: int) -> tuple[Array, Array]:
        """Images x_0 and x_t drawn of them, both [B, C, H, W]."""
        x_0 = to_model(self.pixels[part.start : part.stop]).numpy()
        eps = normal(Stream(self.seed, "calibrate"), part, x_0.shape[1:], steps=row).numpy()
        bar = float(self.alphas_bar[row])
        return x_0, (bar**0.5 * x_0 + (1 - bar) ** 0.5 * eps).astype(np.float32)
