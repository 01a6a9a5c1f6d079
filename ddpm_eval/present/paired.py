"""Paired errors: the difference of two models image by image, under the same noise."""

from collections.abc import Callable, Mapping

import numpy as np

from ddpm_eval.present.alike import Pair
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.scores import Score

_GREY_LEVELS = 127.5
PARTS: Mapping[str, Callable[[Array], Array]] = {  # of the terms [n, T+1]
    "total": lambda terms: terms.sum(1),
    "steps": lambda terms: terms[:, 1:-1].sum(1),
    "decoder": lambda terms: terms[:, 0],
}
"""Parts of the bound that the terms of each image give."""


def gap(score: Score, bounds: Pair) -> tuple[float, float] | None:
    """Take the gap of a score and its error over images, if both saw the same ones and noise.

    Args:
        score: What is compared.
        bounds: The two measurements of the bound, which hold the terms of each image.
    """
    a, b = bounds
    if not _same_noise(a.protocol, b.protocol):
        return None
    if score.metric == "rmse":
        one, other = (_linear_rmse(item.arrays.get("mse")) for item in bounds)
    elif score.metric == "bits_per_dim" and score.of.part in PARTS:
        one, other = (_sums(score.of.part, item.arrays.get("terms")) for item in bounds)
    else:
        return None
    if one is None or other is None or one.shape != other.shape or len(one) < 2:
        return None
    apart = other - one
    return float(apart.mean()), float(apart.std(ddof=1) / len(apart) ** 0.5)


def _same_noise(a: Protocol, b: Protocol) -> bool:
    """Whether every image of both had the same noise."""
    return (
        a.images is not None and bool(a.images.digest) and (a.images, a.seed) == (b.images, b.seed)
    )


def _sums(part: str, terms: Array | None) -> Array | None:
    return None if terms is None else PARTS[part](terms.astype(np.float64))


def _linear_rmse(mse: Array | None) -> Array | None:
    """What each image adds to the root of the mean: the delta method, exact in the mean."""
    if mse is None:
        return None
    last = mse[:, 1].astype(np.float64)
    root = np.sqrt(max(last.mean(), 1e-24))
    linear: Array = _GREY_LEVELS * (root + (last - last.mean()) / (2 * root))
    return linear
