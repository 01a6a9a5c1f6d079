"""Features [n, d] that are in memory or are read where they are wanted, block by block."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ddpm_train.errors import FixableError

Array: TypeAlias = NDArray[Any]
BLOCK = 1024  # rows in memory at once


class Rows(Protocol):
    """Features [n, d] float32 or float64 that need not be in memory."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Give the rows at these indices."""


class InMemory:
    """Rows of an array [n, d]."""

    def __init__(self, features: Array) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Give the rows at these indices."""
        return self.features[indices]


def rows(features: "Rows | ArrayLike") -> Rows:
    """Take an array [n, d] for what it is, rows as they are.

    Raises:
        FixableError: It is no array of two axes, or holds NaN or infinity.

    >>> len(rows([[1.0, 2.0], [3.0, 4.0]]))
    2
    """
    if hasattr(features, "take") and not isinstance(features, np.ndarray):
        return features  # type: ignore[return-value]
    array = np.asarray(features)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise FixableError(
            f"features: {array.dtype} {list(array.shape)} is not an array of floats [n, d]",
            "give one row of features for each image",
        )
    if not np.isfinite(array).all():
        raise FixableError(
            "the features hold NaN or infinity", "check the images and the extractor's weights"
        )
    return InMemory(array)


def blocks(source: Rows, size: int = BLOCK) -> Iterator[tuple[int, Array]]:
    """Give the rows in order with the index of the first of each block.

    >>> [(start, len(block)) for start, block in blocks(rows(np.zeros((5, 2))), 2)]
    [(0, 2), (2, 2), (4, 1)]
    """
    for start in range(0, len(source), size):
        yield start, source.take(np.arange(start, min(start + size, len(source))))


def require(source: Rows, least: int, metric: str) -> None:
    """Refuse fewer rows than a metric can be computed of.

    Raises:
        FixableError: Names the number.
    """
    if len(source) < least:
        raise FixableError(
            f"n={len(source):,}: {metric} needs {least:,} images at least", "take more images"
        )
