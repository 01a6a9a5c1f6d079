"""A small record with every kind of measurement, for tests of what reads records."""

from collections.abc import Mapping

import numpy as np

from ddpm_eval.results import Curve, Grid, Json, Measurement, Quantity, Report

HOSTILE = '"><img src=x onerror=alert(1)>'
LATEX_SPECIALS = r"100% a_b & $x$ #1 {c} ~d ^e \f é μ̃ 中 <|>"
ORIGIN: Mapping[str, Json] = {"command": "ddpm-eval nll", "versions": {"torch": "2.10.0"}}


def nll(
    *, dataset: str = "digits", n: int = 360, total: float = 2.4134, **settings: Json
) -> Measurement:
    """A bound of so many bits/dim."""
    t = np.arange(51)
    terms = 0.4 / (1 + t) ** 1.4
    terms[-1] = 3e-5
    return Measurement(
        "nll",
        {
            "total": Quantity(total, "bits/dim", n, 0.0121),
            "prior": Quantity(3.1e-5, "bits/dim", n, 2e-7),
            "kl": Quantity(total - 1.31, "bits/dim", n, 0.011),
            "decoder": Quantity(1.31, "bits/dim", n, 0.0042),
        },
        {"terms": Curve(t, terms, "t", "L_t (bits/dim)", n, terms / 10, log="y")},
        arrays={"terms": np.ones((3, 51), np.float32), "mse": np.zeros((3, 51), np.float32)},
        settings={"dataset": dataset, "split": "test", "weights": "ema", **settings},
        warnings=("one seed",),
        provenance=ORIGIN,
    )


def baselines() -> Measurement:
    """What trivial models need."""
    return Measurement(
        "baselines",
        {
            "untrained network": Quantity(11.32, "bits/dim", 16, 0.08),
            "independent-pixel histograms": Quantity(2.93, "bits/dim", 360, 0.02),
        },
        provenance={**ORIGIN, "command": "ddpm-eval baselines"},
    )


def samples(n: int = 6, size: int = 8, channels: int = 1) -> Measurement:
    """Noise for images."""
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)
    grid = Grid(images, 3, (), f"Samples 0 to {n - 1} of seed 0, not chosen.")
    return Measurement("samples", grids={"samples": grid}, settings={"seed": 0, "clip": True})


def training() -> Measurement:
    """A loss that falls."""
    steps = np.arange(10, 2001, 10)
    loss = 0.1 + np.exp(-steps / 150) + np.random.default_rng(0).exponential(0.01, len(steps))
    return Measurement(
        "training",
        {"time": Quantity(81.2, "s", 1)},
        {"loss": Curve(steps, loss, "training step", "loss (L_simple)", 64)},
        settings={"optim": {"lr": 2e-3, "steps": 2000}, "seed": 0},
    )


def report(name: str = "digits", *measurements: Measurement, checkpoint: str = "a1") -> Report:
    """A record of these measurements, or of one of each kind."""
    found = measurements or (nll(), baselines(), samples(), training())
    subject: dict[str, Json] = {
        "checkpoint": checkpoint,
        "step": 2000,
        "weights": "ema",
        "parameters": 407_123,
    }
    return Report(name, subject, {each.name: each for each in found})
