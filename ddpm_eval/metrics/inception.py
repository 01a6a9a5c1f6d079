"""The Inception score (Salimans et al. 2016), summed over images as they come.

IS = exp E KL(p(y | x) || p(y)),   in ten parts of the images, whose spread is the +-
"""

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.rows import Array
from ddpm_train.errors import FixableError

SPLITS = 10
SHUFFLE_SEED = 2020  # torch-fidelity's, so that the parts are the same images


class InceptionScore:
    """Sums over the classifier's outputs: for each part, of p, of p ln p, and of images.

    They are additive (``sums``), so processes that saw different images add theirs.
    """

    def __init__(self, n: int, classes: int, *, splits: int = SPLITS) -> None:
        """Say beforehand of how many images.

        Raises:
            FixableError: There are fewer images than parts.
        """
        if n < splits:
            raise FixableError(
                f"{n} images do not make {splits} parts", f"take {splits} images at least"
            )
        order = np.random.RandomState(SHUFFLE_SEED).permutation(n)
        ends = np.arange(1, splits + 1) * n // splits
        self._part = np.empty(n, np.int64)
        self._part[order] = np.searchsorted(ends, np.arange(n), side="right")
        self.sums = np.zeros((splits, classes + 2))

    def update(self, indices: range, logits: Array) -> None:
        """Add the images of these indices, logits [len(indices), classes]."""
        from scipy.special import log_softmax

        log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
        p = np.exp(log_p)
        rows = np.concatenate([p, (p * log_p).sum(1, keepdims=True), np.ones((len(p), 1))], 1)
        members = self._part[indices.start : indices.stop] == np.arange(len(self.sums))[:, None]
        self.sums += members.astype(np.float64) @ rows

    def result(self) -> tuple[float, float]:
        """The mean over the parts, and their standard deviation."""
        scores = np.exp(_information(self.sums))
        return float(scores.mean()), float(scores.std())

    @property
    def limit(self) -> float:
        """About what the score would be on very many images.

        The information that it is the exponential of is too small by a term in 1/n, which the
        parts, a tenth each, and all images together show.

        >>> score = InceptionScore(40, 1000)
        >>> score.update(range(40), 50 * np.eye(40, 1000))  # of 40 classes each part has seen 4
        >>> round(score.result()[0]), 40 < score.limit < 60
        (4, True)
        """
        parts = _information(self.sums).mean()
        whole = _information(self.sums.sum(0, keepdims=True))[0]
        return float(np.exp(whole + (whole - parts) / (len(self.sums) - 1)))

    def estimate(self) -> Estimate:
        """The score with the published ±, the spread over the parts."""
        value, spread = self.result()
        parts = len(self.sums)
        error = Error(size=spread, kind="spread", over=f"{parts} parts", parts=parts)
        return Estimate(value=value, n=len(self._part), error=error)


def inception_score(logits: ArrayLike, *, splits: int = SPLITS) -> Estimate:
    """Take the Inception score of a classifier's logits [n, classes].

    On Inception-v3's logits without bias this is torch-fidelity's (ten parts, shuffled by its
    seed). The ± is the spread over the parts, as published; it is no standard error.

    >>> inception_score(1000 * np.eye(5)[np.arange(200) % 5]).value > 4.5
    True
    """
    array = np.asarray(logits)
    score = InceptionScore(len(array), array.shape[1], splits=splits)
    score.update(range(len(array)), array)
    return score.estimate()


def _information(sums: Array) -> Array:
    """The information between image and class, nats, for each row of sums."""
    counts = sums[:, -1]
    q = sums[:, :-2] / counts[:, None]
    log_q = np.log(q, where=q > 0, out=np.zeros_like(q))
    information: Array = sums[:, -2] / counts - (q * log_q).sum(1)
    return information
