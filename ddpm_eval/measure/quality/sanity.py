"""What can make a figure of quality worth less than it looks, each in one sentence."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.settings import PROTOCOL_N
from ddpm_eval.metrics.estimate import NORMAL_95, Estimate
from ddpm_eval.record.arrays import Array

NEAR_ZERO = 1e-3  # of what fresh images score: no generator comes so close
RISE = 1.05  # by which the Inception score may still rise with n before that is said
MEMORISED = 0.05  # of the samples, three times nearer to one reference image than to any other
CLOSER = 0.5  # of what fresh images score: no generator that learned no image by heart


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known once everything is measured.

    Attributes:
        n: The number of samples.
        dim: The number of features.
        name: What the distance is called: FID, or FD(...).
        suffix: Of the extractor.
        split: Of the reference.
        samples_pixels: A digest of each sample.
        reference_pixels: The same of the reference, where it is known.
        distance: Of the samples.
        bias: What a perfect generator would score on as many.
        ratio: FD of the samples over that of held-out images.
        memorised: The share of samples near to one reference image alone.
        score: The Inception score.
        score_limit: About what it would be on very many images.
        lossy: How many images are JPEG files.
        origin: How the samples were made.
    """

    n: int
    dim: int
    name: str
    suffix: str
    split: str
    samples_pixels: Array
    reference_pixels: Array | None
    distance: float | None = None
    bias: float | None = None
    ratio: Estimate | None = None
    memorised: Estimate | None = None
    score: Estimate | None = None
    score_limit: float | None = None
    lossy: int = 0
    origin: Origin = field(default_factory=Origin)


def warnings(facts: Facts) -> tuple[str, ...]:
    """Everything that a reader of the numbers has to know."""
    return (*_network(facts), *_numbers(facts), *_memory(facts), *_images(facts), *_making(facts))


def _network(facts: Facts) -> Iterator[str]:
    if facts.suffix.startswith("("):
        yield (
            f"{facts.suffix[1:].partition(')')[0]} is not the published Inception: {facts.name} "
            "compares models with each other here, never with published FID"
        )
    elif facts.suffix:
        yield (
            f"{facts.name} resizes images otherwise than the papers of FID did; compare it with "
            "numbers of the same protocol alone"
        )


def _numbers(facts: Facts) -> Iterator[str]:
    n = facts.n
    if n < facts.dim and facts.distance is not None:
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
    score, limit = facts.score, facts.score_limit
    if score is not None and limit is not None and limit > RISE * score.value:
        yield (
            f"IS rises as n grows: its ten parts have {n // 10:,} images each; on very many it "
            f"would be about {limit:.3g}, not {score.value:.3g}"
        )
    if facts.split == "test":
        yield "the reference is the test split; the paper's FID of 3.17 is against the training set"


def _memory(facts: Facts) -> Iterator[str]:
    """Signs that samples repeat the reference."""
    distance, bias = facts.distance, facts.bias
    if distance is not None and bias and distance < CLOSER * bias:
        where = "next to zero" if distance < NEAR_ZERO * bias else f"only {distance:.2g}"
        yield (
            f"{facts.name} is {where}: the samples are the reference, or copies of it, since even "
            f"fresh images of the same kind would score about {bias:.2g}"
        )
    ratio = facts.ratio
    if ratio is not None and ratio.value + NORMAL_95 * _size(ratio) < CLOSER:
        yield (
            f"{facts.name} is {ratio.value:.2g} of what held-out real images of the same number "
            "score: the samples repeat the reference; see ddpm-eval neighbours"
        )
    share = facts.memorised
    if share is not None and share.value - NORMAL_95 * _size(share) > MEMORISED:
        yield (
            f"{share.value:.1%} of the samples are three times nearer to one reference image than "
            "to any other, as memorised images are; see ddpm-eval neighbours"
        )


def _size(estimate: Estimate) -> float:
    return 0.0 if estimate.error is None else estimate.error.size


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
    origin = facts.origin
    if origin.weights == "raw":
        yield "samples of the raw weights: the paper measures their average (EMA)"
    half_life = _half_life(origin.ema_decay)
    if origin.weights == "ema" and half_life and origin.step and origin.step < half_life:
        yield (
            f"the averaged weights are younger than their half-life (step {origin.step:,} of "
            f"{half_life:,.0f}): they still remember the start; longer training or --weights raw"
        )
    sampling = origin.sampling
    if sampling is not None and sampling.steps < sampling.T:
        yield f"sampled in {sampling.steps:,} of {sampling.T:,} steps; the paper takes all"
    if origin.precision != "float32":
        yield f"sampled in {origin.precision}; the paper's numbers are float32"


def _half_life(decay: float | None) -> float:
    return math.log(0.5) / math.log(decay) if decay and 0 < decay < 1 else 0.0
