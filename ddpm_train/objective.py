"""What training minimises: the rows of the paper's Table 2."""

import math
from collections.abc import Callable

from torch import Tensor

from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import bound_term, q_posterior, q_sample
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule

Loss = Callable[[Denoiser, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _bound(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """L: the term of the bound at t in bits/dim (Eq. 5), without clipping."""
    p = denoise.read(output, x_t, t, clip=False).p
    return bound_term(denoise.schedule, x_0, x_t, t, p) / math.log(2)


def _simple(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """L_simple: the squared error of the predicted noise (Eq. 14)."""
    return (output - eps).square()


def _mse(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """The squared error of the predicted posterior mean (Table 2, second row block)."""
    return (output - q_posterior(denoise.schedule, x_0, x_t, t).mean).square()


LOSSES: dict[str, Loss] = {"L": _bound, "L_simple": _simple, "mse": _mse}
FITS = {"L_simple": "eps", "mse": "mu_tilde"}  # which prediction a squared error is of


class Objective:
    """The loss of one image at one random t."""

    def __init__(self, config: ObjectiveConfig, denoise: Denoiser) -> None:
        check(config, denoise.schedule)
        self.denoise, self._loss = denoise, LOSSES[config.loss]

    def noisy(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """What the network is shown, x_t."""
        return q_sample(self.denoise.schedule, x_0, t, eps)

    def loss(self, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """The mean over the dimensions of each image, [B]."""
        loss = self._loss(self.denoise, output.to(x_0.dtype), x_0, x_t, t, eps)
        return loss.flatten(1).mean(1)


def check(config: ObjectiveConfig, schedule: NoiseSchedule) -> None:
    """Refuse combinations that mean nothing.

    Raises:
        FixableError: The settings contradict each other.
    """
    fits = FITS.get(config.loss, config.prediction)
    if fits != config.prediction:
        other = next(loss for loss, prediction in FITS.items() if prediction == config.prediction)
        raise FixableError(
            f"objective.loss={config.loss} is the error of {fits}, not of {config.prediction}",
            f"set objective.prediction={fits}, or objective.loss={other} or L",
        )
    if config.learns_variance and config.loss != "L":
        raise FixableError(
            f"objective.loss={config.loss} does not train a learned variance",
            "set objective.loss=L, or objective.variance=fixedlarge or fixedsmall",
        )
    if config.prediction == "eps" and schedule.alphas_bar[-1] == 0:
        raise FixableError(
            "this schedule leaves no signal at T, so eps there does not tell x_0",
            "set objective.prediction=mu_tilde, or another schedule.kind",
        )
