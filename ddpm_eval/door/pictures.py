"""``progressive``, ``reconstruct`` and ``interpolate``: the chain in pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ddpm_eval.door.images import AnyImages
from ddpm_eval.door.working import (
    Provenance,
    images_of,
    model_of,
    runtime_of,
    scored_images,
    typed,
)
from ddpm_eval.features import Extractor, open_extractor
from ddpm_eval.measure.pictures import interpolation, reconstructions
from ddpm_eval.measure.pictures import progressive as along
from ddpm_eval.measure.pictures.quality_over_steps import Judge
from ddpm_eval.measure.pictures.settings import (
    InterpolationSettings,
    ProgressiveSettings,
    ReconstructionSettings,
)
from ddpm_eval.model import Model, require_bound
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.world import require_float64


def progressive(
    model: Model,
    n: int = 0,
    *,
    extractor: str | Extractor | None = None,
    training: AnyImages | None = None,
    rows: int = 8,
    seed: int = 0,
    clip: bool = True,
    classes: Sequence[int] = (),
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Record x_0_hat of samples 0..n-1 step by step: Figures 6, 7 and 10 of the paper.

    Args:
        model: From ``load`` or ``wrap``.
        n: Samples; 0: 64, or 1,000 with an extractor.
        extractor: A network, or its name, for IS and FID of x_0_hat over the steps.
        training: The images that FID is against; None: the training images of the model's run.
        rows: Samples in the figure.
        seed: Of all noise.
        clip: Keep x_0_hat inside [-1, 1].
        classes: As for ``sample``.
        batch: Images in one evaluation of the network.
        cache: A folder where unfinished work survives; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> de.progressive(model, 4).grids["progressive"].images.shape
    (12, 8, 8, 1)
    """
    require_float64(model_of(model).device, "progressive")
    require_bound(model, "progressive")
    settings = typed(ProgressiveSettings, n=n, rows=rows, seed=seed, clip=clip, classes=classes)
    judge = None
    if extractor is not None:
        judge = Judge(
            extractor_of(extractor, model.device), images_of(model, training, split="train")
        )
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    return Provenance([model], work).sign(along.measure(model, settings, work, judge))


def reconstruct(
    model: Model,
    images: AnyImages | None = None,
    *,
    n: int = 8,
    first: bool = False,
    seed: int = 0,
    clip: bool = True,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Reconstruct images from x_t, each row with twice the bits of the one before.

    Args:
        model: From ``load`` or ``wrap``.
        images: What ``images`` gives or takes; None: the test images of the model's run.
        n: How many images; 0: all.
        first: Take the first n; else the seed draws them.
        seed: Of the noise and of the choice of images.
        clip: Keep x_0_hat inside [-1, 1].
        batch: Images in one evaluation of the network.
        cache: A folder where unfinished work survives; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> result = de.reconstruct(model, de.images("digits", split="test"), n=4)
    >>> result.grids["reconstructions"].columns
    4
    """
    require_float64(model_of(model).device, "reconstruct")
    require_bound(model, "reconstruct")
    settings = typed(ReconstructionSettings, n=n, first=first, seed=seed, clip=clip)
    taken = scored_images(model, images)
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    return Provenance([model], work).sign(reconstructions.measure(model, taken, settings, work))


def interpolate(
    model: Model,
    images: AnyImages | None = None,
    *,
    pairs: Sequence[tuple[int, int]] = (),
    first: bool = False,
    t: int | None = None,
    lambdas: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    mix: str = "linear",
    names: Sequence[str] = (),
    seed: int = 0,
    clip: bool = True,
    level_steps: int = 5,
    step_lr: float = 0.0,
    final_denoising: bool = True,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Draw paths between images, mixed at t and decoded: Figures 8 and 9 of the paper.

    Args:
        model: From ``load`` or ``wrap``.
        images: What ``images`` gives or takes; None: the test images of the model's run.
        pairs: Of indices in the images; empty: four pairs.
        first: The four are images 0 to 7; else the seed draws them.
        t: Where the images are mixed; None: half of T.
        lambdas: The weights of the second image; 0 and 1 are added.
        mix: Of the noises: ``linear``, the paper's, or ``spherical``, which keeps the variance.
        names: Of the images in captions; empty: their indices.
        seed: Of the noise and of the choice of images.
        clip: Keep x_0_hat inside [-1, 1].
        level_steps: Of a score network, which decodes by Langevin dynamics: steps at each level.
        step_lr: Of a score network, as for ``sample``.
        final_denoising: Of a score network: show the mean of x_0 at the last level.
        batch: Images in one evaluation of the network.
        cache: A folder where unfinished work survives; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> result = de.interpolate(model, de.images("digits", split="test"), pairs=[(3, 8)])
    >>> result.grids["path"].columns  # 11 between the two sources
    13
    """
    settings = typed(
        InterpolationSettings,
        pairs=pairs,
        first=first,
        t=t,
        lambdas=lambdas,
        mix=mix,
        seed=seed,
        clip=clip,
        level_steps=level_steps,
        step_lr=step_lr,
        final_denoising=final_denoising,
    )
    taken = scored_images(model_of(model), images)
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    return Provenance([model], work).sign(
        interpolation.measure(model, taken, settings, work, names)
    )


def extractor_of(extractor: str | Extractor, device: torch.device) -> Extractor:
    """Open an extractor by its name, or take the one that is given."""
    if isinstance(extractor, str):
        return open_extractor(extractor, path=None, device=device)
    return extractor
