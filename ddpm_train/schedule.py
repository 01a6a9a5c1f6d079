"""The forward process as tables over time.

Notation (Ho et al. 2020, section 2), used in every module:

    t           the paper's step, 1..T; t = 0 is clean data
    betas       beta_t       table [T+1] float64, betas[0] = 0
    alphas_bar  alpha-bar_t  table [T+1] float64, alphas_bar[0] = 1
    x_0, x_t    an image in [-1, 1] and the same image after t steps of noise
    x_0_hat     the network's estimate of x_0 from x_t
    eps         the standard normal noise inside x_t; eps_hat is its estimate

A plural name is a table over t; a name ending in ``_t`` is its value for each image. Tables have
T+1 rows so that ``betas[t]`` is beta_t: nothing is shifted by one. Row 0 of a quotient that does
not exist there is NaN on purpose. T, B, C, H, W stay capitals.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ddpm_train import settings
from ddpm_train.config import ScheduleConfig
from ddpm_train.errors import FixableError


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The forward process q (Eq. 2) as float64 tables on the CPU.

    ``times`` is the paper's t of each row, 0..T; a respaced process has fewer rows.
    """

    betas: Tensor
    alphas_bar: Tensor
    times: Tensor

    @property
    def T(self) -> int:
        """The number of diffusion steps."""
        return len(self.betas) - 1

    @cached_property
    def alphas_bar_before(self) -> Tensor:
        """alpha-bar_{t-1} in row t; row 0 is NaN."""
        return torch.cat([torch.full((1,), math.nan, dtype=torch.float64), self.alphas_bar[:-1]])

    @cached_property
    def posterior_variances(self) -> Tensor:
        """beta-tilde_t = beta_t (1 - alpha-bar_{t-1}) / (1 - alpha-bar_t) (Eq. 7), 0 at t = 1."""
        return self.betas * (1 - self.alphas_bar_before) / (1 - self.alphas_bar)


def from_betas(betas: Tensor) -> NoiseSchedule:
    """Build the tables from beta_1..beta_T.

    Raises:
        FixableError: A beta lies outside (0, 1], or no signal is left before the last step.

    >>> from_betas(torch.tensor([0.1, 0.2])).alphas_bar
    tensor([1.0000, 0.9000, 0.7200], dtype=torch.float64)
    """
    betas = betas.double()
    if not ((betas > 0) & (betas <= 1)).all() or (betas[:-1] == 1).any():
        raise FixableError(
            f"betas must lie in (0, 1); got {betas.min():.3g} .. {betas.max():.3g}",
            "change schedule.beta_start, schedule.beta_end or schedule.T",
        )
    betas = torch.cat([torch.zeros(1, dtype=torch.float64), betas])
    return NoiseSchedule(betas, (1 - betas).cumprod(0), torch.arange(len(betas)))


def respace(schedule: NoiseSchedule, times: Sequence[int]) -> NoiseSchedule:
    """The same process seen at some of its times only (Nichol and Dhariwal 2021, section 4).

        beta_k = 1 - alpha-bar_{times[k]} / alpha-bar_{times[k-1]},   times[0] = 0

    Args:
        schedule: The whole process.
        times: Rising, in 1..T.

    >>> whole = from_betas(torch.tensor([0.1, 0.2, 0.5]))
    >>> respace(whole, [1, 3]).betas
    tensor([0.0000, 0.1000, 0.6000], dtype=torch.float64)
    """
    rows = torch.tensor([0, *times])
    if len(rows) == len(schedule.times):
        return schedule
    bar = schedule.alphas_bar[rows]
    betas = torch.cat([torch.zeros(1, dtype=torch.float64), 1 - bar[1:] / bar[:-1]])
    return NoiseSchedule(betas, bar, schedule.times[rows])


def linear(T: int, start: float, end: float) -> Tensor:
    """The paper's schedule: beta_t rises linearly from start to end (section 4).

    >>> schedule = from_betas(linear(1000, 1e-4, 0.02))
    >>> f"{schedule.alphas_bar[1000]:.4e} {schedule.posterior_variances[2]:.4e}"
    '4.0358e-05 5.4532e-05'
    """
    return torch.linspace(start, end, T, dtype=torch.float64)


def linear_rescaled(T: int, start: float, end: float) -> Tensor:
    """The linear schedule with ends 1000/T times as high (improved-diffusion's ``linear``).

    Noise then grows over t/T alike for any T.

    >>> linear_rescaled(4000, 1e-4, 0.02)[[0, -1]]
    tensor([2.5000e-05, 5.0000e-03], dtype=torch.float64)
    """
    return linear(T, start * 1000 / T, end * 1000 / T)


def quad(T: int, start: float, end: float) -> Tensor:
    """sqrt(beta_t) rises linearly."""
    return torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2


def _warmup(T: int, start: float, end: float, fraction: float) -> Tensor:
    betas = torch.full((T,), end, dtype=torch.float64)
    rising = int(T * fraction)
    betas[:rising] = torch.linspace(start, end, rising, dtype=torch.float64)
    return betas


def warmup10(T: int, start: float, end: float) -> Tensor:
    """beta_t rises linearly over the first tenth of the steps, then stays.

    >>> warmup10(20, 0.1, 0.2)[:3]
    tensor([0.1000, 0.2000, 0.2000], dtype=torch.float64)
    """
    return _warmup(T, start, end, 0.1)


def warmup50(T: int, start: float, end: float) -> Tensor:
    """beta_t rises linearly over the first half of the steps, then stays."""
    return _warmup(T, start, end, 0.5)


def const(T: int, start: float, end: float) -> Tensor:
    """beta_t = end throughout; start is not used."""
    return torch.full((T,), end, dtype=torch.float64)


def jsd(T: int, start: float, end: float) -> Tensor:
    """beta_t = 1/(T - t + 1): 1/T, 1/(T-1), ..., 1; the ends are not used.

    >>> jsd(4, 0.0, 0.0)
    tensor([0.2500, 0.3333, 0.5000, 1.0000], dtype=torch.float64)
    """
    return 1 / torch.arange(T, 0, -1, dtype=torch.float64)


def cosine(T: int, start: float, end: float) -> Tensor:
    """alpha-bar follows a squared cosine (Nichol and Dhariwal 2021, Eq. 17), beta_t <= 0.999.

    The ends are not used.
    """
    u = torch.arange(T + 1, dtype=torch.float64) / T
    bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)


def log_snr(T: int, start: float, end: float) -> Tensor:
    """log(alpha-bar_t / (1 - alpha-bar_t)) falls linearly, from log start at t = 1 to log end.

    >>> schedule = from_betas(log_snr(100, 2e4, 1e-4))
    >>> bar = schedule.alphas_bar[[1, 100]]
    >>> bar / (1 - bar)
    tensor([2.0000e+04, 1.0000e-04], dtype=torch.float64)
    """
    line = torch.linspace(math.log(start), math.log(end), T, dtype=torch.float64)
    bar, noise = torch.sigmoid(line), torch.sigmoid(-line)
    # 1 - alpha_t = (noise_t - noise_s) / alpha-bar_s keeps its digits where both noises are small.
    steps = noise.diff() / bar[:-1]
    return torch.cat([noise[:1], steps])


def vp_sde(T: int, start: float, end: float) -> Tensor:
    """alpha-bar of the VP SDE at t / T, whose beta(t / T) / T rises from start to end.

        log alpha-bar_t = - T (start u + (end - start) u^2 / 2),   u = t / T

    What score_sde's continuous VP networks and EDM's VP preconditioning were trained on (Song et
    al. 2021, Eq. 33).

    >>> schedule = from_betas(vp_sde(1000, 1e-4, 0.02))
    >>> f"{-schedule.alphas_bar[1000].log().item():.4f}"
    '10.0500'
    """
    u = torch.arange(T + 1, dtype=torch.float64) / T
    log_bar = -T * (start * u + (end - start) * u**2 / 2)
    return -torch.expm1(log_bar.diff())


SCHEDULES: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": linear,
    "linear_rescaled": linear_rescaled,
    "quad": quad,
    "warmup10": warmup10,
    "warmup50": warmup50,
    "const": const,
    "jsd": jsd,
    "cosine": cosine,
    "log_snr": log_snr,
    "vp_sde": vp_sde,
}


def build(config: ScheduleConfig) -> NoiseSchedule:
    """Turn settings into tables.

    Raises:
        FixableError: A setting is out of range, the betas leave (0, 1], or the signal-to-noise
            ratio does not fall.
    """
    settings.check(config, "schedule.")
    start, end = config.beta_start, config.beta_end
    if config.kind == "log_snr":
        start, end = config.snr_start, config.snr_end
        if start <= end:
            raise FixableError(
                f"schedule.snr_start={start:g}, schedule.snr_end={end:g}: no signal to noise "
                "ratio that falls",
                "choose snr_start > snr_end, such as 1e4 and 1e-4",
            )
    betas = settings.entry(SCHEDULES, config.kind, "schedule.kind")
    return from_betas(betas(config.T, start, end))


def at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Look up ``table[t]`` as one coefficient for each image, [B] -> [B, 1, ..., 1] as ``like``.

    Do the algebra on the float64 table, then look up: ``at((1 - alphas_bar).sqrt(), t, x)``. The
    other order subtracts in float32, which leaves four correct digits of 1 - alpha-bar_1.

    Keep t on the CPU: the lookup needs no GPU synchronisation, and the copy is asynchronous.
    """
    coefficients = table[t.to(table.device)].to(like.device, like.dtype, non_blocking=like.is_cuda)
    return coefficients.view(-1, *[1] * (like.ndim - 1))
