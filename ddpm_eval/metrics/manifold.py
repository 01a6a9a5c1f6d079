"""Precision and recall, density and coverage: whose images lie among the other's.

A set's manifold is the union of balls around its images, each as wide as the distance to its k-th
nearest neighbour. Precision is the share of samples inside the reference's manifold, recall the
share of reference images inside the samples' (Kynkäänniemi et al. 2019). Density counts in how many
balls of the reference a sample lies, over k; coverage is the share of these balls that hold a
sample (Naeem et al. 2020).
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.neighbourhoods import (
    DENSITY,
    MANIFOLD,
    Neighbourhoods,
    Neighbours,
    neighbourhoods,
)
from ddpm_eval.metrics.resampling import share_stderr, stderr_over_both
from ddpm_eval.metrics.rows import Array, Rows, rows

if TYPE_CHECKING:
    import torch

OVER = "samples and reference"


class Manifold(NamedTuple):
    """The four numbers, each with its error over the choice of both sets."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def precision_recall(
    samples: Rows | ArrayLike,
    reference: Rows | ArrayLike,
    *,
    k: int = MANIFOLD,
    device: "torch.device | str" = "cpu",
) -> tuple[Estimate, Estimate]:
    """Take precision and recall of samples [n, d] and reference images [m, d].

    With k = 3 on Inception's pool features these are torch-fidelity's and ADM's, on VGG-16's those
    of the paper. The n of recall is that of the reference, of which it is a share.

    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> precision, recall = precision_recall(x[:50], x)
    >>> precision.value, recall.value > 0.9
    (1.0, True)
    """
    manifold = manifold_of(rows(samples), rows(reference), Neighbours(manifold=k), device)
    return manifold.precision, manifold.recall


def density_coverage(
    samples: Rows | ArrayLike,
    reference: Rows | ArrayLike,
    *,
    k: int = DENSITY,
    device: "torch.device | str" = "cpu",
) -> tuple[Estimate, Estimate]:
    """Take density and coverage of samples [n, d] and reference images [m, d].

    With k = 5 these are the numbers of the authors' package prdc, on whatever features it gets.

    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> density, coverage = density_coverage(x + 100, x)
    >>> density.value, coverage.value
    (0.0, 0.0)
    """
    manifold = manifold_of(rows(samples), rows(reference), Neighbours(density=k), device)
    return manifold.density, manifold.coverage


def manifold_of(
    samples: Rows,
    reference: Rows,
    k: Neighbours,
    device: "torch.device | str",
    pairs: Neighbourhoods | None = None,
) -> Manifold:
    """Take all four numbers and their errors from one pass, or from one that was made already."""
    pairs = pairs or neighbourhoods(samples, reference, k=k, device=device)

    def measure(x: Rows, y: Rows) -> Array:
        return _values(neighbourhoods(x, y, k=k, device=device), k)

    errors = stderr_over_both(measure, samples, reference, least=k.most + 2)
    n, m = len(samples), len(reference)
    estimates = []
    for i, (value, count) in enumerate(zip(_values(pairs, k), (n, m, n, m), strict=True)):
        size = 0.0 if errors is None else float(errors[i])
        if not size and i != 2:  # equal in all parts: a share of few that is all or none
            size = share_stderr(float(value), count)
        error = Error(size=size, over=OVER) if errors is not None else None
        estimates.append(Estimate(value=float(value), n=count, error=error))
    return Manifold(*estimates)


def _values(pairs: Neighbourhoods, k: Neighbours) -> Array:
    density = pairs.density.mean() / k.density
    shares = pairs.precise.mean(), pairs.recalled.mean(), density, pairs.covered.mean()
    return np.array(shares)
