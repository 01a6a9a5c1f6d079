"""Score the pairs of a measurement: in shards, shared between processes, long work said at once."""

import hashlib
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import (
    NATS_PER_BIT,
    Array,
    Every,
    Pairs,
    Sweep,
    Tables,
    Terms,
)
from ddpm_eval.model import Model
from ddpm_eval.progress import Track
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.diffusion import prior_kl
from ddpm_train.noise import Stream

Item = TypeVar("Item")

SHARD_EVALUATIONS = 4000  # of the network between two writes to the disk
CHUNK_IMAGES = 256  # in memory at once where no network is needed
LONG_SECONDS = 3600.0  # what runs longer says so at once
TIMED_BATCHES = 4


def sweep_of(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    variances: Tables,
    stream: str = "nll",
) -> Sweep:
    """Prepare the sweep over images.

    Args:
        model: The model.
        images: The images that are scored.
        settings: Seed and clipping.
        runtime: The batch.
        variances: The isotropic variances.
        stream: The purpose of the noise.
    """

    def read(places: Array) -> Tensor:
        return data.to_model(images.read(places)).double()

    return Sweep(
        model=model,
        read=read,
        indices=images.indices,
        stream=Stream(settings.seed, stream),
        variances=variances,
        clip=settings.clip,
        batch=runtime.batch,
        labels=images.labels if model.classes else None,
    )


def score(
    sweep: Sweep, pairs: Pairs, images: ImageSet, runtime: Runtime, *, name: str, label: str
) -> Terms:
    """Score pairs in shards: resumed after a kill, shared between processes, which all get them.

    Args:
        sweep: Scores them.
        pairs: What to evaluate.
        images: The images that the sweep reads.
        runtime: Where unfinished work lies.
        name: What this piece of work is called.
        label: What progress is called.
    """

    def make(part: range) -> Generator[None, None, Arrays]:
        terms = yield from sweep.over(pairs, part)
        return {name: getattr(terms, name) for name in Terms.__slots__}

    work = Work(
        name=name,
        facts={
            "model": sweep.model.facts.digest,
            "precision": sweep.model.precision,
            "images": images.digest,
            "indices": _digest(images.indices),
            "seed": sweep.stream.seed,
            "stream": sweep.stream.name,
            "clip": sweep.clip,
            "variances": {name: _digest(table) for name, table in sweep.variances.items()},
            "pairs": _pairs(pairs),
        },
        n=len(pairs),
        size=SHARD_EVALUATIONS,
        make=make,
        ticks=lambda part: -(-len(part) // sweep.batch),
        label=label,
    )
    aloud = isinstance(pairs, Every)
    track = _timed(runtime, len(pairs), aloud=aloud)
    return Terms(**fill(work, replace(runtime, track=track)).read())


def prior_bits(model: Model, images: ImageSet) -> Array:
    """Compute L_T of each image in closed form, [n] bits/dim."""
    n, process = len(images), model.denoise.schedule
    parts = [
        prior_kl(process, data.to_model(images.read(part)).double())
        for part in (range(i, min(n, i + CHUNK_IMAGES)) for i in range(0, n, CHUNK_IMAGES))
    ]
    return np.concatenate([part.flatten(1).mean(1).numpy() for part in parts]) / NATS_PER_BIT


def _timed(runtime: Runtime, evaluations: int, *, aloud: bool) -> Track:
    """Say at once that work will take long, and what takes less."""

    def track(items: Iterable[Item], label: str, total: int) -> Iterable[Item]:
        return runtime.track(timed(items, total), label, total)

    def timed(items: Iterable[Item], total: int) -> Iterator[Item]:
        began = 0.0
        for done, item in enumerate(items):
            if done == 0:
                began = time.monotonic()  # the first batch also warms up
            elif done == TIMED_BATCHES:
                seconds = (time.monotonic() - began) / TIMED_BATCHES * (total - done)
                if seconds > LONG_SECONDS:
                    runtime.notify(_long(seconds, evaluations, advise=aloud))
            yield item

    return track


def _long(seconds: float, evaluations: int, *, advise: bool) -> str:
    """Say how long a run takes, and which setting takes less.

    >>> print(_long(450_000, 10_000_000, advise=True))
    10,000,000 evaluations of the network will take 5.2 days here. target_stderr=0.01 estimates
    the bound from some thousand: about 7.5 minutes per 10,000.
    """
    text = f"{evaluations:,} evaluations of the network will take {_span(seconds)} here."
    if not advise:
        return text
    few = _span(seconds / evaluations * 10_000)
    return (
        f"{text} target_stderr=0.01 estimates the bound from some thousand: about {few} per 10,000."
    )


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _pairs(pairs: Pairs) -> str:
    """Name pairs: every step of so many images, or a digest of the list."""
    if isinstance(pairs, Every):
        return f"{pairs.n} x {pairs.T}"
    places, rows = pairs.take(range(len(pairs)))
    return _digest(np.stack([places, rows]).astype(np.int64))


def _digest(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
