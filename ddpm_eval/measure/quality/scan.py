"""The one pass over the features of a set of images, and the statistics kept of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddpm_eval.features import Extractor, bank
from ddpm_eval.features.bank import Bank
from ddpm_eval.measure.quality import statistics
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.metrics.frechet import Gaussian, Moments
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.progress import Track
from ddpm_eval.record.arrays import Array
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """Sums over the features of n images; ``pixels`` is a digest of each image, [n]."""

    pool: Moments
    spatial: Moments
    score: InceptionScore
    pixels: Array


def scan(found: Bank, extractor: Extractor, world: World) -> Scanned:
    """Go once over a bank, each process over its share; every process gets the sums of all."""
    n, (dim, classes, spatial_dim) = found.shards.n, extractor.sizes
    pool, spatial = Moments.empty(dim), Moments.empty(spatial_dim)
    score, pixels = InceptionScore(n, classes), np.zeros(n, np.int64)
    for part, arrays in found.stream(world):
        pool = pool.update(arrays["pool"])
        if spatial_dim:
            spatial = spatial.update(arrays["spatial"])
        score.update(part, arrays["logits"])
        pixels[part.start : part.stop] = arrays["pixels"].view(np.int64)
    score.sums = _sum(world, score.sums)
    return Scanned(together(world, pool), together(world, spatial), score, _sum(world, pixels))


def together(world: World, own: Moments) -> Moments:
    """The moments over all processes, in float64 about the common mean."""
    if world.size == 1:
        return own
    n = int(_sum(world, np.array([own.n]))[0])
    mean = _sum(world, own.n * own.mean) / n
    step = own.mean - mean
    return Moments(n, mean, _sum(world, own.scatter + own.n * np.outer(step, step)))


def _sum(world: World, values: Array) -> Array:
    found: Array = world.sum(torch.from_numpy(values)).cpu().numpy()
    return found


def _kept(path: Path, extractor: Extractor) -> Statistics | None:
    if not path.exists():
        return None
    try:
        return statistics.read(path, extractor)
    except FixableError:
        return None


def statistics_of(
    images: Images, n: int, extractor: Extractor, world: World, track: Track
) -> Statistics:
    """The statistics of the first n images: those beside their bank, or made now.

    A damaged file is made again.
    """
    settings = bank.describe(images, n, extractor)
    path = bank.place(settings) / "statistics.npz"
    kept = _kept(path, extractor)
    somebody_has_not = world.any(kept is None)  # another job may write it right now
    if kept is not None and not somebody_has_not:
        return kept
    scanned = scan(bank.fill(images, n, extractor, world, track), extractor, world)
    found = Statistics(
        Gaussian.of(scanned.pool),
        Gaussian.of(scanned.spatial) if extractor.sizes[2] else None,
        {**settings, "dataset": images.name, "shape": list(images.read([0]).shape[1:])},
        scanned.pixels,
    )
    if world.rank == 0:
        statistics.write(path, found)
    world.barrier()
    return found
