"""A small record with every kind of measurement, for tests of what reads records."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity, Report
from ddpm_eval.record.scores import Grid

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


# ---------------------------------------------------------------- a record with everything in it

T = 1000
SAMPLED: Mapping[str, Json] = {
    **{"dataset": "CIFAR-10", "split": "train", "sampler": "ancestral", "steps": T, "T": T},
    **{"weights": "ema", "seed": 0, "samples_digest": "5e" * 8},
}


def pictures(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colour fields, uint8 [n, size, size, 3]."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(n, 5, 5, 3))
    at = np.linspace(0, 3.999, size)
    low, part = at.astype(int), (at % 1)[:, None]
    rows = rough[:, low] * (1 - part[..., None]) + rough[:, low + 1] * part[..., None]
    fields = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    fields += 0.08 * rng.normal(size=fields.shape)
    return np.clip(127 + 70 * fields, 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, amount: float, seed: int = 0) -> np.ndarray:
    """Images mixed with noise: 0 leaves them, 1 leaves nothing."""
    noise = np.random.default_rng(seed).integers(0, 256, images.shape)
    return ((1 - amount) * images + amount * noise).astype(np.uint8)


def quality(name: str = "quality", n: int = 50_000, **settings: Json) -> Measurement:
    """IS, FID and their kin by Inception."""
    x = np.array([5_000, 10_000, 20_000, 30_000, 40_000, 50_000])
    spread = {"IS": 0.11, "KID": 2e-5}
    values = {"IS": 9.46, "FID": 3.17, "sFID": 5.12, "KID": 0.00071, "precision": 0.67}
    values |= {"recall": 0.58, "FID-infinity": 2.61}
    counts = {**dict.fromkeys(values, n), "recall": 50_000}  # reference images
    return Measurement(
        name,
        {key: Quantity(value, "", counts[key], spread.get(key)) for key, value in values.items()},
        {"FID over n": Curve(x, 2.6 + 28_000 / x, "samples", "FID", 1)},
        settings={
            **SAMPLED,
            **{"reference": "CIFAR-10 train", "reference_n": 50_000, "reference_digest": "ab" * 8},
            **{"extractor": "inception-v3", "extractor_digest": "cd" * 8, "n": n},
            **settings,
        },
        provenance={**ORIGIN, "command": "ddpm-eval fid"},
    )


def digits_quality(n: int = 1_000, name: str = "quality") -> Measurement:
    """The same by the small network that ships with the tool."""
    values = {"IS": (8.1, 0.1), "FD": (15.7, None), "KD": (0.9, 0.05), "precision": (0.8, None)}
    found = {f"{key}(digits-cnn)": Quantity(v, "", n, e) for key, (v, e) in values.items()}
    found["FD(digits-cnn) of held-out images"] = Quantity(10.5, "", 297)
    other: Mapping[str, Json] = {"dataset": "digits", "reference": "digits train"}
    return Measurement(
        name,
        found,
        settings={**SAMPLED, **other, "reference_n": 1500, "extractor": "digits-cnn", "n": n},
        warnings=("n = 1,000 is below 50,000",),
    )


def rate_distortion(steps: int = T) -> Measurement:
    """Curves like the paper's."""
    s = np.arange(1, steps + 1)
    left = 1 - s / steps
    rate = 1.7758 * np.exp(-11 * left**0.6) + 1e-5
    error = 0.951 + 72 * left**0.8
    name = "reverse steps (T − t + 1)"
    curves = {
        "distortion": Curve(s, error, name, "RMSE (0-255)", 10_000, error / 300),
        **{
            f"rate ({kind})": Curve(s, scale * rate, name, "rate (bits/dim)", 10_000, rate / 200)
            for kind, scale in (("fixedlarge", 1), ("fixedsmall", 1.06), ("optimal", 0.92))
        },
    }
    return Measurement(
        "rate_distortion",
        {
            "rate": Quantity(1.7758, "bits/dim", 10_000, 0.006),
            "distortion": Quantity(1.9712, "bits/dim", 10_000, 0.004),
            "RMSE": Quantity(0.951, "grey levels", 10_000, 0.003),
        },
        curves,
        settings={"dataset": "CIFAR-10", "split": "test", "seed": 0, "distortion": "root of mean"},
    )


def progressive(n: int = 8, size: int = 32) -> Measurement:
    """A strip of 20 times, shared latents and the three curves."""
    last, parts = pictures(n, size), np.linspace(1, 0, 20)
    strip = np.stack([blurred(last, part) for part in parts], 1).reshape(-1, size, size, 3)
    steps = np.arange(50, T + 1, 50)
    labels = [f"{step:,}" for step in steps] + [""] * (len(strip) - 20)
    shared = np.concatenate([pictures(9, size, seed) for seed in range(4)])
    sources = [x for t in (1000, 750, 500, 250) for x in (f"x_t, t={t:,}", *[""] * 8)]
    fid = 3.2 + 300 * (1 - steps / T) ** 1.5
    return Measurement(
        "progressive",
        curves={
            "RMSE": Curve(steps, 70 * (1 - steps / T), "reverse steps", "RMSE (0-255)", 1_000),
            "FID": Curve(steps, fid, "reverse steps", "FID", 1, log="y"),
            "IS": Curve(steps, 9.4 - 8 * (1 - steps / T), "reverse steps", "IS", 1),
        },
        grids={
            "progressive": Grid(strip, 20, labels),
            "shared latents": Grid(shared, 9, sources),
        },
        settings={**SAMPLED, "n": n},
    )


def reconstructions(columns: int = 10, size: int = 32) -> Measurement:
    """Ten rates, then the originals."""
    originals, paper = pictures(columns, size, 3), np.linspace(0.9, 0, 10)
    rows = [blurred(originals, part) for part in paper] + [originals]
    rates = [1e-5, 1.3e-4, 8.1e-4, 0.0028, 0.0072, 0.015, 0.029, 0.054, 0.12, 1.776]
    errors = [67.6, 61.0, 54.2, 46.1, 38.0, 30.8, 24.4, 18.5, 12.0, 0.951]
    texts = [f"{a:.4g}\n{b:.3g}" for a, b in zip(rates, errors, strict=True)] + ["original"]
    labels = [x for text in texts for x in (text, *[""] * (columns - 1))]
    frames: Mapping[str, Json] = {
        **{"grid": "reconstructions", "rows": 11, "columns": columns},
        **{"reverse_steps": list(range(100, 1001, 100)), "rate": rates, "rmse": errors},
    }
    grid = Grid(np.concatenate(rows), columns, labels)
    settings: Mapping[str, Json] = {"dataset": "CIFAR-10", "split": "test", "seed": 0}
    return Measurement(
        "reconstructions",
        grids={"reconstructions": grid},
        settings={**settings, "frames": frames},
    )


def interpolation(size: int = 32) -> Measurement:
    """A path of eight pairs and the grid over t."""
    rows = []
    for i in range(8):
        a, b = pictures(2, size, 10 + i).astype(float)
        rows += [a, *[(1 - x) * a + x * b for x in np.linspace(0, 1, 11)], b]
    path = np.array(rows).astype(np.uint8)
    heads = ["source", "λ = 0", *[f"{x / 10}" for x in range(1, 10)], "λ = 1", "source"]
    coarse = np.concatenate([pictures(11, size, 30 + t) for t in range(9)])
    return Measurement(
        "interpolation",
        grids={
            "path": Grid(path, 13, heads + [""] * (len(path) - 13)),
            "coarse to fine": Grid(coarse, 11),
        },
        settings={"dataset": "CIFAR-10", "t": 500, "pairs": 8, "seed": 0},
    )


def neighbours(size: int = 32) -> Measurement:
    """Ten samples and the eight nearest in two spaces."""
    grids = {}
    for place, space in enumerate(("pixels", "features")):
        images = pictures(90, size, 50 + place)
        labels = [f"{j * 1.7 + 5:.1f}" if j else f"{i}" for i in range(10) for j in range(9)]
        grids[space] = Grid(images, 9, labels)
    verdict = "No sign of memorisation: samples lie as far from the training set as test images do."
    return Measurement(
        "neighbours",
        {
            "pixels, samples (median)": Quantity(8.31, "grey levels", 1_000),
            "pixels, held-out (median)": Quantity(8.22, "grey levels", 1_000),
        },
        grids=grids,
        settings={**SAMPLED, "verdict": verdict},
    )


def watch() -> Measurement:
    """Three curves over training."""
    x = np.arange(50_000, 800_001, 50_000)
    fid = 8 + 40 * np.exp(-x / 1e5) + x / 4e5
    return Measurement(
        "watch",
        curves={
            "FID": Curve(x, fid, "training step", "FID-5k", 1),
            "IS": Curve(x, 9 - 3 * np.exp(-x / 1e5), "training step", "IS", 1),
            "bits/dim": Curve(x, 3.8 + np.exp(-x / 1e5), "training step", "bits/dim", 1_000),
        },
        settings={"best": 450_000, "seed": 0},
    )


def full(name: str = "cifar10", *, size: int = 32, checkpoint: str = "f1") -> Report:
    """A record of full size, with every measurement that there is."""
    bound = nll(dataset="CIFAR-10", n=10_000, total=3.7471, variance="fixedlarge", T=T, seed=0)
    t = np.arange(T + 1)
    terms = 2 / (1 + t) ** 1.6 + 1e-5
    curve = Curve(t, terms, "t", "L_t (bits/dim)", 10_000, terms / 40, log="y")
    shown = Grid(
        pictures(64, size, 9), 8, [str(i) for i in range(64)], "Samples 0 to 63 of seed 0."
    )
    objective: Mapping[str, Json] = {"prediction": "eps", "loss": "L_simple"}
    measured = (
        replace(bound, curves={"terms": curve}),
        *(baselines(), training(), rate_distortion(), watch(), neighbours(size)),
        *(quality(), quality("quality-test", reference="CIFAR-10 test", reference_n=10_000)),
        *(progressive(size=size), reconstructions(size=size), interpolation(size)),
        Measurement("samples", grids={"samples": shown}, settings=SAMPLED),
    )
    made = report(name, *measured, checkpoint=checkpoint)
    return replace(made, subject={**made.subject, "model": {"objective": objective}})
