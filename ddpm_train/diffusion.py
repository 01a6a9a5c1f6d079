"""The equations of Ho et al. (2020), one function each. Every logarithm is natural (nats).

The variational bound (Eq. 5) is L_T + L_{T-1} + ... + L_0: ``prior_kl``, then for t = T..2 the
``kl`` between ``q_posterior`` and p(x_{t-1} | x_t), then at t = 1 the ``decoder_nll``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_train.schedule import NoiseSchedule, at


class Gaussian(NamedTuple):
    """A diagonal Gaussian; ``log_var`` broadcasts against ``mean``."""

    mean: Tensor
    log_var: Tensor


def q_sample(schedule: NoiseSchedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Draw x_t ~ q(x_t | x_0) (Eqs. 4 and 9).

        x_t = sqrt(alpha-bar_t) x_0 + sqrt(1 - alpha-bar_t) eps

    Args:
        schedule: The forward process.
        x_0: Images in [-1, 1], [B, C, H, W].
        t: Steps in 0..T, [B].
        eps: Standard normal noise, [B, C, H, W].

    Returns:
        Noisy images x_t, [B, C, H, W].

    >>> from ddpm_train.schedule import from_betas, linear
    >>> process = from_betas(linear(1000, 1e-4, 0.02))
    >>> x_T = q_sample(process, torch.ones(1, 3, 2, 2), torch.tensor([1000]), torch.zeros(1))
    >>> f"{x_T.max():.4f}"  # almost nothing of the image is left
    '0.0064'
    """
    signal = at(schedule.alphas_bar.sqrt(), t, x_0)
    noise = at((1 - schedule.alphas_bar).sqrt(), t, x_0)
    return signal * x_0 + noise * eps


def posterior_coefficients(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """The weights of x_0 and x_t in the posterior mean (Eq. 7), two tables [T+1].

        c_0 = sqrt(alpha-bar_{t-1}) beta_t / (1 - alpha-bar_t)
        c_t = sqrt(alpha_t) (1 - alpha-bar_{t-1}) / (1 - alpha-bar_t)

    At t = 1 they are 1 and 0; row 0 is NaN.
    """
    betas, bar, before = schedule.betas, schedule.alphas_bar, schedule.alphas_bar_before
    return before.sqrt() * betas / (1 - bar), (1 - betas).sqrt() * (1 - before) / (1 - bar)


def q_posterior(schedule: NoiseSchedule, x_0: Tensor, x_t: Tensor, t: Tensor) -> Gaussian:
    """The forward posterior q(x_{t-1} | x_t, x_0) (Eqs. 6 and 7), mean mu-tilde, t in 1..T.

        mu-tilde_t = c_0 x_0 + c_t x_t        beta-tilde_t = beta_t (1 - alpha-bar_{t-1})
                                                             / (1 - alpha-bar_t)

    At t = 1 the posterior is the point x_0: log_var is -inf.
    """
    c_0, c_t = posterior_coefficients(schedule)
    mean = at(c_0, t, x_t) * x_0 + at(c_t, t, x_t) * x_t
    return Gaussian(mean, at(schedule.posterior_variances.log(), t, x_t))


def x_0_from_eps(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Estimate the clean image from the noise in x_t (Eq. 15), the inverse of ``q_sample``.

    x_0_hat = (x_t - sqrt(1 - alpha-bar_t) eps) / sqrt(alpha-bar_t)
    """
    bar = schedule.alphas_bar
    return at(bar.rsqrt(), t, x_t) * x_t - at((1 / bar - 1).sqrt(), t, x_t) * eps


def eps_from_x_0(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
    """Estimate the noise in x_t from the clean image (Eq. 9 solved for eps), t in 1..T.

    eps_hat = (x_t - sqrt(alpha-bar_t) x_0) / sqrt(1 - alpha-bar_t)
    """
    bar = schedule.alphas_bar
    return at((1 - bar).rsqrt(), t, x_t) * x_t - at((1 / bar - 1).rsqrt(), t, x_t) * x_0


def v_from_eps(schedule: NoiseSchedule, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The velocity of x_t on its arc from x_0 to eps (Salimans and Ho 2022, appendix D).

    v = sqrt(alpha-bar_t) eps - sqrt(1 - alpha-bar_t) x_0
    """
    bar = schedule.alphas_bar
    return at(bar.sqrt(), t, x_0) * eps - at((1 - bar).sqrt(), t, x_0) * x_0


def x_0_from_v(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """Estimate the clean image from the velocity.

    x_0_hat = sqrt(alpha-bar_t) x_t - sqrt(1 - alpha-bar_t) v
    """
    bar = schedule.alphas_bar
    return at(bar.sqrt(), t, x_t) * x_t - at((1 - bar).sqrt(), t, x_t) * v


def eps_from_v(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """Estimate the noise from the velocity.

    eps_hat = sqrt(1 - alpha-bar_t) x_t + sqrt(alpha-bar_t) v
    """
    bar = schedule.alphas_bar
    return at((1 - bar).sqrt(), t, x_t) * x_t + at(bar.sqrt(), t, x_t) * v


def x_0_from_mean(schedule: NoiseSchedule, x_t: Tensor, t: Tensor, mean: Tensor) -> Tensor:
    """Estimate the clean image from the mean of x_{t-1} (Eq. 7 solved for x_0).

    x_0_hat = (mean - c_t x_t) / c_0
    """
    c_0, c_t = posterior_coefficients(schedule)
    return at(1 / c_0, t, x_t) * mean - at(c_t / c_0, t, x_t) * x_t


def kl(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p || q) of diagonal Gaussians (Eq. 8 is its part that moves with the mean), elementwise.

    >>> one, wide = torch.tensor(0.0), torch.tensor(4.0).log()
    >>> f"{kl(Gaussian(one, one), Gaussian(one + 1, wide)):.4f}"  # ln 2 - 3/8 + 1/8
    '0.4431'
    """
    gap = p.log_var - q.log_var
    return 0.5 * ((p.mean - q.mean).square() * (-q.log_var).exp() + gap.exp() - 1 - gap)


def step_kl(schedule: NoiseSchedule, t: Tensor, error: Tensor, log_variances: Tensor) -> Tensor:
    """L_{t-1} (Eq. 8) of a step with an isotropic variance, nats per dimension, t in 2..T.

    The means of q(x_{t-1} | x_t, x_0) and p(x_{t-1} | x_t) differ by c_0 (x_0 - x_0_hat), so the
    mean over dimensions depends on the squared error alone: one error gives every variance's term.

    Args:
        schedule: The forward process.
        t: Steps in 2..T, [...].
        error: The mean of (x_0 - x_0_hat)^2 over dimensions, float64 [...].
        log_variances: The table log sigma^2_t of p, [T+1].
    """
    c_0 = posterior_coefficients(schedule)[0]
    q = Gaussian(c_0[t] * error.sqrt(), schedule.posterior_variances.log()[t])
    return kl(q, Gaussian(torch.zeros_like(error), log_variances[t]))


def prior_kl(schedule: NoiseSchedule, x_0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)) (Eq. 5), elementwise."""
    bar = schedule.alphas_bar[-1]
    x_T = Gaussian(bar.sqrt().to(x_0) * x_0, torch.log1p(-bar).to(x_0))
    zero = torch.zeros((), dtype=x_0.dtype, device=x_0.device)
    return kl(x_T, Gaussian(zero, zero))


def tanh_cdf(z: Tensor) -> Tensor:
    """The original's approximation of the normal CDF, within 4e-4 of it.

    >>> f"{tanh_cdf(torch.tensor(1.0)):.4f} {torch.special.ndtr(torch.tensor(1.0)):.4f}"
    '0.8412 0.8413'
    """
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def decoder_nll(x_0: Tensor, p: Gaussian, *, cdf: Callable[[Tensor], Tensor] = tanh_cdf) -> Tensor:
    """L_0 = -log p(x_0 | x_1): the mass of p in the bin of each of 256 levels (Eq. 13).

    The bins of -1 and 1 are open to the outside; probabilities are floored at 1e-12.

    Args:
        x_0: Images in [-1, 1] on the 256 levels k/127.5 - 1, [B, C, H, W].
        p: p(x_0 | x_1).
        cdf: The normal CDF: the original's ``tanh_cdf``, or ``torch.special.ndtr`` (exact).

    Returns:
        Nats, elementwise.

    >>> p = Gaussian(torch.tensor(0.3), torch.tensor(-4.0))
    >>> levels = torch.arange(256) / 127.5 - 1
    >>> f"{(-decoder_nll(levels, p)).exp().sum():.5f}"  # a distribution
    '1.00000'
    """
    scale = (-0.5 * p.log_var).exp()
    upper, lower = cdf(scale * (x_0 - p.mean + 1 / 255)), cdf(scale * (x_0 - p.mean - 1 / 255))
    upper = torch.where(x_0 > 0.999, torch.ones_like(upper), upper)
    lower = torch.where(x_0 < -0.999, torch.zeros_like(lower), lower)
    return -(upper - lower).clamp(min=1e-12).log()


def bound_term(
    schedule: NoiseSchedule,
    x_0: Tensor,
    x_t: Tensor,
    t: Tensor,
    p: Gaussian,
    *,
    decoder: Callable[[Tensor, Gaussian], Tensor] = decoder_nll,
) -> Tensor:
    """L_{t-1} (Eq. 5): the cost of x_{t-1} under p once x_t is known, nats, elementwise.

    KL(q(x_{t-1} | x_t, x_0) || p) for t > 1, the decoder's code length at t = 1.
    """
    first = (t == 1).to(x_t.device).view(-1, *[1] * (x_t.ndim - 1))
    zero = torch.zeros_like(p.log_var)  # what is not chosen below must not overflow either
    q = q_posterior(schedule, x_0, x_t, t)
    step = kl(
        Gaussian(q.mean, q.log_var.masked_fill(first, 0)),
        Gaussian(p.mean, torch.where(first, zero, p.log_var)),
    )
    last = decoder(x_0, Gaussian(p.mean, torch.where(first, p.log_var, zero)))
    return torch.where(first, last, step)
