"""Settings of samples and of the pictures that the chain makes: one group for each measure."""

from dataclasses import dataclass, field
from typing import Literal

from ddpm_train.config import SamplerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings(SamplerConfig):
    """Samples 0..n-1 of a seed, and the sampler that draws them."""

    n: int = 64  # samples
    seed: int = 0  # of all noise: sample i is a function of the seed and i
    clip: bool = True  # keep x_0_hat in [-1, 1], as the original samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveSettings:
    """x_0_hat along the chain, by the paper's sampler."""

    n: int = 0  # samples; 0: 64, or 1,000 where their quality is measured
    rows: int = 8  # samples in the figure
    seed: int = 0  # of all noise
    clip: bool = True  # keep x_0_hat in [-1, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionSettings:
    """Lossy reconstructions of images."""

    n: int = 8  # images
    first: bool = False  # the first n, as the original's protocol; else n that the seed draws
    seed: int = 0  # of the noise and of the choice of images
    clip: bool = True  # keep x_0_hat in [-1, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolationSettings:
    """Paths between pairs of images."""

    pairs: tuple[tuple[int, int], ...] = ()  # of indices in the data set; empty: four pairs
    first: bool = False  # the four are images 0..7; else the seed draws them
    t: int | None = None  # where images are mixed; None: half of T
    lambdas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    mix: Literal["linear", "spherical"] = "linear"  # of the noises; the paper's is linear
    seed: int = 0  # of the noise and of the choice of images
    clip: bool = True  # keep x_0_hat in [-1, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourSettings:
    """The training images nearest to samples, and the yardstick of held-out images."""

    sampling: SamplingSettings = field(default_factory=SamplingSettings)  # of the samples
    k: int = 5  # neighbours that are shown
    rows: int = 8  # samples in a figure
    held_out: int = 1000  # held-out images to judge by, at most; 0: no verdict
    first: bool = False  # the first held-out images; else those that the seed draws
    mirrored: bool | None = None  # search mirror images too; None: if training had them
    seed: int = 0  # of the choice of held-out images
