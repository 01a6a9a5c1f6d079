"""Jobs on a small world: 8x8 pictures, a linear network, any objective."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import compare, estimate, likelihood, rate_distortion
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train import schedule
from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.data.images import Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.schedule import at

CPU = torch.device("cpu")


def pictures(n: int, *, seed: int = 0, name: str = "pictures") -> Stack:
    """Smooth pictures with more or less grain, uint8 [n, 8, 8, 1]."""
    rng = np.random.default_rng(seed)
    waves = np.cumsum(np.cumsum(rng.normal(size=(n, 8, 8, 1)), 1), 2) * 8
    grain = rng.normal(size=waves.shape) * rng.uniform(1, 12, (n, 1, 1, 1))
    return Stack(name, np.clip(128 + waves + grain, 0, 255).astype(np.uint8))


def linear_network(
    process: schedule.NoiseSchedule, objective: ObjectiveConfig, *, skill: float = 0.9
) -> Callable[[Tensor, Tensor], Tensor]:
    """Smooths x_t a little to guess the noise, the mean, and a log-variance where one is wanted."""
    kernel = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)

    def network(x: Tensor, t: Tensor) -> Tensor:
        x = x.double()
        noise, signal = at((1 - process.alphas_bar).sqrt(), t, x), at(process.alphas_bar, t, x)
        blurred = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 1, 1, 1)), kernel)
        eps = skill * (noise * x + signal * (x - blurred))
        out = eps if objective.prediction == "eps" else x - 0.5 * at(process.betas, t, x) * x
        if objective.variance == "learned":
            output = at(process.betas.log(), t, x) + 0.1 * torch.tanh(x)
            out = torch.cat([out, output], 1)
        return out.float()

    return network


def subject(
    objective: ObjectiveConfig | None = None, *, T: int = 40, skill: float = 0.9, digest: str = "a"
) -> Model:
    objective = objective or ObjectiveConfig()
    config = ScheduleConfig(T=T, beta_start=0.1 / T, beta_end=20 / T if T >= 40 else 0.5)
    process = schedule.build(config)
    network = linear_network(process, objective, skill=skill)
    unet = UNetConfig(image_size=8, channels=1)
    return Model(
        denoise=Denoiser(network, process, objective),
        shape=(1, 8, 8),
        config=ModelConfig(schedule=config, unet=unet, objective=objective),
        facts=ModelFacts(digest=digest, weights="ema"),
        device=CPU,
    )


def held_out_images(n: int = 30) -> ImageSet:
    return ImageSet.of(pictures(n, seed=2, name="pictures test"), split="test")


def training_images(n: int = 60) -> ImageSet:
    return ImageSet.of(pictures(n, seed=1, name="pictures train"), split="train")


def nll(
    *, size: int = 30, model: Model | None = None, runtime: Runtime | None = None, **settings: Any
) -> Measurement:
    """The bound of test pictures, full or estimated; in memory without a runtime."""
    wish = BoundSettings(**settings)
    measure = estimate.measure if wish.is_estimate else likelihood.measure
    return measure(
        model or subject(),
        held_out_images(size),
        wish,
        runtime or Runtime(),
        training=training_images(),
    )


def comparison(
    other: Model, *, size: int = 30, model: Model | None = None, **settings: Any
) -> Measurement:
    wish = BoundSettings(**settings)
    return compare.measure(model or subject(), held_out_images(size), wish, Runtime(), other=other)


def curves(
    *, size: int = 30, model: Model | None = None, runtime: Runtime | None = None, **settings: Any
) -> Measurement:
    """Rate and distortion of test pictures."""
    return rate_distortion.measure(
        model or subject(),
        held_out_images(size),
        BoundSettings(**settings),
        runtime or Runtime(),
        training=training_images(),
    )
