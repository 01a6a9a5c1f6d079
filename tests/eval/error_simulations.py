"""How often the 95% intervals of sample quality cover: features are drawn anew, many times.

    python -m tests.eval.error_simulations            # prints the table of docs/errors.md

Features are skewed, correlated and heavy-tailed. What an error says varies is drawn anew each time,
the rest is held fixed. The interval is the value ± 1.96 standard errors; what it has to cover is
the mean of the values, so a bias that falls with n is no part of it.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ddpm_eval import metrics
from ddpm_eval.metrics.estimate import NORMAL_95, Estimate
from ddpm_eval.metrics.rows import Array

DIM, REFERENCE, REPEATS = 32, 3000, 200
SIZES = (256, 1000, 5000)
LOW, HIGH = 0.90, 0.985  # what a share of 200 may be for one that lies in 0.90 .. 0.98

Drawn = Callable[[int], tuple[Array, Array]]
Measure = Callable[[Array, Array], Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A metric and what its error is over.

    Attributes:
        measure: Computes it from samples and reference.
        redraws_reference: Whether the reference is drawn anew too.
        sizes: Numbers of samples.
        repeats: How often everything is drawn.
    """

    measure: Measure
    redraws_reference: bool = True
    sizes: tuple[int, ...] = SIZES
    repeats: int = REPEATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What came out.

    Attributes:
        mean: Of the values.
        spread: Their standard deviation, which is the true error.
        error: The mean of the errors that were stated.
        share: How often value ± 1.96 errors held the mean.
    """

    mean: float
    spread: float
    error: float
    share: float


def features(rng: np.random.Generator, n: int, *, shift: float = 0.0, scale: float = 1.0) -> Array:
    """Skewed, correlated features with heavy tails, [n, DIM]."""
    mix = np.random.default_rng(7).normal(size=(DIM, DIM)) / DIM**0.5
    drawn: Array = np.maximum(rng.standard_t(8, size=(n, DIM)) @ mix * scale + shift, -0.3)
    return drawn


def held_out(samples: Array, reference: Array) -> Estimate:
    """FDr: the second half of ``samples`` plays the held-out images."""
    ours, real = np.array_split(samples, 2)
    distances = (metrics.frechet_distance(each, reference) for each in (ours, real))
    return metrics.relative_distance(*distances)


CASES: dict[str, Case] = {
    "FID": Case(measure=metrics.frechet_distance, redraws_reference=False),
    "KID": Case(measure=lambda x, y: metrics.kernel_distance(x, y, subsets=20)),
    "precision": Case(measure=lambda x, y: metrics.precision_recall(x, y)[0]),
    "recall": Case(measure=lambda x, y: metrics.precision_recall(x, y)[1]),
    "density": Case(measure=lambda x, y: metrics.density_coverage(x, y)[0]),
    "coverage": Case(measure=lambda x, y: metrics.density_coverage(x, y)[1]),
    "MIND": Case(measure=lambda x, y: metrics.mind(x, y, directions=200)),
    "CMMD": Case(measure=metrics.cmmd),
    "AuthPct": Case(measure=metrics.authenticity, redraws_reference=False),
    "FDr": Case(measure=held_out, redraws_reference=False),
    "FID-infinity": Case(measure=metrics.fid_infinity, sizes=(10_000, 50_000), repeats=100),
}


def simulate(case: Case, n: int, *, repeats: int = 0) -> Coverage:
    """Draw, measure, and count how often the interval covers."""
    values, errors = [], []
    fixed = features(np.random.default_rng(1), REFERENCE)
    for i in range(repeats or case.repeats):
        rng = np.random.default_rng((n, i))
        x = features(rng, n, shift=0.1, scale=0.9)
        y = features(rng, REFERENCE) if case.redraws_reference else fixed
        estimate = case.measure(x, y)
        if estimate.error is None or estimate.error.standard is None:
            raise ValueError(f"no error at n={n}")
        values.append(estimate.value)
        errors.append(estimate.error.standard)
    inside = np.abs(np.array(values) - np.mean(values)) <= NORMAL_95 * np.array(errors)
    return Coverage(
        mean=float(np.mean(values)),
        spread=float(np.std(values, ddof=1)),
        error=float(np.mean(errors)),
        share=float(inside.mean()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=0)
    options = parser.parse_args()
    print("| metric | over | n | value | true error | stated error | 95% intervals cover |")
    print("|---|---|---|---|---|---|---|")
    for name in options.names:
        case = CASES[name]
        over = "samples and reference" if case.redraws_reference else "samples"
        for n in case.sizes:
            row = simulate(case, n, repeats=options.repeats)
            numbers = f"{row.mean:.3g} | {row.spread:.2g} | {row.error:.2g} | {row.share:.0%}"
            print(f"| {name} | {over} | {n:,} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
