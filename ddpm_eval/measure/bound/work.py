"""Scoring the pairs of a job: in shards, shared between processes, with word of what takes long."""

import hashlib
import time
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ddpm_eval.job import Job, count
from ddpm_eval.measure.bound.sweep import NATS_PER_BIT, Array, Every, Pairs, Scores, Sweep, Tables
from ddpm_eval.model import Model
from ddpm_eval.progress import finish
from ddpm_eval.record.shards import open_shards
from ddpm_train import data
from ddpm_train.data import Images
from ddpm_train.diffusion import prior_kl
from ddpm_train.noise import Stream

SHARD_EVALUATIONS = 4000  # of the network between two writes to the disk
CHUNK_IMAGES = 256  # in memory at once where no network is needed
LONG_SECONDS = 3600.0  # what runs longer says so at once
TIMED_BATCHES = 4


def scored(job: Job) -> tuple[Images, int]:
    """The images of the split, and how many of them are scored: the first n."""
    images = job.images(job.config.split)
    return images, count(job.config.n, images, drop_remainder=job.config.drop_remainder)


def describe(job: Job, images: Images) -> dict[str, Any]:
    """The settings that every measure of the bound records."""
    config, subject = job.config, job.subject
    found = {
        "split": config.split,
        "dataset": images.name.removesuffix(" train").removesuffix(" test"),
        "data_digest": images.digest,
        "variance": subject.denoise.objective.variance,
        "clip": config.clip,
        "weights": subject.facts.weights,
        "T": subject.denoise.schedule.T,
        "seed": config.seed,
    }
    if subject.precision != "float32":
        found["precision"] = subject.precision
    return found | ({"drop_remainder": config.drop_remainder} if config.drop_remainder else {})


def is_same(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether what was recorded was measured as ``describe`` asks, in that precision."""
    return all(kept.get(key) == value for key, value in {"precision": None, **asked}.items())


def prepare(
    job: Job, subject: Model, images: Images, under: Tables, *, stream: str = "nll"
) -> Sweep:
    """How the pairs of a job are scored.

    Args:
        job: The measurement.
        subject: The model.
        images: Where the images are read.
        under: The isotropic variances.
        stream: The purpose of the noise.
    """
    config = job.config

    def read(indices: Array) -> Tensor:
        return data.to_model(images.read(indices)).double()

    return Sweep(
        subject=subject,
        read=read,
        stream=Stream(config.seed, stream),
        under=under,
        clip=config.clip,
        batch=config.batch,
    )


def collect(
    job: Job, how: Sweep, pairs: Pairs, stage: str, *, settings: dict[str, Any], label: str
) -> Scores:
    """Score pairs in shards: resumed after a kill, shared between processes.

    Every process gets all of the scores.

    Args:
        job: The measurement.
        how: How they are scored.
        pairs: What to evaluate.
        stage: The name of this piece of work: its folder inside ``job.work``.
        settings: What the result depends on: unfinished work with others is refused.
        label: What progress is called.
    """
    model = how.subject.facts.digest
    begun_with = settings | {"checkpoint": model, "pairs": _digest(pairs)}
    shards = open_shards(
        job.work / stage, begun_with, n=len(pairs), size=SHARD_EVALUATIONS, world=job.world
    )
    todo = job.world.share(shards.missing(job.world))

    def evaluations() -> Generator[None, None, None]:
        for part in todo:
            scores = yield from how.over(pairs, part)
            shards.write(part, {name: getattr(scores, name) for name in Scores.__slots__})

    total = sum(-(-len(part) // how.batch) for part in todo)
    finish(_timed(evaluations(), total, len(pairs), job), job.track, label, total)
    job.world.barrier()
    return Scores(**shards.read())


def prior_bits(subject: Model, images: Images, n: int) -> Array:
    """L_T of each image in closed form, [n] bits/dim."""
    parts = [
        prior_kl(subject.denoise.schedule, data.to_model(images.read(part)).double())
        for part in (range(i, min(n, i + CHUNK_IMAGES)) for i in range(0, n, CHUNK_IMAGES))
    ]
    return np.concatenate([part.flatten(1).mean(1).numpy() for part in parts]) / NATS_PER_BIT


def _timed(
    work: Generator[None, None, None], total: int, evaluations: int, job: Job
) -> Generator[None, None, None]:
    """Say at once that work will take long, and what takes less."""
    began = 0.0
    for done, _ in enumerate(work):
        if done == 0:
            began = time.monotonic()  # the first batch also warms up
        elif done == TIMED_BATCHES:
            seconds = (time.monotonic() - began) / TIMED_BATCHES * (total - done)
            if seconds > LONG_SECONDS:
                job.notify(_long(seconds, total, evaluations, fast=job.config.fast))
        yield


def _long(seconds: float, batches: int, evaluations: int, *, fast: bool) -> str:
    """What to say of a long run.

    >>> print(_long(450_000, 1000, 10_000_000, fast=False))
    10,000,000 evaluations of the network will take 5.2 days here. --target-stderr 0.01 estimates
    the bound from some thousand: about 7.5 minutes per 10,000.
    """
    text = f"{evaluations:,} evaluations of the network will take {_span(seconds)} here."
    if fast:
        return text
    each = _span(seconds / evaluations * 10_000)
    return (
        f"{text} --target-stderr 0.01 estimates the bound from some thousand: "
        f"about {each} per 10,000."
    )


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _digest(pairs: Pairs) -> str:
    """Which pairs: a plan for all of them, or the list."""
    if isinstance(pairs, Every):
        return f"{pairs.images.start}..{pairs.images.stop - 1} x {pairs.T}"
    images, times = pairs.take(range(len(pairs)))
    return hashlib.sha256(np.stack([images, times]).astype(np.int64).tobytes()).hexdigest()[:16]
