"""What training minimises: the rows of the paper's Table 2."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import Gaussian, bound_term, decoder_nll, q_sample
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule

SHARE_OF_L = 0.001  # in the hybrid objective
Loss = Callable[[Denoiser, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _bound(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """L: the term of the bound at t in bits/dim (Eq. 5), without clipping.

    Where the variance follows from the errors, p(x_0 | x_1) is close to its density over a bin, and
    the density has a gradient however far a pixel lies off.
    """
    p = denoise.read(output, x_t, t, clip=False).p
    decoder = density_nll if denoise.objective.variance == "optimal" else decoder_nll
    return bound_term(denoise.schedule, x_0, x_t, t, p, decoder=decoder) / math.log(2)


def density_nll(x_0: Tensor, p: Gaussian) -> Tensor:
    """The density of p in place of its mass over a bin of 2/255, nats, elementwise.

    >>> p = Gaussian(torch.tensor(0.3), torch.tensor(-4.0))
    >>> level = torch.tensor(170 / 127.5 - 1)
    >>> f"{density_nll(level, p):.3f} {decoder_nll(level, p):.3f}"
    '3.797 3.798'
    """
    square = (x_0 - p.mean).square() * (-p.log_var).exp()
    return 0.5 * (square + p.log_var + math.log(2 * math.pi)) - math.log(2 / 255)


def _hybrid(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """The squared error + 0.001 L, L all T terms, which moves the variance alone.

    (Nichol and Dhariwal 2021, with L_simple.)
    """
    predicted, raw = output.chunk(2, dim=1)
    terms = _bound(denoise, torch.cat([predicted.detach(), raw], 1), x_0, x_t, t, eps)
    squares = _mse(denoise, predicted, x_0, x_t, t, eps)
    return squares + SHARE_OF_L * denoise.schedule.T * terms


def _simple(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """L_simple: the squared error of the predicted noise (Eq. 14)."""
    return (output - eps).square()


def _mse(
    denoise: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """The squared error of what is predicted (mu-tilde: Table 2, second row block)."""
    return (output - denoise.prediction.target(denoise.schedule, x_0, x_t, t, eps)).square()


LOSSES: dict[str, Loss] = {"L": _bound, "L_simple": _simple, "mse": _mse, "hybrid": _hybrid}
LEARN = ("L", "hybrid")  # what trains a learned variance


class Objective:
    """The loss of one image at one random t."""

    def __init__(self, config: ObjectiveConfig, denoise: Denoiser) -> None:
        check(config, denoise.schedule)
        self.denoise, self._loss = denoise, LOSSES[config.loss]

    def noisy(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Draw the network's input x_t ~ q(x_t | x_0), [B, C, H, W]."""
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
    squared = "L_simple" if config.prediction == "eps" else "mse"
    if config.loss in ("L_simple", "mse") and config.loss != squared:
        raise FixableError(
            f"objective.loss={config.loss} is not the error of {config.prediction}",
            f"set objective.loss={squared} or L, or another objective.prediction",
        )
    if config.loss == "hybrid" and not config.learns_variance:
        raise FixableError(
            f"objective.loss=hybrid trains a variance, and {config.variance} has nothing to learn",
            "set objective.variance=learned_range, or objective.loss=L_simple",
        )
    if config.learns_variance and config.loss not in LEARN:
        raise FixableError(
            f"objective.loss={config.loss} does not train a learned variance",
            "set objective.loss=L or hybrid, or objective.variance=fixedlarge or fixedsmall",
        )
    if config.prediction == "eps" and schedule.alphas_bar[-1] == 0:
        raise FixableError(
            "this schedule leaves no signal at T, so eps_hat implies no x_0_hat there",
            "set objective.prediction=v, x_0 or mu_tilde, or another schedule.kind",
        )
