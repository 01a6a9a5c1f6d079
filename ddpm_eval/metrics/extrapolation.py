"""FID over the number of images, and where it would end (Chong and Forsyth 2020).

The bias of the Fréchet distance falls as 1/n, so the line through FD over 1/n meets the axis at
the distance of infinitely many images.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ddpm_eval.metrics.estimate import NORMAL_95, Error, Estimate
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.metrics.moments import moments
from ddpm_eval.metrics.rows import Array, Rows, blocks, require, rows

LEAST_IMAGES = 10_000  # below it 1/n is no straight line yet
LEAST_POINT = 5_000
POINTS = 15
SEED = 2020
_BLOCK = 1024


class Growth(NamedTuple):
    """The distance of random subsets of the samples, and which images they are."""

    sizes: NDArray[np.int64]  # [K]
    distances: Array  # [K]
    chosen: list[Array]


def sizes(n: int, dim: int) -> list[int]:
    """At which numbers of images the curve has its points.

    >>> sizes(50_000, 2048)[:3], sizes(4_000, 64), sizes(100, 64)
    ([5000, 8214, 11428], [500, 1000, 2000, 4000], [100])
    """
    if n >= LEAST_IMAGES:
        return [int(size) for size in np.linspace(LEAST_POINT, n, POINTS)]
    return [n >> shift for shift in (3, 2, 1) if n >> shift > dim] + [n]


def growth(source: Rows, reference: Gaussian, at: NDArray[np.int64]) -> Growth:
    """Take the distance of random subsets of the rows, one of each size, [len(at)]."""
    rng = np.random.default_rng(SEED)
    distances, subsets = [], []
    for size in at.tolist():
        chosen = np.sort(rng.choice(len(source), size, replace=False))
        batches = (source.take(chosen[i : i + _BLOCK]) for i in range(0, size, _BLOCK))
        distances.append(reference.distance(Gaussian.of(moments(batches, len(reference.mean)))))
        subsets.append(chosen)
    return Growth(at, np.array(distances), subsets)


def intercept_weights(n: Array) -> Array:
    """The weights w with which the line through y over 1/n meets the axis at w . y, [K].

    >>> n = np.array([5000, 6000, 8000, 10_000])
    >>> round(float(intercept_weights(n) @ (3 + 40_000 / n)), 9)
    3.0
    """
    x = 1 / np.asarray(n, np.float64)
    centred = x - x.mean()
    weights: Array = 1 / len(x) - x.mean() * centred / (centred @ centred)
    return weights


def limit_of(curve: Growth, n: int, stderr: float, reference_stderr: float) -> Estimate:
    """Take the limit of a curve, with a 95% interval over the choice of samples and reference.

    To first order FD of a subset moves by the mean of h over it (``distance_stderr``), so the limit
    moves by sum_i c_i h_i, where c_i adds w_k / n_k for each subset k that holds image i. Subsets
    overlap, and the line amplifies: with n = 50,000 and independent h the error is about 1.4 times
    that of FD itself, where the scatter about the line says a third of it.

    Args:
        curve: As ``growth`` gives it.
        n: How many samples there are.
        stderr: Of the distance of all samples, for their choice.
        reference_stderr: Of the same for the choice of the reference; 0 where it is held fixed.
    """
    weights = intercept_weights(curve.sizes)
    coefficients = np.zeros(n)
    for weight, chosen in zip(weights, curve.chosen, strict=True):
        coefficients[chosen] += weight / len(chosen)
    own = stderr * np.sqrt(n * np.square(coefficients).sum())
    size = NORMAL_95 * float(np.hypot(own, reference_stderr))
    value = float(weights @ curve.distances)
    over = "samples and reference" if reference_stderr else "samples"
    error = Error(size=size, kind="interval", over=over, low=value - size, high=value + size)
    return Estimate(value=value, n=n, error=error)


def fid_infinity(samples: Rows | ArrayLike, reference: Rows | ArrayLike) -> Estimate:
    """Take the Fréchet distance of infinitely many samples [n, d] from the reference [m, d].

    The value is that of Chong and Forsyth's line through 15 subsets (theirs are scrambled Sobol
    points of a GAN's latents; random subsets are what is published for fixed images). The bias of
    the reference's own size stays in it.

    >>> x = np.random.default_rng(0).normal(size=(10_000, 2))
    >>> limit = fid_infinity(x + 1, x)
    >>> limit.error.low < 2 < limit.error.high
    True

    Raises:
        FixableError: There are fewer than 10,000 samples.
    """
    x, y = rows(samples), rows(reference)
    require(x, LEAST_IMAGES, "FID-infinity")
    ours, theirs = Gaussian.of_rows(x), Gaussian.of_rows(y)
    curve = growth(x, theirs, np.array(sizes(len(x), len(theirs.mean))))
    return limit_of(
        curve,
        len(x),
        distance_stderr(ours, theirs, (block for _, block in blocks(x))),
        distance_stderr(theirs, ours, (block for _, block in blocks(y))),
    )
