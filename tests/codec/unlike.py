"""Pictures whose pixels vary unlike each other, and the model that knows by how much.

Pixel i is normal with a variance v_i of its own, independent of the others: the best x_0_hat
shrinks it, M_i = v_i (1 - alpha-bar) / (alpha-bar v_i + 1 - alpha-bar), and the model says so by a
learned variance. No frequency differs from another, so that bands know nothing of it.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.codec.words import Array
from ddpm_eval.model import Model, ModelFacts
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Pixels
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import posterior_coefficients
from ddpm_train.schedule import at
from ddpm_train.variances import fixed_small
from tests.codec import fields

SIDE = 16
DEVIATIONS = (2.0, 40.0)  # in levels, the smallest and the largest
SCHEDULE = fields.SCHEDULE


def variances() -> Array:
    """v, [1, SIDE, SIDE]."""
    low, high = np.log(np.array(DEVIATIONS) / 127.5)
    drawn = np.random.default_rng(0).uniform(low, high, (1, SIDE, SIDE))
    return np.asarray(np.exp(2 * drawn))


def pictures(n: int, *, seed: int = 0) -> Pixels:
    """Draw pictures, uint8 [n, SIDE, SIDE, 1]."""
    x = np.random.default_rng(seed).standard_normal((n, 1, SIDE, SIDE)) * np.sqrt(variances())
    levels = np.clip(np.rint((x + 1) * 127.5), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def entropy() -> float:
    """Of the levels, bits/dim."""
    return float(0.5 * np.log2(2 * math.pi * math.e * 127.5**2 * variances()).mean())


def _predict(x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    """Give x_0_hat and the place of log sigma^2 between its bounds."""
    double, v = x.double(), torch.from_numpy(variances())
    bar = at(SCHEDULE.alphas_bar, t, double)
    x_0 = double * bar.sqrt() * v / (bar * v + 1 - bar)
    missed = v * (1 - bar) / (bar * v + 1 - bar)
    c_0 = at(posterior_coefficients(SCHEDULE)[0], t, double)
    sigma = at(SCHEDULE.posterior_variances, t, double) + c_0.square() * missed
    low, high = at(fixed_small(SCHEDULE), t, double), at(SCHEDULE.betas.log(), t, double)
    place = 2 * (sigma.log() - low) / (high - low) - 1
    return torch.cat([x_0, place], 1).to(x)


def model(variance: str = "learned_range") -> Model:
    """The model; ``fixedsmall``: the same without its variance."""
    objective = ObjectiveConfig(prediction="x_0", loss="L")
    if variance == "learned_range":
        objective = replace(objective, variance="learned_range")
    single = Model(
        denoise=Denoiser(_predict if objective.learns_variance else _mean, SCHEDULE, objective),
        shape=(1, SIDE, SIDE),
        facts=ModelFacts(digest=f"unlike {variance}", name="unlike"),
        device=torch.device("cpu"),
    )
    double = replace(single, dtype=torch.float64, precision="float64")
    return replace(single, double=lambda: double)


def _mean(x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
    return _predict(x, t).chunk(2, dim=1)[0]
