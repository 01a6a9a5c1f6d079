"""``neighbours``: the training images nearest to samples."""

from pathlib import Path

from ddpm_eval.choice import ImageSet
from ddpm_eval.door.images import AnyImages, images
from ddpm_eval.door.pictures import extractor_of
from ddpm_eval.door.working import Provenance, images_of, runtime_of, typed
from ddpm_eval.features import Extractor
from ddpm_eval.measure.pictures import neighbours as nearest
from ddpm_eval.measure.pictures.neighbours import Real
from ddpm_eval.measure.pictures.settings import NeighbourSettings, SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.store import SampleStore
from ddpm_eval.runtime import Runtime
from ddpm_eval.sources import trained_on
from ddpm_train.data import Split
from ddpm_train.errors import FixableError
from ddpm_train.settings import to_dict


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
    batch: int = 64,
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
    network = None if extractor is None else extractor_of(extractor, work.world.device)
    return Provenance(models, work).sign(nearest.measure(source, real, settings, work, network))


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
