"""IS and FID of x_0_hat over the reverse steps: the paper's Figure 10."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.arrays import Array
from ddpm_eval.features import Extractor, bank
from ddpm_eval.job import Job
from ddpm_eval.measure import quality
from ddpm_eval.measure.frechet import Gaussian, distance_stderr
from ddpm_eval.measure.inception_score import InceptionScore
from ddpm_eval.measure.rate_distortion import STEPS
from ddpm_eval.measure.scan import scan, statistics_of
from ddpm_eval.results import Curve
from ddpm_eval.shards import Shards
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
    extractor, train, n = judge.extractor, judge.train, shards.n
    given = statistics_of(train, len(train), extractor, job.world, job.track).pool
    distances, errors, scores, banks = [], [], [], []
    for column, step in enumerate(steps):
        images = Column(shards, column, f"x_0_hat after {step:,} steps")
        banks.append(bank.fill(images, n, extractor, job.world, job.track))
        scanned = scan(banks[-1], extractor, job.world)
        samples = Gaussian.of(scanned.pool)
        distances.append(given.distance(samples))
        errors.append(distance_stderr(samples, given, banks[-1].pools()))
        scores.append(scanned.score.result())
    job.world.barrier()  # others may still read
    if job.world.rank == 0:  # nobody will ask for these again
        for each in banks:
            shutil.rmtree(each.shards.folder, ignore_errors=True)
    fd, score = (quality.title(name, extractor.suffix) for name in ("FID", "IS"))
    mean, spread = np.array(scores).T
    found = {
        fd: Curve(
            x=steps, y=np.array(distances), x_name=STEPS, y_name=fd, n=n, stderr=np.array(errors)
        ),
        score: Curve(x=steps, y=mean, x_name=STEPS, y_name=score, n=n, stderr=spread),
    }
    return found, {
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "reference": "train",
        "dataset": train.name.removesuffix(" train"),
        "reference_n": len(train),
        "reference_digest": bank.content(train),
    }
