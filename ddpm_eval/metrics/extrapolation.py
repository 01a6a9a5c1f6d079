"""FID over the number of images, and where it would end (Chong and Forsyth 2020).

The bias of the Fréchet distance falls as 1/n, so the line through FD over 1/n meets the axis at
the distance of infinitely many images.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from ddpm_eval.metrics.frechet import Gaussian, moments
from ddpm_eval.metrics.kernel import Rows
from ddpm_eval.record.arrays import Array

LEAST_IMAGES = 10_000  # below it 1/n is no straight line yet
LEAST_POINT = 5_000
POINTS = 15
SEED = 2020
_BLOCK = 1024


class Line(NamedTuple):
    """The distance at 1/n = 0, its standard error, and its 95% interval."""

    value: float
    stderr: float
    low: float
    high: float


def sizes(n: int, dim: int) -> list[int]:
    """At which numbers of images the curve has its points.

    >>> sizes(50_000, 2048)[:3], sizes(4_000, 64), sizes(100, 64)
    ([5000, 8214, 11428], [500, 1000, 2000, 4000], [100])
    """
    if n >= LEAST_IMAGES:
        return [int(size) for size in np.linspace(LEAST_POINT, n, POINTS)]
    return [n >> shift for shift in (3, 2, 1) if n >> shift > dim] + [n]


def curve(rows: Rows, reference: Gaussian, at: Array) -> Array:
    """The distance of random subsets of the rows, one of each size, [len(at)]."""
    rng = np.random.default_rng(SEED)
    found = []
    for size in at.tolist():
        chosen = np.sort(rng.choice(len(rows), size, replace=False))
        batches = (rows.take(chosen[i : i + _BLOCK]) for i in range(0, size, _BLOCK))
        found.append(reference.distance(Gaussian.of(moments(batches, len(reference.mean)))))
    return np.array(found)


def extrapolate(n: Array, distances: Array) -> Line:
    """The line through distances over 1/n, at 0.

    The interval is the regression's: it covers the choice of subsets, not another set of images.

    >>> n = np.array([5000, 6000, 8000, 10_000])
    >>> found = extrapolate(n, 3 + 40_000 / n)
    >>> round(found.value, 9), round(found.stderr, 9)
    (3.0, 0.0)
    """
    fit = stats.linregress(1 / np.asarray(n, np.float64), distances)
    reach = float(stats.t.ppf(0.975, len(n) - 2) * fit.intercept_stderr)
    value = float(fit.intercept)
    return Line(value, float(fit.intercept_stderr), value - reach, value + reach)
