"""The command ``guidance``: quality over the scale of a classifier's gradient."""

from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands import classifiers
from ddpm_eval.commands.checks import check_extractor
from ddpm_eval.commands.options import Changes, Checkpoint, Classes, Seed, Steps, classes_changes
from ddpm_eval.commands.task import Task
from ddpm_eval.measure.pictures.settings import SamplingSettings, Scales
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train import leaves
from ddpm_train.errors import FixableError


def guidance(
    checkpoint: Checkpoint = None,
    classifier: Annotated[
        Path | None, typer.Option("--classifier", help="A classifier of noisy images.")
    ] = None,
    scales: Annotated[
        str, typer.Option("--scales", help="Of its gradient, with commas between them.")
    ] = "0,0.5,1,2,4",
    n: Annotated[int, typer.Option("-n", "--n", min=2, help="Samples at each scale.")] = 1000,
    extractor: Annotated[
        str, typer.Option("--extractor", help="inception, dinov2-l14, digits-cnn, ...")
    ] = "inception",
    steps: Steps = 0,
    classes: Classes = "",
    seed: Seed = 0,
    changes: Changes = None,
) -> None:
    """FID, IS, precision, recall and recognised share of guided samples, over the scale."""
    if classifier is None:
        raise FixableError("guidance: by which classifier?", "name one: --classifier FILE")
    check_extractor([extractor], None, "")
    tree = EvalSettings(samples=SamplingSettings(steps=steps, seed=seed))
    wanted = leaves.read(Scales, sorted({*leaves.parse(Scales, scales, "scales")}), "scales")
    of_classifier, others = classifiers.check(classifier, changes or [])
    texts = [*classes_changes(classes, "samples"), *others]
    settings, of_model = changed(
        tree, texts, uses=("samples", "data", "compute"), unused=["samples.n"]
    )
    task = Task(
        measure="guidance",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        needs_float64=False,
    )
    with task.opened() as work:
        from ddpm_eval.door.scales import guidance as measure

        result = measure(
            work.model,
            classifiers.opened(classifier, of_classifier),
            work.images("train"),
            scales=wanted,
            n=n,
            extractor=extractor,
            sampling=settings.samples,
            runtime=work.runtime,
        )
        work.finish(result)
