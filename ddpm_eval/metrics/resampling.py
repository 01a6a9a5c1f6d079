"""The error of a metric of two sets that no formula gives: from random parts of both sets.

The metric of a part f of both sets varies 1/f times as much as that of the whole sets, as long as
its variance falls as 1/n. Parts that are drawn from the same images without replacement vary by
1 - f less (Politis and Romano 1994):

    Var(metric) = f / (1 - f) Var(metric of parts)

Counts of near neighbours follow it, where the bootstrap, which repeats images,
and the jackknife, which counts every pair twice, do not.
"""

from collections.abc import Callable

import numpy as np

from ddpm_eval.metrics.rows import Array, InMemory, Rows

SHARE = 0.25  # of both sets, at most
IMAGES = 2500  # of the larger set, at most
PARTS = 40
SEED = 2020


def stderr_over_both(
    measure: Callable[[Rows, Rows], Array], samples: Rows, reference: Rows, *, least: int
) -> Array | None:
    """Take the standard errors of the numbers that ``measure`` gives, over the choice of both sets.

    Args:
        measure: Gives numbers [q] of samples and a reference.
        samples: All of them.
        reference: All of it.
        least: How many images ``measure`` needs of each set; None is given where parts have fewer.
    """
    n, m = len(samples), len(reference)
    share = min(SHARE, IMAGES / max(n, m))
    sizes = round(share * n), round(share * m)
    if min(sizes) < least:
        return None
    rng = np.random.default_rng(SEED)
    values = []
    for _ in range(PARTS):
        parts = [
            InMemory(source.take(np.sort(rng.choice(len(source), size, replace=False))))
            for source, size in zip((samples, reference), sizes, strict=True)
        ]
        values.append(measure(*parts))
    variance: Array = np.var(values, axis=0, ddof=1) * share / (1 - share)
    return np.sqrt(variance)


def share_stderr(share: float, n: int) -> float:
    """The binomial standard error of a share of n, never 0 (Agresti and Coull 1998).

    >>> round(share_stderr(0.5, 96), 6), round(share_stderr(1.0, 2), 2)
    (0.05, 0.19)
    """
    count, total = share * n + 2, n + 4
    middle = count / total
    return float(np.sqrt(middle * (1 - middle) / total))
