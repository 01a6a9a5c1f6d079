"""The bound from a small part of its terms, with two standard errors (see estimator.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ddpm_eval.job import Job
from ddpm_eval.measure.bound import estimator, likelihood, sweep, texture, work
from ddpm_eval.measure.bound.calibration import calibrate
from ddpm_eval.measure.bound.estimator import Estimate, Evaluate, Goal, Wanted
from ddpm_eval.measure.bound.sweep import Array, Chosen, Scores, Sweep
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream

LEAST_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Sums:
    """Named sums over times of kinds of terms (see ``Wanted``)."""

    names: tuple[str, ...]
    wanted: Wanted

    @staticmethod
    def of(parts: Mapping[str, tuple[Array, Array]]) -> "Sums":
        """Take sums by name, each (how much of each kind [V], how much of each time [T+1])."""
        kinds, times = zip(*parts.values(), strict=True)
        return Sums(tuple(parts), Wanted(np.stack(kinds, 1), np.stack(times, 1).astype(float)))


def measure(job: Job) -> Measurement:
    """Estimate the bound of the first n images of a split, for every variance."""
    images, n = work.scored(job)
    process = job.subject.denoise.schedule
    settings = work.describe(job, images)
    calibrated, learned = calibrate(job, images, n)
    under = sweep.tables(job.subject, calibrated)
    settings |= learned
    how = work.prepare(job, job.subject, images, under)
    names = variances(how)
    classes = octaves(process.T)
    sums = Sums.of(parts(names, process.T) | steps(len(names), process.T, classes))
    found, evaluations = estimate(job, [how], images, n, sums=sums, settings=settings)
    prior = work.prior_bits(job.subject, images, n)
    quantities = bound(names, sums, found, prior)
    quantities |= likelihood.mismatch(process, under, n) | effort(evaluations, n * process.T)
    last = len(classes)
    width = np.diff([*classes, process.T + 1])
    curve = Curve(
        x=np.array(classes) + (width - 1) / 2 - 1,
        y=found.value[-last:] / width,
        x_name="t",
        y_name="L_t (bits/dim)",
        n=n,
        stderr=found.population[-last:] / width,
        log="y",
    )
    return Measurement(
        name=likelihood.name_of("nll", job.config.split),
        quantities=quantities,
        curves={"terms": curve},
        settings=settings | goal(job, evaluations),
        warnings=shortfall(found),
    )


def goal(job: Job, evaluations: int) -> dict[str, Any]:
    """What the record says of an estimate."""
    config = job.config
    wish: dict[str, Any] = {"evaluations": evaluations}
    if config.target_stderr:
        wish["target_stderr"] = config.target_stderr
    if config.budget:
        wish["budget"] = config.budget
    return {"estimator": wish}


def estimate(
    job: Job,
    models: list[Sweep],
    images: Images,
    n: int,
    *,
    sums: Sums,
    settings: dict[str, Any],
) -> tuple[Estimate, int]:
    """Run the estimator on a job's network, or on several with the same pairs and noise.

    Returns:
        The estimate of every sum, and how many evaluations each model had.

    Raises:
        FixableError: The goal is out of reach.
    """
    config = job.config
    every = n * sums.wanted.T
    least = 2 * estimator.PILOT
    if n < LEAST_IMAGES or (config.budget and not least <= config.budget < every):
        raise FixableError(
            f"{n:,} images and a budget of {config.budget:,} evaluations cannot be estimated from",
            f"take at least {LEAST_IMAGES} images and between {least} and {every:,} evaluations, "
            "or leave --budget and --target-stderr out for the full bound",
        )
    evaluate = _evaluator(job, models, settings, every)
    when = Goal(config.target_stderr, config.budget)
    rng = Stream(config.seed, "design").generator(0)
    return estimator.estimate(evaluate, known(images, n), sums.wanted, when, rng)


def _evaluator(job: Job, models: list[Sweep], settings: dict[str, Any], every: int) -> Evaluate:
    """Score the pairs of a round with each model, in shards."""
    spent = 0

    def evaluate(stage: str, chosen: Array, times: Array) -> Array:
        nonlocal spent
        spent += len(times)
        if spent > every:
            raise FixableError(
                f"--target-stderr {job.config.target_stderr:g} takes more evaluations than the "
                f"full bound's {every:,}",
                "leave it out: the full bound of these images has no sampling error",
            )
        columns = []
        for i, how in enumerate(models):
            place = stage if i == 0 else f"{stage}-against"
            label = f"bits/dim estimate, {stage}"
            pairs = Chosen(chosen, times)
            scores = work.collect(job, how, pairs, place, settings=settings, label=label)
            columns.append(kinds(how, scores, times))
        return np.hstack(columns)

    return evaluate


def known(images: Images, n: int) -> Array:
    """What is known of each image without the network, [n, 2], standardised."""
    size = work.CHUNK_IMAGES
    parts = [texture.describe(images.read(range(i, min(n, i + size)))) for i in range(0, n, size)]
    return texture.standardise(np.concatenate(parts))


def variances(how: Sweep) -> tuple[str, ...]:
    """The variances that are scored, the model's own first."""
    own: str = how.subject.denoise.objective.variance
    return (own, *(name for name in how.under if name != own))


def kinds(how: Sweep, scores: Scores, times: Array) -> Array:
    """The term of each pair under each of ``variances``, [K, V] bits/dim."""
    process, own = how.subject.denoise.schedule, how.subject.denoise.objective.variance
    columns = [scores.bits.astype(np.float64)]
    later = times > 1
    for i, (name, table) in enumerate(how.under.items()):
        if name != own:
            column = np.empty(len(times))
            column[later] = sweep.step_bits(process, times[later], scores.error[later], table)
            column[~later] = scores.decoder[:, i]
            columns.append(column)
    return np.stack(columns, 1)


def parts(names: tuple[str, ...], T: int) -> dict[str, tuple[Array, Array]]:
    """Total, KL sum and decoder term for each variance; the model's own have bare names."""
    times = np.arange(T + 1)
    found: dict[str, tuple[Array, Array]] = {}
    for v, name in enumerate(names):
        kind = np.eye(len(names))[v]
        suffix = "" if v == 0 else f" ({name})"
        found |= {
            f"total{suffix}": (kind, times >= 1),
            f"kl{suffix}": (kind, times >= 2),
            f"decoder{suffix}": (kind, times == 1),
        }
    return found


def octaves(T: int) -> list[int]:
    """Where the classes of times begin over which the curve of terms is averaged.

    >>> octaves(10)
    [1, 2, 3, 5, 9]
    """
    return [1] + [2**k + 1 for k in range(20) if 2**k + 1 <= T]


def steps(V: int, T: int, classes: list[int]) -> dict[str, tuple[Array, Array]]:
    """The sum of the terms of each class of times, under the model's own variance."""
    times, edges = np.arange(T + 1), [*classes, T + 1]
    own = np.eye(V)[0]
    return {f"t {a}..{b - 1}": (own, (times >= a) & (times < b)) for a, b in pairwise(edges)}


def bound(names: tuple[str, ...], sums: Sums, found: Estimate, prior: Array) -> dict[str, Quantity]:
    """The quantities that the full bound has too, and the error against these images."""
    n, constant = len(prior), float(prior.mean())
    quantities = {}
    for name, value, stderr in zip(sums.names, found.value, found.population, strict=True):
        if not name.startswith("t "):
            more = constant if name.startswith("total") else 0.0
            quantities[name] = Quantity(float(value) + more, "bits/dim", n=n, stderr=float(stderr))
    own = quantities["total"]
    return {
        "total": own,
        "total of these images": replace(own, stderr=float(found.these[0])),
        "prior": Quantity(constant, "bits/dim", n=n, stderr=float(likelihood.stderr(prior))),
        **quantities,
        f"total ({names[0]})": own,
    }


def effort(evaluations: int, every: int) -> dict[str, Quantity]:
    """What the estimate took, beside the full bound."""
    return {
        "evaluations": Quantity(evaluations, "evaluations", n=1),
        "evaluations of the full bound": Quantity(every, "evaluations", n=1),
    }


def shortfall(found: Estimate) -> tuple[str, ...]:
    """Say what of the errors a reader may mistake."""
    if found.population[0] < 2 * found.these[0]:
        return ()
    text = (
        "the error of the total is mostly the choice of images, which more of them lower; its "
        "error against the mean of these images is far smaller and stands beside it"
    )
    return (text,)
