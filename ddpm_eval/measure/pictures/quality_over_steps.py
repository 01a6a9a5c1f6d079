"""IS and FID of x_0_hat over the reverse steps: the paper's Figure 10.

The features at one time take a gigabyte of the disk for 50,000 samples through Inception. They are
deleted once the four numbers that are wanted of them are taken, before those at the next time.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.features import Extractor, bank
from ddpm_eval.job import Job
from ddpm_eval.measure.bound.rate_distortion import STEPS
from ddpm_eval.measure.quality import quality
from ddpm_eval.measure.quality.scan import Scanned, scan, statistics_of
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.schema1 import Curve
from ddpm_eval.record.shards import Arrays, Shards, key_of, open_shards
from ddpm_train.data import Images


@dataclass(frozen=True, eq=False)
class Column:
    """x_0_hat of every sample at one time, as ``Images``: a column of the frames in shards."""

    shards: Shards
    column: int
    name: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels in order."""
        sha = hashlib.sha256()
        for part in self.shards.parts():
            sha.update(self.read(part).data)
        return sha.hexdigest()

    def __len__(self) -> int:
        return self.shards.n

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Array:
        """Give the images at these indices."""
        wanted = np.asarray(indices, np.int64)
        parts, owners = self.shards.parts(), wanted // self.shards.size
        found: dict[int, Array] = {}
        for k in np.unique(owners).tolist():
            frames = self.shards.part(parts[k])["frames"]
            for i in np.flatnonzero(owners == k).tolist():
                found[i] = frames[wanted[i] - parts[k].start, self.column]
        return np.stack([found[i] for i in range(len(wanted))])


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What quality is measured with, and against."""

    extractor: Extractor
    train: Images


def call(job: Job, n: int) -> Judge:
    """Have everything ready before the first of n samples is made.

    Raises:
        FixableError: The extractor's weights are missing, it was made for other images, the
            training images are missing, or n is too small.
    """
    config = replace(job.config.quality, extractor=job.config.pictures.extractor)
    extractor = quality.extractor_of(config, job.world.device)
    channels, *size = job.subject.shape
    extractor.check((*size, channels))
    InceptionScore(n, extractor.sizes[1])  # refuses too few
    return Judge(extractor, job.images("train"))


def curves(
    job: Job, judge: Judge, shards: Shards, steps: Array
) -> tuple[dict[str, Curve], dict[str, Any]]:
    """The curves, and the settings that they depend on.

    Args:
        job: The measurement.
        judge: What measures.
        shards: ``frames`` [n, K, H, W, C] of all samples.
        steps: The K numbers of reverse steps.
    """
    extractor, train = judge.extractor, judge.train
    numbers = _numbers(job, judge, shards, steps)
    fd, score = (quality.title(name, extractor.suffix) for name in ("FID", "IS"))
    found = {
        name: Curve(
            x=steps,
            y=numbers[metric],
            x_name=STEPS,
            y_name=name,
            n=shards.n,
            stderr=numbers[f"{metric} +-"],
        )
        for metric, name in (("FID", fd), ("IS", score))
    }
    return found, {
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "reference": "train",
        "dataset": train.name.removesuffix(" train"),
        "reference_n": len(train),
        "reference_digest": bank.content(train),
    }


def _numbers(job: Job, judge: Judge, shards: Shards, steps: Array) -> Arrays:
    """FID and IS at each time with what is beside them, [K], made in K pieces that survive a kill.

    Their folder is named after all that they depend on: those through another extractor are others.
    """
    train, extractor, world = judge.train, judge.extractor, job.world
    given = statistics_of(train, len(train), extractor, world, job.track).pool
    settings = {"frames": shards.key, "against": bank.describe(train, len(train), extractor)}
    folder = job.work / f"quality-{key_of(settings)}"
    kept = open_shards(folder, settings, n=len(steps), size=1, world=world)
    for part in kept.missing(world):
        images = Column(shards, part.start, f"x_0_hat after {steps[part.start]:,} steps")
        filled = bank.fill(images, shards.n, extractor, world, job.track)
        scanned = scan(filled, extractor, world)  # its sums wait until everybody has read
        if world.rank == 0:
            found = _of_bank(filled, scanned, given)
            # First, so that a kill in between leaves no features that nobody asks for again.
            shutil.rmtree(filled.shards.folder, ignore_errors=True)
            kept.write(part, found)
    world.barrier()
    return kept.read()


def _of_bank(filled: bank.Bank, scanned: Scanned, given: Gaussian) -> Arrays:
    """FID and IS of images with these features, [1] each."""
    samples = Gaussian.of(scanned.pool)
    score, spread = scanned.score.result()
    found = {
        "FID": given.distance(samples),
        "FID +-": distance_stderr(samples, given, filled.pools()),
        "IS": score,
        "IS +-": spread,
    }
    return {name: np.array([value]) for name, value in found.items()}
