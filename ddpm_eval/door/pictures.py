"""``sample``, ``progressive``, ``reconstruct``, ``interpolate`` and ``neighbours``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.choice import ImageSet
from ddpm_eval.door.images import AnyImages, images
from ddpm_eval.door.working import images_of, measured, model_of, runtime_of, scored_images, typed
from ddpm_eval.features import Extractor, open_extractor
from ddpm_eval.measure.pictures import interpolation, reconstructions, samples
from ddpm_eval.measure.pictures import neighbours as nearest
from ddpm_eval.measure.pictures import progressive as along
from ddpm_eval.measure.pictures.neighbours import Real
from ddpm_eval.measure.pictures.quality_over_steps import Judge
from ddpm_eval.measure.pictures.settings import (
    InterpolationSettings,
    NeighbourSettings,
    ProgressiveSettings,
    ReconstructionSettings,
    SamplingSettings,
)
from ddpm_eval.model import Model, require_bound
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.store import SampleStore
from ddpm_eval.runtime import Runtime
from ddpm_eval.sources import trained_on
from ddpm_train.data import Split
from ddpm_train.errors import FixableError
from ddpm_train.settings import to_dict
from ddpm_train.world import require_float64

BATCH = 64


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
        sampler: ``ancestral``, as in the paper, ``ddim``, or ``langevin`` for score networks.
        steps: Of the reverse process; 0: all T.
        spacing: Which steps: ``even``, ``leading``, ``trailing``, ``quad``, or a respacing string.
        eta: The noise of ``ddim``, from 0 (none) to 1 (as much as ancestral sampling).
        convention: Of ``ddim``'s predicted noise: ``rederived``, ``predicted`` or ``unclipped``.
        level_steps: Of ``langevin``, at each level of noise.
        step_lr: Of ``langevin``: the step at the last level, for images in [0, 1]; 0: 0.062 of the
            square of its noise.
        final_denoising: Of ``langevin``: give the mean of x_0 at the end.
        clip: Keep x_0_hat inside [-1, 1].
        classes: Of a model with classes: those of the samples in turn, ``[0, 3, 7]``; empty: each
            sample's is drawn by the seed.
        batch: Images in one evaluation of the network, which is always whole; in another the last
            bits of the floats differ. None: 64, or n if that is less.
        cache: A folder where finished samples stay; a longer call goes on with them.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de, torch
    >>> class Nothing(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return torch.zeros_like(x)
    >>> model = de.wrap(Nothing(), schedule=[0.02, 0.2, 0.7], image_shape=(1, 8, 8))
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
        clip=clip,
        classes=classes,
    )
    size = min(BATCH, settings.n) if batch is None else batch
    work = runtime_of(model_of(model), runtime, batch=size, cache=cache)
    drawn = samples.draw(model, settings, work)
    return drawn.read(range(len(drawn)))


def record_samples(
    model: Model, settings: SamplingSettings, runtime: Runtime, folder: Path | None = None
) -> Measurement:
    """Draw samples into a store, and show the first of them in a measurement."""
    return measured(lambda work: samples.measure(model, settings, work, folder), [model], runtime)


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
    batch: int = BATCH,
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

    >>> import ddpm_eval as de, torch
    >>> class Nothing(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return torch.zeros_like(x)
    >>> model = de.wrap(Nothing(), schedule=[0.02, 0.2, 0.7], image_shape=(1, 8, 8))
    >>> de.progressive(model, 4).grids["progressive"].images.shape
    (12, 8, 8, 1)
    """
    require_float64(model_of(model).device, "progressive")
    require_bound(model, "progressive")
    settings = typed(ProgressiveSettings, n=n, rows=rows, seed=seed, clip=clip, classes=classes)
    judge = None
    if extractor is not None:
        judge = Judge(opened(extractor, model), images_of(model, training, split="train"))
    return measured(
        lambda work: along.measure(model, settings, work, judge),
        [model],
        runtime_of(model, runtime, batch=batch, cache=cache),
    )


def reconstruct(
    model: Model,
    images: AnyImages | None = None,
    *,
    n: int = 8,
    first: bool = False,
    seed: int = 0,
    clip: bool = True,
    batch: int = BATCH,
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

    >>> import ddpm_eval as de, torch
    >>> class Nothing(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return torch.zeros_like(x)
    >>> model = de.wrap(Nothing(), schedule=[0.02, 0.2, 0.7], image_shape=(1, 8, 8))
    >>> result = de.reconstruct(model, de.images("digits", split="test"), n=4)
    >>> result.grids["reconstructions"].columns
    4
    """
    require_float64(model_of(model).device, "reconstruct")
    require_bound(model, "reconstruct")
    settings = typed(ReconstructionSettings, n=n, first=first, seed=seed, clip=clip)
    taken = scored_images(model, images)
    return measured(
        lambda work: reconstructions.measure(model, taken, settings, work),
        [model],
        runtime_of(model, runtime, batch=batch, cache=cache),
    )


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
    batch: int = BATCH,
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
        batch: Images in one evaluation of the network.
        cache: A folder where unfinished work survives; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de, torch
    >>> class Nothing(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return torch.zeros_like(x)
    >>> model = de.wrap(Nothing(), schedule=[0.02, 0.2, 0.7], image_shape=(1, 8, 8))
    >>> result = de.interpolate(model, de.images("digits", split="test"), pairs=[(3, 8)])
    >>> result.grids["path"].columns  # 11 between the two sources
    13
    """
    require_bound(model_of(model), "interpolate")
    settings = typed(
        InterpolationSettings,
        pairs=pairs,
        first=first,
        t=t,
        lambdas=lambdas,
        mix=mix,
        seed=seed,
        clip=clip,
    )
    taken = scored_images(model_of(model), images)
    return measured(
        lambda work: interpolation.measure(model, taken, settings, work, names),
        [model],
        runtime_of(model, runtime, batch=batch, cache=cache),
    )


def neighbours(
    what: Model | AnyImages,
    training: AnyImages | None = None,
    test: AnyImages | None = None,
    *,
    n: int = 64,
    k: int = 5,
    held_out: int = 1000,
    first: bool = False,
    extractor: str | Extractor | None = None,
    mirrored: bool | None = None,
    rows: int = 8,
    seed: int = 0,
    sampling: SamplingSettings | None = None,
    batch: int = BATCH,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Search the training images nearest to samples, and judge whether the model memorised any.

    Args:
        what: A model, whose samples 0..n-1 are looked at, or images: an array, a folder, a store.
        training: The training images; None: those of the model's run.
        test: Held-out images, the yardstick; None: the test images of the model's run.
        n: How many samples of a model.
        k: How many neighbours are shown.
        held_out: How many held-out images to judge by, at most; 0: no verdict.
        first: Take the first of them; else the seed draws them.
        extractor: A network, or its name, to look at distances of features too.
        mirrored: Search mirror images too; None: if training had them, or nobody knows.
        rows: Samples in a figure.
        seed: Of the samples and of the choice of held-out images.
        sampling: How samples are drawn, in place of ``n`` and ``seed``.
        batch: Images in one evaluation of the network.
        cache: A folder where unfinished work survives; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> train, test = (de.images("digits", split=split) for split in ("train", "test"))
    >>> result = de.neighbours(train[:50], train, test)  # what a model would draw by heart
    >>> result.score("copies").value, result.score("close_share").value
    (50, 100.0)
    """
    settings = typed(
        NeighbourSettings,
        sampling=to_dict(sampling) if sampling else {"n": n, "seed": seed},
        k=k,
        rows=rows,
        held_out=held_out,
        first=first,
        mirrored=mirrored,
        seed=seed,
    )
    source = what if isinstance(what, Model) else images(what)
    real = Real(
        train=_real(source, training, "train"),
        held_out=_held_out(source, test) if settings.held_out else None,
    )
    models = [source] if isinstance(source, Model) else []
    work = runtime_of(models[0] if models else None, runtime, batch=batch, cache=cache)
    looking = None if extractor is None else opened(extractor, work)
    return measured(
        lambda work: nearest.measure(source, real, settings, work, looking), models, work
    )


def opened(extractor: str | Extractor, place: Model | Runtime) -> Extractor:
    """Open an extractor by its name, where the model or the work is."""
    if not isinstance(extractor, str):
        return extractor
    device = place.device if isinstance(place, Model) else place.world.device
    return open_extractor(extractor, path=None, device=device)


def _real(source: Model | ImageSet, what: AnyImages | None, split: Split) -> ImageSet:
    """Open real images: those that are named, or those that the model was trained on."""
    if isinstance(source, Model):
        return images_of(source, what, split=split).plain()
    if what is not None:
        return images(what, labels=False)
    if isinstance(source.source, SampleStore):
        return trained_on(source.source, split)
    name = "training" if split == "train" else "test"
    raise FixableError(
        f"{name}: of which data set? {source.name} does not say", f"give the images: {name}=..."
    )


def _held_out(source: Model | ImageSet, what: AnyImages | None) -> ImageSet:
    try:
        return _real(source, what, "test")
    except FixableError as error:
        raise FixableError(
            error.problem, f"{error.fix}; or set held_out=0 for neighbours without a verdict"
        ) from error
