"""IS, FID and kin of samples against a reference, from one pass over the images of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_eval.config import QualityConfig
from ddpm_eval.features import Extractor, bank, open_extractor
from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import jobs
from ddpm_eval.measure.quality import sanity, statistics
from ddpm_eval.measure.quality.reference import (
    Reference,
    held_out,
    open_reference,
    require_data,
    require_fit,
)
from ddpm_eval.measure.quality.scan import Scanned, scan, statistics_of
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.metrics import extrapolation
from ddpm_eval.metrics.estimate import Estimate
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.metrics.inception import SPLITS
from ddpm_eval.metrics.kernel import kernel_distance
from ddpm_eval.metrics.manifold import precision_recall
from ddpm_eval.metrics.rows import Rows
from ddpm_eval.progress import Track, quiet
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity
from ddpm_train.data import Images
from ddpm_train.data.pictures import Pictures
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.world import World, require_float64

METRICS = ("IS", "FID", "sFID", "KID", "precision", "recall", "FID-infinity")
OF_ROWS = {"KID", "precision", "recall"}  # need the features of the reference, not their moments
IN_FLOAT64 = {"precision", "recall"}  # on the device


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Samples, their reference, and how they are compared.

    ``held_out`` are other real images: what they score is the yardstick. ``made`` says how the
    samples were made, as far as anyone knows. ``save`` is where to write the statistics of the
    reference.
    """

    samples: Images
    n: int
    reference: Reference
    extractor: Extractor
    metrics: tuple[str, ...] = ()
    held_out: Images | None = None
    made: dict[str, Any] = field(default_factory=dict)
    save: str = ""
    world: World
    work: Path
    track: Track = quiet


def measure(job: Job) -> Measurement:
    """The quality of the model's samples 0..n-1; 50,000 unless the settings say otherwise."""
    config, subject = job.config.quality, job.subject
    extractor = extractor_of(config, job.world.device)
    count, height, width = subject.shape
    extractor.check((height, width, count))
    reference = open_reference(config, job.images, extractor)
    n = job.config.n or sanity.PROTOCOL_N
    require_fit(reference, [height, width], n)
    require_data(reference, subject.facts.file.get("data"))
    # What cannot be had is refused now, not after drawing samples.
    _require_device(_wanted(config.metrics, reference, extractor, n), job.world.device)
    drawn = jobs.ensure(job, n)
    decay = None if subject.facts.run is None else subject.facts.run.optim.ema_decay
    made = {**drawn.facts, "step": subject.facts.step, "ema_decay": decay}
    return compare(
        Comparison(
            samples=drawn,
            n=n,
            reference=reference,
            extractor=extractor,
            metrics=config.metrics,
            held_out=held_out(reference, job.images, job.notify),
            made=made,
            save=config.save,
            world=job.world,
            work=job.work,
            track=job.track,
        )
    )


def extractor_of(config: QualityConfig, device: torch.device) -> Extractor:
    """Open the extractor that the settings name."""
    path = Path(config.inception) if config.inception else None
    return open_extractor(config.extractor, path=path, device=device, accept=config.accept)


def title(metric: str, suffix: str) -> str:
    """A metric's name: only through the published Inception is a distance called FID.

    >>> [title(name, "(x)") for name in ("IS", "sFID", "FID-infinity", "KID")]
    ['IS(x)', 'sFD(x)', 'FD-infinity(x)', 'KD(x)']
    """
    return metric.replace("FID", "FD").replace("KID", "KD") + suffix if suffix else metric


def short(n: int) -> str:
    """How n is written behind a dash: rounded only where nothing is lost.

    >>> [f"FID-{short(n)}" for n in (50_000, 49_984, 2_500, 512)]
    ['FID-50k', 'FID-49,984', 'FID-2.5k', 'FID-512']
    """
    return f"{n / 1000:g}k" if n >= 1000 and n % 100 == 0 else f"{n:,}"


def compare(job: Comparison) -> Measurement:
    """Measure all that is wanted and that the reference allows.

    Raises:
        FixableError: Images are broken, too few, or of another size than the reference; or a
            metric is wanted that cannot be had.
    """
    _check(job)
    wanted = _wanted(job.metrics, job.reference, job.extractor, job.n)
    _require_device(wanted, job.world.device)
    name = "quality" if job.reference.kind == "train" else f"quality-{job.reference.kind}"
    extractor, world, images = job.extractor, job.world, job.reference.images
    given = job.reference.statistics
    if given is None and images is not None:
        given = statistics_of(images, len(images), extractor, world, job.track)
    if given is None:
        raise FixableError("there is nothing to compare with", "name a --reference")
    others = (
        bank.fill(images, len(images), extractor, world, job.track)
        if (images is not None and OF_ROWS & wanted)
        else None
    )
    filled = bank.fill(job.samples, job.n, extractor, world, job.track)
    scanned = scan(filled, extractor, world)
    real = None
    if job.held_out is not None and "FID" in wanted:
        count = min(job.n, len(job.held_out))
        real = statistics_of(job.held_out, count, extractor, world, job.track).pool
    if world.rank:
        return Measurement(name)  # the first process goes on alone
    if job.save:
        statistics.write(Path(job.save), given)
    job.work.mkdir(parents=True, exist_ok=True)
    rows = filled.flatten(job.work / "samples.f32")
    found = _Found(job, wanted, given, scanned)
    found.moments(filled, real)
    if others is not None:
        found.pairs(rows, others.flatten(job.work / "reference.f32"))
    memory.give_back()
    found.growth(rows)
    return found.measurement(name)


def _check(job: Comparison) -> None:
    """Refuse what cannot be compared before anything long begins."""
    if job.n > len(job.samples):
        raise FixableError(
            f"--n {job.n:,}: {job.samples.name} has {len(job.samples):,} images",
            "choose fewer, or 0 for all",
        )
    shape = job.samples.read([0]).shape[1:]
    job.extractor.check(shape)
    require_fit(job.reference, list(shape[:2]), job.n)


def _wanted(
    metrics: tuple[str, ...], reference: Reference, extractor: Extractor, n: int
) -> set[str]:
    """The metrics to take: those that were asked for, or all that can be had."""
    given = reference.statistics
    no_spatial = not extractor.sizes[2] or (given is not None and given.spatial is None)
    cannot = {
        "sFID": "the extractor or the reference has no spatial features" if no_spatial else "",
        "FID-infinity": f"it takes {extrapolation.LEAST_IMAGES:,} images"
        if n < extrapolation.LEAST_IMAGES
        else "",
    }
    if reference.images is None:
        cannot |= dict.fromkeys(OF_ROWS, "the reference has statistics only, no images")
    known = {name.lower(): name for name in METRICS}
    wanted = set()
    for name in metrics:
        if name.lower() not in known:
            raise FixableError(
                f"--metrics {name}: not a metric", f"choose from {', '.join(METRICS)}"
            )
        wanted.add(known[name.lower()])
    for name in sorted(wanted):
        if cannot.get(name):
            raise FixableError(f"--metrics {name}: {cannot[name]}", "leave it out")
    return wanted or {name for name in METRICS if not cannot.get(name)}


def _require_device(wanted: set[str], device: torch.device) -> None:
    """Refuse a device that cannot take the distances of precision and recall."""
    if wanted & IN_FLOAT64:
        others = ",".join(name for name in METRICS if name in wanted - IN_FLOAT64)
        fix = "use --device cpu" + f", or leave them out: --metrics {others}" * bool(others)
        require_float64(device, " and ".join(sorted(wanted & IN_FLOAT64)), fix=fix)


class _Found:
    """The figures of a comparison as they are taken, by the first process."""

    def __init__(
        self, job: Comparison, wanted: set[str], given: Statistics, scanned: Scanned
    ) -> None:
        self.job, self.wanted, self.given, self.scanned = job, wanted, given, scanned
        self.quantities: dict[str, Quantity] = {}
        self.curves: dict[str, Curve] = {}
        self.extra: dict[str, Any] = {}
        self.distance: float | None = None

    def moments(self, filled: bank.Bank, held_out: Gaussian | None) -> None:
        """IS, FID, sFID, and the yardstick: the distance of held-out real images.

        The error of FID is that of the choice of samples.
        """
        if "IS" in self.wanted:
            self._put("IS", *self.scanned.score.result())
            self.extra["is_spread"] = f"over {SPLITS} parts, as published"
        if "FID" in self.wanted:
            samples = Gaussian.of(self.scanned.pool)
            self.distance = self.given.pool.distance(samples)
            error = distance_stderr(samples, self.given.pool, filled.pools())
            self._put("FID", self.distance, error)
        if "sFID" in self.wanted and self.given.spatial is not None:
            self._put("sFID", self.given.spatial.distance(Gaussian.of(self.scanned.spatial)))
        if held_out is not None:
            name = f"{self._title('FID')} of held-out images"
            self.quantities[name] = Quantity(self.given.pool.distance(held_out), "", held_out.n)

    def pairs(self, samples: Rows, reference: Rows) -> None:
        """KID, precision and recall, with errors over the choice of both sets."""
        if "KID" in self.wanted:
            self._estimate("KID", kernel_distance(samples, reference))
        if {"precision", "recall"} & self.wanted:
            both = precision_recall(samples, reference, device=self.job.world.device)
            for name, estimate in zip(("precision", "recall"), both, strict=True):
                if name in self.wanted:
                    self._estimate(name, estimate)

    def growth(self, rows: Rows) -> None:
        """FID over n, and where it leads."""
        sizes = np.array(extrapolation.sizes(self.job.n, self.job.extractor.sizes[0]))
        infinity = "FID-infinity" in self.wanted
        if "FID" not in self.wanted or not (infinity or self.job.n < extrapolation.LEAST_IMAGES):
            return
        if len(sizes) < 2:
            return
        growth = extrapolation.growth(rows, self.given.pool, sizes)
        distances = growth.distances
        self.curves[f"{self._title('FID')} over n"] = Curve(
            x=sizes, y=distances, x_name="n images", y_name=self._title("FID"), n=self.job.n
        )
        if infinity:
            error = self.quantities[self._title("FID")].stderr or 0.0
            limit = extrapolation.limit_of(growth, self.job.n, error, 0.0)
            self._estimate("FID-infinity", limit)

    def measurement(self, name: str) -> Measurement:
        """Everything, with what a reader has to know."""
        job, reference = self.job, self.job.reference
        n = self.given.pool.n
        against = f"{reference.name} ({f'{n:,} images' if n else 'statistics of a file'})"
        settings = {
            **{key: value for key, value in job.made.items() if value is not None},
            "label": f"{self._title('FID')}-{short(job.n)} against {against}",
            "reference": reference.kind,
            "dataset": reference.name.removesuffix(" train").removesuffix(" test"),
            "reference_n": n or None,
            "reference_digest": reference.digest,
            "extractor": job.extractor.name,
            "extractor_digest": job.extractor.digest,
            "samples": job.samples.name,
            "samples_digest": bank.content(job.samples),
            "n": job.n,
            **self.extra,
        }
        if reference.kind in ("train", "test"):
            settings["split"] = reference.kind
        return Measurement(
            name=name,
            quantities=self.quantities,
            curves=self.curves,
            settings=settings,
            warnings=tuple(self._warnings()),
        )

    def _warnings(self) -> Iterator[str]:
        job = self.job
        pool = self.given.pool
        if job.reference.statistics is not None and not job.reference.statistics.about:
            yield (
                f"{job.reference.name} does not say which network its statistics are of; they are "
                f"taken to be {job.extractor.name}'s"
            )
        if job.reference.images is None and not job.metrics:
            yield f"{job.reference.name} holds statistics only: no KID, precision, recall"
        pictures = [
            each for each in (job.samples, job.reference.images) if isinstance(each, Pictures)
        ]
        yield from sanity.warnings(
            sanity.Facts(
                n=job.n,
                dim=job.extractor.sizes[0],
                name=self._title("FID"),
                suffix=job.extractor.suffix,
                reference=job.reference.kind,
                samples_pixels=self.scanned.pixels,
                reference_pixels=self.given.pixels,
                distance=self.distance,
                bias=pool.bias(job.n) if "FID" in self.wanted else None,
                lossy=sum(each.lossy for each in pictures),
                made=job.made,
            )
        )

    def _estimate(self, metric: str, estimate: Estimate) -> None:
        error = None if estimate.error is None else estimate.error.size
        self._put(metric, estimate.value, error, estimate.n)

    def _put(
        self, metric: str, value: float, spread: float | None = None, n: int | None = None
    ) -> None:
        self.quantities[self._title(metric)] = Quantity(value, "", n or self.job.n, spread)

    def _title(self, metric: str) -> str:
        return title(metric, self.job.extractor.suffix)
