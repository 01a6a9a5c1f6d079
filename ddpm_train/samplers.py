"""Samplers: one step of a walk from x_T to x_0, apart from the denoiser. ``chain`` walks any.

A sampler is its ``step``; one entry each in ``SAMPLERS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from ddpm_train import heun, spacing
from ddpm_train.config import SamplerConfig
from ddpm_train.denoiser import Denoised, Denoiser
from ddpm_train.diffusion import Gaussian
from ddpm_train.errors import FixableError
from ddpm_train.heun import Churn, Heun
from ddpm_train.langevin import Langevin
from ddpm_train.schedule import NoiseSchedule, at
from ddpm_train.settings import check, entry


class Sampler(Protocol):
    """A walk through the rows k = K..1 of a schedule, whose paper's t is ``schedule.times[k]``."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The rows."""

    def step(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None, /) -> Denoised:
        """Give p(x_s | x_t) and x_0_hat; s is the time of row k - 1, for each image of [B]."""

    def is_certain(self, k: int, /) -> bool:
        """Whether p has no variance in row k, so that no noise is drawn."""


@dataclass(frozen=True, slots=True)
class Ancestral:
    """The paper's sampler (Algorithm 2): x_s is drawn from the denoiser's own p."""

    denoise: Denoiser
    clip: bool = True

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's."""
        return self.denoise.schedule

    def step(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None, /) -> Denoised:
        """Evaluate the denoiser."""
        return self.denoise(x_t, k, clip=self.clip, condition=condition)

    def is_certain(self, k: int, /) -> bool:
        """Never: every step has its variance."""
        return False


class Convention(NamedTuple):
    """A reading of DDIM's equations. They differ where x_0_hat is clipped."""

    clips: bool  # x_0_hat
    rederives: bool  # eps_hat from x_0_hat; else it is what the network predicts


CONVENTIONS = {
    "rederived": Convention(clips=True, rederives=True),
    "predicted": Convention(clips=True, rederives=False),
    "unclipped": Convention(clips=False, rederives=False),
}
"""improved-diffusion's and guided-diffusion's, diffusers' pipeline's, the DDIM authors'."""


class Ddim:
    """The non-Markovian reverse process of DDIM (Song, Meng, Ermon 2021, Eqs. 12 and 16).

        mean = sqrt(alpha-bar_s) x_0_hat + sqrt(1 - alpha-bar_s - sigma^2_t) eps_hat
        sigma^2_t = eta^2 beta-tilde_t

    eta = 0 draws no noise after x_T. eta = 1 is the ancestral process with fixedsmall, where
    eps_hat is the noise that x_t holds if x_0_hat is its image (``rederived``).
    """

    def __init__(
        self,
        denoise: Denoiser,
        *,
        eta: float = 0.0,
        convention: str = "rederived",
        clip: bool = True,
    ) -> None:
        self.denoise = denoise
        self.convention = entry(CONVENTIONS, convention, "convention")
        self.clip = clip and self.convention.clips
        bar, before = self.schedule.alphas_bar, self.schedule.alphas_bar_before
        variances = eta**2 * self.schedule.posterior_variances
        self._eps = (1 - before - variances).sqrt()
        self._x_0 = before.sqrt()
        # The same sum, where eps_hat = (x_t - sqrt(alpha-bar_t) x_0_hat) / sqrt(1 - alpha-bar_t).
        self._c_t = ((1 - before - variances) / (1 - bar)).sqrt()
        self._c_0 = before.sqrt() - self._c_t * bar.sqrt()
        self._log_variances = variances.log()

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's."""
        return self.denoise.schedule

    def step(self, x_t: Tensor, k: Tensor, condition: Tensor | None = None, /) -> Denoised:
        """Evaluate the network; give DDIM's mean and variance."""
        output = self.denoise.evaluate(x_t, k, condition)
        x_0_hat = self.denoise.x_0_hat(output, x_t, k, clip=self.clip)
        if self.convention.rederives:
            mean = at(self._c_0, k, x_t) * x_0_hat + at(self._c_t, k, x_t) * x_t
        else:
            eps_hat = self.denoise.eps_hat(output, x_t, k)
            mean = at(self._x_0, k, x_t) * x_0_hat + at(self._eps, k, x_t) * eps_hat
        return Denoised(Gaussian(mean, at(self._log_variances, k, x_t)), x_0_hat)

    def slope(self, k: Tensor, like: Tensor) -> Tensor:
        """How far the mean moves with x_0_hat where x_t stays and eps_hat follows, [B, 1, 1, 1]."""
        return at(self._c_0, k, like)

    def is_certain(self, k: int, /) -> bool:
        """Whether eta is 0."""
        return bool(self._log_variances[k].isneginf())


def _ancestral(denoise: Denoiser, config: SamplerConfig, clip: bool) -> Sampler:  # noqa: FBT001
    if denoise.objective.prediction == "score":
        raise FixableError(
            "sampler=ancestral: a score network has no p(x_{t-1} | x_t)", "set sampler=langevin"
        )
    if denoise.objective.variance == "learned" and denoise.schedule is not denoise.whole:
        raise FixableError(
            "this network learned the variance of single steps, not of longer ones",
            f"take all {denoise.whole.T:,} steps, or set sampler=ddim",
        )
    return Ancestral(denoise, clip)


def _ddim(denoise: Denoiser, config: SamplerConfig, clip: bool) -> Sampler:  # noqa: FBT001
    return Ddim(denoise, eta=config.eta, convention=config.convention, clip=clip)


def _langevin(denoise: Denoiser, config: SamplerConfig, clip: bool) -> Sampler:  # noqa: FBT001
    if denoise.objective.prediction != "score":
        raise FixableError(
            "sampler=langevin: this network does not predict scores", "set sampler=ancestral"
        )
    if denoise.schedule is not denoise.whole:
        raise FixableError(
            "sampler=langevin visits every level of noise", "leave steps and spacing out"
        )
    return Langevin(
        denoise,
        level_steps=config.level_steps,
        step_lr=config.step_lr,
        final_denoising=config.final_denoising,
    )


def _heun(denoise: Denoiser, config: SamplerConfig, clip: bool) -> Sampler:  # noqa: FBT001
    if denoise.whole.alphas_bar[-1] == 0:
        raise FixableError(
            "sampler=heun: this schedule leaves no signal at T, where sigma is infinite",
            "set sampler=ddim",
        )
    churn = Churn(
        amount=config.churn,
        least=config.churn_from,
        most=config.churn_to,
        noise=config.churn_noise,
    )
    return Heun(denoise, churn)


def _spaced(process: NoiseSchedule, config: SamplerConfig) -> list[int]:
    return spacing.choose(config.spacing, process.T, config.steps)


def _by_noise(process: NoiseSchedule, config: SamplerConfig) -> list[int]:
    if config.spacing != SamplerConfig().spacing:
        raise FixableError(
            f"spacing={config.spacing} has no effect on the heun sampler",
            "set rho: its levels are even in sigma^(1/rho)",
        )
    spacing.choose(config.spacing, process.T, config.steps)  # refuses more steps than there are
    return heun.levels(process, config.steps or min(heun.STEPS, process.T), config.rho)


class Kind(NamedTuple):
    """A kind of sampler: how it is built for a respaced denoiser, its own settings, its times."""

    build: Callable[[Denoiser, SamplerConfig, bool], Sampler]
    options: tuple[str, ...] = ()
    times: Callable[[NoiseSchedule, SamplerConfig], list[int]] = _spaced


SAMPLERS: dict[str, Kind] = {
    "ancestral": Kind(_ancestral),
    "ddim": Kind(_ddim, options=("eta", "convention")),
    "heun": Kind(
        _heun,
        options=("rho", "churn", "churn_from", "churn_to", "churn_noise"),
        times=_by_noise,
    ),
    "langevin": Kind(_langevin, options=("level_steps", "step_lr", "final_denoising")),
}


def usual(denoise: Denoiser) -> Sampler:
    """The sampler of a model without settings: the paper's, or Langevin's for scores."""
    return Langevin(denoise) if denoise.objective.prediction == "score" else Ancestral(denoise)


def build(denoise: Denoiser, config: SamplerConfig, *, clip: bool = True) -> Sampler:
    """Build the sampler of a model.

    Args:
        denoise: The whole reverse process.
        config: The kind of sampler and its times.
        clip: Keep x_0_hat inside [-1, 1].

    Raises:
        FixableError: There is no such sampler, spacing or number of steps, a setting belongs to
            another sampler, or a learned variance does not give that of longer steps.
    """
    kind = require(config)
    return kind.build(denoise.respaced(kind.times(denoise.schedule, config)), config, clip)


def require(config: SamplerConfig) -> Kind:
    """Check what can be checked without a model; give the sampler's entry.

    Raises:
        FixableError: There is no such sampler or convention, or a setting belongs to another one.
    """
    check(config)
    kind = entry(SAMPLERS, config.sampler, "sampler")
    entry(CONVENTIONS, config.convention, "convention")
    _check_options(config, kind)
    return kind


def times_of(process: NoiseSchedule, config: SamplerConfig) -> list[int]:
    """Choose the times that a walk visits, rising, in 1..T.

    Raises:
        FixableError: There is no such sampler, spacing or number of steps.
    """
    return entry(SAMPLERS, config.sampler, "sampler").times(process, config)


def _check_options(config: SamplerConfig, kind: Kind) -> None:
    """Refuse a setting that has no effect on this kind of sampler."""
    default = SamplerConfig()
    for name, other in SAMPLERS.items():
        for option in other.options:
            value = getattr(config, option)
            if option not in kind.options and value != getattr(default, option):
                raise FixableError(
                    f"{option}={value} has no effect on the {config.sampler} sampler",
                    f"set sampler={name}, or {option}={getattr(default, option)}",
                )
