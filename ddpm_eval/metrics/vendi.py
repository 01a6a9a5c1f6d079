"""The Vendi score (Friedman and Dieng 2023): the effective number of different images.

VS = exp(-sum_i l_i ln l_i),   l the eigenvalues of K / n,   K_ij = x_i . x_j, |x_i| = 1
"""

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics.estimate import Estimate
from ddpm_eval.metrics.rows import Rows, blocks, require, rows


def vendi_score(samples: Rows | ArrayLike) -> Estimate:
    """Take the Vendi score of features [n, d] under the cosine kernel.

    K / n and X^T X / n have the same eigenvalues, so that d x d is all the memory that it takes. On
    DINOv2's class token this is dgm-eval's ``vendi``. It grows with n, towards a limit below d.

    >>> round(vendi_score(np.eye(5)).value, 9), round(vendi_score(np.ones((7, 5))).value, 9)
    (5.0, 1.0)
    """
    x = rows(samples)
    require(x, 1, "the Vendi score")
    dim = x.take(np.arange(1)).shape[1]
    second = np.zeros((dim, dim))
    for _, block in blocks(x):
        unit = block.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True).clip(1e-12)
        second += unit.T @ unit
    values = np.linalg.eigvalsh(second / len(x))
    values = values[values > 0]
    return Estimate(value=float(np.exp(-(values * np.log(values)).sum())), n=len(x))
