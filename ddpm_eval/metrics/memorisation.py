"""Whether samples repeat training images, told by their nearest ones."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.neighbourhoods import Neighbourhoods, neighbourhoods
from ddpm_eval.metrics.resampling import share_stderr
from ddpm_eval.metrics.rows import Array, Rows, rows

if TYPE_CHECKING:
    import torch

RATIO = 1 / 3


def memorised_share(
    samples: Rows | ArrayLike,
    training: Rows | ArrayLike,
    *,
    device: "torch.device | str" = "cpu",
) -> Estimate:
    """Take the share of samples three times nearer to one training image than to any other.

        d_1 / d_2 < 1/3,   d_i the distance to the i-th nearest training image

    On pixels this is the share that papers print (Yoon et al. 2023; Gu et al. 2023). The training
    set is held fixed: it is what may have been memorised.

    >>> x = np.random.default_rng(0).normal(size=(100, 8))
    >>> memorised_share(np.concatenate([x[:10] + 1e-3, -x[:30]]), x).value
    0.25
    """
    return memorised(neighbourhoods(rows(samples), rows(training), device=device).nearest)


def memorised(nearest: Array) -> Estimate:
    """Take the memorised share from distances to the two nearest training images, [n, 2]."""
    return _share(nearest[:, 0] < RATIO * nearest[:, 1])


def authenticity(
    samples: Rows | ArrayLike,
    training: Rows | ArrayLike,
    *,
    device: "torch.device | str" = "cpu",
) -> Estimate:
    """Take AuthPct: the percentage of samples that keep their distance from training images.

    A sample counts as authentic if its nearest training image has another training image that is
    nearer to it than the sample is (Alaa et al. 2022; dgm-eval's ``authpct``). Where a model is
    perfect about half of the samples are. The training set is held fixed.

    >>> x = np.random.default_rng(0).normal(size=(100, 8))
    >>> authenticity(x + 1e-3, x).value, authenticity(x + 9, x).value
    (0.0, 100.0)
    """
    return authentic(neighbourhoods(rows(samples), rows(training), device=device))


def authentic(pairs: Neighbourhoods) -> Estimate:
    """Take AuthPct from a pass over all pairs."""
    share = _share(pairs.apart < pairs.nearest[:, 0])
    error = share.error
    size = 0.0 if error is None else 100 * error.size
    return Estimate(value=100 * share.value, n=share.n, error=Error(size=size, over="samples"))


def _share(flags: Array) -> Estimate:
    share, n = float(np.mean(flags)), len(flags)
    return Estimate(value=share, n=n, error=Error(size=share_stderr(share, n), over="samples"))
