"""Measures of pictures for callers that hand over a job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.features import Extractor
from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import interpolation as interpolations
from ddpm_eval.measure.pictures import neighbours as neighbourhoods
from ddpm_eval.measure.pictures import progressive as progressions
from ddpm_eval.measure.pictures import samples as drawing
from ddpm_eval.measure.pictures.neighbours import Real
from ddpm_eval.measure.pictures.quality_over_steps import Judge
from ddpm_eval.measure.pictures.samples import Samples
from ddpm_eval.measure.pictures.settings import (
    InterpolationSettings,
    NeighbourSettings,
    ProgressiveSettings,
    SamplingSettings,
)
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.data.images import Form, Stack
from ddpm_train.data.pictures import decode
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, read_bytes


def samples(job: Job) -> Measurement:
    """Draw samples."""
    settings = _sampling(job, job.config.n or 64)
    return drawing.measure(job.subject, settings, _runtime(job), _out(job))


def ensure(job: Job, n: int) -> Samples:
    """Draw what is missing of samples 0..n-1."""
    return drawing.draw(job.subject, _sampling(job, n), _runtime(job), _out(job))


def fill(job: Job, n: int, within: range) -> list[range]:
    """Draw a part of samples 0..n-1; give what is missing."""
    settings, runtime = _sampling(job, n), _runtime(job)
    return drawing.fill_store(job.subject, settings, runtime, folder(job, n), within)


def folder(job: Job, n: int) -> Path:
    """Where the job's samples are kept."""
    store = drawing.store_of(job.subject, _sampling(job, n), _runtime(job))
    return _out(job) or store or job.work


def progressive(job: Job) -> Measurement:
    """Record x_0_hat along the chain."""
    config = job.config
    settings = ProgressiveSettings(
        n=config.n, rows=config.pictures.rows, seed=config.seed, clip=config.clip
    )
    extractor = _extractor(job)
    judge = None
    if extractor is not None:
        judge = Judge(extractor, ImageSet.of(job.images("train"), split="train"))
    return progressions.measure(job.subject, settings, _runtime(job), judge)


def interpolation(job: Job) -> Measurement:
    """Mix images."""
    config, pictures = job.config, job.config.pictures
    settings = InterpolationSettings(
        pairs=pictures.pairs,
        t=pictures.t,
        lambdas=pictures.lambdas,
        mix=pictures.mix,
        seed=config.seed,
        clip=config.clip,
    )
    if not pictures.files:
        images = ImageSet.of(job.images(config.split), split=config.split)
        return interpolations.measure(job.subject, images, settings, _runtime(job))
    pixels, names = _files(job)
    images = ImageSet.of(Stack("files", pixels))
    settings = replace(settings, pairs=((0, 1),))
    return interpolations.measure(job.subject, images, settings, _runtime(job), names)


def neighbours(job: Job) -> Measurement:
    """Search the nearest training images."""
    pictures = job.config.pictures
    settings = NeighbourSettings(
        sampling=_sampling(job, job.config.n or 64),
        k=pictures.k,
        rows=pictures.rows,
        held_out=pictures.held_out,
        seed=job.config.seed,
    )
    train = ImageSet.of(job.images("train"), split="train")
    real = Real(train=train, held_out=_held_out(job))
    return neighbourhoods.measure(job.subject, real, settings, _runtime(job), _extractor(job))


def _held_out(job: Job) -> ImageSet | None:
    if not job.config.pictures.held_out:
        return None
    try:
        return ImageSet.of(job.images("test"), split="test")
    except FixableError as error:
        raise FixableError(
            error.problem, f"{error.fix}; or --held-out 0 for neighbours without a verdict"
        ) from error


def _runtime(job: Job) -> Runtime:
    return Runtime(
        world=job.world,
        cache=job.work,
        stores=job.stores or job.work / "store",
        batch=job.config.batch,
        track=job.track,
        notify=job.notify,
    )


def _sampling(job: Job, n: int) -> SamplingSettings:
    config, sampling = job.config, job.config.sampling
    return SamplingSettings(
        n=n,
        seed=config.seed,
        clip=config.clip,
        sampler=sampling.sampler,
        steps=sampling.steps,
        eta=sampling.eta,
    )


def _out(job: Job) -> Path | None:
    out = job.config.sampling.out
    return Path(out).expanduser() if out else None


def _extractor(job: Job) -> Extractor | None:
    from ddpm_eval.measure.quality import quality

    name = job.config.pictures.extractor
    config = replace(job.config.quality, extractor=name)
    return quality.extractor_of(config, job.world.device) if name else None


def _files(job: Job) -> tuple[np.ndarray, list[str]]:
    """Decode two files of the user's as the network expects them."""
    resize: Any = job.config.pictures.resize
    C, size, _ = job.subject.shape
    form = Form(size, C, resize, remedy="add --resize lanczos (centre crop, then resize)")
    paths = [existing(file, "a PNG, JPEG or WebP picture") for file in job.config.pictures.files]
    pixels = np.stack([decode(read_bytes(path), str(path), form) for path in paths])
    return pixels, [path.name for path in paths]
