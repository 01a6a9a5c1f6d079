"""The kernel distance (Binkowski et al. 2018): the squared MMD under a cubic kernel, unbiased.

k(x, y) = (x . y / d + 1)^3
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.record.arrays import Array

SUBSETS, SUBSET_SIZE = 100, 1000
SEED = 2020  # torch-fidelity's, so that the subsets are the same images


class Rows(Protocol):
    """Features [n, d] float32 that need not be in memory."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> Array:
        """The rows at these indices, float32."""


class KernelDistance(NamedTuple):
    """The mean over subsets, their standard deviation, and how many images each had."""

    value: float
    spread: float
    subset: int


def kernel_distance(samples: Rows, reference: Rows, *, subsets: int = SUBSETS) -> KernelDistance:
    """The mean over random subsets of both sets of images.

    Subsets have 1,000 images; where one set has fewer, half of them.
    """
    smaller = min(len(samples), len(reference))
    size = SUBSET_SIZE if smaller >= SUBSET_SIZE else smaller // 2
    rng = np.random.RandomState(SEED)
    found = np.empty(subsets)
    for i in range(subsets):
        x = samples.take(rng.choice(len(samples), size, replace=False))
        y = reference.take(rng.choice(len(reference), size, replace=False))
        found[i] = squared_mmd(x, y)
    return KernelDistance(float(found.mean()), float(found.std()), size)


def squared_mmd(x: Array, y: Array) -> float:
    """The unbiased estimate from two sets of as many features, [m, d] each.

    All of it is float64: the distance is a small difference of large means, and float32 products
    would spoil its fifth digit.

    >>> x = np.eye(2)
    >>> squared_mmd(x, x)  # unbiased, so below zero for equal sets
    -2.375
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    m = len(x)
    within = 0.0
    for each in (x, y):
        k = _kernel(each, each)
        within += (k.sum() - np.trace(k)) / (m * (m - 1))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: Array, y: Array) -> Array:
    base: Array = x @ y.T
    base /= x.shape[1]
    base += 1
    cube: Array = base * base
    cube *= base
    return cube
