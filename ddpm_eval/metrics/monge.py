"""The Monge Inception distance (Berthet et al. 2026, arXiv 2605.06797): sliced Wasserstein.

MIND = 3 d E_u W_2^2(u . X, u . Y),   u uniform on the unit sphere of d dimensions

In one dimension the optimal map carries the i-th smallest sample to the i-th smallest reference
image, so sorting is all that there is to do.
"""

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.rows import Array, Rows, blocks, require, rows

DIRECTIONS = 1000
SEED = 2020  # torch-fidelity's, so that directions and subsets are the same
_SLICES = 64  # directions at once


def mind(
    samples: Rows | ArrayLike, reference: Rows | ArrayLike, *, directions: int = DIRECTIONS
) -> Estimate:
    """Take MIND of features [n, d] and [m, d]; of the larger set as many images as of the smaller.

    On Inception's pool features the value is torch-fidelity 0.5's: 1,000 directions, seed 2020,
    scale 3 d. (It computes in float32, we in float64.)

    To first order one image more at x moves W_2^2 by its Kantorovich potential phi(x), whose slope
    is 2 (x - T(x)); so the error, over the choice of both sets, is the standard deviation of the
    potentials over the root of n. Like FID the value is biased upwards by a term that falls with n.

    >>> x = np.random.default_rng(0).normal(size=(200, 1))
    >>> round(mind(x + 2, x).value, 9)
    12.0

    Raises:
        FixableError: One set has fewer than two images.
    """
    x, y = rows(samples), rows(reference)
    for source in (x, y):
        require(source, 2, "MIND")
    n = min(len(x), len(y))
    chosen, units = _draw(len(x), len(y), _dim(x), directions)
    total, potentials = 0.0, np.zeros((2, n))
    for start in range(0, directions, _SLICES):
        part = units[start : start + _SLICES]
        for a, b in zip(_project(x, chosen[0], part), _project(y, chosen[1], part), strict=True):
            orders = a.argsort(), b.argsort()
            a, b = a[orders[0]], b[orders[1]]
            total += float(np.square(a - b).mean())
            potentials[0, orders[0]] += _potential(a, b)
            potentials[1, orders[1]] += _potential(b, a)
    scale = 3 * _dim(x) / directions
    variance = potentials.var(axis=1, ddof=1) / n
    error = Error(size=float(scale * np.sqrt(variance.sum())), over="samples and reference")
    return Estimate(value=scale * total, n=n, error=error)


def _dim(source: Rows) -> int:
    return int(source.take(np.arange(1)).shape[1])


def _draw(n: int, m: int, dim: int, directions: int) -> tuple[list[Array], Array]:
    """Draw as torch-fidelity does: a subset of the larger set, and unit vectors [K, d]."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    least = min(n, m)
    chosen = [
        torch.randperm(size, generator=generator)[:least].numpy()
        if size > least
        else np.arange(size)
        for size in (n, m)
    ]
    units = torch.randn(directions, dim, generator=generator, dtype=torch.float32)
    return chosen, (units / units.norm(dim=1, keepdim=True)).numpy().astype(np.float64)


def _project(source: Rows, chosen: Array, units: Array) -> Array:
    """Project the chosen rows on directions, [K, n] float64."""
    out = np.empty((len(units), len(chosen)))
    place = np.full(len(source), -1)
    place[chosen] = np.arange(len(chosen))
    for start, block in blocks(source):
        at = place[start : start + len(block)]
        out[:, at[at >= 0]] = units @ block[at >= 0].astype(np.float64).T
    return out


def _potential(x: Array, image: Array) -> Array:
    """Integrate the slope 2 (x - T(x)) along sorted x, [n], by trapezes."""
    slope = 2 * (x - image)
    steps = np.diff(x) * (slope[1:] + slope[:-1]) / 2
    potential: Array = np.concatenate([[0.0], steps.cumsum()])
    return potential
