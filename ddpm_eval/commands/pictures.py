"""Commands to look with: ``progressive``, ``reconstruct``, ``interpolate``, ``neighbours``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddpm_eval.commands.checks import check_extractor, check_split
from ddpm_eval.commands.options import (
    Accept,
    Changes,
    Checkpoint,
    Classes,
    Data,
    Dataset,
    First,
    Inception,
    Sampler,
    Samples,
    Seed,
    Split,
    Steps,
    classes_changes,
)
from ddpm_eval.commands.task import Task, Work
from ddpm_eval.measure.pictures.settings import (
    InterpolationSettings,
    NeighbourSettings,
    ProgressiveSettings,
    ReconstructionSettings,
    SamplingSettings,
)
from ddpm_eval.settings import EvalSettings, changed, values
from ddpm_train import leaves
from ddpm_train.config import Filter
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing

if TYPE_CHECKING:
    from ddpm_eval.features import Extractor

Looking = Annotated[
    str, typer.Option("--extractor", help="Look at features too: inception, or digits-cnn.")
]


def progressive(
    checkpoint: Checkpoint = None,
    n: Annotated[
        int,
        typer.Option("-n", "--n", min=0, help="Samples; 0: 64, or 1,000 with --extractor."),
    ] = 0,
    extractor: Looking = "",
    weights: Inception = None,
    accept: Accept = "",
    seed: Seed = 0,
    classes: Classes = "",
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """The clean image as the chain sees it, step by step: Figures 6, 7 and 10 of the paper.

    With --extractor also IS and FID of it against the training images, over the steps.
    """
    check_extractor([extractor] if extractor else [], weights, accept)
    tree = EvalSettings(progressive=ProgressiveSettings(n=n, seed=seed))
    texts = [*classes_changes(classes, "progressive"), *(changes or [])]
    settings, of_model = changed(tree, texts, uses=("progressive", "data", "compute"))
    task = Task(
        measure="progressive",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
    )
    with task.opened() as work:
        import ddpm_eval as de

        work.finish(
            de.progressive(
                work.model,
                **values(settings.progressive),
                extractor=_opened(work, extractor, weights, accept),
                training=work.images("train") if extractor else None,
                runtime=work.runtime,
            )
        )


def reconstruct(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Annotated[int, typer.Option("-n", "--n", min=0, help="Images; 0: all.")] = 8,
    first: First = False,
    seed: Seed = 0,
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Lossy reconstructions of images, each with twice the bits of the one before."""
    tree = EvalSettings(reconstructions=ReconstructionSettings(n=n, first=first, seed=seed))
    uses = ("reconstructions", "data", "compute")
    settings, of_model = changed(tree, changes or [], uses)
    check_split(split)
    task = Task(
        measure="reconstructions",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
    )
    with task.opened() as work:
        import ddpm_eval as de

        work.finish(
            de.reconstruct(
                work.model,
                work.images(split, labels=bool(work.model.classes)),
                **values(settings.reconstructions),
                runtime=work.runtime,
            )
        )


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
        str, typer.Option("--lambdas", help="0.25,0.5,0.75, say; 0.1 to 0.9 if left out.")
    ] = "",
    mix: Annotated[
        str,
        typer.Option("--mix", help="linear, as the paper's, or spherical, which keeps variance."),
    ] = "linear",
    first: First = False,
    seed: Seed = 0,
    split: Split = "test",
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Paths between images, mixed at t and decoded: Figures 8 and 9 of the paper.

    Four pairs, drawn by the seed, unless --pairs or --images name others.
    """
    if images and pairs:
        raise FixableError("--images and --pairs: two kinds of sources", "give one of them")
    if resize != "none" and not images:
        raise FixableError(
            "--resize: of no effect without --images", "add --images, or leave it out"
        )
    leaves.read(Filter, resize, "resize")
    for path in images or ():
        existing(str(path), "a picture")
    chosen = ((0, 1),) if images else tuple(_pair(text) for text in pairs or ())
    asked = InterpolationSettings(pairs=chosen, first=first, t=t, seed=seed)
    texts = [f"interpolation.mix={mix}"]
    texts += [f"interpolation.lambdas={lambdas}"] if lambdas else []
    uses = ("interpolation", "data", "compute")
    tree = EvalSettings(interpolation=asked)
    settings, of_model = changed(tree, [*texts, *(changes or [])], uses)
    check_split(split)
    task = Task(
        measure="interpolation",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
        needs_float64=False,
    )
    with task.opened() as work:
        import ddpm_eval as de
        from ddpm_eval.sources import open_files

        files = open_files(images, work.model.shape, resize) if images else None
        work.finish(
            de.interpolate(
                work.model,
                work.images(split, labels=bool(work.model.classes)) if files is None else files,
                **values(settings.interpolation),
                names=[path.name for path in images or ()],
                runtime=work.runtime,
            )
        )


def neighbours(
    checkpoint: Checkpoint = None,
    n: Samples = 64,
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours that are shown.")] = 5,
    held_out: Annotated[
        int,
        typer.Option("--held-out", min=0, help="Test images to judge by, at most; 0: none."),
    ] = 1000,
    extractor: Looking = "",
    weights: Inception = None,
    accept: Accept = "",
    steps: Steps = 0,
    sampler: Sampler = "ancestral",
    seed: Seed = 0,
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """The training images nearest to samples, and whether the model memorised any.

    --set neighbours.sampling.eta=1 and the like say how the samples are drawn.
    """
    check_extractor([extractor] if extractor else [], weights, accept)
    sampling = SamplingSettings(n=n or 64, seed=seed, sampler=sampler, steps=steps)
    chosen = NeighbourSettings(sampling=sampling, k=k, held_out=held_out, seed=seed)
    uses = ("neighbours", "data", "compute")
    settings, of_model = changed(EvalSettings(neighbours=chosen), changes or [], uses)
    task = Task(
        measure="neighbours",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
        needs_float64=False,
    )
    with task.opened() as work:
        import ddpm_eval as de

        work.finish(
            de.neighbours(
                work.model,
                work.images("train"),
                work.images("test") if settings.neighbours.held_out else None,
                **values(settings.neighbours),
                extractor=_opened(work, extractor, weights, accept),
                runtime=work.runtime,
            )
        )


def _opened(work: Work, name: str, path: Path | None, accept: str) -> "Extractor | None":
    """Open the extractor that is named, if one is."""
    from ddpm_eval.features import open_extractor

    if not name:
        return None
    device = work.runtime.world.device
    return open_extractor(name, path=path, device=device, accept=accept)


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = map(int, text.split(","))
    except ValueError as error:
        raise FixableError(f"--pairs {text}: not two indices", "write --pairs 0,1") from error
    if min(first, second) < 0:
        raise FixableError(f"--pairs {text}: a negative index", "count from 0: --pairs 0,1")
    return first, second
