"""Commands about quality: ``fid`` compares images, ``fetch`` brings the networks for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpm_eval import extractors
from ddpm_eval.commands.checks import check_extractor, check_images, is_there, plain_name
from ddpm_eval.commands.options import (
    Accept,
    Changes,
    Data,
    Dataset,
    Inception,
    Steps,
    common,
)
from ddpm_eval.commands.recording import Recording, note, runtime_for, settled
from ddpm_eval.commands.task import Task
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train import leaves
from ddpm_train.config import Filter
from ddpm_train.errors import FixableError
from ddpm_train.meter import download_meter
from ddpm_train.terminal import escape, output, say

if TYPE_CHECKING:
    from ddpm_eval.choice import ImageSet
    from ddpm_eval.door.images import AnyImages


def fid(
    what: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint or a run's folder; or images: a sample store, a folder or .zip of "
            "pictures, an .npz; the newest run in runs/ if left out."
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("-n", "--n", min=0, help="Images; 0: 50,000 samples, or all images.")
    ] = 0,
    reference: Annotated[
        str,
        typer.Option("--reference", help="train, test, images, or statistics (.npz: mu, sigma)."),
    ] = "train",
    extractor: Annotated[
        str,
        typer.Option(
            "--extractor", help="inception, dinov2-l14, clip-l14-336, digits-cnn, ...; or several."
        ),
    ] = "inception",
    protocols: Annotated[
        str, typer.Option("--protocols", help="Ways of resizing: tf1,antialias,clean.")
    ] = "",
    metrics: Annotated[
        str, typer.Option("--metrics", help="Some of all: FID,KID,density,MIND, say.")
    ] = "",
    steps: Steps = 0,
    weights: Inception = None,
    accept: Accept = "",
    dataset: Dataset = None,
    data: Data = None,
    resize: Annotated[
        str, typer.Option("--resize", help="The filter for pictures of mixed sizes: lanczos, say.")
    ] = "none",
    changes: Changes = None,
) -> None:
    """FID, IS, KID, precision, recall, density and more, through one network or several.

    Features are kept in data/cache (or $DDPM_CACHE): a second run, or one after a kill,
    goes on with them.
    """
    tree = EvalSettings(
        quality=QualitySettings(
            n=n,
            extractors=_listed(extractor),
            protocols=_listed(protocols),
            metrics=_listed(metrics),
            extractor_weights="" if weights is None else str(weights),
            accept_weights=accept,
            resize=leaves.read(Filter, resize, "resize"),
        ),
        samples=SamplingSettings(steps=steps),
    )
    uses = ("quality", "samples", "data", "compute")
    settings, of_model = changed(tree, changes or [], uses, unused=["samples.n"])
    check_extractor(settings.quality.extractors, weights, accept)
    check_images(dataset, data)
    if settings.quality.metrics:
        from ddpm_eval.metrics.names import named

        named(settings.quality.metrics)
    if what is not None and not is_there(what):
        raise FixableError(
            f"{what}: no such file or folder", "name a checkpoint, a run's folder, or images"
        )
    if not _is_split(reference):
        check_images(reference, None, option="reference")
    if what is not None and _holds_images(what):
        plain_name(common().name)
        _refuse_drawing(what, settings, of_model)
        _of_images(what, reference, settings.quality, (dataset, data))
        return
    task = Task(
        measure="quality",
        checkpoint=what,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
        needs_float64=False,
    )
    with task.opened() as work:
        from ddpm_eval.door.quality import measure_all

        against: AnyImages = work.images(reference) if _is_split(reference) else reference
        results = measure_all(
            work.model,
            against,
            _held_out(reference, lambda: work.images("test")),
            settings.quality,
            work.runtime,
            sampling=settings.samples,
        )
        for result in results:
            work.finish(result)


def fetch(
    what: Annotated[
        str, typer.Argument(help="inception, dinov2-l14, dinov2-b14, clip-l14-336 or clip-b32.")
    ] = "inception",
    to: Annotated[
        Path | None, typer.Option("--to", help="The file to write; torch hub's folder otherwise.")
    ] = None,
) -> None:
    """Download the weights of an extractor, resumed and checked."""
    extractors.check([what], setting="")
    from ddpm_eval.features import EXTRACTORS, find

    weights = find(what).weights
    if weights is None:
        names = [entry.weights.fetch for entry in EXTRACTORS.values() if entry.weights]
        raise FixableError(f"{what}: its weights are in the package", f"fetch {', '.join(names)}")
    with download_meter(quiet=common().quiet) as track:
        say(escape(str(weights.download(to, track=track))), to=output)


def _listed(text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_split(reference: str) -> bool:
    return reference in ("train", "test")


def _held_out(reference: str, test: Any) -> "ImageSet | None":
    """The test images, where the training images are the reference and there are any."""
    if reference != "train":
        return None
    try:
        images: ImageSet = test()
    except FixableError as error:
        note(f"held-out images would show what is good here, but {error.problem}")
        return None
    return images


def _holds_images(path: Path) -> bool:
    """Whether a path leads to images, not to a checkpoint.

    Raises:
        FixableError: It leads nowhere.
    """
    from ddpm_eval.kinds import holds_images
    from ddpm_train import formats, runs

    foreign = formats.lies_in_folder(path)
    if not path.exists() and not foreign:
        raise FixableError(
            f"{path}: no such file or folder", "name a checkpoint, a run's folder, or images"
        )
    if path.is_dir():
        return not (runs.checkpoints(path) or foreign)
    return holds_images(path)


def _refuse_drawing(path: Path, settings: EvalSettings, of_model: list[str]) -> None:
    """Images are there already: what says how a model draws them would be of no effect."""
    plain = EvalSettings()
    changes = {
        "--steps": settings.samples.steps != plain.samples.steps,
        "--set samples": settings.samples != plain.samples and not settings.samples.steps,
        "--set compute": settings.compute != plain.compute,
        "--set data": settings.data != plain.data,
        f"--set {' '.join(of_model)}": bool(of_model),
        "--weights": bool(common().weights),
    }
    names = ", ".join(name for name, is_changed in changes.items() if is_changed)
    if names:
        raise FixableError(
            f"{names}: of no effect on {path}, which holds images that are drawn already",
            "leave it out, or name the checkpoint in place of the images",
        )


def _of_images(
    path: Path,
    reference: str,
    settings: QualitySettings,
    real: tuple[str | None, Path | None],
) -> None:
    """Compare images that are there already, and record it under their name."""
    from ddpm_eval.door.quality import facts_of, measure_all, open_samples
    from ddpm_eval.measure.quality import plan
    from ddpm_train import world

    plan.require_files(settings)
    samples = open_samples(path, settings)
    folder = settled(_record(path), facts_of(samples))
    recording = Recording(measure="quality", folder=folder)
    recording.runtime = runtime_for(recording)
    against: AnyImages = reference
    if _is_split(reference):
        against = _split(samples, real, reference)
    results = measure_all(
        samples,
        against,
        _held_out(reference, lambda: _split(samples, real, "test")),
        settings,
        recording.runtime,
    )
    for result in results:
        recording.finish(result)
    world.leave()


def _split(samples: "ImageSet", real: tuple[str | None, Path | None], split: str) -> "ImageSet":
    """A part of the data set that the images are compared with, in their size."""
    from ddpm_eval.door.images import images
    from ddpm_eval.record.store import SampleStore
    from ddpm_eval.sources import trained_on

    dataset, data = real
    if dataset is None and isinstance(samples.source, SampleStore):
        part: Any = split
        return trained_on(samples.source, part, path=data)
    if dataset is None:
        raise FixableError(
            f"reference={split}: of which data set? the images do not say",
            "name it: --dataset cifar10, or --dataset npz --data FILE; or --reference FOLDER",
        )
    channels = samples.read([0]).shape[3]
    return images(dataset, split=split, path=data, channels=channels)


def _record(path: Path) -> Path:
    """The record's folder: that of the model whose store it is, or one named after the images."""
    from ddpm_eval.record import store

    path, name = path.resolve(), plain_name(common().name)
    if not name and path.parent.name == "store" and (path / store.NAME).exists():
        return path.parent.parent
    return common().reports / (name or (path.stem if path.is_file() else path.name))
