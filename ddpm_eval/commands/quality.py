"""Commands about quality: ``fid`` compares images, ``fetch`` brings the network for it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpm_eval.commands.options import (
    Accept,
    Compile,
    Data,
    Dataset,
    Device,
    Eta,
    Inception,
    Name,
    NoClip,
    Precision,
    Quiet,
    Raw,
    Reports,
    Sampler,
    Seed,
    Steps,
)
from ddpm_eval.commands.running import (
    ImagesAt,
    Place,
    keep,
    note,
    place_of,
    plain_name,
    run,
    show,
    weights_at,
)
from ddpm_eval.config import ComputeConfig, EvalConfig, QualityConfig, SamplingConfig
from ddpm_train.errors import FixableError
from ddpm_train.terminal import download_meter, escape, output, say, tracker

if TYPE_CHECKING:
    from ddpm_eval.measure.quality.quality import Comparison
    from ddpm_train.data import Images


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
        str, typer.Option("--extractor", help="inception, or digits-cnn for 8x8 digits.")
    ] = "inception",
    inception: Inception = None,
    accept: Accept = "",
    metrics: Annotated[
        str, typer.Option("--metrics", help="IS,FID,sFID,KID,precision,recall,FID-infinity.")
    ] = "",
    resize: Annotated[
        str, typer.Option("--resize", help="The filter for pictures of mixed sizes: lanczos, say.")
    ] = "none",
    save: Annotated[
        Path | None,
        typer.Option(
            "--save-statistics", help="An .npz for the reference's; --reference reads it."
        ),
    ] = None,
    steps: Steps = 0,
    sampler: Sampler = "ancestral",
    eta: Eta = 0.0,
    seed: Seed = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples drawn at once.")] = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    precision: Precision = "float32",
    compile: Compile = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """IS, FID, sFID, KID, precision and recall, through Inception or another network.

    Features are kept in data/cache (or $DDPM_CACHE): a second run, or one after a kill,
    goes on with them.
    """
    config = EvalConfig(
        n=n,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        sampling=SamplingConfig(sampler=sampler, steps=steps, eta=eta),
        compute=ComputeConfig(precision=precision, compile=compile),
        quality=QualityConfig(
            reference=reference,
            extractor=extractor,
            **weights_at(inception, accept, extractor),
            metrics=tuple(part.strip() for part in metrics.split(",") if part.strip()),
            resize=resize,
            save="" if save is None else str(save),
        ),
    )
    images = ImagesAt(data, dataset)
    if what is None or not _holds_images(what):
        run(
            "quality",
            config,
            Place(what, name, reports, images, device=device, raw=raw, quiet=quiet),
        )
    else:
        _refuse_drawing(what, config, raw=raw)
        _of_images(what, config, images, _record(what, reports, name), device, quiet=quiet)


def fetch(
    what: Annotated[str, typer.Argument(help="inception")] = "inception",
    to: Annotated[
        Path | None, typer.Option("--to", help="The file to write; torch hub's folder otherwise.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Download the weights of Inception (96 MB), resumed and checked."""
    from ddpm_eval.features import inception

    if what not in ("inception", "inception-v3"):
        raise FixableError(f"{what}: nothing that can be fetched", "ddpm-eval fetch inception")
    with download_meter(quiet=quiet) as track:
        say(escape(str(inception.fetch(to, track=track))), to=output)


def _holds_images(path: Path) -> bool:
    """Whether a path leads to images, not to a checkpoint.

    Raises:
        FixableError: It leads nowhere.
    """
    from ddpm_train import formats, runs

    foreign = formats.lies_in_folder(path)
    if not path.exists() and not foreign:
        raise FixableError(
            f"{path}: no such file or folder", "name a checkpoint, a run's folder, or images"
        )
    if path.is_dir():
        return not (runs.checkpoints(path) or foreign)
    return path.suffix in (".npz", ".zip")


def _refuse_drawing(path: Path, config: EvalConfig, *, raw: bool) -> None:
    """Images are there already: what says how a model draws them would be of no effect."""
    plain, how = EvalConfig(), config.sampling
    given = {
        "--steps": how.steps != plain.sampling.steps,
        "--sampler": how.sampler != plain.sampling.sampler,
        "--eta": how.eta != plain.sampling.eta,
        "--seed": config.seed != plain.seed,
        "--batch": config.batch != plain.batch,
        "--raw": raw,
        "--no-clip": not config.clip,
        "--precision": config.compute.precision != plain.compute.precision,
        "--compile": config.compute.compile,
    }
    names = ", ".join(name for name, is_given in given.items() if is_given)
    if names:
        raise FixableError(
            f"{names}: of no effect on {path}, which holds images that are drawn already",
            "leave it out, or name the checkpoint in place of the images",
        )


def _of_images(
    path: Path, config: EvalConfig, at: ImagesAt, folder: Path, device: str, *, quiet: bool
) -> None:
    """Compare images that are there already, and record it under their name."""
    from ddpm_eval import sources
    from ddpm_eval.measure.quality import quality, reference
    from ddpm_eval.record.store import SampleStore
    from ddpm_train import world

    here = world.join(device)
    began = time.monotonic()
    work = folder / "unfinished" / "quality"
    extractor = quality.extractor_of(config.quality, here.device)
    images = sources.open_images(
        path,
        channels=reference.channels(extractor),
        resize=config.quality.resize,
        notify=lambda text: None if quiet else note(text),
    )

    def split(name: Any) -> Any:
        return _split(images, at, name)

    against = reference.open_reference(config.quality, split, extractor)
    job = quality.Comparison(
        samples=images,
        n=config.n or len(images),
        reference=against,
        extractor=extractor,
        metrics=config.quality.metrics,
        held_out=reference.held_out(against, split, lambda text: None if quiet else note(text)),
        save=config.quality.save,
        made=dict(images.facts) if isinstance(images, SampleStore) else {},
        world=here,
        work=work,
        track=tracker(quiet=quiet),
    )
    found = quality.compare(job)
    if here.rank == 0:
        subject = _subject(path, folder, job)
        folder = folder.with_name(place_of(folder.parent, folder.name, subject, quiet=quiet))
        keep(found, folder, subject, work, began=began, world=here)
        if not quiet:
            show(found, folder)
    world.leave()


def _split(images: "Images", at: ImagesAt, split: Any) -> Any:
    """The data set that the images are compared with, in their size."""
    if at.dataset is None:
        raise FixableError(
            f"--reference {split}: of which data set? the images do not say",
            "name it: --dataset cifar10, or --dataset npz --data FILE; or --reference FOLDER",
        )
    side, _, channels = images.read([0]).shape[1:]
    return at.load(None, (channels, side, side), split, {})


def _record(path: Path, reports: Path, name: str | None) -> Path:
    """The record's folder: that of the model whose store it is, or one named after the images."""
    from ddpm_eval.record import store

    path = path.resolve()
    if name is None and path.parent.name == "store" and (path / store.NAME).exists():
        return path.parent.parent
    return reports / (plain_name(name) or (path.stem if path.is_file() else path.name))


def _subject(path: Path, folder: Path, job: "Comparison") -> dict[str, Any]:
    """Who the record is about: the checkpoint that the samples come from, or the images."""
    from ddpm_eval.features import bank
    from ddpm_eval.record import disk

    digest = job.made.get("checkpoint") or bank.content(job.samples)
    if disk.exists(folder):
        subjects = disk.load(folder).subjects
        if digest in subjects:
            return {**subjects[digest], "checkpoint": digest}
    return {"checkpoint": digest, "file": path.name, "images": len(job.samples)}
