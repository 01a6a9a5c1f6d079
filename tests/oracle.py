"""The Gaussian world: every answer is known in closed form.

If x_0 ~ N(0, I) then so is every x_t; the best noise prediction is sqrt(1 - alpha-bar_t) x_t and
the reverse step with sigma^2 = beta_t is exact. So the bound is the entropy, x_0_hat decoded from
x_t leaves the error 1 - alpha-bar_t at rate I(x_0; x_t), a point of Shannon's R(D) = 1/2 log2(1/D),
and the chain draws from N(0, I).
"""

import math
from collections.abc import Generator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.measure.bound.likelihood import BoundTerms, assemble
from ddpm_eval.measure.bound.sweep import NATS_PER_BIT, Every, Sweep, variance_tables
from ddpm_eval.model import Model, ModelFacts
from ddpm_train import schedule
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.labels import Labels
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import Gaussian, prior_kl
from ddpm_train.noise import Stream, normal
from ddpm_train.schedule import NoiseSchedule, at

ENTROPY = 0.5 * math.log2(2 * math.pi * math.e)  # 2.0471 bits/dim
SHAPE = (1, 16, 16)
Result = TypeVar("Result")


def process(T: int) -> NoiseSchedule:
    """A linear schedule that ends near N(0, I) for any T."""
    return schedule.from_betas(schedule.linear(T, 0.03 / T, min(0.9, 21 / T)))


def images(n: int) -> Tensor:
    return normal(Stream(99, "init"), range(n), SHAPE).double()


def gaussian_nll(x_0: Tensor, p: Gaussian) -> Tensor:
    """The continuous decoder's -log p(x_0 | x_1), nats."""
    return 0.5 * ((x_0 - p.mean).square() * (-p.log_var).exp() + p.log_var + math.log(2 * math.pi))


class Exact(Denoiser):
    """The best network, and the variance beta_t at t = 1 too."""

    def __init__(self, tables: NoiseSchedule, *, scale: float = 1.0) -> None:
        def network(x: Tensor, t: Tensor) -> Tensor:
            return scale * at((1 - tables.alphas_bar).sqrt(), t, x) * x

        super().__init__(network, tables, ObjectiveConfig(variance="fixedlarge"))
        self.log_variances = tables.betas.log()


def subject(denoise: Denoiser) -> Model:
    return Model(
        denoise=denoise,
        shape=(3, 32, 32),
        facts=ModelFacts(digest="oracle"),
        device=torch.device("cpu"),
        decoder=gaussian_nll,
        dtype=torch.float64,
    )


def run(work: Generator[None, None, Result]) -> Result:
    """Drive a generator to its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def run_sweep(
    model: Model,
    x_0: Tensor,
    indices: Sequence[int],
    *,
    seed: int,
    clip: bool = True,
    batch: int = 64,
    labels: Labels | None = None,
) -> Generator[None, None, BoundTerms]:
    """Evaluate every step of images in memory once; yields after each batch."""
    pairs, variances = Every(len(indices), model.denoise.schedule.T), variance_tables(model)
    sweep = Sweep(
        model=model,
        read=lambda places: x_0[torch.as_tensor(places)],
        indices=np.asarray(indices),
        stream=Stream(seed, "nll"),
        variances=variances,
        clip=clip,
        batch=batch,
        labels=labels,
    )
    terms = yield from sweep.over(pairs, range(len(pairs)))
    prior = prior_kl(model.denoise.schedule, x_0).flatten(1).mean(1).numpy() / NATS_PER_BIT
    return assemble(terms, prior, variances)
