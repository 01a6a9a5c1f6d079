"""The reverse process p(x_{t-1} | x_t) of a network trained with an objective.

The one place where prediction and variance are a choice; beyond it they are a function and a table.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from ddpm_train.config import ObjectiveConfig
from ddpm_train.diffusion import Gaussian, q_posterior
from ddpm_train.predictions import PREDICTIONS
from ddpm_train.schedule import NoiseSchedule, at, respace
from ddpm_train.settings import entry
from ddpm_train.variances import ERRORS, LEARNED, isotropic


class Network(Protocol):
    """Anything that maps x_t [B, C, H, W] and the paper's t [B] to an output [B, C or 2C, H, W].

    ``t`` may lie on the CPU while the images lie on an accelerator. ``condition`` holds the class
    label of each image, [B] int64. A network without classes is never called with one, so it need
    not take the third argument.
    """

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None, /) -> Tensor:
        """Evaluate."""


class Denoised(NamedTuple):
    """The estimates of one evaluation of the network."""

    p: Gaussian  # p(x_{t-1} | x_t)
    x_0_hat: Tensor  # the clean image, clipped to [-1, 1] where clipping is on


class Denoiser:
    """p(x_{t-1} | x_t) for a network trained with an objective.

    A process that is seen at some of its times only has rows k = 1..K, whose paper's t is
    ``schedule.times[k]``; of the whole process k is t. The network and its prediction belong to
    the whole process, the posterior and the variance to the rows.

    >>> import math, torch
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
        *,
        whole: NoiseSchedule | None = None,
    ) -> None:
        """Read the outputs of a network.

        Args:
            network: Evaluates x_t at the paper's t.
            schedule: The process whose steps are taken.
            objective: What the network was trained for.
            errors: The mean squared error of x_0_hat for every t [T+1], needed where the variance
                is the best that follows from it.
            whole: The process that it was trained on, where ``schedule`` has some of its times.
        """
        self.network, self.schedule, self.objective = network, schedule, objective
        self.whole = whole or schedule
        self.prediction = entry(PREDICTIONS, objective.prediction, "objective.prediction")
        self.calibrate(errors)

    def calibrate(self, errors: Tensor | None) -> None:
        """Take the errors of x_0_hat, and the variance where it follows from them."""
        self.errors = errors
        self.log_variances = isotropic(self.schedule, self.objective, errors)

    def __call__(
        self, x_t: Tensor, k: Tensor, *, clip: bool = True, condition: Tensor | None = None
    ) -> Denoised:
        """Evaluate the network at x_t and read its output.

        Args:
            x_t: Noisy images, [B, C, H, W].
            k: Rows of the schedule's tables, [B]. Keep k on the CPU, where the tables lie: then
                nothing synchronises with an accelerator.
            clip: Keep x_0_hat inside [-1, 1].
            condition: Class labels, [B]; None for a network without classes.
        """
        return self.read(self.evaluate(x_t, k, condition), x_t, k, clip=clip)

    def evaluate(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate the network at the paper's times of the rows k, [B, C or 2C, H, W]."""
        return self._evaluate(x_t, self._times(k), condition)

    def estimate(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Estimate x_0 at the paper's times t, rows or not; nothing is clipped, [B, C, H, W]."""
        predicted = self._predicted(self._evaluate(x_t, t, condition), x_t)
        return self.prediction.x_0(self.whole, x_t, t, predicted)

    def read(self, output: Tensor, x_t: Tensor, k: Tensor, *, clip: bool) -> Denoised:
        """Turn an output into p(x_{t-1} | x_t) and x_0_hat, in the precision of ``x_t``."""
        output = output.to(x_t.dtype)
        x_0 = self.x_0_hat(output, x_t, k, clip=False)
        x_0_hat = x_0.clamp(-1, 1) if clip else x_0
        if not self.prediction.is_mean:
            mean = q_posterior(self.schedule, x_0_hat, x_t, k).mean
        elif self.schedule is self.whole:
            mean = self._predicted(output, x_t)
        else:
            mean = q_posterior(self.schedule, x_0, x_t, k).mean
        return Denoised(Gaussian(mean, self._log_var(output, x_t, k)), x_0_hat)

    def x_0_hat(self, output: Tensor, x_t: Tensor, k: Tensor, *, clip: bool) -> Tensor:
        """Turn an output into the clean image that it implies, [B, C, H, W]."""
        predicted = self._predicted(output, x_t)
        x_0_hat = self.prediction.x_0(self.whole, x_t, self._times(k), predicted)
        return x_0_hat.clamp(-1, 1) if clip else x_0_hat

    def eps_hat(self, output: Tensor, x_t: Tensor, k: Tensor) -> Tensor:
        """Turn an output into the noise that it implies, nothing clipped, [B, C, H, W]."""
        predicted = self._predicted(output, x_t)
        return self.prediction.eps(self.whole, x_t, self._times(k), predicted)

    def pixel_errors(self, output: Tensor, k: Tensor) -> Tensor:
        """The mean square that a network of learned variances expects to miss of x_0 in each pixel.

        Where the variance of a step is the best one, sigma^2 = beta-tilde + c_0^2 M: M of every
        pixel, [B, C, H, W] float64; not above 0 everywhere.
        """
        learned = ERRORS[self.objective.variance]
        return learned(self.schedule, output.chunk(2, dim=1)[1], k)

    def respaced(self, times: Sequence[int]) -> "Denoiser":
        """p(x_s | x_t) between some of the times, the network's only ones.

        The variance is fixedlarge, fixedsmall or between them (``learned_range``) by the respaced
        betas, or the best of the longer steps by the same errors (``optimal``). A predicted mean of
        x_{t-1} implies x_0_hat, which implies the mean of x_s.

        Args:
            times: Rising, among the schedule's times. All of them give this denoiser itself.
        """
        all_times = self.schedule.times.tolist()
        rows = [all_times.index(t) for t in times]
        if len(rows) == self.schedule.T:
            return self
        short = respace(self.schedule, rows)
        errors = None if self.errors is None else self.errors[[0, *rows]]
        return Denoiser(self.network, short, self.objective, errors, whole=self.whole)

    def _evaluate(self, x_t: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        x = self.prediction.scaled(self.whole, x_t, t)
        return self.network(x, t) if condition is None else self.network(x, t, condition)

    def _times(self, k: Tensor) -> Tensor:
        return self.schedule.times[k.to(self.schedule.times.device)]

    def _predicted(self, output: Tensor, x_t: Tensor) -> Tensor:
        """The part of an output that is no variance."""
        output = output.to(x_t.dtype)
        return output.chunk(2, dim=1)[0] if self.objective.learns_variance else output

    def _log_var(self, output: Tensor, x_t: Tensor, k: Tensor) -> Tensor:
        if self.log_variances is not None:
            return at(self.log_variances, k, x_t)
        learned = LEARNED[self.objective.variance]
        return learned(self.schedule, output.chunk(2, dim=1)[1], k)
