"""Bits/dim by the probability-flow ODE, the other half of the field's numbers (see flow.py).

The flow gives a density of x_1, a picture with a little noise. From there to the 256 levels lead

    the decoder      -log P(x_0) <= E_q [log q(x_1|x_0) - log p(x_1) - log p(x_0|x_1)],
                     the model's own p(x_0|x_1) and the entropy of q, and
    dequantisation   -log P(x_0) <= E_u [-log p(x_0 + u)], u uniform over a level's width 2/255,
                     where p is the density of x_1 / sqrt(alpha-bar_1) (score-SDE and after it).

Both hold for the mean over K draws inside the logarithm too, and tighten with K (Burda et al.
2016). All in nats for a whole image until ``bits``.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_train.diffusion import Gaussian
from ddpm_train.noise import Stream, normal

LEVEL = 2 / 255  # the width of a level's bin, as the decoder has it


@dataclass(frozen=True, eq=False)
class Start:
    """Where the flow is entered for some images.

    Attributes:
        x_1: States at t = 1, float64 [B, C, H, W].
        rest: What is to be added to log p(x_1) for a bound on log P(x_0), nats, [B].
    """

    x_1: Tensor
    rest: Array


def with_decoder(
    model: Model, x_0: Tensor, eps: Tensor, *, clip: bool = True, labels: Tensor | None = None
) -> Start:
    """Enter by x_1 ~ q(x_1|x_0): log p(x_0|x_1) - log q(x_1|x_0).

    Args:
        model: The model.
        x_0: Images in [-1, 1], float64 [B, C, H, W].
        eps: The noise of x_1, likewise.
        clip: Keep x_0_hat inside [-1, 1], as in the bound.
        labels: The class of each image, for a model that takes classes.
    """
    variance = 1 - model.denoise.schedule.alphas_bar[1].item()
    x_1 = math.sqrt(1 - variance) * x_0 + math.sqrt(variance) * eps
    t = torch.ones(len(x_0), dtype=torch.long)
    output = model.denoise.evaluate(x_1.to(model.dtype), t, labels)
    p = model.denoise.read(output, x_1, t, clip=clip).p
    decoder = model.decoder(x_0, Gaussian(p.mean, p.log_var.expand_as(p.mean)))
    log_q = -0.5 * (eps.square() + math.log(2 * math.pi * variance))
    return Start(x_1, (-decoder - log_q).flatten(1).sum(1).cpu().numpy())


def with_uniform_noise(model: Model, x_0: Tensor, u: Tensor) -> Start:
    """Enter by x_0 plus uniform noise: the volumes of a level and of the change to x_1.

    Args:
        model: The model.
        x_0: Images in [-1, 1], float64 [B, C, H, W].
        u: Uniform in [-1/2, 1/2], likewise.
    """
    bar = model.denoise.schedule.alphas_bar[1].item()
    volume = x_0[0].numel() * (math.log(LEVEL) + 0.5 * math.log(bar))
    return Start(math.sqrt(bar) * (x_0 + LEVEL * u), np.full(len(x_0), volume))


def probes(seed: int, image: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the independent signs of an image's draw, float64; ``shape`` begins with how many."""
    generator = Stream(seed, "probe").generator(image, draw)
    return torch.from_numpy(2.0 * generator.integers(0, 2, shape) - 1)


def noise(seed: int, image: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the noise of x_1, float64; that of draw 0 is the bound's own at t = 1."""
    stream = Stream(seed, "ode" if draw else "nll")
    return normal(stream, [image], shape, steps=draw or 1)[0].double()


def uniform_noise(seed: int, image: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Draw from [-1/2, 1/2), float64."""
    return torch.from_numpy(Stream(seed, "ode").generator(image, draw).random(shape) - 0.5)


@dataclass(frozen=True, eq=False)
class Weights:
    """log of p(x_0, x_1) / q(x_1|x_0), or of what takes its place, nats of a whole image.

    Attributes:
        values: Of each image, draw and probe, [n, K, R].
        dimensions: D.
    """

    values: Array
    dimensions: int

    def bits(self, draws: int | None = None) -> Array:
        """The bound of each image over so many draws (all of them), bits/dim, [n].

        Fewer draws are averaged over the groups that all of them make.
        """
        means = self.values.mean(2)
        count = draws or means.shape[1]
        groups = means.shape[1] // count
        grouped = means[:, : groups * count].reshape(len(means), groups, count)
        log_mean = logsumexp(grouped, axis=2) - math.log(count)
        return np.asarray(-log_mean.mean(1) / (self.dimensions * math.log(2)))

    def errors(self) -> dict[str, float]:
        """The standard error of the mean over images with one draw, and its parts, bits/dim.

        Each image has its own draws and probes, so the spread between images holds all three; the
        parts are components of variance. A part that needs two of a kind is left out with one.
        """
        n, K, R = self.values.shape
        unit = self.dimensions * math.log(2)
        means = self.values.mean(2)
        every = means.mean(1)
        parts = {"total": every.var(ddof=1) / n} if n > 1 else {}
        if R > 1:
            parts["probes"] = self.values.var(2, ddof=1).mean() / (n * K * R)
        if K > 1:
            draws = means.var(1, ddof=1).mean() / (n * K) - parts.get("probes", 0.0)
            parts["draws"] = max(draws, 0.0)
        rest = parts.get("total", 0.0) - parts.get("draws", 0.0) - parts.get("probes", 0.0)
        if n > 1:
            parts["images"] = max(rest, 0.0)
        return {name: math.sqrt(variance) / unit for name, variance in parts.items()}
