"""The kernel distance (Binkowski et al. 2018): the squared MMD under a cubic kernel, unbiased.

k(x, y) = (x . y / d + 1)^3
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.rows import Array, Rows, require, rows

SUBSETS, SUBSET_SIZE = 100, 1000
LEAST = 4  # images: a subset is half of few, and needs two
SEED = 2020  # torch-fidelity's, so that the subsets are the same images


class Subsets(NamedTuple):
    """The values of subsets, [subsets], and what the error of their mean is taken from."""

    values: Array
    size: int
    parts: "Parts"


class Parts(NamedTuple):
    """Variances of the U-statistic's parts: of one sample, of one reference image, of pairs."""

    x: float
    y: float
    xx: float
    yy: float
    xy: float


def kernel_distance(
    samples: Rows | ArrayLike, reference: Rows | ArrayLike, *, subsets: int = SUBSETS
) -> Estimate:
    """Take the mean squared MMD over random subsets of both sets of features [n, d], [m, d].

    Subsets have 1,000 images; where one set has fewer, half of them. On Inception's pool features
    the value is KID as torch-fidelity takes it (subsets, seed and kernel are its).

    The error is that of the choice of both sets. Published ± are the spread over subsets, which
    vanishes where a subset is the whole set, and is no error of the mean.

    >>> x = np.random.default_rng(0).normal(size=(60, 5))
    >>> distance = kernel_distance(x + 1, x)
    >>> round(distance.value, 2), distance.error.over
    (8.36, 'samples and reference')

    Raises:
        FixableError: One set has fewer than four images.
    """
    x, y = rows(samples), rows(reference)
    result = over_subsets(x, y, subsets=subsets)
    return Estimate(
        value=float(result.values.mean()),
        n=len(x),
        error=Error(size=_error(result, len(x), len(y)), over="samples and reference"),
    )


def over_subsets(samples: Rows, reference: Rows, *, subsets: int = SUBSETS) -> Subsets:
    """Take the squared MMD of each subset, and the variances of its parts, their mean."""
    for source in (samples, reference):
        require(source, LEAST, "the kernel distance")
    smaller = min(len(samples), len(reference))
    size = SUBSET_SIZE if smaller >= SUBSET_SIZE else smaller // 2
    rng = np.random.RandomState(SEED)
    values, parts = np.empty(subsets), np.empty((subsets, len(Parts._fields)))
    for i in range(subsets):
        x = samples.take(rng.choice(len(samples), size, replace=False)).astype(np.float64)
        y = reference.take(rng.choice(len(reference), size, replace=False)).astype(np.float64)
        kernels = _kernel(x, x), _kernel(y, y), _kernel(x, y)
        values[i] = _squared_mmd(*kernels)
        parts[i] = _parts(*kernels)
    return Subsets(values, size, Parts(*parts.mean(0).tolist()))


def squared_mmd(x: Array, y: Array) -> float:
    """Estimate the squared MMD without bias from two sets of as many features, [m, d] each.

    All of it is float64: the distance is a small difference of large means, and float32 products
    would spoil its fifth digit.

    >>> x = np.eye(2)
    >>> squared_mmd(x, x)  # unbiased, so below zero for equal sets
    -2.375
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    return _squared_mmd(_kernel(x, x), _kernel(y, y), _kernel(x, y))


def _squared_mmd(xx: Array, yy: Array, xy: Array) -> float:
    m = len(xx)
    within = 0.0
    for k in (xx, yy):
        within += (k.sum() - np.trace(k)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def _parts(xx: Array, yy: Array, xy: Array) -> Parts:
    """Estimate the variances of the parts of Hoeffding's decomposition from one subset.

    With a(x) = E k(x, X') - E k(x, Y), the distance moves by 2 a(x) / n with one sample; pairs
    contribute what is left of the kernel once the means over each of its arguments are taken away.
    One subset's may be negative; only their mean over subsets is a variance.
    """
    m = len(xx)
    own = [(k.sum(1) - k.diagonal()) / (m - 1) for k in (xx, yy)]  # E k(x, X'), E k(y, Y')
    across = [xy.mean(1), xy.mean(0)]
    pairs = [_residual(k, mean) for k, mean in zip((xx, yy), own, strict=True)]
    left = xy - across[0][:, None] - across[1] + xy.mean()
    mixed = float((left**2).sum()) / max(1, (m - 1) ** 2)
    single = [
        float(np.var(a - b, ddof=1)) - pair / (m - 1) - mixed / m
        for a, b, pair in zip(own, across, pairs, strict=True)
    ]
    return Parts(single[0], single[1], pairs[0], pairs[1], mixed)


def _residual(k: Array, mean: Array) -> float:
    """The variance of k(x, x') without the means over either argument, off the diagonal."""
    m = len(k)
    if m < 4:
        return 0.0
    left = k - mean[:, None] - mean + mean.mean()
    np.fill_diagonal(left, 0)
    return float((left**2).sum()) / ((m - 1) * (m - 2) - 1)


def _error(result: Subsets, n: int, m: int) -> float:
    """The standard error of the mean over subsets, for the choice of both sets and of subsets."""
    parts = result.parts
    whole = (
        *(4 * max(0.0, parts.x) / n, 4 * max(0.0, parts.y) / m),
        *(2 * parts.xx / (n * (n - 1)), 2 * parts.yy / (m * (m - 1)), 4 * parts.xy / (n * m)),
    )
    return float(np.sqrt(sum(whole) + result.values.var() / len(result.values)))


def _kernel(x: Array, y: Array) -> Array:
    base: Array = x @ y.T
    base /= x.shape[1]
    base += 1
    cube: Array = base * base
    cube *= base
    return cube
