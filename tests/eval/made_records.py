"""Small records made by hand, for tests of how records are kept."""

from pathlib import Path

import numpy as np

from ddpm_eval.record.protocol import ImagesFacts, Protocol
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Error, Grid, Qualifiers, Score

SUBJECTS = {"a": {"step": 10, "weights": "ema"}}


def bound(*, n: int = 9, model: str = "a", total: float = 2.4134, seed: int = 0) -> Measurement:
    t = np.arange(5)
    return Measurement(
        measure="bound",
        protocol=Protocol(
            version=1,
            model=model,
            images=ImagesFacts(digest="d", n=n, dataset="digits", split="test"),
            seed=seed,
        ),
        scores=(
            Score(metric="bits_per_dim", value=total, n=n, error=Error(size=0.0121)),
            Score(metric="bits_per_dim", value=1.25, n=n, of=Qualifiers(part="decoder")),
            Score(metric="rmse", value=2.5, n=n, of=Qualifiers(at=("reverse_steps", 3))),
        ),
        curves=(Curve(metric="bound_term", over="t", x=t, y=0.5 + t, n=n, error=t / 10, log="y"),),
        arrays={"terms": np.ones((3, 5), np.float32)},
        warnings=("one seed",),
        provenance={"command": "ddpm-eval nll"},
    )


def samples(n: int = 6, seed: int = 0) -> Measurement:
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), np.uint8)
    return Measurement(
        measure="samples",
        protocol=Protocol(version=1, model="a", seed=seed),
        grids={"samples": Grid(images, 3, (), "Not chosen.")},
        facts={"indices": [0, n]},
    )


def record(*measurements: Measurement) -> Record:
    return Record(name="r", subjects=SUBJECTS, measurements=measurements or (bound(), samples()))


TINY = record(
    Measurement(measure="m", protocol=Protocol(version=1), arrays={"x": np.arange(4)}),
)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
