"""Two models on the same images, steps and noise: their difference has a far smaller error."""

from collections.abc import Mapping

import numpy as np
from scipy.special import stdtrit

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import estimate as estimates
from ddpm_eval.measure.bound.facts import mean_bits, protocol_of, scored
from ddpm_eval.measure.bound.likelihood import choose_images, obtain_terms
from ddpm_eval.measure.bound.scoring import prior_bits, sweep_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import variance_tables
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError

MEASURE = "comparison"
LEVEL = 0.95
"""Of the verdict."""


def measure(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    other: Model,
) -> Measurement:
    """Measure the difference of two models' bounds, each under its own variance.

    Positive means that the model needs more bits than the other. A goal of the settings is one for
    the difference.

    Args:
        model: The model.
        images: The images to choose from.
        settings: Which are scored, the noise, and the goal of an estimate.
        runtime: How the work is carried out.
        other: The model that it is compared with.

    Raises:
        FixableError: The models take other images or other steps, or the best variance is wanted.
    """
    _check(model, other, settings)
    chosen = choose_images(images, settings)
    protocol = protocol_of(model, chosen, settings, other=other)
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    compare = _estimated if settings.is_estimate else _full
    scores = compare(model, other, chosen, settings, runtime)
    mine, theirs, difference = scores[:3]
    sizes = [0.0 if score.error is None else score.error.size for score in scores[:3]]
    gain: tuple[Score, ...] = ()
    if sizes[2]:
        ratio = float(np.hypot(sizes[0], sizes[1])) / sizes[2]
        gain = (Score(metric="pairing_gain", value=ratio, n=difference.n),)
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=(mine, theirs, difference, *gain, *scores[3:]),
        facts={
            "verdict": verdict(difference),
            "other": {
                "name": other.facts.name,
                "weights": other.facts.weights,
                "variance": other.variance,
                "precision": other.precision,
            },
        },
    )


def verdict(difference: Score) -> str:
    """Say which model is better, at 95% (Student's t over the images).

    >>> verdict(scored("bits_per_dim", -0.02, 100, 0.005))
    'the model needs fewer bits than the other (95%)'
    >>> verdict(scored("bits_per_dim", 0.004, 100, 0.005))
    'no difference can be told (95%)'
    >>> verdict(scored("bits_per_dim", 0.004, 1, None))
    'no difference can be told from one image'
    """
    if difference.error is None:
        return "no difference can be told from one image"
    quantile = stdtrit(difference.n - 1, (1 + LEVEL) / 2)  # of Student's t
    if abs(difference.value) <= quantile * difference.error.size:
        return f"no difference can be told ({LEVEL:.0%})"
    amount = "fewer" if difference.value < 0 else "more"
    return f"the model needs {amount} bits than the other ({LEVEL:.0%})"


def _full(
    model: Model, other: Model, images: ImageSet, settings: BoundSettings, runtime: Runtime
) -> tuple[Score, ...]:
    mine, theirs = (
        obtain_terms(subject, images, settings, runtime)[0].total() for subject in (model, other)
    )
    return (
        mean_bits(mine),
        mean_bits(theirs, whose="other model"),
        mean_bits(mine - theirs, whose="difference"),
    )


def _estimated(
    model: Model, other: Model, images: ImageSet, settings: BoundSettings, runtime: Runtime
) -> tuple[Score, ...]:
    sweeps = {
        name: sweep_of(subject, images, settings, runtime, variances=variance_tables(subject))
        for name, subject in (("nll", model), ("against", other))
    }
    T = model.denoise.schedule.T
    V = [len(estimates.variance_names(sweep)) for sweep in sweeps.values()]
    one, rows = np.eye(sum(V)), np.arange(T + 1) >= 1
    mine, theirs = one[0], one[V[0]]
    columns = {"difference": mine - theirs, "model": mine, "other model": theirs}
    sums = [estimates.Sum("total", "", column, rows) for column in columns.values()]
    estimate, evaluations = estimates.run(
        sweeps, images, settings, runtime, sums=estimates.wanted(sums)
    )
    constants = _constants(model, other, images)
    n = len(images)
    scores = {
        whose: scored(
            "bits_per_dim",
            float(estimate.value[i]) + constants[whose],
            n,
            float(estimate.population[i]),
            whose=whose,
        )
        for i, whose in enumerate(columns)
    }
    order = (scores["model"], scores["other model"], scores["difference"])
    return (*order, *estimates.effort(2 * evaluations, 2 * n * T))


def _constants(model: Model, other: Model, images: ImageSet) -> Mapping[str, float]:
    mine, theirs = (float(prior_bits(subject, images).mean()) for subject in (model, other))
    return {"model": mine, "other model": theirs, "difference": mine - theirs}


def _check(model: Model, other: Model, settings: BoundSettings) -> None:
    if model.shape != other.shape:
        raise FixableError(
            f"against={other.facts.name}: the models see images of other shapes, {model.shape} "
            f"and {other.shape}",
            "compare models of the same images",
        )
    steps = model.denoise.schedule.T, other.denoise.schedule.T
    if steps[0] != steps[1]:
        raise FixableError(
            f"against={other.facts.name}: the models have {steps[0]:,} and {steps[1]:,} steps, so "
            "their noise cannot be shared",
            "measure each by itself",
        )
    if settings.calibrate:
        raise FixableError(
            f"calibrate={settings.calibrate:,}: of no effect on a comparison", "leave it out"
        )
