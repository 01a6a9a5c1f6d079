"""Settings of samples and of the pictures that the chain makes: one group for each measure."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ddpm_eval.record.store import MOST
from ddpm_train.config import SamplerConfig
from ddpm_train.leaves import Length, Number, Range, Seed

Rows = Annotated[int, Range(1, 1000)]
Index = Annotated[int, Range(0, 2**32 - 1)]
Weight = Annotated[float, Range(0, 1)]
Scale = Annotated[float, Range(0)]
"""Of a classifier's gradient: 0 changes nothing, 1 is Bayes' rule."""
Scales = Annotated[tuple[Scale, ...], Length(2, 1000)]
Classes = Annotated[tuple[Annotated[int, Range(0, 1_000_000)], ...], Length(0, 10_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings(SamplerConfig):
    """Samples 0..n-1 of a seed, and the sampler that draws them."""

    n: Annotated[int, Range(1, MOST)] = 64  # samples
    seed: Seed = 0  # of all noise: sample i is a function of the seed and i
    clip: bool = True  # keep x_0_hat in [-1, 1], as the original samples
    classes: Classes = ()  # that samples are of in turn; empty: each is drawn by the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveSettings:
    """x_0_hat along the chain, by the paper's sampler."""

    n: Annotated[int, Range(0, MOST)] = 0  # samples; 0: 64, or 1,000 with quality
    rows: Rows = 8  # samples in the figure
    seed: Seed = 0  # of all noise
    clip: bool = True  # keep x_0_hat in [-1, 1]
    classes: Classes = ()  # that samples are of in turn; empty: each is drawn by the seed


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionSettings:
    """Lossy reconstructions of images."""

    n: Annotated[int, Range(0, 10_000)] = 8  # images; 0: all of them
    first: bool = False  # the first n, as the original's protocol; else n that the seed draws
    seed: Seed = 0  # of the noise and of the choice of images
    clip: bool = True  # keep x_0_hat in [-1, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolationSettings:
    """Paths between pairs of images."""

    pairs: Annotated[tuple[tuple[Index, Index], ...], Length(0, 64)] = ()  # of images; empty: four
    first: bool = False  # the four pairs are images 0..7; else the seed draws them
    t: Annotated[int, Range(0)] | None = None  # where images are mixed; None: half of T
    lambdas: Annotated[tuple[Weight, ...], Length(1, 100)] = (
        *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    )
    mix: Literal["linear", "spherical"] = "linear"  # of the noises; the paper's is linear
    seed: Seed = 0  # of the noise and of the choice of images
    clip: bool = True  # keep x_0_hat in [-1, 1]
    level_steps: Number = 5  # of a score network: Langevin steps at each level of noise
    step_lr: Annotated[float, Range(0, 1)] = 0.0  # the step at the last level; 0: as in sampling
    final_denoising: bool = True  # of a score network: show the mean of x_0 at the last level


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourSettings:
    """The training images nearest to samples, and the yardstick of held-out images."""

    sampling: SamplingSettings = field(default_factory=SamplingSettings)  # of the samples
    k: Annotated[int, Range(1, 1000)] = 5  # neighbours that are shown
    rows: Rows = 8  # samples in a figure
    held_out: Annotated[int, Range(0)] = 1000  # held-out images to judge by; 0: no verdict
    first: bool = False  # the first held-out images; else those that the seed draws
    mirrored: bool | None = None  # search mirror images too; None: if training had them
    seed: Seed = 0  # of the choice of held-out images
