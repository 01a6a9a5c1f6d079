"""What the errors of this toolkit are tried on: worlds that are drawn anew, and what is measured.

Features are skewed, correlated and heavy-tailed. What an error says varies is drawn anew each
time, the rest is held fixed. Terms of the bound fall with t as a trained model's do, and their
residuals are heavy-tailed too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from ddpm_eval import metrics
from ddpm_eval.measure.bound import estimate as bounds
from ddpm_eval.measure.bound import estimator
from ddpm_eval.measure.bound.estimator import Goal, Wanted
from ddpm_eval.measure.bound.facts import mean_bits
from ddpm_eval.measure.bound.rate_distortion import root_mean
from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.evidence import Evidence, FeatureSet
from ddpm_eval.metrics.memorisation import authentic, memorised
from ddpm_eval.metrics.recognition import recognised_share
from ddpm_eval.metrics.rows import Array

DIM, REFERENCE, CLASSES, STEPS = 32, 2000, 20, 200
COPIES = 0.1  # of the samples are training images, a little moved
REPEATS = {256: 200, 1000: 200, 5000: 100}
BUDGETS = {256: 400, 1000: 600, 5000: 2000}
DIRECTIONS, SUBSETS = 200, 10  # of MIND and KID; by default 1,000 and 100

Draw = Callable[[np.random.Generator, int], dict[str, Estimate]]
"""Draws a world of n samples or images anew and measures it: estimates by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of estimate, or several from the same pass.

    Attributes:
        draw: Draws and measures.
        leaves_out: What the intervals do not hold, beside what is held fixed.
        repeats: How often everything is drawn, for each n.
    """

    draw: Draw
    leaves_out: str = ""
    repeats: Mapping[int, int] = field(default_factory=lambda: REPEATS)


def features(rng: np.random.Generator, n: int, *, shift: float = 0.0, scale: float = 1.0) -> Array:
    """Draw skewed, correlated features with heavy tails, [n, DIM]."""
    mix = np.random.default_rng(7).normal(size=(DIM, DIM)) / DIM**0.5
    drawn: Array = np.maximum(rng.standard_t(8, size=(n, DIM)) @ mix * scale + shift, -0.3)
    return drawn


def samples(rng: np.random.Generator, n: int) -> Array:
    """Draw features of a model that is a little off, [n, DIM]."""
    return features(rng, n, shift=0.1, scale=0.9)


FIXED = features(np.random.default_rng(1), REFERENCE)


def fid(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """FID, and FDr with as many held-out images, against a reference that stays."""
    distance = metrics.frechet_distance(samples(rng, n), FIXED)
    real = metrics.frechet_distance(features(rng, n), FIXED)
    return {"FID": distance, "FDr": metrics.relative_distance(distance, real)}


def kid(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """KID against a reference that is drawn anew."""
    x, y = samples(rng, n), features(rng, REFERENCE)
    return {"KID": metrics.kernel_distance(x, y, subsets=SUBSETS)}


def manifold(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """Precision, recall, density and coverage from one pass; the reference is drawn anew."""
    x, y = samples(rng, n), features(rng, REFERENCE)
    evidence = Evidence(samples=FeatureSet.of(x), reference=FeatureSet.of(y))
    return evidence.manifold._asdict()


def memory(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """AuthPct and the memorised share; the training set stays."""
    x = samples(rng, n)
    copies = np.flatnonzero(rng.random(n) < COPIES)
    x[copies] = FIXED[rng.integers(REFERENCE, size=len(copies))]
    x[copies] += 1e-3 * rng.normal(size=(len(copies), DIM))
    neighbours = Evidence(samples=FeatureSet.of(x), reference=FeatureSet.of(FIXED)).neighbourhoods
    return {"AuthPct": authentic(neighbours), "memorised share": memorised(neighbours.nearest)}


def mind(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """MIND against a reference that is drawn anew."""
    x, y = samples(rng, n), features(rng, REFERENCE)
    return {"MIND": metrics.mind(x, y, directions=DIRECTIONS)}


def cmmd(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """CMMD against a reference that is drawn anew."""
    return {"CMMD": metrics.cmmd(samples(rng, n), features(rng, REFERENCE))}


def score(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """IS of heavy-tailed logits, whose ± is taken for what it amounts to."""
    centres = 4 * np.random.default_rng(2).normal(size=(CLASSES, CLASSES))
    logits = centres[rng.integers(CLASSES, size=n)] + 2 * rng.standard_t(5, size=(n, CLASSES))
    return {"IS": metrics.inception_score(logits)}


def limit(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """FID-infinity against a reference that is drawn anew."""
    return {"FID-infinity": metrics.fid_infinity(samples(rng, n), features(rng, REFERENCE))}


def terms(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Draw terms of the bound [n, STEPS] and what is known of their images [n, 2].

    They fall as t^-1.2 exp(-6 t / T): the last octave has a thousandth of all bits, as in the
    paper's Table 4.
    """
    covariates, t = rng.normal(size=(n, 2)), np.arange(1, STEPS + 1)
    own = 0.06 * rng.standard_t(5, size=(n, 1))
    slope = 0.1 + 0.2 * np.log(t) / np.log(STEPS)
    log = np.log(0.9) - 1.2 * np.log(t) - 6 * t / STEPS
    log = log + covariates[:, :1] * slope + 0.04 * covariates[:, 1:] + own
    noise = rng.standard_t(5, size=(n, STEPS)).clip(-8, 8)
    y = np.exp(log + (0.03 + 0.1 * np.log(t) / np.log(STEPS)) * noise)
    y[:, 0] = 2.2 + 0.15 * covariates[:, 0] + 0.4 * own[:, 0] + 0.05 * noise[:, 0]
    return y, covariates


def bound(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """Estimate the bound and its octaves from some of its terms; images are drawn anew."""
    y, covariates = terms(rng, n)
    rows, edges = np.arange(STEPS + 1), [*bounds.octaves(STEPS), STEPS + 1]
    sums = [rows >= 1, *((rows >= a) & (rows < b) for a, b in pairwise(edges))]
    names = ["bits/dim, estimated"]
    spans = (f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in pairwise(edges))
    names += [f"its part at t = {span}" for span in spans]
    result, _ = estimator.estimate(
        lambda _, images, times: y[images, times - 1][:, None],
        covariates,
        Wanted(np.ones((1, len(sums))), np.stack(sums, 1).astype(float)),
        Goal(evaluations=BUDGETS[n]),
        rng,
    )
    errors = bounds.error_of(result, slice(None))
    return {
        name: Estimate(value=float(value), n=n, error=Error(size=float(error), over="images"))
        for name, value, error in zip(names, result.value, errors, strict=True)
    }


def every_term(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """Bits/dim of all terms, and the RMSE of a distortion that is as heavy-tailed; images vary."""
    y, _ = terms(rng, n)
    bits = mean_bits(y.sum(1)).error
    root, error = root_mean(0.01 * y[:, 1] ** 2)
    return {
        "bits/dim, all terms": Estimate(
            value=float(y.sum(1).mean()), n=n, error=bits and replace(bits, over="images")
        ),
        "RMSE": Estimate(value=float(root), n=n, error=Error(size=float(error), over="images")),
    }


def recognised(rng: np.random.Generator, n: int) -> dict[str, Estimate]:
    """The share of samples whose class a classifier knows."""
    labels = rng.integers(CLASSES, size=n)
    logits = rng.normal(size=(n, CLASSES))
    logits[np.arange(n), labels] += 4
    return {"recognised share": recognised_share(logits, labels)}


BIAS = "bias that falls with n"
CASES: dict[str, Case] = {
    "fid": Case(draw=fid, leaves_out=BIAS),
    "kid": Case(draw=kid),
    "manifold": Case(draw=manifold, leaves_out=BIAS, repeats={256: 200, 1000: 100, 5000: 50}),
    "memory": Case(draw=memory, repeats={256: 100, 1000: 60}),
    "mind": Case(draw=mind, leaves_out=BIAS),
    "cmmd": Case(draw=cmmd, leaves_out=BIAS, repeats={256: 200, 1000: 100}),
    "score": Case(draw=score, leaves_out=BIAS),
    "limit": Case(
        draw=limit, leaves_out="bias of the reference's size", repeats={10_000: 100, 50_000: 100}
    ),
    "bound": Case(draw=bound),
    "every_term": Case(draw=every_term),
    "recognised": Case(draw=recognised),
}
