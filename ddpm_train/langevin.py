"""Annealed Langevin dynamics (Song and Ermon 2019, Algorithm 1; 2020, Algorithm 1).

From uniform noise, n steps at each level of noise sigma_t, from the largest to the smallest:

    x <- x + alpha_t score(x, t) + sqrt(2 alpha_t) z,   alpha_t = step (sigma_t / sigma_1)^2

The score is -eps_hat / sigma_t. NCSNv2 then takes x + sigma_1^2 score(x, 1), the mean of x_0.
"""

import math

import torch
from torch import Tensor

from ddpm_train.denoiser import Denoised, Denoiser
from ddpm_train.diffusion import Gaussian
from ddpm_train.schedule import NoiseSchedule, at

_RELATIVE_STEP = 0.062  # of the square of the smallest noise: 6.2e-6 at 0.01
_SCALE = 4.0  # of a step: images in [-1, 1] are twice as large as in [0, 1], squared


class Langevin:
    """The walk: a row k for each step, and k = 1 for what is shown of the last x.

    The state x has its image unscaled and the noise beside it; ``chain`` begins with normal noise,
    which the first step makes uniform in [-1, 1], or with noisy images where ``begin`` says.
    """

    def __init__(
        self,
        denoise: Denoiser,
        *,
        level_steps: int = 5,
        step_lr: float = 0.0,
        final_denoising: bool = True,
        from_noise: bool = True,
    ) -> None:
        """Prepare the tables of a walk.

        Args:
            denoise: Of a network that predicts scores; its schedule has the levels of noise.
            level_steps: How many steps each level has.
            step_lr: The step at the smallest noise, for images in [0, 1]; 0: as NCSNv2 for CIFAR-10
                relative to the noise.
            final_denoising: Show the mean of x_0 at the end, not the last x.
            from_noise: The first step meets normal noise; else images with noise of the last level.
        """
        self.denoise, self.final_denoising = denoise, final_denoising
        self.level_steps, self.from_noise = level_steps, from_noise
        bar = denoise.schedule.alphas_bar
        sigmas = (1 / bar - 1).sqrt()
        self._sigmas, self._signal = sigmas, bar.sqrt()
        step = _SCALE * step_lr or _RELATIVE_STEP * sigmas[1].item() ** 2
        self._steps = step * (sigmas / sigmas[1]).square()
        levels = torch.arange(1, denoise.schedule.T + 1).repeat_interleave(level_steps)
        self._levels = torch.cat([torch.tensor([0, 1]), levels])  # of rows 0, 1, 2..K
        rows = torch.arange(len(self._levels))
        self._schedule = NoiseSchedule(0.0 * rows.double(), bar[self._levels], rows)

    @property
    def schedule(self) -> NoiseSchedule:
        """A row for each step; its times number them."""
        return self._schedule

    def begin(self, x_t: Tensor, t: int) -> tuple[Tensor, int]:
        """Give the state of the images x_t, and the row where the steps at their level begin."""
        signal = at(self._signal, torch.full((len(x_t),), t), x_t)
        return x_t / signal, 1 + t * self.level_steps

    def step(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None, /) -> Denoised:
        """Give the mean and the variance after a step, and the mean of x_0."""
        begins = (k == self.schedule.T) & self.from_noise
        first = at(begins.double(), torch.arange(len(k)), x_t)
        x = torch.where(first > 0, torch.erf(x_t / math.sqrt(2)), x_t)
        t = self._levels[k]
        scaled = at(self._signal, t, x) * x
        output = self.denoise.evaluate(scaled, t, condition)
        eps_hat = self.denoise.eps_hat(output, scaled, t)
        x_0_hat = x - at(self._sigmas, t, x) * eps_hat
        mean = x - at(self._steps / self._sigmas, t, x) * eps_hat
        shown = x_0_hat if self.final_denoising else x
        last = at((k == 1).double(), torch.arange(len(k)), x_t)
        log_var = at((2 * self._steps).log(), t, x)
        return Denoised(Gaussian(mean, log_var), torch.where(last > 0, shown, x_0_hat))

    def is_certain(self, k: int, /) -> bool:
        """Never: every step has its noise."""
        return False
