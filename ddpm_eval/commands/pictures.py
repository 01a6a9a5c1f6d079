"""Commands to look with: ``progressive``, ``reconstruct``."""

from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands.options import (
    Batch,
    Checkpoint,
    Count,
    Data,
    Dataset,
    Device,
    Name,
    NoClip,
    Quiet,
    Raw,
    Reports,
    Seed,
    Split,
)
from ddpm_eval.commands.running import ImagesAt, Place, run, split_named
from ddpm_eval.config import EvalConfig, PicturesConfig, QualityConfig

Extractor = Annotated[
    str, typer.Option("--extractor", help="Look at features too: inception, or digits-cnn.")
]
Inception = Annotated[
    Path | None, typer.Option("--inception", help="The file of Inception's weights.")
]


def progressive(
    checkpoint: Checkpoint = None,
    n: Annotated[
        int,
        typer.Option("-n", "--n", min=0, help="Samples; 0: 64, or 1,000 with --extractor."),
    ] = 0,
    extractor: Extractor = "",
    inception: Inception = None,
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
        quality=QualityConfig(inception="" if inception is None else str(inception)),
    )
    images = ImagesAt(data, dataset)
    place = Place(checkpoint, name, reports, images, device=device, raw=raw, quiet=quiet)
    run("progressive", config, place)


def reconstruct(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Count = 8,
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
