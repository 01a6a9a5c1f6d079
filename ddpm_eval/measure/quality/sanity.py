"""What can make a figure of quality worth less than it looks, each in one sentence."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpm_eval.record.arrays import Array

PROTOCOL_N = 50_000
NEAR_ZERO = 1e-3  # of the bias: no generator comes so close


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known once everything is measured.

    ``samples`` and ``reference`` are digests of each image; ``made`` says how the samples were
    made (steps, T, weights, ...), as far as anyone knows.
    """

    n: int
    dim: int
    name: str  # FID, or FD(...)
    suffix: str  # of the extractor
    reference: str
    samples_pixels: Array
    reference_pixels: Array | None
    distance: float | None
    bias: float | None
    lossy: int
    made: dict[str, Any]


def warnings(facts: Facts) -> tuple[str, ...]:
    """Everything that a reader of the numbers has to know."""
    return (*_numbers(facts), *_images(facts), *_making(facts))


def _numbers(facts: Facts) -> Iterator[str]:
    n = facts.n
    if facts.suffix:
        yield (
            f"{facts.suffix.strip('()')} is not the published Inception: {facts.name} compares "
            "models with each other here, never with published FID"
        )
    if n < facts.dim:
        yield (
            f"fewer images ({n:,}) than features ({facts.dim:,}): the covariance is singular, and "
            f"{facts.name} says more about n than about the model"
        )
    if n < PROTOCOL_N and facts.bias is not None:
        published = "" if facts.suffix else "; published FID has n = 50,000"
        yield (
            f"{facts.name} falls as n grows: on {n:,} images a perfect generator would score about "
            f"{facts.bias:.2g}{published}"
        )
    if facts.distance is not None and facts.bias and facts.distance < NEAR_ZERO * facts.bias:
        yield (
            f"{facts.name} is next to zero: the samples are the reference, or copies of it, since "
            f"even fresh images of the same kind would score about {facts.bias:.2g}"
        )
    if facts.reference == "test":
        yield "the reference is the test split; the paper's FID of 3.17 is against the training set"


def _images(facts: Facts) -> Iterator[str]:
    doubles = facts.n - len(np.unique(facts.samples_pixels))
    if doubles:
        yield f"{doubles:,} of {facts.n:,} samples are exact copies of other samples"
    if facts.reference_pixels is not None:
        same = int(np.isin(facts.samples_pixels, facts.reference_pixels).sum())
        if same:
            yield f"{same:,} of {facts.n:,} samples are exact copies of reference images"
    if facts.lossy:
        yield (
            f"{facts.lossy:,} images are JPEG files: compression moves FID, often by more than "
            "models differ"
        )


def _making(facts: Facts) -> Iterator[str]:
    made = facts.made
    if made.get("weights") == "raw":
        yield "samples of the raw weights: the paper measures their average (EMA)"
    half_life = _half_life(made.get("ema_decay"))
    step = made.get("step")
    if made.get("weights") == "ema" and half_life and step and step < half_life:
        yield (
            f"the averaged weights are younger than their half-life (step {step:,} of "
            f"{half_life:,.0f}): they still remember the start; longer training or --raw"
        )
    steps, T = made.get("steps"), made.get("T")
    if steps and T and steps < T:
        yield f"sampled in {steps:,} of {T:,} steps; the paper takes all"
    if made.get("precision", "float32") != "float32":
        yield f"sampled in {made['precision']}; the paper's numbers are float32"


def _half_life(decay: float | None) -> float:
    return math.log(0.5) / math.log(decay) if decay and 0 < decay < 1 else 0.0
