"""Guidance by a classifier of noisy images (Dhariwal and Nichol 2021, Algorithms 1 and 2).

g = s grad_x log p(y | x_t),   s the scale
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_train.denoiser import Denoised
from ddpm_train.diffusion import Gaussian
from ddpm_train.errors import FixableError
from ddpm_train.samplers import Ancestral, Ddim, Sampler
from ddpm_train.schedule import NoiseSchedule, at

LogProbability = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps x_t [B, C, H, W], the paper's t [B] and classes [B] to log p(y | x_t) in nats, [B]."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient that guides, scaled.

    Attributes:
        log_probability: Of a class, differentiable in x_t.
        scale: s; 0 changes nothing.
    """

    log_probability: LogProbability
    scale: float

    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Give s grad_x log p(y | x_t), [B, C, H, W], inside a block without gradients too."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            x = x_t.clone().requires_grad_()
            log_p = self.log_probability(x, t, labels.to(x.device))
            (gradient,) = torch.autograd.grad(log_p.sum(), x)
        return self.scale * gradient


@dataclass(frozen=True, slots=True)
class Guided:
    """A sampler whose steps a classifier guides.

    ``Ancestral`` (Algorithm 1): the mean of p moves by its variance times g, for each pixel; the
    last step's image too. ``Ddim`` (Algorithm 2): eps_hat falls by sqrt(1 - alpha-bar_t) g, so
    x_0_hat rises by (1 - alpha-bar_t) / sqrt(alpha-bar_t) g. Neither is clipped again.

    Attributes:
        sampler: Without guidance.
        gradient: g.
        conditional: Whether the network takes the classes too.
    """

    sampler: Ancestral | Ddim
    gradient: Gradient
    conditional: bool = False

    @property
    def schedule(self) -> NoiseSchedule:
        """The sampler's."""
        return self.sampler.schedule

    def step(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None, /) -> Denoised:
        """Evaluate the network and the classifier.

        Raises:
            FixableError: There are no classes to guide to.
        """
        if condition is None:
            raise FixableError("condition=None: there is no class to guide to", "give classes")
        plain = self.sampler.step(x_t, k, condition if self.conditional else None)
        t = self.schedule.times[k.to(self.schedule.times.device)]
        g = self.gradient(x_t, t, condition)
        if isinstance(self.sampler, Ddim):
            bar = self.schedule.alphas_bar
            rise = at((1 - bar) / bar.sqrt(), k, x_t) * g
            mean = plain.p.mean + self.sampler.slope(k, x_t) * rise
        else:
            shift = plain.p.log_var.exp() * g
            mean = plain.p.mean + shift
            rise = shift * (k == 1).to(shift).view(-1, 1, 1, 1)
        return Denoised(Gaussian(mean, plain.p.log_var), plain.x_0_hat + rise)

    def is_certain(self, k: int, /) -> bool:
        """As the sampler."""
        return self.sampler.is_certain(k)


def guided(sampler: Sampler, gradient: Gradient, *, conditional: bool) -> Guided:
    """Guide a sampler.

    Raises:
        FixableError: Nobody has said how this sampler is guided.
    """
    if not isinstance(sampler, Ancestral | Ddim):
        raise FixableError(
            f"sampler={type(sampler).__name__.lower()}: guidance has no rule for it",
            "set sampler=ancestral, or sampler=ddim",
        )
    return Guided(sampler, gradient, conditional)
