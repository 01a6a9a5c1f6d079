"""How often a classifier recognises conditional samples as the class that they were asked for."""

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.resampling import share_stderr
from ddpm_eval.metrics.rows import Array


class Recognition:
    """Counts of samples and of recognised ones for each class, [classes, 2].

    They are additive (``sums``), so processes that saw different samples add theirs.
    """

    def __init__(self, labels: Array, classes: int) -> None:
        """Say beforehand which classes the samples are of, [n]."""
        self._labels = labels
        self.sums = np.zeros((classes, 2))

    def update(self, indices: range, logits: Array) -> None:
        """Add the samples of these indices, logits [len(indices), classes]."""
        labels = self._labels[indices.start : indices.stop]
        right = np.asarray(logits).argmax(1) == labels
        np.add.at(self.sums, labels, np.stack([np.ones(len(labels)), right], 1))

    def estimate(self) -> Estimate:
        """The share over all samples, in percent."""
        n, right = self.sums.sum(0)
        return _percent(float(right), int(n))

    def by_class(self) -> tuple[Array, Array, Array]:
        """The classes that have samples, their shares in percent, and the standard errors."""
        present = np.flatnonzero(self.sums[:, 0])
        n, right = self.sums[present].T
        share = right / n
        errors = [share_stderr(*pair) for pair in zip(share, n, strict=True)]
        return present, 100 * share, 100 * np.array(errors)


def recognised_share(logits: ArrayLike, labels: ArrayLike) -> Estimate:
    """Take the percentage of samples whose highest logit is that of their class.

    Args:
        logits: Of a classifier that knows the classes, [n, classes].
        labels: The class that each sample was asked to be of, [n].

    >>> print(recognised_share([[2.0, 1.0], [0.0, 3.0]], [0, 0]).value)
    50.0
    """
    array = np.asarray(logits)
    counts = Recognition(np.asarray(labels), array.shape[1])
    counts.update(range(len(array)), array)
    return counts.estimate()


def _percent(right: float, n: int) -> Estimate:
    """A share in percent, with the standard error of a proportion, which is never 0."""
    share = right / n
    error = Error(size=100 * share_stderr(share, n), over="samples")
    return Estimate(value=100 * share, n=n, error=error)
