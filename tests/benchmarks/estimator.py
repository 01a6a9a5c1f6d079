"""How good the fast estimator is on a real model: against a recorded full bound.

    ddpm-eval nll CHECKPOINT --data IMAGES.npz          (every term, once)
    python -m tests.benchmarks.estimator reports/NAME IMAGES.npz

draws terms from the record as the estimator would from the network, 300 times for each goal.
"""

import sys
from pathlib import Path

import numpy as np

from ddpm_eval.measure.bound import estimator, texture
from ddpm_eval.measure.bound.draws import REPEATS
from ddpm_eval.measure.bound.estimator import Goal, Wanted
from ddpm_eval.measure.bound.two_stage import Components
from ddpm_eval.record import disk

REPLICATES = 300
GOALS = (
    Goal(0.01),
    Goal(0.003),
    *(Goal(evaluations=m) for m in (256, 500, 1500, 4096)),
)
SETS = ((10_000, 0.01), (10_000, 0.001))  # images and target of the projection


def main(record: Path, archive: Path) -> None:
    """Print bias, coverage and effort for each goal, and what the rivals need for the same."""
    bounds = disk.load(record).of("bound")
    terms = next(bound.arrays["terms"] for bound in bounds if bound.arrays)[:, :-1].astype(float)
    n, T = terms.shape
    covariates = texture.standardise(texture.describe(np.load(archive)["test"][:n]))
    totals = terms.sum(1)
    truth, between = totals.mean(), totals.var(ddof=1)
    uniform = (T * np.square(terms).sum(1) - totals**2).mean()
    print(f"{n} images x {T} steps: {truth:.4f}; over images {between**0.5:.3f} bits/dim")
    print(f"one uniform t per image: sd {uniform**0.5:.1f}")
    wanted = Wanted(np.ones((1, 1)), np.r_[0, np.ones(T)][:, None])
    for goal in GOALS:
        estimates = [
            estimator.estimate(
                lambda _, i, t: terms[i, t - 1][:, None],
                covariates,
                wanted,
                goal,
                np.random.default_rng(seed),
            )
            for seed in range(REPLICATES)
        ]
        values = np.array([e.value[0] for e, _ in estimates])
        errors = np.array([e.these[0] for e, _ in estimates])
        spent = np.mean([evaluations for _, evaluations in estimates])
        mse = np.square(values - truth).mean()
        rival = min(uniform / mse, T * between / (mse + between / n))
        print(
            f"{goal}: bias {(values.mean() - truth) / values.std() * REPLICATES**0.5:+.1f} sigma, "
            f"error {mse**0.5:.4f} (said {errors.mean():.4f}), "
            f"covered {(np.abs(values - truth) < 1.96 * errors).mean():.3f}, "
            f"{spent:.0f} evaluations = 1/{terms.size / spent:.0f}, rival x {rival / spent:.0f}"
        )
    parts = [e.components for e, _ in estimates]
    components = Components(
        *(np.mean([getattr(p, key) for p in parts], 0) for key in ("between", "noise", "slope"))
    )
    for images, target in SETS:
        draws = 64.0
        while components.variance(draws, images, REPEATS)[0] > target**2:
            draws *= 1.01
        print(f"{images} images to {target}: {draws:.0f} evaluations projected")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
