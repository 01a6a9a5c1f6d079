"""What every measure of the bound says of itself: its protocol, and its scores as fields."""

from typing import Any

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import Array
from ddpm_eval.model import Model
from ddpm_eval.record.protocol import EstimatorFacts, Protocol
from ddpm_eval.record.scores import Error, Qualifiers, Score
from ddpm_train.settings import to_dict

VERSION = 1
"""Of the numbers of every measure of the bound; it rises when they move."""


def protocol_of(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    *,
    training: ImageSet | None = None,
    other: Model | None = None,
) -> Protocol:
    """Name everything that a measurement of the bound depends on.

    Args:
        model: The model.
        images: The images that are scored.
        settings: The whole settings.
        training: The images that the best variance is learned from.
        other: A second model.
    """
    tree: dict[str, Any] = {"bound": to_dict(settings)}
    if training is not None:
        tree["calibration"] = training.facts.plain
    estimator = EstimatorFacts(target_stderr=settings.target_stderr, budget=settings.budget)
    return Protocol(
        version=VERSION,
        model=model.facts.digest,
        weights=model.facts.weights,
        images=images.facts,
        estimator=estimator if settings.is_estimate else None,
        other_model="" if other is None else other.facts.digest,
        variance=model.variance,
        clip=settings.clip,
        precision=model.precision,
        seed=settings.seed,
        settings=tree,
    )


def mean_bits(bits: Array, **of: Any) -> Score:
    """Average bits/dim over images [n], with the standard error of the mean.

    >>> print(mean_bits(np.array([3.0, 4.0, 5.0]), part="decoder"))
    4.000 ± 0.577 bits/dim (n=3)
    """
    return scored("bits_per_dim", float(bits.mean()), len(bits), float(stderr_of(bits)), **of)


def scored(metric: str, value: float, n: int, stderr: float | None, **of: Any) -> Score:
    """Make a score whose error is a standard error over images; a single image has none."""
    error = None if stderr is None or n < 2 else Error(size=float(stderr))
    return Score(metric=metric, value=value, n=n, error=error, of=Qualifiers(**of))


def stderr_of(values: Array) -> Array:
    """Compute the standard error of the mean over images (axis 0); 0 for a single image."""
    n = len(values)
    error: Array = values.std(0, ddof=1, dtype=np.float64) / n**0.5 if n > 1 else 0 * values[0]
    return error
