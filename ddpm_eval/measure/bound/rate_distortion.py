"""Rate and distortion over the reverse steps: the paper's Table 4 and Figure 5.

After s = T - t + 1 reverse steps the receiver knows x_t: the rate L_T + ... + L_t bits/dim, and the
distortion of x_0_hat decoded from x_t, as RMSE on 0-255. What is left, L_0, is the distortion in
bits of the paper's decomposition.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ddpm_eval.job import Job
from ddpm_eval.measure.bound import estimate as fast
from ddpm_eval.measure.bound import likelihood, sweep, work
from ddpm_eval.measure.bound.calibration import calibrate
from ddpm_eval.measure.bound.estimate import Sums
from ddpm_eval.measure.bound.likelihood import BoundTerms
from ddpm_eval.measure.bound.sweep import Array, Chosen, Sweep, Tables
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity
from ddpm_train.data import Images
from ddpm_train.noise import Stream

GREY_LEVELS = 127.5  # in a unit of [-1, 1]
DISTORTION_IMAGES = 24  # at each time of an estimated curve
FEW_DRAWS = 10  # below this an error cannot be told from the draws
STEPS = "reverse steps (T − t + 1)"


def measure(job: Job) -> Measurement:
    """Rate and distortion for every variance: from all terms, or from chosen ones.

    A full bound that the record holds is used as it is.
    """
    if job.config.fast:
        return _estimated(job)
    kept = _recorded(job)
    terms, under, settings = likelihood.full(job) if kept is None else kept
    process = job.subject.denoise.schedule
    n, own = len(terms.bits), str(job.subject.denoise.objective.variance)
    rates = {own: terms.rate()}
    for name, table in under.items():
        if name != own:
            rates[name] = terms.under(name, process, table).rate()
    x = np.arange(1, process.T + 1)
    curves = {
        f"rate ({name})": _curve(
            x, each[:, :0:-1].mean(0), likelihood.stderr(each[:, :0:-1]), n, "rate (bits/dim)"
        )
        for name, each in rates.items()
    }
    mse = terms.mse[:, :0:-1].astype(np.float64)
    curves["distortion"] = _distortion_curve(x, mse)
    each_root = GREY_LEVELS * np.sqrt(mse)
    curves["distortion (mean of each image's RMSE)"] = _curve(
        x, each_root.mean(0), likelihood.stderr(each_root), n, "RMSE (0-255)"
    )
    decoder = terms.decoders | {own: terms.decoder()}
    left = {
        name: Quantity(float(found.mean()), "bits/dim", n=n, stderr=float(likelihood.stderr(found)))
        for name, found in decoder.items()
    }
    return _finish(job, curves, left, settings)


def _curve(x: Array, y: Array, stderr: Array, n: int, name: str) -> Curve:
    return Curve(x=x, y=y, x_name=STEPS, y_name=name, n=n, stderr=stderr)


def _distortion_curve(x: Array, mse: Array) -> Curve:
    return _curve(x, *root_mean(mse), len(mse), "RMSE (0-255)")


def root_mean(mse: Array) -> tuple[Array, Array]:
    """The root of the mean over images (axis 0) on 0-255, and its error by the delta method.

    >>> root_mean(np.array([[0.01, 0.0], [0.03, 0.0]]))[0].round(2)
    array([18.03,  0.  ])
    """
    root = np.sqrt(mse.mean(0))
    error = likelihood.stderr(mse) / (2 * np.maximum(root, 1e-12))
    return GREY_LEVELS * root, GREY_LEVELS * error


def _finish(
    job: Job, curves: dict[str, Curve], decoder: dict[str, Quantity], settings: dict[str, Any]
) -> Measurement:
    """The decomposition that the paper quotes, for every variance, beside the curves."""
    own = job.subject.denoise.objective.variance
    quantities = {"RMSE": _last(curves["distortion"], "grey levels")}
    for name in [own, *(name for name in decoder if name != own)]:
        suffix = "" if name == own else f" ({name})"
        quantities[f"rate{suffix}"] = _last(curves[f"rate ({name})"], "bits/dim")
        quantities[f"distortion{suffix}"] = decoder[name]
    return Measurement(
        name=likelihood.name_of("rate_distortion", job.config.split),
        quantities=quantities,
        curves=curves,
        settings=settings | {"distortion": "127.5 times the root of the mean squared error"},
    )


def _last(curve: Curve, unit: str) -> Quantity:
    stderr = None if curve.stderr is None else float(curve.stderr[-1])
    return Quantity(float(curve.y[-1]), unit, n=curve.n, stderr=stderr)


def _recorded(job: Job) -> tuple[BoundTerms, Tables, dict[str, Any]] | None:
    """The terms of a full bound in the record, if it was measured as this is asked for."""
    kept = job.recorded(likelihood.name_of("nll", job.config.split))
    if kept is None or "terms" not in kept.arrays:
        return None
    learned = kept.settings.get("calibration")
    wanted = job.config.calibrate
    if wanted and (not isinstance(learned, Mapping) or learned.get("n") != wanted):
        return None
    images, n = work.scored(job)
    asked = work.describe(job, images)
    same = work.is_same(kept.settings, asked)
    under = sweep.tables(job.subject)
    if "log_variances" in kept.arrays:
        last = torch.from_numpy(np.asarray(kept.arrays["log_variances"]))
        under["optimal"] = torch.cat([torch.full((1,), torch.nan, dtype=last.dtype), last])
    decoders = {name: kept.arrays[f"decoder ({name})"] for name in under}
    if not same or len(kept.arrays["terms"]) != n:
        return None
    mse = kept.arrays["mse"]
    terms = BoundTerms(kept.arrays["terms"], mse, kept.arrays.get("error", mse), decoders)
    return terms, under, dict(kept.settings)


# -------------------------------------------------------------------------- from chosen terms


def _estimated(job: Job) -> Measurement:
    """The curves at some times: rates by the estimator, distortions from a few images at each.

    A budget is shared between the two.
    """
    job = replace(job, config=replace(job.config, budget=job.config.budget // 2))
    images, n = work.scored(job)
    process = job.subject.denoise.schedule
    settings = work.describe(job, images)
    calibrated, learned = calibrate(job, images, n)
    how = work.prepare(job, job.subject, images, sweep.tables(job.subject, calibrated))
    settings |= learned
    names, times = fast.variances(how), shown(process.T)
    sums = Sums.of(fast.parts(names, process.T) | _tails(len(names), process.T, times))
    found, evaluations = fast.estimate(job, [how], images, n, sums=sums, settings=settings)
    curves, spent = _distortion(job, how, images, n, times, settings)
    prior = float(work.prior_bits(job.subject, images, n).mean())
    x, K, first = process.T + 1 - times, len(times), 3 * len(names)
    for v, name in enumerate(names):
        part = slice(first + v * K, first + (v + 1) * K)
        rate, error = found.value[part], found.population[part]
        # Where hardly a draw fell, the rate is what the terms around predict, and no better known.
        error = np.where(found.draws[part] < FEW_DRAWS, np.maximum(error, np.abs(rate)), error)
        curves[f"rate ({name})"] = _curve(x, rate + prior, error, n, "rate (bits/dim)")
    decoder = {
        name: Quantity(
            float(found.value[3 * v + 2]),
            "bits/dim",
            n=n,
            stderr=float(found.population[3 * v + 2]),
        )
        for v, name in enumerate(names)
    }
    return _finish(job, curves, decoder, settings | fast.goal(job, evaluations + spent))


def shown(T: int) -> Array:
    """The times of an estimated curve: evenly spaced, and closer towards t = 1, falling.

    >>> shown(100)[-12:]
    array([26, 21, 17, 16, 11,  9,  6,  5,  4,  3,  2,  1])
    """
    even = T + 1 - np.linspace(T / 20, T, 20).round().astype(int)
    near = [1, 2, 3, 4] + [2**k + 1 for k in range(2, 20) if 2**k < T // 4]
    return np.unique(np.concatenate([even, near]))[::-1]


def _tails(V: int, T: int, times: Array) -> dict[str, tuple[Array, Array]]:
    """The rate once x_t is known: the terms scored at later times, for each variance."""
    rows = np.arange(T + 1)
    return {f"t after {t}, {v}": (np.eye(V)[v], rows > t) for v in range(V) for t in times.tolist()}


def _distortion(
    job: Job, how: Sweep, images: Images, n: int, times: Array, settings: dict[str, Any]
) -> tuple[dict[str, Curve], int]:
    """The error of x_0_hat on a few images at each time."""
    size = min(n, DISTORTION_IMAGES)
    if job.config.budget:
        size = max(2, min(size, job.config.budget // len(times)))
    rng = Stream(job.config.seed, "design").generator(1)
    chosen = np.concatenate([rng.permutation(n)[:size] for _ in times])
    pairs = Chosen(chosen, times.repeat(size))
    label = "distortion"
    scores = work.collect(job, how, pairs, "distortion", settings=settings, label=label)
    mse = scores.mse.astype(np.float64).reshape(len(times), size).T
    return {"distortion": _distortion_curve(job.subject.denoise.schedule.T + 1 - times, mse)}, len(
        pairs
    )
