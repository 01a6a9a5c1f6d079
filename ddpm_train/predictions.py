"""What a network predicts: one entry each in ``PREDICTIONS``.

An entry turns the output into x_0_hat and eps_hat, both a function of the other by

    x_t = sqrt(alpha-bar_t) x_0 + sqrt(1 - alpha-bar_t) eps,

and has the target of training, a perfect network's output. All else follows from x_0_hat.
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
from ddpm_train.schedule import NoiseSchedule

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
    """

    x_0: Estimate
    eps: Estimate
    target: Callable[[NoiseSchedule, Tensor, Tensor, Tensor, Tensor], Tensor]
    is_mean: bool = False


def _same(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, output: Tensor) -> Tensor:
    return output


def _eps_from_mean(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, mean: Tensor) -> Tensor:
    return eps_from_x_0(schedule, x_t, t, x_0_from_mean(schedule, x_t, t, mean))


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
    "mu_tilde": Prediction(
        x_0=x_0_from_mean,
        eps=_eps_from_mean,
        target=lambda schedule, x_0, x_t, t, eps: q_posterior(schedule, x_0, x_t, t).mean,
        is_mean=True,
    ),
}
