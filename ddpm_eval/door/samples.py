"""``sample``: the samples of a model, as an array or in a store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.door.working import Provenance, model_of, runtime_of, typed
from ddpm_eval.measure.pictures import samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_eval.settings import ComputeSettings


def sample(
    model: Model,
    n: int = 64,
    *,
    seed: int = 0,
    sampler: str = "ancestral",
    steps: int = 0,
    spacing: str = "even",
    eta: float = 0.0,
    convention: str = "rederived",
    level_steps: int = 5,
    step_lr: float = 0.0,
    final_denoising: bool = True,
    rho: float = 7.0,
    churn: float = 0.0,
    churn_from: float = 0.0,
    churn_to: float = 1e6,
    churn_noise: float = 1.0,
    clip: bool = True,
    classes: Sequence[int] = (),
    batch: int | None = None,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> NDArray[np.uint8]:
    """Draw samples 0..n-1 of a seed, uint8 [n, H, W, C]: levels 0..255.

    Sample i is a function of the seed and i: the first 64 of 1,000 are those of ``n=64``.

    Args:
        model: From ``load`` or ``wrap``.
        n: How many.
        seed: Names the noise of every sample.
        sampler: ``ancestral``, as in the paper, ``ddim``, EDM's ``heun``, or ``langevin`` for score
            networks.
        steps: Of the reverse process; 0: all T, or ``heun``'s 18 levels of noise.
        spacing: Which steps: ``even``, ``leading``, ``trailing``, ``quad``, or a respacing string.
        eta: The noise of ``ddim``, from 0 (none) to 1 (as much as ancestral sampling).
        convention: Of ``ddim``'s predicted noise: ``rederived``, ``predicted`` or ``unclipped``.
        level_steps: Of ``langevin``, at each level of noise.
        step_lr: Of ``langevin``: the step at the last level, for images in [0, 1]; 0: 0.062 of the
            square of its noise.
        final_denoising: Of ``langevin``: give the mean of x_0 at the end.
        rho: Of ``heun``: its levels of noise are even in sigma^(1/rho).
        churn: Of ``heun``: EDM's S_churn; 0 draws no noise after x_T.
        churn_from: Of ``heun``: the least sigma, on images in [-1, 1], where noise is added.
        churn_to: Of ``heun``: the largest.
        churn_noise: Of ``heun``: the deviation of that noise.
        clip: Keep x_0_hat inside [-1, 1].
        classes: Of a model with classes: those of the samples in turn, ``[0, 3, 7]``; empty: each
            sample's is drawn by the seed.
        batch: Images in one evaluation of the network, which is always whole; in another the last
            bits of the floats differ. None: 64, or n if that is less.
        cache: A folder where finished samples stay; a longer call goes on with them.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> x = de.sample(model, 4, seed=1)
    >>> x.shape, x.dtype
    ((4, 8, 8, 1), dtype('uint8'))
    """
    settings = typed(
        SamplingSettings,
        n=n,
        seed=seed,
        sampler=sampler,
        steps=steps,
        spacing=spacing,
        eta=eta,
        convention=convention,
        level_steps=level_steps,
        step_lr=step_lr,
        final_denoising=final_denoising,
        rho=rho,
        churn=churn,
        churn_from=churn_from,
        churn_to=churn_to,
        churn_noise=churn_noise,
        clip=clip,
        classes=classes,
    )
    size = min(ComputeSettings().batch, settings.n) if batch is None else batch
    work = runtime_of(model_of(model), runtime, batch=size, cache=cache)
    drawn = samples.draw(model, settings, work)
    return drawn.read(range(len(drawn)))


def record_samples(
    model: Model, settings: SamplingSettings, runtime: Runtime, folder: Path | None = None
) -> Measurement:
    """Draw samples into a store, and show the first of them in a measurement."""
    return Provenance([model], runtime).sign(samples.measure(model, settings, runtime, folder))
