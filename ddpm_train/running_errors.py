"""The mean squared error of x_0_hat at every t, learned from the errors that training meets.

The best isotropic variance (``variances.optimal``) and the times that are worth drawing (``times``)
both follow from it. It is part of the run's state and stands in its checkpoints.
"""

import torch
from torch import Tensor

from ddpm_train.schedule import NoiseSchedule

WIDTH = 0.1  # of the kernel, in nats of the signal-to-noise ratio
REACH = 4.0  # widths, beyond which the kernel is 0
SHORT = 20.0  # steps that are remembered at first
SHARE = 0.1  # of all steps, remembered later on


class RunningErrors:
    """A moving average of squared errors over training, smoothed over the signal-to-noise ratio.

    It begins with 1 / (4 + SNR_t), the error for white noise of variance 1/4. What is smoothed are
    quotients by that curve, which have little slope.

    Attributes:
        errors: The mean squared error of x_0_hat, [T+1] float64; row 0 is not used.
        weights: How many draws each row rests on, the older ones partly forgotten, [T+1].

    >>> from ddpm_train.schedule import from_betas, linear
    >>> running = RunningErrors(from_betas(linear(1000, 1e-4, 0.02)))
    >>> f"{running.errors[1000]:.3f}"
    '0.250'
    >>> for step in range(100):
    ...     running.update(step, torch.tensor([1000, 1]), torch.tensor([0.5, 2e-5]))
    >>> f"{running.errors[1000]:.3f} {running.errors[1]:.1e}"
    '0.500 2.0e-05'
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        bar = schedule.alphas_bar
        self._log_snr = (bar / (1 - bar)).log()
        self._prior = 1 / (4 + self._log_snr.exp())
        self.errors = self._prior.clone()
        self.weights = torch.ones_like(bar)

    def update(self, step: int, t: Tensor, errors: Tensor) -> None:
        """Take in the errors of one step's images.

        Args:
            step: Steps before this one.
            t: The times of the global batch, [B] on the CPU.
            errors: The squared error of x_0_hat of each image, mean over dimensions, [B].
        """
        moved = (errors.double().cpu() / self._prior[t])[:, None] * self._prior
        distance = (self._log_snr[t][:, None] - self._log_snr).div_(WIDTH)
        kernel = (-0.5 * distance.square()).exp_().masked_fill_(distance.abs() > REACH, 0)
        self.weights *= 1 - 1 / (SHORT + SHARE * step)
        self.weights += kernel.sum(0)
        kernel *= moved - self.errors
        self.errors = self.errors + kernel.sum(0) / self.weights.clamp(min=1e-12)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs; ``errors`` is what evaluation reads."""
        return {"errors": self.errors, "weights": self.weights.clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        self.errors, self.weights = state["errors"].clone(), state["weights"].clone()
