"""``ddpm-eval watch``: every checkpoint is measured as training writes it, and the best is kept."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands.checks import check_extractor, check_images, check_split
from ddpm_eval.commands.options import (
    Accept,
    Changes,
    Data,
    Dataset,
    Inception,
    Split,
)
from ddpm_eval.commands.recording import note
from ddpm_eval.commands.watched_run import HELD, Images, open_run
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train.errors import FixableError
from ddpm_train.files import give_second_name, remove

NOTHING = "none"  # as an extractor


def watch(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder; the newest in runs/ if left out.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=10, help="Samples of each checkpoint.")] = 1000,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Of the reverse process, for speed.")
    ] = 50,
    budget: Annotated[
        int, typer.Option("--budget", min=1, help="Evaluations for the estimate of bits/dim.")
    ] = 1000,
    extractor: Annotated[
        str, typer.Option("--extractor", help="inception, digits-cnn, or none: bits/dim alone.")
    ] = "inception",
    weights: Inception = None,
    accept: Accept = "",
    once: Annotated[
        bool, typer.Option("--once", help="Measure what is there, and do not wait for more.")
    ] = False,
    every: Annotated[
        float,
        typer.Option("--every", min=0.1, max=86_400, help="Seconds between two looks at the run."),
    ] = 30.0,
    split: Split = "test",
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Measure every checkpoint of a run as it is written, and keep the best.

    Few samples in few steps: the curves tell checkpoints from each other, not the
    model from published ones. The best is kept as RUN/checkpoints/best.pt. Ends
    when the run is complete; after a kill, rerun the same command.
    """
    tree = EvalSettings(
        bound=BoundSettings(budget=budget),
        samples=SamplingSettings(steps=steps),
        quality=QualitySettings(
            n=n,
            extractors=() if extractor == NOTHING else (extractor,),
            metrics=("inception_score", "fid"),
            extractor_weights="" if weights is None else str(weights),
            accept_weights=accept,
        ),
    )
    uses = ("bound", "samples", "quality", "compute")
    settings, of_model = changed(tree, changes or [], uses, unused=["samples.n"])
    check_extractor(settings.quality.extractors, weights, accept)
    check_split(split)
    check_images(dataset, data)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FixableError("watch works in one process", "start it without torchrun")
    watched = open_run(run, settings, of_model, Images(split, dataset, data))
    while True:
        last = once or watched.is_complete()  # asked first: what is written below is seen later
        for path in watched.new():
            try:
                with _held(path):
                    last = watched.measure(path) or last
            except FixableError:
                if path.exists():
                    raise
                note(f"{path}: gone before it was measured; log.keep=0 keeps every checkpoint")
        if last:
            return
        time.sleep(every)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Give a checkpoint a second name meanwhile, since training may clear the first away."""
    held = path.with_name(HELD)
    try:
        give_second_name(path, held)
        yield
    finally:
        remove(held)
