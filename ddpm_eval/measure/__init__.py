"""What is measured: torch in, ``Measurement`` out. The registry, read from top to bottom."""

from collections.abc import Callable

from ddpm_eval.job import Job
from ddpm_eval.measure import training
from ddpm_eval.measure.bound import baselines, compare, likelihood, rate_distortion
from ddpm_eval.measure.bound import estimate as fast
from ddpm_eval.measure.pictures import (
    interpolation,
    neighbours,
    progressive,
    reconstructions,
    samples,
)
from ddpm_eval.measure.quality import quality
from ddpm_eval.record.record import Measurement

Measure = Callable[[Job], Measurement]

MEASURES: dict[str, Measure] = {
    "nll": likelihood.measure,
    "nll-estimate": fast.measure,
    "comparison": compare.measure,
    "rate_distortion": rate_distortion.measure,
    "baselines": baselines.measure,
    "samples": samples.measure,
    "quality": quality.measure,
    "progressive": progressive.measure,
    "reconstructions": reconstructions.measure,
    "interpolation": interpolation.measure,
    "neighbours": neighbours.measure,
    "training": training.measure,
}

IN_FLOAT64 = frozenset(
    (
        *("nll", "nll-estimate", "comparison", "rate_distortion", "baselines"),
        *("progressive", "reconstructions"),
    )
)
"""Those that compute in float64 on the device: the sweep, and the errors of x_0_hat."""
