"""Commands about bits/dim: ``nll``, ``rate-distortion``, ``baselines``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddpm_eval.commands.checks import check_checkpoint, check_split
from ddpm_eval.commands.options import (
    Budget,
    Calibrate,
    Changes,
    Checkpoint,
    Count,
    Data,
    Dataset,
    First,
    Split,
    Target,
)
from ddpm_eval.commands.profiles import ProfileFile, profile_of, profile_place
from ddpm_eval.commands.task import Task, Work
from ddpm_eval.measure.bound.settings import BaselineSettings, BoundSettings
from ddpm_eval.settings import EvalSettings, changed, values

if TYPE_CHECKING:
    from ddpm_eval.choice import ImageSet


def nll(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Count = 0,
    first: First = False,
    target_stderr: Target = 0.0,
    budget: Budget = 0,
    against: Annotated[
        Path | None, typer.Option("--against", help="A second checkpoint, on the same noise.")
    ] = None,
    strides: Annotated[
        str, typer.Option("--strides", help="The bound of so few steps, the best: 20,50,100.")
    ] = "",
    ode: Annotated[
        bool, typer.Option("--ode", help="By the probability-flow ODE, the bound beside it.")
    ] = False,
    calibrate: Calibrate = 0,
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Bits/dim: the variational bound, an estimate of it, of fewer steps, or by the ODE."""
    bound = BoundSettings(
        n=n, first=first, target_stderr=target_stderr, budget=budget, calibrate=calibrate
    )
    counts = [f"strides.counts={strides}"] if strides else []
    uses = ["bound", *["strides"] * bool(strides), *["ode"] * ode, "data", "compute"]
    tree = EvalSettings(bound=bound)
    settings, of_model = changed(tree, [*counts, *(changes or [])], uses)
    check_split(split)
    if against is not None:
        check_checkpoint(against)
    task = Task(
        measure=_measure(against=against is not None, strides=bool(strides), ode=ode),
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
    )
    with task.opened() as work:
        import ddpm_eval as de

        other = None if against is None else task.load(against)
        labels = bool(work.model.classes or (other and other.classes))
        work.finish(
            de.bits_per_dim(
                work.model,
                work.images(split, labels=labels),
                **values(settings.bound),
                against=other,
                strides=settings.strides.counts,
                ode=settings.ode if ode else False,
                training=_training(work, settings),
                runtime=work.runtime,
            )
        )


def _training(work: Work, settings: EvalSettings) -> "ImageSet | None":
    """Open the training images, where the best variance is learned from some."""
    if not settings.bound.calibrate:
        return None
    return work.images("train", labels=bool(work.model.classes))


def _measure(*, against: bool, strides: bool, ode: bool) -> str:
    """Name the measure whose result is recorded."""
    return "comparison" if against else "strides" if strides else "ode" if ode else "bound"


def rate_distortion(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Count = 0,
    first: First = False,
    target_stderr: Target = 0.0,
    budget: Budget = 0,
    calibrate: Calibrate = 0,
    files: Annotated[
        bool, typer.Option("--files", help="Of real files, beside PNG, WebP, JPEG XL and others.")
    ] = False,
    profile: ProfileFile = None,
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Rate and distortion over the reverse steps: Table 4 and Figure 5 of the paper.

    A full bound of the same settings that nll has recorded is used as it is. With --files every
    image is compressed, and the prefixes of its file are decoded.
    """
    bound = BoundSettings(
        n=n, first=first, target_stderr=target_stderr, budget=budget, calibrate=calibrate
    )
    uses = ["bound", *["files", "calibration"] * files, "data", "compute"]
    settings, of_model = changed(EvalSettings(bound=bound), changes or [], uses)
    check_split(split)
    task = Task(
        measure="files" if files else "rate_distortion",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
    )
    with task.opened() as work:
        import ddpm_eval as de

        learned = None
        if files:
            place = profile_place(profile, checkpoint)
            learned = profile_of(work.model, place, settings, work.runtime, named=profile)
        work.finish(
            de.rate_distortion(
                work.model,
                work.images(split, labels=bool(work.model.classes)),
                **values(settings.bound),
                training=_training(work, settings),
                files=settings.files if files else False,
                profile=learned,
                runtime=work.runtime,
            )
        )


def baselines(
    checkpoint: Checkpoint = None,
    split: Split = "test",
    n: Count = 0,
    first: First = False,
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Bits/dim of an untrained network and of independent-pixel histograms."""
    tree = EvalSettings(baselines=BaselineSettings(n=n, first=first))
    settings, of_model = changed(tree, changes or [], uses=("baselines", "data", "compute"))
    check_split(split)
    task = Task(
        measure="baselines",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        dataset=dataset,
        data=data,
    )
    with task.opened() as work:
        import ddpm_eval as de

        work.finish(
            de.baselines(
                work.model,
                work.images(split, labels=bool(work.model.classes)),
                training=work.images("train", labels=bool(work.model.classes)),
                **values(settings.baselines),
                runtime=work.runtime,
            )
        )
