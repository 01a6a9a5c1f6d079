"""What a network predicts: one entry each in ``PREDICTIONS``.

An entry turns the output into x_0_hat and eps_hat, both a function of the other by

    x_t = sqrt(alpha-bar_t) x_0 + sqrt(1 - alpha-bar_t) eps,

and has the target of training, a perfect network's output. All else follows from x_0_hat.

``edm`` and ``ve`` are the preconditionings of Karras et al. (2022, Table 1), whose networks see
y = x_t / sqrt(alpha-bar_t) = x_0 + sigma eps, scaled; sigma^2 = (1 - alpha-bar_t) / alpha-bar_t.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ddpm_train.diffusion import (
    eps_from_v,
    eps_from_x_0,
    q_posterior,
    v_from_eps,
    x_0_from_eps,
    x_0_from_mean,
    x_0_from_v,
)
from ddpm_train.schedule import NoiseSchedule, at

SIGMA_DATA = 0.5  # the deviation of images in [-1, 1] that EDM assumes
Estimate = Callable[[NoiseSchedule, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The meaning of a network's output. Each function takes the schedule, x_t and t.

    Attributes:
        x_0: x_0_hat of (schedule, x_t, t, output).
        eps: eps_hat of (schedule, x_t, t, output).
        target: The output of a perfect network, of (schedule, x_0, x_t, t, eps).
        is_mean: Whether the output itself is the mean of x_{t-1}. Clipping then acts on x_0_hat
            alone, as in the original.
        scale: What multiplies x_t where the network takes it, a table over t; None: 1.
    """

    x_0: Estimate
    eps: Estimate
    target: Callable[[NoiseSchedule, Tensor, Tensor, Tensor, Tensor], Tensor]
    is_mean: bool = False
    scale: Callable[[NoiseSchedule], Tensor] | None = None

    def scaled(self, schedule: NoiseSchedule, x_t: Tensor, t: Tensor) -> Tensor:
        """Give x_t as the network takes it."""
        return x_t if self.scale is None else at(self.scale(schedule), t, x_t) * x_t


def _same(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
    return output


def _eps_from_mean(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, mean: Tensor) -> Tensor:
    return eps_from_x_0(schedule, x_t, t, x_0_from_mean(schedule, x_t, t, mean))


def _variances(schedule: NoiseSchedule) -> Tensor:
    """The variance of x_t whose image has EDM's deviation, a table over t."""
    return 1 - schedule.alphas_bar + SIGMA_DATA**2 * schedule.alphas_bar


def _edm_parts(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """c_skip sqrt(1 / alpha-bar) and c_out: x_0_hat = the first x_t + the second output."""
    bar, variances = schedule.alphas_bar, _variances(schedule)
    skip = SIGMA_DATA**2 * bar.sqrt() / variances
    return skip, SIGMA_DATA * ((1 - bar) / variances).sqrt()


def _x_0_from_edm(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
    skip, out = _edm_parts(schedule)
    return at(skip, t, x_t) * x_t + at(out, t, x_t) * output


def _eps_from_edm(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
    return eps_from_x_0(schedule, x_t, t, _x_0_from_edm(schedule, x_t, t, output))


def _edm_from_x_0(
    schedule: NoiseSchedule, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor
) -> Tensor:
    """(x_0 - c_skip y) / c_out = the difference of sd eps and sigma x_0 / sd, over its deviation.

    Written without the difference, which loses digits where c_out is small.
    """
    bar, variances = schedule.alphas_bar, _variances(schedule)
    of_x_0 = ((1 - bar) / variances).sqrt() / SIGMA_DATA
    of_eps = SIGMA_DATA * (bar / variances).sqrt()
    return at(of_x_0, t, x_t) * x_0 - at(of_eps, t, x_t) * eps


PREDICTIONS: dict[str, Prediction] = {
    "eps": Prediction(
        x_0=x_0_from_eps,
        eps=_same,
        target=lambda schedule, x_0, x_t, t, eps: eps,
    ),
    "x_0": Prediction(
        x_0=_same,
        eps=eps_from_x_0,
        target=lambda schedule, x_0, x_t, t, eps: x_0,
    ),
    "v": Prediction(
        x_0=x_0_from_v,
        eps=eps_from_v,
        target=lambda schedule, x_0, x_t, t, eps: v_from_eps(schedule, x_0, t, eps),
    ),
    "score": Prediction(  # of the noisy image, times the deviation of its noise
        x_0=lambda schedule, x_t, t, output: x_0_from_eps(schedule, x_t, t, -output),
        eps=lambda schedule, x_t, t, output: -output,
        target=lambda schedule, x_0, x_t, t, eps: -eps,
    ),
    "edm": Prediction(  # EDM's F; x_0_hat = c_skip y + c_out F
        x_0=_x_0_from_edm,
        eps=_eps_from_edm,
        target=_edm_from_x_0,
        scale=lambda schedule: _variances(schedule).rsqrt(),
    ),
    "ve": Prediction(  # -eps, of an image whose noise is added unscaled
        x_0=lambda schedule, x_t, t, output: x_0_from_eps(schedule, x_t, t, -output),
        eps=lambda schedule, x_t, t, output: -output,
        target=lambda schedule, x_0, x_t, t, eps: -eps,
        scale=lambda schedule: schedule.alphas_bar.rsqrt(),
    ),
    "mu_tilde": Prediction(
        x_0=x_0_from_mean,
        eps=_eps_from_mean,
        target=lambda schedule, x_0, x_t, t, eps: q_posterior(schedule, x_0, x_t, t).mean,
        is_mean=True,
    ),
}
