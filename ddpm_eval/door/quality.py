"""``quality``: how good samples are, against a reference."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ddpm_eval.choice import ImageSet
from ddpm_eval.door.images import NAMED, AnyImages, images
from ddpm_eval.door.working import Provenance, images_of, runtime_of, typed
from ddpm_eval.features import bank, describe
from ddpm_eval.kinds import has_images
from ddpm_eval.measure.pictures import samples as drawing
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.measure.quality import plan, statistics
from ddpm_eval.measure.quality import quality as measures
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.reference import Comparison, Reference
from ddpm_eval.measure.quality.settings import PROTOCOL_N, QualitySettings
from ddpm_eval.model import Model
from ddpm_eval.paths import expanded
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.store import SampleStore
from ddpm_eval.runtime import Runtime
from ddpm_eval.sources import trained_on
from ddpm_train.data import Split
from ddpm_train.errors import FixableError

Samples: TypeAlias = Model | AnyImages
"""Samples that are there, or a model that draws them."""


def quality(
    samples: Samples,
    reference: AnyImages | None = None,
    held_out: AnyImages | None = None,
    *,
    n: int = 0,
    extractor: str = "inception-v3",
    protocol: str = "",
    metrics: Sequence[str] = (),
    first: bool = False,
    seed: int = 0,
    extractor_weights: str | Path = "",
    accept_weights: str = "",
    resize: str = "none",
    save: str | Path = "",
    sampling: SamplingSettings | None = None,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Measure the quality of samples: FID, IS, KID, precision, recall, density and more.

    Args:
        samples: An array, a folder, a zip, an .npz, a store of samples; or a model, whose samples
            0..n-1 are drawn.
        reference: What they are compared with: images, or an .npz of statistics (TTUR, EDM, ADM,
            ours); None: the training images of the model or of the store's model.
        held_out: Other real images, whose distance shows what is good; None: the test images of the
            model or of the store's model, where the reference is not named.
        n: How many samples; 0: all of them, or 50,000 of a model's.
        extractor: ``inception-v3``, ``dinov2-l14``, ``clip-l14-336``, ``digits-cnn``, ...
        protocol: How images are resized for it: ``tf1``, ``antialias`` or ``clean`` for Inception;
            empty: its first.
        metrics: Keys or titles; empty: all that can be had.
        first: Take the first n images of a folder or file; else the seed draws them.
        seed: Of the choice of images.
        extractor_weights: The file of the extractor's weights, if it is not where it usually is.
        accept_weights: SHA-256 of other weights that are meant, eight digits at least.
        resize: The filter for pictures of other sizes: ``lanczos``, ``box``, ``bicubic``, ...
        save: Where to write the statistics of the reference.
        sampling: How a model's samples are drawn, beside their number.
        batch: Samples in one evaluation of the model's network.
        cache: A folder where features and samples stay; torchrun's processes share it.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit; it is named.

    >>> import ddpm_eval as de
    >>> train, test = (de.images("digits", split=split) for split in ("train", "test"))
    >>> result = de.quality(test, train, extractor="digits-cnn", metrics=["FID", "IS"])
    >>> print(result.score("fid"))
    0.36 ± 0.09 (n=297)
    """
    settings = typed(
        QualitySettings,
        n=n,
        extractors=(extractor,),
        protocols=(protocol,) if protocol else (),
        metrics=metrics,
        first=first,
        seed=seed,
        extractor_weights=str(extractor_weights),
        accept_weights=accept_weights,
        resize=resize,
        save=str(save),
    )
    model = samples if isinstance(samples, Model) else None
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    (only,) = measure_all(samples, reference, held_out, settings, work, sampling=sampling)
    return only


def measure_all(
    samples: Samples,
    reference: AnyImages | None,
    held_out: AnyImages | None,
    settings: QualitySettings,
    runtime: Runtime,
    *,
    sampling: SamplingSettings | None = None,
) -> tuple[Measurement, ...]:
    """Measure through every extractor and way of resizing that the settings name."""
    plan.require_files(settings)
    if isinstance(samples, Model):
        return _of_model(samples, reference, held_out, settings, runtime, sampling)
    taken = open_samples(samples, settings)
    provenance = Provenance([], runtime, images=facts_of(taken))
    comparison = Comparison(
        samples=taken,
        reference=_reference(taken, reference, settings),
        held_out=_held_out(taken, reference, held_out, runtime),
        origin=Origin.of(taken),
    )
    return tuple(map(provenance.sign, measures.measure(comparison, settings, runtime)))


def facts_of(samples: ImageSet) -> dict[str, dict[str, Any]]:
    """Give what is known of samples that are there, by their digest or their model's."""
    model = Origin.of(samples).model
    if model:
        return {model: {}}
    facts = {"file": samples.dataset, "images": len(samples.source)}
    return {bank.facts_of(samples).digest: facts}


def open_samples(samples: AnyImages, settings: QualitySettings) -> ImageSet:
    """Open samples that are there, as the extractor looks at them."""
    channels = describe(settings.extractors[0]).channels
    return named(samples, images(samples, channels=channels, resize=settings.resize))


def _of_model(
    model: Model,
    reference: AnyImages | None,
    held_out: AnyImages | None,
    settings: QualitySettings,
    runtime: Runtime,
    sampling: SamplingSettings | None,
) -> tuple[Measurement, ...]:
    """Refuse what cannot be measured, then draw samples, then measure them."""
    n = settings.n or PROTOCOL_N
    against = _reference(model, reference, settings)
    origin = Origin().by(model)
    channels, height, width = model.shape
    plan.require(against, (height, width, channels), n, settings, runtime, origin=origin)
    real = _held_out(model, reference, held_out, runtime)
    provenance = Provenance([model], runtime)
    drawn = ImageSet.of(drawing.draw(model, replace(sampling or SamplingSettings(), n=n), runtime))
    origin = Origin.of(drawn).by(model)
    comparison = Comparison(samples=drawn, reference=against, held_out=real, origin=origin)
    return tuple(map(provenance.sign, measures.measure(comparison, settings, runtime)))


def _reference(
    samples: Model | ImageSet, what: AnyImages | None, settings: QualitySettings
) -> Reference:
    """Open what samples are compared with: images, a file of statistics, or both in one file."""
    if what is None:
        return Reference(images=_trained_on(samples, "train"))
    file = None
    if isinstance(what, str | Path):
        path = expanded(what)
        if path.is_file() and path.suffix != ".zip" and statistics.holds_statistics(path):
            file = path
            if path.suffix != ".npz" or not has_images(path):
                return Reference(file=file)
    channels = describe(settings.extractors[0]).channels
    opened = images(what, split=_split(what), channels=channels, resize=settings.resize)
    return Reference(images=named(what, opened), file=file)


def _split(what: AnyImages) -> str:
    """The training images of a data set that is named; all images of anything else."""
    named_set = isinstance(what, str) and what in NAMED
    return "train" if named_set or isinstance(what, Model) else ""


def named(what: AnyImages, opened: ImageSet) -> ImageSet:
    """Call images at a path by the name of their folder or file."""
    if isinstance(what, str | Path) and expanded(what).exists():
        path = expanded(what).resolve()
        return replace(opened, dataset=path.name if path.is_dir() else path.stem)
    return opened


def _held_out(
    samples: Model | ImageSet,
    reference: AnyImages | None,
    what: AnyImages | None,
    runtime: Runtime,
) -> ImageSet | None:
    """Open real images that the reference does not hold, where somebody says which."""
    if what is not None:
        return images(what)
    if reference is not None:
        return None
    try:
        return _trained_on(samples, "test")
    except FixableError as error:
        runtime.notify(f"held-out images would show what is good here, but {error.problem}")
        return None


def _trained_on(samples: Model | ImageSet, split: Split) -> ImageSet:
    """Open the images that the samples' model was trained on, or their test split."""
    if isinstance(samples, Model):
        return images_of(samples, None, split=split)
    if isinstance(samples.source, SampleStore):
        return trained_on(samples.source, split)
    raise FixableError(
        f"reference: of which data set? {samples.name} does not say",
        "give images or statistics to compare with: reference=...",
    )
