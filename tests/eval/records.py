"""Records that the measures wrote, and the same with other protocols, values or pictures."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.record import disk
from ddpm_eval.record.protocol import ExtractorFacts, ImagesFacts, Json, SamplingFacts
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Grid, Score

HOSTILE = '"><img src=x onerror=alert(1)>'
LATEX_SPECIALS = r"100% a_b & $x$ #1 {c} ~d ^e \f é μ̃ 中 <|>"
DIGITS = Path(__file__).parents[2] / "reports" / "digits"
SCHEMA_1 = Path(__file__).parent / "schema1"
PAPER: Mapping[str, float] = {
    **{"bits_per_dim": 3.7412, "inception_score": 9.4612, "fid": 3.1712, "sfid": 5.12},
    **{"precision": 0.67, "recall": 0.58},
}
"""What the record of ``paper`` says."""
SIMPLE: Mapping[str, Json] = {"loss": "L_simple", "variance": "fixedlarge"}
"""What the paper trains for; the demo trains for bits/dim."""


@cache
def _digits() -> Record:
    return disk.load(DIGITS)


def digits(name: str = "digits") -> Record:
    """The committed record: one measurement of each kind, as the demo measured it."""
    return replace(_digits(), name=name)


def measured(measure: str) -> Measurement:
    """One of its measurements."""
    measurement = _digits().strongest(measure)
    assert measurement is not None
    return measurement


def only(name: str, *measurements: Measurement | str) -> Record:
    """A record of these measurements alone."""
    chosen = [measured(item) if isinstance(item, str) else item for item in measurements]
    return replace(_digits(), name=name, measurements=tuple(chosen))


GROUPS = {
    "images": ImagesFacts(digest="", n=0),
    "sampling": SamplingFacts(sampler="ancestral", steps=0, T=0, seed=0, n=0),
    "reference": ImagesFacts(digest="", n=0),
    "extractor": ExtractorFacts(name="", digest=""),
}


def changed(measurement: Measurement, **protocol: Any) -> Measurement:
    """A measurement whose protocol differs in these fields; a group may be given in part."""
    old: Any = measurement.protocol
    fields = {
        name: replace(getattr(old, name) or GROUPS[name], **value)
        if isinstance(value, dict) and name in GROUPS
        else value
        for name, value in protocol.items()
    }
    return replace(measurement, protocol=replace(old, **fields))


def valued(measurement: Measurement, **values: float) -> Measurement:
    """A measurement whose headline scores of these metrics are others."""

    def moved(score: Score) -> Score:
        is_headline = score.of.part == "total" and not score.of.variance
        ours = score.of.whose in ("model", "samples")
        if score.metric in values and is_headline and ours:
            return replace(score, value=values[score.metric])
        return score

    return replace(measurement, scores=tuple(map(moved, measurement.scores)))


def counted(measurement: Measurement, n: int) -> Measurement:
    """A measurement whose scores of images or samples are of n; those of others stay."""
    before = measurement.scores[0].n
    scores = (replace(score, n=n) if score.n == before else score for score in measurement.scores)
    return replace(measurement, scores=tuple(scores))


# ------------------------------------------------------- as if the demo were the paper's protocol


def bound(n: int = 10_000, **protocol: Any) -> Measurement:
    """The bound of CIFAR-10."""
    other = changed(
        measured("bound"), images={"dataset": "CIFAR-10", "n": n}, variance=SIMPLE["variance"]
    )
    return valued(counted(changed(other, **protocol), n), bits_per_dim=PAPER["bits_per_dim"])


def quality(
    n: int = 50_000, reference: str = "CIFAR-10 train", extractor: str = "inception-v3"
) -> Measurement:
    """IS, FID and their kin of CIFAR-10, through Inception."""
    dataset, _, split = reference.rpartition(" ")
    other = changed(
        measured("quality"),
        sampling={"n": n, "steps": 1000, "T": 1000},
        reference={"dataset": dataset, "split": split, "n": 50_000, "digest": reference},
        extractor={"name": extractor, "digest": "cd" * 32},
    )
    of_reference = measured("quality").protocol.reference
    old = 0 if of_reference is None else of_reference.n
    scores = [
        replace(score, n=50_000 if score.n == old else score.n, of=replace(score.of, extractor=""))
        for score in counted(other, n).scores
        if score.of.whose == "samples"
    ]
    like = next(score for score in scores if score.metric == "fid")
    scores.append(replace(like, metric="sfid", error=None))
    return valued(replace(other, scores=tuple(scores), curves=()), **PAPER)


def modelled(record: Record, size: int = 32, **objective: Json) -> Record:
    """A record of the paper's objective, but for these changes, and of images of another size."""
    subjects = {}
    for digest, subject in record.subjects.items():
        model: Any = subject["model"]
        unet = {**model["unet"], "image_size": size}
        merged_objective = {**model["objective"], **SIMPLE, **objective}
        subjects[digest] = {
            **subject,
            "model": {**model, "unet": unet, "objective": merged_objective},
        }
    return replace(record, subjects=subjects)


def paper(*measurements: Measurement, name: str = "mine") -> Record:
    """A record of CIFAR-10 by the paper's protocol, or of these measurements of it."""
    return modelled(only(name, *(measurements or (bound(), quality()))))


# ---------------------------------------------------------------------------------- other pictures


def noise(n: int, size: int, channels: int, seed: int = 0) -> np.ndarray:
    """Images of noise, which no format makes smaller."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, size, size, channels), np.uint8)


def enlarged(record: Record, size: int, channels: int = 3) -> Record:
    """A record whose pictures are noise of another size."""

    def drawn(grid: Grid) -> Grid:
        return replace(grid, images=noise(len(grid.images), size, channels))

    return replace(
        record,
        measurements=tuple(
            replace(item, grids={name: drawn(grid) for name, grid in item.grids.items()})
            for item in record.measurements
        ),
    )


def samples(n: int, size: int, channels: int) -> Measurement:
    """Samples of another size and number."""
    grid = Grid(noise(n, size, channels), 3, (), f"Samples 0 to {n - 1} of seed 0, not chosen.")
    return replace(measured("samples"), grids={"samples": grid})


def stretched(measurement: Measurement, T: int) -> Measurement:
    """A measurement whose curves over the reverse steps are of a chain of T steps."""

    def over(curve: Curve) -> Curve:
        x = np.arange(1, T + 1)
        old = curve.x * (T / curve.x[-1])
        error = None if curve.error is None else np.interp(x, old, curve.error)
        return replace(curve, x=x, y=np.interp(x, old, curve.y), error=error)

    return replace(measurement, curves=tuple(map(over, measurement.curves)))
