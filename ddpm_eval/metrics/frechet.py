"""The Fréchet distance between Gaussians, from moments that were summed once over the images.

    FD = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))      (Heusel et al. 2017)

Everything is float64.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.moments import Moments, moments
from ddpm_eval.metrics.rows import Array, Rows, blocks, require, rows


class Terms(NamedTuple):
    """The four terms of the distance: FD = mean + trace + reference_trace - cross."""

    mean: float  # |m_1 - m_2|^2
    trace: float  # tr C_1
    reference_trace: float  # tr C_2
    cross: float  # 2 tr (C_1 C_2)^(1/2)

    @property
    def distance(self) -> float:
        """Their sum, the Fréchet distance."""
        return self.mean + (self.reference_trace + self.trace) - self.cross


@dataclass(frozen=True, eq=False)
class Gaussian:
    """What features are compared with: a mean [d] and a covariance [d, d] of ``n`` images.

    ``n`` is 0 where nobody says of how many, as in other systems' statistics.
    """

    mean: Array
    covariance: Array
    n: int = 0

    @classmethod
    def of(cls, total: Moments) -> "Gaussian":
        """The Gaussian with these moments."""
        return cls(total.mean, total.covariance, total.n)

    @classmethod
    def of_rows(cls, source: Rows) -> "Gaussian":
        """The Gaussian with the moments of features [n, d]."""
        dim = source.take(np.arange(1)).shape[1]
        return cls.of(moments((block for _, block in blocks(source)), dim))

    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        """The eigenvalues that rounding did not make, and their vectors."""
        values, vectors = np.linalg.eigh(self.covariance)
        real = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
        return values[real], vectors[:, real]

    def distance(self, other: "Gaussian") -> float:
        """The Fréchet distance.

        The trace of (C_1 C_2)^(1/2) is the sum of the square roots of the eigenvalues of the
        symmetric R^T C_2 R with C_1 = R R^T, which are real, unlike those of C_1 C_2.

        >>> unit = Gaussian(np.zeros(2), np.eye(2))
        >>> round(unit.distance(Gaussian(np.array([3.0, 0.0]), 4 * np.eye(2))), 9)
        11.0
        """
        return self.terms(other).distance

    def terms(self, other: "Gaussian") -> Terms:
        """The terms of the distance of ``other``, the samples, from this one, the reference.

        >>> unit = Gaussian(np.zeros(2), np.eye(2))
        >>> tuple(map(float, unit.terms(Gaussian(np.array([3.0, 0.0]), 4 * np.eye(2)))))
        (9.0, 8.0, 2.0, 8.0)
        """
        values, vectors = self._eigen
        root = vectors * np.sqrt(values)
        inner = np.linalg.eigvalsh(root.T @ other.covariance @ root)
        step = self.mean - other.mean
        return Terms(
            float(step @ step),
            float(np.trace(other.covariance)),
            float(np.trace(self.covariance)),
            float(2 * np.sqrt(inner.clip(0)).sum()),
        )

    def bias(self, n: int) -> float:
        """What a perfect generator scores on ``n`` images, to first order in 1/n.

        Its mean is off by N(0, C/n) and its covariance by a Wishart error E with
        E_ij^2 = l_i l_j (1 + [i = j]) / n in C's own axes, of which FD sees
        1/2 sum_ij E_ij^2 / (l_i + l_j). The images of the reference are a sample too:

            (1/n + 1/n_reference) (tr C + 1/4 tr C + 1/2 sum_ij l_i l_j / (l_i + l_j))

        >>> round(Gaussian(np.zeros(1), np.eye(1), 1000).bias(1000), 6)
        0.003
        """
        values = self._eigen[0]
        pairs = (values[:, None] * values / (values[:, None] + values)).sum() / 2
        share = 1 / n + (1 / self.n if self.n else 0)
        return float(share * (1.25 * values.sum() + pairs))


def distance_stderr(samples: Gaussian, reference: Gaussian, batches: Iterable[Array]) -> float:
    """The standard error of the distance for the choice of samples; the reference is held fixed.

    To first order one image more with features f moves the distance by (h(f) - E h) / n,

        h(f) = 2 (m - m_r) . (f - m) + (f - m)^T (1 - T) (f - m)
        T = R (R^T C R)^(-1/2) R^T,   C_r = R R^T

    T being the linear map that carries N(m, C) to N(m_r, C_r); so the error is the standard
    deviation of h over the root of n (the delta method). The bias in 1/n is not in it.

    Args:
        samples: Of the same features as ``batches``.
        reference: What they are compared with.
        batches: The features of every sample, [B, d] each.
    """
    values, vectors = reference._eigen
    root = vectors * np.sqrt(values)
    inner = Gaussian(np.zeros(len(values)), root.T @ samples.covariance @ root)
    values, vectors = inner._eigen
    half = root @ (vectors * values**-0.25)  # T = half half^T
    total, step = Moments.empty(1), 2 * (samples.mean - reference.mean)
    for batch in batches:
        f = np.asarray(batch, np.float64) - samples.mean
        h = f @ step + np.square(f).sum(1) - np.square(f @ half).sum(1)
        total = total.update(h[:, None])
    return float(np.sqrt(total.covariance[0, 0] / total.n))


def frechet_distance(samples: Rows | ArrayLike, reference: Rows | ArrayLike) -> Estimate:
    """Take the Fréchet distance between features [n, d] and [m, d]; ± is over the samples.

    On pool features of TensorFlow's Inception-v3 this is FID as TTUR and torch-fidelity take it,
    and, of images that were resized their way, as torchmetrics (1.8 and later: antialias) and
    clean-fid do; on the first 7 channels of mixed_6/conv, [17, 17, 7], ADM's sFID; on DINOv2's
    class token dgm-eval's and EDM2's FD.

    >>> x = np.random.default_rng(0).normal(size=(500, 4))
    >>> distance = frechet_distance(x + 1, x)
    >>> round(distance.value, 9), distance.n
    (4.0, 500)

    Raises:
        FixableError: One of them has fewer than two images, or features that are no numbers.
    """
    x, y = rows(samples), rows(reference)
    for source in (x, y):
        require(source, 2, "the Fréchet distance")
    ours, theirs = Gaussian.of_rows(x), Gaussian.of_rows(y)
    return distance_of(ours, theirs, x)


def distance_of(
    samples: Gaussian, reference: Gaussian, source: Rows | None, terms: Terms | None = None
) -> Estimate:
    """The distance between two Gaussians; with the samples' features there is an error as well."""
    value = (terms or reference.terms(samples)).distance
    error = None
    if source is not None and len(source) > 2:
        size = distance_stderr(samples, reference, (block for _, block in blocks(source)))
        error = Error(size=size, over="samples")
    return Estimate(value=value, n=samples.n, error=error)


def relative_distance(distance: Estimate, yardstick: Estimate) -> Estimate:
    """FD(samples) / FD(held-out images), FDr: 1 is as good as real images are (arXiv 2604.28190).

    Both are taken against the same reference and on as many images. The error is that of the choice
    of samples and of held-out images, to first order; the reference is held fixed.

    >>> def of(value, size):
    ...     return Estimate(value=value, n=100, error=Error(size=size, over="samples"))
    >>> ratio = relative_distance(of(3.0, 0.3), of(1.5, 0.0))
    >>> ratio.value, round(ratio.error.size, 6)
    (2.0, 0.2)
    """
    ratio = distance.value / yardstick.value
    error = None
    if distance.error is not None and yardstick.error is not None:
        size = np.hypot(distance.error.size, ratio * yardstick.error.size) / yardstick.value
        error = Error(size=float(size), over="samples and held-out images")
    return Estimate(value=ratio, n=distance.n, error=error)
