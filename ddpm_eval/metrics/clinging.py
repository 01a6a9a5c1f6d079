"""Clinging: whether samples lie closer to single training images than new images do.

A distance alone says little: smooth images have many near neighbours, and dull ones lie near to
everything. So a sample *clings* to its nearest training image in so far as that is nearer than its
fifth neighbour and than a flat patch of the sample's own mean colour. The yardstick are held-out
images, which no model can have memorised.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ddpm_eval.record.arrays import Array

AMONG = 5  # the neighbour that the nearest is compared with
CLOSEST = 0.01  # of the held-out images: as close as these is close
SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many of n samples are as close as the closest ``share`` of the m held-out images.

    Attributes:
        close: How many samples are.
        n: Samples.
        share: Of the held-out images.
        m: Held-out images.
        copies: Samples that equal a training image, where no held-out image does.
    """

    close: int
    n: int
    share: float
    m: int
    copies: int

    @property
    def chance(self) -> float:
        """The probability of so many if samples and held-out images were alike: exact.

        >>> round(Verdict(close=6, n=64, share=0.01, m=300, copies=0).chance, 6)
        0.000502
        """
        before = stats.nhypergeom(self.n + self.m, self.n, round(self.share * self.m))
        return float(before.sf(self.close - 1))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the share of close samples (Clopper and Pearson)."""
        low, high = stats.binomtest(self.close, self.n).proportion_ci(method="exact")
        return float(low), float(high)

    @property
    def is_memorised(self) -> bool:
        """Whether the samples say that the model memorised training images."""
        return self.copies > 0 or self.chance < SIGNIFICANT

    def __str__(self) -> str:
        low, high = self.interval
        head, chance = "No sign of memorisation", "no more than chance gives"
        if self.is_memorised:
            head = "The model repeats training images"
            chance = f"which chance gives with probability {self.chance:.2g}"
        copies = f"; {self.copies:,} copied to the last bit" if self.copies else ""
        return (
            f"{head}: {self.close:,} of {self.n:,} samples ({self.close / self.n:.1%}; 95% "
            f"interval {low:.1%} to {high:.1%}{copies}) cling to one training image as closely as "
            f"the closest {self.share:.1%} of {self.m:,} held-out images do, {chance}."
        )


def cling(distances: Array, flat: Array) -> Array:
    """Measure how much more each query is like its nearest training image than like others, [Q].

        d_1 / min(d_5, d_flat),   0 for a copy

    Args:
        distances: From the nearest training images, rising, [Q, 5 or more].
        flat: From a flat patch of the query's mean colour, [Q].

    >>> cling(np.array([[1, 2, 3, 4, 5.0], [0, 1, 1, 1, 1]]), np.array([10, 0.0])).tolist()
    [0.2, 0.0]
    """
    first, rival = distances[:, 0], np.minimum(distances[:, AMONG - 1], flat)
    ratio: Array = np.divide(first, rival, out=(first > 0).astype(float), where=rival > 0)
    return ratio


def judge(nearest: Array, clinging: Array, n: int) -> Verdict:
    """Judge the first n queries by the others, which are held out.

    Args:
        nearest: The distance of each query from its nearest training image, [Q].
        clinging: As ``cling`` measures it, [Q].
        n: How many of them are samples.
    """
    copy, yardstick = nearest == 0, np.sort(clinging[n:])
    limit = yardstick[max(1, round(CLOSEST * len(yardstick))) - 1]
    return Verdict(
        close=int((clinging[:n] <= limit).sum()),
        n=n,
        share=float((yardstick <= limit).mean()),
        m=len(yardstick),
        copies=0 if copy[n:].any() else int(copy[:n].sum()),
    )
