"""Commands to look with: ``progressive``, ``reconstruct``, ``interpolate``, ``neighbours``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ddpm_eval.commands.options import (
    Accept,
    Batch,
    Checkpoint,
    Data,
    Dataset,
    Device,
    Eta,
    Inception,
    Name,
    NoClip,
    Quiet,
    Raw,
    Reports,
    Sampler,
    Samples,
    Seed,
    Split,
    Steps,
)
from ddpm_eval.commands.running import ImagesAt, Place, run, split_named, weights_at
from ddpm_eval.config import EvalConfig, PicturesConfig, QualityConfig, SamplingConfig
from ddpm_train.errors import FixableError

FILTERS = ("none", "nearest", "box", "bilinear", "bicubic", "lanczos")


Extractor = Annotated[
    str, typer.Option("--extractor", help="Look at features too: inception, or digits-cnn.")
]


def progressive(
    checkpoint: Checkpoint = None,
    n: Annotated[
        int,
        typer.Option("-n", "--n", min=0, help="Samples; 0: 64, or 1,000 with --extractor."),
    ] = 0,
    extractor: Extractor = "",
    inception: Inception = None,
    accept: Accept = "",
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """The clean image as the chain sees it, step by step: Figures 6, 7 and 10 of the paper.

    With --extractor also IS and FID of it against the training images, over the steps.
    """
    config = EvalConfig(
        n=n,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        pictures=PicturesConfig(extractor=extractor),
        quality=QualityConfig(**weights_at(inception, accept, extractor)),
    )
    images = ImagesAt(data, dataset)
    place = Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    run("progressive", config, place)


def reconstruct(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Annotated[int, typer.Option("-n", "--n", min=0, help="Images; 0: 8.")] = 8,
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Lossy reconstructions of test images, each with twice the bits of the one before."""
    config = EvalConfig(split=split_named(split), n=n, seed=seed, batch=batch, clip=not no_clip)
    images = ImagesAt(data, dataset)
    place = Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    run("reconstructions", config, place)


def interpolate(
    checkpoint: Checkpoint = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pairs", help="Two images by their indices: --pairs 0,1 --pairs 5,9."),
    ] = None,
    images: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--images", help="Two picture files of yours, in place of indices."),
    ] = None,
    resize: Annotated[
        str,
        typer.Option("--resize", help="Crop and resize your files: lanczos, box, bicubic, ..."),
    ] = "none",
    t: Annotated[
        int | None, typer.Option("--t", min=0, help="Where they are mixed; half of T if left out.")
    ] = None,
    lambdas: Annotated[
        str | None, typer.Option("--lambdas", help="0.25,0.5,0.75, say; 0.1 to 0.9 if left out.")
    ] = None,
    mix: Annotated[
        str,
        typer.Option("--mix", help="linear, as the paper's, or spherical, which keeps variance."),
    ] = "linear",
    split: Split = "test",
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Paths between images, mixed at t and decoded: Figures 8 and 9 of the paper."""
    if images and pairs:
        raise FixableError("--images and --pairs: two kinds of sources", "give one of them")
    if resize != "none" and not images:
        raise FixableError(
            "--resize: of no effect without --images", "add --images, or leave it out"
        )
    chosen: dict[str, Any] = {
        "files": tuple(map(str, images or ())),
        "resize": _choice("--resize", resize, FILTERS),
        "t": t,
        "mix": _choice("--mix", mix, ("linear", "spherical")),
    }
    if pairs:
        chosen["pairs"] = tuple(_pair(text) for text in pairs)
    if lambdas is not None:
        chosen["lambdas"] = _numbers(lambdas)
    config = EvalConfig(
        split=split_named(split),
        seed=seed,
        batch=batch,
        clip=not no_clip,
        pictures=PicturesConfig(**chosen),
    )
    place = Place(
        checkpoint, name, reports, ImagesAt(data, dataset), device=device, raw=raw, quiet=quiet
    )
    run("interpolation", config, place)


def neighbours(
    checkpoint: Checkpoint = None,
    n: Samples = 64,
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours that are shown.")] = 5,
    held_out: Annotated[
        int,
        typer.Option("--held-out", min=0, help="Test images to judge by, at most; 0: none."),
    ] = 1000,
    extractor: Extractor = "",
    inception: Inception = None,
    accept: Accept = "",
    steps: Steps = 0,
    sampler: Sampler = "ancestral",
    eta: Eta = 0.0,
    seed: Seed = 0,
    batch: Batch = 64,
    raw: Raw = False,
    no_clip: NoClip = False,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """The training images nearest to samples, and whether any was learned by heart."""
    config = EvalConfig(
        n=n,
        seed=seed,
        batch=batch,
        clip=not no_clip,
        sampling=SamplingConfig(sampler=sampler, steps=steps, eta=eta),
        pictures=PicturesConfig(k=k, held_out=held_out, extractor=extractor),
        quality=QualityConfig(**weights_at(inception, accept, extractor)),
    )
    place = Place(
        checkpoint, name, reports, ImagesAt(data, dataset), device=device, raw=raw, quiet=quiet
    )
    run("neighbours", config, place)


def _choice(option: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise FixableError(f"{option} {text}: not a choice", f"choose {' or '.join(choices)}")
    return text


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = map(int, text.split(","))
    except ValueError as error:
        raise FixableError(f"--pairs {text}: not two indices", "write --pairs 0,1") from error
    if min(first, second) < 0:
        raise FixableError(f"--pairs {text}: a negative index", "count from 0: --pairs 0,1")
    return first, second


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise FixableError(
            f"--lambdas {text}: not numbers with commas between", "write --lambdas 0.25,0.5,0.75"
        ) from error
