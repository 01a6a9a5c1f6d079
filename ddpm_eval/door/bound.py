"""``bits_per_dim``, ``rate_distortion`` and ``baselines``: the variational bound and its parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddpm_eval.codec.codec import Codec, find_profile
from ddpm_eval.codec.profile import Profile
from ddpm_eval.door.images import AnyImages
from ddpm_eval.door.working import Provenance, model_of, runtime_of, scored_images, typed
from ddpm_eval.measure.bound import baselines as baseline
from ddpm_eval.measure.bound import compare, estimate, few_steps, likelihood
from ddpm_eval.measure.bound import rate_distortion as curves
from ddpm_eval.measure.bound.settings import (
    BaselineSettings,
    BoundSettings,
    OdeSettings,
    StrideSettings,
)
from ddpm_eval.measure.files.settings import FileSettings
from ddpm_eval.model import Model, require_bound
from ddpm_eval.paths import expanded
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.settings import check
from ddpm_train.world import require_float64


def bits_per_dim(
    model: Model,
    images: AnyImages | None = None,
    *,
    n: int = 0,
    first: bool = False,
    target_stderr: float = 0.0,
    budget: int = 0,
    against: Model | None = None,
    strides: Sequence[int] = (),
    ode: OdeSettings | bool = False,
    calibrate: int = 0,
    training: AnyImages | None = None,
    drop_remainder: int = 0,
    clip: bool = True,
    seed: int = 0,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Measure bits/dim: the full variational bound (Eq. 5), an estimate, a difference, the ODE.

    Args:
        model: From ``load`` or ``wrap``.
        images: What ``images`` gives or takes; None: the test images of the model's run.
        n: How many images; 0: all.
        first: Take the first n; else the seed draws them.
        target_stderr: Estimate the bound of these images to this standard error, in bits/dim.
        budget: Estimate it with at most so many evaluations of the network.
        against: A second model on the same images and noise: the result is the difference.
        strides: Measure the bound of so few steps: of the best ones, of even and quadratic ones.
        ode: Measure by the probability-flow ODE, the bound of the same images beside it.
        calibrate: Learn the best variance too, from so many training images.
        training: These; None: those of the model's run.
        drop_remainder: Whole batches of so many images only, as the original did with 256.
        clip: Keep x_0_hat inside [-1, 1].
        seed: Of the noise and of the choice of images.
        batch: Images in one evaluation of the network; changes results by rounding alone.
        cache: A folder where unfinished work survives; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> result = de.bits_per_dim(model, de.images("digits", split="test"), n=20)
    >>> print(result.scores[0])
    8.476 ± 0.033 bits/dim (n=20)
    """
    _check(model)
    settings = typed(
        BoundSettings,
        n=n,
        first=first,
        target_stderr=target_stderr,
        budget=budget,
        calibrate=calibrate,
        drop_remainder=drop_remainder,
        clip=clip,
        seed=seed,
    )
    _check_one(settings, against=against, strides=strides, ode=ode)
    other = None if against is None else model_of(against)
    taken = scored_images(model, images, other=other)
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    provenance = Provenance([model] if other is None else [model, other], work)
    if other is not None:
        return provenance.sign(compare.measure(model, taken, settings, work, other=other))
    if ode:
        from ddpm_eval.measure.bound import ode as flows  # scipy.integrate takes a moment

        solver = ode if isinstance(ode, OdeSettings) else OdeSettings()
        check(solver, "ode.")
        return provenance.sign(flows.measure(model, taken, settings, solver, work))
    learning = scored_images(model, training, split="train") if settings.calibrate else None
    if strides:
        counts = typed(StrideSettings, counts=strides)
        result = few_steps.measure(
            model, taken, settings, settings=counts, runtime=work, training=learning
        )
    else:
        measure = estimate.measure if settings.is_estimate else likelihood.measure
        result = measure(model, taken, settings, work, training=learning)
    return provenance.sign(result)


def rate_distortion(
    model: Model,
    images: AnyImages | None = None,
    *,
    n: int = 0,
    first: bool = False,
    target_stderr: float = 0.0,
    budget: int = 0,
    calibrate: int = 0,
    training: AnyImages | None = None,
    files: FileSettings | bool = False,
    profile: Profile | str | Path | None = None,
    drop_remainder: int = 0,
    clip: bool = True,
    seed: int = 0,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Measure rate and distortion over the reverse steps: Table 4 and Figure 5 of the paper.

    With ``files`` those of real files, all bytes counted, beside other codecs and the bound: every
    image is compressed by a ``profile`` (that beside the checkpoint if None), and the prefixes of
    its file are decoded. The other arguments are those of ``bits_per_dim``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> curves = de.rate_distortion(model, de.images("digits", split="test"), n=20).curves
    >>> curves[0].metric, len(curves[0].y)
    ('rate', 3)
    """
    _check(model)
    settings = typed(
        BoundSettings,
        n=n,
        first=first,
        target_stderr=target_stderr,
        budget=budget,
        calibrate=calibrate,
        drop_remainder=drop_remainder,
        clip=clip,
        seed=seed,
    )
    taken = scored_images(model, images)
    learning = scored_images(model, training, split="train") if settings.calibrate else None
    codec_profile = _profile(model, profile) if files else None
    if files:
        _check_one(settings, files=files)
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    provenance = Provenance([model], work)
    if codec_profile is None:
        return provenance.sign(curves.measure(model, taken, settings, work, training=learning))
    from ddpm_eval.measure.files import files as real  # other codecs take a moment

    chosen = files if isinstance(files, FileSettings) else FileSettings()
    check(chosen, "files.")
    codec = Codec(model, codec_profile, work.batch)
    return provenance.sign(
        real.measure(codec, taken, settings, work, files=chosen, training=learning)
    )


def _profile(model: Model, profile: Profile | str | Path | None) -> Profile:
    named = expanded(profile, "profile") if isinstance(profile, str | Path) else profile
    return find_profile(model, named)


def baselines(
    model: Model,
    images: AnyImages | None = None,
    *,
    training: AnyImages | None = None,
    n: int = 0,
    first: bool = False,
    seed: int = 0,
    batch: int = 64,
    runtime: Runtime | None = None,
) -> Measurement:
    """Measure bits/dim of the model's network untrained, and of independent-pixel histograms.

    Args:
        model: From ``load``.
        images: What ``images`` gives or takes; None: the test images of the model's run.
        training: What the histograms are counted on; None: the training images of the run.
        n: How many images; 0: all.
        first: Take the first n; else the seed draws them.
        seed: Of the untrained network, the noise and the choice of images.
        batch: Images in one evaluation of the network.
        runtime: How the work is carried out, in place of ``batch``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de, numpy as np
    >>> from ddpm_eval.measure.bound.baselines import histogram_bits
    >>> train, test = (de.images("digits", split=split) for split in ("train", "test"))
    >>> bits = histogram_bits(train.read(range(len(train))), test.read(range(len(test))))
    >>> round(float(bits.mean()), 3)
    6.432
    """
    _check(model)
    settings = typed(BaselineSettings, n=n, first=first, seed=seed)
    taken = scored_images(model, images)
    learning = scored_images(model, training, split="train")
    work = runtime_of(model, runtime, batch=batch)
    provenance = Provenance([model], work)
    return provenance.sign(baseline.measure(model, taken, settings, work, training=learning))


def _check_one(
    settings: BoundSettings,
    *,
    against: object = None,
    strides: Sequence[int] = (),
    ode: object = False,
    files: object = False,
) -> None:
    """Refuse two measures at once.

    Raises:
        FixableError: Names them.
    """
    wishes = {
        "against": against is not None,
        "strides": bool(strides),
        "ode": bool(ode),
        "files": bool(files),
        "target_stderr or budget": settings.is_estimate,
    }
    names = [name for name, wanted in wishes.items() if wanted]
    if len(names) > 1 and names != ["against", "target_stderr or budget"]:
        raise FixableError(f"{' and '.join(names)}: two measures at once", "take one after another")


def _check(model: Any) -> None:
    """Refuse what is no model, and a device without float64."""
    require_float64(model_of(model).device, "the bound")
    require_bound(model, "the bound")
