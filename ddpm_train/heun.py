"""EDM's sampler: Heun's method on the probability flow (Karras et al. 2022, Algorithms 1 and 2).

With y = x_t / sqrt(alpha-bar_t) = x_0 + sigma eps the flow is dy/dsigma = (y - x_0_hat) / sigma.
A step goes from sigma to the next level s, and corrects its slope there unless s = 0:

    d = (y - x_0_hat(y, sigma)) / sigma,   y' = y + (s - sigma) d
    d' = (y' - x_0_hat(y', s)) / s,        y <- y + (s - sigma) (d + d') / 2

The levels are those of the model that are nearest to levels even in sigma^(1/rho). With a churn,
noise first raises sigma to (1 + gamma) sigma, rounded to a level of the model likewise.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm_train.denoiser import Denoised, Denoiser
from ddpm_train.diffusion import Gaussian
from ddpm_train.schedule import NoiseSchedule, at

STEPS = 18
_MOST_CHURN = math.sqrt(2) - 1  # of gamma: the variance of the noise is doubled at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """The noise of Algorithm 2.

    Attributes:
        amount: S_churn: gamma = S_churn / steps, at most sqrt(2) - 1.
        least: S_tmin, the least sigma that is raised.
        most: S_tmax, the largest.
        noise: S_noise, the deviation of what is added, over what the rise in sigma asks for.
    """

    amount: float = 0.0
    least: float = 0.0
    most: float = math.inf
    noise: float = 1.0


def levels(process: NoiseSchedule, steps: int, rho: float) -> list[int]:
    """Choose times whose sigma are even in sigma^(1/rho), rising (Eq. 5 there).

    Each is the time of the nearest sigma; levels that coincide are visited once.
    """
    sigmas = noise_levels(process.alphas_bar)[1:]
    last, first = sigmas[-1] ** (1 / rho), sigmas[0] ** (1 / rho)
    places = torch.linspace(0, 1, steps, dtype=torch.float64) if steps > 1 else torch.zeros(1)
    wanted = (last + places * (first - last)) ** rho
    return sorted(set(_nearest(sigmas, wanted).tolist()))


def noise_levels(alphas_bar: Tensor) -> Tensor:
    """Give sigma = sqrt((1 - alpha-bar) / alpha-bar)."""
    return ((1 - alphas_bar) / alphas_bar).sqrt()


def _nearest(sigmas: Tensor, wanted: Tensor) -> Tensor:
    """The time 1..T of the sigma that is nearest to each that is wanted."""
    after = torch.searchsorted(sigmas, wanted).clamp(1, len(sigmas) - 1)
    lower = (wanted - sigmas[after - 1]) < (sigmas[after] - wanted)
    return after + 1 - lower.long()


class Heun:
    """The walk. The state in row k is x_t at the level to which the churn raises the row's."""

    def __init__(self, denoise: Denoiser, churn: Churn | None = None) -> None:
        """Prepare the tables of a walk.

        Args:
            denoise: Its rows are the levels.
            churn: The noise of Algorithm 2; None: there is none, Algorithm 1.
        """
        self.denoise = denoise
        churn = churn or Churn()
        whole = noise_levels(denoise.whole.alphas_bar)
        sigmas = whole[denoise.schedule.times]
        gamma = min(churn.amount / denoise.schedule.T, _MOST_CHURN)
        is_raised = (sigmas >= churn.least) & (sigmas <= churn.most) & (sigmas > 0)
        is_raised[-1] = False  # nothing is above the model's own noise
        wanted = sigmas * (1 + gamma * is_raised)
        raised = _nearest(whole[1:], wanted)
        self._times = torch.where(wanted > sigmas, raised, denoise.schedule.times)
        self._sigmas, self._raised = sigmas, whole[self._times]
        self._signal = denoise.whole.alphas_bar[self._times].sqrt()
        squares = (self._raised.square() - sigmas.square()).clamp(min=0)
        self._noise = churn.noise * squares.sqrt()

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's."""
        return self.denoise.schedule

    def step(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None, /) -> Denoised:
        """Give the mean and the variance after a step, and x_0_hat at its begin."""
        y = x_t / at(self._signal, k, x_t)
        sigma, after = at(self._raised, k, y), at(self._sigmas, k - 1, y)
        x_0_hat = self._estimate(y, self._times[k], condition)
        slope = (y - x_0_hat) / sigma
        moved = y + (after - sigma) * slope
        if (k > 1).any():
            t = self.schedule.times[k - 1].clamp(min=1)
            x_0_after = self._estimate(moved, t, condition)
            corrected = y + (after - sigma) * (slope + (moved - x_0_after) / after) / 2
            moved = torch.where(after > 0, corrected, moved)
        signal = at(self._signal, k - 1, y)
        log_var = 2 * at((self._signal * self._noise).log(), k - 1, y)
        return Denoised(Gaussian(signal * moved, log_var), x_0_hat)

    def is_certain(self, k: int, /) -> bool:
        """Whether no noise raises the next level."""
        return not self._noise[k - 1] > 0

    def _estimate(self, y: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """x_0_hat of y = x_0 + sigma eps at the level of time t."""
        signal = at(self.denoise.whole.alphas_bar.sqrt(), t, y)
        return self.denoise.estimate(signal * y, t, condition)
