"""The Inception score (Salimans et al. 2016), summed over images as they come.

IS = exp E KL(p(y | x) || p(y)),   in ten parts of the images, whose spread is the +-
"""

import numpy as np
from scipy.special import log_softmax

from ddpm_eval.record.arrays import Array
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
        log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
        p = np.exp(log_p)
        rows = np.concatenate([p, (p * log_p).sum(1, keepdims=True), np.ones((len(p), 1))], 1)
        members = self._part[indices.start : indices.stop] == np.arange(len(self.sums))[:, None]
        self.sums += members.astype(np.float64) @ rows

    def result(self) -> tuple[float, float]:
        """The mean over the parts, and their standard deviation."""
        counts = self.sums[:, -1]
        q = self.sums[:, :-2] / counts[:, None]
        log_q = np.log(q, where=q > 0, out=np.zeros_like(q))
        scores = np.exp(self.sums[:, -2] / counts - (q * log_q).sum(1))
        return float(scores.mean()), float(scores.std())
