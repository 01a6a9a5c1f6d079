"""Pictures of which everything is known: smooth Gaussian fields and their best denoiser.

Each of the channels is a stationary Gaussian field whose cosine coefficients are independent. The
best x_0_hat shrinks them, what it misses is known at every time, and so is the entropy.
"""

import math
from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec.calibrate import calibrate
from ddpm_eval.codec.network import Estimate, estimator
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import CalibrationSettings
from ddpm_eval.codec.words import Array
from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.runtime import Runtime
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Pixels, Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.schedule import from_betas, linear

Result = TypeVar("Result")
SCHEDULE = from_betas(linear(1000, 1e-4, 0.02))
MIX = np.array([[0.8, 0.6, 0], [0.6, -0.8, 0], [0, 0, 1]])  # of the channels: two go together


def spectrum(side: int) -> Array:
    """The variances of the cosine coefficients of each mixed channel, [3, side, side]."""
    u = np.arange(side)
    fall = 1 / (1 + 3.0 * np.add.outer(u**2, u**2)) ** 1.15
    fall = fall * 0.1 / fall.mean() + 6e-5
    return np.stack([1.6 * fall, 0.1 * fall, 0.6 * fall])


def _forward(x: Array) -> Array:
    return dctn(np.einsum("kc,bchw->bkhw", MIX, x), axes=(2, 3), norm="ortho")


def _backward(y: Array) -> Array:
    return np.einsum("kc,bkhw->bchw", MIX, idctn(y, axes=(2, 3), norm="ortho"))


def pictures(n: int, *, side: int = 16, seed: int = 0) -> Pixels:
    """Draw pictures, uint8 [n, side, side, 3]."""
    rng = np.random.default_rng(seed)
    x = _backward(rng.standard_normal((n, 3, side, side)) * np.sqrt(spectrum(side)))
    levels = np.clip(np.rint((x + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def entropy(side: int = 16) -> float:
    """Of the levels, bits/dim: that of the density, in units of a level."""
    return 0.5 * math.log2(2 * math.pi * math.e * 127.5**2) + 0.5 * np.log2(spectrum(side)).mean()


def missed(t: int, side: int = 16) -> float:
    """What the best x_0_hat misses at t, the mean square."""
    bar, variances = float(SCHEDULE.alphas_bar[t]), spectrum(side)
    return float((variances * (1 - bar) / (bar * variances + 1 - bar)).mean())


def best(x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    """The best estimate of eps."""
    bar = SCHEDULE.alphas_bar[t].numpy().reshape(-1, 1, 1, 1)
    variances, x_t = spectrum(x.shape[2]), x.double().numpy()
    x_0 = _backward(_forward(x_t) * np.sqrt(bar) * variances / (bar * variances + 1 - bar))
    return torch.from_numpy((x_t - np.sqrt(bar) * x_0) / np.sqrt(1 - bar)).to(x)


def model(side: int = 16) -> Model:
    """The best denoiser as a model."""
    single = Model(
        denoise=Denoiser(best, SCHEDULE, ObjectiveConfig()),
        shape=(3, side, side),
        facts=ModelFacts(digest="fields", name="fields"),
        device=torch.device("cpu"),
    )
    double = replace(single, dtype=torch.float64, precision="float64")
    return replace(single, double=lambda: double)


def profile(n: int = 64, side: int = 16) -> Profile:
    """A profile learned from n pictures."""
    images = ImageSet.of(Stack("fields", pictures(n, side=side, seed=7)))
    settings = CalibrationSettings(n=n, rows=32, noise=2.5)
    return calibrate(model(side), images, settings, Runtime())


def estimate(side: int = 16, *, batch: int = 16) -> Estimate:
    return estimator(model(side), batch=batch)


def finish(work: Generator[None, None, Result]) -> Result:
    """Drive a generator to its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
