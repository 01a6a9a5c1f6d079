"""What is measured: torch in, ``Measurement`` out. The registry, read from top to bottom."""

from collections.abc import Callable

from ddpm_eval.job import Job
from ddpm_eval.measure import baselines, likelihood, samples, training
from ddpm_eval.results import Measurement

Measure = Callable[[Job], Measurement]

MEASURES: dict[str, Measure] = {
    "nll": likelihood.measure,
    "baselines": baselines.measure,
    "samples": samples.measure,
    "training": training.measure,
}
