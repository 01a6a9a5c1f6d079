"""Two models on the same images, times and noise: their difference is far better known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ddpm_eval.job import Job
from ddpm_eval.measure.bound import estimate as fast
from ddpm_eval.measure.bound import likelihood, sweep, work
from ddpm_eval.measure.bound.estimate import Sums
from ddpm_eval.measure.bound.sweep import Array
from ddpm_eval.model import Model
from ddpm_eval.record.schema1 import Measurement, Quantity
from ddpm_train.errors import FixableError

SIGNIFICANT = 1.96
"""Standard errors beyond which a difference is not chance, at 95%."""


def measure(job: Job) -> Measurement:
    """The difference of two models' bounds, each under its own variance.

    Positive means that the model needs more bits than the one it is compared with. With
    ``config.fast`` the goal is a goal for the difference.

    Raises:
        FixableError: The models see other images, or other steps where pairs are chosen.
    """
    other = job.against
    if other is None:
        raise ValueError("there is no second model")
    _fit_together(job.subject, other)
    found, settings = _estimated(job, other) if job.config.fast else _full(job, other)
    mine, theirs, difference = (found[key] for key in ("model", "against", "difference"))
    apart = float(np.hypot(mine.stderr or 0, theirs.stderr or 0))
    quantities = dict(found)
    if difference.stderr:
        quantities["gain in error by pairing"] = Quantity(
            apart / difference.stderr, "times", n=difference.n
        )
    return Measurement(
        name=likelihood.name_of("comparison", job.config.split),
        quantities=quantities,
        settings=settings
        | {
            "against": {
                "checkpoint": other.facts.digest,
                "weights": other.facts.weights,
            },
            "verdict": verdict(difference),
        },
    )


def verdict(difference: Quantity) -> str:
    """Which model is better, at 95%.

    >>> verdict(Quantity(-0.02, "bits/dim", n=100, stderr=0.005))
    'the model needs fewer bits than the other (95%)'
    >>> verdict(Quantity(0.004, "bits/dim", n=100, stderr=0.005))
    'no difference can be told (95%)'
    """
    if abs(difference.value) <= SIGNIFICANT * (difference.stderr or 0):
        return "no difference can be told (95%)"
    return (
        f"the model needs {'fewer' if difference.value < 0 else 'more'} bits than the other (95%)"
    )


def _full(job: Job, other: Model) -> tuple[dict[str, Quantity], dict[str, Any]]:
    terms, _, settings = likelihood.full(job)
    second = replace(job, subject=other, work=job.work / "against")
    theirs = likelihood.full(second)[0].total()
    each = {"model": terms.total(), "against": theirs, "difference": terms.total() - theirs}
    n = len(theirs)
    return {
        name: Quantity(float(found.mean()), "bits/dim", n=n, stderr=float(likelihood.stderr(found)))
        for name, found in each.items()
    }, settings


def _estimated(job: Job, other: Model) -> tuple[dict[str, Quantity], dict[str, Any]]:
    images, n = work.scored(job)
    settings = work.describe(job, images)
    models = [
        work.prepare(job, subject, images, sweep.tables(subject))
        for subject in (job.subject, other)
    ]
    T, V = job.subject.denoise.schedule.T, [len(fast.variances(how)) for how in models]
    one = np.eye(sum(V))
    mine, theirs = one[0], one[V[0]]
    times = np.arange(T + 1) >= 1
    sums = Sums.of(
        {
            "difference": (mine - theirs, times),
            "model": (mine, times),
            "against": (theirs, times),
        }
    )
    found, evaluations = fast.estimate(job, models, images, n, sums=sums, settings=settings)
    priors = [work.prior_bits(subject, images, n) for subject in (job.subject, other)]
    constant = _constants(priors)
    quantities = {
        name: Quantity(
            float(value) + constant[name], "bits/dim", n=n, stderr=float(found.population[i])
        )
        for i, (name, value) in enumerate(zip(sums.names, found.value, strict=True))
    }
    order = ("model", "against", "difference")
    ours = {name: quantities[name] for name in order}
    ours |= fast.effort(2 * evaluations, 2 * n * T)
    return ours, settings | fast.goal(job, 2 * evaluations)


def _constants(priors: list[Array]) -> Mapping[str, float]:
    mine, theirs = (float(prior.mean()) for prior in priors)
    return {"model": mine, "against": theirs, "difference": mine - theirs}


def _fit_together(one: Model, other: Model) -> None:
    if one.shape != other.shape:
        raise FixableError(
            f"--against: the models see images of other shapes, {one.shape} and {other.shape}",
            "compare models of the same images",
        )
    steps = one.denoise.schedule.T, other.denoise.schedule.T
    if steps[0] != steps[1]:
        raise FixableError(
            f"--against: the models have {steps[0]:,} and {steps[1]:,} steps, so their noise "
            "cannot be shared",
            "measure each by itself: ddpm-eval nll",
        )
