"""From x_t to x_0: by the paper's chain, or by annealed Langevin dynamics of a score network."""

from collections.abc import Callable

from torch import Tensor

from ddpm_eval.measure.pictures.settings import InterpolationSettings
from ddpm_eval.model import Model, is_score
from ddpm_train.errors import FixableError
from ddpm_train.langevin import Langevin
from ddpm_train.samplers import SAMPLERS, Ancestral, Sampler


def decoder(
    model: Model, settings: InterpolationSettings
) -> Callable[[Tensor, int], tuple[Sampler, Tensor, int]]:
    """Give what walks from x_t to x_0: (x_t, t) -> sampler, its state, and where it starts."""
    if not is_score(model):
        paper = Ancestral(model.denoise, settings.clip)
        return lambda x_t, t: (paper, x_t, t)
    langevin = Langevin(
        model.denoise,
        level_steps=settings.level_steps,
        step_lr=settings.step_lr,
        final_denoising=settings.final_denoising,
        from_noise=False,
    )
    return lambda x_t, t: (langevin, *langevin.begin(x_t, t))


def steps(model: Model, settings: InterpolationSettings, t: int) -> int:
    """Count the steps that decode x_t."""
    return t * settings.level_steps + (t > 0) if is_score(model) else t


def text(settings: InterpolationSettings) -> str:
    """Say how a score network decodes."""
    denoised = ", denoised" if settings.final_denoising else ""
    step = f" of {settings.step_lr:g}" if settings.step_lr else ""
    return f"{settings.level_steps} Langevin steps{step} a level{denoised}"


def check(model: Model, settings: InterpolationSettings) -> None:
    """Refuse settings of Langevin dynamics that have no effect on a model.

    Raises:
        FixableError: The model does not predict scores.
    """
    plain = InterpolationSettings()
    for name in SAMPLERS["langevin"].options if not is_score(model) else ():
        value = getattr(settings, name)
        if value != getattr(plain, name):
            raise FixableError(
                f"{name}={value} has no effect: this model does not predict scores",
                f"leave {name} out",
            )
