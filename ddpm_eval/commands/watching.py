"""``ddpm-eval watch``: every checkpoint is measured as training writes it, and the best is kept."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpm_eval.commands.options import (
    Accept,
    Data,
    Dataset,
    Device,
    Inception,
    Name,
    Quiet,
    Reports,
    Seed,
    Split,
)
from ddpm_eval.commands.running import (
    ImagesAt,
    Place,
    keep,
    note,
    open_job,
    place_of,
    plain_name,
    split_named,
    weights_at,
)
from ddpm_eval.config import EvalConfig, QualityConfig, SamplingConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import explain
from ddpm_train.terminal import escape, output, say

if TYPE_CHECKING:
    from ddpm_eval.job import Job
    from ddpm_eval.record.schema1 import Measurement

NOTHING = "none"  # as an extractor
BEST = "best.pt"
HELD = "watched.pt"  # a second name of the checkpoint that is being measured


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
    inception: Inception = None,
    accept: Accept = "",
    once: Annotated[
        bool, typer.Option("--once", help="Measure what is there, and do not wait for more.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="Seconds between two looks at the run.")
    ] = 30.0,
    split: Split = "test",
    seed: Seed = 0,
    data: Data = None,
    dataset: Dataset = None,
    device: Device = "auto",
    name: Name = None,
    reports: Reports = Path("reports"),
    quiet: Quiet = False,
) -> None:
    """Measure every checkpoint of a run as it is written, and keep the best.

    Few samples in few steps: the curves tell checkpoints from each other, not the
    model from published ones. The best is kept as RUN/checkpoints/best.pt. Ends
    when the run is complete; after a kill, rerun the same command.
    """
    from ddpm_train import world

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise FixableError("watch works in one process", "start it without torchrun")
    world.require_float64(world.choose_device(device), "watch")
    config = EvalConfig(
        split=split_named(split),
        seed=seed,
        budget=budget,
        sampling=SamplingConfig(steps=steps),
        quality=QualityConfig(
            extractor=extractor,
            **weights_at(inception, accept, extractor),
            metrics=("IS", "FID"),
        ),
    )
    folder = _run_folder(run)
    name = _name(folder, plain_name(name) or folder.resolve().name, reports, quiet=quiet)
    record = reports / name
    _agree(folder, record, _settings(config, n))
    if not (quiet or list(_new(folder, record))):
        note(f"{folder}: every checkpoint that is there is measured; see ddpm-eval report")
    while True:
        last = once or _is_complete(folder)  # asked first: what is written below is seen next time
        for path in _new(folder, record):
            place = Place(path, name, reports, ImagesAt(data, dataset), device=device, quiet=quiet)
            try:
                with _held(path):
                    last = _measure(folder, place, config, n) or last
            except FixableError:
                if path.exists():
                    raise
                note(f"{path}: gone before it was measured; log.keep=0 keeps every checkpoint")
        if last:
            return
        time.sleep(every)


def _run_folder(run: Path | None) -> Path:
    """The folder of the run that is meant; it may have no checkpoint yet."""
    from ddpm_train import runs

    folder = runs.find(None).parent.parent if run is None else run
    if not (folder / "config.json").is_file():
        raise FixableError(f"{folder}: not the folder of a run", "name one: runs/cifar10, say")
    return folder


def _new(folder: Path, record: Path) -> Iterator[Path]:
    """The checkpoints that are not measured yet, the oldest first."""
    from ddpm_eval.measure import watch as watched
    from ddpm_train import runs

    for path in reversed(runs.checkpoints(folder)):
        kept = _kept(folder, record)
        if kept is None or _step(path) not in {point.step for point in watched.points(kept)}:
            yield path


def _kept(folder: Path, record: Path) -> "Measurement | None":
    """The points in a record, if they are of the run in this folder: another's steps are others."""
    from ddpm_eval.measure import watch as watched
    from ddpm_eval.record import disk, lowering
    from ddpm_eval.record.identity import same_run

    if not disk.exists(record):
        return None
    report, run = disk.load(record), {"run": _settings_of(folder)}
    kept = report.strongest(watched.NAME)
    if kept is None or not any(same_run(each, run) for each in report.subjects.values()):
        return None
    return lowering.measurement(kept)


def _settings_of(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder."""
    from ddpm_eval.model import public
    from ddpm_train.config import RunConfig
    from ddpm_train.settings import from_dict

    text = (folder / "config.json").read_text("utf-8")
    return public(from_dict(RunConfig, json.loads(text)))


def _name(folder: Path, name: str, reports: Path, *, quiet: bool) -> str:
    """The name of the record of a run: a free one where its own is taken."""
    from ddpm_eval.record.shards import key_of

    run = _settings_of(folder)
    return place_of(reports, name, {"checkpoint": key_of(run), "run": run}, quiet=quiet)


def _agree(folder: Path, record: Path, settings: Mapping[str, Any]) -> None:
    """See that the points that the record has of this run were measured with these settings.

    Raises:
        FixableError: Names those that differ.
    """
    from ddpm_eval.measure import watch as watched
    from ddpm_train.settings import differences

    kept = _kept(folder, record)
    if kept is None:
        return
    apart = (*watched.FOUND, "weights", "T")  # those are the run's
    before = {key: value for key, value in kept.settings.items() if key not in apart}
    changes = differences(before, settings)
    if changes:
        raise FixableError(
            f"{record}: watched so far with other settings: {'; '.join(changes)}",
            "rerun with those settings, or name another record: --name",
        )


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _is_complete(folder: Path) -> bool:
    """Whether the last checkpoint of the run is there."""
    from ddpm_train import runs

    found = runs.checkpoints(folder)
    total = json.loads((folder / "config.json").read_text("utf-8"))["optim"]["steps"]
    return bool(found) and _step(found[0]) >= total


def _measure(folder: Path, place: Place, config: EvalConfig, n: int) -> bool:
    """Measure one checkpoint of a run into the record; tell whether it is the last."""
    from ddpm_eval.measure import watch as watched
    from ddpm_eval.model import identity

    began = time.monotonic()
    job = open_job(watched.NAME, config, place)
    settings = {**_settings(config, n), "weights": job.subject.facts.weights}
    kept = _kept(folder, place.folder)
    known = [] if kept is None else watched.points(kept)
    point = watched.Point(
        step=_step(place.checkpoint),
        checkpoint=str(job.subject.facts.digest),
        quantities=_quantities(job, n),
    )
    by = next((name for name in point.quantities if name.startswith("F")), "bits/dim")
    found = watched.measurement([*known, point], settings, by)
    best = watched.best([*known, point], by).step == point.step
    if best:
        place.checkpoint.with_name(HELD).replace(place.checkpoint.with_name(BEST))
    keep(
        found,
        place.folder,
        identity(job.subject),
        job.work,
        began=began,
        world=job.world,
    )
    if not place.quiet:
        texts = [
            str(quantity) if name == quantity.unit else f"{name} {quantity}"
            for name, quantity in point.quantities.items()
        ]
        mark = f"; the best {by} so far" if best else ""
        say(escape(f"step {point.step:,}: {', '.join(texts)}{mark}"), to=output)
    run = job.subject.facts.run
    return run is not None and point.step >= run.optim.steps


def _quantities(job: "Job", n: int) -> dict[str, Any]:
    """Bits/dim by the estimator and, with an extractor, IS and FID of a few samples."""
    from ddpm_eval.choice import ImageSet
    from ddpm_eval.measure import measure_of
    from ddpm_eval.measure.bound import estimate
    from ddpm_eval.measure.bound.settings import BoundSettings
    from ddpm_eval.record.schema1 import Quantity
    from ddpm_eval.runtime import Runtime

    # Of its own: what a kill left of a checkpoint that is gone by now is in nobody's way.
    work = job.work / str(job.subject.facts.digest)[:16]
    split = job.config.split
    bound = estimate.measure(
        job.subject,
        ImageSet.of(job.images(split), split=split),
        BoundSettings(budget=job.config.budget, seed=job.config.seed),
        Runtime(world=job.world, cache=work / "nll", track=job.track, notify=job.notify),
    )
    total = bound.scores[0]
    stderr = None if total.error is None else total.error.size
    found = {"bits/dim": Quantity(total.value, "bits/dim", n=total.n, stderr=stderr)}
    if job.config.quality.extractor == NOTHING:
        return found
    quality = measure_of("quality")(
        replace(job, work=work / "quality", stores=None, config=replace(job.config, n=n))
    )
    return found | {name: q for name, q in quality.quantities.items() if " of " not in name}


def _settings(config: EvalConfig, n: int) -> dict[str, Any]:
    """What all points of the curves have in common."""
    shared = {
        "split": config.split,
        "seed": config.seed,
        "budget": config.budget,
    }
    if config.quality.extractor == NOTHING:
        return shared
    return shared | {
        "extractor": config.quality.extractor,
        "reference": config.quality.reference,
        "n": n,
        "sampler": config.sampling.sampler,
        "steps": config.sampling.steps,
    }


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Give a checkpoint a second name meanwhile, since training may clear the first away."""
    held = path.with_name(HELD)
    held.unlink(missing_ok=True)
    try:
        _link(path, held)
        yield
    finally:
        held.unlink(missing_ok=True)


def _link(path: Path, second: Path) -> None:
    try:
        os.link(path, second)
    except FileNotFoundError as error:
        raise FixableError(f"{path}: no such checkpoint", "name one that is there") from error
    except OSError:  # a file system without links
        try:
            shutil.copyfile(path, second)
        except OSError as error:
            raise explain(error, second) from error
