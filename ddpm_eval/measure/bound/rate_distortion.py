"""Rate and distortion over the reverse steps: the paper's Table 4 and Figure 5.

After s = T - t + 1 reverse steps the receiver knows x_t: the rate L_T + ... + L_t bits/dim, and the
distortion of x_0_hat decoded from x_t, as RMSE on 0-255. What is left, L_0, is the distortion in
bits of the paper's decomposition.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import estimate as estimates
from ddpm_eval.measure.bound.calibration import best_variance, training_images
from ddpm_eval.measure.bound.estimate import Sum
from ddpm_eval.measure.bound.facts import mean_bits, protocol_of, scored, stderr_of
from ddpm_eval.measure.bound.likelihood import (
    MEASURE as BOUND,
)
from ddpm_eval.measure.bound.likelihood import (
    BoundTerms,
    choose_images,
    full,
    terms_of,
)
from ddpm_eval.measure.bound.scoring import prior_bits, score, sweep_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import Array, Chosen, Sweep, Tables, variance_tables
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Qualifiers, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.noise import Stream

MEASURE = "rate_distortion"
GREY_LEVELS = 127.5  # in a unit of [-1, 1]
DISTORTION_IMAGES = 24  # at each time of an estimated curve


def measure(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    training: ImageSet | None = None,
) -> Measurement:
    """Measure rate and distortion for every variance: from all terms, or from chosen ones.

    A full bound of the same protocol that is recorded is used as it is. The arguments are those of
    ``likelihood.measure``.
    """
    chosen = choose_images(images, settings)
    learned = training_images(chosen, training, settings)
    protocol = protocol_of(model, chosen, settings, training=learned)
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    if settings.is_estimate:
        curves, decoder, effort = _estimated(model, chosen, settings, runtime, learned)
    else:
        bound = runtime.recorded(BOUND, protocol)
        curves, decoder = _curves(model, chosen, settings, runtime, learned, bound)
        effort = ()
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=(*_decomposition(model, curves, decoder), *effort),
        curves=curves,
    )


def _curves(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    training: ImageSet | None,
    bound: Measurement | None,
) -> tuple[tuple[Curve, ...], Mapping[str, Score]]:
    """Compute the curves and the decoder's bits for every variance from all terms."""
    if bound is None:
        terms, variances = full(model, images, settings, runtime, training=training)
    else:
        terms, variances = terms_of(bound, model)
    decoders = {**terms.decoders, model.variance: terms.decoder()}
    return curves_of(model, terms, variances), {
        name: mean_bits(bits, part="decoder", variance=name) for name, bits in decoders.items()
    }


def curves_of(model: Model, terms: BoundTerms, variances: Tables) -> tuple[Curve, ...]:
    """Draw the rate under every variance and the distortion over the reverse steps."""
    process, own = model.denoise.schedule, model.variance
    rates = {own: terms.rate()}
    for name, table in variances.items():
        if name != own:
            rates[name] = terms.with_variance(name, process, table).rate()
    x, n = np.arange(1, process.T + 1), len(terms.bits)
    curves = [
        _curve("rate", x, rate[:, :0:-1].mean(0), stderr_of(rate[:, :0:-1]), n, variance=name)
        for name, rate in rates.items()
    ]
    mse = terms.mse[:, :0:-1].astype(np.float64)
    roots = GREY_LEVELS * np.sqrt(mse)
    curves += [
        _curve("rmse", x, *root_mean(mse), n),
        _curve("mean_rmse", x, roots.mean(0), stderr_of(roots), n),
    ]
    return tuple(curves)


def _curve(metric: str, x: Array, y: Array, error: Array, n: int, *, variance: str = "") -> Curve:
    of = Qualifiers(variance=variance)
    return Curve(metric=metric, over="reverse_steps", x=x, y=y, n=n, error=error, of=of)


def root_mean(mse: Array) -> tuple[Array, Array]:
    """Take the root of the mean over images (axis 0) on 0-255, and its error by the delta method.

    >>> root_mean(np.array([[0.01, 0.0], [0.03, 0.0]]))[0].round(2)
    array([18.03,  0.  ])
    """
    root = np.sqrt(mse.mean(0))
    error = stderr_of(mse) / (2 * np.maximum(root, 1e-12))
    return GREY_LEVELS * root, GREY_LEVELS * error


def _decomposition(
    model: Model, curves: tuple[Curve, ...], decoder: Mapping[str, Score]
) -> tuple[Score, ...]:
    """List the decomposition that the paper quotes, for every variance, the model's own first."""
    ends = {(curve.metric, curve.of.variance): _last(curve) for curve in curves}
    scores = [ends["rmse", ""]]
    for name in [model.variance, *(name for name in decoder if name != model.variance)]:
        variance = "" if name == model.variance else name
        for end in (ends["rate", name], decoder[name]):
            scores.append(replace(end, of=replace(end.of, variance=variance)))
    return tuple(scores)


def _last(curve: Curve) -> Score:
    """Take the end of a curve: every step is behind."""
    stderr = None if curve.error is None else float(curve.error[-1])
    return scored(curve.metric, float(curve.y[-1]), curve.n, stderr, variance=curve.of.variance)


# -------------------------------------------------------------------------- from chosen terms


def _estimated(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    training: ImageSet | None,
) -> tuple[tuple[Curve, ...], Mapping[str, Score], tuple[Score, ...]]:
    """Compute the curves at some steps: rates by the estimator, distortions from a few images.

    A budget is shared between the two.
    """
    half = replace(settings, budget=settings.budget // 2)
    n, process = len(images), model.denoise.schedule
    table = None if training is None else best_variance(model, training, half, runtime)
    variances = variance_tables(model, table)
    sweep = sweep_of(model, images, half, runtime, variances=variances)
    names, rows = estimates.variance_names(sweep), shown(process.T)
    sums = estimates.parts(names, process.T) + _tails(len(names), process.T, rows)
    estimate, evaluations = estimates.run(
        {"nll": sweep}, images, half, runtime, sums=estimates.wanted(sums)
    )
    distortion, spent = _distortion(sweep, images, half, runtime, rows)
    prior = float(prior_bits(model, images).mean())
    x, K, first = process.T + 1 - rows, len(rows), 3 * len(names)
    curves = []
    for v, name in enumerate(names):
        part = slice(first + v * K, first + (v + 1) * K)
        rate = rising(estimate.value[part]) + prior
        error = estimates.error_of(estimate, part)
        curves.append(_curve("rate", x, rate, error, n, variance=name))
    decoder = {
        name: scored(
            "bits_per_dim",
            float(estimate.value[3 * v + 2]),
            n,
            float(estimate.population[3 * v + 2]),
            part="decoder",
            variance=name,
        )
        for v, name in enumerate(names)
    }
    effort = estimates.effort(evaluations + spent, n * process.T)
    return (*curves, distortion), decoder, effort


def rising(rate: Array) -> Array:
    """Keep an estimated rate at 0 or more and rising, as every rate is; its end stays.

    >>> rising(np.array([-0.1, 0.2, 0.1, 0.5]))
    array([0. , 0.1, 0.1, 0.5])
    """
    falling = np.minimum.accumulate(rate[::-1])[::-1]
    return np.maximum(falling, 0)


def shown(T: int) -> Array:
    """List the steps of an estimated curve: evenly spaced, and closer towards 1, falling.

    >>> shown(100)[-12:]
    array([26, 21, 17, 16, 11,  9,  6,  5,  4,  3,  2,  1])
    """
    even = T + 1 - np.linspace(T / 20, T, 20).round().astype(int)
    near = [1, 2, 3, 4] + [2**k + 1 for k in range(2, 20) if 2**k < T // 4]
    return np.unique(np.concatenate([even, near]))[::-1]


def _tails(V: int, T: int, rows: Array) -> list[Sum]:
    """List the rates once x_k is known, the terms scored at later steps, for each variance."""
    steps = np.arange(T + 1)
    return [Sum(None, "", np.eye(V)[v], steps > k) for v in range(V) for k in rows.tolist()]


def _distortion(
    sweep: Sweep, images: ImageSet, settings: BoundSettings, runtime: Runtime, rows: Array
) -> tuple[Curve, int]:
    """Measure the error of x_0_hat on a few images at each step; count the evaluations."""
    n = len(images)
    size = min(n, DISTORTION_IMAGES)
    if settings.budget:
        size = max(2, min(size, settings.budget // len(rows)))
    rng = Stream(settings.seed, "design").generator(1)
    places = np.concatenate([rng.permutation(n)[:size] for _ in rows])
    pairs = Chosen(places, rows.repeat(size))
    terms = score(sweep, pairs, images, runtime, name="distortion", label="distortion")
    mse = terms.mse.astype(np.float64).reshape(len(rows), size).T
    T = sweep.model.denoise.schedule.T
    return _curve("rmse", T + 1 - rows, *root_mean(mse), size), len(pairs)
