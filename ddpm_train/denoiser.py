"""The reverse process p(x_{t-1} | x_t): how a network's output is read.

The one place where prediction and variance are a choice; beyond it they are a function and a table.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from ddpm_train.config import ObjectiveConfig
from ddpm_train.diffusion import (
    Gaussian,
    posterior_coefficients,
    q_posterior,
    x_0_from_eps,
    x_0_from_mean,
)
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule, at


class Network(Protocol):
    """Anything that maps x_t [B, C, H, W] and the paper's t [B] to an output [B, C or 2C, H, W].

    ``t`` may lie on the CPU while the images lie on an accelerator.
    """

    def __call__(self, x: Tensor, t: Tensor, /) -> Tensor:
        """Evaluate."""


class Denoised(NamedTuple):
    """What one evaluation of the network says."""

    p: Gaussian  # p(x_{t-1} | x_t)
    x_0_hat: Tensor  # the clean image, clipped to [-1, 1] where clipping is on


def _read_eps(
    schedule: NoiseSchedule, out: Tensor, x_t: Tensor, t: Tensor, bound: float
) -> tuple[Tensor, Tensor]:
    """Noise -> x_0_hat -> posterior mean. Clipping acts on the mean too."""
    x_0_hat = x_0_from_eps(schedule, x_t, t, out).clamp(-bound, bound)
    return q_posterior(schedule, x_0_hat, x_t, t).mean, x_0_hat


def _read_mu_tilde(
    schedule: NoiseSchedule, out: Tensor, x_t: Tensor, t: Tensor, bound: float
) -> tuple[Tensor, Tensor]:
    """The output is the mean. Clipping acts on x_0_hat alone, as in the original."""
    return out, x_0_from_mean(schedule, x_t, t, out).clamp(-bound, bound)


Read = Callable[[NoiseSchedule, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
PREDICTIONS: dict[str, Read] = {"eps": _read_eps, "mu_tilde": _read_mu_tilde}


def fixed_small(schedule: NoiseSchedule) -> Tensor:
    """The table log sigma^2_t = log beta-tilde_t, row 1 (there 0) taken from row 2, [T+1]."""
    variances = schedule.posterior_variances.clone()
    variances[1] = variances[min(2, schedule.T)]  # of a single step it is not used
    return variances.log()


def fixed_large(schedule: NoiseSchedule) -> Tensor:
    """The table log sigma^2_t = log beta_t, row 1 as in ``fixed_small``, [T+1]."""
    log_variances = schedule.betas.log()
    log_variances[:2] = fixed_small(schedule)[:2]
    return log_variances


def optimal(schedule: NoiseSchedule, errors: Tensor) -> Tensor:
    """The table log sigma*^2_t of the best isotropic variance (Bao et al. 2022), [T+1].

        sigma*^2_t = beta-tilde_t + c_0^2 E (x_0 - x_0_hat)^2

    It minimises the expected KL of every step; at t = 1 it is the error itself.

    Args:
        schedule: The forward process.
        errors: The mean squared error per dimension when x_0 is estimated from x_t, float64 [T+1];
            row 0 is not used.
    """
    c_0 = posterior_coefficients(schedule)[0]
    return (schedule.posterior_variances + c_0.square() * errors).log()


VARIANCES: dict[str, Callable[[NoiseSchedule], Tensor]] = {
    "fixedsmall": fixed_small,
    "fixedlarge": fixed_large,
}
"""Fixed variances of section 3.2, as tables."""


def isotropic(
    schedule: NoiseSchedule, objective: ObjectiveConfig, errors: Tensor | None
) -> Tensor | None:
    """The table log sigma^2_t of a variance that is one, [T+1]; None where the network tells it.

    Raises:
        FixableError: The best variance is wanted and the errors that it follows from are missing.
    """
    if objective.variance == "optimal":
        if errors is None:
            raise FixableError(
                "objective.variance=optimal: there is no table of errors with these weights",
                "use a checkpoint of such a run, or set objective.variance=fixedsmall",
            )
        return optimal(schedule, errors)
    fixed = VARIANCES.get(objective.variance)
    return None if fixed is None else fixed(schedule)


def raw(schedule: NoiseSchedule, out: Tensor, t: Tensor) -> Tensor:
    """The output is log sigma^2 (the paper's Table 2)."""
    return out


def in_range(schedule: NoiseSchedule, out: Tensor, t: Tensor) -> Tensor:
    """The output says where log sigma^2 lies between its bounds (Nichol and Dhariwal, Eq. 15).

    log sigma^2 = w log beta_t + (1 - w) log beta-tilde_t,   w = (out + 1) / 2
    """
    small, large = at(fixed_small(schedule), t, out), at(schedule.betas.log(), t, out)
    return small + (out + 1) / 2 * (large - small)


LEARNED: dict[str, Callable[[NoiseSchedule, Tensor, Tensor], Tensor]] = {
    "learned": raw,
    "learned_range": in_range,
}
"""Variances that the second half of the network's output tells."""


class Denoiser:
    """p(x_{t-1} | x_t) for a network trained with an objective.

    ``errors`` is the mean squared error of x_0_hat for every t [T+1], needed where the variance is
    the best that follows from it.

    >>> import torch
    >>> from ddpm_train.schedule import from_betas, linear
    >>> process = from_betas(linear(1000, 1e-4, 0.02))
    >>> denoise = Denoiser(lambda x, t: 0 * x, process, ObjectiveConfig())
    >>> p, x_0_hat = denoise(torch.ones(1, 1, 2, 2), torch.tensor([1]))
    >>> f"{127.5 * math.exp(0.5 * p.log_var.item()):.2f}"  # sigma_1 in grey levels
    '0.94'
    """

    def __init__(
        self,
        network: Network,
        schedule: NoiseSchedule,
        objective: ObjectiveConfig,
        errors: Tensor | None = None,
    ) -> None:
        self.network, self.schedule, self.objective = network, schedule, objective
        self._read = PREDICTIONS[objective.prediction]
        self._learned = LEARNED.get(objective.variance, raw)
        self.calibrate(errors)

    def calibrate(self, errors: Tensor | None) -> None:
        """Take the errors of x_0_hat, and the variance where it follows from them."""
        self.errors = errors
        self.log_variances = isotropic(self.schedule, self.objective, errors)

    def __call__(self, x_t: Tensor, t: Tensor, *, clip: bool = True) -> Denoised:
        """Evaluate the network at x_t and read its output.

        Args:
            x_t: Noisy images, [B, C, H, W].
            t: Steps in 1..T, [B]: rows of the schedule's tables, whose ``times`` the network is
                told. Tables lie on the CPU: a t that lies there costs no synchronisation with an
                accelerator.
            clip: Keep x_0_hat inside [-1, 1].
        """
        times = self.schedule.times[t.to(self.schedule.times.device)]
        output = self.network(x_t, times)
        return self.read(output, x_t, t, clip=clip)

    def is_certain(self, row: int) -> bool:
        """Whether a step has no variance, so that the chain need not draw noise for it."""
        return False

    def read(self, output: Tensor, x_t: Tensor, t: Tensor, *, clip: bool) -> Denoised:
        """Read an output, in the precision of ``x_t``."""
        output = output.to(x_t.dtype)
        if self.log_variances is None:
            output, told = output.chunk(2, dim=1)
            log_var = self._learned(self.schedule, told, t)
        else:
            log_var = at(self.log_variances, t, x_t)
        mean, x_0_hat = self._read(self.schedule, output, x_t, t, 1.0 if clip else math.inf)
        return Denoised(Gaussian(mean, log_var), x_0_hat)
