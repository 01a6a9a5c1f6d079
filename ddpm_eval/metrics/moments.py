"""Mean and scatter of features, summed once over the images.

Everything is float64. Moments are kept about their own mean, so that adding more images, or those
of another process, loses no digits to cancellation (Chan, Golub, LeVeque 1979).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ddpm_eval.metrics.rows import Array
from ddpm_train.errors import FixableError


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """How many features there were, their mean, and the scatter about it.

    Attributes:
        n: The number of images.
        mean: [d].
        scatter: The sum of (f - mean)(f - mean)^T, [d, d].
    """

    n: int
    mean: Array
    scatter: Array

    @classmethod
    def empty(cls, dim: int) -> "Moments":
        """No image yet."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    def update(self, features: Array) -> "Moments":
        """The moments with more features [B, d].

        Raises:
            FixableError: A feature is NaN or infinite.

        >>> result = Moments.empty(1).update(np.array([[1.0], [3.0]])).update(np.array([[5.0]]))
        >>> result.n, result.mean, result.covariance
        (3, array([3.]), array([[4.]]))
        """
        batch = np.asarray(features, np.float64)
        if not len(batch):
            return self
        if not np.isfinite(batch).all():
            raise FixableError(
                "the features hold NaN or infinity", "check the images and the extractor's weights"
            )
        mean = batch.mean(0)
        centred = batch - mean
        return self.merge(Moments(len(batch), mean, centred.T @ centred))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets of images."""
        n = self.n + other.n
        if not self.n or not n:
            return other
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(step, step * (self.n * other.n / n))
        return Moments(n, self.mean + step * (other.n / n), scatter)

    @property
    def covariance(self) -> Array:
        """The unbiased covariance, [d, d].

        Raises:
            FixableError: There are fewer than two images.
        """
        if self.n < 2:
            raise FixableError(
                f"{self.n} image(s) have no covariance", "take two at least, better 50,000"
            )
        covariance: Array = self.scatter / (self.n - 1)
        return covariance


def moments(batches: Iterable[Array], dim: int) -> Moments:
    """The moments of features that come in batches [B, dim]."""
    total = Moments.empty(dim)
    for batch in batches:
        total = total.update(batch)
    return total
