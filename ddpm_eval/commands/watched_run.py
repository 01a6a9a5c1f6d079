"""A run that ``ddpm-eval watch`` looks at: which checkpoints are new, and how each is measured."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm_eval.commands.checks import plain_name
from ddpm_eval.commands.options import common
from ddpm_eval.commands.recording import Recording, note, runtime_for, settled
from ddpm_eval.settings import EvalSettings
from ddpm_train.errors import FixableError
from ddpm_train.folders import remove_tree
from ddpm_train.reading import expanded
from ddpm_train.terminal import escape, output, say

if TYPE_CHECKING:
    from ddpm_eval.choice import ImageSet
    from ddpm_eval.measure.watch import Point
    from ddpm_eval.model import Model
    from ddpm_eval.record.protocol import Protocol
    from ddpm_eval.record.record import Measurement
    from ddpm_train.config import RunConfig

BEST = "best.pt"
HELD = "watched.pt"  # a second name of the checkpoint that is being measured


@dataclass(frozen=True, slots=True)
class Images:
    """Which images bits/dim is measured on, and where those of the data set lie."""

    split: str
    dataset: str | None
    data: Path | None

    def of(self, model: "Model", split: str) -> "ImageSet":
        """Open the images of a split for a checkpoint of the run."""
        from ddpm_eval.door.images import images

        return images(self.dataset or model, split=split, path=self.data, like=model)


@dataclass(frozen=True, kw_only=True)
class WatchedRun:
    """A run that is watched: its folder and settings, how it is measured, and its record."""

    folder: Path
    run: "RunConfig"
    settings: EvalSettings
    of_model: list[str]
    images: Images
    recording: Recording
    protocol: "Protocol"

    def recorded(self) -> "Measurement | None":
        """What the record has of this run, measured with these settings."""
        from ddpm_eval.measure.watch import NAME

        return self.recording.recorded(NAME, self.protocol)

    def points(self) -> list["Point"]:
        """The checkpoints that are measured already."""
        from ddpm_eval.measure import watch as watched

        measurement = self.recorded()
        return [] if measurement is None else watched.points(measurement)

    def new(self) -> Iterator[Path]:
        """The checkpoints that are not measured yet, the oldest first."""
        from ddpm_train import runs

        for path in reversed(runs.checkpoints(self.folder)):
            if runs.step_in(path) not in {point.step for point in self.points()}:
                yield path

    def is_complete(self) -> bool:
        """Whether the last checkpoint of the run is there."""
        from ddpm_train import runs

        paths = runs.checkpoints(self.folder)
        return bool(paths) and runs.step_in(paths[0]) >= self.run.optim.steps

    def measure(self, path: Path) -> bool:
        """Measure one checkpoint into the record; tell whether it is the last."""
        from ddpm_eval.loading import load
        from ddpm_eval.measure import watch as watched
        from ddpm_eval.model import identity
        from ddpm_eval.record import provenance
        from ddpm_train import runs

        began, options = time.monotonic(), common()
        weights: Any = options.weights or None
        compute = self.settings.compute
        model = load(
            path,
            weights=weights,
            settings=self.of_model,
            device=options.device,
            precision=compute.precision,
            compile=compute.compile,
        )
        runs.require_step(path, model.facts.step or 0)
        step, points = runs.step_in(path), self.points()
        point = watched.Point(step, model.facts.digest, self._scores(model))
        by = watched.key_of(next((s for s in point.scores if s.metric == "fid"), point.scores[0]))
        result = watched.measurement([*points, point], self.protocol, by)
        is_best = watched.best([*points, point], by).step == step
        if is_best:
            path.with_name(HELD).replace(path.with_name(BEST))
        origin = provenance.gather(
            self.recording.runtime.command,
            seconds=time.monotonic() - began,
            device=model.device,
            size=1,
        )
        subjects = {model.facts.digest: identity(model)}
        self.recording.keep(replace(result, provenance=origin), subjects)
        if not options.quiet:
            texts = [f"{score.label} {score}" for score in point.scores]
            mark = f"; the best {by[1].label(by[0])} so far" if is_best else ""
            say(escape(f"step {step:,}: {', '.join(texts)}{mark}"), to=output)
        return step >= self.run.optim.steps

    def _scores(self, model: "Model") -> tuple[Any, ...]:
        """Bits/dim by the estimator and, with an extractor, IS and FID of a few samples."""
        import ddpm_eval as de
        from ddpm_eval.door.quality import measure_all
        from ddpm_eval.runtime import nothing
        from ddpm_eval.settings import values

        # Of its own: what a kill left of a checkpoint that is gone by now is in nobody's way.
        place = self.recording.runtime.inside("watch")
        work = place.inside(model.facts.digest[:16])
        work = replace(work, stores=None, recorded=nothing, folders=[])
        images = self.images.of(model, self.images.split)
        bound = de.bits_per_dim(model, images, **values(self.settings.bound), runtime=work)
        scores = [bound.scores[0]]
        if self.settings.quality.extractors:
            (quality,) = measure_all(
                model,
                self.images.of(model, "train"),
                None,
                self.settings.quality,
                work,
                sampling=self.settings.samples,
            )
            scores += [score for score in quality.scores if score.metric != "relative_fd"]
        if place.cache is not None:
            remove_tree(place.cache)
        return tuple(scores)


def open_run(
    run: Path | None,
    settings: EvalSettings,
    of_model: list[str],
    images: Images,
) -> WatchedRun:
    """Find the run and its record, and say if there is nothing new."""
    if run is not None and not (expanded(run) / "config.json").is_file():
        raise FixableError(f"{run}: not the folder of a run", "name one: runs/cifar10, say")
    from ddpm_eval.measure.quality.plan import require_files
    from ddpm_eval.metrics.names import named
    from ddpm_eval.model import public
    from ddpm_eval.record.shards import key_of
    from ddpm_train import runs, samplers, world
    from ddpm_train.config import RunConfig
    from ddpm_train.reading import read_json
    from ddpm_train.settings import from_dict

    world.require_float64(world.choose_device(common().device), "watch")
    folder = runs.find(None).parent.parent if run is None else expanded(run)
    if not (folder / "config.json").is_file():
        raise FixableError(f"{folder}: not the folder of a run", "name one: runs/cifar10, say")
    require_files(settings.quality)
    named(settings.quality.metrics)
    samplers.require(settings.samples)
    config = from_dict(RunConfig, read_json(folder / "config.json"))
    key = key_of(public(config))
    name = plain_name(common().name) or folder.resolve().name
    place = settled(common().reports / name, {key: {"run": public(config)}})
    recording = Recording(measure="watch", folder=place)
    recording.runtime = runtime_for(recording, batch=settings.compute.batch)
    watching = WatchedRun(
        folder=folder,
        run=config,
        settings=settings,
        of_model=of_model,
        images=images,
        recording=recording,
        protocol=_protocol(config, settings, images, key),
    )
    if not list(watching.new()):
        note(f"{folder}: every checkpoint that is there is measured; see ddpm-eval report")
    return watching


def _protocol(run: "RunConfig", settings: EvalSettings, images: Images, key: str) -> "Protocol":
    """What all points have in common."""
    from ddpm_eval.features import find
    from ddpm_eval.measure.watch import VERSION
    from ddpm_eval.record.protocol import (
        EstimatorFacts,
        ExtractorFacts,
        Protocol,
        SamplingFacts,
    )

    quality, samples = settings.quality, settings.samples
    extractor = sampling = None
    if quality.extractors:
        description = find(quality.extractors[0]).description
        digest = quality.accept_weights or description.published
        extractor = ExtractorFacts(name=description.name, digest=digest)
        sampling = SamplingFacts(
            sampler=samples.sampler,
            steps=int(samples.steps) or run.schedule.T,
            T=run.schedule.T,
            seed=samples.seed,
            n=quality.n,
            clip=samples.clip,
        )
    return Protocol(
        version=VERSION,
        weights=common().weights or "ema",
        sampling=sampling,
        extractor=extractor,
        estimator=EstimatorFacts(
            target_stderr=settings.bound.target_stderr, budget=settings.bound.budget
        ),
        seed=settings.bound.seed,
        settings={"run": key, "split": images.split, "dataset": images.dataset},
    )
